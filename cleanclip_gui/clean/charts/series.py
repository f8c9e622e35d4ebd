"""The numbers behind a chart: what is kept, what is drawn, what is exported."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml_core.exports import to_csv

# Dash patterns in units of the pen's width; None is a solid line.
DASHES: tuple[tuple[float, ...] | None, ...] = (None, (5, 3), (1.5, 2.5), (8, 3, 1.5, 3), (3, 2))


@dataclass(frozen=True)
class SeriesStyle:
    """How a series looks: a colour of the theme and a dash pattern, both by number.

    A chart's only series can be ``solid``, whatever its number. ``dash`` is the pattern's number
    where it is not that of the colour; ``symbol`` is pyqtgraph's name of the marker.
    """

    key: str
    label: str
    look: int = 0
    markers: bool = False
    solid: bool = False
    dash: int | None = None
    symbol: str = "o"


@dataclass
class Series:
    """Points of one series as doubles; ``low`` and ``high`` are NaN without an interval."""

    style: SeriesStyle
    _x: array[float] = field(default_factory=lambda: array("d"))
    _y: array[float] = field(default_factory=lambda: array("d"))
    _low: array[float] = field(default_factory=lambda: array("d"))
    _high: array[float] = field(default_factory=lambda: array("d"))

    def append(self, x: float, y: float, low: float = math.nan, high: float = math.nan) -> bool:
        """Add a point; whether it was kept (a value that is not finite is not)."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return False
        for column, value in zip(self._columns(), (x, y, low, high), strict=True):
            column.append(value)
        return True

    def clear(self) -> None:
        """Forget every point."""
        for column in self._columns():
            del column[:]

    def __len__(self) -> int:
        return len(self._x)

    def arrays(self) -> tuple[NDArray[np.float64], ...]:
        """Copies of x, y, low and high, each float64 [n]."""
        return tuple(np.array(column, dtype=np.float64) for column in self._columns())

    def at(self, x: float) -> int | None:
        """Index of the point nearest to ``x``; None if there is none."""
        if not self._x:
            return None
        return int(np.argmin(np.abs(np.frombuffer(self._x) - x)))

    def point(self, index: int) -> tuple[float, float]:
        """One point as x and y."""
        return self._x[index], self._y[index]

    def _columns(self) -> tuple[array[float], ...]:
        return (self._x, self._y, self._low, self._high)


def series_csv(x_name: str, series: Iterable[Series]) -> str:
    """Every point of every series as CSV, one row for each x, with intervals where measured."""
    rows: dict[float, dict[str, float]] = {}
    names: list[str] = []
    for curve in series:
        x, y, low, high = curve.arrays()
        key = curve.style.key
        names.append(key)
        banded = bool(np.isfinite(low).any())
        if banded:
            names += [f"{key}_low", f"{key}_high"]
        for i in range(len(x)):
            row = rows.setdefault(float(x[i]), {})
            row[key] = float(y[i])
            if banded:
                row[f"{key}_low"], row[f"{key}_high"] = float(low[i]), float(high[i])
    cells = [[f"{at:g}", *(_cell(rows[at].get(name)) for name in names)] for at in sorted(rows)]
    return to_csv([[x_name, *names], *cells])


def _cell(value: float | None) -> str:
    """A number with nine significant digits; empty where nothing was measured."""
    return "" if value is None or not math.isfinite(value) else f"{value:.9g}"
