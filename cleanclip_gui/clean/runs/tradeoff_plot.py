"""What is drawn in a trade-off chart: runs, the Pareto front, limits and the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush
from PySide6.QtWidgets import QGraphicsRectItem

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.parts import SYMBOLS, series_pen
from cleanclip_gui.clean.charts.run_marks import mark_colour, ring_pen
from cleanclip_gui.clean.charts.series import SeriesStyle
from ml_core.cleaning.tradeoff import Aim, Head, Limits, Point, pareto

_SIZE, _RING = 11, 19
_CLEAR = (7, 13)  # pixels between a limit's text and the middle of a point: at least, better
_PLACES = 24  # of a limit's text along its line, of which one is chosen


@dataclass(frozen=True)
class Track:
    """The evaluations of one run, under its mark and name.

    ``points`` are those of the zero-shot classifier, ``linear`` those of the linear head that the
    run trains; ``start`` is where accuracy began, if not at the first of the points.
    """

    key: str
    mark: int
    label: str
    points: tuple[Point, ...]
    linear: tuple[Point, ...] = ()
    start: float | None = None

    @property
    def start_ca(self) -> float | None:
        """Clean accuracy before the first step."""
        if self.start is not None:
            return self.start
        return self.points[0].ca if self.points else None

    def of(self, head: Head) -> Track:
        """The evaluations with one head.

        The checkpoint before cleaning has no linear head: what is lost counts from its zero-shot
        accuracy, and not from a head before its first step.
        """
        if head == "zero-shot":
            return self
        label = self.label if self.linear else f"{self.label} (no linear head)"
        return replace(self, points=self.linear, label=label, start=self.start_ca)


@dataclass(frozen=True)
class Spot:
    """One drawn point: its run, and where it is."""

    track: Track
    point: Point
    x: float
    y: float
    on_front: bool


def spots_of(tracks: Sequence[Track], aim: Aim) -> tuple[Spot, ...]:
    """Every point that has the number on the horizontal axis, run by run, step by step."""
    pairs = [(track, point) for track in tracks for point in track.points]
    front = set(pareto([point for _, point in pairs], aim))
    return tuple(
        Spot(track, point, value, point.ca, number in front)
        for number, (track, point) in enumerate(pairs)
        if (value := point.aim(aim)) is not None
    )


def shared_start(tracks: Sequence[Track]) -> float | None:
    """Accuracy from which the drop is counted: the highest start of the runs shown."""
    starts = [track.start_ca for track in tracks if track.start_ca is not None]
    return max(starts, default=None)


def staircase(front: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The edge of what was reached: down first, then over to the next point of the front."""
    x = [front[0][0]] if front else []
    y = [front[0][1]] if front else []
    for (before, _), (after, level) in pairwise(front):
        x += [before, after]
        y += [level, level]
    return x, y


