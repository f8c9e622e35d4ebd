"""From what is on the canvas to a trigger, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QMimeData

from cleanclip_gui.widgets.paint_document import (
    FloatingPatch,
    PaintDocument,
    image_to_rgba,
    rgba_to_image,
)
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError
from ml_core.reading.images import read_image
from ml_core.triggers import Placement, Trigger
from ml_core.triggers.files import load_trigger, save_trigger
from ml_core.triggers.make import (
    badnets_patch,
    blended_noise,
    demo_trigger,
    from_image,
    painted_layer,
)

_NOISE_SIDE = 48
_PICTURE_TYPES = ("image/png", "image/webp", "image/jpeg", "image/bmp", "image/gif")

BUILT_IN: tuple[tuple[str, Callable[[], Trigger]], ...] = (
    ("Demo sticker", demo_trigger),
    ("BadNets noise patch", badnets_patch),
    ("Blended noise", blended_noise),
)


def is_noise(patch: FloatingPatch | None) -> bool:
    """Whether the patch stands for noise that is drawn anew for each image."""
    return patch is not None and isinstance(patch.source, Trigger) and patch.source.kind != "patch"


def trigger_of(document: PaintDocument, placement: Placement, opacity: float) -> Trigger | None:
    """What the canvas, the place and the opacity mean; None when the canvas is empty."""
    patch = document.patch
    if patch is None:
        if not document.is_painted():
            return None
        return replace(painted_layer(document.rgba()), placement=placement, opacity=opacity)
    source = patch.source if isinstance(patch.source, Trigger) else None
    if source is not None and source.kind == "blended":
        return replace(source, ratio=opacity)
    if document.is_painted() and not is_noise(patch):
        layer = painted_layer(document.flattened(), name=f"{patch.name}, painted")
        return replace(layer, placement=placement, opacity=opacity)
    if source is None:
        source = Trigger(kind="patch", name=patch.name, pixels=image_to_rgba(patch.image))
    return replace(
        source,
        size=min(1.0, max(1e-3, patch.size)),
        x=patch.x,
        y=patch.y,
        placement=placement,
        opacity=opacity,
    )


def patch_of(trigger: Trigger) -> FloatingPatch:
    """A floating patch that stands for the trigger on the canvas."""
    overlay = trigger.kind == "blended"
    if trigger.pixels is not None:
        image = rgba_to_image(trigger.pixels)
    else:
        noise = np.random.default_rng(trigger.seed).integers(
            0, 256, (_NOISE_SIDE, _NOISE_SIDE, 4), np.uint8
        )
        noise[..., 3] = 255
        image = rgba_to_image(noise)
    return FloatingPatch(
        image=image,
        name=trigger.name,
        x=min(1.0, max(0.0, trigger.x)),
        y=min(1.0, max(0.0, trigger.y)),
        size=1.0 if overlay else trigger.size,
        rotation=-trigger.rotation,
        overlay=overlay,
        source=trigger,
    )


def strength_of(trigger: Trigger) -> float:
    """What the opacity slider shows for it."""
    return trigger.ratio if trigger.kind == "blended" else trigger.opacity


def from_mime(mime: QMimeData) -> Trigger | None:
    """The trigger that was dropped or pasted: a local file, or a picture's bytes; else None.

    The bytes go through the product's own image reader, never through Qt's.

    Raises
    ------
    InputError
        If the file or the picture cannot be read.
    """
    for url in mime.urls():
        if url.isLocalFile():
            return load_trigger(url.toLocalFile())
    for kind in _PICTURE_TYPES:
        if mime.hasFormat(kind):
            data = bytes(mime.data(kind).data())
            return from_image(read_image(data), name="Pasted")
    return None


def library_folder() -> Path:
    """Where saved triggers lie."""
    folder = data_dir() / "triggers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def saved_triggers() -> list[tuple[str, Path]]:
    """Names and files of the saved triggers."""
    return [(path.stem, path) for path in sorted(library_folder().glob("*.json"))]


def save_named(trigger: Trigger, name: str) -> Path:
    """Save a trigger in the library under a name.

    Raises
    ------
    InputError
        If the name has no letter or digit, or the disk is full.
    """
    stem = re.sub(r"[^\w\- ]+", "", name).strip()[:80]
    if not stem:
        raise InputError("Give the trigger a name with at least one letter or digit.", "usage")
    _, path = save_trigger(replace(trigger, name=stem), library_folder() / stem)
    return path
