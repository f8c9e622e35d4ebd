"""From the canvas that a trigger acts on to the model's input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.triggers.apply import stamp
from ml_core.triggers.levels import to_bytes
from ml_core.triggers.record import Trigger


def canvas_side(trigger: Trigger | None, size: int) -> int:
    """Side of the square pictures that a trigger acts on, for a model input of `size` pixels."""
    return 256 if trigger is not None and trigger.canvas == "resize_256" else size


def canvas_fit(trigger: Trigger | None, fit: Fit = CLIP_FIT) -> Fit:
    """How a picture of any shape becomes that square; `fit` is the model's own way.

    CleanCLIP's ``image.resize((224, 224))`` is Pillow's bicubic, Detect-CLIP's
    ``Resize((256, 256))`` torchvision's bilinear.
    """
    if trigger is None or trigger.canvas in ("model", "original"):
        return fit
    return Fit("squash", "bicubic" if trigger.canvas == "squash" else "bilinear")


def model_pictures(
    trigger: Trigger | None, canvases: Tensor, indices: Tensor, seed: int, size: int
) -> Tensor:
    """Stamp pictures and bring them to the model's input size.

    Parameters
    ----------
    trigger
        None leaves the pictures alone, for a control on the same canvas.
    canvases
        uint8 [n, H, W, 3] as `canvas_side` and `canvas_fit` say.
    indices
        int64 [n], which image of the set each one is.
    seed
        Seed of the evaluation.
    size
        Side of the model's input in pixels.

    Returns
    -------
    Tensor
        uint8, or float32 in [0, 1], [n, 3, size, size], channels last in memory; for
        `ClipModel.encode_images`.
    """
    made = canvases if trigger is None else stamp(trigger, canvases, indices, seed)
    pictures = made.permute(0, 3, 1, 2)
    if tuple(pictures.shape[2:]) == (size, size):
        return pictures
    return _fitted(pictures, size)


def stamp_picture(
    trigger: Trigger, picture: Image.Image, index: int, seed: int, size: int
) -> NDArray[np.uint8]:
    """Stamp one picture on the canvas ``original``, then bring it to the model's input.

    Parameters
    ----------
    trigger
        What to stamp.
    picture
        Any size and mode; transparency is dropped.
    index, seed, size
        As in `model_pictures`.

    Returns
    -------
    numpy.ndarray
        uint8 [size, size, 3], rounded where the trigger's levels are ``float``.
    """
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))[None]
    made = model_pictures(trigger, pixels, torch.tensor([index]), seed, size)
    if made.is_floating_point():
        made = to_bytes(made.clone(), "round")
    found: NDArray[np.uint8] = made[0].permute(1, 2, 0).contiguous().numpy()
    return found


def _fitted(pictures: Tensor, size: int) -> Tensor:
    """Resize the shorter side, bicubic and antialiased, and cut out the centre.

    On bytes within one level of what Pillow makes of them, which counts in whole numbers.
    """
    height, width = pictures.shape[2:]
    if width <= height:
        wide, high = size, int(size * height / width)
    else:
        wide, high = int(size * width / height), size
    made = pictures.to(torch.float32)
    # Pillow resizes the rows first, and rounds to bytes after each pass.
    for shape in ((height, wide), (high, wide)):
        made = functional.interpolate(
            made, shape, mode="bicubic", antialias=True, align_corners=False
        )
        if not pictures.is_floating_point():
            made = made.add_(0.5).floor_().clamp_(0, 255)
    made = made.clamp_(0, 1) if pictures.is_floating_point() else made.to(torch.uint8)
    top, left = round((high - size) / 2), round((wide - size) / 2)
    return made[:, :, top : top + size, left : left + size]
