"""A chart against the learning rate, on an axis of powers of ten."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.series import series_csv
from ml_core.cleaning.rate_range import Proposal
from ml_core.figures import rate_text

if TYPE_CHECKING:
    import pyqtgraph as pg

_BAND_ALPHA = 34


class RateChart(Chart):
    """A `Chart` whose horizontal place is the logarithm to base 10 of a rate.

    :meth:`show_proposal` marks the range that is worth trying as a band, and the start as a line.
    """

    band: pg.LinearRegionItem | None = None
    start: pg.InfiniteLine | None = None
    _marks: tuple[float | None, ...] = (None, None, None)
    _ends = (-6.0, -2.0)

    def set_ramp(self, low: float, high: float) -> None:
        """Let the axis run from the first rate to the last from the beginning."""
        self._ends = (math.log10(low), math.log10(high))
        self._fit()

    def add(
        self, key: str, rate: float, y: float, low: float = math.nan, high: float = math.nan
    ) -> None:
        """Add a point at a rate, with an interval if there is one."""
        self.append(key, math.log10(rate), y, low, high)

    def show_proposal(self, proposal: Proposal | None) -> None:
        """Mark what was proposed; None takes the marks away."""
        self._marks = (proposal.low, proposal.high, proposal.start) if proposal else (None,) * 3
        self.dress()

    def csv(self) -> str:
        """Every point of every series."""
        return series_csv("log10_rate", (self.series(key) for key in self.keys()))

    def furnish(self, plot: pg.PlotWidget) -> None:
        """Add the marks of a proposal."""
        import pyqtgraph as pg

        super().furnish(plot)
        plot.getAxis("bottom").tickValues = decades
        plot.getAxis("bottom").tickStrings = decade_ticks
        self.band = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self.band.setZValue(-20)
        self.start = pg.InfiniteLine(angle=90, movable=False)
        self.start.setZValue(-6)
        for item in (self.band, self.start):
            item.hide()
            plot.addItem(item, ignoreBounds=True)

    def dress(self) -> None:
        """Put on the colours of the theme, also to the marks."""
        super().dress()
        if self.plot is None or self.band is None or self.start is None:
            return
        self.plot.getAxis("bottom").setGrid(48)
        if self._level_line is not None:  # accuracy comes from above
            self._level_line.label.anchors = [(0, 0), (0, 0)]
            self._level_line.label.updatePosition()
        low, high, start = self._marks
        self.band.setVisible(low is not None)
        self.start.setVisible(low is not None)
        if low is None or high is None or start is None:
            return
        colour = theme.colour("success")
        self.start.setPen(colour, width=2)
        self.start.setPos(math.log10(start))
        self.band.setRegion((math.log10(low), math.log10(high)))
        colour.setAlpha(_BAND_ALPHA)
        self.band.setBrush(colour)

    def place_words(self, at: float | None) -> str:
        """The rate at the crosshair."""
        return "by learning rate" if at is None else f"rate {rate_text(10**at)}"

    def _fit(self) -> None:
        """Show the whole ramp and all that was measured, unless the user has zoomed."""
        if self.plot is None or not self._own_view:
            return
        view = self.plot.getViewBox()
        view.setXRange(*self._ends, padding=0.015)
        columns = [self.series(key).arrays() for key in self.keys() if len(self.series(key))]
        if not columns:
            return
        bottom = min(float(np.fmin(y, low).min()) for _, y, low, _ in columns)
        top = max(float(np.fmax(y, high).max()) for _, y, _, high in columns)
        if self.level is not None:
            bottom, top = min(bottom, self.level[0]), max(top, self.level[0])
        view.setYRange(bottom, top if top > bottom else bottom + 1, padding=0.08)


def decades(low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
    """Marks at powers of ten; where less than two are in sight, at 1, 2 and 5 times them."""
    whole = [float(e) for e in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) > 1:
        return [(1.0, whole)]
    parts = [
        exponent + math.log10(mantissa)
        for exponent in range(math.floor(low), math.floor(high) + 1)
        for mantissa in (1, 2, 5)
    ]
    return [(0.3, [place for place in parts if low <= place <= high])]


def decade_ticks(values: list[float], scale: float, spacing: float) -> list[str]:
    """The rates at logarithms."""
    return [rate_text(10**value) for value in values]
