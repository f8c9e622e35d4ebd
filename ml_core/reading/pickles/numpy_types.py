"""Types, arrays and scalars of NumPy as a pickle describes them, checked before they are kept.

NumPy believes the state of a type: where it says that bytes are objects, or that a field lies
outside an element, an ordinary loader reads memory that is not the array's.
"""

from __future__ import annotations

import re
from math import prod
from struct import calcsize, unpack
from typing import Any

from ml_core.reading.pickles.reading import Budget, Global, Object, PickleError, Table

_TYPE = re.compile(
    r"[<>=|]?(\?|b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)"
    r"|[mM]8(?:\[\w{1,20}\])?|O[48]?|[SUVa]\d{0,12})"
)
_SIZED = "SUVa"  # types whose size and alignment stand in their state
_MAX_FIELDS = 256
_MAX_RANK = 64
_MAX_SIDE = 1 << 48
_REFERENCES, _POINTERS = 1, 0b111  # flags of numpy: the elements are objects; those that say so


def check_call(called: Global, arguments: tuple[Any, ...], budget: Budget) -> None:
    """Check the arguments of a class or function of NumPy.

    Raises
    ------
    PickleError
        If they are not those that NumPy's own pickles have.
    """
    if called.full == "numpy dtype":
        _new_type(arguments)
    elif called.name == "_reconstruct":
        of, shape, kind = arguments if len(arguments) == 3 else (None, None, None)
        plain = isinstance(of, Global) and of.full == "numpy ndarray"
        if not plain or shape != (0,) or kind not in (b"b", "b"):
            raise PickleError("an array of numpy is begun in an unusual way")
    elif called.name in ("scalar", "_frombuffer"):
        at = 1 if called.name == "_frombuffer" else 0
        kind = arguments[at] if len(arguments) > at else None
        if holds_objects(kind, budget):
            raise PickleError("a number of numpy takes its bytes for an object")
        held = arguments[1 - at] if len(arguments) > 1 else None
        shape = arguments[2] if at and len(arguments) > 2 else ()
        _check_length(shape, kind, held)


def number_of(scalar: Object) -> float | None:
    """The value of a floating point number of NumPy; None of anything else."""
    if scalar.of.name != "scalar" or len(scalar.arguments) != 2:
        return None
    kind, held = scalar.arguments
    if not isinstance(kind, Object) or not kind.arguments or not isinstance(held, bytes):
        return None
    form = {"f4": "f", "f8": "d"}.get(str(kind.arguments[0]).lstrip("<>="))
    if form is None or len(held) != calcsize(form):
        return None
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    return float(unpack(f"{'>' if order == '>' else '<'}{form}", held)[0])


def check_type(onto: Object, state: Any, budget: Budget) -> None:
    """Check the state of a type: (version, order, base, names, fields, size, alignment, ...).

    Raises
    ------
    PickleError
        If it is not that of a type, or contradicts it.
    """
    fits = isinstance(state, tuple) and 7 <= len(state) <= 9
    if not fits or not isinstance(state[1], str) or len(state[1]) != 1 or state[1] not in "<>=|":
        raise PickleError("a type of numpy has no valid state")
    _, _, base, names, fields, size, alignment = state[:7]
    flags = state[7] if len(state) > 7 else None
    sized = _letter(onto) in _SIZED
    whole = all(_is_whole(value, -1) for value in (size, alignment))
    if not whole or size not in ((_size(onto),) if sized else (-1, _size(onto))):
        raise PickleError("a type of numpy has another size than it says")
    if alignment == 0 or alignment > 64:
        raise PickleError("a type of numpy has no valid alignment")
    inner = _base(onto, base) + _fields(onto, names, fields)
    if (inner or names) and _letter(onto) != "V":
        raise PickleError("a number of numpy has fields")
    objects = _letter(onto) == "O"
    for kind in inner:
        objects = holds_objects(kind, budget) or objects
    if flags is not None and not (_is_whole(flags, -128) and flags < 256):
        raise PickleError("a type of numpy has no valid flags")
    if flags is not None and bool(flags & (_REFERENCES if objects else _POINTERS)) != objects:
        raise PickleError("a type of numpy lies about whether it holds objects")


def check_array(state: Any, budget: Budget) -> None:
    """Check the state of an array: (version, shape, type, by columns, bytes or list of objects).

    Raises
    ------
    PickleError
        If it is not that of an array.
    """
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], int):
        raise PickleError("an array of numpy has no valid state")
    _, shape, kind, _, held = state
    if not isinstance(held, bytes | bytearray | str | list) and not _is_encoded(held):
        raise PickleError("an array of numpy has no valid numbers")
    if holds_objects(kind, budget) != isinstance(held, list):
        raise PickleError("an array of numpy takes its bytes for objects")
    _check_length(shape, kind, held)


