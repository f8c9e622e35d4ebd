"""Which objects may be given a state (the opcode BUILD), and what may stand in it.

An ordinary loader calls an object's ``__setstate__`` or sets its attributes one by one. Only
records of classes that checkpoints are known to fill in this way are given one here.
"""

from __future__ import annotations

from typing import Any

from ml_core.reading.pickles.budget import Budget, PickleError
from ml_core.reading.pickles.numpy_types import check_array, check_type
from ml_core.reading.pickles.records import Global, Object, Table, Tensor

_OPTIONS = ("argparse Namespace", "types SimpleNamespace")


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
        if onto.given:
            return "a type of numpy is changed after it may have been used"
        check_type(onto, state, budget)
    elif onto.of.module.startswith("numpy") and onto.of.name in ("_reconstruct", "ndarray"):
        check_array(state, budget)
    else:
        return f"an object of {full} has its state set"
    return ""


def misuse_of_tensor(state: Any) -> str:
    """The same for the attributes that a tensor is rebuilt with.

    Raises
    ------
    PickleError
        If they are no table of attributes.
    """
    if state is None:
        return ""
    misuse = _attributes("torch Tensor", state)
    freeze(state)
    return misuse


def freeze(state: Any) -> None:
    """Let no table of a state that was checked be changed any more."""
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, Table):
            part.given = True


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
