"""What becomes of a call in a pickle: a tensor, a dictionary or an inert record."""

from __future__ import annotations

from typing import Any

from ml_core.reading.pickles.budget import Budget, PickleError
from ml_core.reading.pickles.builders import BUILDERS, build
from ml_core.reading.pickles.names import MAPPINGS
from ml_core.reading.pickles.numpy_types import check_call
from ml_core.reading.pickles.reading import Reading
from ml_core.reading.pickles.records import Global, Object, Table
from ml_core.reading.pickles.states import misuse_of_tensor

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
