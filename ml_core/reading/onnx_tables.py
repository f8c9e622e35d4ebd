"""What ONNX's operators make of small tables: the sizes and masks of a graph, without its data.

It computes with plain numbers: the process that reads strangers' files loads no library for this.

Each number carries its origin. A *size* is a number of pictures, of texts or of tokens, or what
sums and products make of them, in which each occurs once: what holds for a few sizes then holds for
all. A *choice* follows from a comparison or from a place. A number of the caller's mask is known by
its row and its token. What may be anything else is `UNCLEAR`.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple

from ml_core.reading.onnx_file import DTYPES, Message

CONSTANT, PICTURES, TEXTS, LENGTH, SIDE, CHOICE, MASKED = 0, 1, 2, 4, 8, 16, 32
UNCLEAR = -1
_MAX_TABLE = 1 << 17  # two masks of 248 tokens have less
_BITS = {  # of whole numbers; less than 0 for those with a sign
    "U8": 8, "I8": -8, "U16": 16, "I16": -16, "U32": 32, "I32": -32, "U64": 64, "I64": -64,
}  # fmt: skip
_ROUNDED = {  # struct's letter of each, and what is infinite
    "F32": ("f", 3.4028235e38), "F16": ("e", 65519), "BF16": ("f", 3.39e38), "F64": ("d", math.inf),
}  # fmt: skip
_EXACT = ("I32", "I64", "F32", "F64")


class Table(NamedTuple):
    """Numbers in a row, and the sides of the table that they fill.

    Parameters
    ----------
    dtype
        safetensors' name of their type.
    origins
        Where each comes from: `CONSTANT`, a sum of `PICTURES`, `TEXTS`, `LENGTH` and `SIDE`
        (of a picture), `CHOICE`, the
        name of a number of the caller's mask, or `UNCLEAR`; empty for constants alone.
    varies
        Whether its sides follow from a size.
    """

    shape: tuple[int, ...]
    values: Sequence[Any]
    dtype: str = "I64"
    origins: Sequence[int] = ()
    varies: bool = False


def mask_origin(place: int) -> int:
    """Name a number of the caller's mask by its place."""
    return MASKED * (place + 1) + CHOICE


def is_constant(table: Table) -> bool:
    """Whether no number follows from what the caller gives."""
    return not any(table.origins)


def are_sizes(table: Table) -> bool:
    """Whether all numbers are constants or sizes."""
    return all(0 <= origin < CHOICE for origin in table.origins)


def counts(table: Table, step: int = 1) -> bool:
    """Whether the numbers count from 0 by a step."""
    return list(table.values) == list(range(0, step * len(table.values), step))


def compute(name: str, options: dict[str, Message], given: Sequence[Table]) -> Table | None:
    """Compute the output of an operator.

    Parameters
    ----------
    name, options
        The operator and its attributes.

    Returns
    -------
    Table or None
        None where the inputs do not fit, or the table would be large.
    """
    try:
        if name in _ELEMENTWISE:
            table = _elementwise(name, given)
        else:
            table = _OPERATORS[name](options, *given)
            if name in _MOVING:
                table = _traced(name, options, table, given)
    except (ValueError, LookupError, TypeError, ArithmeticError, struct.error):
        return None
    return table if math.prod(table.shape) == len(table.values) else None


def is_known(name: str) -> bool:
    """Whether exporters compute sizes and masks with this operator."""
    return name in _ELEMENTWISE or name in _OPERATORS


def _steps(shape: Sequence[int]) -> list[int]:
    """How far apart neighbours along each side lie."""
    return list(accumulate([1, *reversed(shape[1:])], operator.mul))[::-1][: len(shape)]


def _places(shape: Sequence[int], steps: Sequence[int], start: int = 0) -> list[int]:
    """Where the numbers of a part of a table lie."""
    if math.prod(shape) > _MAX_TABLE or min(shape, default=0) < 0:
        raise ValueError
    places = [start]
    for side, step in zip(shape, steps, strict=True):
        places = [place + number * step for place in places for number in range(side)]
    return places


def _taken(table: Table, shape: Sequence[int], places: Sequence[int]) -> Table:
    origins = [table.origins[place] for place in places] if table.origins else ()
    return Table(
        tuple(shape), [table.values[place] for place in places], table.dtype, origins, table.varies
    )


