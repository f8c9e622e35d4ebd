"""A button that starts one thing at a press."""

from __future__ import annotations

from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QPushButton


class OnceButton(QPushButton):
    """Takes one press of the mouse in the time of a double click."""

    _pressed_at = -1_000_000  # ms, as the window system counts

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Press, unless it is the second one of a double click."""
        after = event.timestamp() - self._pressed_at  # negative from a device with its own clock
        if 0 < after < QApplication.doubleClickInterval():
            return
        self._pressed_at = event.timestamp()
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Press once, however long the key is held."""
        if not event.isAutoRepeat():
            super().keyPressEvent(event)
