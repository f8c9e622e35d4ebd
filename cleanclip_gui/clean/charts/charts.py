"""Charts of a running job: calm, cheap to redraw, and readable without colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFontInfo, QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.frame import ChartFrame
from cleanclip_gui.clean.charts.parts import (
    DrawnSeries,
    LegendEntry,
    Series,
    SeriesStyle,
    percent_ticks,
    plain,
    series_csv,
)
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import percent
from cleanclip_gui.widgets.text import plain as plain_text
from ml_core.cleaning.catalogue import FACTS
from ml_core.events import Metric
from ml_core.triggers import Trigger

if TYPE_CHECKING:
    import pyqtgraph as pg

REDRAW_MS = 100
_ENTRY = 130  # pixels of an entry of a legend that is still empty


class Chart(ChartFrame):
    """One chart with a legend that reads out the newest value or the one under the crosshair.

    Parameters
    ----------
    title
        Heading, also the accessible name.
    prompts
        Asks where the chart is saved.
    series
        The series to begin with; :meth:`add_series` adds more.
    show
        Turns a value into text.
    whole
        Keep the vertical axis at 0 to 100 % (values are fractions).
    legend_columns
        Put the legend below the title, with up to so many entries a line; 0 puts it beside the
        title.
    empty
        What to say while there is nothing to draw.
    """

    axis_name = "step"  # heads the first column of the CSV
    from_zero = True  # the vertical axis begins at 0

    def __init__(
        self,
        title: str,
        prompts: Prompts,
        series: tuple[SeriesStyle, ...] = (),
        *,
        show: Callable[[float], str] = plain,
        whole: bool = False,
        legend_columns: int = 0,
        empty: str = "Nothing measured yet.",
    ) -> None:
        super().__init__(title, empty, prompts)
        self._show_value = show
        self._whole = whole
        self._series: dict[str, Series] = {}
        self._legend: dict[str, LegendEntry] = {}
        self.drawn: dict[str, DrawnSeries] = {}
        self.crosshair: pg.InfiniteLine | None = None
        self.level: tuple[float, str] | None = None
        self._level_line: pg.InfiniteLine | None = None
        self._total = 0.0
        self._at: float | None = None
        self._dirty = False
        self.redraw_timer = QTimer(self)
        self.redraw_timer.setSingleShot(True)
        self.redraw_timer.setInterval(REDRAW_MS)
        self.redraw_timer.timeout.connect(self.redraw)
        self.place.setText(self.place_words(None))
        self._most_columns = self._columns = legend_columns
        self._legend_row = QGridLayout()
        self._legend_row.setHorizontalSpacing(theme.SPACE_L if legend_columns else theme.SPACE_M)
        self._legend_row.setVerticalSpacing(2)
        if legend_columns:
            line = QHBoxLayout()
            line.addLayout(self._legend_row)
            line.addStretch(1)
            self.under_head.addLayout(line)
        else:
            self.head_row.addLayout(self._legend_row)
        for style in series:
            self.add_series(style)

    # What is in it

    def add_series(self, style: SeriesStyle) -> None:
        """Add a series; one that is there already stays."""
        if style.key in self._series:
            return
        self._series[style.key] = Series(style)
        self._legend[style.key] = entry = LegendEntry(style)
        entry.setVisible(False)
        self._place_legend()

    def append(
        self, key: str, x: float, y: float, low: float = math.nan, high: float = math.nan
    ) -> None:
        """Add a point, with an interval if there is one; drawn within a tenth of a second."""
        if self._series[key].append(x, y, low, high):
            self._dirty = True
            if self.isVisible() and not self.redraw_timer.isActive():
                self.redraw_timer.start()

    def update_now(self) -> None:
        """Draw soon, whatever was changed."""
        self._dirty = True
        self._total = 0.0
        if not self.has_data():
            self.redraw()
        elif self.isVisible() and not self.redraw_timer.isActive():
            self.redraw_timer.start()

    def set_total(self, total: float) -> None:
        """Let the horizontal axis run from 0 to ``total`` from the start."""
        if total != self._total:
            self._total = total
            self._fit()

    def set_level(self, y: float, text: str) -> None:
        """Draw a level line, such as a limit, with its name beside it."""
        self.level = (y, text)
        self.dress()
        self._fit()

    def clear(self) -> None:
        """Forget every point and show the empty state."""
        for series in self._series.values():
            series.clear()
        self._total, self._at = 0.0, None
        self.set_own_view(True)
        self._dirty = True
        self.redraw()

    def keys(self) -> tuple[str, ...]:
        """Keys of the series in the order they were added."""
        return tuple(self._series)

    def series(self, key: str) -> Series:
        """The numbers of one series."""
        return self._series[key]

    def readout(self, key: str) -> str:
        """The value that the legend shows."""
        return self._legend[key].value()

    def remove_series(self, key: str) -> None:
        """Take a series away, with its legend entry."""
        if key not in self._series:
            return
        del self._series[key]
        entry = self._legend.pop(key)
        self._legend_row.removeWidget(entry)
        entry.deleteLater()
        drawn = self.drawn.pop(key, None)
        if drawn is not None:
            drawn.remove()
        self._place_legend()
        self._dirty = True
        self.redraw()

    def has_data(self) -> bool:
        """Whether any series has a point."""
        return self._anchor() is not None

    def csv(self) -> str:
        """Every point of every series."""
        return series_csv(self.axis_name, self._series.values())

    def reset_view(self) -> None:
        """Show the whole run again after zooming, and hide the crosshair."""
        self.set_own_view(True)
        self.set_crosshair(None)
        self._fit()

    def place_words(self, at: float | None) -> str:
        """Which place the values are of; None is the newest."""
        return "by step" if at is None else f"step {at:.0f}"

    def set_crosshair(self, x: float | None) -> None:
        """Read out the points nearest to ``x``; None reads out the newest."""
        points = self._anchor()
        index = None if x is None or points is None else points.at(x)
        self._at = None if index is None or points is None else points.point(index)[0]
        if self.crosshair is not None:
            self.crosshair.setVisible(self._at is not None)
            if self._at is not None:
                self.crosshair.setPos(self._at)
        self._update_readout()

    # How it is drawn

    def _fit_legend(self) -> None:
        """Put the entries into other lines if there is room for more or for fewer in one."""
        if not self._most_columns:
            return
        gap = self._legend_row.horizontalSpacing()
        room = self.width() - self._margins()
        columns = max(1, min(self._most_columns, (room + gap) // (self._entry() + gap)))
        if columns != self._columns:
            self._columns = columns
            self._place_legend()

    def _margins(self) -> int:
        """The part of the width that a line of the legend cannot use."""
        return 2 * self.frameWidth() + theme.SPACE_L + theme.SPACE_M

    def _entry(self) -> int:
        """Width of the widest entry of the legend."""
        return max((e.sizeHint().width() for e in self._legend.values()), default=theme.px(_ENTRY))

    def _place_legend(self) -> None:
        """Put the entries into lines."""
        for number, entry in enumerate(self._legend.values()):
            row, column = divmod(number, self._columns) if self._columns else (0, number)
            self._legend_row.addWidget(entry, row, column)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The smallest size; a legend below the chart needs only the width of one entry."""
        hint = super().minimumSizeHint()
        if not self._most_columns:
            return hint
        return QSize(min(hint.width(), self._entry() + self._margins()), hint.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Break the lines of the legend where the chart ends."""
        super().resizeEvent(event)
        self._fit_legend()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Draw what came in while hidden."""
        super().showEvent(event)
        if self._dirty:
            self.redraw_timer.start(0)
            self.redraw_timer.setInterval(REDRAW_MS)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Draw nothing while hidden."""
        super().hideEvent(event)
        self.redraw_timer.stop()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Move the crosshair: arrows, Home and End; Escape hides it."""
        points = self._anchor()
        moves = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        key = event.key()
        if points is None:
            super().keyPressEvent(event)
            return
        last = len(points) - 1
        if key in moves:
            here = last if self._at is None else points.at(self._at)
            step = 0 if self._at is None else moves[Qt.Key(key)]
            index = min(max((here or 0) + step, 0), last)
            self.set_crosshair(points.point(index)[0])
        elif key == Qt.Key.Key_Home:
            self.set_crosshair(points.point(0)[0])
        elif key == Qt.Key.Key_End:
            self.set_crosshair(points.point(last)[0])
        elif key == Qt.Key.Key_Escape and self._at is not None:
            self.set_crosshair(None)
        else:
            super().keyPressEvent(event)

    def _anchor(self) -> Series | None:
        """Return the series with most points, whose steps the crosshair takes."""
        longest = max(self._series.values(), key=len, default=None)
        return longest if longest is not None and len(longest) else None

    def redraw(self) -> None:
        """Bring every series up to date, at most ten times a second and only if visible."""
        if self._anchor() is None:
            self.stack.setCurrentIndex(0)
        elif self.isVisible():
            self._build()
            self.stack.setCurrentIndex(1)
        else:
            return
        self._dirty = False
        self._update_readout()  # before an entry shows, or it is laid out for an empty value
        for key, series in self._series.items():
            self._legend[key].setVisible(len(series) > 0)
            if self.plot is not None:
                self._drawn(series).update(series)
        self._fit()

    def furnish(self, plot: pg.PlotWidget) -> None:
        """Add the cursor."""
        import pyqtgraph as pg

        self.crosshair = pg.InfiniteLine(angle=90, movable=False)
        self.crosshair.setZValue(20)
        self.crosshair.setVisible(False)
        plot.addItem(self.crosshair, ignoreBounds=True)

    def _drawn(self, series: Series) -> DrawnSeries:
        """Return the plot items of a series, made when first needed."""
        if series.style.key not in self.drawn:
            self.drawn[series.style.key] = DrawnSeries(self.plot, series.style, self._scale())
        return self.drawn[series.style.key]

    def _scale(self) -> float:
        """How much larger than usual its type is: on the stage lines are, too."""
        usual = QFontInfo(theme.figure_font(theme.FONT_POINTS)).pixelSize()
        return self.fontInfo().pixelSize() / usual

    def dress(self) -> None:
        """Put on the colours of the theme."""
        plot = self.plot
        if plot is None:
            return
        self._dress_axes()
        if self._whole:
            plot.getAxis("left").setTicks([[(v / 100, f"{v} %") for v in (0, 25, 50, 75, 100)], []])
        elif self._show_value is percent:
            plot.getAxis("left").tickStrings = percent_ticks
        if self.crosshair is not None:
            self.crosshair.setPen(theme.colour("muted"), width=1)
        for drawn in self.drawn.values():
            drawn.dress(self._scale())
        if self.level is not None:
            self._draw_level(plot, *self.level)

    def _draw_level(self, plot: pg.PlotWidget, y: float, text: str) -> None:
        """Draw the level line with its name, made when first needed."""
        import pyqtgraph as pg

        if self._level_line is None:
            corner = (0, int(self.from_zero))  # above; below where the curves come from above
            options = {"position": 0.02, "anchors": [corner, corner], "rotateAxis": None}
            self._level_line = pg.InfiniteLine(angle=0, label="", labelOpts=options)
            self._level_line.setZValue(-5)
            plot.addItem(self._level_line, ignoreBounds=True)
        self._level_line.setPen(look.thin_pen("danger", dashed=True))
        self._level_line.setPos(y)
        self._level_line.label.setFormat(text)
        self._level_line.label.setColor(theme.colour("danger"))

    def _fit(self) -> None:
        """Show the whole run, unless the user has zoomed."""
        if self.plot is None or not self._own_view:
            return
        view = self.plot.getViewBox()
        view.setXRange(*self.x_range(), padding=0.015)
        if self._whole:
            view.setYRange(0, 1, padding=0.07)
            return
        columns = [s.arrays() for s in self._series.values() if len(s)]
        if columns:
            # Intervals too: a band that is cut off looks like one that ends there.
            ends = [float(np.fmax(y, high).max()) for _, y, _, high in columns]
            ends += [float(np.fmin(y, low).min()) for _, y, low, _ in columns]
            ends += [0.0] if self.from_zero else []
            if self.level is not None:
                ends.append(self.level[0] * (1.5 if self.from_zero else 1.0))
            bottom, top = min(ends), max(ends)
            view.setYRange(bottom, top if top > bottom else bottom + 1, padding=0.06)

    def x_range(self) -> tuple[float, float]:
        """The ends of the horizontal axis: the whole run."""
        last = max((s.point(-1)[0] for s in self._series.values() if len(s)), default=1.0)
        return 0.0, max(self._total, last, 1.0)

    def _update_readout(self) -> None:
        """Show the values at the crosshair, or the newest ones."""
        self.place.setText(self.place_words(self._at))
        spoken = []
        for key, series in self._series.items():
            index = len(series) - 1 if self._at is None else series.at(self._at)
            has_any = index is not None and index >= 0
            text = (
                self._show_value(series.point(index)[1]) if has_any and index is not None else "–"
            )
            self._legend[key].set_value(text)
            if has_any:
                spoken.append(f"{series.style.label} {text}")
        self._fit_legend()
        where = "now" if self._at is None else f"at {self.place_words(self._at)}"
        self.setAccessibleDescription(f"{where}: {', '.join(spoken)}" if spoken else "empty")

    def point_at(self, place: QPointF | None) -> None:
        self.set_crosshair(None if place is None else place.x())


# Evaluation keys with the keys of their interval; the order gives colour and dash.
# Supervised finetuning also measures its linear head.
RATES: tuple[tuple[str, str, str, str], ...] = (
    ("ca", "Clean accuracy", "ca_low", "ca_high"),
    ("asr_excl", "Attack success", "asr_low", "asr_high"),
    ("poisoned_accuracy", "Poisoned accuracy", "", ""),
    ("linear_ca", "Clean, linear head", "linear_ca_low", "linear_ca_high"),
    ("linear_asr_excl", "Attack, linear head", "linear_asr_low", "linear_asr_high"),
)
# What losses are made of, over all methods; colour, and the dash where it is not the colour's.
LOSSES: tuple[tuple[str, str, int, int | None], ...] = (
    ("loss", "Total", 0, None),
    ("clip", "CLIP", 1, None),
    ("image", "Images", 2, None),
    ("text", "Captions", 3, None),
    ("image_distance", "Images moved", 4, None),
    ("text_distance", "Captions moved", 4, 1),
    ("ce", "Cross-entropy", 1, None),
    ("repulsion", "Moved", 2, None),
    ("triggered", "Triggered", 1, None),
    ("clean", "Clean", 2, None),
    ("match", "Contrast", 3, None),
)

_SETTLE_MS = 60
_RATES, _SMALL = 150, 110  # pixels: heights of the plots


class CleaningCharts(QWidget):
    """Fed with the metrics of a run; each number goes to its chart by its key."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._prepare)
        self.rates = Chart(
            "Accuracy and attack success",
            prompts,
            tuple(
                SeriesStyle(key, label, look, markers=True)
                for look, (key, label, _, _) in enumerate(RATES)
            ),
            show=percent,
            whole=True,
            legend_columns=5,
            empty="Clean accuracy and attack success on validation images appear here as the "
            "run goes on.",
        )
        self.losses = Chart(
            "Loss", prompts, show=plain, legend_columns=4,
            empty="Loss, total and per term, is drawn here.",
        )  # fmt: skip
        self._note = Label("", "caption", wrap=True)
        self._note.hide()
        self.rates.under_head.addWidget(self._note)
        column((self.rates, 4), (self.losses, 3), of=self, spacing=theme.SPACE_M)
        for chart, height in ((self.rates, _RATES), (self.losses, _SMALL)):
            chart.stack.setMinimumHeight(theme.px(height))
            chart.failed.connect(self.failed)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Load the plotting library once the page is painted, not in the middle of a run."""
        super().showEvent(event)
        self._settle.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Do not load the charts for a user who has left the page already."""
        self._settle.stop()
        super().hideEvent(event)

    def _prepare(self) -> None:
        for chart in self.all():
            chart.prepare()

    def all(self) -> tuple[Chart, ...]:
        """Every chart."""
        return (self.rates, self.losses)

    def clear(self) -> None:
        """Forget the run."""
        for chart in self.all():
            chart.clear()

    def explain(self, method: str, trigger: Trigger | None) -> None:
        """Say under the rates what they are of, and what is known to happen to them."""
        of = (
            ""
            if trigger is None
            else f"On validation pictures, with “{plain_text(trigger.name, 60)}”."
        )
        facts = FACTS.get(method)
        note = " ".join(filter(None, (of, "" if facts is None else facts.note)))
        self._note.setText(note)
        self._note.setVisible(bool(note))

    def add(self, metric: Metric) -> None:
        """Take in the numbers of one step."""
        for chart in self.all():
            chart.set_total(metric.total_steps)
        values = metric.values
        for key, _, low, high in RATES:
            if key in values and not (key == "poisoned_accuracy" and "linear_ca" in values):
                bounds = values.get(low, math.nan), values.get(high, math.nan)
                self.rates.append(key, metric.step, values[key], *bounds)
        losses = [style for style in LOSSES if style[0] in values]
        for key, label, number, dash in losses[: 1 if len(losses) == 2 else None]:  # one term: it
            self.losses.add_series(SeriesStyle(key, label, number, dash=dash))  # is the total
            self.losses.append(key, metric.step, values[key])
