"""The embedding map with its controls: what is drawn, PCA or t-SNE, before or after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QSignalBlocker, Qt, Signal
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
from PySide6.QtWidgets import QCheckBox, QComboBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import MapEmbeddings
from cleanclip_gui.jobs import tasks
from cleanclip_gui.session.records import Role
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import save_map
from cleanclip_gui.studio.pages.asking import AskingPage
from cleanclip_gui.theme import look
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import named
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.name_filters import PICTURE_OR_NUMBERS
from cleanclip_gui.widgets.number_box import NumberBox, fill
from cleanclip_gui.widgets.pictures import give_role
from cleanclip_gui.widgets.text import count_text, percent, plain, plural
from ml_core.evaluation.embedding_map import KINDS, EmbeddingMap, Embeddings, Points
from ml_core.evaluation.tsne import tsne_map
from ml_core.reading.errors import CancelledError, InputError

# Kinds differ in shape as well as in colour: a circle, a triangle, a star.
SYMBOLS = ("o", "t1", "star")
_EMPTY = "Nothing is measured yet: press Measure."
_SIZES = (6, 7, 13)
MOST_POINTS = 4000
_NEAR, _RING, _FRAME = 9.0, 10, 2


class EmbeddingPlot(theme.Themed, QWidget):
    """``lassoed(rows)`` has the rows inside a loop, ``pointed(row)`` the one near or -1.

    Escape ends a choice. The wheel zooms with Ctrl, as in charts; a double click shows everything.
    """

    lassoed = Signal(object)
    pointed = Signal(int)

    def __init__(self) -> None:
        super().__init__(accessibleName="Embedding map", accessibleDescription="empty")
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
        self.shown = tuple(QCheckBox(text) for _, text in _KINDS)  # which kinds, and the legend
        for box in self.shown:
            box.setChecked(True)
            box.toggled.connect(self.dress)
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
        if part is not None:
            self._build()
        if self._plot is not None:
            self._plot.setVisible(part is not None)
        self.update()
        self.dress()
        if fit:
            self.show_all()

    def set_chosen(self, rows: NDArray[np.int64]) -> None:
        """Ring some rows."""
        self.chosen = rows
        self._describe()
        self.dress()

    def _describe(self) -> None:
        """Say how many points there are, for a screen reader."""
        count = 0 if self.places is None else len(self.places)
        text = f"{plural(count, 'point')}, {count_text(len(self.chosen))} chosen"
        self.setAccessibleDescription(text if count else "empty")

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Show the focus around the plot."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.colour("surface"))
        if self.part is None:
            painter.setPen(theme.colour("muted"))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, _EMPTY)
        if self.hasFocus():
            painter.setPen(QPen(theme.colour("focus"), _FRAME))
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def mark_class(self, index: int) -> None:
        """Write a class's name beside its text; -1 writes none."""
        self._marked = index
        self.dress()

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
        lasso.hovered.connect(lambda at: self.pointed.emit(self.row_at(at)))
        lasso.left.connect(partial(self.pointed.emit, -1))
        lasso.clicked.connect(self._on_clicked)
        lasso.looped.connect(lambda loop: self.lassoed.emit(self.rows_inside(loop)))
        lasso.double_clicked.connect(self.show_all)
        lasso.zoomed.connect(self.zoom)
        lasso.setToolTip("Ctrl+wheel zooms, a double click shows everything again")

    def _on_clicked(self, at: QPointF) -> None:
        row = self.row_at(at)
        self.lassoed.emit(np.array([row] if row >= 0 else [], np.int64))

    def dress(self) -> None:
        """Draw in the theme's colours."""
        for kind, (box, (mark, _)) in enumerate(zip(self.shown, _KINDS, strict=True)):
            box.setIcon(theme.picture(mark, self._colour(kind), theme.px(14)))
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
            most = MOST_POINTS if self.shown[kind].isChecked() else 0
            rows = np.flatnonzero(kinds == kind)[:most]
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
            symbol="o", size=_RING, brush=QBrush(Qt.BrushStyle.NoBrush), pen=look.thin_pen("text"),
        )  # fmt: skip

        self._name.setVisible(
            self.shown[2].isChecked() and 0 <= self._marked < len(self.part.texts)
        )
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


