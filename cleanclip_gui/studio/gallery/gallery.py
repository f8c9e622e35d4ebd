"""The gallery: what the model calls each image, clean and triggered, thousands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QItemSelectionModel, QModelIndex, QPoint, QTimer, Signal
from PySide6.QtGui import QActionGroup, QHideEvent, QShowEvent, QStandardItemModel
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.studio.gallery.delegate import CELL_WIDTH, THUMBNAIL, GalleryDelegate, cell_size
from cleanclip_gui.studio.gallery.model import (
    CELL_ROLE,
    FILTERS,
    ORDERS,
    Filter,
    GalleryModel,
    Order,
)
from cleanclip_gui.widgets.controls import named, spoken_name, tool_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.number_box import ElidingComboBox, fill
from cleanclip_gui.widgets.picture_grid import ScenePicture
from cleanclip_gui.widgets.pictures import PictureList
from cleanclip_gui.widgets.text import count_text
from ml_core.evaluation.records import PerImage

__all__ = ["CELL_ROLE", "Gallery", "GalleryModel"]

_BESIDE = 34  # pixels of the scroll bar and of what is empty beside the cells
_SETTLED_MS = 120
_ON_STAGE = 9  # pictures for an audience
_LAID_OUT_MS = 150  # Qt lays items out anew 0.1 s after their view was resized


class Gallery(QWidget):
    """Filter and grid."""

    image_selected = Signal(int)
    view_moved = Signal()
    thumbnails_needed = Signal(object, int)

    def __init__(self) -> None:
        super().__init__()
        self.model = GalleryModel(self)
        self.view = PictureList("Images", self.model, cell_size)
        self.view.setItemDelegate(GalleryDelegate(CELL_ROLE, self.view))
        self.view.empty_text = "No images are open."
        self._selected = -1
        self._on_stage: tuple[int, ...] = ()
        self._unseen = False
        self._laid_out = QTimer(self, singleShot=True, interval=_LAID_OUT_MS)
        self._laid_out.timeout.connect(self._on_shown)
        entries = [(name, text) for name, text, _ in FILTERS]
        self.filter = fill(named(ElidingComboBox(), "Show images"), entries)
        self.view_menu = QMenu(self)
        orders = QActionGroup(self)
        for key, text in ORDERS:
            order = self.view_menu.addAction(text, partial(self._set_order, key))
            order.setCheckable(True)
            orders.addAction(order)
        self.view_menu.addSeparator()
        self._dataset_order = orders.actions()[0]
        self._dataset_order.setChecked(True)
        self._compared = False
        # On Linux a combo box is called by its value unless a label names it.
        spoken_name("Show images", self.filter).setParent(self)
        self.with_trigger = self.view_menu.addAction("Show the trigger on the pictures")
        self.with_trigger.setCheckable(True)
        self.with_trigger.setChecked(True)
        self.with_trigger.setEnabled(False)
        self.with_trigger.toggled.connect(self._show_trigger)
        self._trigger = ""
        self.more = tool_button("more", "Order of the images, and the trigger on them")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setMenu(self.view_menu)
        column(
            row((self.filter, 1), self.more, spacing=theme.SPACE_XS), (self.view, 1),
            of=self, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.resize(self.width_of(2), self.height())
        self.setTabOrder(self.filter, self.more)
        self.setTabOrder(self.more, self.view)
        self._moved = QTimer(self, singleShot=True, interval=_SETTLED_MS)
        self._moved.timeout.connect(self.view_moved)
        bars = self.view.verticalScrollBar()
        for moved in (bars.valueChanged, bars.rangeChanged):
            moved.connect(self._on_moved)
        self.filter.currentIndexChanged.connect(self._on_filter_changed)
        self.model.thumbnails_needed.connect(self._on_thumbnails_needed)
        self.model.modelReset.connect(self._on_model_reset)
        self.view.selectionModel().currentChanged.connect(self._on_current_changed)

    @staticmethod
    def width_of(columns: int) -> int:
        """How wide it is with so many columns of thumbnails, at 100 %."""
        return columns * CELL_WIDTH + _BESIDE

    def set_images(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        """Show another set."""
        self._selected, self._on_stage = -1, ()
        self.filter.setCurrentIndex(0)
        self._dataset_order.trigger()
        self.model.set_images(labels, class_names)
        self._show_counts()

    def show_filter(self, name: Filter) -> None:
        """Choose a filter."""
        self.filter.setCurrentIndex(self.filter.findData(name))

    def set_other(self, per_image: PerImage | None) -> None:
        """Compare with a second checkpoint; None ends the comparison."""
        self.model.set_other(per_image)
        self._compared = per_image is not None
        if not self._compared and self.filter.currentData() == "differ":
            self.show_filter("all")
        self._show_counts()

    def set_chosen(self, images: Sequence[int]) -> None:
        """Show images that were chosen elsewhere; where there are none, all again."""
        self.model.set_chosen(images)
        self._show_counts()
        if len(images):
            self.show_filter("chosen")
        elif self.filter.currentData() == "chosen":
            self.show_filter("all")

    def update_predictions(
        self, per_image: PerImage, *, older: bool = False, last: bool = False
    ) -> None:
        """Take what the model said about some images, see `GalleryModel.update_predictions`."""
        self.model.update_predictions(per_image, older=older, last=last)
        self._show_counts()

    def clear_predictions(self, *, clean: bool = False) -> None:
        """Forget what the model said with the trigger, and, if ``clean``, without."""
        self.model.clear_predictions(clean=clean)
        self._show_counts()

    def set_trigger(self, digest: str) -> None:
        """Draw the pictures with the trigger of a digest on them; empty: without a trigger."""
        self._trigger = digest
        self._show_trigger()

    def _show_trigger(self, *_: object) -> None:
        self.with_trigger.setEnabled(bool(self._trigger))
        self.model.show_trigger(self._trigger if self.with_trigger.isChecked() else "")

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

    def for_audience(self, target: int) -> tuple[ScenePicture, ...]:
        """A few images of other classes than the target, and what the model makes of them."""
        if not self._on_stage:
            self._on_stage = self.model.spread(target, _ON_STAGE)
            self.view_moved.emit()
        pictures = []
        for cell in map(self.model.cell, self._on_stage):
            image = None if cell.pixmap is None else cell.pixmap.toImage()
            after = f"\N{RIGHTWARDS ARROW} {cell.triggered}" if cell.triggered else ""
            names = (cell.label, cell.clean) if after else (cell.clean, cell.label)
            lines = (names[0] or names[1], after)  # without the trigger the model may be wrong, too
            pictures.append(ScenePicture(image, lines, bool(cell.badge)))
        return tuple(pictures)

    def on_screen(self) -> tuple[int, ...]:
        """Images that are seen, by their index in the set: an audience's, then first rows first."""
        if not self.isVisible():
            return self._on_stage
        bounds = self.view.viewport().rect()
        rows = range(self.model.rowCount())
        columns = max(1, bounds.width() // cell_size().width())
        # Cells stand in a grid: the first one in view tells where to begin.
        first = self.view.indexAt(QPoint(cell_size().width() // 2, cell_size().height() // 4))
        begin = max(0, first.row() - columns) if first.isValid() else 0
        indices = list(self._on_stage)
        for number in rows[begin:]:
            cell = self.view.visualRect(self.model.index(number))
            if cell.top() > bounds.bottom():
                break
            if cell.intersects(bounds):
                indices.append(self.model.image_at(number))
        return tuple(indices)

    def step(self, by: int) -> None:
        """Select the next or the previous image shown; the first if the selected one is hidden."""
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
            self._unseen = not self.isVisible()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Scroll to the selected image, whose place was not known while the view was hidden."""
        super().showEvent(event)
        if self._unseen:
            self._laid_out.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Do not scroll while hidden."""
        super().hideEvent(event)
        self._laid_out.stop()
        self._moved.stop()

    def _on_moved(self) -> None:
        if self.isVisible():
            self._moved.start()

    def _on_shown(self) -> None:
        self._show_current(self.model.row_of(self._selected))

    def _on_filter_changed(self, index: int) -> None:
        self.model.set_filter(self.filter.itemData(index))
        self.step(0)  # a hidden image gives way to the first one shown
        self._show_counts()

    def _set_order(self, order: Order) -> None:
        self.model.set_order(order)
        self.view.scrollToTop()

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
        possible = {"differ": self._compared, "chosen": counts["chosen"] > 0}
        items = self.filter.model()
        for number, (name, text, _) in enumerate(FILTERS):
            self.filter.setItemText(number, f"{text} ({count_text(counts[name])})")
            if isinstance(items, QStandardItemModel):
                items.item(number).setEnabled(possible.get(name, True))
        self.view.empty_text = FILTERS[self.filter.currentIndex()][2]
        self.view.viewport().update()
