"""What a trigger has besides painted pixels: patch, overlay, placement, the other snapshot.

Also how these are put together with the painted layer, and images turned into arrays and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QImage, QPainter, QTransform

from cleanclip_gui.widgets.pictures import rgba_to_image
from ml_core.triggers import Trigger

LAYER_FORMAT = QImage.Format.Format_RGBA8888_Premultiplied
MIN_PATCH = 0.03
SLOTS = ("A", "B")
_NOISE_SIDE = 48
_PREVIEW_SIDE = 224


@dataclass(frozen=True, eq=False)
class FloatingPatch:
    """An uploaded or stamped picture above the painted layer.

    ``x`` and ``y`` are its centre and ``size`` its longer side, in fractions of the canvas;
    ``rotation`` is in degrees, clockwise as Qt turns. ``overlay`` covers the whole canvas and
    cannot be moved; ``strength`` is its weight, 0 to 1. ``source`` is the trigger that it shows,
    or whatever else its maker needs to recognise it.
    """

    image: QImage
    name: str
    x: float = 0.5
    y: float = 0.5
    size: float = 0.2
    rotation: float = 0.0
    overlay: bool = False
    strength: float = 1.0
    source: object = None

    def rect(self, canvas: int) -> QRectF:
        """Where it lies on a canvas of that many pixels, before rotation."""
        longer = max(self.image.width(), self.image.height(), 1)
        width = self.image.width() / longer * self.size * canvas
        height = self.image.height() / longer * self.size * canvas
        return QRectF(self.x * canvas - width / 2, self.y * canvas - height / 2, width, height)

    def turn(self, canvas: int) -> QTransform:
        """How the canvas is turned about the patch's centre."""
        centre = self.rect(canvas).center()
        turned = QTransform().translate(centre.x(), centre.y()).rotate(self.rotation)
        return turned.translate(-centre.x(), -centre.y())


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Layer and scene of the snapshot that is not on the canvas."""

    layer: QImage
    scene: Scene


@dataclass(frozen=True, eq=False)
class Scene:
    """All of a trigger besides its painted pixels.

    ``slot`` is the snapshot on the canvas, A or B; ``other`` the one that is not, None while it
    was never used. ``text`` is a word put into every prompt; ``trigger_fields`` are names and
    values of fields that cannot be seen on the canvas, such as the levels that pixels are
    rounded to.
    """

    patch: FloatingPatch | None = None
    overlay: FloatingPatch | None = None
    placement: str = "fixed"
    opacity: float = 1.0
    text: str = ""
    trigger_fields: tuple[tuple[str, Any], ...] = ()
    slot: str = "A"
    other: Snapshot | None = None


def blank(size: int) -> QImage:
    """A transparent layer."""
    layer = QImage(size, size, LAYER_FORMAT)
    layer.fill(Qt.GlobalColor.transparent)
    return layer


def scaled(layer: QImage, size: int) -> QImage:
    """A layer for a canvas of another size."""
    if layer.width() == size:
        return layer.copy()
    return layer.scaled(
        size, size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    ).convertToFormat(LAYER_FORMAT)


def layer_pixels(layer: QImage) -> NDArray[np.uint8]:
    """The layer's own pixels, uint8 [S, S, 4], premultiplied; not to be written to."""
    return np.frombuffer(layer.constBits(), np.uint8).reshape(layer.height(), layer.width(), 4)


def painted_rect(layer: QImage) -> QRect:
    """The smallest rectangle that holds all that is not transparent; empty if nothing is."""
    return bounds(layer_pixels(layer)[..., 3] > 0)


def bounds(mask: NDArray[np.bool_]) -> QRect:
    """The smallest rectangle that holds all that is set in a mask [H, W]; empty if nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return QRect()
    left, top = int(columns[0]), int(rows[0])
    return QRect(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)


def moved(patch: FloatingPatch, x: float, y: float) -> FloatingPatch:
    """The patch with its centre at (x, y), kept on the canvas."""
    return replace(patch, x=min(1.0, max(0.0, x)), y=min(1.0, max(0.0, y)))


def resized(patch: FloatingPatch, factor: float) -> FloatingPatch:
    """The patch ``factor`` times as large about its centre."""
    return replace(patch, size=min(1.0, max(MIN_PATCH, patch.size * factor)))


def turned(patch: FloatingPatch, degrees: float) -> FloatingPatch:
    """The patch turned clockwise to an angle, kept in (-180, 180]."""
    return replace(patch, rotation=180 - (180 - degrees) % 360)


def paint_patch(painter: QPainter, patch: FloatingPatch, canvas: int) -> None:
    """Draw the patch where it lies on a canvas of that many pixels."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.setTransform(patch.turn(canvas), True)
    painter.drawImage(patch.rect(canvas), patch.image)
    painter.restore()


def rendered(layer: QImage, scene: Scene) -> QImage:
    """Overlay, paint and patch as they lie on the canvas, at their strengths."""
    top = layer.copy()
    if scene.patch is not None:
        painter = QPainter(top)
        paint_patch(painter, scene.patch, layer.width())
        painter.end()
    if scene.overlay is None and scene.opacity == 1:
        return top
    image = QImage(top.size(), top.format())
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    if scene.overlay is not None:
        painter.setOpacity(scene.overlay.strength)
        painter.drawImage(QRectF(image.rect()), scene.overlay.image)
    painter.setOpacity(scene.opacity)
    painter.drawImage(0, 0, top)
    painter.end()
    return image


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
    if isinstance(source, Trigger):
        source = replace(source, mirrored=not source.mirrored)
    flipped = replace(patch, image=_flipped(patch.image), source=source)
    return turned(flipped, (180.0 - patch.rotation) if upright else -patch.rotation)


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
