"""What becomes of a call in a pickle: a tensor, a dictionary or an inert record.

The few calls that are carried out, by own code, make tensors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ml_core.reading.pickles.names import BUILDERS, MAPPINGS, TYPES
from ml_core.reading.pickles.numpy_types import check_array, check_call, check_type
from ml_core.reading.pickles.reading import (
    Budget,
    Global,
    Object,
    PickleError,
    Reading,
    Storage,
    Table,
    Tensor,
)

MAX_RANK = 16
_PLAIN_TENSORS = ("torch Tensor", "torch.nn.parameter Parameter", "torch.nn.parameter Buffer")


def build(called: Global, arguments: tuple[Any, ...]) -> Any:
    """Make a tensor if ``called`` builds one, else an inert record of the call.

    Raises
    ------
    ValueError
        With half a sentence, if a tensor's arguments are not those of one.
    """
    if called.full in ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor"):
        return _tensor(arguments)
    if called.full == "torch._utils _rebuild_tensor_v3":
        return _typed_tensor(arguments)
    if called.full == "torch._utils _rebuild_qtensor" and len(arguments) == 7:
        _no_hooks(arguments[6])
    if called.full == "torch._utils _rebuild_parameter":
        return _parameter(arguments)
    if called.full == "torch._utils _rebuild_parameter_with_state" and len(arguments) == 4:
        return _parameter(arguments[:3])
    if called.full == "torch._tensor _rebuild_from_type_v2" and len(arguments) == 4:
        function, kind, inner, _ = arguments
        plain = isinstance(kind, Global) and kind.full in _PLAIN_TENSORS
        if plain and isinstance(function, Global) and isinstance(inner, tuple):
            if function.full == "torch._utils _rebuild_tensor_v2":
                return _tensor(inner)
            if function.full == "torch._utils _rebuild_tensor_v3":
                return _typed_tensor(inner)
    if called.full == "torch Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
        return arguments[0]
    if called.full == "_codecs encode":
        return _encoded(arguments)
    if called.name == "_reconstructor":
        return _reconstructed(arguments)
    return Object(called, arguments)


def _tensor(arguments: tuple[Any, ...]) -> Tensor:
    """(storage, offset, shape, stride[, requires_grad, hooks[, metadata]])."""
    if not 4 <= len(arguments) <= 7 or not isinstance(arguments[0], Storage):
        raise ValueError("a tensor is built from something that is no storage")
    storage, offset, shape, stride = arguments[:4]
    if len(arguments) > 5:
        _no_hooks(arguments[5])
    if not _is_whole(offset) or not _are_whole(shape) or not _are_whole(stride):
        raise ValueError("a tensor has no valid offset, shape or stride")
    if len(shape) != len(stride):
        raise ValueError("a tensor's shape and stride do not fit together")
    return Tensor(storage, offset, shape, stride)


def _typed_tensor(arguments: tuple[Any, ...]) -> Tensor:
    """(storage of bytes, offset, shape, stride, requires_grad, hooks, type[, metadata])."""
    kind = arguments[6] if len(arguments) in (7, 8) else None
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in TYPES:
        raise ValueError("a tensor is of a type that is none")
    return replace(_tensor(arguments[:6]), typed=TYPES[kind.name])


def _parameter(arguments: tuple[Any, ...]) -> Any:
    """(tensor, requires_grad, hooks)."""
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor | Object):
        raise ValueError("a parameter is built from something that is no tensor")
    _no_hooks(arguments[2])
    return arguments[0]


def _no_hooks(hooks: Any) -> None:
    """Refuse functions that run when gradients flow, also such as come later."""
    if hooks is not None and not (isinstance(hooks, Table) and not hooks.items):
        raise ValueError("a tensor carries hooks")
    if hooks is not None:
        hooks.given = True


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    """Bytes of a pickle of protocol 2, which are kept as Latin-1 text."""
    if (
        len(arguments) != 2
        or not isinstance(arguments[0], str)
        or arguments[1] not in ("latin1", "latin-1")
    ):
        raise ValueError("bytes are kept in an unknown encoding")
    return arguments[0].encode("latin-1")


def _reconstructed(arguments: tuple[Any, ...]) -> Object:
    """An object in a pickle of protocol 0 or 1: (class, object, None)."""
    of, base = arguments[:2] if len(arguments) == 3 else (None, None)
    plain = isinstance(base, Global) and base.full in ("builtins object", "__builtin__ object")
    if not isinstance(of, Global) or not plain or arguments[2] is not None:
        raise ValueError("an object is made in a way that checkpoints do not need")
    return Object(of)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _are_whole(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= MAX_RANK
        and all(_is_whole(item) for item in value)
    )


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
