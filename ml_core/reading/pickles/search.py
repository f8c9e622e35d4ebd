"""The names in a pickle that cannot be followed any more: what an ordinary loader may reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_core.reading.pickles.budget import Budget
from ml_core.reading.pickles.reading import Reading

# The opcodes that name an object, with whatever they are followed by where the object is used:
# a mark, a value, the memo, the next name. Text that only looks like one is no loss, as the
# pickle is refused in any case.
_NAMED = re.compile(
    rb"c([A-Za-z_][\w.]{0,200})\n([A-Za-z_][\w.]{0,200})\n(?=[()NRbqrph}\]\x85\x8cXKJSVUc\x93\x94])"
)
_STACKED = re.compile(
    rb"\x8c[\x01-\xff]([A-Za-z_][\w.]{0,200})(?:\x94|q.|r.{4})?"
    rb"\x8c[\x01-\xff]([A-Za-z_][\w.]{0,200}?)(?:\x94|q.|r.{4})?\x93",
    re.DOTALL,
)

Opcodes = Iterator[tuple[str, Any, int]]


def add_names(
    raw: bytes,
    rest: Opcodes,
    stack: Sequence[Any],
    memo: Mapping[int, Any],
    found: Reading,
    budget: Budget,
) -> None:
    """Add the names behind the place where a pickle could not be followed.

    Its opcodes are read on, as an ordinary loader does until it stumbles; where the budget ends,
    the bytes behind are searched.

    Parameters
    ----------
    raw, rest
        The pickle, and its opcodes from there on.
    stack, memo
        What was kept by then; of the stack, only texts matter.
    """
    texts = [item for item in stack[-4:] if isinstance(item, str)][-2:]
    kept = {key: item for key, item in memo.items() if isinstance(item, str)}
    last = texts[-1] if texts else ""
    places = len(memo)
    try:
        for name, argument, at in rest:
            budget.beyond -= 1
            if budget.beyond < 0:
                _search(raw, at, found)
                return
            if name in ("GLOBAL", "INST"):
                module, _, attribute = str(argument).partition(" ")
                found.name(module, attribute)
            elif name == "STACK_GLOBAL" and len(texts) == 2:
                found.name(texts[0], texts[1])
            elif name == "MEMOIZE":
                kept[places] = last
                places += 1
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                kept[argument] = last
                places += 1
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                last = kept.get(argument, "")
                texts = [*texts[-1:], last]
                continue
            elif isinstance(argument, str):
                last = argument
                texts = [*texts[-1:], argument]
                continue
            last = ""
    except (ValueError, IndexError, OverflowError, AttributeError):  # a PickleError is a ValueError
        return


def _search(raw: bytes, position: int, found: Reading) -> None:
    """Look for what reads like a name in the bytes from a place on."""
    for pattern in (_NAMED, _STACKED):
        for match in pattern.finditer(raw, position):
            try:
                found.name(match[1].decode("ascii", "replace"), match[2].decode("ascii", "replace"))
            except ValueError:
                return
