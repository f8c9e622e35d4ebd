"""The canvas: shows an image under paint and patch, and edits these with the tool in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QBrush,
    QColor,
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QFocusEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPalette,
    QPixmap,
    QPointingDevice,
    QResizeEvent,
    QShowEvent,
    QTabletEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView

from cleanclip_gui import theme
from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.foreground import (
    Foreground,
    fitting_scale,
    limited_zoom,
    paint_foreground,
    zoomed_centre,
)
from cleanclip_gui.studio.canvas.ink import Ink
from cleanclip_gui.studio.canvas.scene import LAYER_FORMAT, painted_rect, turned
from cleanclip_gui.studio.canvas.tools import (
    ARROWS,
    TOOL_KEYS,
    BrushTool,
    CanvasTool,
    FillTool,
    HandTool,
    KeyAction,
    MoveTool,
    PickTool,
    ShapeTool,
    TextTool,
    Tool,
    ToolEvent,
    key_action,
)
from cleanclip_gui.widgets.pictures import give_role, rgba_to_image

_HOW = "Paint with the mouse, or move the cursor with the arrow keys and paint with Space or Enter."
_NO_IMAGE = "Open a checkpoint and images to paint on them."
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".json")
_TENSOR_SUFFIXES = (".npy", ".npz", ".pt", ".pth")
_TENSOR_BYTES = 64 * 2**20  # what is larger is a checkpoint, and the window's
_CHECKER = 8  # side of a square of the checkerboard, in screen pixels
_GRID_SCALE = 9.0  # screen pixels per canvas pixel from which pixels can be told apart
_SMOOTH_SCALE = 3.0  # below it the picture is interpolated
_WHEEL_ZOOM = 1.25
_WHEEL_STEP = 120  # of QWheelEvent.angleDelta
_SIZE_STEP = 1.1
_ANGLE_STEP = 5.0  # degrees
_HARDNESS_STEP = 0.1
_PAN_STEP = 32.0  # screen pixels
_LONG_STEP = 8  # canvas pixels
_KEYBOARD_FOCUS = (
    Qt.FocusReason.TabFocusReason,
    Qt.FocusReason.BacktabFocusReason,
    Qt.FocusReason.ShortcutFocusReason,
)


class TriggerCanvas(QGraphicsView):
    """Edits a :class:`PaintDocument` above an image of the model's input size.

    While the document changes it shows the clean image under paint and patch; once a triggered
    image is given it shows what the model sees.

    Signals
    -------
    tool_changed
        The tool in hand (str).
    ink_changed
        What is painted with (:class:`Ink`), also when a key or the colour picker changed it.
    pointed
        Column, row and colour (or None) under the pointer, or None beside the canvas.
    mirror_wanted
        Left and right are to change places or, if True, top and bottom (bool).
    dropped
        What was dropped (``QMimeData``), unread.
    zoomed
        Screen pixels per canvas pixel (float).
    grid_changed
        Whether the grid is drawn (bool).
    """

    tool_changed = Signal(str)
    ink_changed = Signal(object)
    pointed = Signal(object)
    mirror_wanted = Signal(bool)
    dropped = Signal(object)
    zoomed = Signal(float)
    grid_changed = Signal(bool)

    def __init__(self, document: PaintDocument) -> None:
        super().__init__()
        self.setObjectName("triggerCanvas")
        self.setAccessibleName("Trigger canvas")
        give_role(self, QAccessible.Role.Canvas)
        self.document = document
        self.ink = Ink(QColor(0, 0, 0))
        self.grid = True
        self.clean: QPixmap | None = None
        self.triggered: QPixmap | None = None
        self.empty_text = _NO_IMAGE
        self._picture_visible = True
        self._zoom = 1.0  # as a factor of the scale at which the whole picture fits
        self._tools: dict[Tool, CanvasTool] = {
            "brush": BrushTool(document),
            "eraser": BrushTool(document, erases=True),
            "line": ShapeTool(document, "line"),
            "rectangle": ShapeTool(document, "rectangle"),
            "ellipse": ShapeTool(document, "ellipse"),
            "text": TextTool(document),
            "fill": FillTool(document),
            "noise": FillTool(document, noise=True),
            "picker": PickTool(self.colour_at, lambda colour: self.set_ink(colour=colour)),
            "move": MoveTool(document),
            "hand": HandTool(self.pan, self.zoom_by),
        }
        self._tool: Tool = "brush"
        self._held: CanvasTool | None = None  # the tool between press and release
        self._held_by_key = False
        self._held_by_shift = False  # a line that ends when Shift is released
        self._hover: QPointF | None = None
        self._key_cursor: QPointF | None = None
        self._left_at: QPointF | None = None  # where the keys' cursor was when the focus went
        self._panned_from: QPointF | None = None  # viewport point of the middle button
        self._key_actions: dict[KeyAction, Callable[[], object]] = {
            "undo": lambda: self.cancel() if self.holding else document.undo(),
            "redo": document.redo,
            "mirror_h": lambda: self.mirror_wanted.emit(False),
            "mirror_v": lambda: self.mirror_wanted.emit(True),
            "click": self.click_at_cursor,
            "press_or_release": self.press_or_release_at_cursor,
            "delete": self.clear,
            "cancel": self.cancel,
            "larger": lambda: self.change_size(1),
            "smaller": lambda: self.change_size(-1),
            "harder": lambda: self._change_hardness(_HARDNESS_STEP),
            "softer": lambda: self._change_hardness(-_HARDNESS_STEP),
            "grid": lambda: self.set_grid(not self.grid),
            "zoom_in": lambda: self.zoom_by(2.0, self._key_cursor),
            "zoom_out": lambda: self.zoom_by(0.5, self._key_cursor),
            "fit": self.zoom_to_fit,
            "turn_left": lambda: self.turn_patch(-_ANGLE_STEP),
            "turn_right": lambda: self.turn_patch(_ANGLE_STEP),
        }

        document.edit_finished.connect(self._describe)
        document.resized.connect(self._describe)
        document.stack.changed.connect(self._describe)
        self._describe()
        self.setScene(QGraphicsScene(self))
        self._base = self.scene().addPixmap(QPixmap())
        self._overlay = self.scene().addPixmap(QPixmap())
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setBackgroundBrush(Qt.BrushStyle.NoBrush)
        self.viewport().setAccessibleName("Trigger canvas, picture")
        self.viewport().setBackgroundRole(QPalette.ColorRole.Window)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.FullViewportUpdate)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.viewport().setMouseTracking(True)
        self.setAcceptDrops(True)
        document.changed.connect(self.forget_triggered)
        document.resized.connect(self._on_document_resized)
        self._on_document_resized(document.size)
        self.forget_triggered()
        self._update_cursor()

    # What is shown

    def set_images(
        self, clean: NDArray[np.uint8] | None, triggered: NDArray[np.uint8] | None
    ) -> None:
        """Show an image, uint8 [S, S, 3], and, if known, how the model sees it triggered."""
        self.clean = None if clean is None else QPixmap.fromImage(rgba_to_image(clean))
        self.triggered = None
        if triggered is not None and not self.busy:
            self.triggered = QPixmap.fromImage(rgba_to_image(triggered))
        self.refresh()

    def set_picture_visible(self, visible: bool) -> None:
        """Show the picture, or the trigger alone on a checkerboard."""
        self._picture_visible = visible
        self.refresh()

    def set_empty_text(self, text: str) -> None:
        """What to say while there is no picture; empty: what to do about it."""
        self.empty_text = text or _NO_IMAGE
        self.viewport().update()

    def set_grid(self, on: bool) -> None:
        """Draw lines between the pixels where they are large enough."""
        if on != self.grid:
            self.grid = on
            self.grid_changed.emit(on)
            self.viewport().update()

    @property
    def has_image(self) -> bool:
        """Whether there is a picture to paint on."""
        return self.clean is not None

    @property
    def busy(self) -> bool:
        """Whether the document is being edited."""
        return self.document.editing

    def forget_triggered(self) -> None:
        """Show paint and patch on the clean image again: what was given is out of date."""
        self.triggered = None
        self.refresh()

    def refresh(self) -> None:
        """Show the present state of images and document."""
        alone = not self._picture_visible
        showing = self.triggered if self.triggered is not None else self.clean
        self._base.setPixmap(showing if showing is not None and not alone else QPixmap())
        if showing is not None and showing.width():
            self._base.setScale(self.document.size / showing.width())
        painted = self.triggered is None or alone
        self._overlay.setVisible(painted)
        if painted:
            self._overlay.setPixmap(QPixmap.fromImage(self.document.rendered()))
        self.viewport().update()

    def colour_at(self, at: QPointF) -> QColor | None:
        """The colour seen at a canvas point; None beside the canvas or where nothing is."""
        x, y, size = int(at.x() // 1), int(at.y() // 1), self.document.size
        if not (0 <= x < size and 0 <= y < size):
            return None
        pixel = QImage(1, 1, LAYER_FORMAT)
        pixel.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixel)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.translate(-x, -y)
        if not self._base.pixmap().isNull():
            painter.drawPixmap(QRect(0, 0, size, size), self._base.pixmap())
        if self._overlay.isVisible():
            painter.drawPixmap(0, 0, self._overlay.pixmap())
        painter.end()
        colour = pixel.pixelColor(0, 0)
        return QColor(colour.red(), colour.green(), colour.blue()) if colour.alpha() else None

    def _on_document_resized(self, size: int) -> None:
        self.setSceneRect(0, 0, size, size)
        self.zoom_to_fit()

    # Tool and ink

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._tool

    def set_tool(self, tool: Tool) -> None:
        """Take another tool; what the old one was doing is finished."""
        if tool != self._tool:
            self.release()
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

    def change_size(self, sign: int) -> None:
        """Make brush, patch or the stamp's letters a step larger (1) or smaller (-1)."""
        if self._tool == "move":
            self.document.scale_patch(_SIZE_STEP**sign)
        elif self._tool == "text":
            self.set_ink(text_height=min(max(4, self.ink.text_height + sign), self.document.size))
        else:
            self.set_ink(width=round(self.ink.width) + sign)

    def _change_hardness(self, step: float) -> None:
        self.set_ink(hardness=round(self.ink.hardness + step, 2))

    # Edits of patch and paint that belong to no single tool

    def turn_patch(self, degrees: float) -> None:
        """Turn the patch clockwise; turns in a row are one undo step."""
        self.document.change_patch(lambda p: turned(p, p.rotation + degrees), "Turn patch")

    def clear(self) -> None:
        """Remove all that is on the canvas."""
        self.cancel()
        self.document.clear()

    # Press, drag, release: by mouse, pen, keyboard or test

    @property
    def holding(self) -> bool:
        """Whether a tool is between press and release."""
        return self._held is not None

    def press(
        self,
        at: QPointF,
        *,
        constrain: bool = False,
        width_factor: float = 1.0,
        eraser: bool = False,
    ) -> None:
        """Press the tool at a canvas point; ``eraser``: with the pen's other end."""
        tool = self._tools["eraser" if eraser else self._tool]
        if tool.needs_image and not self.has_image:
            return
        self.release()
        self._held = tool
        tool.press(self._tool_event(at, constrain, width_factor))
        self.viewport().update()

    def drag(self, at: QPointF, *, constrain: bool = False, width_factor: float = 1.0) -> None:
        """Move the tool, if it is pressed."""
        if self._held is not None:
            self._held.move(self._tool_event(at, constrain, width_factor))

    def release(self) -> None:
        """Finish what the tool is doing."""
        held = self._take_held()
        if held is not None:
            held.release()
            self._update_cursor()
            self.viewport().update()

    def cancel(self) -> None:
        """Take back what the tool is doing."""
        held = self._take_held()
        if held is not None:
            held.cancel()

    def _take_held(self) -> CanvasTool | None:
        held, self._held = self._held, None
        self._held_by_key = self._held_by_shift = False
        return held

    def _tool_event(self, at: QPointF, constrain: bool, width_factor: float) -> ToolEvent:
        return ToolEvent(at, self.ink, self.pixel_scale, constrain, width_factor)

    # Mouse and pen

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Press; the middle button moves the picture with any tool."""
        self._key_cursor = None
        if event.button() == Qt.MouseButton.LeftButton:
            self.press(self.mapToSceneF(event.position()), constrain=_shift(event))
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._panned_from = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Drag, and show where the pointer is."""
        if self._panned_from is not None:
            shift = event.position() - self._panned_from
            self.pan(shift.x(), shift.y())
            self._panned_from = event.position()
        at = self.mapToSceneF(event.position())
        self._hover = at
        if not self._held_by_key:
            self.drag(at, constrain=_shift(event))
        self._update_cursor()
        self._emit_pointed(at)
        self.viewport().update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Release."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.release()
        elif event.button() == Qt.MouseButton.MiddleButton:
            self._panned_from = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take a fast second press for a press."""
        self.mousePressEvent(event)

    def viewportEvent(self, event: QEvent) -> bool:  # noqa: N802
        """Take tablet events, which go to the viewport, and notice when the mouse leaves."""
        if isinstance(event, QTabletEvent):
            self._on_tablet(event)
            return True
        if event.type() == QEvent.Type.Leave:
            self._hover = None
            self._emit_pointed(None)
            self.viewport().update()
        return super().viewportEvent(event)

    def _on_tablet(self, event: QTabletEvent) -> None:
        """Paint with pressure; accepted, so that no mouse event follows."""
        event.accept()
        at = self.mapToSceneF(event.position())
        width_factor = 0.2 + 0.8 * event.pressure()
        if event.type() == QEvent.Type.TabletPress:
            self._key_cursor = None
            eraser = event.pointerType() == QPointingDevice.PointerType.Eraser
            self.press(at, width_factor=width_factor, eraser=eraser)
        elif event.type() == QEvent.Type.TabletMove:
            self._hover = at
            self.drag(at, width_factor=width_factor)
            self._emit_pointed(at)
            self.viewport().update()
        elif event.type() == QEvent.Type.TabletRelease:
            self.release()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Resize brush or patch; with Ctrl, or with the hand, zoom."""
        steps = event.angleDelta().y() / _WHEEL_STEP
        control = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        if control or self._tool == "hand":
            self.zoom_by(_WHEEL_ZOOM**steps, self.mapToSceneF(event.position()))
        elif steps:
            self.change_size(1 if steps > 0 else -1)
        event.accept()

    def _update_cursor(self) -> None:
        cursor = self._tools[self._tool].cursor(self._hover, self.pixel_scale)
        self.viewport().setCursor(cursor)

    def _describe(self, *_: object) -> None:
        """Say what is painted, where the keys' cursor is, and how to paint, for a screen reader."""
        rect, cursor = painted_rect(self.document.layer), self._key_cursor
        sentences = ["Nothing is painted."]
        if not rect.isEmpty():
            sentences = [
                f"Painted from x {rect.left()}, y {rect.top()} to x {rect.right()}, "
                f"y {rect.bottom()}."
            ]
        if self.document.patch is not None:
            sentences.append("A patch lies on the picture.")
        if cursor is not None:
            sentences.append(f"Cursor at x {int(cursor.x())}, y {int(cursor.y())}.")
        sentences.append(_HOW)
        self.setAccessibleDescription(" ".join(sentences))

    def _emit_pointed(self, at: QPointF | None) -> None:
        size = self.document.size
        if at is not None and 0 <= at.x() < size and 0 <= at.y() < size:
            self.pointed.emit((int(at.x()), int(at.y()), self.colour_at(at)))
        else:
            self.pointed.emit(None)

    # Keyboard: its cursor is the pointer from the first arrow key until the mouse is pressed

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Tools, sizes, undo, and painting with the keyboard."""
        modifiers = event.modifiers()
        handled = not modifiers & Qt.KeyboardModifier.AltModifier and self._handle_key(
            event.key(),
            shift=bool(modifiers & Qt.KeyboardModifier.ShiftModifier),
            control=bool(modifiers & Qt.KeyboardModifier.ControlModifier),
        )
        if not handled:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Shift let go ends the line that it drew."""
        if event.key() == Qt.Key.Key_Shift:
            self._end_shift_line()
        super().keyReleaseEvent(event)

    def _handle_key(self, key: int, *, shift: bool, control: bool) -> bool:
        """Do what a key means; return whether it means anything."""
        if key in ARROWS:
            self.move_by_arrow(*ARROWS[key], shift=shift, control=control)
            return True
        if key != Qt.Key.Key_Shift:
            self._end_shift_line()
        if key in TOOL_KEYS and not control:
            self.set_tool(TOOL_KEYS[key])
            return True
        action = key_action(key, shift=shift, control=control)
        if action is None or (action == "cancel" and not self.holding):
            return False
        self._key_actions[action]()
        return True

    def move_by_arrow(self, dx: int, dy: int, *, shift: bool, control: bool) -> None:
        """Move by pixels what the arrow keys move: patch, picture or cursor."""
        step = _LONG_STEP if control or (shift and self._tool == "move") else 1
        moves = self._tool == "move" and not control and not self._held_by_key
        if self._tool == "hand":
            self.pan(-_PAN_STEP * dx, -_PAN_STEP * dy)
        elif moves and self.document.patch is not None:
            self.document.move_patch(dx * step, dy * step)
        else:
            self._move_cursor(dx * step, dy * step, shift)

    def click_at_cursor(self) -> None:
        """Click the tool at the cursor; one that must be dragged is pressed or released."""
        if self._tools[self._tool].needs_drag:
            self.press_or_release_at_cursor()
        else:
            self.press(self._ensure_key_cursor())
            self.release()

    def press_or_release_at_cursor(self) -> None:
        """Press the tool at the cursor, so that the arrows drag it; again: release it."""
        if self._held_by_key:
            self.release()
        elif self._tool == "hand":
            self.zoom_to_fit()
        else:
            self.press(self._ensure_key_cursor())
            self._held_by_key = self.holding

    def _move_cursor(self, dx: int, dy: int, shift: bool) -> None:
        old = self._ensure_key_cursor()
        new = self._within(QPointF(old.x() + dx, old.y() + dy))
        draws = self._tool in ("brush", "eraser")
        if not shift:
            self._end_shift_line()
        elif draws and not self.holding:
            self.press(old)
            self._held_by_key = self._held_by_shift = self.holding
        self._key_cursor = new
        self.drag(new, constrain=shift and not draws)
        self._emit_pointed(new)
        self._describe()
        self.viewport().update()

    def _end_shift_line(self) -> None:
        """Finish the line that Shift and the arrows are drawing."""
        if self._held_by_shift:
            self.release()

    def _ensure_key_cursor(self) -> QPointF:
        """The keyboard's cursor: in the middle of a pixel, at first of the canvas's middle one."""
        if self._key_cursor is None:
            middle = self.document.size // 2 + 0.5
            self._key_cursor = self._within(self._left_at or QPointF(middle, middle))
        return self._key_cursor

    def _within(self, at: QPointF) -> QPointF:
        """The nearest middle of a pixel of the canvas's own."""
        most = self.document.size - 0.5
        return QPointF(min(max(0.5, at.x()), most), min(max(0.5, at.y()), most))

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Show the keyboard's cursor when Tab brings the focus."""
        super().focusInEvent(event)
        if event.reason() in _KEYBOARD_FOCUS:
            self._ensure_key_cursor()
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Hide it again, and finish what it was doing; it comes back where it is."""
        super().focusOutEvent(event)
        if self._held_by_key:
            self.release()
        self._left_at, self._key_cursor = self._key_cursor or self._left_at, None
        self.viewport().update()

    # Zoom and pan

    @property
    def pixel_scale(self) -> float:
        """Screen pixels per canvas pixel."""
        return self.transform().m11()

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom about a canvas point, which stays where it is on the screen if it can."""
        centre, before = self._view_centre(), self.pixel_scale
        self._zoom *= factor
        self._update_scale()
        if self._zoom > 1:
            point = centre if at is None else at
            self.centerOn(zoomed_centre(centre, point, before, self.pixel_scale))

    def zoom_to_fit(self) -> None:
        """Show the whole picture."""
        self._zoom = 1.0
        self._update_scale()

    def bring_into_view(self, at: QPointF) -> None:
        """Scroll to a point of the canvas, if it is out of sight."""
        if not self.viewport().rect().contains(self.mapFromScene(at)):
            self.centerOn(at)

    def pan(self, dx: float, dy: float) -> None:
        """Move the picture by screen pixels."""
        across, down = self.horizontalScrollBar(), self.verticalScrollBar()
        across.setValue(across.value() - round(dx))
        down.setValue(down.value() - round(dy))

    def mapToSceneF(self, at: QPointF) -> QPointF:  # noqa: N802
        """Scene point of a viewport point, without rounding to whole pixels."""
        inverse, _ = self.viewportTransform().inverted()
        return inverse.map(at)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the image as large as fits."""
        super().resizeEvent(event)
        self._update_scale()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Fit once the size is known."""
        super().showEvent(event)
        self._update_scale()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a large square."""
        return QSize(520, 520)

    def _view_centre(self) -> QPointF:
        return self.mapToSceneF(QPointF(self.viewport().rect().center()))

    def _update_scale(self) -> None:
        """Scale the image to the view, times the zoom."""
        fitting = fitting_scale(self.viewport().size(), self.document.size)
        centre = self._view_centre()
        self._zoom = limited_zoom(self._zoom, fitting)
        scale = fitting * self._zoom
        self.resetTransform()
        self.scale(scale, scale)
        if self._zoom > 1:
            self.centerOn(centre)
        mode = Qt.TransformationMode.FastTransformation
        if scale < _SMOOTH_SCALE:
            mode = Qt.TransformationMode.SmoothTransformation
        self._base.setTransformationMode(mode)
        self._overlay.setTransformationMode(mode)
        self.zoomed.emit(scale)

    # Drops

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take pictures and trigger files; what else is dropped is the window's."""
        mime = event.mimeData()
        if mime.hasImage() or any(_is_trigger(url.toLocalFile()) for url in mime.urls()):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:  # noqa: N802
        """Take them anywhere."""
        event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Hand them on unread."""
        event.acceptProposedAction()
        self.dropped.emit(event.mimeData())

    # Painting of the view itself

    def drawBackground(self, painter: QPainter, rect: QRectF | QRect) -> None:  # noqa: N802
        """Draw a checkerboard where the canvas is transparent."""
        if self._picture_visible and self.clean is not None:
            return
        painter.save()
        painter.resetTransform()
        area = self.viewportTransform().mapRect(self.sceneRect())
        painter.setBrushOrigin(area.topLeft())
        painter.fillRect(area, QBrush(_checkerboard(self.palette())))
        painter.restore()

    def drawForeground(self, painter: QPainter, rect: QRectF | QRect) -> None:  # noqa: N802
        """Draw handles, brush and focus in screen pixels."""
        paint_foreground(painter, self._foreground())

    def _foreground(self) -> Foreground:
        scene, moves = self.document.scene, self._tool == "move"
        by_key = self._key_cursor is not None
        pointer = self._key_cursor if by_key else self._hover
        return Foreground(
            to_view=self.viewportTransform(),
            view=self.viewport().rect(),
            canvas=self.document.size,
            highlight=self.palette().color(QPalette.ColorRole.Highlight),
            message_colour=self.palette().color(QPalette.ColorRole.PlaceholderText),
            message="" if self.has_image else self.empty_text,
            grid=self.grid and self._zoom > 1 and self.pixel_scale >= _GRID_SCALE,
            patch=scene.patch if moves and scene.placement == "fixed" else None,
            pointer=pointer if self.has_image else None,
            brush=self.ink if self._tool in ("brush", "eraser") else None,
            crosshair=by_key,
            focused=self.hasFocus(),
        )


def _shift(event: QMouseEvent) -> bool:
    return bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)


def _is_trigger(path: str) -> bool:
    """Whether a file may be a trigger: a picture, a trigger file, a small tensor."""
    name = path.lower()
    if name.endswith(_TENSOR_SUFFIXES):
        file = Path(path)
        return file.is_file() and file.stat().st_size <= _TENSOR_BYTES
    return name.endswith(_PICTURE_SUFFIXES)


def _checkerboard(palette: QPalette) -> QPixmap:
    """Two squares of each of two greys of the theme."""
    tile = QPixmap(2 * _CHECKER, 2 * _CHECKER)
    tile.fill(palette.color(QPalette.ColorRole.Base))
    painter = QPainter(tile)
    # Lines of high contrast are too near to the text that stands on the squares.
    strong = theme.is_high_contrast()
    dark = theme.colour("sunken") if strong else palette.color(QPalette.ColorRole.Mid)
    painter.fillRect(0, 0, _CHECKER, _CHECKER, dark)
    painter.fillRect(_CHECKER, _CHECKER, _CHECKER, _CHECKER, dark)
    painter.end()
    return tile