class TradeoffItems:
    """The plot items, made once and filled again and again."""

    def __init__(self, plot: Any) -> None:
        import pyqtgraph as pg

        self._pg, self._plot = pg, plot
        self._lines: list[Any] = []
        self._area = QGraphicsRectItem()
        self._area.setPen(Qt.PenStyle.NoPen)
        self._area.setZValue(-20)
        plot.addItem(self._area, ignoreBounds=True)
        self._front = pg.PlotDataItem()
        self._rings = pg.ScatterPlotItem(symbol="o", size=_RING)
        self._cursor = pg.ScatterPlotItem(symbol="o", size=_RING + 7)
        for item, z in ((self._front, 5), (self._rings, 6), (self._cursor, 30)):
            item.setZValue(z)
            plot.addItem(item, ignoreBounds=True)
        self.ca_limit = _limit_line(pg, 0, 0.99, [(1, 0), (1, 0)])
        self.asr_limit = _limit_line(pg, 90, 0.03, [(0, 1), (0, 1)])
        self._spots: Sequence[Spot] = ()
        for line in (self.ca_limit, self.asr_limit):
            line.setZValue(20)  # what is written at it must not lie under points
            plot.addItem(line, ignoreBounds=True)

    def draw(
        self, spots: Sequence[Spot], tracks: Sequence[Track], limits: Limits, aim: Aim
    ) -> None:
        """Draw runs, front and limits."""
        for item in self._lines:
            self._plot.removeItem(item)
        self._lines = []
        for track in tracks:
            mine = [spot for spot in spots if spot.track.key == track.key]
            if mine:
                self._add_track(track, mine)
        best = [spot for spot in spots if spot.on_front]
        best.sort(key=lambda spot: (-spot.y, spot.x))
        self._front.setData(*staircase([(s.x, s.y) for s in best]))
        self._front.setPen(ring_pen("muted", 1.5))
        self._rings.setData(
            [s.x for s in best], [s.y for s in best],
            pen=ring_pen("text", 1.5), brush=QBrush(Qt.BrushStyle.NoBrush),
        )  # fmt: skip
        self._draw_limits(shared_start(tracks), limits, aim)
        self._spots = spots
        self.place_text()

    def place_text(self) -> None:
        """Write the limits where they hide the fewest points, and not over each other."""
        view = self._plot.getViewBox()
        # Asked for its pixels before it has any, a view box ends the process.
        (left, right), (low, high) = view.viewRange()
        wide, high_up = view.width(), view.height()
        x_scale, y_scale = wide / (right - left), high_up / (high - low)
        spots = [QPointF((s.x - left) * x_scale, (s.y - low) * y_scale) for s in self._spots]
        written = QRectF()

        def lies(line: Any, place: float) -> QRectF:
            """Where a text would be, in pixels from the lower left corner."""
            text = line.label.textItem.boundingRect()
            if line is self.asr_limit:
                corner = QPointF((line.value() - left) * x_scale, place * high_up)
            else:
                under = (line.value() - low) * y_scale - text.height()
                corner = QPointF(place * wide - text.width(), under)
            return QRectF(corner, text.size())

        def hides(line: Any, place: float) -> tuple[int, ...]:
            box = lies(line, place)
            cut = box.left() < 0 or box.bottom() > high_up  # whose bottom is the upper side here
            around = [box.adjusted(-far, -far, far, far) for far in _CLEAR]
            count = [sum(map(rect.contains, spots)) for rect in around]
            return cut + box.intersects(written), *count

        for line, first, by in ((self.asr_limit, 0.03, 1), (self.ca_limit, 0.99, -1)):
            places = [first + by * number / _PLACES for number in range(_PLACES)]
            best = min(places, key=lambda place: hides(line, place))
            line.label.setPosition(best)
            if line.isVisible():
                written = lies(line, best)

    def point_out(self, spot: Spot | None) -> None:
        """Ring the spot at the cursor."""
        places = ([spot.x], [spot.y]) if spot is not None else ([], [])
        self._cursor.setData(
            *places, pen=ring_pen("accent", 2.5), brush=QBrush(Qt.BrushStyle.NoBrush)
        )

    def _add_track(self, track: Track, spots: Sequence[Spot]) -> None:
        """A thin line through the steps; filled markers where a checkpoint is kept."""
        style = SeriesStyle(track.key, track.label, track.mark)
        pen = series_pen(style, 1.0)
        faint = pen.color()
        faint.setAlpha(120)
        pen.setColor(faint)
        x = np.array([spot.x for spot in spots])
        y = np.array([spot.y for spot in spots])
        line = self._pg.PlotDataItem(x, y, pen=pen)
        colour, surface = mark_colour(track.mark), theme.colour("surface")
        dots = self._pg.ScatterPlotItem(
            x, y, size=_SIZE, symbol=SYMBOLS[track.mark % len(SYMBOLS)],
            pen=[self._pg.mkPen(colour, width=1.5) for _ in spots],
            brush=[self._pg.mkBrush(colour if s.point.checkpoint else surface) for s in spots],
        )  # fmt: skip
        dots.setZValue(10)
        for item in (line, dots):
            self._plot.addItem(item, ignoreBounds=True)
            self._lines.append(item)

    def _draw_limits(self, start: float | None, limits: Limits, aim: Aim) -> None:
        shown = start is not None
        self.ca_limit.setVisible(shown)
        with_asr = shown and aim == "asr"
        self.asr_limit.setVisible(with_asr)
        self._area.setVisible(with_asr)
        if start is None:
            return
        under = theme.colour("surface")
        under.setAlpha(190)
        for line in (self.ca_limit, self.asr_limit):
            line.label.fill = QBrush(under)
        floor = start - limits.ca_drop / 100
        for line in (self.ca_limit, self.asr_limit):
            pen = ring_pen("success", 1.0)
            pen.setStyle(Qt.PenStyle.DashLine)
            line.setPen(pen)
            line.label.setColor(theme.colour("success"))
        self.ca_limit.setPos(floor)
        self.ca_limit.label.setFormat(f"CA drop ≤ {limits.ca_drop:g}")
        if not with_asr:
            return
        self.asr_limit.setPos(limits.asr / 100)
        self.asr_limit.label.setFormat(f"ASR ≤ {limits.asr:g} %")
        soft = theme.colour("success")
        soft.setAlpha(28)
        self._area.setBrush(soft)
        self._area.setRect(QRectF(-0.5, floor, 0.5 + limits.asr / 100, 2.0))


def _limit_line(pg: Any, angle: int, position: float, anchors: list[tuple[int, int]]) -> Any:
    """A line with its limit written beside it, level."""
    options = {"position": position, "anchors": anchors, "rotateAxis": None}
    return pg.InfiniteLine(angle=angle, label="", labelOpts=options)
