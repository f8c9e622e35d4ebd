"""What ONNX's operators make of small tables: the sizes and masks of a graph, without its data.

It computes with plain numbers: the process that reads strangers' files loads no library for this.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from ml_core.reading.onnx_file import Message

_MAX_TABLE = 1 << 17  # two masks of 248 tokens have less
_FLOATS, _BOOL = (1, 10, 11, 16), 9


class Table(NamedTuple):
    """Numbers in a row, and the sides of the table that they fill."""

    shape: tuple[int, ...]
    values: Sequence[Any]


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
            return _elementwise(_ELEMENTWISE[name], given)
        table = _OPERATORS[name](options, *given)
    except (ValueError, LookupError, TypeError, ArithmeticError):
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
    return Table(tuple(shape), [table.values[place] for place in places])


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


def _elementwise(function: Callable[..., Any], given: Sequence[Table]) -> Table:
    shape = _common([table.shape for table in given])
    columns = [_broadcast(table, shape).values for table in given]
    return Table(tuple(shape), list(map(function, *columns)))


def _integer(options: dict[str, Message], name: str, default: int) -> int:
    value: int = options.get(name, Message()).get("i", default)
    return value


def _axes(options: dict[str, Message], given: Sequence[Table], rank: int) -> set[int]:
    axes = given[0].values if given else options.get("axes", Message())["ints"]
    return {axis % rank for axis in axes}


def _cast(options: dict[str, Message], table: Table) -> Table:
    code = _integer(options, "to", 0)
    kind = float if code in _FLOATS else bool if code == _BOOL else int
    return Table(table.shape, list(map(kind, table.values)))


def _concat(options: dict[str, Message], *given: Table) -> Table:
    shape = list(given[0].shape)
    axis = _integer(options, "axis", 0) % len(shape)
    rows = math.prod(shape[:axis])
    shape[axis] = sum(table.shape[axis] for table in given)
    _places(shape, shape)
    values: list[Any] = []
    for row in range(rows):
        for table in given:
            width = len(table.values) // rows
            values += table.values[row * width : (row + 1) * width]
    return Table(tuple(shape), values)


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
    return Table((len(numbers),), list(numbers))


def _reshape(options: dict[str, Message], table: Table, sides: Table) -> Table:
    shape = [
        side or _integer(options, "allowzero", 0) or table.shape[place]
        for place, side in enumerate(sides.values)
    ]
    if -1 in shape:
        shape[shape.index(-1)] = len(table.values) // -math.prod(shape)
    return Table(tuple(shape), table.values)


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
    return Table(table.shape, values)


def _squeeze(options: dict[str, Message], table: Table, *more: Table) -> Table:
    axes = _axes(options, more, len(table.shape))
    shape = [s for axis, s in enumerate(table.shape) if (axis not in axes if axes else s != 1)]
    return Table(tuple(shape), table.values)


def _unsqueeze(options: dict[str, Message], table: Table, *more: Table) -> Table:
    count = len(more[0].values) if more else len(options["axes"]["ints"])
    shape = list(table.shape)
    for axis in sorted(_axes(options, more, len(shape) + count)):
        shape.insert(axis, 1)
    return Table(tuple(shape), table.values)


def _filled(options: dict[str, Message], sides: Table, value: Table) -> Table:
    return _broadcast(Table((), value.values), sides.values)


def _flatten(options: dict[str, Message], table: Table) -> Table:
    rows = math.prod(table.shape[: _integer(options, "axis", 1)])
    return Table((rows, len(table.values) // rows), table.values)


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
    "Div": lambda a, b: a // b if isinstance(a, int) else a / b, "Greater": operator.gt,
    "GreaterOrEqual": operator.ge, "Less": operator.lt, "LessOrEqual": operator.le, "Min": min,
    "Mod": operator.mod, "Mul": operator.mul, "Not": operator.not_, "Or": lambda a, b: a or b,
    "Sqrt": math.sqrt, "Sub": operator.sub, "Where": lambda test, a, b: a if test else b,
}  # fmt: skip
