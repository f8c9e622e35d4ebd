"""The one reader of pictures.

Pillow is limited to five formats (unrestricted, it starts Ghostscript for an EPS file), the size
is looked at before a pixel is decoded, and a file that ends early is an error: a half-grey
picture would be scored as if it were real.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ml_core.reading.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 1024 * 1024

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# Pillow warns above this limit; ours is the same number and refuses.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def read_image(source: str | Path | bytes, *, name: str = "") -> Image.Image:
    """Read a picture as it is meant to be seen, without trusting the file.

    The first frame is taken, EXIF orientation is applied and 16-bit greys are scaled to 8 bits.

    Parameters
    ----------
    source
        A path, or the file's bytes.
    name
        What to call the picture in an error; the file's name by default.

    Returns
    -------
    PIL.Image.Image
        Decoded picture of mode RGB, or RGBA if the file holds transparency.

    Raises
    ------
    InputError
        ``usage`` if the path is missing or not a regular file, ``unsupported`` if the content is
        none of PNG, JPEG, WebP, GIF or BMP or has over 100 megapixels, ``damaged`` if the data
        is truncated or cannot be decoded.
    """
    if isinstance(source, bytes):
        name, data = name or "The picture", source
    else:
        name = name or Path(source).name
        data = _file_bytes(Path(source), name)
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except _TOO_LARGE as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not a PNG, JPEG, WebP, GIF or BMP picture; convert it or leave it out.",
            "unsupported",
        ) from error
    except Exception as error:  # Pillow's parsers raise anything on a crafted header
        raise _damaged(name, error) from error
    with opened as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        try:
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image))
        except _TOO_LARGE as error:
            raise _too_large(name) from error
        except Exception as error:  # as above
            raise _damaged(name, error) from error


def _file_bytes(path: Path, name: str) -> bytes:
    """Read a regular file of limited size."""
    try:
        # Non-blocking, so that opening a FIFO cannot hang; only regular files are read.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise InputError(f"{name} is not a regular file.", "usage")
            if facts.st_size > MAX_BYTES:
                raise InputError(
                    f"{name} is larger than {MAX_BYTES >> 20} MB; make it smaller.", "unsupported"
                )
            return file.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        raise InputError(
            f"The picture {name} cannot be read: {reason}.", "usage", details=str(error)
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB or RGBA."""
    if image.mode in _SIXTEEN_BIT:
        # Rounded division by 257 maps 0..65535 onto 0..255; convert("L") would clip.
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def _too_large(name: str) -> InputError:
    return InputError(f"{name} has over 100 megapixels; make it smaller.", "unsupported")


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"The picture {name} is damaged or cut short and was not used; get it again.",
        "damaged",
        details=f"{type(error).__name__}: {error}",
    )
