"""The canvas by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

if TYPE_CHECKING:
    from cleanclip_gui.widgets.trigger_canvas import TriggerCanvas

Tool = Literal["brush", "eraser", "move"]
_ARROWS: dict[int, tuple[int, int]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}
_TOOLS: dict[int, Tool] = {
    Qt.Key.Key_B: "brush",
    Qt.Key.Key_E: "eraser",
    Qt.Key.Key_V: "move",
}


def handle_key(canvas: TriggerCanvas, event: QKeyEvent) -> bool:
    """Do what a key means: B E V, [ ], arrows, Space, Delete, Escape, Ctrl+Z; else False."""
    key = event.key()
    control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
    shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
    stack = canvas.document.stack
    if control and key == Qt.Key.Key_Z:
        (stack.redo if shift else stack.undo)()
    elif control and key == Qt.Key.Key_Y:
        stack.redo()
    elif control or event.modifiers() & Qt.KeyboardModifier.AltModifier:
        return False
    elif key in _ARROWS:
        canvas.go(*_ARROWS[key], shift)
    elif key in _TOOLS:
        canvas.set_tool(_TOOLS[key])
    elif key in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
        canvas.grow(1 if key == Qt.Key.Key_BracketRight else -1)
    elif key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
        canvas.document.clear()
    elif key == Qt.Key.Key_Space and canvas.tool != "move":
        canvas.dab()
    elif key == Qt.Key.Key_Escape and canvas.busy:
        canvas.give_up()
    else:
        return False
    return True
