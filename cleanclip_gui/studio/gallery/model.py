"""The gallery's rows: images of the set, what is known of them, pictures that arrive later."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QAbstractListModel, Qt, QTimer, Signal
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QWidget

from cleanclip_gui.studio.gallery.delegate import GalleryCell
from cleanclip_gui.widgets.pictures import rgba_to_image
from cleanclip_gui.widgets.rows_table import Index
from cleanclip_gui.widgets.text import tip
from ml_core.evaluation.records import PerImage

Filter = Literal["all", "flipped", "hit", "resisted", "wrong", "differ", "chosen"]
Order = Literal["set", "margin", "margin_up", "rise"]
FILTERS: tuple[tuple[Filter, str, str], ...] = (
    ("all", "All", "No images are open."),
    ("flipped", "Flipped", "No prediction has flipped."),
    ("hit", "Hit the target", "No image hits the target."),
    ("resisted", "Resisted", "No image has resisted."),
    ("wrong", "Wrong before", "Every labelled image was classified correctly without the trigger."),
    ("differ", "Checkpoints differ", "Both checkpoints predict the same class for every image."),
    ("chosen", "Chosen on the map", "No image was chosen."),
)
ORDERS: tuple[tuple[Order, str], ...] = (
    ("set", "Dataset order"),
    ("margin", "Target margin, high first"),
    ("margin_up", "Target margin, low first"),
    ("rise", "Largest change toward target"),
)


@dataclass(eq=False)
class GalleryRows:
    """What is known of each image of a set, arrays of [n]; -1 and NaN are "not known".

    ``margin`` and ``margin_clean`` are target logit minus best other logit, with and without the
    trigger; ``other`` is what a second checkpoint makes of the triggered image.
    """

    labels: NDArray[np.int64]
    clean: NDArray[np.int64]
    triggered: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    margin: NDArray[np.float32]
    margin_clean: NDArray[np.float32]
    other: NDArray[np.int64]
    chosen: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NDArray[np.int64]) -> GalleryRows:
        """Nothing known yet of a set with these labels, -1 unlabelled."""
        n = len(labels)
        unknown, nothing = np.full(n, -1, np.int64), np.zeros(n, np.bool_)
        blank = np.full(n, np.nan, np.float32)
        return cls(
            labels, unknown.copy(), unknown.copy(), nothing.copy(), blank.copy(), blank.copy(),
            unknown.copy(), nothing.copy(),
        )  # fmt: skip

    def update(self, per_image: PerImage, *, fresh: bool = True) -> None:
        """Take what the model said about some images; not ``fresh``: of an older trigger."""
        at = per_image.indices
        self.clean[at] = per_image.clean_top1
        self.margin_clean[at] = per_image.target_margin_clean
        if per_image.triggered_top1 is None:
            self.forget_triggered()
        else:
            self.triggered[at] = per_image.triggered_top1
        if per_image.target_margin_triggered is not None:
            self.margin[at] = per_image.target_margin_triggered
        self.fresh[at] = fresh

    def forget_triggered(self) -> None:
        """Forget what was said with the trigger."""
        self.triggered[:] = -1
        self.margin[:] = np.nan

    def forget_stale(self) -> None:
        """Forget what was said with older triggers."""
        old = ~self.fresh
        self.triggered[old] = -1
        self.margin[old] = np.nan

    def forget_clean(self) -> None:
        """Forget what was said without it."""
        self.clean[:] = -1
        self.margin_clean[:] = np.nan

    def mask(self, name: Filter, target: int) -> NDArray[np.bool_]:
        """Which images a filter shows, bool [n]."""
        known: NDArray[np.bool_] = (self.clean >= 0) & (self.triggered >= 0)
        flipped: NDArray[np.bool_] = known & (self.clean != self.triggered)
        if name == "flipped":
            return flipped
        if name == "hit":
            return np.asarray(flipped & (self.triggered == target))
        if name == "resisted":
            return np.asarray(known & ~flipped & (self.clean != target))
        if name == "wrong":
            return (self.labels >= 0) & (self.clean >= 0) & (self.clean != self.labels)
        if name == "differ":
            return self.differs()
        if name == "chosen":
            return self.chosen
        return np.ones(len(self.labels), np.bool_)

    def differs(self) -> NDArray[np.bool_]:
        """Where two checkpoints make another class of the triggered image, bool [n]."""
        return (self.other >= 0) & (self.triggered >= 0) & (self.other != self.triggered)

    def order(self, rows: NDArray[np.int64], name: Order) -> NDArray[np.int64]:
        """Sort some images; those without a margin come last, equal ones as in the set."""
        if name == "set" or not len(rows):
            return rows
        with_trigger = np.isfinite(self.margin).any()
        values = (self.margin if with_trigger else self.margin_clean)[rows].astype(np.float64)
        if name == "rise":
            values = (self.margin[rows] - self.margin_clean[rows]).astype(np.float64)
        keys = values if name == "margin_up" else -values
        return rows[np.argsort(np.where(np.isfinite(keys), keys, np.inf), kind="stable")]


_CACHED = 2000
_PER_REQUEST = 48
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
        self._known = GalleryRows.of(np.empty(0, np.int64))
        self._names: tuple[str, ...] = ()
        self._target = -1
        self._filter: Filter = "all"
        self._order: Order = "set"
        self._pixmaps: OrderedDict[int, QPixmap] = OrderedDict()
        self._triggered: OrderedDict[int, QPixmap] = OrderedDict()  # with the trigger on them
        self._trigger = ""
        self._missing: OrderedDict[int, None] = OrderedDict()
        self._asked: tuple[int, ...] = ()
        self._timer = QTimer(self, singleShot=True, interval=15)
        self._timer.timeout.connect(self._ask)

    def set_images(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
        """Show another set; ``labels`` int64 [n], -1 unlabelled."""
        self.beginResetModel()
        self._known = GalleryRows.of(labels)
        self._names = tuple(class_names)
        self._pixmaps.clear()
        self._triggered.clear()
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
        self._known.forget_triggered()
        if clean:
            self._known.forget_clean()
        self._refilter()

    def update_predictions(
        self, per_image: PerImage, *, older: bool = False, last: bool = False
    ) -> None:
        """Take what the model said about some images.

        ``older``: of an older trigger; ``last``: nothing more comes of the present one, and no
        image may go on wearing an older one's label.
        """
        self._known.update(per_image, fresh=not older)
        if last:
            self._known.forget_stale()
        self._refilter()

    def set_other(self, per_image: PerImage | None) -> None:
        """Take what a second checkpoint says of the triggered images; None ends the comparison."""
        self._known.other[:] = -1
        if per_image is not None and per_image.triggered_top1 is not None:
            self._known.other[per_image.indices] = per_image.triggered_top1
        self._refilter()

    def set_chosen(self, images: Sequence[int]) -> None:
        """Set the images of the filter "chosen"."""
        self._known.chosen[:] = False
        self._known.chosen[np.asarray(images, np.int64)] = True
        self._refilter()

    def set_stale(self) -> None:
        """Fade every triggered label until it is measured again."""
        self._known.fresh[:] = False
        self._repaint()

    def set_filter(self, name: Filter) -> None:
        """Show all images, or some of :data:`FILTERS`."""
        self._filter = name
        self._refilter()

    def set_order(self, name: Order) -> None:
        """Sort by one of :data:`ORDERS`."""
        self._order = name
        self._refilter()

    def counts(self) -> dict[Filter, int]:
        """How many images each filter would show."""
        return {name: int(np.count_nonzero(self._mask(name))) for name, _, _ in FILTERS}

    def unknown(self, images: Sequence[int]) -> list[int]:
        """Which of these images have no label, or one made with an older trigger."""
        known = self._known
        count = len(known.labels)
        return [
            i for i in images if 0 <= i < count and not (known.fresh[i] and known.clean[i] >= 0)
        ]

    def image_at(self, row: int) -> int:
        """Index in the image set of a row."""
        return int(self._rows[row])

    def row_of(self, image: int) -> int:
        """Row of an image, -1 when the filter hides it."""
        return int(self._row_of[image]) if 0 <= image < len(self._row_of) else -1

    @property
    def trigger(self) -> str:
        """Digest of the trigger that the pictures are to have on them; empty for none."""
        return self._trigger

    def show_trigger(self, digest: str) -> None:
        """Show the pictures with a trigger on them, or with an empty digest without."""
        if digest != self._trigger:
            self._trigger = digest
            self._triggered.clear()
            self._missing.clear()
            self._asked = ()
            self._repaint()

    def set_thumbnails(
        self, indices: Sequence[int], images: NDArray[np.uint8], trigger: str = ""
    ) -> None:
        """Take pictures, uint8 [n, s, s, 3], with the trigger of that digest on them, or none.

        Those with a trigger that is no longer shown are dropped.
        """
        if trigger and trigger != self._trigger:
            return
        pixmaps = self._triggered if trigger else self._pixmaps
        for image, pixels in zip(indices, images, strict=True):
            pixmaps[image] = QPixmap.fromImage(rgba_to_image(pixels))
            self._missing.pop(image, None)
            row = self.row_of(image)
            if row >= 0:
                self.dataChanged.emit(self.index(row), self.index(row), [CELL_ROLE])
        while len(pixmaps) > _CACHED:
            pixmaps.popitem(last=False)
        self._asked = ()
        if self._missing:
            self._timer.start()

    def forget_request(self) -> None:
        """Let thumbnails be asked for again after a request that failed."""
        self._asked = ()

    def rowCount(self, parent: Index | None = None) -> int:  # noqa: N802
        """Return the number of rows the filter shows."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What the delegate paints, what a screen reader says, and the tool tip."""
        if not index.isValid():
            return None
        image = int(self._rows[index.row()])
        if role == CELL_ROLE:
            return self.cell(image)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return self._sentence(image)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(self._sentence(image))
        return None

    def spread(self, target: int, most: int) -> tuple[int, ...]:
        """Images from all over the set: of as many classes, if there are, but not of the target."""
        labels = self._known.labels
        firsts = np.sort(np.unique(labels, return_index=True)[1])
        images = firsts[labels[firsts] != target]
        if len(images) < most:
            images = np.flatnonzero(labels != target)
        places = np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)
        return tuple(int(image) for image in images[places])

    def cell(self, image: int) -> GalleryCell:
        """What is known of an image; its picture is asked for if it is not there."""
        pixmaps = self._triggered if self._trigger else self._pixmaps
        pixmap = pixmaps.get(image)
        if pixmap is None:
            pixmap = self._pixmaps.get(image)  # until it comes
            self._missing[image] = None
            self._missing.move_to_end(image)
            if not self._timer.isActive():
                self._timer.start()
        else:
            pixmaps.move_to_end(image)
        known = self._known
        clean, triggered = int(known.clean[image]), int(known.triggered[image])
        label = self._name(int(known.labels[image]))
        badge: Literal["", "flip", "hit"] = ""
        if clean >= 0 and triggered >= 0 and triggered != clean:
            badge = "hit" if triggered == self._target else "flip"
        fresh, other = bool(known.fresh[image]), int(known.other[image])
        # Elsewhere the clean label stands in its place, which everybody expects there.
        compared = self._filter == "differ" and other >= 0 and triggered >= 0
        differs = compared and other != triggered
        second = self._name(other) if differs else ""
        names = self._name(clean), self._name(triggered)
        return GalleryCell(pixmap, *names, label, badge, fresh, second)

    def _sentence(self, image: int) -> str:
        """One image in words."""
        cell = self.cell(image)
        parts = [f"Image {image + 1}"]
        if cell.label:
            parts.append(f"label {cell.label}")
        if cell.clean:
            parts.append(f"clean prediction {cell.clean}")
        if cell.triggered:
            parts.append(f"triggered prediction {cell.triggered}")
        if cell.badge:
            parts.append("hit the target" if cell.badge == "hit" else "flipped")
        if cell.other:
            parts.append(f"the other checkpoint says {cell.other}")
        margin = self._known.margin[image]
        if np.isfinite(margin):
            parts.append(f"target margin {margin:.2f}")
        return ", ".join(parts)

    def _name(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else ""

    def _mask(self, name: Filter) -> NDArray[np.bool_]:
        return self._known.mask(name, self._target)

    def _visible_rows(self) -> NDArray[np.int64]:
        """Images that filter and order show, in rows."""
        return self._known.order(np.flatnonzero(self._mask(self._filter)), self._order)

    def _take_rows(self) -> None:
        self._rows = self._visible_rows()
        self._row_of = np.full(len(self._known.labels), -1, np.int64)
        self._row_of[self._rows] = np.arange(len(self._rows))

    def _refilter(self) -> None:
        """Show what the filter shows now; keep rows that stay."""
        if np.array_equal(self._visible_rows(), self._rows):
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
