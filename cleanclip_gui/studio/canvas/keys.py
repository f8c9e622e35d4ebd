"""The canvas by keyboard: every tool, every option and every act of painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent

if TYPE_CHECKING:
    from cleanclip_gui.studio.canvas.canvas import TriggerCanvas

Tool = Literal[
    "brush", "eraser", "line", "rectangle", "ellipse", "text", "fill", "noise", "picker", "move",
    "hand",
]  # fmt: skip
_ARROWS: dict[int, tuple[int, int]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}
TOOL_KEYS: dict[int, Tool] = {
    Qt.Key.Key_B: "brush",
    Qt.Key.Key_E: "eraser",
    Qt.Key.Key_L: "line",
    Qt.Key.Key_R: "rectangle",
    Qt.Key.Key_O: "ellipse",
    Qt.Key.Key_T: "text",
    Qt.Key.Key_F: "fill",
    Qt.Key.Key_N: "noise",
    Qt.Key.Key_I: "picker",
    Qt.Key.Key_V: "move",
    Qt.Key.Key_H: "hand",
}
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


def handle_key(canvas: TriggerCanvas, event: QKeyEvent) -> bool:
    """Do what a key means; else False."""
    modifiers = event.modifiers()
    control = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
    shift = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
    key = event.key()
    if modifiers & Qt.KeyboardModifier.AltModifier:
        return False
    if key in _ARROWS:
        canvas.go(*_ARROWS[key], shift=shift, control=control)
        return True
    if key != Qt.Key.Key_Shift:
        canvas.end_shift()
    if control:
        return _with_control(canvas, key, shift)
    if key in TOOL_KEYS:
        canvas.set_tool(TOOL_KEYS[key])
        return True
    if key == Qt.Key.Key_M:
        canvas.act_wanted.emit("mirror_v" if shift else "mirror_h")
        return True
    return _act(canvas, key) or _option(canvas, key)


def _with_control(canvas: TriggerCanvas, key: int, shift: bool) -> bool:
    """Undo, redo, mark all."""
    if key == Qt.Key.Key_Z:
        canvas.give_up() if canvas.holding else (
            canvas.document.redo() if shift else canvas.document.undo()
        )
    elif key == Qt.Key.Key_Y:
        canvas.document.redo()
    elif key == Qt.Key.Key_A:
        canvas.set_tool("move")
        canvas.select.select_paint()
    else:
        return False
    return True


def _act(canvas: TriggerCanvas, key: int) -> bool:
    """Paint, delete, give up."""
    if key == Qt.Key.Key_Space:
        canvas.dab()
    elif key in _ENTER:
        canvas.put_down_or_lift()
    elif key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
        if canvas.selection is not None and canvas.tool == "move":
            canvas.select.erase()
        else:
            canvas.give_up()
            canvas.document.clear()
    elif key == Qt.Key.Key_Escape and canvas.holding:
        canvas.give_up()
    elif key == Qt.Key.Key_Escape:
        return canvas.select.deselect()
    else:
        return False
    return True


def _option(canvas: TriggerCanvas, key: int) -> bool:
    """Sizes, zoom, grid."""
    ink = canvas.ink
    if key in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
        canvas.grow(1 if key == Qt.Key.Key_BracketRight else -1)
    elif key in (Qt.Key.Key_BraceLeft, Qt.Key.Key_BraceRight):
        step = 0.1 if key == Qt.Key.Key_BraceRight else -0.1
        canvas.set_ink(hardness=round(ink.hardness + step, 2))
    elif key == Qt.Key.Key_P:
        canvas.set_ink(pixel=not ink.pixel)
    elif key == Qt.Key.Key_G:
        canvas.set_grid(not canvas.grid)
    elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
        canvas.zoom_by(2.0, canvas.key_cursor() if canvas.keyboard else None)
    elif key in (Qt.Key.Key_Minus, Qt.Key.Key_Underscore):
        canvas.zoom_by(0.5, canvas.key_cursor() if canvas.keyboard else None)
    elif key == Qt.Key.Key_0:
        canvas.zoom_to_fit()
    elif key in (Qt.Key.Key_Comma, Qt.Key.Key_Period):
        canvas.turn_patch(5.0 if key == Qt.Key.Key_Period else -5.0)
    else:
        return False
    return True
