"""From what is on the canvas to a trigger record, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage, QTransform

from cleanclip_gui.studio.canvas.document import PaintDocument
from cleanclip_gui.studio.canvas.scene import FloatingPatch, Scene
from cleanclip_gui.widgets.pictures import image_to_rgba, rgba_to_image
from ml_core.triggers import Trigger, painted_layer

Part = Literal["patch", "overlay"]
_TRIGGER_FIELDS = ("canvas", "levels", "jpeg", "text_place")  # not a part's, the whole trigger's
_DEFAULTS: dict[str, Any] = {"canvas": "model", "levels": "float", "jpeg": None, "text": ""}
_NOISE_SIDE = 48
_PREVIEW_SIDE = 224


def trigger_of(document: PaintDocument) -> Trigger | None:
    """What the canvas holds; None when it is empty.

    Paint, patch and overlay together make a combined trigger. Paint and a picture that go to a
    place together are one picture.
    """
    scene = document.scene
    parts = _parts(document)
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


def _parts(document: PaintDocument) -> list[Trigger]:
    """Overlay, paint and patch, in the order in which they are applied."""
    scene, patch = document.scene, document.patch
    painted = document.is_painted()
    parts: list[Trigger] = []
    if scene.overlay is not None:
        parts.extend(_overlay_parts(scene.overlay))
    if patch is not None and painted and is_picture(patch) and scene.placement != "fixed":
        layer = painted_layer(document.flattened(), name=f"{patch.name}, painted")
        return [*parts, _placed(layer, scene)]
    if painted:
        parts.append(_placed(painted_layer(document.rgba()), scene))
    if patch is not None:
        parts.append(_patch_trigger(patch, scene))
    return parts


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


def put_on(document: PaintDocument, trigger: Trigger, *, add: bool = False) -> None:
    """Put a trigger on the canvas in the place of what is there, or beside it: one undo step."""
    text = f"Use {trigger.name}" if trigger.name else "Use trigger"
    document.begin(f"Add {trigger.name or 'trigger'}" if add else text)
    if not add and document.is_painted():
        document.pixels()[...] = 0
    scene = document.scene
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
    document.show_scene(replace(scene, **changes))
    document.commit()


def change_part(document: PaintDocument, part: Part, field: str, value: Any) -> None:
    """Change one parameter of patch or overlay; changes of one field in a row are one undo step.

    Raises
    ------
    InputError
        If the value does not go with the others.
    """
    there = document.scene.patch if part == "patch" else document.scene.overlay
    if there is None or not isinstance(there.source, Trigger):
        return
    source = there.source
    if part == "patch":
        source = _patch_trigger(there, document.scene)
    elif source.kind != "combined":
        strength: dict[str, Any] = {strength_field(source): there.strength}
        source = replace(source, **strength)
    changed = replace(source, **{field: value})
    document.set_scene(f"Change {field}", merges=True, **{part: patch_of(changed)})


def change_trigger(document: PaintDocument, field: str, value: Any) -> None:
    """Change a field of the whole trigger; changes of one field in a row are one undo step.

    Raises
    ------
    InputError
        If the value does not go with the others, such as a JPEG without whole levels.
    """
    scene = document.scene
    fields: dict[str, Any] = {**dict(scene.trigger_fields), field: value}
    if field == "levels" and value == "float":
        fields["jpeg"] = None  # bytes are what a JPEG holds
    Trigger(kind="nashville", text=scene.text, **fields)  # checks them before they are used
    document.set_scene(f"Change {field}", merges=True, trigger_fields=tuple(fields.items()))


def patch_of(trigger: Trigger) -> FloatingPatch:
    """What stands for the trigger on the canvas."""
    movable = is_movable(trigger)
    return FloatingPatch(
        image=preview(trigger),
        name=trigger.name,
        x=trigger.x,
        y=trigger.y,
        size=trigger.size if movable else 1.0,
        rotation=(-trigger.rotation or 0.0) if movable else 0.0,
        overlay=not movable,
        strength=1.0 if movable else float(getattr(trigger, strength_field(trigger))),
        source=trigger,
    )


def mirrored(patch: FloatingPatch, *, upright: bool) -> FloatingPatch:
    """The patch with left and right exchanged or, ``upright``, top and bottom."""
    source = patch.source
    turned = (180.0 - patch.rotation) if upright else -patch.rotation
    turned = 180 - (180 - turned) % 360
    if isinstance(source, Trigger):
        source = replace(source, mirrored=not source.mirrored)
    return replace(patch, image=_flipped(patch.image), rotation=turned, source=source)


def is_movable(trigger: Trigger) -> bool:
    """Whether it can be placed, rather than covering the canvas."""
    return trigger.kind in ("patch", "badnets") or (trigger.kind == "stripes" and trigger.size < 1)


def is_picture(patch: FloatingPatch) -> bool:
    """Whether the patch is a picture of bytes, rather than noise or numbers."""
    source = patch.source
    return not isinstance(source, Trigger) or source.pixels is not None


def strength_field(trigger: Trigger) -> str:
    """The field that says how strong a trigger over the whole canvas is."""
    mixes = trigger.kind in ("blended", "stripes")
    return "ratio" if mixes or (trigger.kind == "sig" and trigger.mix == "blend") else "opacity"


def preview(trigger: Trigger) -> QImage:
    """A picture of the trigger for the canvas; what cannot be drawn alone is transparent."""
    if trigger.pixels is not None:
        image = rgba_to_image(trigger.pixels)
    elif trigger.array is not None and trigger.kind != "wanet":
        image = rgba_to_image(_array_picture(trigger))
    elif trigger.kind in ("badnets", "blended", "stripes"):
        image = rgba_to_image(_noise(trigger))
    elif trigger.kind == "sig":
        image = rgba_to_image(_sine(trigger))
    else:
        image = QImage(1, 1, QImage.Format.Format_RGBA8888)
        image.fill(0)
    return _flipped(image) if trigger.mirrored else image


def _flipped(image: QImage) -> QImage:
    """Left and right exchanged."""
    return image.transformed(QTransform.fromScale(-1, 1))


def _array_picture(trigger: Trigger) -> NDArray[np.uint8]:
    assert trigger.array is not None
    rgba = np.full((*trigger.array.shape[:2], 4), 255, np.uint8)
    rgba[..., :3] = np.rint(np.clip(trigger.array, 0, 1) * 255)
    if trigger.mask is not None:
        rgba[..., 3] = np.rint(trigger.mask.mean(-1) * 255)
    elif trigger.where == "nonzero":
        rgba[..., 3] = 255 * (trigger.array != 0).any(-1)
    return rgba


def _noise(trigger: Trigger) -> NDArray[np.uint8]:
    random = np.random.default_rng(trigger.seed % 2**32)
    noise = np.full((_NOISE_SIDE, _NOISE_SIDE, 4), 255, np.uint8)
    if trigger.kind == "stripes":
        columns = random.integers(0, 2, (1, _NOISE_SIDE, 3))
        noise[..., :3] = 255 * np.repeat(columns, _NOISE_SIDE, 0)
    else:
        noise[..., :3] = random.integers(0, 256, (_NOISE_SIDE, _NOISE_SIDE, 3))
    return noise


def _sine(trigger: Trigger) -> NDArray[np.uint8]:
    side = _PREVIEW_SIDE
    x = np.arange(side) / side
    wave = trigger.amplitude * np.sin(2 * np.pi * trigger.frequency * x / trigger.span)
    rgba = np.full((side, side, 4), 255, np.uint8)
    rgba[..., :3] = np.rint(np.clip(0.5 + wave, 0, 1) * 255)[None, :, None]
    if trigger.mix == "add":
        rgba[..., 3] = np.rint(255 * np.abs(wave))[None, :]
        rgba[..., :3] = np.where(wave > 0, 255, 0)[None, :, None]
    return rgba
