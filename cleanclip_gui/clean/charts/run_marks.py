"""How runs are told apart in charts and tables: a letter, a colour and a marker each."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.parts import SYMBOLS, draw_marker
from cleanclip_gui.widgets.label import ElidedLabel, Label
from cleanclip_gui.widgets.layout import row

# As many runs as there are markers that cannot be mistaken for another.
MOST = len(SYMBOLS)


def letter(mark: int) -> str:
    """``A`` for the first run, and so on."""
    return chr(ord("A") + mark)


def mark_colour(mark: int) -> QColor:
    """A run's colour in the theme that is on."""
    colours = theme.series_colours()
    return QColor(colours[mark % len(colours)])


def free_mark(taken: set[int]) -> int | None:
    """The lowest mark that no run has; None if all are taken."""
    return next((mark for mark in range(MOST) if mark not in taken), None)


def mark_icon(mark: int, size: int = 16) -> QIcon:
    """A run's marker in its colour."""
    picture = QPixmap(size, size)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    pen = QPen(theme.colour("surface"), 1.5)  # seen on a selected row, too
    pen.setCosmetic(True)
    painter.setPen(pen)
    painter.setBrush(mark_colour(mark))
    draw_marker(painter, SYMBOLS[mark % MOST], QPointF(size / 2, size / 2), size * 0.8)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # or Qt would tint it
    return icon


class MarkKey(QWidget):
    """A legend entry: marker, letter and name."""

    def __init__(self, mark: int, text: str) -> None:
        super().__init__()
        self._mark = mark
        self._picture = Label("")
        row(
            self._picture, ElidedLabel(f"{letter(mark)} {text}", "caption"), None, of=self,
            spacing=theme.SPACE_XS,
        )  # fmt: skip
        self._dress()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()

    def _dress(self) -> None:
        self._picture.setPixmap(mark_icon(self._mark).pixmap(theme.px(14), theme.px(14)))


def ring_pen(name: str, width: float) -> QPen:
    """A line of one of the theme's colours, of the same width at any zoom."""
    pen = QPen(theme.colour(name), width)
    pen.setCosmetic(True)
    return pen
