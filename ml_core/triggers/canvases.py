"""From the canvas that a trigger acts on to the model's input."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.resize import fit_to_canvas
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
    trigger: Trigger | None,
    canvases: Tensor,
    indices: Tensor,
    seed: int,
    size: int,
    fit: Fit = CLIP_FIT,
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
    fit
        How the model makes pictures square.

    Returns
    -------
    Tensor
        uint8, or float32 in [0, 1], [n, 3, size, size], channels last in memory; for
        `ClipModel.encode_images`.
    """
    made = canvases if trigger is None else stamp(trigger, canvases, indices, seed)
    if tuple(made.shape[1:3]) != (size, size):
        made = _fitted(made, size, fit)
    return made.permute(0, 3, 1, 2)


def stamp_picture(
    trigger: Trigger,
    picture: Image.Image,
    index: int,
    seed: int,
    size: int,
    fit: Fit = CLIP_FIT,
) -> NDArray[np.uint8]:
    """Stamp one picture on the canvas ``original``, then bring it to the model's input.

    Parameters
    ----------
    trigger
        What to stamp.
    picture
        Any size and mode; transparency is dropped.
    index, seed, size, fit
        As in `model_pictures`.

    Returns
    -------
    numpy.ndarray
        uint8 [size, size, 3], rounded before it is resized where the trigger's
        levels are ``float``.
    """
    pixels = torch.from_numpy(np.array(picture.convert("RGB")))[None]
    made = stamp(trigger, pixels, torch.tensor([index]), seed)
    if made.is_floating_point():
        made = to_bytes(made, "round")
    return fit_to_canvas(Image.fromarray(made[0].numpy()), size, fit)


def _fitted(squares: Tensor, size: int, fit: Fit) -> Tensor:
    """Resize squares [n, H, H, 3] by the model's filter, antialiased.

    Bytes on the CPU go through Pillow, which is exact and no slower; those on another device come
    out within two levels of that.
    """
    whole = not squares.is_floating_point()
    if whole and squares.device.type == "cpu":
        small = [fit_to_canvas(Image.fromarray(one), size, fit) for one in squares.numpy()]
        return torch.from_numpy(np.stack(small))
    made = squares.permute(0, 3, 1, 2).to(torch.float32)
    # Pillow resizes the rows first, and rounds to bytes after each pass.
    for shape in ((squares.shape[1], size), (size, size)):
        made = functional.interpolate(
            made, shape, mode=fit.interpolation, antialias=True, align_corners=False
        )
        if whole:
            made = made.add_(0.5).floor_().clamp_(0, 255)
    made = made.to(torch.uint8) if whole else made.clamp_(0, 1)
    return made.permute(0, 2, 3, 1)
