"""Clean accuracy against attack success for every evaluated step of every run shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QBrush, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QGraphicsRectItem, QGridLayout

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.frame import ChartFrame
from cleanclip_gui.clean.charts.parts import (
    SYMBOLS,
    MarkKey,
    SeriesStyle,
    letter,
    mark_colour,
    percent_ticks,
    series_pen,
)
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import percent, percent_range
from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.exports import to_csv

if TYPE_CHECKING:
    import pyqtgraph as pg

_SIZE, _RING = 11, 19


@dataclass(frozen=True)
class Track:
    """The evaluations of one run, under its mark and name.

    They are those of the zero-shot classifier.
    """

    key: str
    mark: int
    label: str
    points: tuple[Point, ...]

    @property
    def start_ca(self) -> float | None:
        """Clean accuracy before the first step."""
        return self.points[0].ca if self.points else None


@dataclass(frozen=True)
class Spot:
    """One drawn point: its run, and where it is."""

    track: Track
    point: Point
    x: float
    y: float
    on_front: bool


def spots_of(tracks: Sequence[Track]) -> tuple[Spot, ...]:
    """Every point with an attack success rate, run by run, step by step."""
    pairs = [(track, point) for track in tracks for point in track.points]
    front = set(pareto([point for _, point in pairs]))
    return tuple(
        Spot(track, point, point.asr, point.ca, number in front)
        for number, (track, point) in enumerate(pairs)
        if point.asr is not None
    )


def shared_start(tracks: Sequence[Track]) -> float | None:
    """Accuracy from which the drop is counted: the highest start of the runs shown."""
    return max((track.start_ca for track in tracks if track.start_ca is not None), default=None)


def staircase(front: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The line along the front: from each point first down, then across to the next point."""
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
        for line in (self.ca_limit, self.asr_limit):
            line.setZValue(-10)  # points lie on what is written at it
            plot.addItem(line, ignoreBounds=True)

    def draw(self, spots: Sequence[Spot], tracks: Sequence[Track], limits: Limits) -> None:
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
        self._front.setPen(look.thin_pen("muted", 1.5))
        self._rings.setData(
            [s.x for s in best], [s.y for s in best],
            pen=look.thin_pen("text", 1.5), brush=QBrush(Qt.BrushStyle.NoBrush),
        )  # fmt: skip
        self._draw_limits(shared_start(tracks), limits)

    def point_out(self, spot: Spot | None) -> None:
        """Ring the spot at the cursor."""
        places = ([spot.x], [spot.y]) if spot is not None else ([], [])
        self._cursor.setData(
            *places, pen=look.thin_pen("accent", 2.5), brush=QBrush(Qt.BrushStyle.NoBrush)
        )

    def _add_track(self, track: Track, spots: Sequence[Spot]) -> None:
        """A thin line through the steps; filled markers where a checkpoint is kept."""
        pen = series_pen(SeriesStyle(track.key, track.label, track.mark), 1.0)
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

    def _draw_limits(self, start: float | None, limits: Limits) -> None:
        for item in (self.ca_limit, self.asr_limit, self._area):
            item.setVisible(start is not None)
        if start is None:
            return
        floor = start - limits.ca_drop / 100
        for line in (self.ca_limit, self.asr_limit):
            line.setPen(look.thin_pen("success", dashed=True))
            line.label.setColor(theme.colour("success"))
        self.ca_limit.setPos(floor)
        self.ca_limit.label.setFormat(f"CA drop ≤ {limits.ca_drop:g}")
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


_NEAR_PIXELS = 14.0
_KEY_COLUMNS = 3
HINT = (
    "Point at a step, or use the arrow keys; click or Enter opens its checkpoint in Studio. Ringed "
    "= Pareto front. Hollow = no checkpoint kept."
)
NOT_KEPT = "no checkpoint was kept"
_EMPTY = (
    "Tick runs under “Queue and history”: each evaluated step becomes a point, clean accuracy "
    "against attack success."
)


