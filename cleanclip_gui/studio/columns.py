"""Studio's three columns: gallery, pages, numbers; the outer two can be closed."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QSplitter, QWidget

HANDLE = 8
LEAST_MIDDLE, LEAST_SIDE, MIDDLE, SIDE = 424, 316, 480, 348


class Widths(NamedTuple):
    """Of gallery and side in pixels; a closed one has 0."""

    gallery: int
    side: int


def usual_widths(total: int, one: int, two: int) -> Widths:
    """What is shown until the user chooses; ``one`` and ``two`` columns of thumbnails."""
    if total >= two + MIDDLE + SIDE + 2 * HANDLE:
        return Widths(two, SIDE)
    if total >= one + LEAST_MIDDLE + LEAST_SIDE + 2 * HANDLE:
        return Widths(one, LEAST_SIDE)
    return Widths(0, LEAST_SIDE)


def fitted(wanted: Widths, total: int, one: int, last: str = "side") -> Widths:
    """Widths as near to the wanted ones as there is room for beside the middle.

    The outer columns become narrower first; where even that is too wide, the one that was not
    opened ``last`` (``gallery`` or ``side``) is closed.
    """
    gallery = max(wanted.gallery, one) if wanted.gallery else 0
    side = max(wanted.side, LEAST_SIDE) if wanted.side else 0
    room = total - LEAST_MIDDLE - HANDLE * ((gallery > 0) + (side > 0))
    if gallery + side > room:
        gallery = max(one, room - side) if gallery else 0
    if gallery + side > room:
        side = max(LEAST_SIDE, room - gallery) if side else 0
    if gallery + side > room and gallery and side:
        room += HANDLE
        if last == "gallery":
            return Widths(min(gallery, max(one, room)), 0)
        return Widths(0, min(side, max(LEAST_SIDE, room)))
    return Widths(gallery, side)


class Columns(QSplitter):
    """Keeps the outer columns as wide as they were chosen; the middle takes the rest.

    ``chosen(Widths)`` carries what the user has dragged or opened, to be remembered;
    ``shown_changed`` tells that a column was opened or closed, by the user or for want of room.

    Parameters
    ----------
    gallery, middle, side
        From left to right.
    one, two
        Width of the gallery with so many columns of thumbnails.
    wanted
        What the user chose the last time; None: what the room allows.
    """

    chosen = Signal(object)
    shown_changed = Signal()

    def __init__(
        self,
        gallery: QWidget,
        middle: QWidget,
        side: QWidget,
        one: int,
        two: int,
        wanted: Widths | None = None,
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setChildrenCollapsible(False)
        self.setHandleWidth(HANDLE)
        self._gallery, self._side = gallery, side
        self._one, self._two = one, two
        self._wanted = wanted
        self._last = "side"
        gallery.setMinimumWidth(one)
        side.setMinimumWidth(LEAST_SIDE)
        middle.setMinimumWidth(LEAST_MIDDLE)
        for place, widget in enumerate((gallery, middle, side)):
            self.addWidget(widget)
            self.setStretchFactor(place, int(widget is middle))
        self.splitterMoved.connect(self._on_moved)

    @property
    def gallery_open(self) -> bool:
        """Whether the gallery is shown."""
        return not self._gallery.isHidden()

    @property
    def side_open(self) -> bool:
        """Whether the numbers are shown."""
        return not self._side.isHidden()

    def toggle_gallery(self) -> None:
        """Open or close the gallery."""
        _, side = self._widths()
        self._choose(Widths(0 if self.gallery_open else self._usual().gallery or self._one, side))

    def toggle_side(self) -> None:
        """Open or close the numbers."""
        gallery, _ = self._widths()
        self._choose(Widths(gallery, 0 if self.side_open else self._usual().side))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Of the narrowest state: the middle with the wider one of the outer columns."""
        hint = super().minimumSizeHint()
        return QSize(LEAST_MIDDLE + HANDLE + max(LEAST_SIDE, self._one), hint.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """The middle takes what the window gains or loses."""
        super().resizeEvent(event)
        self._apply()

    def _choose(self, wanted: Widths) -> None:
        if wanted.gallery and not self.gallery_open:
            self._last = "gallery"
        elif wanted.side and not self.side_open:
            self._last = "side"
        self._wanted = wanted
        self._apply()
        self.chosen.emit(wanted)

    def _usual(self) -> Widths:
        return usual_widths(self.width(), self._one, self._two)

    def _widths(self) -> Widths:
        return Widths(
            self._gallery.width() if self.gallery_open else 0,
            self._side.width() if self.side_open else 0,
        )

    def _apply(self) -> None:
        total = self.width()
        wanted = self._usual() if self._wanted is None else self._wanted
        found = fitted(wanted, total, self._one, self._last)
        before = (self.gallery_open, self.side_open)
        self._gallery.setVisible(found.gallery > 0)
        self._side.setVisible(found.side > 0)
        gaps = HANDLE * ((found.gallery > 0) + (found.side > 0))
        self.setSizes([found.gallery, total - found.gallery - found.side - gaps, found.side])
        if before != (self.gallery_open, self.side_open):
            self.shown_changed.emit()

    def _on_moved(self, *_: int) -> None:
        self._wanted = self._widths()
        self.chosen.emit(self._wanted)
