"""A picture made square as a model's preprocessing asks, byte for byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.reading.clip_config import Fit

Canvases = NDArray[np.uint8]

_LONGEST = 8
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def fit_to_canvas(image: Image.Image, size: int, fit: Fit) -> Canvases:
    """Bring a picture to a square as open_clip does, antialiased; transparency is dropped.

    Parameters
    ----------
    image
        A picture of any size and mode.
    size
        Side of the canvas in pixels.
    fit
        How its sides are resized, and the filter.

    Returns
    -------
    numpy.ndarray
        uint8 [size, size, 3].
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    width, height = image.size
    if (width, height) == (size, size):
        return np.asarray(image)
    resample = _FILTERS[fit.interpolation]
    if fit.resize_mode == "shortest":
        return _centre_crop(image, size, resample)
    if fit.resize_mode == "squash":
        return np.asarray(image.resize((size, size), resample))
    ratio = max(width, height) / size
    wide, high = max(1, round(width / ratio)), max(1, round(height / ratio))
    sheet = Image.new("RGB", (size, size))
    sheet.paste(image.resize((wide, high), resample), ((size - wide) // 2, (size - high) // 2))
    return np.asarray(sheet)


def _centre_crop(image: Image.Image, size: int, resample: Image.Resampling) -> Canvases:
    """Resize the shortest side and cut out the centre, byte for byte torchvision's two steps.

    If a picture is longer than `_LONGEST` times its width, only its centre is computed, so that one
    of 20000 x 1 pixels costs no more than any other. Pillow may then take its two passes in the
    other order, and noise differs by a few levels.
    """
    width, height = image.size
    if width <= height:
        wide, high = size, int(size * height / width)
    else:
        wide, high = int(size * width / height), size
    left, top = round((wide - size) / 2), round((high - size) / 2)
    if max(wide, high) <= _LONGEST * size:
        whole = image.resize((wide, high), resample)
        return np.asarray(whole.crop((left, top, left + size, top + size)))
    box = (
        left * width / wide,
        top * height / high,
        min((left + size) * width / wide, width),
        min((top + size) * height / high, height),
    )
    return np.asarray(image.resize((size, size), resample, box=box))