def holds_objects(kind: Any, budget: Budget) -> bool:
    """Whether a type of numpy, or one inside it, is that of Python's objects.

    Raises
    ------
    PickleError
        If it is no type.
    """
    objects = False
    left = [kind]
    while left:
        budget.spend(1)
        item = left.pop()
        objects = objects or _letter(item) == "O"
        if not isinstance(item.state, tuple):
            continue
        base, fields = item.state[2], item.state[4]
        if isinstance(base, tuple):
            left.append(base[0])
        if isinstance(fields, Table):
            left.extend(field[0] for _, field in fields.items)
        if len(left) > _MAX_FIELDS:
            raise PickleError("a type of numpy is nested too deeply")
    return objects


def _new_type(arguments: tuple[Any, ...]) -> None:
    text = arguments[0] if arguments else None
    plain = all(value in (0, 1) for value in arguments[1:] if isinstance(value, int))
    if not isinstance(text, str) or not _TYPE.fullmatch(text):
        raise PickleError("a type of numpy is none that holds numbers or text")
    if len(arguments) > 3 or not plain or not all(isinstance(v, int) for v in arguments[1:]):
        raise PickleError("a type of numpy is made in an unusual way")


def _text(kind: Any) -> str:
    """A type's own text, without its byte order."""
    if not isinstance(kind, Object) or kind.of.full != "numpy dtype" or not kind.arguments:
        raise PickleError("an array of numpy has no valid type")
    return str(kind.arguments[0]).lstrip("<>=|")


def _letter(kind: Any) -> str:
    return _text(kind)[0]


def _size(kind: Any) -> int:
    """Bytes of an element."""
    text = _text(kind).partition("[")[0]
    count = int(text[1:] or (8 if text == "O" else text == "?"))
    return 4 * count if text[0] == "U" else count


def _base(onto: Object, base: Any) -> list[Any]:
    """The type of elements that are arrays themselves: (type, shape)."""
    if base is None:
        return []
    if not isinstance(base, tuple) or len(base) != 2 or not _is_shape(base[1]):
        raise PickleError("a type of numpy has no valid base")
    if _size(base[0]) * prod(base[1]) != _size(onto):
        raise PickleError("a type of numpy has another size than its base")
    return [base[0]]


def _fields(onto: Object, names: Any, fields: Any) -> list[Any]:
    """The types of its fields; each field must lie inside an element."""
    if names is None and fields is None:
        return []
    if not isinstance(names, tuple) or not isinstance(fields, Table):
        raise PickleError("a type of numpy has no valid fields")
    if len(fields.items) > _MAX_FIELDS:
        raise PickleError("a type of numpy has too many fields")
    keys = [key for key, _ in fields.items]
    if not all(isinstance(key, str) for key in (*names, *keys)) or not set(names) <= set(keys):
        raise PickleError("a type of numpy has no valid names of fields")
    if len(set(names)) != len(names) or len(set(keys)) != len(keys):
        raise PickleError("a type of numpy has two fields of one name")
    size = _size(onto)
    for _, field in fields.items:
        if not isinstance(field, tuple) or len(field) not in (2, 3) or not _is_whole(field[1], 0):
            raise PickleError("a type of numpy has no valid fields")
        if field[1] + _size(field[0]) > size:
            raise PickleError("a field of a type of numpy lies outside its elements")
    return [field[0] for _, field in fields.items]


def _check_length(shape: Any, kind: Any, held: Any) -> None:
    """Compare a shape with the bytes or the objects that are there."""
    if not _is_shape(shape):
        raise PickleError("an array of numpy has no valid shape")
    expected = prod(shape) * (1 if isinstance(held, list) else _size(kind))
    length = len(held) if isinstance(held, bytes | bytearray | str | list) else None
    if _is_encoded(held):
        length = 0
    if length is not None and length != expected:
        raise PickleError(f"an array of numpy needs {expected} bytes or objects and has {length}")


def _is_encoded(held: Any) -> bool:
    """Empty bytes of protocols 0 to 2: ``bytes()``."""
    return isinstance(held, Object) and held.of.name == "bytes" and not held.arguments


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= _MAX_RANK
        and all(_is_whole(side, 0) and side < _MAX_SIDE for side in shape)
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
