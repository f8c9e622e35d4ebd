"""What is painted: a layer of pixels and the scene above it; every edit is one undo step.

It becomes a trigger record, and a trigger record becomes paint, patch and overlay again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPoint, QRect, Signal
from PySide6.QtGui import QImage, QPainter, QTransform

from cleanclip_gui.studio.canvas.scene import (
    FloatingPatch,
    Scene,
    Snapshot,
    blank,
    bounds,
    is_movable,
    is_picture,
    layer_pixels,
    moved,
    paint_patch,
    painted_rect,
    patch_of,
    rendered,
    resized,
    scaled,
    strength_field,
)
from cleanclip_gui.widgets.pictures import image_to_rgba
from cleanclip_gui.widgets.undo import UndoStack, UndoStep
from ml_core.triggers import Trigger, painted_layer

Part = Literal["patch", "overlay"]
UNDO_STEPS = 200
_TRIGGER_FIELDS = ("canvas", "levels", "jpeg", "text_place")  # not a part's, the whole trigger's
_DEFAULTS: dict[str, Any] = {"canvas": "model", "levels": "float", "jpeg": None, "text": ""}


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
        self.text, self._document = text, document
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
        """Bring back what was there before the edit."""
        self._document._restore(self.rect, self.pixels[0], self._scenes[0])

    def redo(self) -> None:
        """Bring back what was there after it."""
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

    def trigger(self) -> Trigger | None:
        """What the canvas holds; None when it is empty.

        Paint, patch and overlay together make a combined trigger. Paint and a picture that go to a
        place together are one picture.
        """
        scene = self.scene
        parts = self._parts()
        whole: dict[str, Any] = {**dict(scene.trigger_fields), "text": scene.text}
        if not parts:
            if not scene.text:
                return None
            place = whole.get("text_place", "prefix")
            return Trigger(kind="prompt", name="Word", text=scene.text, text_place=place)
        if len(parts) == 1:
            return replace(parts[0], **whole)
        names = " + ".join(part.name for part in parts if part.name)
        bare = tuple(replace(part, **_DEFAULTS) for part in parts)
        return Trigger(kind="combined", name=names[:200], parts=bare, **whole)

    def _parts(self) -> list[Trigger]:
        """Overlay, paint and patch, in the order in which they are applied."""
        scene, patch = self.scene, self.patch
        painted = self.is_painted()
        parts: list[Trigger] = []
        if scene.overlay is not None:
            parts.extend(_overlay_parts(scene.overlay))
        if patch is not None and painted and is_picture(patch) and scene.placement != "fixed":
            layer = painted_layer(self.flattened(), name=f"{patch.name}, painted")
            return [*parts, _placed(layer, scene)]
        if painted:
            parts.append(_placed(painted_layer(self.rgba()), scene))
        if patch is not None:
            parts.append(_patch_trigger(patch, scene))
        return parts

    def put_on(self, trigger: Trigger, *, add: bool = False) -> None:
        """Put a trigger on the canvas, or add it to what is there, as one undo step."""
        text = f"Use {trigger.name}" if trigger.name else "Use trigger"
        self.begin(f"Add {trigger.name or 'trigger'}" if add else text)
        if not add and self.is_painted():
            self.pixels()[...] = 0
        scene = self.scene
        trigger_fields = tuple((name, getattr(trigger, name)) for name in _TRIGGER_FIELDS)
        changes: dict[str, Any] = {"text": trigger.text, "trigger_fields": trigger_fields}
        if add:
            changes = {"text": trigger.text or scene.text}
        else:
            changes |= {"patch": None, "overlay": None, "opacity": 1.0}
        if trigger.kind == "prompt":
            pass
        elif is_movable(trigger):
            changes |= {"patch": patch_of(trigger), "placement": trigger.placement}
            changes["opacity"] = trigger.opacity
        else:
            changes["overlay"] = patch_of(trigger)
        self.show_scene(replace(scene, **changes))
        self.commit()

    def change_part(self, part: Part, field: str, value: Any) -> None:
        """Change a parameter of patch or overlay; one field in a row is one undo step.

        Raises
        ------
        InputError
            If the value does not go with the others.
        """
        there = self.scene.patch if part == "patch" else self.scene.overlay
        if there is None or not isinstance(there.source, Trigger):
            return
        source = there.source
        if part == "patch":
            source = _patch_trigger(there, self.scene)
        elif source.kind != "combined":
            strength: dict[str, Any] = {strength_field(source): there.strength}
            source = replace(source, **strength)
        changed = replace(source, **{field: value})
        self.set_scene(f"Change {field}", merges=True, **{part: patch_of(changed)})

    def change_trigger(self, field: str, value: Any) -> None:
        """Change a field of the whole trigger; changes of one field in a row are one undo step.

        Raises
        ------
        InputError
            If the value does not go with the others, such as a JPEG without whole levels.
        """
        scene = self.scene
        fields: dict[str, Any] = {**dict(scene.trigger_fields), field: value}
        if field == "levels" and value == "float":
            fields["jpeg"] = None  # bytes are what a JPEG holds
        Trigger(kind="nashville", text=scene.text, **fields)  # checks them before they are used
        self.set_scene(f"Change {field}", merges=True, trigger_fields=tuple(fields.items()))

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
    return bounds(
        layer_pixels(before).view(np.uint32)[..., 0] != layer_pixels(after).view(np.uint32)[..., 0]
    )


def _overlay_parts(overlay: FloatingPatch) -> list[Trigger]:
    source = overlay.source
    assert isinstance(source, Trigger)
    if source.kind == "combined":
        return list(source.parts)
    strength: dict[str, Any] = {strength_field(source): overlay.strength}
    return [replace(source, **strength)]


def _placed(trigger: Trigger, scene: Scene) -> Trigger:
    changes: dict[str, Any] = {"placement": scene.placement, "opacity": scene.opacity}
    return replace(trigger, **changes)


def _patch_trigger(patch: FloatingPatch, scene: Scene) -> Trigger:
    """The patch as a trigger, at its present place, size and angle."""
    source = patch.source
    if not isinstance(source, Trigger):
        source = Trigger(kind="patch", name=patch.name, pixels=image_to_rgba(patch.image))
    size = min(1.0, max(1e-3, patch.size))
    moved = replace(source, size=size, x=patch.x, y=patch.y, rotation=-patch.rotation or 0.0)
    return _placed(moved, scene)
