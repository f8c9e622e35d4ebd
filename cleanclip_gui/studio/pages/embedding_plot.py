"""Points of an embedding map, drawn by kind, with a lasso to choose some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QBrush,
    QColor,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.text import count_text, plain, plural
from ml_core.evaluation.embedding_map import Embeddings, Points

# Kinds differ in shape as well as in colour: a circle, a triangle, a star.
SYMBOLS = ("o", "t1", "star")
_SIZES = (6, 7, 13)
MOST_POINTS = 4000
_NEAR, _RING, _FRAME = 9.0, 10, 2


class EmbeddingPlot(QWidget):
    """``lassoed(rows)`` has the rows inside a loop, ``pointed(row)`` the one near or -1.

    Escape ends a choice. The wheel zooms with Ctrl, as in charts; a double click shows everything.
    """

    lassoed = Signal(object)
    pointed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Embedding map")
        self.setAccessibleDescription("empty")
        give_role(self, QAccessible.Role.Chart)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(theme.px(200), theme.px(160))
        self._layout = column(of=self, margins=_FRAME)
        self._plot: Any = None
        self._scatter: list[Any] = []
        self._name: Any = None
        self._marked = -1
        self._lasso: Lasso | None = None
        self.part: Embeddings | None = None
        self.places: Points | None = None
        self._all: Sequence[Points] = ()
        self.visible = (True, True, True)
        self.drawn: NDArray[np.int64] = np.empty(0, np.int64)
        self.chosen: NDArray[np.int64] = np.empty(0, np.int64)

    def show_part(
        self,
        part: Embeddings | None,
        places: Points | None,
        *,
        fit: bool,
        others: Sequence[Points] = (),
    ) -> None:
        """Draw the points of one checkpoint; ``fit`` moves the view over them.

        ``others`` are those of all checkpoints of the map: the view takes them in as well, for it
        stands still when another checkpoint is shown.
        """
        self.part, self.places = part, places
        self._all = others or (() if places is None else (places,))
        self._describe()
        self._build()
        self._draw()
        if fit:
            self.show_all()

    def set_visible_kinds(self, clean: bool, triggered: bool, texts: bool) -> None:
        """Draw some kinds only."""
        self.visible = (clean, triggered, texts)
        self._draw()

    def set_chosen(self, rows: NDArray[np.int64]) -> None:
        """Ring some rows."""
        self.chosen = rows
        self._describe()
        self._draw()

    def _describe(self) -> None:
        """Say how many points there are, for who hears it."""
        count = 0 if self.places is None else len(self.places)
        said = f"{plural(count, 'point')}, {count_text(len(self.chosen))} chosen"
        self.setAccessibleDescription(said if count else "empty")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Show the focus around the plot."""
        if self.hasFocus():
            painter = QPainter(self)
            painter.setPen(QPen(theme.colour("focus"), _FRAME))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def mark_class(self, index: int) -> None:
        """Write a class's name beside its text; -1 writes none."""
        self._marked = index
        self._draw()

    def show_all(self) -> None:
        """Fit the view to the points of every checkpoint."""
        if self._plot is not None and self.places is not None and len(self.places):
            # float32 overflows in the view's arithmetic
            spots = np.concatenate(self._all).astype(np.float64)
            low, high = spots.min(axis=0), spots.max(axis=0)
            pad = 0.1 * np.maximum(high - low, 1e-6)
            self._plot.setRange(
                xRange=(float(low[0] - pad[0]), float(high[0] + pad[0])),
                yRange=(float(low[1] - pad[1]), float(high[1] + pad[1])),
                padding=0,
            )

    def rows_inside(self, loop: QPolygonF) -> NDArray[np.int64]:
        """Rows of drawn points inside a loop in widget pixels."""
        if self.places is None or loop.size() < 3:
            return np.empty(0, np.int64)
        spots = self.pixels(self.drawn)
        fill = Qt.FillRule.OddEvenFill
        inside = [loop.containsPoint(QPointF(x, y), fill) for x, y in spots]
        return self.drawn[np.array(inside, np.bool_)] if len(inside) else self.drawn

    def row_at(self, at: QPointF) -> int:
        """The drawn row nearest to a place in widget pixels, -1 where none is near."""
        if self.places is None or not len(self.drawn):
            return -1
        away = np.hypot(*(self.pixels(self.drawn) - (at.x(), at.y())).T)
        nearest = int(away.argmin())
        return int(self.drawn[nearest]) if away[nearest] <= _NEAR else -1

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where rows are drawn, in widget pixels [n, 2]."""
        assert self.places is not None
        view = self._plot.getViewBox()
        (x0, x1), (y0, y1) = view.viewRange()
        box = self._plot.mapFromScene(view.sceneBoundingRect()).boundingRect()
        corner = self._plot.mapTo(self, box.topLeft())
        share = (self.places[rows] - (x0, y0)) / (x1 - x0, y1 - y0)
        x = corner.x() + share[:, 0] * box.width()
        y = corner.y() + (1 - share[:, 1]) * box.height()
        return np.stack([x, y], axis=1)

    def _build(self) -> None:
        """Make the plot, once."""
        if self._plot is not None:
            return
        import pyqtgraph as pg

        plot = pg.PlotWidget()
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        plot.setAccessibleName("Embedding map, plot")
        for side in ("left", "bottom"):
            plot.getPlotItem().hideAxis(side)
        plot.getViewBox().setMouseEnabled(True, True)
        self._plot = plot
        self._layout.addWidget(plot)
        for _ in range(4):
            scatter = pg.ScatterPlotItem(pxMode=True)
            plot.addItem(scatter)
            self._scatter.append(scatter)
        self._name = pg.TextItem(anchor=(0.5, 1.3))
        plot.addItem(self._name, ignoreBounds=True)
        lasso = self._lasso = Lasso(self)
        lasso.setGeometry(self.rect())
        lasso.raise_()
        lasso.show()
        lasso.pressed.connect(partial(self.setFocus, Qt.FocusReason.MouseFocusReason))
        lasso.hovered.connect(self._on_hovered)
        lasso.left.connect(partial(self.pointed.emit, -1))
        lasso.clicked.connect(self._on_clicked)
        lasso.looped.connect(self._on_looped)
        lasso.double_clicked.connect(self.show_all)
        lasso.zoomed.connect(self.zoom)
        lasso.setToolTip("Ctrl+wheel zooms, a double click shows everything again")

    def _on_hovered(self, at: QPointF) -> None:
        self.pointed.emit(self.row_at(at))

    def _on_clicked(self, at: QPointF) -> None:
        row = self.row_at(at)
        self.lassoed.emit(np.array([row] if row >= 0 else [], np.int64))

    def _on_looped(self, loop: QPolygonF) -> None:
        self.lassoed.emit(self.rows_inside(loop))

    def _draw(self) -> None:
        if self._plot is None:
            return
        self._plot.setBackground(theme.colour("surface"))
        if self.part is None or self.places is None:
            for scatter in self._scatter:
                scatter.setData([], [])
            self._name.hide()
            self.drawn = np.empty(0, np.int64)
            return
        kinds, drawn = self.part.kinds(), []
        for kind, scatter in enumerate(self._scatter[:3]):
            rows = np.flatnonzero(kinds == kind) if self.visible[kind] else np.empty(0, np.int64)
            rows = rows[:MOST_POINTS]
            drawn.append(rows)
            colour = self._colour(kind)
            edge = QColor(theme.colour("surface")) if kind == 2 else QColor(colour)
            colour.setAlpha(255 if kind == 2 else 120)
            scatter.setData(
                self.places[rows, 0], self.places[rows, 1],
                symbol=SYMBOLS[kind], size=_SIZES[kind], brush=colour, pen=QPen(edge, 0),
            )  # fmt: skip
        self.drawn = np.concatenate(drawn)
        ringed = np.intersect1d(self.chosen, self.drawn)
        self._scatter[3].setData(
            self.places[ringed, 0], self.places[ringed, 1],
            symbol="o", size=_RING, brush=QBrush(Qt.BrushStyle.NoBrush), pen=_ring(),
        )  # fmt: skip

        self._name.setVisible(self.visible[2] and 0 <= self._marked < len(self.part.texts))
        if self._name.isVisible():
            row = np.flatnonzero(kinds == 2)[self._marked]
            under = theme.colour("surface")
            under.setAlpha(200)
            self._name.fill = QBrush(under)
            self._name.setText(f"{plain(self.part.class_names[self._marked], 30)}")
            self._name.setColor(theme.colour("text"))
            self._name.setPos(*map(float, self.places[row]))

    @staticmethod
    def _colour(kind: int) -> QColor:
        return (look.clean_colour(), look.triggered_colour(), theme.colour("text"))[kind]

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """The lasso covers the plot."""
        super().resizeEvent(event)
        if self._lasso is not None:
            self._lasso.setGeometry(self.rect())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Take the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Escape chooses nothing, Ctrl+A everything drawn, Home shows all."""
        if event.key() == Qt.Key.Key_Escape and len(self.chosen):
            self.lassoed.emit(np.empty(0, np.int64))
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self.lassoed.emit(self.drawn)
        elif event.key() == Qt.Key.Key_Home:
            self.show_all()
        else:
            super().keyPressEvent(event)

    def zoom(self, factor: float, at: QPointF) -> None:
        """Scale the view around a place in widget pixels."""
        if self._plot is not None:
            view = self._plot.getViewBox()
            centre = view.mapSceneToView(
                self._plot.mapToScene(self._plot.mapFrom(self, at.toPoint()))
            )
            view.scaleBy((factor, factor), centre)