def _broadcast(table: Table, shape: Sequence[int]) -> Table:
    sides = [1] * (len(shape) - len(table.shape)) + list(table.shape)
    if any(side not in (1, whole) for side, whole in zip(sides, shape, strict=True)):
        raise ValueError
    steps = [0 if side == 1 else step for side, step in zip(sides, _steps(sides), strict=True)]
    return _taken(table, shape, _places(shape, steps))


def _common(shapes: Sequence[Sequence[int]]) -> list[int]:
    """The shape that all are repeated to."""
    rank = max(map(len, shapes))
    columns = zip(*([1] * (rank - len(shape)) + list(shape) for shape in shapes), strict=True)
    return [next((side for side in sides if side != 1), 1) for sides in columns]


def _elementwise(name: str, given: Sequence[Table]) -> Table:
    shape = _common([table.shape for table in given])
    wide = [_broadcast(table, shape) for table in given]
    values = list(map(_ELEMENTWISE[name], *(table.values for table in wide)))
    dtype = "BOOL" if name in _TESTS else given[1 if name == "Where" else 0].dtype
    varies = any(table.varies for table in given)
    table = Table(tuple(shape), _fit(dtype, values), dtype, varies=varies)
    if all(map(is_constant, given)):
        return table
    origins = [one.origins or [CONSTANT] * len(values) for one in wide]
    return table._replace(origins=_origins(name, given, table, origins))


def _origins(
    name: str, given: Sequence[Table], table: Table, origins: Sequence[Sequence[int]]
) -> Sequence[int]:
    """Where the results of an elementwise operator come from."""
    others = [one.values for one in given if is_constant(one)]
    unclear = [UNCLEAR] * len(table.values)
    if all(map(are_sizes, given)):
        if name == "Equal" and others and set(others[0]) == {-1}:
            return ()  # no size is -1
        if name in _COMPARISONS:
            places = all(is_constant(one) or (len(one.values) > 1 and counts(one)) for one in given)
            return [CHOICE] * len(table.values) if places else unclear
        plain = (
            name in ("Add", "Sub")
            or (name == "Mul" and not any(map(operator.and_, *origins)))
            or (name == "Max" and others and max(others[0]) <= 1)
            or (name == "Where" and is_constant(given[0]))
            or (name == "Div" and is_constant(given[1]) and _divides(*given))
        )
        if not plain:
            return unclear
    return [reduce(_meet, column) for column in zip(*origins, strict=True)]


def _divides(table: Table, by: Table) -> bool:
    """Whether a division by one number leaves nothing."""
    return len(by.values) == 1 and not any(value % by.values[0] for value in table.values)


def _meet(one: int, other: int) -> int:
    """Where a number comes from that follows from two."""
    if one and other:
        are_choices = one >= CHOICE, other >= CHOICE
        two_of_the_mask = min(one, other) >= MASKED and one != other
        if min(one, other) < 0 or are_choices[0] != are_choices[1] or two_of_the_mask:
            return UNCLEAR
    both = one | other
    return UNCLEAR if both < CHOICE and both & PICTURES and both & (TEXTS | LENGTH) else both


def _traced(name: str, options: dict[str, Message], table: Table, given: Sequence[Table]) -> Table:
    """What an operator moved, with the origins of the numbers."""
    first, *rest = given
    steered = reduce(_meet, (origin for other in rest for origin in other.origins), CONSTANT)
    origins, count = table.origins, len(table.values)
    of_mask = bool(origins) and min(first.origins) >= MASKED
    varies = first.varies or steered != CONSTANT
    clear = CONSTANT <= steered < CHOICE
    if name in ("Gather", "GatherND", "Slice") and not of_mask:
        if steered and counts(first) and are_sizes(first) and name != "GatherND":
            origins = [_meet(steered, origin) for origin in origins or [CONSTANT] * count]
            clear = clear and (name == "Gather" or _is_front(rest))
        elif steered:
            origins = [CHOICE] * count
            clear = clear and name == "Slice" and is_constant(first) and _is_front(rest)
        elif first.varies:
            clear = name == "Slice" and min(*rest[0].values, *rest[1].values) >= 0
            clear = clear or (name == "Gather" and min(rest[0].values, default=0) >= 0)
    elif name in ("Reshape", "Flatten") and first.varies and not of_mask:
        clear = clear and [s for s in first.shape if s > 1] == [s for s in table.shape if s > 1]
    elif name == "Trilu" and varies:
        clear, origins = clear and are_sizes(first), [CHOICE] * count
    elif name == "Cast" and any(origins) and are_sizes(first):
        clear = table.dtype in _EXACT
    return table._replace(origins=origins if clear else [UNCLEAR] * count, varies=varies)


