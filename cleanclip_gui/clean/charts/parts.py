"""Small parts of a chart: pens, the legend that is also the read-out, the drawn series."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import ElidedLabel, Label
from cleanclip_gui.widgets.layout import row
from cleanclip_gui.widgets.text import percent
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
        """Index of the point nearest to ``x``; None without points."""
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


# A wide antialiased pen costs 15 to 35 times a thin one: only few points get it.
FINE_POINTS = 600
# Of many points pyqtgraph draws the smallest and the largest of each bin; one bin a pixel loses
# nothing that could be seen, and keeps a chart at about 2000 points, which take 10 ms.
BINS_A_PIXEL = 1.0
# Markers that tell runs apart beside their colour, by pyqtgraph's names.
SYMBOLS = ("o", "s", "t", "d", "star", "x")


def plain(value: float) -> str:
    """A loss, with three decimals or three digits."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"


def series_pen(style: SeriesStyle, width: float) -> QPen:
    """Pen of a series in the theme that is on: a colour and a dash pattern."""
    pen = QPen(mark_colour(style.look), width)
    pen.setCosmetic(True)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    dashes = DASHES[(style.look if style.dash is None else style.dash) % len(DASHES)]
    if dashes is not None and not style.solid:
        pen.setDashPattern(list(dashes))
    return pen


def draw_marker(painter: QPainter, symbol: str, at: QPointF, size: float) -> None:
    """Draw one of :data:`SYMBOLS` with the painter's pen and brush; a circle at once."""
    if symbol == "o":
        painter.drawEllipse(at, size / 2, size / 2)
        return
    from pyqtgraph.graphicsItems.ScatterPlotItem import Symbols

    painter.save()
    painter.translate(at)
    painter.scale(size, size)
    painter.drawPath(Symbols[symbol])
    painter.restore()


class _Sample(QWidget):
    """A short piece of the line."""

    def __init__(self, style: SeriesStyle) -> None:
        super().__init__()
        self._style = style
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFixedSize(theme.px(34), theme.px(14))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw line and marker as the chart does."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = series_pen(self._style, 2.0)
        painter.setPen(pen)
        middle = self.height() / 2
        painter.drawLine(QPointF(1, middle), QPointF(self.width() - 1, middle))
        if self._style.markers:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(pen.color())
            draw_marker(painter, self._style.symbol, QPointF(self.width() / 2, middle), 7.0)


class LegendEntry(QWidget):
    """Line sample, name and the value now, or under the crosshair."""

    def __init__(self, style: SeriesStyle) -> None:
        super().__init__()
        self._name = Label(style.label, "caption")
        self._value = Label("–")
        self._value.setFont(theme.figure_font(theme.FONT_POINTS, bold=True))
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        line = row(_Sample(style), self._name, self._value, of=self, spacing=theme.SPACE_XS)
        line.setSizeConstraint(QLayout.SizeConstraint.SetFixedSize)

    def set_value(self, text: str) -> None:
        """Show a value; the entry only ever grows, so that its neighbours stand still."""
        if text != self._value.text():
            self._value.setText(text)
            width = self._value.sizeHint().width()
            if width > self._value.minimumWidth():
                self._value.setMinimumWidth(width)

    def value(self) -> str:
        """The value on show."""
        return self._value.text()


