"""What is painted: a layer of pixels and a patch that floats above it, with undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPointF, QRect, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QUndoCommand, QUndoStack

_LAYER_FORMAT = QImage.Format.Format_RGBA8888_Premultiplied
_PATCH_COMMAND_ID = 1
MIN_PATCH = 0.03


@dataclass(frozen=True, eq=False)
class FloatingPatch:
    """An uploaded or stamped picture above the painted layer.

    ``x`` and ``y`` are its centre and ``size`` its longer side, in fractions of the canvas;
    ``rotation`` is in degrees. ``overlay`` covers the whole canvas and cannot be moved.
    ``source`` is whatever its maker needs to know it by.
    """

    image: QImage
    name: str
    x: float = 0.5
    y: float = 0.5
    size: float = 0.2
    rotation: float = 0.0
    overlay: bool = False
    source: object = None

    def rect(self, canvas: int) -> QRectF:
        """Where it lies on a canvas of that many pixels, before rotation."""
        longer = max(self.image.width(), self.image.height(), 1)
        width = self.image.width() / longer * self.size * canvas
        height = self.image.height() / longer * self.size * canvas
        return QRectF(self.x * canvas - width / 2, self.y * canvas - height / 2, width, height)


def rgba_to_image(pixels: NDArray[np.uint8]) -> QImage:
    """A QImage that owns a copy of uint8 [h, w, 4] (straight alpha) or [h, w, 3] pixels."""
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    kind = QImage.Format.Format_RGBA8888 if channels == 4 else QImage.Format.Format_RGB888
    return QImage(pixels.data, width, height, width * channels, kind).copy()


def image_to_rgba(image: QImage) -> NDArray[np.uint8]:
    """A copy of the pixels as uint8 [h, w, 4], straight alpha."""
    straight = image.convertToFormat(QImage.Format.Format_RGBA8888)
    rows = np.frombuffer(straight.constBits(), np.uint8)
    rows = rows.reshape(straight.height(), straight.bytesPerLine())
    return rows[:, : straight.width() * 4].reshape(straight.height(), -1, 4).copy()


class _PixelsCommand(QUndoCommand):
    """One stroke: the rectangle that it changed, before and after."""

    def __init__(
        self, document: PaintDocument, text: str, rect: QRect, before: QImage, after: QImage
    ) -> None:
        super().__init__(text)
        self._document = document
        self._rect = rect
        self._before = before
        self._after = after
        self._painted = True

    def undo(self) -> None:
        """Put the old pixels back."""
        self._document._put(self._rect, self._before)

    def redo(self) -> None:
        """Put the new pixels back; the first time they are there already."""
        if self._painted:
            self._painted = False
        else:
            self._document._put(self._rect, self._after)


class _PatchCommand(QUndoCommand):
    """Placing, moving, resizing or removing the patch; moves by keys merge into one."""

    def __init__(
        self,
        document: PaintDocument,
        text: str,
        before: FloatingPatch | None,
        after: FloatingPatch | None,
        merges: bool,
    ) -> None:
        super().__init__(text)
        self._document = document
        self._before = before
        self._after = after
        self._merges = merges

    def id(self) -> int:
        """Commands of one id may merge."""
        return _PATCH_COMMAND_ID if self._merges else -1

    def mergeWith(self, other: QUndoCommand) -> bool:  # noqa: N802
        """Take a following key press into this command."""
        if not isinstance(other, _PatchCommand) or other.text() != self.text():
            return False
        self._after = other._after
        return True

    def undo(self) -> None:
        """Show the old patch."""
        self._document._show_patch(self._before)

    def redo(self) -> None:
        """Show the new patch."""
        self._document._show_patch(self._after)


class _ClearCommand(QUndoCommand):
    """Empties the layer and takes the patch away."""

    def __init__(self, document: PaintDocument) -> None:
        super().__init__("Clear")
        self._document = document
        self._layer = document.layer.copy()
        self._patch = document.patch

    def undo(self) -> None:
        """Bring both back."""
        self._document._put(self._layer.rect(), self._layer)
        self._document._show_patch(self._patch)

    def redo(self) -> None:
        """Take both away."""
        empty = QImage(self._layer.size(), _LAYER_FORMAT)
        empty.fill(Qt.GlobalColor.transparent)
        self._document._put(empty.rect(), empty)
        self._document._show_patch(None)


class PaintDocument(QObject):
    """A layer at the resolution of the model's input, and at most one floating patch.

    ``changed`` comes for every change of pixels or patch, also in the middle of a stroke.
    """

    changed = Signal()
    stroke_started = Signal()
    stroke_finished = Signal()
    resized = Signal(int)

    def __init__(self, size: int = 64, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack = QUndoStack(self)
        self.stack.setUndoLimit(200)
        self.patch: FloatingPatch | None = None
        self.layer = self._blank(size)
        self._stroke_text = ""
        self._before: QImage | None = None
        self._dirty = QRect()
        self._last = QPointF()

    @staticmethod
    def _blank(size: int) -> QImage:
        layer = QImage(size, size, _LAYER_FORMAT)
        layer.fill(Qt.GlobalColor.transparent)
        return layer

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.layer.width()

    @property
    def stroking(self) -> bool:
        """Whether a stroke is under way."""
        return self._before is not None

    def set_size(self, size: int) -> None:
        """Change the resolution; what is painted is scaled, and can then not be undone."""
        if size == self.size:
            return
        self.stack.clear()
        self._before = None
        self.layer = self.layer.scaled(
            size,
            size,
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        ).convertToFormat(_LAYER_FORMAT)
        self.resized.emit(size)
        self.changed.emit()

    def rgba(self) -> NDArray[np.uint8]:
        """The painted layer without the patch, uint8 [S, S, 4], straight alpha."""
        return image_to_rgba(self.layer)

    def flattened(self) -> NDArray[np.uint8]:
        """The painted layer with the patch stamped on it, uint8 [S, S, 4], straight alpha."""
        image = self.layer.copy()
        if self.patch is not None:
            painter = QPainter(image)
            paint_patch(painter, self.patch, self.size)
            painter.end()
        return image_to_rgba(image)

    def is_painted(self) -> bool:
        """Whether the layer has a pixel that is not transparent."""
        return bool(np.frombuffer(self.layer.constBits(), np.uint8)[3::4].any())

    def is_empty(self) -> bool:
        """Whether there is neither paint nor patch."""
        return self.patch is None and not self.is_painted()

    def begin_stroke(self, at: QPointF, colour: QColor | None, width: float) -> None:
        """Start a stroke at a point in canvas pixels; colour None erases."""
        self.end_stroke()
        self._stroke_text = "Erase" if colour is None else "Brush stroke"
        self._before = self.layer.copy()
        self._dirty = QRect()
        self._last = at
        self.stroke_started.emit()
        self.stroke_to(at, colour, width)

    def stroke_to(self, at: QPointF, colour: QColor | None, width: float) -> None:
        """Go on to a point; ``width`` in canvas pixels, at least 1."""
        if self._before is None:
            return
        width = max(1.0, width)
        painter = QPainter(self.layer)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if colour is None:
            painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_DestinationOut)
        pen = QPen(colour if colour is not None else QColor(0, 0, 0), width)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        if at == self._last:
            painter.drawPoint(at)
        else:
            painter.drawLine(self._last, at)
        painter.end()
        margin = width / 2 + 2
        touched = QRectF(self._last, at).normalized().adjusted(-margin, -margin, margin, margin)
        self._dirty = self._dirty.united(touched.toAlignedRect())
        self._last = at
        self.changed.emit()

    def end_stroke(self) -> None:
        """Finish the stroke: one undo step, if any pixel changed."""
        if self._before is None:
            return
        before, self._before = self._before, None
        rect = self._dirty.intersected(self.layer.rect())
        if not rect.isEmpty():
            old, new = before.copy(rect), self.layer.copy(rect)
            if old != new:
                self.stack.push(_PixelsCommand(self, self._stroke_text, rect, old, new))
        self.stroke_finished.emit()

    def cancel_stroke(self) -> None:
        """Take the stroke under way back."""
        if self._before is not None:
            before, self._before = self._before, None
            self._put(before.rect(), before)
            self.stroke_finished.emit()

    def set_patch(self, patch: FloatingPatch | None, text: str, *, merges: bool = False) -> None:
        """Place, change or remove the patch as one undo step; ``merges`` joins equal ones."""
        self.stack.push(_PatchCommand(self, text, self.patch, patch, merges))

    def preview_patch(self, patch: FloatingPatch) -> None:
        """Show the patch while it is dragged; :meth:`commit_patch` makes the undo step."""
        self._show_patch(patch)

    def commit_patch(self, before: FloatingPatch | None, text: str) -> None:
        """Make one undo step of a drag that began at ``before``."""
        if before is not self.patch:
            self.stack.push(_PatchCommand(self, text, before, self.patch, False))

    def change_patch(self, change: Callable[[FloatingPatch], FloatingPatch], text: str) -> None:
        """Change the patch by a function; equal changes in a row are one undo step."""
        if self.patch is not None and not self.patch.overlay:
            self.set_patch(change(self.patch), text, merges=True)

    def move_patch(self, dx: float, dy: float) -> None:
        """Move the patch by canvas pixels."""
        self.change_patch(
            lambda p: moved(p, p.x + dx / self.size, p.y + dy / self.size), "Move patch"
        )

    def scale_patch(self, factor: float) -> None:
        """Resize the patch about its centre."""
        self.change_patch(
            lambda p: replace(p, size=min(1.0, max(MIN_PATCH, p.size * factor))), "Resize patch"
        )

    def clear(self) -> None:
        """Remove paint and patch, as one undo step."""
        self.cancel_stroke()
        if not self.is_empty():
            self.stack.push(_ClearCommand(self))

    def _put(self, rect: QRect, pixels: QImage) -> None:
        """Replace a rectangle of the layer."""
        painter = QPainter(self.layer)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
        painter.drawImage(rect.topLeft(), pixels)
        painter.end()
        self.changed.emit()

    def _show_patch(self, patch: FloatingPatch | None) -> None:
        self.patch = patch
        self.changed.emit()


def moved(patch: FloatingPatch, x: float, y: float) -> FloatingPatch:
    """The patch with its centre at (x, y), kept on the canvas."""
    return replace(patch, x=min(1.0, max(0.0, x)), y=min(1.0, max(0.0, y)))


def paint_patch(painter: QPainter, patch: FloatingPatch, canvas: int) -> None:
    """Draw the patch where it lies on a canvas of that many pixels."""
    rect = patch.rect(canvas)
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.translate(rect.center())
    painter.rotate(patch.rotation)
    painter.translate(-rect.center())
    painter.drawImage(rect, patch.image)
    painter.restore()