def _is_front(bounds: Sequence[Table]) -> bool:
    """Whether a Slice takes what stands first."""
    starts, ends, *more = bounds
    steps = more[1].values if len(more) > 1 else ()
    return {*starts.values} == {0} and min(ends.values) >= 0 and {*steps} <= {1}


def _quotient(number: int, by: int) -> int:
    """A division of whole numbers, rounded towards 0."""
    return number // by if (number < 0) == (by < 0) else -(-number // by)


def _fit(dtype: str, values: list[Any]) -> list[Any]:
    """Numbers as their type holds them: whole ones wrap, others are rounded."""
    if bits := _BITS.get(dtype, 0):
        span = 1 << abs(bits)
        low = 0 if bits > 0 else -span // 2
        return [(value - low) % span + low for value in values]
    if dtype in _ROUNDED:
        letter, largest = _ROUNDED[dtype]
        row = struct.Struct(f"<{len(values)}{letter}")
        finite = [v if abs(v) < largest else math.copysign(math.inf, v) for v in values]
        return list(row.unpack(row.pack(*finite)))
    return values


def _integer(options: dict[str, Message], name: str, default: int) -> int:
    value: int = options.get(name, Message()).get("i", default)
    return value


def _axes(options: dict[str, Message], given: Sequence[Table], rank: int) -> set[int]:
    axes = given[0].values if given else options.get("axes", Message())["ints"]
    return {axis % rank for axis in axes}


def _cast(options: dict[str, Message], table: Table) -> Table:
    dtype = DTYPES[_integer(options, "to", 0)]
    kind: Any = float if dtype in _ROUNDED else bool if dtype == "BOOL" else int
    return table._replace(values=_fit(dtype, list(map(kind, table.values))), dtype=dtype)


def _concat(options: dict[str, Message], *given: Table) -> Table:
    shape = list(given[0].shape)
    axis = _integer(options, "axis", 0) % len(shape)
    rows = math.prod(shape[:axis])
    shape[axis] = sum(table.shape[axis] for table in given)
    _places(shape, shape)
    values: list[Any] = []
    origins: list[int] = []
    for row in range(rows):
        for table in given:
            width = len(table.values) // rows
            values += table.values[row * width : (row + 1) * width]
            origins += (table.origins or [0] * len(table.values))[row * width : (row + 1) * width]
    varies = any(table.varies for table in given)
    if any(table.varies and table.shape[axis] != 1 for table in given):
        origins = [UNCLEAR] * len(values)
    return Table(tuple(shape), values, given[0].dtype, origins if any(origins) else (), varies)


def _gather(options: dict[str, Message], table: Table, chosen: Table) -> Table:
    axis = _integer(options, "axis", 0) % len(table.shape)
    before, side, behind = table.shape[:axis], table.shape[axis], table.shape[axis + 1 :]
    steps, inner = _steps(table.shape), math.prod(behind)
    shape = (*before, *chosen.shape, *behind)
    _places(shape, shape)
    places = [
        start + choice % side * steps[axis] + place
        for start in _places(before, steps[:axis])
        for choice in chosen.values
        for place in range(inner)
    ]
    return _taken(table, shape, places)


def _gather_nd(options: dict[str, Message], table: Table, chosen: Table) -> Table:
    depth, steps = chosen.shape[-1], _steps(table.shape)
    shape = (*chosen.shape[:-1], *table.shape[depth:])
    _places(shape, shape)
    rows = [chosen.values[at : at + depth] for at in range(0, len(chosen.values), depth)]
    inner = range(math.prod(table.shape[depth:]))
    starts = [sum(map(operator.mul, row, steps)) for row in rows]
    return _taken(table, shape, [start + place for start in starts for place in inner])


def _range(options: dict[str, Message], start: Table, stop: Table, step: Table) -> Table:
    numbers = range(start.values[0], stop.values[0], step.values[0])
    _places([len(numbers)], [1])
    (limit,) = stop.origins or (CONSTANT,)
    if not (is_constant(start) and is_constant(step) and are_sizes(stop)):
        limit = UNCLEAR
    return Table((len(numbers),), list(numbers), start.dtype, [limit] * len(numbers), limit != 0)


def _reshape(options: dict[str, Message], table: Table, sides: Table) -> Table:
    shape = [
        side or _integer(options, "allowzero", 0) or table.shape[place]
        for place, side in enumerate(sides.values)
    ]
    if -1 in shape:
        shape[shape.index(-1)] = len(table.values) // -math.prod(shape)
    return table._replace(shape=tuple(shape))


