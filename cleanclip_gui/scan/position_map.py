"""Where on the picture the found patch works: a grid of rates, warmer where it hits more often."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.text import percent
from ml_core.detection.scan.records import Refined

_CELL = 36
_STEPS = {
    Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}  # fmt: skip


class PositionMap(QWidget):
    """``pointed(str)`` tells in words what the pointer or the arrow keys are at."""

    pointed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.grid: tuple[tuple[float, ...], ...] = ()
        self._best: tuple[int, int] | None = None
        self._at: tuple[int, int] | None = None
        self.setAccessibleName("Where the patch works")
        give_role(self, QAccessible.Role.Chart)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def show_map(self, refined: Refined | None) -> None:
        """Show another one; None shows nothing."""
        self.grid = () if refined is None else refined.grid
        self._best = None if refined is None else refined.place
        self._at = None
        if self._best is not None:
            words = f"Best: {self._words(*self._best)}"
            self.setAccessibleDescription(words)
            self.pointed.emit(words)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Square."""
        side = theme.px(_CELL) * len(self.grid) + 2
        return QSize(side, side)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The same."""
        return self.sizeHint()

    def colour(self, rate: float) -> QColor:
        """Of a cell."""
        warm, cold = look.triggered_colour(), theme.colour("surface")
        red, green, blue = (
            round(rate * channel(warm) + (1 - rate) * channel(cold))
            for channel in (QColor.red, QColor.green, QColor.blue)
        )
        return QColor(red, green, blue)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw cells with their rate in per cent; the best one has a frame."""
        painter = QPainter(self)
        painter.setFont(theme.figure_font(theme.FONT_POINTS * 0.85))
        for row, rates in enumerate(self.grid):
            for column, rate in enumerate(rates):
                cell = self._cell(row, column)
                ground = self.colour(min(max(rate, 0.0), 1.0))
                painter.fillRect(cell, ground)
                painter.setPen(ink(ground))
                painter.drawText(cell, Qt.AlignmentFlag.AlignCenter, f"{100 * rate:.0f}")
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for place, pen in (
            (self._best, QPen(theme.colour("text"), 2)),
            (self._at, QPen(theme.colour("focus"), 3)),
        ):
            if place is not None and self.grid:
                painter.setPen(pen)
                painter.drawRect(self._cell(*place).adjusted(1, 1, -1, -1))
        if self.hasFocus() and self._at is None:
            painter.setPen(QPen(theme.colour("focus"), 2))
            painter.drawRect(QRectF(self.rect()).adjusted(1, 1, -1, -1))

    def _cell(self, row: int, column: int) -> QRectF:
        return QRectF(
            1 + column * theme.px(_CELL),
            1 + row * theme.px(_CELL),
            theme.px(_CELL) - 1,
            theme.px(_CELL) - 1,
        )

    def _words(self, row: int, column: int) -> str:
        rate = percent(self.grid[row][column])
        return f"row {row + 1}, column {column + 1}: {rate} of the pictures"

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Point at the cell under the mouse."""
        at = event.position()
        self._point(int(at.y() // theme.px(_CELL)), int(at.x() // theme.px(_CELL)))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Go from cell to cell."""
        step = _STEPS.get(Qt.Key(event.key()))
        if step is None or not self.grid:
            super().keyPressEvent(event)
            return
        row, column = self._at or self._best or (0, 0)
        self._point(row + step[0], column + step[1])

    def _point(self, row: int, column: int) -> None:
        if self.grid:
            last = len(self.grid) - 1
            self._at = min(max(row, 0), last), min(max(column, 0), last)
            words = self._words(*self._at).capitalize()
            self.setAccessibleDescription(words)
            self.pointed.emit(words)
            self.update()


def ink(ground: QColor) -> QColor:
    """Black or white, whichever stands out more (WCAG 2, relative luminance)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (ground.redF(), ground.greenF(), ground.blueF())
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return QColor("#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff")
