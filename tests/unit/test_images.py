"""The reader of pictures, against files made to mislead it."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.reading import images, read_image


def png_bytes(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "zip"])
def test_what_a_file_holds_besides_its_picture_is_told(tmp_path, kind):
    frames = [Image.new("RGB", (5, 3), colour) for colour in ("red", "blue", "green")]
    suffix = "png" if kind == "zip" else kind.lower()
    frames[0].save(tmp_path / f"alone.{suffix}")
    frames[0].save(tmp_path / f"more.{suffix}", save_all=kind != "zip", append_images=frames[1:])
    words = "it has several frames, and the first is used"
    if kind == "zip":
        words = "a zip archive lies behind the picture, and is not read"
        with zipfile.ZipFile(tmp_path / "more.png", "a") as archive:
            archive.writestr("x.py", "x")
    images = open_images(ImageSpec(kind="folder", path=str(tmp_path)))
    assert images.problems == ()
    images.canvas([0, 1], 8)
    assert images.problems == (f"Used, an odd picture (1): more.{suffix}: {words}",)
    assert np.asarray(read_image(tmp_path / f"more.{suffix}"))[0, 0].argmax() == 0


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = read_image(png_bytes(Image.fromarray(values)))
    assert [image.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_each_orientation_is_pillows(orientation):
    image = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3))
    image.getexif()[0x0112] = orientation
    data = png_bytes(image, exif=image.getexif())
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(read_image(data)), np.asarray(wanted))


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "LA", "P", "I;16", "1", "JPEG"])
def test_a_huge_picture_is_halved(monkeypatch, kind):
    mode = "RGB" if kind == "JPEG" else kind
    rows = np.tile(np.linspace(0, 255, 601).astype(np.uint8)[:, None], (1, 800))
    image = Image.fromarray(rows).convert(mode) if mode != "I;16" else None
    image = image or Image.fromarray(rows.astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if kind == "JPEG" else "PNG")
    whole = read_image(buffer.getvalue())
    monkeypatch.setattr(images, "_LARGE", 10_000)
    monkeypatch.setattr(images, "_LARGE_SIDE", 100)
    halved = read_image(buffer.getvalue())
    assert (halved.mode, halved.size) == (whole.mode, (400, 301))
    wanted = np.asarray(whole.reduce(2), float)
    assert np.abs(np.asarray(halved, float) - wanted).max() <= (0 if kind != "JPEG" else 12)