def _slice(
    options: dict[str, Message], table: Table, starts: Table, ends: Table, *more: Table
) -> Table:
    axes = more[0].values if more else range(len(starts.values))
    strides = more[1].values if len(more) > 1 else [1] * len(starts.values)
    shape, steps, start = list(table.shape), _steps(table.shape), 0
    for axis, first, last, stride in zip(axes, starts.values, ends.values, strides, strict=True):
        cut = range(table.shape[axis])[first:last:stride]
        start += steps[axis] * cut.start
        steps[axis] *= stride
        shape[axis] = len(cut)
    return _taken(table, shape, _places(shape, steps, start))


def _transpose(options: dict[str, Message], table: Table) -> Table:
    order = options["perm"]["ints"] if "perm" in options else range(len(table.shape))[::-1]
    steps = _steps(table.shape)
    shape = [table.shape[axis] for axis in order]
    return _taken(table, shape, _places(shape, [steps[axis] for axis in order]))


def _triangle(options: dict[str, Message], table: Table, *more: Table) -> Table:
    shift = more[0].values[0] if more else 0
    upper, (rows, side) = _integer(options, "upper", 1), table.shape[-2:]
    values = [
        value if (column - row >= shift if upper else column - row <= shift) else 0
        for place, value in enumerate(table.values)
        for row, column in [divmod(place % (rows * side), side)]
    ]
    return table._replace(values=values)


def _squeeze(options: dict[str, Message], table: Table, *more: Table) -> Table:
    axes = _axes(options, more, len(table.shape))
    shape = [s for axis, s in enumerate(table.shape) if (axis not in axes if axes else s != 1)]
    return table._replace(shape=tuple(shape))


def _unsqueeze(options: dict[str, Message], table: Table, *more: Table) -> Table:
    count = len(more[0].values) if more else len(options["axes"]["ints"])
    shape = list(table.shape)
    for axis in sorted(_axes(options, more, len(shape) + count)):
        shape.insert(axis, 1)
    return table._replace(shape=tuple(shape))


def _filled(options: dict[str, Message], sides: Table, value: Table) -> Table:
    (number,) = value.values
    filled = _broadcast(Table((), [number], value.dtype), sides.values)
    origins = () if are_sizes(sides) else [UNCLEAR] * len(filled.values)
    return filled._replace(origins=origins, varies=not is_constant(sides))


def _flatten(options: dict[str, Message], table: Table) -> Table:
    rows = math.prod(table.shape[: _integer(options, "axis", 1)])
    return table._replace(shape=(rows, len(table.values) // rows))


def _itself(options: dict[str, Message], table: Table, *more: Table) -> Table:
    return table


def _weights(options: dict[str, Message], *given: Table) -> Table:
    """Weights are no sizes."""
    raise ValueError


_OPERATORS: dict[str, Callable[..., Table]] = {
    "Cast": _cast, "Concat": _concat, "ConstantOfShape": _filled, "DequantizeLinear": _weights,
    "Dropout": _itself, "Expand": lambda _, table, sides: _broadcast(table, _common([table.shape,
    sides.values])), "Flatten": _flatten, "Gather": _gather, "GatherND": _gather_nd,
    "Identity": _itself, "Range": _range, "Reshape": _reshape, "Slice": _slice,
    "Squeeze": _squeeze, "Transpose": _transpose, "Trilu": _triangle, "Unsqueeze": _unsqueeze,
}  # fmt: skip
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": operator.add, "And": lambda a, b: a and b, "Equal": operator.eq, "Max": max,
    "Div": lambda a, b: _quotient(a, b) if isinstance(a, int) else a / b, "Greater": operator.gt,
    "GreaterOrEqual": operator.ge, "Less": operator.lt, "LessOrEqual": operator.le, "Min": min,
    "Mod": operator.mod, "Mul": operator.mul, "Not": operator.not_, "Or": lambda a, b: a or b,
    "Sqrt": math.sqrt, "Sub": operator.sub, "Where": lambda test, a, b: a if test else b,
}  # fmt: skip
_COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_TESTS = (*_COMPARISONS, "And", "Not", "Or")
_MOVING = ("Cast", "Dropout", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape",
    "Slice", "Squeeze", "Transpose", "Trilu", "Unsqueeze")  # fmt: skip
