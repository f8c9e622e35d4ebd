"""Find the tensors and the plain facts in what a pickle holds, each container once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ml_core.reading.pickles.numpy_types import number_of
from ml_core.reading.pickles.reading import MAX_WORK, Object, Storage, Table, Tensor, TooMuchError

MAX_NAME = 1024
_MAX_DEPTH = 200
_MAX_TENSORS = 100_000
_MAX_FACTS = 200
_MAX_RATES = 40
_MAX_LETTERS = 48 << 20
_MAX_TEXT = 300
# Where torch.nn.Module keeps its parts; they are no part of a parameter's name.
_PARTS = ("_parameters", "_buffers", "_modules")
# What torch's optimizers and schedulers call the learning rate of a group of parameters.
_RATE = re.compile(r"(?:.+\.)?(?:param_groups\.\d\.(?:initial_)?lr|base_lrs\.\d)")
_RATE_DEPTHS = range(3, 6)
_NO_BUILDERS = {
    "_rebuild_qtensor": "quantised",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_from_type_v2": "subclass",
    "_rebuild_meta_tensor_no_storage": "without numbers",
}


@dataclass
class Contents:
    """What was found.

    Attributes
    ----------
    tensors
        Names (keys joined by dots) and tensors, in the order of the pickle.
    facts
        Names and short texts of plain values near the top: epoch, name, options; and the learning
        rates of optimizers and schedulers.
    special
        Names and kinds of tensors that are not read: sparse, quantised, complex, subclass.
    """

    tensors: list[tuple[str, Tensor]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    special: list[tuple[str, str]] = field(default_factory=list)


def contents(value: Any) -> Contents:
    """Walk a pickle's object without recursion; a container met again is passed over.

    Raises
    ------
    ValueError
        With half a sentence, if names are too long or two tensors share one.
    """
    result = Contents()
    seen: set[int] = set()
    names: set[str] = set()
    stack: list[tuple[str, int, Any]] = [("", 0, value)]
    visits = letters = 0  # of all names: a short pickle can give one long prefix to very many
    while stack:
        name, depth, item = stack.pop()
        if isinstance(item, Tensor) and not item.dtype:
            result.special.append((name[:_MAX_TEXT], "of a type that no CLIP has"))
            continue
        if isinstance(item, Tensor):
            if len(name) > MAX_NAME:
                raise TooMuchError(f"a tensor's name has {len(name)} characters")
            if len(names) >= _MAX_TENSORS:
                raise TooMuchError(f"it lists more than {_MAX_TENSORS} tensors")
            if not _is_text(name):
                raise ValueError("a tensor's name is no valid text")
            if name in names:
                raise ValueError(f"two of its tensors are called {name[:80]!r}")
            names.add(name)
            result.tensors.append((name, item))
            continue
        if depth in _RATE_DEPTHS and _RATE.fullmatch(name):
            rate = number_of(item) if isinstance(item, Object) else item
            if isinstance(rate, int | float) and len(result.facts) < _MAX_FACTS + _MAX_RATES:
                result.facts.append((name, _text(rate)))
        if not isinstance(item, Table | Object | list | tuple):
            if depth <= 2 and len(result.facts) < _MAX_FACTS:
                result.facts.append((name, _text(item)))
            continue
        if id(item) in seen and item != ():
            continue
        seen.add(id(item))
        if depth > _MAX_DEPTH:
            raise TooMuchError("its objects are nested too deeply")
        if isinstance(item, Object) and item.of.name in _NO_BUILDERS:
            result.special.append((name[:_MAX_TEXT], _NO_BUILDERS[item.of.name]))
            continue
        inner = []
        for key, child in _children(item):
            inner.append((_join(name, key), depth + 1, child))
            letters += len(inner[-1][0])
            visits += 1
            if visits > MAX_WORK:
                raise TooMuchError("its objects are given out again too often")
            if letters > _MAX_LETTERS:
                raise TooMuchError("the names in it are longer together than any checkpoint's")
        stack.extend(reversed(inner))
    return result


def storages(value: Any) -> dict[str, Storage]:
    """Every storage by its key, from tensors and from arguments of builders that were not done."""
    by_key: dict[str, Storage] = {}
    seen: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor):
            item = item.storage
        if isinstance(item, Storage):
            by_key.setdefault(item.key, item)
        elif isinstance(item, Table | Object | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, Table):
                stack.extend(child for _, child in item.items)
                stack.append(item.state)
            elif isinstance(item, Object):
                stack.extend((item.arguments, item.state))
            else:
                stack.extend(item)
    return by_key


def _children(item: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a container."""
    if isinstance(item, Table):
        keys: set[str] = set()
        for key, child in item.items:
            text = key if isinstance(key, str) else _text(key)
            if isinstance(key, str) and key in keys:
                raise ValueError(f"the key {key[:80]!r} occurs twice")
            keys.add(text)
            yield text, child
    elif isinstance(item, Object):
        state = item.state
        if isinstance(state, Tensor | Object):
            yield "state", state
        else:
            yield from _children(
                state if isinstance(state, Table | list | tuple) else item.arguments
            )
    else:
        for number, child in enumerate(item):
            yield str(number), child


def _join(name: str, key: str) -> str:
    """Extend a name, cut where it is too long to be shown."""
    if key in _PARTS:
        return name
    return f"{name}.{key}"[: MAX_NAME + 2] if name else key[: MAX_NAME + 2]


def _is_text(name: str) -> bool:
    """Whether a name has no half characters, which no file can hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    """A plain value in words, cut."""
    if isinstance(value, str):
        return value[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 128:
        return "a very large number"
    if isinstance(value, bool | int | float) or value is None:
        return str(value)
    return f"a storage of {value.elements}" if isinstance(value, Storage) else type(value).__name__
