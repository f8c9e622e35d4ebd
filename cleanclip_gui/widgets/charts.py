"""Charts of a running job: calm, cheap to redraw, and readable without colour.

pyqtgraph is imported when the first chart is drawn, so that the window opens without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QHideEvent, QKeyEvent, QShowEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QMenu,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.chart_export import save_chart
from cleanclip_gui.widgets.chart_parts import (
    DrawnSeries,
    LegendEntry,
    percent,
    plain,
    scientific,
    scientific_ticks,
)
from cleanclip_gui.widgets.chart_series import Series, SeriesStyle
from cleanclip_gui.widgets.label import Label
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    import pyqtgraph as pg

REDRAW_MS = 100


class Chart(QFrame):
    """One chart with a legend that reads out the newest value or the one under the crosshair.

    Parameters
    ----------
    title
        Heading, also the accessible name.
    series
        The series to begin with; :meth:`add_series` adds more.
    show
        Turns a value into text.
    whole
        Keep the vertical axis at 0 to 100 % (values are fractions).
    legend_below
        Give the legend a line of its own, for more than two series.
    empty
        What to say while there is nothing to draw.
    """

    failed = Signal(object)

    def __init__(
        self,
        title: str,
        series: tuple[SeriesStyle, ...] = (),
        *,
        show: Callable[[float], str] = plain,
        whole: bool = False,
        legend_below: bool = False,
        empty: str = "Nothing measured yet.",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(title)
        self._title_text = title
        self._show_value = show
        self._whole = whole
        self._series: dict[str, Series] = {}
        self._legend: dict[str, LegendEntry] = {}
        self._items: dict[str, DrawnSeries] = {}
        self._plot: pg.PlotWidget | None = None
        self._cursor: pg.InfiniteLine | None = None
        self._proxy: Any = None
        self._total = 0.0
        self._at: float | None = None
        self._dirty = False
        self._own_view = True
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._redraw)

        heading = Label(title, "heading")
        self._place = Label("by step", "caption")
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_M)
        head.addWidget(heading)
        head.addWidget(self._place)
        head.addStretch(1)
        self._legend_row = QHBoxLayout() if legend_below else head
        self._legend_row.setSpacing(theme.SPACE_S if legend_below else theme.SPACE_M)
        self._empty = Label(empty, "subtle", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_L, theme.SPACE_M, theme.SPACE_M, theme.SPACE_S)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        if legend_below:
            line = QHBoxLayout()
            line.addLayout(self._legend_row)
            line.addStretch(1)
            layout.addLayout(line)
        layout.addWidget(self._stack, 1)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu_requested)
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
        self._legend_row.addWidget(entry)

    def append(
        self, key: str, x: float, y: float, low: float = math.nan, high: float = math.nan
    ) -> None:
        """Add a point, with an interval if there is one; drawn within a tenth of a second."""
        if self._series[key].append(x, y, low, high):
            self._dirty = True
            if self.isVisible() and not self._timer.isActive():
                self._timer.start()

    def set_total(self, total: float) -> None:
        """Let the horizontal axis run from 0 to ``total`` from the start."""
        if total != self._total:
            self._total = total
            self._fit()

    def clear(self) -> None:
        """Forget every point and show the empty state."""
        for series in self._series.values():
            series.clear()
        self._total, self._at, self._own_view = 0.0, None, True
        self._dirty = True
        self._redraw()

    def keys(self) -> tuple[str, ...]:
        """Keys of the series in the order they were added."""
        return tuple(self._series)

    def series(self, key: str) -> Series:
        """The numbers of one series."""
        return self._series[key]

    def readout(self, key: str) -> str:
        """The value that the legend shows."""
        return self._legend[key].value()

    def prepare(self) -> None:
        """Import pyqtgraph and make the plot before there is anything to draw."""
        self._build()

    # What can be done with it

    def copy(self) -> None:
        """Put a picture of the chart on the clipboard."""
        QGuiApplication.clipboard().setPixmap(self.grab())

    def save(self, path: Path) -> None:
        """Write PNG, SVG or CSV, by the suffix; CSV holds every point, also those not drawn.

        Raises
        ------
        InputError
            If the suffix is another one or the file cannot be written.
        """
        save_chart(self, self._series.values(), path)

    def reset_view(self) -> None:
        """Show the whole run again after zooming, and hide the crosshair."""
        self._own_view = True
        self.set_crosshair(None)
        self._fit()

    def set_crosshair(self, x: float | None) -> None:
        """Read out the points nearest to ``x``; None reads out the newest."""
        points = self._anchor()
        index = None if x is None or points is None else points.at(x)
        self._at = None if index is None or points is None else points.point(index)[0]
        if self._cursor is not None:
            self._cursor.setVisible(self._at is not None)
            if self._at is not None:
                self._cursor.setPos(self._at)
        self._update_readout()

    def menu(self) -> QMenu:
        """A new context menu; the caller shows it."""
        menu = QMenu(self)
        drawn = self._anchor() is not None
        for text, slot in (
            ("&Copy", self.copy),
            ("Save &PNG…", self._on_save_png),
            ("Save S&VG…", self._on_save_svg),
            ("Save CS&V…", self._on_save_csv),
        ):
            menu.addAction(text, slot).setEnabled(drawn)
        menu.addSeparator()
        menu.addAction("&Reset view", self.reset_view).setEnabled(drawn)
        return menu

    # How it is drawn

    def sizeHint(self) -> QSize:  # noqa: N802
        """A comfortable size."""
        return QSize(420, 220)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Draw what came in while hidden."""
        super().showEvent(event)
        if self._dirty:
            self._timer.start(0)
            self._timer.setInterval(REDRAW_MS)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Draw nothing while hidden."""
        super().hideEvent(event)
        self._timer.stop()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._plot is not None:
            self._dress()

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

    def _redraw(self) -> None:
        """Bring every series up to date, at most ten times a second and only if visible."""
        if self._anchor() is None:
            self._stack.setCurrentIndex(0)
        elif self.isVisible():
            self._build()
            self._stack.setCurrentIndex(1)
        else:
            return
        self._dirty = False
        self._update_readout()  # before an entry shows, or it is laid out for an empty value
        for key, series in self._series.items():
            self._legend[key].setVisible(len(series) > 0)
            if self._plot is not None:
                self._drawn(series).update(series)
        self._fit()

    def _build(self) -> None:
        """Make the plot, once."""
        if self._plot is not None:
            return
        import pyqtgraph as pg

        plot = pg.PlotWidget()
        plot.setFrameShape(QFrame.Shape.NoFrame)
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setAccessibleName(f"{self._title_text}, plot")
        plot.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        plot.customContextMenuRequested.connect(self._on_menu_requested)
        plot.getPlotItem().setContentsMargins(0, 4, 4, 0)
        view = plot.getViewBox()
        view.sigRangeChangedManually.connect(self._on_view_moved)
        self._cursor = pg.InfiniteLine(angle=90, movable=False)
        self._cursor.setZValue(20)
        self._cursor.setVisible(False)
        plot.addItem(self._cursor, ignoreBounds=True)
        self._proxy = pg.SignalProxy(
            plot.scene().sigMouseMoved, rateLimit=60, slot=self._on_mouse_moved
        )
        plot.viewport().installEventFilter(self)
        self._plot = plot
        self._stack.addWidget(plot)
        self._dress()

    def eventFilter(self, watched: Any, event: QEvent) -> bool:  # noqa: N802
        """Leave with the mouse, reset on a double click, take the focus on a click."""
        if event.type() == QEvent.Type.Leave:
            self.set_crosshair(None)
        elif event.type() == QEvent.Type.MouseButtonDblClick:
            self.reset_view()
            return True
        elif event.type() == QEvent.Type.MouseButtonPress:
            self.setFocus(Qt.FocusReason.MouseFocusReason)
        return super().eventFilter(watched, event)

    def _drawn(self, series: Series) -> DrawnSeries:
        """Return the plot items of a series, made when first needed."""
        if series.style.key not in self._items:
            self._items[series.style.key] = DrawnSeries(self._plot, series.style)
        return self._items[series.style.key]

    def _dress(self) -> None:
        """Put on the colours of the theme."""
        plot = self._plot
        if plot is None:
            return
        plot.setBackground(theme.colour("surface"))
        font = theme.figure_font(theme.FONT_POINTS - 1.5)
        for name in ("left", "bottom"):
            axis = plot.getAxis(name)
            axis.setPen(theme.colour("border"))
            axis.setTextPen(theme.colour("muted"))
            axis.setTickFont(font)
            axis.setStyle(tickLength=0, tickTextOffset=6, maxTickLevel=0)
        plot.getAxis("left").setWidth(46)
        plot.getAxis("left").setPen(theme.colour("surface"))
        plot.getAxis("left").setGrid(48)
        plot.getAxis("left").setTickPen(theme.colour("border_strong"))
        if self._whole:
            plot.getAxis("left").setTicks([[(v / 100, f"{v} %") for v in (0, 25, 50, 75, 100)], []])
        elif self._show_value is scientific:
            plot.getAxis("left").tickStrings = scientific_ticks
        if self._cursor is not None:
            self._cursor.setPen(theme.colour("muted"), width=1)
        for drawn in self._items.values():
            drawn.dress()

    def _fit(self) -> None:
        """Show the whole run, unless the user has zoomed."""
        if self._plot is None or not self._own_view:
            return
        view = self._plot.getViewBox()
        last = max((s.point(-1)[0] for s in self._series.values() if len(s)), default=1.0)
        view.setXRange(0, max(self._total, last, 1.0), padding=0.015)
        if self._whole:
            view.setYRange(0, 1, padding=0.07)
            return
        values = [s.arrays()[1] for s in self._series.values() if len(s)]
        if values:
            top = max(float(np.max(v)) for v in values)
            bottom = min(0.0, *(float(np.min(v)) for v in values))
            view.setYRange(bottom, top if top > bottom else bottom + 1, padding=0.06)

    def _update_readout(self) -> None:
        """Show the values at the crosshair, or the newest ones."""
        self._place.setText("by step" if self._at is None else f"step {self._at:.0f}")
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
        where = "now" if self._at is None else f"at step {self._at:.0f}"
        self.setAccessibleDescription(f"{where}: {', '.join(spoken)}" if spoken else "empty")

    def _on_view_moved(self, *_: object) -> None:
        self._own_view = False

    def _on_mouse_moved(self, arguments: tuple[Any, ...]) -> None:
        plot = self._plot
        if plot is None:
            return
        box = plot.getViewBox()
        inside = box.sceneBoundingRect().contains(arguments[0])
        self.set_crosshair(box.mapSceneToView(arguments[0]).x() if inside else None)

    def _on_menu_requested(self, position: QPoint) -> None:
        source = self.sender()
        origin = source if isinstance(source, QWidget) else self
        menu = self.menu()
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(origin.mapToGlobal(position))

    def _ask_path(self, suffix: str) -> str:
        """Ask where to save; empty if the user thinks better of it."""
        name = f"{self._title_text.lower().replace(' ', '-')}{suffix}"
        return QFileDialog.getSaveFileName(self, "Save chart", name, f"*{suffix}")[0]

    def _save_as(self, suffix: str) -> None:
        chosen = self._ask_path(suffix)
        if not chosen:
            return
        path = Path(chosen)
        try:
            self.save(path if path.suffix else path.with_suffix(suffix))
        except InputError as error:
            self.failed.emit(error)

    def _on_save_png(self) -> None:
        self._save_as(".png")

    def _on_save_svg(self) -> None:
        self._save_as(".svg")

    def _on_save_csv(self) -> None:
        self._save_as(".csv")


__all__ = ["Chart", "SeriesStyle", "percent", "plain", "scientific"]
