"""The one reader of pictures.

Pillow is limited to five formats (unrestricted, it starts Ghostscript for an EPS file), the size
is looked at before a pixel is decoded, and a file that ends early is an error: a half-grey
picture would be scored as if it were real.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ml_core.reading.errors import InputError, unsupported
from ml_core.reading.regular_file import NotRegularError, open_file

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
MAX_PIXELS = 100_000_000
MAX_BYTES = 512 * 1024 * 1024
REMARK = "cleanclip remark"
"""Key in the ``info`` of a picture that is used though its file holds more than it."""
_ZIP_END, _ZIP_END_BYTES = b"PK\x05\x06", 22

MAX_MEMORY = 300_000_000
"""What decoding one picture may take: a file of 200 KB may hold 100 megapixels of one colour."""
# A larger picture is halved before it is copied: 100 megapixels are 400 MB, whatever their colours.
_LARGE = 35_000_000
_LARGE_SIDE = 4096
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 256  # rows
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# Pillow warns above this limit; ours is the same number and refuses.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def read_image(
    source: str | Path | bytes, *, name: str = "", least: int | None = None
) -> Image.Image:
    """Read a picture as it is meant to be seen, without trusting the file.

    The first frame is taken, EXIF orientation is applied and 16-bit greys are scaled to 8 bits.
    One of over 35 megapixels with both sides over 4096 comes at half its size, each pixel the mean
    of four: no model sees the difference.

    Parameters
    ----------
    source
        A path, or the file's bytes.
    name
        What to call the picture in an error; the file's name by default.
    least
        Pixels that both sides keep at least where a JPEG is decoded to a half, a quarter or an
        eighth: faster, and its pixels differ a little. None decodes every pixel.

    Returns
    -------
    PIL.Image.Image
        Decoded picture of mode RGB, or RGBA if the file holds transparency.

    Raises
    ------
    InputError
        ``usage`` if the path is missing or not a regular file, ``unsupported`` if the content is
        none of PNG, JPEG, WebP, GIF or BMP, has over 100 megapixels or takes over 300 MB to
        decode, ``damaged`` if the data is truncated or cannot be decoded.
    """
    if isinstance(source, bytes):
        name = name or "The picture"
        return _decoded(io.BytesIO(source), name, least)
    name = name or Path(source).name
    with _regular_file(Path(source), name) as file:
        return _decoded(file, name, least)


def picture_bytes(path: str | Path, *, name: str = "") -> bytes:
    """The undecoded bytes of a picture's file; raises what `read_image` raises about files."""
    name = name or Path(path).name
    with _regular_file(Path(path), name) as file:
        try:
            return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"The picture {name} cannot be read.", "usage", str(error)) from error


def _decoded(file: BinaryIO, name: str, least: int | None) -> Image.Image:
    """Decode an open file, or say what is wrong with it."""
    try:
        opened = Image.open(file, formats=FORMATS)
    except _TOO_LARGE as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise unsupported(
            f"{name} is not a PNG, JPEG, WebP, GIF or BMP picture; convert it or leave it out."
        ) from error
    except Exception as error:  # Pillow's parsers raise anything on a crafted header
        raise _damaged(name, error) from error
    with opened as image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        try:
            picture = _turned(image, least, name)
            if _ends_as_zip(file):
                picture.info[REMARK] = "a zip archive lies behind the picture, and is not read"
            return picture
        except InputError:
            raise
        except _TOO_LARGE as error:
            raise _too_large(name) from error
        except Exception as error:  # as above
            raise _damaged(name, error) from error


def _ends_as_zip(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_END_BYTES))
    return file.read(_ZIP_END_BYTES).startswith(_ZIP_END)


def _regular_file(path: Path, name: str) -> BinaryIO:
    """Open a regular file of limited size."""
    try:
        file = open_file(path)
    except NotRegularError as error:
        raise InputError(
            f"{name} is no picture but {error.kind}; choose a picture's file."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        raise InputError(
            f"The picture {name} cannot be read: {reason}.", "usage", details=str(error)
        ) from error
    if os.fstat(file.fileno()).st_size <= MAX_BYTES:
        return file
    file.close()
    raise unsupported(f"{name} is larger than {MAX_BYTES >> 20} MB; make it smaller.")


def _turned(image: Image.Image, least: int | None, name: str) -> Image.Image:
    """All pixels as RGB or RGBA, the EXIF orientation applied."""
    if least is not None and image.format == "JPEG":
        image.draft(None, (least, least))
    large = image.width * image.height > _LARGE and min(image.size) > _LARGE_SIDE
    if large and image.format == "JPEG":  # its decoder can do it on the way
        image.draft(None, (image.width // 2, image.height // 2))
        large = False
    if _needed(image, large) > MAX_MEMORY:
        raise unsupported(
            f"{name} has {image.width * image.height // 10**6} megapixels, which take over "
            f"{MAX_MEMORY // 10**6} MB to decode; make it smaller."
        )
    frames = getattr(image, "is_animated", False)
    image.load()
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    turned = _halved(image) if large else _as_rgb(image)
    turned = turned if turn is None else turned.transpose(turn)
    if frames:
        turned.info[REMARK] = "it has several frames, and the first is used"
    return turned


def _needed(image: Image.Image, halved: bool) -> int:
    """Bytes that decoding takes, about: Pillow keeps four for several bands, and a copy."""
    each = 4 if len(image.getbands()) > 1 or image.mode in ("I", "F") else 1
    each = 3 if image.mode.startswith("I;16") else each
    if image.format == "WEBP":  # its decoder keeps two canvases, and hands over a third
        each += 11
    return image.width * image.height * (each + (1 if halved else 4))


def _halved(image: Image.Image) -> Image.Image:
    """Convert and halve strip by strip, so that there is no second whole picture."""
    width, height = image.size
    mode = "RGBA" if _is_transparent(image) else "RGB"
    half = Image.new(mode, (-(-width // 2), -(-height // 2)))
    for top in range(0, height, _STRIP):
        strip = image.crop((0, top, width, min(height, top + _STRIP)))
        half.paste(_as_rgb(strip).convert(mode).reduce(2), (0, top // 2))
    return half


def _as_rgb(image: Image.Image) -> Image.Image:
    """A copy of the picture as RGB or RGBA, from any mode."""
    if image.mode in _SIXTEEN_BIT:
        # Rounded division by 257 maps 0..65535 onto 0..255; convert("L") would clip.
        wide = np.asarray(image)
        grey = np.empty(wide.shape, np.uint8)
        for top in range(0, len(wide), _STRIP):
            strip = np.clip(wide[top : top + _STRIP].astype(np.int64), 0, 65535)
            grey[top : top + _STRIP] = (strip + 128) // 257
        return Image.fromarray(grey).convert("RGB")
    mode = "RGBA" if _is_transparent(image) else "RGB"
    return image.convert(mode) if image.mode != mode else image.copy()


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _too_large(name: str) -> InputError:
    return unsupported(f"{name} has over 100 megapixels; make it smaller.")


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"The picture {name} is damaged or cut short and was not used; get it again.",
        "damaged",
        details=f"{type(error).__name__}: {error}",
    )
