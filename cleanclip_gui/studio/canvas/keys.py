"""The keys of the canvas, as data: which key does what, with which modifiers."""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence

from cleanclip_gui.studio.canvas.tools import TOOLS, Tool

KeyAction = Literal[
    "undo", "redo", "mirror_h", "mirror_v", "click", "press_or_release", "delete",
    "cancel", "larger", "smaller", "harder", "softer", "grid", "zoom_in", "zoom_out",
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
_CONTROL: dict[int, KeyAction] = {Qt.Key.Key_Z: "undo", Qt.Key.Key_Y: "redo"}
_CONTROL_SHIFT: dict[int, KeyAction] = {Qt.Key.Key_Z: "redo"}


# What each does, and a remark, in the order of the list of keys.
_TEXTS: dict[KeyAction, tuple[str, str]] = {
    "click": ("Use the tool at the cursor", "Shapes and texts: begin or end them."),
    "press_or_release": ("Press the tool, or let it go", "The arrow keys drag it meanwhile."),
    "cancel": ("Cancel the stroke", ""),
    "undo": ("Undo", ""),
    "redo": ("Redo", ""),
    "smaller": ("Smaller brush, or patch with Move", "So does the wheel."),
    "larger": ("Larger brush, or patch with Move", "So does the wheel."),
    "softer": ("Softer brush", ""),
    "harder": ("Harder brush", ""),
    "delete": ("Delete all that is on the canvas", ""),
    "mirror_h": ("Mirror left and right", ""),
    "mirror_v": ("Mirror top and bottom", ""),
    "turn_left": ("Turn the patch counter-clockwise", ""),
    "turn_right": ("Turn the patch clockwise", ""),
    "zoom_in": ("Zoom in", "So does Ctrl with the wheel."),
    "zoom_out": ("Zoom out", "So does Ctrl with the wheel."),
    "fit": ("Show the whole picture", ""),
    "grid": ("Show or hide the pixel grid", ""),
}
_ARROW_ROWS = (
    (
        "Move the cursor, or the patch with Move, by a pixel",
        "Arrow keys",
        "With Hand: the picture.",
    ),
    ("Draw with the brush or the eraser", "Shift+Arrow keys", "Letting Shift go ends the line."),
    ("Move the cursor by more pixels", "Ctrl+Arrow keys", "With Move: Shift, the patch."),
)


def key_rows() -> tuple[tuple[str, str, str], ...]:
    """Every key of the canvas: what it does, the key as the desktop writes it, a remark."""
    keys: dict[KeyAction, list[str]] = {}
    for table, held in ((_PLAIN, ""), (_SHIFT, "Shift+"), (_CONTROL, "Ctrl+"),
                        (_CONTROL_SHIFT, "Ctrl+Shift+")):  # fmt: skip
        for key, action in table.items():
            keys.setdefault(action, []).append(held + QKeySequence(key).toString())
    native = QKeySequence.SequenceFormat.NativeText
    tools = tuple((title, key, "") for _, _, title, key in TOOLS)
    acts = tuple(
        (what, " or ".join(QKeySequence(key).toString(native) for key in keys[action]), remark)
        for action, (what, remark) in _TEXTS.items()
    )
    return (*tools, *_ARROW_ROWS, *acts)


def key_action(key: int, *, shift: bool, control: bool) -> KeyAction | None:
    """What a key does besides arrows and tools; Shift matters only where a table says so."""
    plain, shifted = (_CONTROL, _CONTROL_SHIFT) if control else (_PLAIN, _SHIFT)
    return (shifted.get(key) if shift else None) or plain.get(key)
