"""Which objects may be given a state (the opcode BUILD), and what may stand in it.

An ordinary loader calls an object's ``__setstate__`` or sets its attributes one by one. Only
records of classes that checkpoints are known to fill in this way are given one here.
"""

from __future__ import annotations

from typing import Any

from ml_core.reading.pickles.budget import Budget, PickleError
from ml_core.reading.pickles.records import Global, Object, Table, Tensor

_OPTIONS = ("argparse Namespace", "types SimpleNamespace")
_MAX_TYPE = 200
_MAX_FIELDS = 256


def misuse_of_state(onto: Any, state: Any, budget: Budget) -> str:
    """Check a state; half a sentence if it would change how an object acts, else empty.

    Raises
    ------
    PickleError
        If the object takes no state, or not such a one.
    """
    if isinstance(onto, Global):
        return f"{onto.full} has its state set"
    if isinstance(onto, Tensor) and state is None:
        return ""
    if isinstance(onto, Table) and onto.kind != "dict":
        return _attributes(onto.kind, state)
    if not isinstance(onto, Object):
        raise PickleError("a plain value has its state set")
    full = onto.of.full
    if onto.of.group == "code" or full in _OPTIONS:
        return _attributes(full, state)
    if full == "numpy dtype":
        _dtype(state)
    elif onto.of.module.startswith("numpy") and onto.of.name in ("_reconstruct", "ndarray"):
        _array(state, budget)
    else:
        return f"an object of {full} has its state set"
    return ""


def _attributes(full: str, state: Any) -> str:
    """Attributes by name, or a pair of such tables; scripted objects keep other plain state."""
    pair = isinstance(state, tuple) and len(state) == 2
    for part in state if pair else (state,):
        if isinstance(part, Table):
            if part.special:
                return f"an object of {full} has its {part.special[:100]} set"
            if not part.named and not full.startswith("__torch__"):
                raise PickleError(f"an attribute of {full} has a name that is no text")
        elif not full.startswith("__torch__") and not (pair and part is None):
            raise PickleError(f"an object of {full} has a state that is no table of attributes")
    return ""


def _dtype(state: Any) -> None:
    """(version, order, base, names, fields, size, alignment[, flags[, metadata]])."""
    fits = isinstance(state, tuple) and 7 <= len(state) <= 9
    if not fits or not isinstance(state[1], str) or len(state[1]) > 1:
        raise PickleError("a type of numpy has no valid state")


def _array(state: Any, budget: Budget) -> None:
    """(version, shape, type, by columns, bytes, or a list where the elements are objects)."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise PickleError("an array of numpy has no valid state")
    held = state[4]
    if not isinstance(held, bytes | bytearray | str | list) and not _is_encoded(held):
        raise PickleError("an array of numpy has no valid numbers")
    if holds_objects(state[2], budget) != isinstance(held, list):
        raise PickleError("an array of numpy takes its bytes for objects")


def _is_encoded(held: Any) -> bool:
    """Empty bytes of protocols 0 to 2: ``bytes()``."""
    return isinstance(held, Object) and held.of.name == "bytes" and not held.arguments


def holds_objects(kind: Any, budget: Budget) -> bool:
    """Whether a type of numpy, or one inside it, is that of Python's objects.

    Raises
    ------
    PickleError
        If it is no type.
    """
    found = False
    left = [kind]
    while left:
        budget.spend(1)
        item = left.pop()
        if not isinstance(item, Object) or item.of.full != "numpy dtype" or not item.arguments:
            raise PickleError("an array of numpy has no valid type")
        text = item.arguments[0]
        if not isinstance(text, str) or len(text) > _MAX_TYPE:
            raise PickleError("an array of numpy has no valid type")
        found = found or "O" in text or "object" in text
        if not isinstance(item.state, tuple) or len(item.state) < 7:
            continue
        base, fields = item.state[2], item.state[4]
        if isinstance(base, tuple) and base:
            left.append(base[0])
        if isinstance(fields, Table):
            if len(fields.items) > _MAX_FIELDS:
                raise PickleError("a type of numpy has too many fields")
            left.extend(_field(field) for _, field in fields.items)
        if len(left) > _MAX_FIELDS:
            raise PickleError("a type of numpy is nested too deeply")
    return found


def _field(field: Any) -> Any:
    return field[0] if isinstance(field, tuple) and field else None