def _ring() -> QPen:
    """A thin line whatever the symbol's size."""
    pen = QPen(theme.colour("text"), 1.0)
    pen.setCosmetic(True)
    return pen


class Lasso(QWidget):
    """Lies over a plot: a drag draws a loop, a click chooses one point.

    All places are in its own pixels. ``looped`` has the loop (``QPolygonF``), ``hovered`` and
    ``clicked`` a place (``QPointF``), ``zoomed`` a factor and the place to zoom around; ``left``
    tells that the pointer is elsewhere.
    """

    pressed = Signal()
    hovered = Signal(QPointF)
    left = Signal()
    clicked = Signal(QPointF)
    looped = Signal(QPolygonF)
    double_clicked = Signal()
    zoomed = Signal(float, QPointF)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Lasso")
        self.setAccessibleDescription("A drag with the mouse chooses points.")
        give_role(self, QAccessible.Role.Graphic)
        self._loop = QPolygonF()
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Begin a loop."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.pressed.emit()
            self._loop = QPolygonF([event.position()])

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Draw it, or point at what is near."""
        if event.buttons() & Qt.MouseButton.LeftButton and not self._loop.isEmpty():
            self._loop.append(event.position())
            self.update()
        else:
            self.hovered.emit(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose what is inside, or the point under a click."""
        if event.button() != Qt.MouseButton.LeftButton or self._loop.isEmpty():
            return
        loop, self._loop = self._loop, QPolygonF()
        self.update()
        bounds = loop.boundingRect()
        if max(bounds.width(), bounds.height()) < 4:
            self.clicked.emit(event.position())
        else:
            self.looped.emit(loop)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.double_clicked.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Zoom around the pointer with Ctrl; else the wheel is the page's."""
        if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        self.zoomed.emit(0.85 if event.angleDelta().y() > 0 else 1 / 0.85, event.position())
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Point at nothing."""
        self.left.emit()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the loop."""
        if self._loop.size() < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.colour("accent"), 1.5, Qt.PenStyle.DashLine))
        soft = theme.colour("accent")
        soft.setAlpha(40)
        painter.setBrush(soft)
        painter.drawPolygon(self._loop)
