"""The tools of the canvas: what press, move and release do to a document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QKeySequence

from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    Handle,
    PatchDrag,
    dragged_patch,
    patch_handle_at,
    pixel_rect,
    square_corner,
    straight_end,
)
from cleanclip_gui.studio.canvas.ink import (
    Ink,
    Mask,
    Shape,
    add_segment,
    composite,
    flood_fill,
    shape_mask,
    text_mask,
)
from cleanclip_gui.studio.canvas.scene import moved

Tool = Literal[
    "brush", "eraser", "line", "rectangle", "ellipse", "text", "fill", "noise", "picker", "move",
    "hand",
]  # fmt: skip

# Tool, icon, name, key: in the order of the tool strip.
TOOLS: tuple[tuple[Tool, str, str, str], ...] = (
    ("brush", "brush", "Brush", "B"),
    ("eraser", "eraser", "Eraser", "E"),
    ("line", "line", "Line", "L"),
    ("rectangle", "rectangle", "Rectangle", "R"),
    ("ellipse", "ellipse", "Ellipse", "O"),
    ("text", "text", "Text stamp", "T"),
    ("fill", "fill", "Fill", "F"),
    ("noise", "noise", "Noise fill", "N"),
    ("picker", "picker", "Colour picker", "I"),
    ("move", "move", "Move, scale and turn", "V"),
    ("hand", "hand", "Hand and zoom", "H"),
)

_RESIZE_CURSORS = {
    "nw": Qt.CursorShape.SizeFDiagCursor,
    "se": Qt.CursorShape.SizeFDiagCursor,
    "ne": Qt.CursorShape.SizeBDiagCursor,
    "sw": Qt.CursorShape.SizeBDiagCursor,
    "rotate": Qt.CursorShape.PointingHandCursor,
    "body": Qt.CursorShape.SizeAllCursor,
}


@dataclass(frozen=True)
class ToolEvent:
    """A press or a move of mouse, pen or keyboard cursor.

    ``at`` is in canvas pixels; ``scale`` is screen pixels per canvas pixel; ``constrain`` says
    whether Shift is held; ``width_factor`` is what the pen's pressure makes of the ink's width.
    """

    at: QPointF
    ink: Ink
    scale: float = 1.0
    constrain: bool = False
    width_factor: float = 1.0


class CanvasTool:
    """Called from press to release.

    ``needs_drag`` says whether a single click does nothing; ``needs_image`` whether there must
    be a picture to paint on.
    """

    needs_drag = False
    needs_image = True

    def press(self, event: ToolEvent) -> None:
        """Begin."""

    def move(self, event: ToolEvent) -> None:
        """Go on."""

    def release(self) -> None:
        """Finish."""

    def cancel(self) -> None:
        """Take back what was done since the press."""

    def cursor(self, at: QPointF | None, scale: float) -> Qt.CursorShape:
        """The mouse cursor over a point; None: the mouse is elsewhere."""
        return Qt.CursorShape.CrossCursor


class PaintTool(CanvasTool):
    """Changes a document; from press to release is one undo step."""

    def __init__(self, document: PaintDocument) -> None:
        self._document = document

    def release(self) -> None:
        """Finish the undo step."""
        self._document.commit()

    def cancel(self) -> None:
        """Take the undo step back."""
        self._document.cancel()

    def _apply(self, mask: Mask, colour: NDArray[np.uint8], opacity: float) -> None:
        """Put colour, uint8 [3] or [S, S, 3], on the layer as it was at the press."""
        document = self._document
        composite(document.pixels(), document.pixels_before(), mask, colour, opacity)
        document.touch()


class BrushTool(PaintTool):
    """Freehand ink, or its removal; pressure swells the line."""

    def __init__(self, document: PaintDocument, *, erases: bool = False) -> None:
        super().__init__(document)
        self._erases = erases
        self._mask: Mask = np.zeros((0, 0), np.float32)
        self._start = self._last = QPointF()
        self._width = 1.0

    def press(self, event: ToolEvent) -> None:
        """Leave a dot."""
        size = self._document.size
        self._document.begin("Erase" if self._erases else "Brush stroke")
        self._mask = np.zeros((size, size), np.float32)
        self._start = self._last = event.at
        self._width = event.ink.width * event.width_factor
        self.move(event)

    def move(self, event: ToolEvent) -> None:
        """Draw a segment from the last point."""
        ink, document = event.ink, self._document
        at = straight_end(self._start, event.at) if event.constrain else event.at
        width = ink.width * event.width_factor
        box = add_segment(self._mask, self._last, at, (self._width, width), ink)
        self._last, self._width = at, width
        colour = None if self._erases else rgb(ink.colour)
        # Only the box of the segment, whatever the size of the canvas: a move must be quick.
        composite(document.pixels(), document.pixels_before(), self._mask, colour, ink.opacity, box)
        document.touch()

    def cursor(self, at: QPointF | None, scale: float) -> Qt.CursorShape:
        """None: the outline of the brush is drawn instead."""
        return Qt.CursorShape.BlankCursor


class ShapeTool(PaintTool):
    """Line, rectangle or ellipse; constrained to steps of 45 degrees, a square, a circle."""

    needs_drag = True

    def __init__(self, document: PaintDocument, shape: Shape) -> None:
        super().__init__(document)
        self._shape = shape
        self._start = QPointF()

    def press(self, event: ToolEvent) -> None:
        """Fix the first corner."""
        self._document.begin(self._shape.capitalize())
        self._start = event.at
        self.move(event)

    def move(self, event: ToolEvent) -> None:
        """Draw the shape up to the other corner."""
        at, ink = event.at, event.ink
        if event.constrain:
            constrained = straight_end if self._shape == "line" else square_corner
            at = constrained(self._start, at)
        mask = shape_mask(self._document.size, self._shape, self._start, at, ink)
        self._apply(mask, rgb(ink.colour), ink.opacity)


class TextTool(PaintTool):
    """Stamps a text, which follows the pointer until the release."""

    def press(self, event: ToolEvent) -> None:
        """Put it at the point."""
        self._document.begin("Text stamp")
        self.move(event)

    def move(self, event: ToolEvent) -> None:
        """Put it elsewhere."""
        mask = text_mask(self._document.size, event.at, event.ink)
        self._apply(mask, rgb(event.ink.colour), event.ink.opacity)


class FillTool(PaintTool):
    """Fills the area around a point with colour or noise; noise also a rectangle by dragging."""

    def __init__(self, document: PaintDocument, *, noise: bool = False) -> None:
        super().__init__(document)
        self._noise = noise
        self._start = QPointF()
        self._colour: NDArray[np.uint8] = np.zeros(3, np.uint8)

    def press(self, event: ToolEvent) -> None:
        """Fill the pixels that join the point, or all of them."""
        document, ink, size = self._document, event.ink, self._document.size
        x, y = int(event.at.x() // 1), int(event.at.y() // 1)
        if not (0 <= x < size and 0 <= y < size):
            return
        document.begin("Noise fill" if self._noise else "Fill")
        self._start = event.at
        self._colour = self._new_noise(ink) if self._noise else rgb(ink.colour)
        if ink.whole:
            mask = np.ones((size, size), np.float32)
        else:
            area = flood_fill(document.pixels_before(), x, y, ink.tolerance)
            mask = area.astype(np.float32)
        self._apply(mask, self._colour, ink.opacity)

    def move(self, event: ToolEvent) -> None:
        """Fill a rectangle with noise instead, once the pointer has left the pixel."""
        document, ink, start = self._document, event.ink, self._start
        if not self._noise or not document.editing or ink.whole:
            return
        offset = event.at - start
        if max(abs(offset.x()), abs(offset.y())) < 1.5:
            return
        end = square_corner(start, event.at) if event.constrain else event.at
        mask = np.zeros((document.size, document.size), np.float32)
        area = pixel_rect(start, end, document.size)
        mask[area.top() : area.bottom() + 1, area.left() : area.right() + 1] = 1
        self._apply(mask, self._colour, ink.opacity)

    def _new_noise(self, ink: Ink) -> NDArray[np.uint8]:
        """Noise for the whole canvas, uint8 [S, S, 3].

        The seed is the number of undo steps: another fill, other noise; the same fill undone and
        done again, the same noise.
        """
        size = self._document.size
        random = np.random.default_rng(self._document.stack.index)
        noise = random.integers(0, 256, (size, size, 1 if ink.grey else 3), np.uint8)
        return np.ascontiguousarray(np.broadcast_to(noise, (size, size, 3)))


class PickTool(CanvasTool):
    """Takes the colour that ``colour_at`` finds, and hands it to ``pick``."""

    def __init__(
        self, colour_at: Callable[[QPointF], QColor | None], pick: Callable[[QColor], object]
    ) -> None:
        self._colour_at = colour_at
        self._pick = pick

    def press(self, event: ToolEvent) -> None:
        """Take the colour at the point."""
        colour = self._colour_at(event.at)
        if colour is not None:
            self._pick(colour)

    def move(self, event: ToolEvent) -> None:
        """Take another."""
        self.press(event)


class HandTool(CanvasTool):
    """Moves the picture by ``pan`` (screen pixels); a click zooms in by ``zoom``, with Shift out.

    ``zoom`` takes a factor and the canvas point that stays in place.
    """

    needs_image = False

    def __init__(
        self, pan: Callable[[float, float], object], zoom: Callable[[float, QPointF], object]
    ) -> None:
        self._pan = pan
        self._zoom = zoom
        self._start: QPointF | None = None
        self._panned = self._zooms_out = False

    def press(self, event: ToolEvent) -> None:
        """Take hold of the picture."""
        self._start, self._panned, self._zooms_out = event.at, False, event.constrain

    def move(self, event: ToolEvent) -> None:
        """Pan; the point taken hold of stays under the pointer."""
        if self._start is None:
            return
        shift = (event.at - self._start) * event.scale
        if self._panned or max(abs(shift.x()), abs(shift.y())) > 3:
            self._panned = True
            self._pan(shift.x(), shift.y())

    def release(self) -> None:
        """Zoom, unless the picture was panned."""
        if self._start is not None and not self._panned:
            self._zoom(0.5 if self._zooms_out else 2.0, self._start)
        self._start = None

    def cancel(self) -> None:
        """Let go of the picture."""
        self._start = None

    def cursor(self, at: QPointF | None, scale: float) -> Qt.CursorShape:
        """An open hand, closed while it holds the picture."""
        held = self._start is not None
        return Qt.CursorShape.ClosedHandCursor if held else Qt.CursorShape.OpenHandCursor


class MoveTool(CanvasTool):
    """Moves, sizes and turns the patch."""

    needs_drag = True

    def __init__(self, document: PaintDocument) -> None:
        self._document = document
        self._drag: PatchDrag | None = None

    def press(self, event: ToolEvent) -> None:
        """Take hold of the patch; one without a fixed place gets one."""
        document, size, patch = self._document, self._document.size, self._document.patch
        handle = self.patch_handle_at(event.at, event.scale)
        if not handle or patch is None:
            return
        names = {"body": "Move patch", "rotate": "Turn patch"}
        document.begin(names.get(handle, "Resize patch"))
        if document.scene.placement != "fixed":
            patch = moved(patch, event.at.x() / size, event.at.y() / size)
            document.show_scene(replace(document.scene, placement="fixed", patch=patch))
        self._drag = PatchDrag(handle, event.at, patch)

    def move(self, event: ToolEvent) -> None:
        """Drag it."""
        document = self._document
        if self._drag is not None:
            patch = dragged_patch(self._drag, event.at, document.size, constrain=event.constrain)
            document.show_scene(replace(document.scene, patch=patch))

    def release(self) -> None:
        """Let go: one undo step."""
        self._drag = None
        self._document.commit()

    def cancel(self) -> None:
        """Put it back."""
        self._drag = None
        self._document.cancel()

    def cursor(self, at: QPointF | None, scale: float) -> Qt.CursorShape:
        """What a press would take hold of."""
        handle = "" if at is None else self.patch_handle_at(at, scale)
        return _RESIZE_CURSORS[handle] if handle else Qt.CursorShape.ArrowCursor

    def patch_handle_at(self, at: QPointF, scale: float) -> Handle:
        """The handle of the patch; one without a fixed place can be taken from anywhere."""
        patch = self._document.patch
        if patch is None:
            return ""
        if self._document.scene.placement != "fixed":
            return "body"
        return patch_handle_at(patch, at, self._document.size, scale)


def rgb(colour: QColor) -> NDArray[np.uint8]:
    """The colour as uint8 [3]."""
    return np.array([colour.red(), colour.green(), colour.blue()], np.uint8)


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
