"""What becomes of a call in a pickle: a tensor, a dictionary or an inert record."""

from __future__ import annotations

from typing import Any

from ml_core.reading.pickles.builders import BUILDERS, build
from ml_core.reading.pickles.names import MAPPINGS
from ml_core.reading.pickles.numpy_types import check_array, check_call, check_type
from ml_core.reading.pickles.reading import Reading
from ml_core.reading.pickles.records import Budget, Global, Object, PickleError, Table, Tensor

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
    """Forbid later changes to the tables of a state that was checked."""
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


_WITH_STATE = ("_rebuild_parameter_with_state", "_rebuild_from_type_v2")


def made(called: Any, arguments: Any, how: str, reading: Reading, budget: Budget) -> Any:
    """Record a call, or do it if it builds a tensor or a dictionary.

    Parameters
    ----------
    how
        What is done to ``called``, for half a sentence.

    Raises
    ------
    PickleError
        If no checkpoint needs such a call.
    """
    if not isinstance(called, Global) or not isinstance(arguments, tuple):
        note_misuse(reading, called, how)
        return None
    if called.group == "unknown":
        reading.called(called, arguments)
    if called.group == "code" and arguments:
        reading.misused(f"{called.full} is called with arguments")
    not_done = called.group == "tensors" and called.full not in BUILDERS
    if not_done or called.full == "numpy ndarray":
        raise PickleError(f"{called.full} {how}, which checkpoints do not need")
    if called.name == "_rebuild_from_type_v2":
        _rebuilt_by(arguments, reading)
    stated = called.name in _WITH_STATE and len(arguments) == 4
    if stated and (misuse := misuse_of_tensor(arguments[3])):
        reading.misused(misuse)
    if called.full in MAPPINGS:
        return _mapping(called, arguments, reading, budget)
    if called.full == "_codecs encode" and arguments and isinstance(arguments[0], str):
        budget.spend_bytes(len(arguments[0]))
    if called.module.startswith("numpy"):
        check_call(called, arguments, budget)
    try:
        return build(called, arguments)
    except ValueError as error:
        raise PickleError(str(error)) from None


def note_misuse(reading: Reading, what: Any, how: str) -> None:
    """Note a use that an ordinary loader would carry out.

    Raises
    ------
    PickleError
        If it is nonsense: ``what`` is a plain value.
    """
    if isinstance(what, Global):
        reading.misused(f"{what.full} {how}")
    elif isinstance(what, Object):
        reading.misused(f"an object of {what.of.full} {how}")
    else:
        raise PickleError(f"a plain value {how}")


def _rebuilt_by(arguments: tuple[Any, ...], reading: Reading) -> None:
    """Look at the function that an ordinary loader calls to make a tensor of a subclass."""
    function = arguments[0] if arguments else None
    if not isinstance(function, Global):
        raise PickleError("a tensor is rebuilt by something that is no function")
    if function.group != "unknown" and function.full not in BUILDERS:
        reading.misused(f"{function.full} is given to be called")


def _mapping(called: Global, arguments: tuple[Any, ...], reading: Reading, budget: Budget) -> Table:
    """A dictionary of a class; items given as arguments are lists of pairs."""
    table = Table(kind=called.name)
    for argument in arguments:
        if isinstance(argument, Table | list):
            pairs = argument.items if isinstance(argument, Table) else argument
            budget.spend(len(pairs))
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    raise PickleError(f"{called.full} is given something that is no pair")
                table.put(pair[0], pair[1])
        elif isinstance(argument, Global) and argument.group != "data":
            reading.misused(f"{called.full} is given {argument.full} to call")
        elif not isinstance(argument, Global | None):
            raise PickleError(f"{called.full} is given something that is no dictionary")
    return table
