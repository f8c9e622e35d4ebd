"""The gallery: what the model calls each image, clean and triggered, thousands at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QPainter, QPaintEvent, QPalette, QPixmap
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QListView, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.text import count_text, tip
from cleanclip_gui.widgets.gallery_delegate import (
    CELL_HEIGHT,
    CELL_WIDTH,
    THUMBNAIL,
    GalleryCell,
    GalleryDelegate,
)
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.paint_scene import rgba_to_image
from ml_core.evaluation.records import PerImage

Filter = Literal["all", "flipped", "hit", "resisted"]
_FILTERS: tuple[tuple[Filter, str], ...] = (
    ("all", "All images"),
    ("flipped", "Flipped"),
    ("hit", "Hit the target"),
    ("resisted", "Resisted"),
)
_CACHED = 2000
_PER_REQUEST = 48
_Index = QModelIndex | QPersistentModelIndex
CELL_ROLE = Qt.ItemDataRole.UserRole


class GalleryModel(QAbstractListModel):
    """Images of the set in rows; labels and pictures arrive later.

    At most one request for thumbnails is out, for those that were painted last and missed.
    """

    thumbnails_needed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = np.empty(0, np.int64)
        self._row_of = np.empty(0, np.int64)
        self._labels = np.empty(0, np.int64)
        self._clean = np.empty(0, np.int64)
        self._triggered = np.empty(0, np.int64)
        self._fresh = np.empty(0, np.bool_)
        self._names: tuple[str, ...] = ()
        self._target = -1
        self._filter: Filter = "all"
        self._pixmaps: OrderedDict[int, QPixmap] = OrderedDict()
        self._missing: OrderedDict[int, None] = OrderedDict()
        self._asked: tuple[int, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(15)
        self._timer.timeout.connect(self._ask)

    def set_images(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        """Show another set; ``labels`` int64 [n], -1 unlabelled."""
        self.beginResetModel()
        self._labels = labels
        self._names = tuple(class_names)
        self._clean = np.full(len(labels), -1, np.int64)
        self._triggered = np.full(len(labels), -1, np.int64)
        self._fresh = np.zeros(len(labels), np.bool_)
        self._pixmaps.clear()
        self._missing.clear()
        self._asked = ()
        self._take_rows()
        self.endResetModel()

    def set_target(self, target: int) -> None:
        """Set the class that makes a flip a hit."""
        if target != self._target:
            self._target = target
            self._refilter()

    def clear_predictions(self, *, clean: bool) -> None:
        """Forget what the model said with the trigger, and, if ``clean``, without."""
        self._triggered[:] = -1
        if clean:
            self._clean[:] = -1
        self._refilter()

    def update_predictions(self, per_image: PerImage) -> None:
        """Take what the model said about some images."""
        self._clean[per_image.indices] = per_image.clean_top1
        if per_image.triggered_top1 is None:
            self._triggered[:] = -1
        else:
            self._triggered[per_image.indices] = per_image.triggered_top1
        self._fresh[per_image.indices] = True
        self._refilter()

    def set_stale(self) -> None:
        """Fade every triggered label until it is measured again."""
        self._fresh[:] = False
        self._repaint()

    def set_filter(self, name: Filter) -> None:
        """Show all images, or those that flipped, hit the target, or resisted."""
        self._filter = name
        self._refilter()

    def counts(self) -> dict[Filter, int]:
        """How many images each filter would show."""
        return {name: int(np.count_nonzero(self._mask(name))) for name, _ in _FILTERS}

    def image_at(self, row: int) -> int:
        """Index in the image set of a row."""
        return int(self._rows[row])

    def row_of(self, image: int) -> int:
        """Row of an image, -1 when the filter hides it."""
        return int(self._row_of[image]) if 0 <= image < len(self._row_of) else -1

    def set_thumbnails(self, indices: Sequence[int], images: NDArray[np.uint8]) -> None:
        """Take pictures, uint8 [n, s, s, 3]."""
        for image, pixels in zip(indices, images, strict=True):
            self._pixmaps[image] = QPixmap.fromImage(rgba_to_image(pixels))
            self._missing.pop(image, None)
            row = self.row_of(image)
            if row >= 0:
                self.dataChanged.emit(self.index(row), self.index(row), [CELL_ROLE])
        while len(self._pixmaps) > _CACHED:
            self._pixmaps.popitem(last=False)
        self._asked = ()
        if self._missing:
            self._timer.start()

    def forget_request(self) -> None:
        """Let thumbnails be asked for again after a request that failed."""
        self._asked = ()

    def rowCount(self, parent: _Index | None = None) -> int:  # noqa: N802
        """Return the number of rows the filter shows."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What the delegate paints, what a screen reader says, and the tool tip."""
        if not index.isValid():
            return None
        image = int(self._rows[index.row()])
        if role == CELL_ROLE:
            return self._cell(image)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self._sentence(image)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(self._sentence(image))
        return None

    def _cell(self, image: int) -> GalleryCell:
        pixmap = self._pixmaps.get(image)
        if pixmap is None:
            self._missing[image] = None
            self._missing.move_to_end(image)
            if not self._timer.isActive():
                self._timer.start()
        else:
            self._pixmaps.move_to_end(image)
        clean, triggered = int(self._clean[image]), int(self._triggered[image])
        label = self._name(int(self._labels[image]))
        badge: Literal["", "flip", "hit"] = ""
        if clean >= 0 and triggered >= 0 and triggered != clean:
            badge = "hit" if triggered == self._target else "flip"
        fresh = bool(self._fresh[image])
        return GalleryCell(pixmap, self._name(clean), self._name(triggered), label, badge, fresh)

    def _sentence(self, image: int) -> str:
        """One image in words."""
        cell = self._cell(image)
        parts = [f"Image {image + 1}"]
        if cell.label:
            parts.append(f"label {cell.label}")
        if cell.clean:
            parts.append(f"clean prediction {cell.clean}")
        if cell.triggered:
            parts.append(f"triggered prediction {cell.triggered}")
        if cell.badge:
            parts.append("hit the target" if cell.badge == "hit" else "flipped")
        return ", ".join(parts)

    def _name(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else ""

    def _mask(self, name: Filter) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = (self._clean >= 0) & (self._triggered >= 0)
        flipped: NDArray[np.bool_] = known & (self._clean != self._triggered)
        if name == "flipped":
            return flipped
        if name == "hit":
            return np.asarray(flipped & (self._triggered == self._target))
        if name == "resisted":
            return np.asarray(known & ~flipped)
        return np.ones(len(self._labels), np.bool_)

    def _take_rows(self) -> None:
        self._rows = np.flatnonzero(self._mask(self._filter))
        self._row_of = np.full(len(self._labels), -1, np.int64)
        self._row_of[self._rows] = np.arange(len(self._rows))

    def _refilter(self) -> None:
        """Show what the filter shows now; keep rows that stay."""
        rows = np.flatnonzero(self._mask(self._filter))
        if np.array_equal(rows, self._rows):
            self._repaint()
            return
        self.beginResetModel()
        self._take_rows()
        self.endResetModel()

    def _repaint(self) -> None:
        if len(self._rows):
            self.dataChanged.emit(self.index(0), self.index(len(self._rows) - 1), [CELL_ROLE])

    def _ask(self) -> None:
        """Ask for the pictures that were painted last and missed."""
        if self._asked or not self._missing:
            return
        newest = list(self._missing)[-_PER_REQUEST:]
        self._missing.clear()
        self._asked = tuple(newest)
        self.thumbnails_needed.emit(self._asked)


class GalleryView(QListView):
    """A grid of equal cells; arrow keys walk it."""

    def __init__(self, model: GalleryModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("gallery")
        self.setAccessibleName("Images")
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setUniformItemSizes(True)
        self.setGridSize(QSize(CELL_WIDTH, CELL_HEIGHT))
        self.setLayoutMode(QListView.LayoutMode.Batched)
        self.setBatchSize(500)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setItemDelegate(GalleryDelegate(CELL_ROLE, self))
        self.setModel(model)
        self._empty_text = "No images are open."

    def set_empty_text(self, text: str) -> None:
        """What to say when there is nothing to show."""
        self._empty_text = text
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint the cells, or say that there are none."""
        super().paintEvent(event)
        if self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(
                self.viewport().rect().adjusted(16, 16, -16, -16), flags, self._empty_text
            )


class Gallery(QWidget):
    """Filter and grid."""

    image_selected = Signal(int)
    thumbnails_needed = Signal(object, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = GalleryModel(self)
        self.view = GalleryView(self.model, self)
        self._selected = -1
        self.filter = QComboBox()
        self.filter.setAccessibleName("Show images")
        for name, text in _FILTERS:
            self.filter.addItem(text, name)
        self._count = Label("", "caption")
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_S)
        head.addWidget(self.filter, 1)
        head.addWidget(self._count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addWidget(self.view, 1)
        bar = self.view.verticalScrollBar().sizeHint().width()
        self.setFixedWidth(2 * CELL_WIDTH + bar + 20)
        self.filter.currentIndexChanged.connect(self._on_filter_changed)
        self.model.thumbnails_needed.connect(self._on_thumbnails_needed)
        self.model.modelReset.connect(self._on_model_reset)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)

    def set_images(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        """Show another set."""
        self._selected = -1
        self.filter.setCurrentIndex(0)
        self.model.set_images(labels, class_names)
        self._show_counts()

    def update_predictions(self, per_image: PerImage) -> None:
        """Take what the model said about some images."""
        self.model.update_predictions(per_image)
        self._show_counts()

    def clear_predictions(self, *, clean: bool = False) -> None:
        """Forget what the model said with the trigger, and, if ``clean``, without."""
        self.model.clear_predictions(clean=clean)
        self._show_counts()

    def set_stale(self) -> None:
        """Fade the triggered labels until they are measured again."""
        self.model.set_stale()

    def set_target(self, target: int) -> None:
        """Set the class that makes a flip a hit."""
        self.model.set_target(target)
        self._show_counts()

    def select(self, image: int) -> None:
        """Select an image by its index in the set, without telling anybody."""
        self._selected = image
        self._show_current(self.model.row_of(image))

    def step(self, by: int) -> None:
        """Select the next or the previous image shown."""
        count = self.model.rowCount()
        if count:
            row = self.model.row_of(self._selected)
            self._show_current((row + by) % count if row >= 0 else 0)

    def _show_current(self, row: int) -> None:
        if row >= 0:
            index = self.model.index(row)
            self.view.selectionModel().setCurrentIndex(
                index, QItemSelectionModel.SelectionFlag.ClearAndSelect
            )
            self.view.scrollTo(index)

    def _on_filter_changed(self, index: int) -> None:
        self.model.set_filter(self.filter.itemData(index))
        self._show_counts()

    def _on_thumbnails_needed(self, indices: object) -> None:
        ratio = self.devicePixelRatioF()
        self.thumbnails_needed.emit(indices, round(THUMBNAIL * ratio))

    def _on_model_reset(self) -> None:
        if self._selected >= 0:
            self.select(self._selected)

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            image = self.model.image_at(current.row())
            if image != self._selected:
                self._selected = image
                self.image_selected.emit(image)

    def _show_counts(self) -> None:
        counts = self.model.counts()
        for row, (name, text) in enumerate(_FILTERS):
            self.filter.setItemText(row, f"{text} ({counts[name]})" if row else text)
        self._count.setText(count_text(self.model.rowCount()))
        nothing = {
            "all": "No images are open.",
            "flipped": "No prediction has flipped.",
            "hit": "No image hits the target.",
            "resisted": "No image has resisted.",
        }
        self.view.set_empty_text(nothing[self.filter.currentData()])
