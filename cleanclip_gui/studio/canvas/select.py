"""The tool that moves, sizes and turns the patch, or a marked piece of the paint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QImage, QPainter, QTransform

from cleanclip_gui.studio.canvas.patch_handles import (
    OPPOSITE,
    Drag,
    corners,
    cursor_of,
    dragged,
    part_at,
    part_of_rect,
)
from cleanclip_gui.studio.canvas.scene import moved, painted_rect
from cleanclip_gui.studio.canvas.tools import CanvasTool, pixel_rect, squared

if TYPE_CHECKING:
    from cleanclip_gui.studio.canvas.canvas import TriggerCanvas

_PATCH_ACTS = {"body": "Move patch", "turn": "Turn patch"}
_PIECE_ACTS = {"body": "Move selection"}


@dataclass(frozen=True, eq=False)
class _Lift:
    """A piece of paint above the layer it was cut from; good until somebody else acts."""

    piece: QImage
    base: QImage
    index: int


class SelectTool(CanvasTool):
    """Takes hold of the patch; elsewhere it marks a rectangle of paint and takes hold of that."""

    drags = True

    def __init__(self, canvas: TriggerCanvas) -> None:
        super().__init__(canvas)
        self.selection: QRect | None = None
        self._drag: Drag | None = None
        self._part = ""
        self._start = QPointF()
        self._from = QRect()
        self._lift: _Lift | None = None
        self._own = False
        self.document.stack.indexChanged.connect(self._on_history)

    def press(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Take hold of what lies there, or begin to mark."""
        self._start = at
        part = self.patch_part(at)
        if part:
            self._take_patch(part, at)
            return
        self._part = self._selection_part(at)
        if self._part and self.selection is not None:
            self.document.begin(_PIECE_ACTS.get(self._part, "Scale selection"))
            self._from = self.selection
            self._cut()
        else:
            self._part, self.selection = "mark", None
            self.canvas.viewport().update()

    def move(self, at: QPointF, *, constrain: bool = False, share: float = 1.0) -> None:
        """Drag it."""
        size = self.document.size
        if self._drag is not None:
            patch = dragged(self._drag, at, size, constrain=constrain)
            self.document.show_scene(replace(self.document.scene, patch=patch))
        elif self._part == "mark":
            end = squared(self._start, at) if constrain else at
            self.selection = pixel_rect(self._start, end, size)
            self.canvas.viewport().update()
        elif self._part:
            self._drop(self._dragged_rect(at, constrain))

    def release(self) -> None:
        """Let go."""
        if self._part == "mark" and self.selection is not None and self.selection.width() < 2:
            self.selection = None
        self._part, self._drag = "", None
        self._commit()

    def cancel(self) -> None:
        """Put it back."""
        if self._part and self._part != "mark":
            self.selection, self._lift = self._from, None
        elif self._part == "mark":
            self.selection = None
        self._part, self._drag = "", None
        self.document.cancel()
        self.canvas.viewport().update()

    def cursor(self, at: QPointF | None) -> Qt.CursorShape:
        """What the pointer would take hold of."""
        if at is None:
            return Qt.CursorShape.ArrowCursor
        part = self.patch_part(at) or self._selection_part(at)
        return cursor_of(part) if part else Qt.CursorShape.CrossCursor

    def patch_part(self, at: QPointF) -> str:
        """Which part of the patch lies there; one that has no place is placed anywhere."""
        patch = self.document.patch
        if patch is None:
            return ""
        if self.document.scene.placement != "fixed":
            return "body"
        return part_at(patch, at, self.document.size, self.canvas.scale_now)

    def _selection_part(self, at: QPointF) -> str:
        if self.selection is None:
            return ""
        return part_of_rect(QRectF(self.selection), at, self.canvas.scale_now)

    def _take_patch(self, part: str, at: QPointF) -> None:
        patch, size = self.document.patch, self.document.size
        assert patch is not None
        self.document.begin(_PATCH_ACTS.get(part, "Resize patch"))
        if self.document.scene.placement != "fixed":  # whoever drags it wants it there
            patch = moved(patch, at.x() / size, at.y() / size)
            scene = replace(self.document.scene, placement="fixed", patch=patch)
            self.document.show_scene(scene)
        self._drag = Drag(part, at, patch)

    def select_paint(self) -> None:
        """Mark all that is painted."""
        rect = painted_rect(self.document.layer)
        self.selection = None if rect.isEmpty() else rect
        self.canvas.viewport().update()

    def deselect(self) -> bool:
        """Unmark; whether anything was marked."""
        marked, self.selection = self.selection is not None, None
        self.canvas.viewport().update()
        return marked

    def nudge(self, dx: int, dy: int) -> None:
        """Move the marked piece by pixels; moves in a row are one undo step."""
        if self.selection is not None:
            self._change("Move selection", self.selection.translated(dx, dy), merges=True)

    def grow(self, factor: float) -> None:
        """Scale the marked piece about its middle."""
        if self.selection is not None:
            now = QRectF(self.selection)
            wide, high = max(1.0, now.width() * factor), max(1.0, now.height() * factor)
            if round(wide) == round(now.width()) and round(high) == round(now.height()):
                wide, high = (
                    now.width() + (1 if factor > 1 else -1),
                    now.height() + (1 if factor > 1 else -1),
                )
            rect = QRectF(0, 0, max(1.0, wide), max(1.0, high))
            rect.moveCenter(now.center())
            self._change("Scale selection", rect.toRect(), merges=True)

    def transform(self, change: QTransform, text: str) -> None:
        """Mirror or turn the marked piece by a right angle."""
        if self.selection is None:
            return
        self.document.begin(text)
        self._cut()
        assert self._lift is not None
        piece = self._lift.piece.transformed(change)
        self._lift = replace(self._lift, piece=piece)
        rect = QRect(QPoint(0, 0), piece.size())
        rect.moveCenter(self.selection.center())
        self._drop(rect)
        self._commit()

    def erase(self) -> None:
        """Take the paint in the marked rectangle away."""
        if self.selection is not None:
            self.document.begin("Delete selection")
            self.document.layer = _without(self.document.layer, self.selection)
            self.document.touch()
            self.document.commit()

    def _change(self, text: str, rect: QRect, *, merges: bool) -> None:
        self.document.begin(text)
        self._cut()
        self._drop(rect)
        self._commit(merges=merges)

    def _cut(self) -> None:
        """Lift the marked piece, unless it is lifted already."""
        assert self.selection is not None
        index = self.document.stack.index()
        if self._lift is None or self._lift.index != index:
            layer = self.document.layer
            piece = layer.copy(self.selection)
            self._lift = _Lift(piece, _without(layer, self.selection), index)

    def _on_history(self, _: int) -> None:
        """What somebody else did, undo included, leaves nothing marked."""
        if not self._own:
            self.selection = None

    def _commit(self, *, merges: bool = False) -> None:
        """Finish the tool's own act; the piece stays lifted."""
        self._own = True
        self.document.commit(merges=merges)
        self._own = False
        if self._lift is not None:
            self._lift = replace(self._lift, index=self.document.stack.index())

    def _drop(self, rect: QRect) -> None:
        """Show the piece in another rectangle."""
        assert self._lift is not None
        layer = self._lift.base.copy()
        painter = QPainter(layer)
        smooth = not self.ink.pixel and rect.size() != self._lift.piece.size()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(rect, self._lift.piece)
        painter.end()
        self.document.layer, self.selection = layer, rect
        self.document.touch()

    def _dragged_rect(self, at: QPointF, constrain: bool) -> QRect:
        delta = at - self._start
        step = QPoint(round(delta.x()), round(delta.y()))
        if self._part == "body":
            if constrain:
                flat = abs(step.x()) >= abs(step.y())
                step = QPoint(step.x(), 0) if flat else QPoint(0, step.y())
            return self._from.translated(step)
        places = corners(QRectF(self._from))
        anchor = places[OPPOSITE[self._part]]
        corner = places[self._part] + QPointF(step)
        if constrain:
            corner = squared(anchor, corner)
        rect = QRectF(anchor, corner).normalized().toRect()
        return QRect(rect.topLeft(), rect.size().expandedTo(QRect(0, 0, 1, 1).size()))


def _without(layer: QImage, rect: QRect) -> QImage:
    """The layer with a transparent rectangle."""
    result = layer.copy()
    painter = QPainter(result)
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
    painter.fillRect(rect, Qt.GlobalColor.transparent)
    painter.end()
    return result
