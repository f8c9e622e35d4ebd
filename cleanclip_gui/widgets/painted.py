"""Widgets that paint themselves: charts of few numbers, and fields of cells to point at."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QColor, QKeyEvent, QMouseEvent, QPainter, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.pictures import give_role

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
WRAPPED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
_STEPS = {
    Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}  # fmt: skip
Place = tuple[int, int]


class Painted(QWidget):
    """A picture for the eye, with a name and a role for a screen reader.

    Parameters
    ----------
    name, role
        For a screen reader.
    wants
        Width and height in pixels at 100 %.
    tall
        Whether it takes more height than it wants.
    focus
        Whether the keyboard can reach it.
    """

    is_read = False  # cell by cell, with pointer or keyboard

    def __init__(
        self,
        name: str,
        wants: tuple[int, int] = (0, 0),
        role: QAccessible.Role = QAccessible.Role.Chart,
        *,
        tall: bool = False,
        focus: bool = False,
    ) -> None:
        super().__init__(accessibleName=name)
        give_role(self, role)
        self._wants = wants
        self.stale = False
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding if tall else policy.Fixed)
        self.setMouseTracking(self.is_read)
        if focus or self.is_read:
            self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def set_stale(self, stale: bool) -> None:
        """Fade what is out of date."""
        self.stale = stale
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """The size at which everything shows."""
        return QSize(*map(theme.px, self._wants))

    def painter(self) -> QPainter:
        """Return a painter of smooth edges."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        return painter

    def write(
        self,
        painter: QPainter,
        box: QRectF,
        text: str,
        align: Qt.AlignmentFlag | int = LEFT,
        *,
        size: float = 1.0,
        bold: bool = False,
        muted: bool = False,
    ) -> float:
        """Write a line, cut where the box ends; return the width of the whole text.

        ``size`` is a share of the font's.
        """
        painter.setFont(look.sized(self.font(), size, bold=bold))
        painter.setPen(look.text_colour(self, stale=self.stale and not muted, muted=muted))
        metrics, room = painter.fontMetrics(), max(0, int(box.width()))
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)
        painter.drawText(box, int(align), shown)
        painter.setPen(Qt.PenStyle.NoPen)
        return float(metrics.horizontalAdvance(text))

    def write_number(
        self, painter: QPainter, box: QRectF, text: str, *, muted: bool = False
    ) -> None:
        """Write a number whose digits are equally wide, at the right of a box."""
        painter.setFont(theme.figure_font(theme.FONT_POINTS * 0.86))
        painter.setPen(look.text_colour(self, stale=self.stale and not muted, muted=muted))
        painter.drawText(box, RIGHT, text)
        painter.setPen(Qt.PenStyle.NoPen)

    def paint_bars(self, painter: QPainter, area: QRectF, heights: Sequence[float]) -> float:
        """Paint bars of heights from 0 to 1; return the width that each has."""
        step = area.width() / len(heights)
        gap = 1.0 if step > 4 else 0.0
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(look.clean_colour())
        for number, height in enumerate(heights):
            if height > 0:
                tall = max(1.0, height * area.height())  # one value must not vanish
                left = area.left() + number * step
                painter.drawRect(QRectF(left, area.bottom() - tall, max(1.0, step - gap), tall))
        return step

    def paint_focus(self, painter: QPainter, box: QRectF | None = None) -> None:
        """Frame the widget, or a part of it, while it has the focus."""
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.colour("focus"), 2))
            painter.drawRect(box or QRectF(self.rect()).adjusted(1, 1, -1, -1))


class Cells(Painted):
    """Rows of cells; ``pointed(str)`` describes the one under the pointer or the arrow keys.

    A subclass says where its cells lie (`area`), how many there are (`shape`) and what they are
    (`words`). ``at`` is the cell that is pointed at.
    """

    pointed = Signal(str)
    is_read = True
    at: Place | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; no cells: 0, 0."""
        raise NotImplementedError

    def area(self) -> QRectF:
        """Where the cells lie."""
        return QRectF(self.rect())

    def words(self, place: Place) -> str:
        """What a cell holds."""
        raise NotImplementedError

    def describe(self) -> str:
        """What a screen reader says of the cell that is pointed at, or of all."""
        raise NotImplementedError

    def first(self) -> Place:
        """From where the arrow keys make their first step."""
        return 0, -1

    def cell(self, place: Place) -> QRectF:
        """Where a cell lies."""
        area, (rows, columns) = self.area(), self.shape
        wide, high = area.width() / columns, area.height() / rows
        return QRectF(area.left() + place[1] * wide, area.top() + place[0] * high, wide, high)

    def point_at(self, place: Place | None) -> None:
        """Point at a cell, or at none."""
        if place != self.at:
            self.at = place
            self.setAccessibleDescription(self.describe())
            if place is not None:
                self.pointed.emit(self.words(place))
            self.update()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Point at the cell under the mouse."""
        area, (rows, columns) = self.area(), self.shape
        if not rows or not area.contains(event.position()):
            self.point_at(None)
            return
        at = event.position() - area.topLeft()
        row = min(rows - 1, int(at.y() / area.height() * rows))
        self.point_at((row, min(columns - 1, int(at.x() / area.width() * columns))))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Point at nothing."""
        self.point_at(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Go from cell to cell."""
        step, (rows, columns) = _STEPS.get(Qt.Key(event.key())), self.shape
        if step is None or not rows:
            super().keyPressEvent(event)
            return
        at = self.at or self.first()
        row, column = at[0] + step[0], at[1] + step[1]
        self.point_at((min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)))


def blend(share: float, warm: QColor, cold: QColor) -> QColor:
    """A colour between two; ``share`` 1 is the first."""
    pairs = zip(warm.getRgb()[:3], cold.getRgb()[:3], strict=True)  # type: ignore[index]
    return QColor(*(round(share * high + (1 - share) * low) for high, low in pairs))
