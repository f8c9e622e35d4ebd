"""The keys of the canvas, as data: which key does what, with which modifiers."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence

from cleanclip_gui.studio.canvas.tools import TOOLS, Tool

KeyAction = Literal[
    "undo", "redo", "select_all", "mirror_h", "mirror_v", "click", "press_or_release", "delete",
    "cancel", "larger", "smaller", "harder", "softer", "pixel", "grid", "zoom_in", "zoom_out",
    "fit", "turn_left", "turn_right",
]  # fmt: skip

ARROWS: dict[int, tuple[int, int]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}
TOOL_KEYS: dict[int, Tool] = {
    QKeySequence(key)[0].key(): tool  # type: ignore[index]
    for tool, _, _, key in TOOLS
}
_PLAIN: dict[int, KeyAction] = {
    Qt.Key.Key_M: "mirror_h",
    Qt.Key.Key_Space: "click",
    Qt.Key.Key_Return: "press_or_release",
    Qt.Key.Key_Enter: "press_or_release",
    Qt.Key.Key_Delete: "delete",
    Qt.Key.Key_Backspace: "delete",
    Qt.Key.Key_Escape: "cancel",
    Qt.Key.Key_BracketLeft: "smaller",
    Qt.Key.Key_BracketRight: "larger",
    Qt.Key.Key_BraceLeft: "softer",
    Qt.Key.Key_BraceRight: "harder",
    Qt.Key.Key_P: "pixel",
    Qt.Key.Key_G: "grid",
    Qt.Key.Key_Plus: "zoom_in",
    Qt.Key.Key_Equal: "zoom_in",
    Qt.Key.Key_Minus: "zoom_out",
    Qt.Key.Key_Underscore: "zoom_out",
    Qt.Key.Key_0: "fit",
    Qt.Key.Key_Comma: "turn_left",
    Qt.Key.Key_Period: "turn_right",
}
_SHIFT: dict[int, KeyAction] = {Qt.Key.Key_M: "mirror_v"}
_CONTROL: dict[int, KeyAction] = {
    Qt.Key.Key_Z: "undo",
    Qt.Key.Key_Y: "redo",
    Qt.Key.Key_A: "select_all",
}
_CONTROL_SHIFT: dict[int, KeyAction] = {Qt.Key.Key_Z: "redo"}


def key_action(key: int, *, shift: bool, control: bool) -> KeyAction | None:
    """What a key does besides arrows and tools; Shift matters only where a table says so."""
    plain, shifted = (_CONTROL, _CONTROL_SHIFT) if control else (_PLAIN, _SHIFT)
    return (shifted.get(key) if shift else None) or plain.get(key)
