"""Columns of a station: the middle takes the rest, and those beside it can be closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import TypeAdapter
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QScrollArea, QSplitter, QTabBar, QWidget

from cleanclip_gui import theme
from cleanclip_gui.session.settings import SettingsStore

HANDLE = 8
_WIDTHS: TypeAdapter[tuple[()] | tuple[int, int]] = TypeAdapter(tuple[()] | tuple[int, int])

Side = Literal["left", "right"]


class Widths(NamedTuple):
    """Widths of the outer columns in pixels; a closed column has 0."""

    left: int
    right: int


class Needs(NamedTuple):
    """Pixels at 100 % that a column takes at least, and where there is room for all."""

    least: int
    usual: int


@dataclass(frozen=True)
class Room:
    """What the columns need; ``right`` is None where there are two columns only."""

    left: Needs
    middle: Needs
    right: Needs | None = None


def _sized(needs: Needs) -> Needs:
    return Needs(theme.space(needs.least), theme.space(needs.usual))


def _holding(needs: Needs, column: QWidget) -> Needs:
    """The width at which a page that scrolls only vertically is not cut off at its side."""
    least = needs.least
    never = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    areas = column.findChildren(QScrollArea)
    if isinstance(column, QScrollArea):
        areas.append(column)
    for area in areas:
        page = area.widget()
        if page is not None and area.horizontalScrollBarPolicy() == never:
            beside = area.verticalScrollBar().sizeHint().width()
            beside += 0 if area is column else 2 * theme.SPACE_L + 2
            least = max(least, page.minimumSizeHint().width() + beside)
    return Needs(least, max(least, needs.usual))


def usual_widths(total: int, room: Room) -> Widths:
    """What is shown in ``total`` pixels until the user chooses."""
    left, middle, right = room.left, room.middle, room.right
    if right is None:
        fits = total >= left.usual + middle.usual + HANDLE
        return Widths(left.usual if fits else left.least, 0)
    if total >= left.usual + middle.usual + right.usual + 2 * HANDLE:
        return Widths(left.usual, right.usual)
    if total >= left.least + middle.least + right.least + 2 * HANDLE:
        return Widths(left.least, right.least)
    return Widths(0, right.least)


def fitted(wish: Widths, total: int, room: Room, last: Side = "right") -> Widths:
    """Widths as near to the wanted ones as there is room for beside the middle.

    The outer columns become narrower first; where even that is too wide, the one that was not
    opened ``last`` is closed.
    """
    least_left = room.left.least
    least_right = 0 if room.right is None else room.right.least
    left = max(wish.left, least_left) if wish.left else 0
    right = max(wish.right, least_right) if wish.right else 0
    free = total - room.middle.least - HANDLE * ((left > 0) + (right > 0))
    if left + right > free:
        left = max(least_left, free - right) if left else 0
    if left + right > free:
        right = max(least_right, free - left) if right else 0
    if left + right > free and left and right:
        free += HANDLE
        if last == "left":
            return Widths(min(left, max(least_left, free)), 0)
        return Widths(0, min(right, max(least_right, free)))
    return Widths(left, right)


class Columns(theme.Themed, QSplitter):
    """Keeps the outer columns as wide as they were chosen; the middle takes the rest.

    ``shown_changed``: a column was opened or closed, by the user or for lack of room.

    Parameters
    ----------
    left, middle, right
        The widgets; there need not be a right one.
    room
        What they need.
    settings, name
        Keep what the user has dragged or opened, under that name. Until then, columns are as wide
        as the room allows.
    """

    shown_changed = Signal()

    def __init__(
        self,
        left: QWidget,
        middle: QWidget,
        right: QWidget | None,
        room: Room,
        settings: SettingsStore | None = None,
        name: str = "",
    ) -> None:
        super().__init__(Qt.Orientation.Horizontal, childrenCollapsible=False, handleWidth=HANDLE)
        self._left, self._right = left, right
        self._at_100, self._settings, self._name = room, settings, f"{name}_columns"
        saved = () if settings is None else settings.part(self._name, _WIDTHS, ())
        self._wanted = Widths(*saved) if saved else None
        self._last: Side = "right"
        for place, (widget, needs) in enumerate(
            ((left, room.left), (middle, room.middle), (right, room.right))
        ):
            if widget is not None and needs is not None:
                self.addWidget(widget)
                self.setStretchFactor(place, int(widget is middle))
        self._limit()
        self.splitterMoved.connect(self._on_moved)

    @property
    def _room(self) -> Room:
        """What the columns need at the size of type that is on: half of what type gains."""
        room = self._at_100
        right = None if room.right is None or self._right is None else _sized(room.right)
        fitting = Room(_sized(room.left), _sized(room.middle), right)
        if theme.size() == 100:
            return fitting
        left = _holding(fitting.left, self._left)
        if right is not None and self._right is not None:
            right = _holding(right, self._right)
        return Room(left, fitting.middle, right)

    def _limit(self) -> None:
        """Tell the splitter what each column takes at least."""
        room = self._room
        for place, needs in enumerate((room.left, room.middle, room.right)):
            column = self.widget(place)
            if needs is not None and column is not None:
                column.setMinimumWidth(needs.least)

    def dress(self) -> None:
        """Columns are as wide as the size of type needs them."""
        if self.count():
            self._apply()

    @property
    def left_open(self) -> bool:
        """Whether the left column is shown."""
        return not self._left.isHidden()

    @property
    def right_open(self) -> bool:
        """Whether there is a right column, and it is shown."""
        return self._right is not None and not self._right.isHidden()

    def toggle_left(self) -> None:
        """Open or close the left column."""
        width = 0 if self.left_open else self._usual().left or self._room.left.least
        self._choose(Widths(width, self._widths().right))

    def open_left(self) -> None:
        """Open the left column if it is closed, since something was put into it."""
        if not self.left_open:
            self.toggle_left()

    def toggle_right(self) -> None:
        """Open or close the right column."""
        self._choose(Widths(self._widths().left, 0 if self.right_open else self._usual().right))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Size of the narrowest state: the middle with the wider of the two outer columns."""
        room, hint = self._room, super().minimumSizeHint()
        outer = max(room.left.least, room.right.least if room.right is not None else 0)
        return QSize(room.middle.least + HANDLE + outer, hint.height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """The middle takes what the window gains or loses."""
        super().resizeEvent(event)
        self._apply()

    def _choose(self, wish: Widths) -> None:
        if wish.left and not self.left_open:
            self._last = "left"
        elif wish.right and not self.right_open:
            self._last = "right"
        self._keep(wish)
        self._apply()

    def _usual(self) -> Widths:
        return usual_widths(self.width(), self._room)

    def _widths(self) -> Widths:
        right = self._right.width() if self._right is not None and self.right_open else 0
        return Widths(self._left.width() if self.left_open else 0, right)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """What is in the columns may have another size since they were hidden."""
        super().showEvent(event)
        self._apply()

    def _apply(self) -> None:
        self._limit()
        total = self.width()
        wish = self._usual() if self._wanted is None else self._wanted
        widths = fitted(wish, total, self._room, self._last)
        before = (self.left_open, self.right_open)
        self._left.setVisible(widths.left > 0)
        if self._right is not None:
            self._right.setVisible(widths.right > 0)
        gaps = HANDLE * ((widths.left > 0) + (widths.right > 0))
        self.setSizes([widths.left, total - widths.left - widths.right - gaps, widths.right])
        if before != (self.left_open, self.right_open):
            self.shown_changed.emit()

    def _on_moved(self, *_: int) -> None:
        self._keep(self._widths())

    def _keep(self, wish: Widths) -> None:
        self._wanted = wish
        if self._settings is not None:
            self._settings.update(**{self._name: tuple(wish)})


def fit_titles(bar: QTabBar, titles: Sequence[tuple[str, str]], room: int) -> None:
    """Write the titles in full, or the short ones if those would not fit.

    Parameters
    ----------
    bar
        Has as many tabs.
    titles
        In full, and short.
    room
        For all tabs, in pixels.
    """
    for short in (False, True):
        for number, pair in enumerate(titles):
            bar.setTabText(number, pair[short])
        if bar.sizeHint().width() <= room:
            return
