"""The canvas: paints on the selected image with mouse, tablet or keyboard, and moves the patch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPalette,
    QPen,
    QPixmap,
    QResizeEvent,
    QShowEvent,
    QTabletEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView, QWidget

from cleanclip_gui.widgets.canvas_keys import Tool, handle_key
from cleanclip_gui.widgets.paint_document import (
    FloatingPatch,
    PaintDocument,
    moved,
    paint_patch,
    rgba_to_image,
)
from cleanclip_gui.widgets.patch_handles import Drag, cursor_of, dragged, draw_handles, part_at

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".json")


class TriggerCanvas(QGraphicsView):
    """Shows an image of the model's input size, large, and edits a :class:`PaintDocument` on it.

    While the document changes it shows the clean image under paint and patch; once a triggered
    image is given it shows what the model sees.
    """

    tool_changed = Signal(str)
    brush_width_changed = Signal(float)
    dropped = Signal(object)
    placed_by_hand = Signal()

    def __init__(self, document: PaintDocument, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.document = document
        self._tool: Tool = "brush"
        self._colour = QColor(0, 0, 0)
        self._width = 4.0
        self._opacity = 1.0
        self._key_cursor: QPointF | None = None
        self._hover: QPointF | None = None
        self._clean: QPixmap | None = None
        self._triggered: QPixmap | None = None
        self._drag: Drag | None = None
        self._placed = True

        self.setScene(QGraphicsScene(self))
        self._base = self.scene().addPixmap(QPixmap())
        self._overlay = self.scene().addPixmap(QPixmap())
        self.setObjectName("triggerCanvas")
        self.setAccessibleName("Trigger canvas")
        self.setAccessibleDescription(
            "Paint with the mouse, or move the cursor with the arrow keys and paint with Space."
        )
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setBackgroundBrush(Qt.BrushStyle.NoBrush)
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

    def set_images(
        self, clean: NDArray[np.uint8] | None, triggered: NDArray[np.uint8] | None
    ) -> None:
        """Show an image, uint8 [S, S, 3], and, if known, how the model sees it triggered."""
        self._clean = None if clean is None else QPixmap.fromImage(rgba_to_image(clean))
        self._triggered = None
        if triggered is not None and not self.busy:
            self._triggered = QPixmap.fromImage(rgba_to_image(triggered))
        self._refresh()

    def set_overlay_opacity(self, opacity: float) -> None:
        """Set the trigger's opacity, 0 to 1."""
        self._opacity = opacity
        self._overlay.setOpacity(opacity)

    def set_placed(self, placed: bool) -> None:
        """Whether the patch lies where the document says, or at a place drawn for each image."""
        self._placed = placed
        self.viewport().update()

    @property
    def busy(self) -> bool:
        """Whether a stroke or a drag is under way."""
        return self.document.stroking or self._drag is not None

    @property
    def shows_triggered(self) -> bool:
        """Whether the picture shown is the one that the model sees."""
        return self._triggered is not None

    def forget_triggered(self) -> None:
        """Show paint and patch on the clean image again: what was given is out of date."""
        self._triggered = None
        self._refresh()

    def _refresh(self) -> None:
        showing = self._triggered if self._triggered is not None else self._clean
        self._base.setPixmap(showing if showing is not None else QPixmap())
        if showing is not None and showing.width():
            self._base.setScale(self.document.size / showing.width())
        self._overlay.setVisible(self._triggered is None)
        if self._triggered is None:
            image = self.document.layer
            if self.document.patch is not None:
                image = image.copy()
                painter = QPainter(image)
                paint_patch(painter, self.document.patch, self.document.size)
                painter.end()
            self._overlay.setPixmap(QPixmap.fromImage(image))
            self._overlay.setOpacity(self._opacity)
        self.viewport().update()

    def _on_document_resized(self, size: int) -> None:
        self.setSceneRect(0, 0, size, size)
        self._fit()

    def _fit(self) -> None:
        """Scale the image to the view."""
        self.fitInView(self.sceneRect(), Qt.AspectRatioMode.KeepAspectRatio)
        smooth = self.transform().m11() < 3.0
        mode = (
            Qt.TransformationMode.SmoothTransformation
            if smooth
            else Qt.TransformationMode.FastTransformation
        )
        self._base.setTransformationMode(mode)
        self._overlay.setTransformationMode(mode)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Keep the image as large as fits."""
        super().resizeEvent(event)
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Fit once the size is known."""
        super().showEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a large square."""
        return QSize(520, 520)

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._tool

    def set_tool(self, tool: Tool) -> None:
        """Take brush, eraser or move."""
        if tool != self._tool:
            self._tool = tool
            self._update_cursor()
            self.viewport().update()
            self.tool_changed.emit(tool)

    @property
    def colour(self) -> QColor:
        """The brush's colour."""
        return self._colour

    def set_colour(self, colour: QColor) -> None:
        """Take another colour, and the brush unless it is in hand."""
        self._colour = QColor(colour)
        if self._tool == "eraser":
            self.set_tool("brush")

    @property
    def brush_width(self) -> float:
        """The brush's width in pixels of the model's input."""
        return self._width

    def set_brush_width(self, width: float) -> None:
        """Set the brush's width in pixels of the model's input, 1 to the whole canvas."""
        width = min(max(1.0, width), float(self.document.size))
        if width != self._width:
            self._width = width
            self.viewport().update()
            self.brush_width_changed.emit(width)

    def _update_cursor(self) -> None:
        drawing = self._tool != "move"
        self.viewport().setCursor(
            Qt.CursorShape.BlankCursor if drawing else Qt.CursorShape.ArrowCursor
        )

    def _press(self, at: QPointF, width: float) -> None:
        patch = self.document.patch
        if self._tool != "move":
            self._key_cursor = None
            self.document.begin_stroke(at, self._ink(), width)
        elif patch is not None and not patch.overlay:
            self._start_drag(patch, at)

    def _start_drag(self, patch: FloatingPatch, at: QPointF) -> None:
        """Take hold of the patch; one that lies nowhere in particular is placed by the press."""
        part = self._part_at(at)
        if not part:
            return
        base = patch
        if not self._placed:
            base = moved(patch, at.x() / self.document.size, at.y() / self.document.size)
            self.placed_by_hand.emit()
        self._drag = Drag(part, at, base, patch)
        self.document.preview_patch(base)

    def _move(self, at: QPointF, width: float) -> None:
        self._hover = at
        if self._drag is not None:
            self._drag_to(at)
        elif self.document.stroking:
            self.document.stroke_to(at, self._ink(), width)
        elif self._tool == "move":
            self.viewport().setCursor(cursor_of(self._part_at(at)))
        self.viewport().update()

    def _release(self) -> None:
        if self._drag is not None:
            drag, self._drag = self._drag, None
            text = "Move patch" if drag.part == "body" else "Resize patch"
            self.document.commit_patch(drag.before, text)
        else:
            self.document.end_stroke()

    def _ink(self) -> QColor | None:
        return None if self._tool == "eraser" else self._colour

    def _drag_to(self, at: QPointF) -> None:
        if self._drag is not None:
            size = self.document.size
            self.document.preview_patch(dragged(self._drag.base, self._drag, at, size))

    def _part_at(self, at: QPointF) -> str:
        """Which part of the patch lies there; everything else places it."""
        patch = self.document.patch
        if patch is None or patch.overlay:
            return ""
        if not self._placed:
            return "body"
        return part_at(patch, at, self.document.size, self.transform().m11())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Start a stroke or a drag."""
        if event.button() == Qt.MouseButton.LeftButton and self._clean is not None:
            self._press(self.mapToSceneF(event.position()), self._width)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Go on with it, and show the brush."""
        self._move(self.mapToSceneF(event.position()), self._width)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Finish it."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._release()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Take a fast second press for a press."""
        self.mousePressEvent(event)

    def mapToSceneF(self, at: QPointF) -> QPointF:  # noqa: N802
        """Scene point of a viewport point, without rounding to whole pixels."""
        inverse, _ = self.viewportTransform().inverted()
        return inverse.map(at)

    def viewportEvent(self, event: QEvent) -> bool:  # noqa: N802
        """Take tablet events, which go to the viewport, and forget the hover when it ends."""
        if isinstance(event, QTabletEvent):
            self._on_tablet(event)
            return True
        if event.type() == QEvent.Type.Leave:
            self._hover = None
            self.viewport().update()
        return super().viewportEvent(event)

    def _on_tablet(self, event: QTabletEvent) -> None:
        """Paint with pressure; accepted, so that no mouse event follows."""
        event.accept()
        at = self.mapToSceneF(event.position())
        width = self._width * (0.4 + 0.6 * event.pressure())
        if event.type() == QEvent.Type.TabletPress and self._clean is not None:
            self._press(at, width)
        elif event.type() == QEvent.Type.TabletMove:
            self._move(at, width)
        elif event.type() == QEvent.Type.TabletRelease:
            self._release()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Resize the brush, or the patch when the move tool is in hand."""
        steps = event.angleDelta().y() / 120
        if self._tool == "move":
            self.document.scale_patch(1.1**steps)
        else:
            self.set_brush_width(self._width + (1 if steps > 0 else -1))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Tools, sizes, undo, clear, and the arrow keys."""
        if not handle_key(self, event):
            super().keyPressEvent(event)

    def give_up(self) -> None:
        """Take back the stroke or the drag under way."""
        if self._drag is not None:
            drag, self._drag = self._drag, None
            self.document.preview_patch(drag.before)
        self.document.cancel_stroke()

    def grow(self, sign: int) -> None:
        """Make brush or patch a step larger or smaller."""
        if self._tool == "move":
            self.document.scale_patch(1.1**sign)
        else:
            self.set_brush_width(round(self._width) + sign)

    def go(self, dx: int, dy: int, shift: bool) -> None:
        """Move the patch, or the cursor; with Shift the patch by 8, and the cursor painting."""
        if self._tool == "move":
            step = 8 if shift else 1
            if not self._placed:
                self.placed_by_hand.emit()
            self.document.move_patch(dx * step, dy * step)
            return
        size = self.document.size
        old = self._key_cursor or QPointF(size / 2, size / 2)
        new = QPointF(
            min(max(0.0, old.x() + dx), float(size)), min(max(0.0, old.y() + dy), float(size))
        )
        if shift and self._clean is not None:
            self.document.begin_stroke(old, self._ink(), self._width)
            self.document.stroke_to(new, self._ink(), self._width)
            self.document.end_stroke()
        self._key_cursor = new
        self.viewport().update()

    def dab(self) -> None:
        """Paint a dab at the keyboard's cursor."""
        size = self.document.size
        self._key_cursor = self._key_cursor or QPointF(size / 2, size / 2)
        if self._clean is not None:
            self.document.begin_stroke(self._key_cursor, self._ink(), self._width)
            self.document.end_stroke()

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Show the keyboard's cursor when Tab brings the focus."""
        super().focusInEvent(event)
        if event.reason() in (
            Qt.FocusReason.TabFocusReason,
            Qt.FocusReason.BacktabFocusReason,
            Qt.FocusReason.ShortcutFocusReason,
        ):
            size = self.document.size
            self._key_cursor = self._key_cursor or QPointF(size / 2, size / 2)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        """Hide it again."""
        super().focusOutEvent(event)
        self._key_cursor = None
        self.viewport().update()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take pictures and trigger files; what else is dropped is the window's."""
        mime = event.mimeData()
        names = [url.path().lower() for url in mime.urls()]
        if mime.hasImage() or any(name.endswith(_SUFFIXES) for name in names):
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

    def drawForeground(self, painter: QPainter, rect: QRectF | QRect) -> None:  # noqa: N802
        """Draw handles, brush and focus in screen pixels."""
        to_view = self.viewportTransform()
        painter.save()
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        patch = self.document.patch
        movable = patch is not None and not patch.overlay and self._placed
        if self._tool == "move" and patch is not None and movable:
            frame = to_view.mapRect(patch.rect(self.document.size))
            draw_handles(painter, frame, self.palette().color(QPalette.ColorRole.Highlight))
        at = self._hover if self._key_cursor is None else self._key_cursor
        if self._tool != "move" and at is not None and self._clean is not None:
            radius = max(self._width * self.transform().m11() / 2, 2.0)
            _double_ring(painter, to_view.map(at), radius)
        if self._clean is None:
            painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
            painter.drawText(
                self.viewport().rect(),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap,
                "Open a checkpoint and images to paint on them.",
            )
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Highlight), 2))
            painter.drawRect(to_view.mapRect(self.sceneRect()).adjusted(1, 1, -1, -1))
        painter.restore()


def _double_ring(painter: QPainter, at: QPointF, radius: float) -> None:
    """A ring that is seen on any ground."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(0, 0, 0, 170), 3))
    painter.drawEllipse(at, radius, radius)
    painter.setPen(QPen(QColor(255, 255, 255), 1.3))
    painter.drawEllipse(at, radius, radius)
