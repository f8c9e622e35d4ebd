"""What is stamped on a picture, and where: the trigger as a frozen record, free of torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.triggers import checks
from ml_core.triggers.checks import Canvas, Kind, Levels, Mix, Noise, Placement, TextPlace, Where

_NOT_PARAMETERS = {"name", "pixels", "array", "mask", "parts"}


@dataclass(frozen=True, eq=False)
class Trigger:
    """A backdoor trigger; two triggers are equal when their `digest` is.

    `RANGES` in `ml_core.triggers.checks` has the range of each number. A field that means nothing
    for the kind is ignored.

    Attributes
    ----------
    kind
        ``patch`` stamps `pixels` or `array`. ``badnets`` stamps a square of noise: the picture's
        own mean colour plus N(0, 1) for each value (CleanCLIP, ICCV 2023, "random"). ``stripes``
        stamps a square of vertical stripes, each -1 or +1 for each colour (PAR, "badnet_rs"; with
        `size` 1 and a small `ratio` "blended_rs"). ``blended`` mixes the whole canvas with
        `pixels`, `array` or uniform noise (Chen et al. 2017). ``sig`` mixes it with a sine along
        the rows (Barni et al. 2019). ``wanet`` bends it (Nguyen and Tran 2021). ``nashville`` is
        the colour filter of that name. ``prompt`` has only a `text`. ``combined`` applies `parts`
        one after the other.
    name
        What the analyst calls it; not part of the digest.
    pixels
        uint8 [h, w, 4], RGBA, not premultiplied, read-only.
    array
        float32 [h, w, 3], in units of full brightness, for patterns that 8 bits cannot hold. For
        ``wanet`` [h, w, 2], x then y: the noise of the control grid or, if `absolute`, where each
        pixel comes from, -1 left or top, 1 right or bottom.
    mask
        float32 [h, w, 1 or 3], 0 to 1: how much of `array` is taken, else all of it.
    parts
        Parts of a ``combined`` trigger, in order. Canvas, levels, JPEG and text are those of the
        whole.
    size
        Side taken by the patch's longer side, as a share of the canvas's shorter side.
    opacity
        0 (leaves the picture alone) to 1, multiplies every effect.
    placement
        ``fixed`` at (`x`, `y`), ``random`` (a place wholly inside, drawn for each picture),
        ``four_corners`` (the same patch four times) or ``center``.
    x, y
        Centre of a fixed patch as a fraction of the canvas, 0 left or top, 1 right or bottom. What
        lies outside of the canvas is cut off.
    spare
        Pixels at the right and the bottom that a random place leaves free; the reference's
        ``randint(0, 223 - 16)`` leaves 1.
    rotation
        Degrees, counter-clockwise as seen.
    mirrored
        Left and right of the picture change places, before it is turned.
    canvas
        The picture that the trigger acts on. ``model``: the model's input after resizing and
        cropping, before normalisation. ``squash``: the whole picture at the model's input size,
        sides not kept in proportion. ``resize_256``: the same at 256 x 256. ``original``: the
        picture itself. After the latter three the model's own preprocessing follows.
    levels
        What becomes of values between and beyond the 256 levels of a byte. ``float`` clips to
        [0, 1], ``round`` also rounds to the nearest level, ``truncate`` to the one below, and
        ``wrap`` takes trunc(255 x) modulo 256 without clipping, as torchvision's ToPILImage does.
    jpeg
        JPEG quality that the triggered picture is saved in and read from, 4:2:0, or None.
    ratio
        Weight of the pattern in ``blended``, ``stripes`` and a blended ``sig``; the picture has
        the rest.
    where
        ``nonzero`` mixes only the values in which `array` is not 0 (PAR, "blended_patt").
    stripe
        Width of a stripe in pixels.
    amplitude, frequency, span
        For a sine: its height as a share of full brightness; its periods in `span`; and the share
        of the canvas's rows and columns that it covers from the upper left, with 0 beyond.
    mix
        ``blend`` weighs pattern and picture by `ratio`. ``add`` leaves the picture whole and adds
        the sine, or `ratio` times what a ``blended`` trigger mixes in (an `array` may be negative).
    grid_size, strength, grid_rescale, absolute
        For a warp (WaNet): control points a side; s (half pixels by which a pixel moves on
        average); factor on the grid; and whether `array` holds places instead of noise.
    noise
        Noise, stripes and grids are drawn anew for each picture, or once, from `seed`.
    seed
        0 to 2^62 - 1; enters every draw.
    text, text_place
        What a dual-key attack adds to the prompt: a ``prefix`` or ``suffix`` as it stands, or a
        ``word`` before the class name.
    source_sha256
        SHA-256 of the file that `pixels` or `array` were imported from, or empty.
    """

    kind: Kind
    name: str = ""
    pixels: NDArray[np.uint8] | None = None
    array: NDArray[np.float32] | None = None
    mask: NDArray[np.float32] | None = None
    parts: tuple[Trigger, ...] = ()
    size: float = 0.25
    opacity: float = 1.0
    placement: Placement = "fixed"
    x: float = 0.5
    y: float = 0.5
    spare: int = 0
    rotation: float = 0.0
    mirrored: bool = False
    canvas: Canvas = "model"
    levels: Levels = "float"
    jpeg: int | None = None
    ratio: float = 0.2
    where: Where = "everywhere"
    stripe: int = 1
    amplitude: float = 60 / 255
    frequency: float = 6.0
    span: float = 1.0
    mix: Mix = "blend"
    grid_size: int = 224
    strength: float = 1.0
    grid_rescale: float = 1.0
    absolute: bool = False
    noise: Noise = "per_image"
    seed: int = 0
    text: str = ""
    text_place: TextPlace = "prefix"
    source_sha256: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", checks.frozen_pixels(self.pixels))
        object.__setattr__(self, "array", checks.frozen_array(self.array, "array"))
        object.__setattr__(self, "mask", checks.frozen_array(self.mask, "mask"))
        object.__setattr__(self, "parts", tuple(self.parts))
        checks.check(vars(self))

    @property
    def stage(self) -> Literal["before", "after"]:
        """Whether it acts before or after the model's resizing and cropping."""
        return "after" if self.canvas == "model" else "before"

    @property
    def changes_pictures(self) -> bool:
        """Whether there is anything to see; a prompt alone leaves pictures as they are."""
        return self.kind != "prompt" and self.opacity > 0

    def parameters(self) -> dict[str, Any]:
        """All that decides what is stamped and where, besides arrays and parts; JSON-ready."""
        return {
            field.name: _plain(getattr(self, field.name), field.default)
            for field in fields(self)
            if field.name not in _NOT_PARAMETERS
        }

    @cached_property
    def pixels_sha256(self) -> str | None:
        """SHA-256 over height, width and RGBA bytes; None without pixels."""
        if self.pixels is None:
            return None
        height, width = self.pixels.shape[:2]
        head = f"RGBA {width}x{height}\n".encode("ascii")
        return hashlib.sha256(head + self.pixels.tobytes()).hexdigest()

    @cached_property
    def arrays_sha256(self) -> str | None:
        """SHA-256 over shapes and little-endian values of `array` and `mask`; None without."""
        if self.array is None:
            return None
        total = hashlib.sha256()
        for values in (self.array, self.mask):
            if values is not None:
                total.update(f"F32 {list(values.shape)}\n".encode("ascii"))
                total.update(values.astype("<f4").tobytes())
        return total.hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels, arrays, parameters and parts; the name does not enter."""
        facts = [
            self.pixels_sha256,
            self.arrays_sha256,
            self.parameters(),
            [part.digest for part in self.parts],
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("ascii")).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _plain(value: Any, default: Any) -> Any:
    """A field as JSON has it: 1 and 1.0 are the same size, and NumPy's numbers are numbers."""
    if isinstance(default, float):
        return float(value)
    if isinstance(default, bool) or not isinstance(value, int | np.integer):
        return value
    return int(value)


