"""A picture with a heat map over it, and the colour scale that several of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QAccessible, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from cleanclip_gui import theme
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.roles import give_role
from cleanclip_gui.widgets.text import plain, tip
from ml_core.evaluation.attribution_files import colours, overlay
from ml_core.evaluation.attribution_records import HeatMap

_GAP = 6  # pixels between the words of a scale
_SHARPEST = 448  # pixels of the overlay that is drawn; the screen scales it
_STEPS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


def to_image(pixels: NDArray[np.uint8]) -> QImage:
    """Turn uint8 [h, w, 3] into a QImage that owns its pixels."""
    height, width, _ = pixels.shape
    data = np.ascontiguousarray(pixels)
    return QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()


class HeatOverlay(QWidget):
    """``pointed(str)`` tells in words which cell the pointer or the arrow keys are at."""

    pointed = Signal(str)

    def __init__(self, title: str, empty: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._empty = title, empty
        self._part: HeatMap | None = None
        self._peak, self._strength, self._smooth = 0.0, 0.6, True
        self._picture: QImage | None = None
        self._cell: tuple[int, int] | None = None
        self._stale = False
        self.setAccessibleName(title)
        self.setAccessibleDescription(empty)
        give_role(self, QAccessible.Role.Graphic)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(theme.px(120), theme.px(140))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    @property
    def part(self) -> HeatMap | None:
        """The picture and map on show."""
        return self._part

    def show_part(self, part: HeatMap | None, peak: float, *, smooth: bool) -> None:
        """Show a picture with its map on a scale that ends at ``peak``."""
        self._part, self._peak, self._smooth = part, peak, smooth
        self._stale = False
        self._draw()

    def set_strength(self, strength: float) -> None:
        """0 shows the picture alone, 1 the map alone."""
        self._strength = strength
        self._draw()

    def set_stale(self, stale: bool) -> None:
        """Fade what an older question gave."""
        self._stale = stale
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Square, with a line above."""
        return QSize(theme.px(280), theme.px(304))

    def square(self) -> QRectF:
        """Where the picture is."""
        line = self.fontMetrics().height() + theme.SPACE_XS
        side = min(self.width() - 2, self.height() - line - 2)
        left = (self.width() - side) / 2
        return QRectF(left, line + max(0.0, (self.height() - line - side) / 2), side, side)

    def _draw(self) -> None:
        part = self._part
        if part is None:
            self._picture = None
        else:
            pixels = overlay(
                part, self._peak, strength=self._strength, side=_SHARPEST, smooth=self._smooth
            )
            self._picture = to_image(pixels)
        self._cell = None
        self._describe()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint title, picture and the cell that is pointed at."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        square = self.square()
        head = QRectF(square.left(), 0, square.width(), square.top() - theme.SPACE_XS)
        painter.setPen(look.text_colour(self, muted=True))
        painter.drawText(
            head, Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignHCenter, self._title
        )
        if self._picture is None:
            painter.setPen(QPen(theme.colour("border"), 1, Qt.PenStyle.DashLine))
            painter.setBrush(theme.colour("sunken"))
            painter.drawRoundedRect(square, 6, 6)
            painter.setPen(look.text_colour(self, muted=True))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(square.adjusted(16, 16, -16, -16), flags, self._empty)
            self._paint_ring(painter, square)
            return
        painter.setOpacity(0.45 if self._stale else 1.0)
        painter.drawImage(square, self._picture)
        painter.setOpacity(1.0)
        painter.setPen(QPen(theme.colour("border"), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(square)
        self._paint_ring(painter, square)
        if self._cell is not None and self._part is not None:
            rows, columns = self._part.values.shape
            row, column = self._cell
            high, wide = square.height() / rows, square.width() / columns
            box = QRectF(square.left() + column * wide, square.top() + row * high, wide, high)
            painter.setPen(QPen(theme.colour("surface"), 3))
            painter.drawRect(box)
            painter.setPen(QPen(theme.colour("text"), 1))
            painter.drawRect(box)

    def _paint_ring(self, painter: QPainter, square: QRectF) -> None:
        """Show the focus."""
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.colour("focus"), 2))
            painter.drawRect(square)

    def _describe(self) -> None:
        """Say where the map is highest, or what the arrow keys are at, for who hears it."""
        if self._part is None:
            self.setAccessibleDescription(self._empty)
            return
        values = self._part.values
        highest = divmod(int(values.argmax()), values.shape[1])
        said = "" if self._cell else "Highest: "
        self.setAccessibleDescription(said + self._words(self._cell or highest))

    def _words(self, cell: tuple[int, int]) -> str:
        assert self._part is not None
        row, column = cell
        return f"row {row + 1}, column {column + 1}: {float(self._part.values[cell]):.3g}"

    def _point_at(self, cell: tuple[int, int] | None) -> None:
        if self._part is None or cell == self._cell:
            return
        self._cell = cell
        self._describe()
        self.update()
        self.pointed.emit("" if cell is None else f"{self._title}, {self._words(cell)}")

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Read the cell under the pointer."""
        square = self.square()
        if self._part is None or not square.contains(event.position()):
            self._point_at(None)
            return
        rows, columns = self._part.values.shape
        at = event.position() - square.topLeft()
        row = min(rows - 1, int(at.y() / square.height() * rows))
        self._point_at((row, min(columns - 1, int(at.x() / square.width() * columns))))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        """Point at nothing."""
        self._point_at(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Arrow keys walk the cells."""
        step = _STEPS.get(Qt.Key(event.key()))
        if step is None or self._part is None:
            super().keyPressEvent(event)
            return
        rows, columns = self._part.values.shape
        row, column = self._cell or (0, 0)
        if self._cell is not None:
            row = min(max(row + step[0], 0), rows - 1)
            column = min(max(column + step[1], 0), columns - 1)
        self._point_at((row, column))


