"""Which keys steer a talk, and where they are left alone."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDialog,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

Act = Literal["next", "back", "first", "blank", "show", "leave"]
_K = Qt.Key
KEYS: dict[Qt.Key, Act] = {
    _K.Key_PageDown: "next",
    _K.Key_Right: "next",
    _K.Key_Space: "next",
    _K.Key_Return: "next",
    _K.Key_Enter: "next",
    _K.Key_PageUp: "back",
    _K.Key_Left: "back",
    _K.Key_Home: "first",
    _K.Key_Period: "blank",
    _K.Key_B: "blank",
    _K.Key_F5: "show",
    _K.Key_Escape: "leave",
}
"""What remote controls send: page keys, arrows or Return; F5 and Escape in turn; a dot or B."""
_PRESSES = (_K.Key_Space, _K.Key_Return, _K.Key_Enter)
_BY_KEYBOARD = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)
_LEFT_ALONE = Qt.KeyboardModifier.KeypadModifier
_WATCHED = (
    QEvent.Type.KeyPress,
    QEvent.Type.ShortcutOverride,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.FocusIn,
)


def is_typing(widget: QWidget | None) -> bool:
    """Whether keys are text, or a number, where the focus is."""
    if isinstance(widget, QLineEdit | QTextEdit | QPlainTextEdit):
        return not widget.isReadOnly()
    if isinstance(widget, QComboBox):
        return widget.isEditable()
    return isinstance(widget, QAbstractSpinBox)


class KeyFilter(QObject):
    """While on, takes the keys of :data:`KEYS` before any widget does; ``pressed(act)`` tells.

    It lets them through in text fields, spin boxes, popups and dialogs, and Space and Return on a
    button that was reached by the keyboard. ``any_key`` takes every key, while the screen is
    blank.

    Parameters
    ----------
    next_button
        Of the card: Space and Return press it anyway.
    """

    pressed = Signal(str)

    def __init__(self, next_button: QAbstractButton, parent: QObject) -> None:
        super().__init__(parent)
        self._next = next_button
        self._is_on = self._by_keyboard = False
        self.any_key = False

    def set_on(self, on: bool) -> None:
        """Begin or end to take keys."""
        app = QApplication.instance()
        if on == self._is_on or app is None:
            return
        self._is_on, self.any_key, self._by_keyboard = on, False, False
        if on:
            app.installEventFilter(self)
        else:
            app.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Take a key of the talk; a shortcut of the same key must not act beside it."""
        kind = event.type()
        if kind not in _WATCHED or not isinstance(watched, QWidget):
            return False
        if kind == QEvent.Type.FocusIn:
            self._by_keyboard = event.reason() in _BY_KEYBOARD  # type: ignore[attr-defined]
            return False
        if kind == QEvent.Type.MouseButtonPress:
            return self._take_click(watched)
        assert isinstance(event, QKeyEvent)
        act = self._act_of(event)
        if not act:
            return False
        event.accept()
        if kind == QEvent.Type.KeyPress and not event.isAutoRepeat():
            self.pressed.emit(act)
        return True

    def _act_of(self, event: QKeyEvent) -> str:
        """What a key does to the talk here; empty: it is not the talk's."""
        focus = QApplication.focusWidget()
        elsewhere = (
            QApplication.activePopupWidget() is not None
            or QApplication.activeModalWidget() is not None
            or (focus is not None and isinstance(focus.window(), QDialog))
        )
        if elsewhere or is_typing(focus):
            return ""
        if self.any_key:
            return "blank"
        if event.modifiers() & ~_LEFT_ALONE:
            return ""
        key = Qt.Key(event.key())
        is_button = isinstance(focus, QAbstractButton) and focus is not self._next
        if key in _PRESSES and is_button and self._by_keyboard:
            return ""
        return KEYS.get(key, "")

    def _take_click(self, watched: QWidget) -> bool:
        if self.any_key and not isinstance(watched.window(), QDialog):
            self.pressed.emit("blank")
            return True
        return False
