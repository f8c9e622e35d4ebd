"""Somebody without a mouse: keys go to the window in front, and Tab is the only way about."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAccessible, QKeyEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

MOST_TABS = 250
NONE = Qt.KeyboardModifier.NoModifier


def heard_name(widget: QWidget) -> str:
    """What a screen reader calls a widget: what labels it comes before what it says of itself.

    A combo box says its value, and its name is that of its label.
    """
    face = QAccessible.queryAccessibleInterface(widget)
    if face is None:
        return ""
    labels = [other.text(QAccessible.Text.Name) for other, kind in face.relations()
              if kind & QAccessible.RelationFlag.Label]  # fmt: skip
    return " ".join(filter(None, labels)).strip() or face.text(QAccessible.Text.Name).strip()


def focused() -> QWidget:
    """The widget that has the focus."""
    widget = QApplication.focusWidget()
    assert widget is not None, "nothing has the focus"
    return widget


class Keyboard:
    """Presses keys as the window system does: in the popup, the dialog or the window in front."""

    def __init__(self, window: QWidget) -> None:
        self._window = window

    def press(self, *keys: Qt.Key, modifier: Qt.KeyboardModifier = NONE, times: int = 1) -> None:
        """Press keys one after the other, so many times."""
        for _ in range(times):
            for key in keys:
                QTest.keyClick(self._front().windowHandle(), key, modifier)

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        for letter in text:
            for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
                event = QKeyEvent(kind, 0, NONE, letter)
                QApplication.sendEvent(focused(), event)

    def tab_to(self, name: str, *, back: bool = False) -> QWidget:
        """Press Tab, or Shift+Tab, until what has the focus is called so."""
        seen = []
        for _ in range(MOST_TABS):
            widget = QApplication.focusWidget()
            if widget is not None:
                seen.append(heard_name(widget))
                if seen[-1] == name:
                    return widget
            self.press(Qt.Key.Key_Backtab if back else Qt.Key.Key_Tab)
        raise AssertionError(f"Tab does not come to “{name}”; it comes to {sorted(set(seen))}")

    def _front(self) -> QWidget:
        return QApplication.activePopupWidget() or QApplication.activeModalWidget() or self._window
