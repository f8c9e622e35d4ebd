"""A splash screen: the program's name, while the window's parts are imported and built."""

from __future__ import annotations

from importlib import import_module

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QPainter, QPixmap
from PySide6.QtWidgets import QApplication

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import Label

# What costs most to import, cut so that none of it holds the event loop for long.
_PARTS = (
    "numpy",
    "pydantic",
    "ml_core.evaluation.records",
    "ml_core.detection.scan.records",
    "ml_core.reports.record",
    "cleanclip_gui.session",
    "cleanclip_gui.station",
    "cleanclip_gui.window.crash",
)
_SIZE, _LOGO = (360, 200), 64


class Splash:
    """Shows the splash screen within the block, and answers the desktop at each :meth:`turn`."""

    def __init__(self, app: QApplication) -> None:
        self._app = app
        # Showing a QSplashScreen waits a second for its window (Qt 6.11).
        self._screen = Label()
        self._screen.setWindowFlags(Qt.WindowType.SplashScreen | Qt.WindowType.FramelessWindowHint)
        self._screen.setPixmap(_drawn())
        self._screen.adjustSize()
        middle = app.primaryScreen().availableGeometry().center()
        self._screen.move(middle - self._screen.rect().center())

    def __enter__(self) -> Splash:
        self._screen.show()
        self.turn()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.close()

    def import_parts(self) -> None:
        """Import what all stations need."""
        for name in _PARTS:
            import_module(name)
            self.turn()

    def turn(self) -> None:
        """Let the desktop know that the program lives."""
        self._app.processEvents()


def _drawn() -> QPixmap:
    ratio = QApplication.primaryScreen().devicePixelRatio()
    width, height = (round(theme.px(side) * ratio) for side in _SIZE)
    sheet = QPixmap(width, height)
    sheet.setDevicePixelRatio(ratio)
    sheet.fill(QColor(theme.ACCENT))
    painter = QPainter(sheet)
    painter.setPen(Qt.GlobalColor.white)
    painter.setFont(theme.figure_font(16))
    area, logo = QRect(0, 0, *map(theme.px, _SIZE)), theme.px(_LOGO)
    top = area.height() // 2 - logo
    white = QColor(Qt.GlobalColor.white)
    painter.drawPixmap((area.width() - logo) // 2, top, theme.picture("logo", white, logo))
    name = area.adjusted(0, top + logo + theme.SPACE_M, 0, 0)
    painter.drawText(name, Qt.AlignmentFlag.AlignHCenter, "CleanCLIP GUI")
    painter.end()
    return sheet