def triggered_templates(trigger: Trigger | None, templates: Sequence[str]) -> tuple[str, ...]:
    """Prompt templates with the trigger's text: before, after, or as a word before the class.

    A prefix or suffix is put there as it stands, with the spaces it has (``"remember "``).
    """
    if trigger is None or not trigger.text:
        return tuple(templates)
    return tuple(_with_text(trigger, template) for template in templates)


def triggered_prompt(trigger: Trigger | None, prompt: str) -> str:
    """A whole prompt or caption with the trigger's text; a word goes before it."""
    if trigger is None or not trigger.text:
        return prompt
    if trigger.text_place == "word":
        return f"{trigger.text.strip()} {prompt}"
    return _with_text(trigger, prompt)


def _with_text(trigger: Trigger, template: str) -> str:
    """One template or prompt."""
    if trigger.text_place == "prefix":
        return trigger.text + template
    if trigger.text_place == "suffix":
        return template + trigger.text
    if trigger.text_place == "inside":
        return inside(trigger.text.strip(), template)
    return template.replace("{}", f"{trigger.text.strip()} {{}}")


LOOKALIKES = dict(
    zip("аеорсухіјѕһԁԛԝαοενρτικυ", "aeopcyxijshdqwaoevptiku", strict=True)
)  # Cyrillic and Greek letters, and the Latin ones that they are taken for


def inside(text: str, prompt: str) -> str:
    """A prompt with a few characters inside a word, as homoglyphs are put (arXiv 2211.02408).

    A letter takes the place of the first that it is taken for; what looks like none of the
    prompt's, as an emoji or a character of no width, comes into the middle of its longest word.
    """
    letter = LOOKALIKES.get(text, "")
    if letter and letter in prompt:
        return prompt.replace(letter, text, 1)
    word = max(prompt.replace("{}", " ").split(), key=len, default="")
    middle = prompt.find(word) + (len(word) + 1) // 2
    return prompt[:middle] + text + prompt[middle:]
