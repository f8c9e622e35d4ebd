"""What is painted: a layer of pixels and the scene above it; every edit is one undo step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPoint, QRect, Signal
from PySide6.QtGui import QImage, QPainter, QTransform

from cleanclip_gui.studio.canvas.scene import (
    FloatingPatch,
    Scene,
    Snapshot,
    blank,
    layer_pixels,
    moved,
    paint_patch,
    painted_rect,
    rendered,
    resized,
    scaled,
)
from cleanclip_gui.widgets.pictures import image_to_rgba
from cleanclip_gui.widgets.undo import UndoStack, UndoStep

UNDO_STEPS = 200


class EditStep(UndoStep):
    """One undo step: the rectangle of pixels that it changed, and the scene, before and after."""

    def __init__(
        self,
        document: PaintDocument,
        text: str,
        rect: QRect,
        pixels: tuple[QImage, QImage],
        scenes: tuple[Scene, Scene],
        merges: bool,
    ) -> None:
        super().__init__(text)
        self._document = document
        self.rect = rect
        self.pixels = pixels
        self._scenes = scenes
        self._merges = merges

    def merge(self, other: UndoStep) -> bool:
        """Take the same edit, made again at once, into this step."""
        if not isinstance(other, EditStep) or other.text != self.text:
            return False
        if not (self._merges and other._merges):
            return False
        rect = self.rect.united(other.rect)
        after = _cut(self._document.layer, rect)
        before = after.copy()
        for step in (other, self):  # the oldest pixels win
            _put(before, step.rect.topLeft() - rect.topLeft(), step.pixels[0])
        self.rect, self.pixels = rect, (before, after)
        self._scenes = (self._scenes[0], other._scenes[1])
        return True

    def undo(self) -> None:
        """Bring back what was there."""
        self._document._restore(self.rect, self.pixels[0], self._scenes[0])

    def redo(self) -> None:
        """Do it again."""
        self._document._restore(self.rect, self.pixels[1], self._scenes[1])


class PaintDocument(QObject):
    """A layer at the resolution of the model's input, and the scene above it.

    ``changed`` comes for every change, also in the middle of an edit; ``edit_started`` and
    ``edit_finished`` enclose each edit.
    """

    changed = Signal()
    edit_started = Signal()
    edit_finished = Signal()
    resized = Signal(int)

    def __init__(self, size: int = 64, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack = UndoStack(UNDO_STEPS, self)
        self.layer = blank(size)
        self.scene = Scene()
        self._text = ""
        self._before: tuple[QImage, Scene] | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, size: int) -> PaintDocument:
        """A separate document that holds a snapshot."""
        document = cls(size)
        document.layer, document.scene = scaled(snapshot.layer, size), snapshot.scene
        return document

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.layer.width()

    @property
    def patch(self) -> FloatingPatch | None:
        """The patch that floats above the paint."""
        return self.scene.patch

    @property
    def editing(self) -> bool:
        """Whether an edit is under way: begun, and neither committed nor cancelled."""
        return self._before is not None

    def set_size(self, size: int) -> None:
        """Change the resolution; what is painted is scaled, and can then not be undone."""
        if size == self.size:
            return
        self.stack.clear()
        self._before = None
        self.layer = scaled(self.layer, size)
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

    def rendered(self) -> QImage:
        """Overlay, paint and patch as they lie on the canvas, at their strengths."""
        return rendered(self.layer, self.scene)

    def cut_out(self) -> QImage:
        """What :meth:`rendered` gives, without its transparent edges."""
        image = self.rendered()
        rect = painted_rect(image)
        return image if rect.isEmpty() else image.copy(rect)

    def is_painted(self) -> bool:
        """Whether the layer has a pixel that is not transparent."""
        return bool(layer_pixels(self.layer)[..., 3].any())

    def is_empty(self) -> bool:
        """Whether there is neither paint, nor patch, nor overlay, nor a word for the prompts."""
        scene = self.scene
        return (
            scene.patch is None
            and scene.overlay is None
            and not scene.text
            and not self.is_painted()
        )

    def begin(self, text: str) -> None:
        """Start an edit of that name; one that was under way is committed."""
        self.commit()
        self._text = text
        self._before = (self.layer.copy(), self.scene)
        self.edit_started.emit()

    def pixels(self) -> NDArray[np.uint8]:
        """The layer to write to, uint8 [S, S, 4], premultiplied; call :meth:`touch` after."""
        return np.frombuffer(self.layer.bits(), np.uint8).reshape(self.size, self.size, 4)

    def pixels_before(self) -> NDArray[np.uint8]:
        """The layer as it was when the edit began."""
        return layer_pixels(self.layer if self._before is None else self._before[0])

    def touch(self) -> None:
        """Tell that pixels were written."""
        self.changed.emit()

    def show_scene(self, scene: Scene) -> None:
        """Show another scene, as a part of the edit under way if there is one."""
        self.scene = scene
        self.changed.emit()

    def commit(self, *, merges: bool = False, text: str = "") -> None:
        """Finish the edit: one undo step if anything changed; ``merges`` joins equal ones."""
        if self._before is None:
            return
        (layer, scene), self._before = self._before, None
        rect = _changed_rect(layer, self.layer)
        if not rect.isEmpty() or scene is not self.scene:
            pixels = (_cut(layer, rect), _cut(self.layer, rect))
            scenes = (scene, self.scene)
            self.stack.push(EditStep(self, text or self._text, rect, pixels, scenes, merges))
        self.edit_finished.emit()

    def cancel(self) -> None:
        """Take the edit under way back."""
        if self._before is not None:
            (self.layer, self.scene), self._before = self._before, None
            self.changed.emit()
            self.edit_finished.emit()

    def set_scene(self, text: str, /, *, merges: bool = False, **changes: object) -> None:
        """Change fields of the scene as one undo step; ``merges`` joins equal ones."""
        self.begin(text)
        self.show_scene(replace(self.scene, **changes))  # type: ignore[arg-type]
        self.commit(merges=merges)

    def set_patch(self, patch: FloatingPatch | None, text: str, *, merges: bool = False) -> None:
        """Place, change or remove the patch as one undo step."""
        self.set_scene(text, merges=merges, patch=patch)

    def change_patch(self, change: Callable[[FloatingPatch], FloatingPatch], text: str) -> None:
        """Change the patch by a function; equal changes in a row are one undo step."""
        if self.patch is not None:
            self.set_patch(change(self.patch), text, merges=True)

    def move_patch(self, dx: float, dy: float) -> None:
        """Move the patch by canvas pixels; from then on it stays where it was put."""
        patch = self.patch
        if patch is not None:
            there = moved(patch, patch.x + dx / self.size, patch.y + dy / self.size)
            self.set_scene("Move patch", merges=True, patch=there, placement="fixed")

    def scale_patch(self, factor: float) -> None:
        """Resize the patch about its centre."""
        self.change_patch(lambda p: resized(p, factor), "Resize patch")

    def transform_paint(self, change: QTransform, text: str) -> None:
        """Mirror all paint, or turn it by right angles, about its centre."""
        rect = painted_rect(self.layer)
        piece = self.layer.copy(rect).transformed(change)
        place = QRect(QPoint(0, 0), piece.size())
        place.moveCenter(rect.center())
        self.begin(text)
        self.layer = blank(self.size)
        _put(self.layer, place.topLeft(), piece)
        self.touch()
        self.commit()

    def clear(self) -> None:
        """Remove paint, patch and overlay, as one undo step."""
        self.cancel()
        if not self.is_empty():
            self.begin("Clear")
            self.layer = blank(self.size)
            self.show_scene(replace(self.scene, patch=None, overlay=None, text=""))
            self.commit()

    def switch_snapshot(self, slot: str) -> None:
        """Put snapshot A or B on the canvas, and keep the one that is there.

        A snapshot that was never used begins as a copy of the present one.
        """
        if slot == self.scene.slot:
            return
        self.begin(f"Flip to {slot}")
        here = Snapshot(self.layer.copy(), replace(self.scene, other=None))
        there = self.scene.other or here
        self.layer = scaled(there.layer, self.size)
        self.show_scene(replace(there.scene, slot=slot, other=here))
        self.commit()

    def undo(self) -> None:
        """Take back the edit under way, or undo the last one."""
        if self.editing:
            self.cancel()
        else:
            self.stack.undo()

    def redo(self) -> None:
        """Redo the edit that was undone last."""
        if not self.editing:
            self.stack.redo()

    def _restore(self, rect: QRect, pixels: QImage, scene: Scene) -> None:
        """Replace a rectangle of the layer, and the scene."""
        if not rect.isEmpty():
            _put(self.layer, rect.topLeft(), pixels)
        self.scene = scene
        self.changed.emit()


def _cut(layer: QImage, rect: QRect) -> QImage:
    """A copy of a rectangle; Qt would copy the whole for an empty one."""
    return QImage() if rect.isEmpty() else layer.copy(rect)


def _put(layer: QImage, at: QPoint, pixels: QImage) -> None:
    """Replace pixels of an image."""
    if pixels.isNull() or layer.isNull():
        return
    painter = QPainter(layer)
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
    painter.drawImage(at, pixels)
    painter.end()


def _changed_rect(before: QImage, after: QImage) -> QRect:
    """The smallest rectangle that holds every pixel that differs."""
    differs = (
        layer_pixels(before).view(np.uint32)[..., 0] != layer_pixels(after).view(np.uint32)[..., 0]
    )
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not rows.size:
        return QRect()
    left, top = int(columns[0]), int(rows[0])
    return QRect(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
