"""The canvas: paints on the selected image with mouse, tablet or keyboard."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPointingDevice,
    QTabletEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import draw_foreground
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.keys import Tool, handle_key
from cleanclip_gui.studio.canvas.scene import turned
from cleanclip_gui.studio.canvas.select import SelectTool
from cleanclip_gui.studio.canvas.tools import (
    BrushTool,
    CanvasTool,
    FillTool,
    HandTool,
    PickTool,
    ShapeTool,
    TextTool,
)
from cleanclip_gui.studio.canvas.view import CanvasView

_EMPTY = "Open a checkpoint and images to paint on them."
_KEYBOARD_FOCUS = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


class TriggerCanvas(CanvasView):
    """Edits a :class:`PaintDocument` with the tool in hand.

    ``ink_changed`` tells that a key or the colour picker changed what is painted with;
    ``pointed`` the point and the colour under the pointer, or None; ``act_wanted`` is an act
    that needs to know what the trigger is: mirror_h, mirror_v.
    """

    tool_changed = Signal(str)
    ink_changed = Signal(object)
    pointed = Signal(object)
    act_wanted = Signal(str)

    def __init__(self, document: PaintDocument, parent: QWidget | None = None) -> None:
        super().__init__(document, parent)
        self.setObjectName("triggerCanvas")
        self.setAccessibleName("Trigger canvas")
        self.setAccessibleDescription(
            "Paint with the mouse, or move the cursor with the arrow keys and paint with Space "
            "or Enter."
        )
        self.ink = Ink(QColor(0, 0, 0))
        self.select = SelectTool(self)
        self.tools: dict[Tool, CanvasTool] = {
            "brush": BrushTool(self),
            "eraser": BrushTool(self, erases=True),
            "line": ShapeTool(self, "line"),
            "rectangle": ShapeTool(self, "rectangle"),
            "ellipse": ShapeTool(self, "ellipse"),
            "text": TextTool(self),
            "fill": FillTool(self),
            "noise": FillTool(self, noise=True),
            "picker": PickTool(self),
            "move": self.select,
            "hand": HandTool(self),
        }
        self._tool: Tool = "brush"
        self._held: CanvasTool | None = None
        self._by_key = self._by_shift = False
        self._panning: QPointF | None = None
        self._key_cursor: QPointF | None = None
        self._hover: QPointF | None = None
        self.empty_text = _EMPTY
        self._update_cursor()

    def set_empty_text(self, text: str) -> None:
        """What to say while there is no picture; empty: what to do about it."""
        self.empty_text = text or _EMPTY
        self.viewport().update()

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._tool

    def set_tool(self, tool: Tool) -> None:
        """Take another tool; what the old one was doing is finished."""
        if tool != self._tool:
            self.let_go()
            self._tool = tool
            self._update_cursor()
            self.viewport().update()
            self.tool_changed.emit(tool)

    def set_ink(self, **changes: object) -> None:
        """Change what is painted with: fields of :class:`Ink`."""
        ink = replace(self.ink, **changes)  # type: ignore[arg-type]
        width = min(max(1.0, ink.width), float(self.document.size))
        ink = replace(ink, width=width, hardness=min(max(0.0, ink.hardness), 1.0))
        if ink != self.ink:
            self.ink = ink
            self.viewport().update()
            self.ink_changed.emit(ink)

    def set_colour(self, colour: QColor) -> None:
        """Take another colour, and the brush if the eraser is in hand."""
        self.set_ink(colour=QColor(colour))
        if self._tool == "eraser":
            self.set_tool("brush")

    def pick(self, colour: QColor) -> None:
        """Paint with a colour that the picker found."""
        self.set_ink(colour=colour)

    @property
    def selection(self) -> QRect | None:
        """The marked rectangle of paint."""
        return self.select.selection

    @property
    def busy(self) -> bool:
        """Whether an act or a drag is under way."""
        return self.document.acting

    @property
    def keyboard(self) -> bool:
        """Whether the keyboard's cursor is the pointer."""
        return self._key_cursor is not None

    @property
    def pointer(self) -> QPointF | None:
        """Where the next act would begin, in canvas pixels."""
        return self._hover if self._key_cursor is None else self._key_cursor

    @property
    def holding(self) -> bool:
        """Whether a tool is between press and release."""
        return self._held is not None

    def press(self, at: QPointF, **how: object) -> None:
        """Put the tool down; a pen's other end erases."""
        tool = self.tools["eraser" if how.pop("rubber", False) else self._tool]
        if tool.paints and not self.has_image:
            return
        self.let_go()
        self._held = tool
        tool.press(at, **how)  # type: ignore[arg-type]
        self.viewport().update()

    def drag(self, at: QPointF, **how: object) -> None:
        """Move the tool."""
        if self._held is not None:
            self._held.move(at, **how)  # type: ignore[arg-type]

    def let_go(self) -> None:
        """Lift the tool."""
        if self._held is not None:
            held, self._held = self._held, None
            self._by_key = self._by_shift = False
            held.release()
            self._update_cursor()
            self.viewport().update()

    def give_up(self) -> None:
        """Take back what the tool is doing."""
        if self._held is not None:
            held, self._held = self._held, None
            self._by_key = self._by_shift = False
            held.cancel()

    def _update_cursor(self) -> None:
        shape = self.tools[self._tool].cursor(self._hover)
        self.viewport().setCursor(shape)

    def _point_at(self, at: QPointF | None) -> None:
        """Tell what lies under the pointer."""
        size = self.document.size
        inside = at is not None and 0 <= at.x() < size and 0 <= at.y() < size
        if at is None or not inside:
            self.pointed.emit(None)
        else:
            self.pointed.emit((int(at.x()), int(at.y()), self.colour_at(at)))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Press; the middle button moves the picture with any tool."""
        self._key_cursor = None
        if event.button() == Qt.MouseButton.LeftButton:
            self.press(self.mapToSceneF(event.position()), constrain=_shift(event))
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._panning = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Drag, and show where the pointer is."""
        if self._panning is not None:
            shift = event.position() - self._panning
            self.pan(shift.x(), shift.y())
            self._panning = event.position()
        at = self.mapToSceneF(event.position())
        self._hover = at
        if not self._by_key:
            self.drag(at, constrain=_shift(event))
        self._update_cursor()
        self._point_at(at)
        self.viewport().update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Release."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.let_go()
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._panning = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take a fast second press for a press."""
        self.mousePressEvent(event)

    def viewportEvent(self, event: QEvent) -> bool:  # noqa: N802
        """Take tablet events, which go to the viewport, and forget the hover when it ends."""
        if isinstance(event, QTabletEvent):
            self._on_tablet(event)
            return True
        if event.type() == QEvent.Type.Leave:
            self._hover = None
            self._point_at(None)
            self.viewport().update()
        return super().viewportEvent(event)

    def _on_tablet(self, event: QTabletEvent) -> None:
        """Paint with pressure; accepted, so that no mouse event follows."""
        event.accept()
        at = self.mapToSceneF(event.position())
        share = 0.2 + 0.8 * event.pressure()
        rubber = event.pointerType() == QPointingDevice.PointerType.Eraser
        if event.type() == QEvent.Type.TabletPress:
            self._key_cursor = None
            self.press(at, share=share, rubber=rubber)
        elif event.type() == QEvent.Type.TabletMove:
            self._hover = at
            self.drag(at, share=share)
            self._point_at(at)
            self.viewport().update()
        elif event.type() == QEvent.Type.TabletRelease:
            self.let_go()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Resize brush or patch; with Ctrl, or with the hand, zoom."""
        steps = event.angleDelta().y() / 120
        control = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        if control or self._tool == "hand":
            self.zoom_by(1.25**steps, self.mapToSceneF(event.position()))
        elif steps:
            self.grow(1 if steps > 0 else -1)
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Tools, sizes, undo, and painting with the keyboard."""
        if not handle_key(self, event):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Shift let go ends the line that it drew."""
        if event.key() == Qt.Key.Key_Shift:
            self.end_shift()
        super().keyReleaseEvent(event)

    def end_shift(self) -> None:
        """Finish the line that Shift and the arrows are drawing."""
        if self._by_shift:
            self.let_go()

    def turn_patch(self, degrees: float) -> None:
        """Turn the patch clockwise; turns in a row are one undo step."""
        self.document.change_patch(lambda p: turned(p, p.rotation + degrees), "Turn patch")

    def grow(self, sign: int) -> None:
        """Make brush, patch, selection or the stamp's letters a step larger or smaller."""
        if self._tool == "move" and self.selection is not None:
            self.select.grow(1.1**sign)
        elif self._tool == "move":
            self.document.scale_patch(1.1**sign)
        elif self._tool == "text":
            self.set_ink(text_height=min(max(4, self.ink.text_height + sign), self.document.size))
        else:
            self.set_ink(width=round(self.ink.width) + sign)

    def go(self, dx: int, dy: int, *, shift: bool, control: bool) -> None:
        """Move by pixels what the arrow keys move: patch, selection, picture or cursor."""
        step = 8 if control or (shift and self._tool == "move") else 1
        if self._tool == "hand":
            self.pan(-32.0 * dx, -32.0 * dy)
            return
        takes = self._tool == "move" and not control and not self._by_key
        if not (takes and self._nudge(dx, dy, step)):
            self._go_cursor(dx * step, dy * step, shift)

    def _nudge(self, dx: int, dy: int, step: int) -> bool:
        """Move selection or patch; whether there is one."""
        if self.selection is not None:
            self.select.nudge(dx * step, dy * step)
        elif self.document.patch is not None:
            self.document.move_patch(dx * step, dy * step)
        else:
            return False
        return True

    def _go_cursor(self, dx: int, dy: int, shift: bool) -> None:
        old, size = self.key_cursor(), float(self.document.size)
        new = QPointF(min(max(0.0, old.x() + dx), size), min(max(0.0, old.y() + dy), size))
        draws = self._tool in ("brush", "eraser")
        if not shift:
            self.end_shift()
        elif draws and not self.holding:
            self.press(old)
            self._by_key = self._by_shift = self.holding
        self._key_cursor = new
        self.drag(new, constrain=shift and not draws)
        self._point_at(new)
        self.viewport().update()

    def key_cursor(self) -> QPointF:
        """The keyboard's cursor; it begins in the middle."""
        if self._key_cursor is None:
            middle = self.document.size / 2
            self._key_cursor = QPointF(middle, middle)
        return self._key_cursor

    def dab(self) -> None:
        """Space: one click of the tool at the cursor; the first of two where the tool drags."""
        if self._tool in ("brush", "eraser", "fill", "noise", "text", "picker", "hand"):
            self.press(self.key_cursor())
            self.let_go()
        else:
            self.put_down_or_lift()

    def put_down_or_lift(self) -> None:
        """Enter: press the tool at the cursor, so that the arrows drag it; again: release it."""
        if self._by_key:
            self.let_go()
        elif self._tool == "hand":
            self.zoom_to_fit()
        else:
            self.press(self.key_cursor())
            self._by_key = self.holding

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Show the keyboard's cursor when Tab brings the focus."""
        super().focusInEvent(event)
        if event.reason() in _KEYBOARD_FOCUS:
            self.key_cursor()
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Hide it again, and finish what it was doing."""
        super().focusOutEvent(event)
        if self._by_key:
            self.let_go()
        self._key_cursor = None
        self.viewport().update()

    def drawForeground(self, painter: QPainter, rect: QRectF | QRect) -> None:  # noqa: N802
        """Draw handles, brush and focus in screen pixels."""
        draw_foreground(self, painter)


def _shift(event: QMouseEvent) -> bool:
    return bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