class DrawnSeries:
    """The plot items of one series: a curve and, if there are intervals, a band."""

    def __init__(self, plot: Any, style: SeriesStyle, scale: float) -> None:
        import pyqtgraph as pg

        self._pg = pg
        self._plot = plot
        self._style = style
        self._fine, self._scale = True, scale
        self.curve = pg.PlotDataItem(connect="finite")
        self.curve.setZValue(10 - style.look)
        plot.addItem(self.curve)  # it takes over the plot's thinning
        self.curve.setDownsampling(auto=True, method="peak")
        self.curve.setClipToView(True)
        self.curve.opts["autoDownsampleFactor"] = BINS_A_PIXEL
        self.band: Any = None
        self.edges: tuple[Any, Any] | None = None
        self.dress()

    def update(self, series: Series) -> None:
        """Draw the points; of many, the smallest and the largest of each few pixels."""
        x, y, low, high = series.arrays()
        fine = len(x) <= FINE_POINTS
        if fine != self._fine:
            self._fine = fine
            self.dress()
        self.curve.setData(x, y, antialias=fine)
        with_band = np.isfinite(low) & np.isfinite(high)
        if with_band.any() and self.edges is None:
            self._make_band()
        if self.edges is not None:
            self.edges[0].setData(x[with_band], low[with_band])
            self.edges[1].setData(x[with_band], high[with_band])

    def dress(self, scale: float = 0.0) -> None:
        """Take the theme's colours, and a scale if one is given; many points get thin pens."""
        self._scale = scale or self._scale
        pen = series_pen(self._style, 2.0 * self._scale if self._fine else 1.0)
        self.curve.setPen(pen)
        if self._style.markers:
            self.curve.setSymbol(self._style.symbol)
            self.curve.setSymbolSize(7 * self._scale)
            self.curve.setSymbolPen(theme.colour("surface"), width=1)
            self.curve.setSymbolBrush(pen.color())
        if self.band is not None:
            self.band.setBrush(self._band_colour())

    def remove(self) -> None:
        """Take the items off the plot."""
        for item in (self.curve, self.band, *(self.edges or ())):
            if item is not None:
                self._plot.removeItem(item)

    def _band_colour(self) -> QColor:
        colour = series_pen(self._style, 1.0).color()
        colour.setAlpha(56)
        return colour

    def _make_band(self) -> None:
        """Two invisible curves and what lies between them."""
        pg = self._pg
        nothing = pg.mkPen(None)
        self.edges = (pg.PlotCurveItem(pen=nothing), pg.PlotCurveItem(pen=nothing))
        self.band = pg.FillBetweenItem(*self.edges, brush=self._band_colour())
        self.band.setZValue(-5)
        for item in (*self.edges, self.band):
            self._plot.addItem(item)


def percent_ticks(values: list[float], scale: float, spacing: float) -> list[str]:
    """Tick labels of a rate; none outside 0 to 100 %."""
    digits = 0 if spacing * 100 >= 1 else 1
    return [percent(v, digits=digits) if -1e-9 <= v <= 1 + 1e-9 else "" for v in values]


# As many runs as there are markers that cannot be mistaken for another.
MOST = len(SYMBOLS)


def letter(mark: int) -> str:
    """``A`` for the first run, and so on."""
    return chr(ord("A") + mark)


def mark_colour(mark: int) -> QColor:
    """The colour of a series or run in the theme that is on."""
    colours = look.series()
    return colours[mark % len(colours)]


def free_mark(taken: set[int]) -> int | None:
    """The lowest mark that no run has; None if all are taken."""
    return next((mark for mark in range(MOST) if mark not in taken), None)


def mark_icon(mark: int, size: int = 16) -> QIcon:
    """A run's marker in its colour."""
    picture = QPixmap(size, size)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(look.thin_pen("surface", 1.5))  # seen on a selected row, too
    painter.setBrush(mark_colour(mark))
    draw_marker(painter, SYMBOLS[mark % MOST], QPointF(size / 2, size / 2), size * 0.8)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # or Qt would tint it
    return icon


class MarkKey(QWidget):
    """A legend entry: marker, letter and name."""

    def __init__(self, mark: int, text: str) -> None:
        super().__init__()
        self._mark = mark
        self._picture = Label("")
        row(
            self._picture, ElidedLabel(f"{letter(mark)} {text}", "caption"), None, of=self,
            spacing=theme.SPACE_XS,
        )  # fmt: skip
        self._dress()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()

    def _dress(self) -> None:
        self._picture.setPixmap(mark_icon(self._mark).pixmap(theme.px(14), theme.px(14)))
