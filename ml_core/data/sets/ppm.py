"""The one picture format that GTSRB needs and the reader of pictures does not know: binary PPM."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

_MAX_PIXELS = 25_000_000  # GTSRB's have 60 000
_HEAD = re.compile(rb"P6(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+255\s")


def read_ppm(path: Path) -> Image.Image:
    """Read a binary PPM of 8 bits a colour.

    Raises
    ------
    InputError
        ``damaged`` if it is none, is cut short, or has over 25 megapixels.
    """
    file, size = open_regular(path)
    with file:
        head = _HEAD.match(file.read(512))
        if head is None:
            raise InputError(f"{path.name} is no binary PPM picture of 8 bits.", "damaged")
        width, height = int(head[1]), int(head[2])
        if not 0 < width * height <= _MAX_PIXELS or size < head.end() + 3 * width * height:
            raise InputError(
                f"The picture {path.name} is damaged or cut short and was not used; get it again.",
                "damaged",
            )
        file.seek(head.end())
        pixels = np.frombuffer(file.read(3 * width * height), np.uint8)
    return Image.fromarray(pixels.reshape(height, width, 3))
