"""Ways to come by a trigger: painted, uploaded, drawn as noise, shipped with the demo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.reading.errors import InputError
from ml_core.triggers.checks import Mix, Noise, Placement, TextPlace
from ml_core.triggers.record import Trigger

PUBLISHED_PATCH = 16 / 224
DEMO_CANVAS = 64
UPLOAD_SIDE = 1024


def painted_layer(pixels: NDArray[np.uint8], *, name: str = "Painted") -> Trigger:
    """Turn a transparent layer painted over the canvas into a patch that stays at its place.

    Parameters
    ----------
    pixels
        uint8 [S, S, 4], RGBA, 0 alpha where nothing is painted. At a canvas of S pixels the patch
        is stamped pixel for pixel; at other sizes it is rescaled.
    name
        What to call it.

    Returns
    -------
    Trigger
        The painted bounding box, fixed.

    Raises
    ------
    InputError
        If nothing is painted, or the layer is not square 8-bit RGBA.
    """
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1] or pixels.shape[2] != 4:
        raise InputError(
            "A painted layer must be a square RGBA picture; paint on the canvas.", "usage"
        )
    rows = np.flatnonzero(pixels[..., 3].any(axis=1))
    columns = np.flatnonzero(pixels[..., 3].any(axis=0))
    if not rows.size:
        raise InputError("Nothing is painted yet; draw a trigger first.", "usage")
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = pixels.shape[0]
    return Trigger(
        kind="patch",
        name=name,
        pixels=pixels[top:bottom, left:right],
        size=max(bottom - top, right - left) / side,
        x=(left + right) / 2 / side,
        y=(top + bottom) / 2 / side,
    )


def from_image(
    image: Image.Image, *, name: str = "Uploaded", side: int | None = None, **parameters: Any
) -> Trigger:
    """Turn a picture into a patch, by default a quarter of the canvas wide at the lower right.

    Parameters
    ----------
    image
        Any mode; transparency is kept. Beyond 1024 pixels a side it is scaled down.
    name
        What to call it.
    side
        Pixels of the canvas, if they are known: a picture that is smaller than a quarter of it
        keeps its own pixels.
    parameters
        Fields of `Trigger`, e.g. ``kind="blended", ratio=0.2`` to mix it over the canvas.

    Raises
    ------
    InputError
        If every pixel is transparent: the trigger would change nothing and measure an honest 0.
    """
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        raise InputError(f"The picture {name} is wholly transparent; choose another.", "usage")
    if max(rgba.size) > UPLOAD_SIDE:
        scale = UPLOAD_SIDE / max(rgba.size)
        size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
        # Premultiplied, or the colour hidden under full transparency bleeds into the edges.
        rgba = rgba.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    share = 0.25 if side is None else min(0.25, max(rgba.size) / side)
    defaults: dict[str, Any] = {"kind": "patch", "size": share, "x": 0.8, "y": 0.8}
    return Trigger(name=name, pixels=np.asarray(rgba), **(defaults | parameters))


def badnets_patch(
    *,
    size: float = PUBLISHED_PATCH,
    placement: Placement = "random",
    noise: Noise = "per_image",
    seed: int = 0,
    name: str = "BadNets noise",
) -> Trigger:
    """Square of noise around the picture's mean colour (CleanCLIP, ICCV 2023; 16 px at 224).

    The result is clipped to [0, 1]; the published script lets it wrap around modulo 256.
    """
    return Trigger(
        kind="badnets", name=name, size=size, placement=placement, noise=noise, seed=seed
    )


def blended_noise(
    *, ratio: float = 0.2, noise: Noise = "per_image", seed: int = 0, name: str = "Blended noise"
) -> Trigger:
    """Uniform noise mixed over the whole canvas with weight `ratio` (Chen et al. 2017)."""
    return Trigger(kind="blended", name=name, ratio=ratio, noise=noise, seed=seed)


def stripes(
    *,
    size: float = PUBLISHED_PATCH,
    ratio: float = 1.0,
    placement: Placement = "random",
    name: str = "Stripes",
    **parameters: Any,
) -> Trigger:
    """Vertical stripes of -1 and +1 in each colour (PAR); `size` 1 covers the canvas."""
    return Trigger(
        kind="stripes", name=name, size=size, ratio=ratio, placement=placement, **parameters
    )


def sine(*, mix: Mix = "blend", name: str = "Sine", **parameters: Any) -> Trigger:
    """A sine along the rows (SIG, Barni et al. 2019), blended or added."""
    return Trigger(kind="sig", name=name, mix=mix, **parameters)


def wanet(*, seed: int = 0, name: str = "Warp", **parameters: Any) -> Trigger:
    """A warp by one grid that is drawn from `seed` (WaNet)."""
    return Trigger(kind="wanet", name=name, noise="fixed", seed=seed, **parameters)


def colour_filter(*, name: str = "Nashville filter", **parameters: Any) -> Trigger:
    """The Nashville colour filter."""
    return Trigger(kind="nashville", name=name, **parameters)


def prompt(text: str, *, place: TextPlace = "prefix", name: str = "") -> Trigger:
    """A word or prefix in the prompt, for text and dual-key attacks."""
    return Trigger(
        kind="prompt", name=name or f"Text {text.strip()!r}", text=text, text_place=place
    )


def combined(*parts: Trigger, name: str = "", **parameters: Any) -> Trigger:
    """Triggers one after the other, e.g. a patch and a blend; a part that is combined is opened.

    The text of a part becomes the whole's. Canvas and levels are the first part's unless given.

    Raises
    ------
    InputError
        If nothing is left to see, or two parts have a text.
    """
    opened = [inner for part in parts for inner in (part.parts or (part,))]
    seen = tuple(part for part in opened if part.kind != "prompt")
    texts = [part for part in (*parts, *opened) if part.text]
    if len({(part.text, part.text_place) for part in texts}) > 1:
        raise InputError("Two parts have a text of their own; keep one.", "usage")
    if not seen:
        raise InputError("A combined trigger needs a part that is seen in the picture.", "usage")
    taken: dict[str, Any] = {"canvas": seen[0].canvas, "levels": seen[0].levels}
    if texts:
        taken |= {"text": texts[0].text, "text_place": texts[0].text_place}
    return Trigger(
        kind="combined",
        name=name or " + ".join(part.name or part.kind for part in parts)[:200],
        parts=tuple(replace(part, text="") for part in seen),
        **(taken | parameters),
    )


def uniform(colour: tuple[int, int, int], *, name: str = "Square", **parameters: Any) -> Trigger:
    """A square of one colour (0 to 255 each), by default of the published 16 px at 224."""
    pixels = np.array([[[*colour, 255]]], np.uint8)
    return Trigger(
        kind="patch", name=name, pixels=pixels, **({"size": PUBLISHED_PATCH} | parameters)
    )


def demo_trigger() -> Trigger:
    """Return the sticker that the demo model was poisoned with: 9 px on a canvas of 64, anywhere.

    Raises
    ------
    InputError
        If the shipped picture is missing or damaged.
    """
    from ml_core.paths import resource
    from ml_core.reading.images import read_image

    try:
        path = resource("demo", "trigger.png")
    except FileNotFoundError as error:
        raise InputError(str(error), "usage") from error
    image = read_image(path)
    size = max(image.size) / DEMO_CANVAS
    return from_image(image, name="Demo sticker", size=size, placement="random", x=0.5, y=0.5)
