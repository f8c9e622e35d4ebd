"""A ring where the mouse clicks, and a caption of the key that was pressed."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.label import Label

_RING_MS, _FRAME_MS, _CAPTION_MS = 480, 30, 1400


class ClickRing(QWidget):
    """Opens around a click and fades; stands still under reduced motion."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._age = 0
        self._timer = QTimer(self, interval=_FRAME_MS)
        self._timer.timeout.connect(self._on_timeout)
        self.hide()

    def show_at(self, place: QPoint) -> None:
        """Begin around a point of the parent."""
        radius = 2 * self.fontMetrics().height()
        self.setGeometry(place.x() - radius, place.y() - radius, 2 * radius, 2 * radius)
        self._age = 0
        self.show()
        self.raise_()
        self._timer.start()

    def hideEvent(self, event: object) -> None:  # noqa: N802
        """No clock goes on behind a hidden ring."""
        self._timer.stop()

    def _on_timeout(self) -> None:
        self._age += _FRAME_MS
        if self._age >= _RING_MS:
            self.hide()
        elif not theme.motion_is_reduced():
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """A thick ring in the accent's colour."""
        still = theme.motion_is_reduced()
        share = 0.6 if still else 0.35 + 0.65 * self._age / _RING_MS
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(1.0 if still else 1.0 - 0.7 * self._age / _RING_MS)
        painter.setPen(QPen(theme.colour("accent_text"), self.width() / 16))
        radius = share * (self.width() / 2 - self.width() / 16)
        painter.drawEllipse(QPointF(self.width() / 2, self.height() / 2), radius, radius)


class KeyCaption(Label):
    """The last key, at the bottom left for a moment."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__("", "keyCaption")
        self.setParent(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._timer = QTimer(self, singleShot=True, interval=_CAPTION_MS)
        self._timer.timeout.connect(self.hide)
        self.hide()

    def show_key(self, text: str) -> None:
        """Show a key."""
        window = self.parentWidget()
        if not text or window is None:
            return
        self.setText(text)
        self.adjustSize()
        margin = self.fontMetrics().height()
        self.move(margin, window.height() - margin - self.height())
        self.show()
        self.raise_()
        self._timer.start()

    def hideEvent(self, event: object) -> None:  # noqa: N802
        """Nothing is left to hide."""
        self._timer.stop()