class Lasso(QWidget):
    """Lies over a plot: a drag draws a loop, a click chooses one point.

    All places are in its own pixels. ``looped`` has the loop (``QPolygonF``), ``hovered`` and
    ``clicked`` a place (``QPointF``), ``zoomed`` a factor and the place to zoom around; ``left``:
    the pointer has left.
    """

    pressed = Signal()
    hovered = Signal(QPointF)
    left = Signal()
    clicked = Signal(QPointF)
    looped = Signal(QPolygonF)
    double_clicked = Signal()
    zoomed = Signal(float, QPointF)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, accessibleName="Lasso")
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


_HINT = "Draw a lasso around points to show those images; Esc clears it."
_QUICK_S = 2.0
_TITLES: dict[Role, str] = {
    "suspect": "Before cleaning",
    "cleaned": "After cleaning",
    "reference": "Reference",
}
_KINDS = (("circle", "Clean"), ("triangle", "Triggered"), ("star", "Class texts"))


class EmbeddingMapPage(AskingPage):
    """Measures on request; ``chosen(images)`` has the images inside a loop, none for all.

    PCA comes with the embeddings; the t-SNE of the same points is made in the background, when it
    is first chosen.
    """

    chosen = Signal(object)
    what = "Embedding map"
    measures = "Measure", "Embed the images, without and with the trigger"
    saves = "Save the points", "Save the points as CSV or JSON, or the picture as PNG"
    hint = _HINT

    def __init__(self, context: Context, rate: Callable[[], float]) -> None:
        super().__init__(context)
        self._rate = rate
        self._maps: dict[str, EmbeddingMap] = {}  # by method
        self._roles: tuple[str, ...] = ()  # titles of the parts of these maps
        self._tsne = Ticket.closed()
        self.embedding_map: EmbeddingMap | None = None
        self._titles: tuple[str, ...] = ()
        self.plot = EmbeddingPlot()
        methods = (("PCA", "PCA"), ("t-SNE", "t-SNE"))
        self.method = fill(named(QComboBox(), "Projection"), methods)
        self.part = named(QComboBox(), "Checkpoint on the map")
        self.count = named(NumberBox("int", 20, 4000, "images"), "Images to embed")
        self.count.setValue(600)
        self.says.setProperty("role", "caption")
        self._lay_out()
        self.method.currentIndexChanged.connect(self._on_method_changed)
        self.part.currentIndexChanged.connect(lambda _: self._show_part(fit=False))
        self.plot.lassoed.connect(self._on_lassoed)
        self.plot.pointed.connect(self._on_pointed)
        self.set_busy(None)
        self.show_points(None)
        self._follow(self._on_model_change, "checkpoint", "images", "cleaned")
        self._follow(self._on_question_change, "trigger", "role")

    def _lay_out(self) -> None:
        column(
            FoldingRow((self.count, self.measure), (self.part, self.method, self.save)),
            FoldingRow(*self.plot.shown), (self.plot, 1), self.says,
            self.readout, self.busy,
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    # What is asked

    def touch(self, *_: object) -> None:
        """Measure a first map as soon as the page is shown, where that is quick."""
        rate, waits = self._rate(), self._ticket.is_open
        if (
            self.isHidden()
            or waits
            or self.embedding_map is not None
            or not self._session.can_measure
        ):
            return
        if rate > 0 and self.count.value() / rate < _QUICK_S:
            self._ask()

    def _ask(self) -> None:
        """Embed the images; a cleaned checkpoint is laid into the same plane."""
        session = self._session
        if session.checkpoint is None or session.images is None:
            self.says.setText("Open a checkpoint and images first.")
            return
        self._end_tsne()
        roles: tuple[Role, ...] = ("suspect",)
        if session.cleaned is not None:
            roles = ("suspect", "cleaned")
        elif session.reference is not None:
            roles = ("suspect", "reference")
        self.set_busy(0.0)
        question = MapEmbeddings(session.trigger, roles, round(self.count.value()))
        self._ask_models(question, partial(self._on_mapped, roles))

    def _on_cancelled(self) -> None:
        """End what goes on; the map on show stays."""
        self._end_tsne()
        super()._on_cancelled()
        self._show_map(self.embedding_map)

    def _on_save_clicked(self) -> None:
        if self.embedding_map is not None:
            name = f"embedding-map-{self.embedding_map.method.lower()}.png"
            write = partial(self._save, self.embedding_map)
            self._ask_and_save(name, PICTURE_OR_NUMBERS, write)

    def _save(self, embedding_map: EmbeddingMap, path: Path) -> None:
        """Write the points, or the picture."""
        if path.suffix.lower() != ".png":
            save_map(embedding_map, path)
        elif not self.plot.grab().save(str(path), "PNG"):
            raise InputError(f"{path.name} could not be written.")

    def _show_map(self, embedding_map: EmbeddingMap | None) -> None:
        self.show_points(embedding_map, self._roles)
        self.plot.mark_class(self._session.target)

    def _on_question_change(self, *_: object) -> None:
        """The map is of the trigger that it was measured with, and says so."""
        if self.embedding_map is not None:
            trigger = self._session.trigger
            digest = None if trigger is None else trigger.digest
            self.set_outdated(self.embedding_map.parts[0].trigger != digest)

    def _on_model_change(self, *_: object) -> None:
        self._cancel_question()
        self._end_tsne()
        self._maps, self._roles = {}, ()
        self.set_busy(None)
        self._show_map(None)
        self.chosen.emit(())

    def _on_mapped(self, roles: tuple[Role, ...], embedding_map: EmbeddingMap) -> None:
        titles = _TITLES if "cleaned" in roles else _TITLES | {"suspect": "This checkpoint"}
        self._roles = tuple(titles[role] for role in roles) if len(roles) > 1 else ()
        self._maps = {"PCA": embedding_map}
        self.set_busy(None)
        self._show_map(embedding_map)
        self._on_question_change()

    def _on_method_changed(self) -> None:
        self._end_tsne()
        name = self.method.currentData()
        if name in self._maps:
            self.set_busy(None)
            self._show_map(self._maps[name])
        elif "PCA" in self._maps:
            self._begin_tsne(self._maps["PCA"])

    def _begin_tsne(self, flat: EmbeddingMap) -> None:
        self.set_busy(-1.0)
        self._tsne = tasks.run(
            partial(tsne_of, flat.parts),
            self._on_laid_out,
            self._on_tsne_failed,
            on_progress=self._on_tsne_progress,
        )

    def _end_tsne(self) -> None:
        self._tsne.cancel()

    def _on_tsne_progress(self, progress: TicketProgress) -> None:
        self.set_busy(progress.share if progress.done else -1.0)

    def _on_laid_out(self, embedding_map: EmbeddingMap) -> None:
        self._maps["t-SNE"] = embedding_map
        self.set_busy(None)
        self._show_map(embedding_map)

    def _on_tsne_failed(self, error: InputError) -> None:
        self._show_map(self._maps.get("PCA"))
        self._on_failed(error)

    # What is shown

    def show_points(self, embedding_map: EmbeddingMap | None, titles: tuple[str, ...] = ()) -> None:
        """Show a map; ``titles`` name its parts, e.g. before and after cleaning."""
        new = embedding_map is not None and (
            self.embedding_map is None or embedding_map.parts != self.embedding_map.parts
        )
        other = embedding_map is not None and (
            self.embedding_map is None or embedding_map.method != self.embedding_map.method
        )
        self.embedding_map = embedding_map
        self.save.setEnabled(embedding_map is not None)
        with QSignalBlocker(self.method):
            if embedding_map is not None:
                self.method.setCurrentIndex(self.method.findData(embedding_map.method))
            elif self.method.currentIndex() > 0:
                self.method.setCurrentIndex(0)
        self.method.setEnabled(embedding_map is not None)
        if titles != self._titles:
            self._titles = titles
            with QSignalBlocker(self.part):
                self.part.clear()
                self.part.addItems(list(titles))
        self.part.setVisible(len(titles) > 1)
        if new:
            self.plot.set_chosen(np.empty(0, np.int64))
        self._show_part(fit=new or other)

    def set_outdated(self, outdated: bool) -> None:
        """Say that the map was measured with another trigger."""
        embedding_map = self.embedding_map
        if embedding_map is not None:
            words = sentence(embedding_map, max(0, self.part.currentIndex()))
            older = "Measured with another trigger; press Measure. " if outdated else ""
            self.says.setText(older + words)

    def _show_part(self, *, fit: bool) -> None:
        embedding_map = self.embedding_map
        number = max(0, self.part.currentIndex())
        if embedding_map is None or number >= len(embedding_map.parts):
            self.plot.show_part(None, None, fit=False)
            self.says.setText("")
            return
        self.plot.show_part(
            embedding_map.parts[number],
            embedding_map.places[number],
            fit=fit,
            others=embedding_map.places,
        )
        self.says.setText(sentence(embedding_map, number))

    def _on_lassoed(self, rows: object) -> None:
        if (part := self.plot.part) is not None:
            chosen = np.asarray(rows, np.int64)
            self.plot.set_chosen(chosen)
            images = chosen[part.kinds()[chosen] < 2]
            self.chosen.emit(np.unique(part.numbers()[images]))

    def _on_pointed(self, row: int) -> None:
        part = self.plot.part
        self.readout.setText(_HINT if part is None or row < 0 else point_text(part, row))


def tsne_of(parts: Sequence[Embeddings], control: tasks.TaskControl) -> EmbeddingMap:
    """Lay out the points of a map by t-SNE; ends early, in a `CancelledError`, if cancelled."""
    for step in tsne_map(parts, cancelled=control.cancelled):
        if step.result is not None:
            return step.result
        control.tell(TicketProgress(step.done, step.total))
    raise CancelledError


def point_text(part: Embeddings, row: int) -> str:
    """One point in words."""
    kind, number = int(part.kinds()[row]), int(part.numbers()[row])
    if kind == 2:
        return f"Class text: {plain(part.class_names[number], 60)}"
    at = row if kind == 0 else row - len(part.clean)
    seen = part.clean_top1 if kind == 0 else part.triggered_top1
    label = int(part.labels[at])
    text = f"Image {number + 1}, {KINDS[kind]}"
    if label >= 0:
        text += f", label {plain(part.class_names[label], 40)}"
    if seen is not None:
        text += f", predicted as {plain(part.class_names[int(seen[at])], 40)}"
    return text


def sentence(embedding_map: EmbeddingMap, number: int) -> str:
    """How to read the map."""
    part = embedding_map.parts[number]
    text = plural(len(part.indices), "image")
    shares = embedding_map.settings.get("variance_shares")
    if embedding_map.method == "PCA" and shares:
        first, second = (percent(share, digits=0) for share in shares)
        text += f"; the axes hold {first} and {second} of the variance"
    else:
        text += "; distances between groups mean nothing in a t-SNE"
    if len(embedding_map.parts) > 1:
        text += ", one projection for both checkpoints"
    return (
        f"{text}. Class texts lie {part.gap:.2f} apart from the images; they are drawn among them."
    )
