"""Icons drawn from the shipped SVG files in the colour of the theme that is on."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QIconEngine, QImage, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from ml_core.paths import resource

Tint = Literal["text", "muted", "accent", "on_accent"]
_ROLES = {
    "text": QPalette.ColorRole.ButtonText,
    "muted": QPalette.ColorRole.PlaceholderText,
    "accent": QPalette.ColorRole.Link,
    "on_accent": QPalette.ColorRole.HighlightedText,
}


def icon(name: str, tint: Tint = "text") -> QIcon:
    """Icon ``resources/icons/<name>.svg``, tinted when painted, so it follows the theme.

    Raises
    ------
    FileNotFoundError
        If there is no icon of that name.
    """
    resource("icons", f"{name}.svg")
    return QIcon(_Engine(name, tint))


def picture(name: str, colour: QColor, side: int) -> QPixmap:
    """Icon ``name`` in a colour that is no role of the palette, ``side`` pixels wide and high."""
    ratio = QApplication.primaryScreen().devicePixelRatio()
    drawn = round(side * ratio)
    pixmap = QPixmap.fromImage(_draw(name, drawn, drawn, colour.rgba()))
    pixmap.setDevicePixelRatio(ratio)
    return pixmap


class _Engine(QIconEngine):
    """Paints one SVG in a palette colour."""

    def __init__(self, name: str, tint: Tint) -> None:
        super().__init__()
        self._name = name
        self._tint: Tint = tint

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        """Return the icon at ``size`` device pixels."""
        palette = QApplication.palette()
        if mode == QIcon.Mode.Disabled:
            colour = palette.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.ButtonText)
        elif mode == QIcon.Mode.Selected:
            colour = palette.color(QPalette.ColorRole.HighlightedText)
        elif state == QIcon.State.On and self._tint == "text":
            colour = palette.color(QPalette.ColorRole.Link)
        else:
            colour = palette.color(_ROLES[self._tint])
        return QPixmap.fromImage(_draw(self._name, size.width(), size.height(), colour.rgba()))

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        """Draw the icon into ``rect``."""
        ratio = painter.device().devicePixelRatioF()
        pixmap = self.pixmap(rect.size() * ratio, mode, state)
        pixmap.setDevicePixelRatio(ratio)
        painter.drawPixmap(QPoint(rect.x(), rect.y()), pixmap)

    def clone(self) -> QIconEngine:
        """Return a copy that Python keeps alive, since C++ holds it without a reference."""
        copy = _Engine(self._name, self._tint)
        _clones.append(copy)
        return copy


_clones: list[_Engine] = []


@lru_cache(maxsize=512)
def _draw(name: str, width: int, height: int, rgba: int) -> QImage:
    """Render and tint; only the shape of the SVG counts, not its colour."""
    image = QImage(max(width, 1), max(height, 1), QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    side = min(image.width(), image.height())
    left, top = (image.width() - side) / 2, (image.height() - side) / 2
    QSvgRenderer(str(resource("icons", f"{name}.svg"))).render(
        painter, QRectF(left, top, side, side)
    )
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceIn)
    painter.fillRect(image.rect(), QColor.fromRgba(rgba))
    painter.end()
    return image