class TradeoffChart(ChartFrame):
    """The trade-off chart.

    A click on a point of a run, or Return, emits ``chosen(key, point)``.
    """

    chosen = Signal(str, object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__("Trade-off", _EMPTY, prompts)
        self._tracks: tuple[Track, ...] = ()
        self.spots: tuple[Spot, ...] = ()  # in the order of the arrow keys
        self.items: TradeoffItems | None = None
        self._at: int | None = None
        self._keyed: list[tuple[int, str]] = []
        self.ca_drop = _limit("Limit of lost clean accuracy", "points", Limits().ca_drop)
        self.asr = _limit("Limit of attack success", "%", Limits().asr)
        controls = FoldingRow()
        for name, box in (("CA drop ≤", self.ca_drop), ("ASR ≤", self.asr)):
            controls.add(Label(name, "caption", buddy=box), box)
        self.under_head.addWidget(controls)
        self._keys = QGridLayout()
        self._keys.setHorizontalSpacing(theme.SPACE_M)
        self._keys.setVerticalSpacing(0)
        self._keys.setColumnStretch(_KEY_COLUMNS, 1)
        self.under_head.addLayout(self._keys)
        self._readout = Label(HINT, "caption", wrap=True)
        self._readout.setMinimumHeight(2 * self._readout.fontMetrics().height())
        self._readout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self._readout)
        self.ca_drop.valueChanged.connect(self._on_setting_changed)
        self.asr.valueChanged.connect(self._on_setting_changed)

    def set_tracks(self, tracks: Sequence[Track]) -> None:
        """Show these runs."""
        before = self._here()
        self._tracks = tuple(tracks)
        self.spots = spots_of(self._tracks)
        self._at = None
        if before is not None:
            self._at = next(
                (
                    number for number, spot in enumerate(self.spots)
                    if (spot.track.key, spot.point.step) == (before.track.key, before.point.step)
                ),
                None,
            )  # fmt: skip
        self._show_keys()
        self.redraw()

    @property
    def limits(self) -> Limits:
        """What is asked of a cleaned checkpoint."""
        return Limits(self.ca_drop.value(), self.asr.value())

    def readout(self) -> str:
        """What is said about the point at the cursor."""
        return self._readout.text()

    def has_data(self) -> bool:
        """Whether there is a point."""
        return bool(self.spots)

    def csv(self) -> str:
        """One row for each point."""
        rows: list[list[object]] = [
            ["run", "step", "ca", "asr_excl", "poisoned_accuracy", "pareto",
             "within_limits", "checkpoint"]
        ]  # fmt: skip
        start = shared_start(self._tracks)
        for spot in self.spots:
            point = spot.point
            met = start is not None and self.limits.met(point, start)
            rows.append(
                [spot.track.label, point.step, f"{point.ca:.9g}", _cell(point.asr),
                 _cell(point.poisoned_accuracy), int(spot.on_front), int(met), point.checkpoint]
            )  # fmt: skip
        return to_csv(rows)

    def reset_view(self) -> None:
        """Show every point again, and leave the cursor."""
        self.set_own_view(True)
        self._point_out(None)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Left and right go by step, up and down by run; Return chooses, Escape leaves."""
        key, last = event.key(), len(self.spots) - 1
        if last < 0:
            super().keyPressEvent(event)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            by = 1 if key == Qt.Key.Key_Right else -1
            self._point_out(last if self._at is None else min(max(self._at + by, 0), last))
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._point_out(self._other_run(1 if key == Qt.Key.Key_Down else -1))
        elif key == Qt.Key.Key_Home:
            self._point_out(0)
        elif key == Qt.Key.Key_End:
            self._point_out(last)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._at is not None:
            self._choose(self._at)
        elif key == Qt.Key.Key_Escape and self._at is not None:
            self._point_out(None)
        else:
            super().keyPressEvent(event)

    def furnish(self, plot: pg.PlotWidget) -> None:
        self.items = TradeoffItems(plot)
        plot.scene().sigMouseClicked.connect(self._on_clicked)
        for side in ("left", "bottom"):
            plot.getAxis(side).tickStrings = percent_ticks
            plot.getAxis(side).enableAutoSIPrefix(False)

    def dress(self) -> None:
        plot = self.plot
        if plot is None or self.items is None:
            return
        self._dress_axes()
        words = {"color": theme.colour("muted").name(), "font-size": "9pt"}
        plot.setLabel("bottom", "Attack success rate", **words)
        plot.setLabel("left", "Clean accuracy", **words)
        plot.getAxis("left").setWidth(62)
        plot.getAxis("bottom").setGrid(48)
        self.items.draw(self.spots, self._tracks, self.limits)
        self.items.point_out(self._here())

    def _show_keys(self) -> None:
        """The legend: which marker is which run."""
        names = [(track.mark, track.label) for track in self._tracks]
        if names == self._keyed:
            return
        self._keyed = names
        while (item := self._keys.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for number, (mark, label) in enumerate(names):
            self._keys.addWidget(MarkKey(mark, label), *divmod(number, _KEY_COLUMNS))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Draw what came in while hidden."""
        super().showEvent(event)
        self.redraw()

    def redraw(self) -> None:
        """Bring the plot up to date, if it is visible."""
        if self.spots and not self.isVisible():
            return
        if self.spots:
            self._build()
        self.stack.setCurrentIndex(1 if self.spots else 0)
        self.dress()
        self._fit()
        self._tell()

    def _fit(self) -> None:
        """Show every point, unless the user has zoomed."""
        if self.plot is None or not self._own_view or not self.spots:
            return
        view, start = self.plot.getViewBox(), shared_start(self._tracks) or 1.0
        low = min(start - 0.05, *(spot.y for spot in self.spots))
        top = max(start, *(spot.y for spot in self.spots))
        view.setXRange(0.0, 1.0, padding=0.03)
        view.setYRange(low, min(top + 0.01, 1.0), padding=0.06)

    def _here(self) -> Spot | None:
        return None if self._at is None else self.spots[self._at]

    def _other_run(self, by: int) -> int:
        """The same step in the next run, or the one nearest to it."""
        here = self._here()
        if here is None:
            return len(self.spots) - 1
        keys = list(dict.fromkeys(spot.track.key for spot in self.spots))
        key = keys[(keys.index(here.track.key) + by) % len(keys)]
        return min(
            (n for n, spot in enumerate(self.spots) if spot.track.key == key),
            key=lambda n: abs(self.spots[n].point.step - here.point.step),
        )

    def _point_out(self, number: int | None) -> None:
        self._at = number
        if self.items is not None:
            self.items.point_out(self._here())
        self._tell()

    def _tell(self) -> None:
        """Say what is at the cursor."""
        spot = self._here()
        text = HINT if spot is None else self.describe(spot)
        self._readout.setText(text if self.spots else "")
        self.setAccessibleDescription(text if self.spots else "empty")

    def describe(self, spot: Spot) -> str:
        """Everything about a point, in words."""
        point = spot.point
        parts = [
            f"{letter(spot.track.mark)} {spot.track.label}, step {point.step}",
            f"CA {_rate(point.ca, point.ca_interval)}",
        ]
        if point.asr is not None:
            parts.append(f"ASR {_rate(point.asr, point.asr_interval)}")
        if point.poisoned_accuracy is not None:
            parts.append(f"poisoned accuracy {_rate(point.poisoned_accuracy, None)}")
        if spot.on_front:
            parts.append("on the Pareto front")
        start = shared_start(self._tracks)
        if start is not None and point.asr is not None:
            met = self.limits.met(point, start)
            parts.append("within both limits" if met else "outside the limits")
        parts.append("Enter opens it in Studio" if self.can_open(spot) else NOT_KEPT)
        return " · ".join(parts)

    def can_open(self, spot: Spot) -> bool:
        """Whether the point's weights are on disk; step 0 is the checkpoint before cleaning."""
        return bool(spot.point.checkpoint) or spot.point.step == 0

    def _choose(self, number: int) -> None:
        spot = self.spots[number]
        self.chosen.emit(spot.track.key, spot.point)

    def nearest(self, place: QPointF) -> int | None:
        """The point near a place in the plot's own units; None where none is near."""
        plot = self.plot
        if plot is None or not self.spots:
            return None
        x_size, y_size = plot.getViewBox().viewPixelSize()

        def away(number: int) -> float:
            spot = self.spots[number]
            return float(
                ((spot.x - place.x()) / x_size) ** 2 + ((spot.y - place.y()) / y_size) ** 2
            )

        best = min(range(len(self.spots)), key=away)
        return best if away(best) <= _NEAR_PIXELS**2 else None

    def point_at(self, place: QPointF | None) -> None:
        if place is not None:
            spot = self.nearest(place)
            if spot is not None:
                self._point_out(spot)

    def _on_clicked(self, event: Any) -> None:
        if self.plot is None or event.button() != Qt.MouseButton.LeftButton:
            return
        spot = self.nearest(self.plot.getViewBox().mapSceneToView(event.scenePos()))
        if spot is not None:
            event.accept()
            self._point_out(spot)
            self._choose(spot)

    def _on_setting_changed(self, *_: object) -> None:
        self.set_tracks(self._tracks)


def _limit(name: str, unit: str, value: float) -> NumberBox:
    """A box for a limit, 0 to 100."""
    box = NumberBox("float", 0.0, 100.0, unit, title=name, value=value)
    box.setSingleStep(0.5)
    box.setFixedWidth(theme.px(112))
    return box


def _rate(value: float, interval: tuple[float, float] | None) -> str:
    text = percent(value)
    return text if interval is None else f"{text} ({percent_range(interval, unit='')})"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