class HeatScale(QWidget):
    """The colours from the lowest to the highest value, with both written beside."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low = self._high = 0.0
        self._unit = ""
        self.setAccessibleName("Colour scale")
        give_role(self, QAccessible.Role.Graphic)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_range(self, low: float, high: float, unit: str) -> None:
        """Show a scale; of 0 to 0 nothing."""
        self._low, self._high, self._unit = low, high, plain(unit, 60)
        self.setAccessibleDescription("from {} to {}".format(*self.ends()) + f" {self._unit}")
        self.setToolTip(tip(self._unit))
        self.update()

    def ends(self) -> tuple[str, str]:
        """The lowest and the highest value."""
        return f"{self._low:.3g}", f"{self._high:.3g}"

    def sizeHint(self) -> QSize:  # noqa: N802
        """A line and a bar."""
        return QSize(theme.px(240), theme.px(30))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Paint bar and ends."""
        if self._high <= self._low:
            return
        painter = QPainter(self)
        values = np.linspace(self._low, self._high, 256, dtype=np.float32)[None]
        bar = QRectF(0, 0, self.width(), 10)
        painter.drawImage(bar, to_image(colours(values, max(self._high, -self._low))))
        painter.setPen(QPen(theme.colour("border"), 1))
        painter.drawRect(bar.adjusted(0, 0, -1, 0))
        painter.setPen(look.text_colour(self, muted=True))
        painter.setFont(look.sized(self.font(), 0.9))
        words = QRectF(0, 12, self.width(), self.height() - 12)
        painter.drawText(words, Qt.AlignmentFlag.AlignLeft, self.ends()[0])
        beside = 2 * max(map(painter.fontMetrics().horizontalAdvance, self.ends()))
        between = words.adjusted(beside / 2 + _GAP, 0, -beside / 2 - _GAP, 0)
        unit = painter.fontMetrics().elidedText(
            self._unit, Qt.TextElideMode.ElideRight, max(0, int(between.width()))
        )
        painter.drawText(between, Qt.AlignmentFlag.AlignHCenter, unit)
        painter.drawText(words, Qt.AlignmentFlag.AlignRight, self.ends()[1])
