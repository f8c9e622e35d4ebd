"""Which numbers lie along which axis: how a value is laid out, whatever moved it.

An axis is a row of parts, the outermost first. A part is what it counts ("pictures", "width"), how
far apart two of its steps lie in that, and how many there are: 768 numbers in 12 heads are
``("width", 64, 12)`` and ``("width", 1, 64)``. Parts that were split and come together again are
one; a side of 1 has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod

Part = tuple[str, int, int]
Axis = tuple[Part, ...]
Axes = tuple[Axis, ...]
REPEATED = "repeated"


def axis(name: str, size: int, step: int = 1) -> Axis:
    """Make an axis of one part."""
    return ((name, step, size),) if size != 1 else ()


def side(parts: Axis) -> int:
    """Count the numbers along an axis."""
    return prod(size for _, _, size in parts)


def sides(axes: Axes) -> tuple[int, ...]:
    """Give the shape."""
    return tuple(map(side, axes))


def filled(axes: Axes) -> Axes:
    """Leave sides of 1 out."""
    return tuple(filter(None, axes))


def joined(parts: Iterable[Part]) -> Axis:
    """Make one of parts that belong together."""
    row: list[Part] = []
    for name, step, size in parts:
        if row and row[-1][0] == name and row[-1][1] == step * size:
            row[-1] = (name, step, row[-1][2] * size)
        else:
            row.append((name, step, size))
    return tuple(row)


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Cut the same numbers, in the same order, into other sides; None where no part allows it."""
    rest = list(joined(chain.from_iterable(axes)))[::-1]
    result: list[Axis] = []
    for wanted in shape:
        taken: list[Part] = []
        while wanted > 1 and rest:
            name, step, size = rest.pop()
            if wanted % size == 0:
                taken.append((name, step, size))
                wanted //= size
            elif size % wanted == 0:
                inner = size // wanted
                taken.append((name, step * inner, wanted))
                rest.append((name, step, inner))
                wanted = 1
            else:
                return None
        if wanted != 1:
            return None
        result.append(joined(taken))
    return None if rest else tuple(result)


def expanded(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """Repeat sides of 1."""
    return aligned([axes, tuple(axis(REPEATED, size, 0) for size in shape)])


def aligned(several: Sequence[Axes]) -> Axes | None:
    """The axes of what is computed number by number; None where unlike numbers meet."""
    rank = max(map(len, several))
    result: list[Axis] = []
    for column in zip(*(((),) * (rank - len(axes)) + axes for axes in several), strict=True):
        sizes = {side(parts) for parts in column if parts}
        kinds = {parts for parts in column if parts and parts[0][0] != REPEATED}
        if len(sizes) > 1 or len(kinds) > 1:
            return None
        result.append(next(iter(kinds), max(column)))
    return tuple(result)


def product(one: Axes, other: Axes, columns: str = "") -> Axes | None:
    """The axes of a product of matrices.

    Parameters
    ----------
    columns
        What the names of the parts of its last axis begin with.
    """
    if min(len(one), len(other)) < 2 or one[-1] != other[-2]:
        return None
    outer = aligned([one[:-2], other[:-2]])
    last = tuple((columns + name, step, size) for name, step, size in other[-1])
    return None if outer is None else (*outer, one[-2], last)
