"""What is stamped on a picture, and where: the trigger as a frozen record."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import InputError

Kind = Literal["patch", "badnets", "blended"]
Placement = Literal["fixed", "random", "four_corners", "center"]
Noise = Literal["per_image", "fixed"]

KINDS: tuple[Kind, ...] = ("patch", "badnets", "blended")
PLACEMENTS: tuple[Placement, ...] = ("fixed", "random", "four_corners", "center")
NOISES: tuple[Noise, ...] = ("per_image", "fixed")
MAX_SIDE = 4096


@dataclass(frozen=True, eq=False)
class Trigger:
    """A backdoor trigger; two triggers are equal when their `digest` is.

    Attributes
    ----------
    kind
        ``patch`` stamps `pixels`. ``badnets`` stamps a square of noise: the picture's own mean
        colour plus N(0, 1) for each value (CleanCLIP, ICCV 2023, "BadNet random"). ``blended``
        mixes the whole canvas with `pixels`, or with uniform noise if there are none (Blended,
        Chen et al. 2017).
    name
        What the analyst calls it; not part of the digest.
    pixels
        uint8 [h, w, 4], RGBA, not premultiplied, read-only.
    size
        Side of the canvas taken by the patch's longer side, above 0 up to 1. Blended triggers
        always cover the canvas.
    opacity
        0 (leaves the picture alone) to 1, multiplies every effect.
    placement
        ``fixed`` at (`x`, `y`), ``random`` (a place wholly inside, drawn for each picture),
        ``four_corners`` (the same patch four times) or ``center``.
    x, y
        Centre of a fixed patch as a fraction of the canvas, 0 left or top, 1 right or bottom. What
        lies outside of the canvas is cut off.
    rotation
        Degrees, counter-clockwise as seen.
    canvas
        The picture that the trigger acts on: ``model``, the model's input after the centre crop
        and before normalisation.
    ratio
        Weight of a blended trigger, 0 to 1; the reference's is 0.2.
    noise
        Noise is drawn anew for each picture, or once, from `seed`.
    seed
        0 to 2^62 - 1; enters every draw.
    """

    kind: Kind
    name: str = ""
    pixels: NDArray[np.uint8] | None = None
    size: float = 0.25
    opacity: float = 1.0
    placement: Placement = "fixed"
    x: float = 0.5
    y: float = 0.5
    rotation: float = 0.0
    canvas: Literal["model"] = "model"
    ratio: float = 0.2
    noise: Noise = "per_image"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pixels is not None:
            object.__setattr__(self, "pixels", _frozen_pixels(self.pixels))
        elif self.kind == "patch":
            raise InputError("A patch trigger needs a picture; paint or upload one.", "usage")
        self._check_choices()
        self._check_numbers()

    def _check_choices(self) -> None:
        """Refuse words that name nothing."""
        for field, value, allowed in (
            ("kind", self.kind, KINDS),
            ("placement", self.placement, PLACEMENTS),
            ("noise", self.noise, NOISES),
            ("canvas", self.canvas, ("model",)),
        ):
            if value not in allowed:
                raise InputError(
                    f"The trigger's {field} is {value!r}; it must be one of {', '.join(allowed)}.",
                    "usage",
                )

    def _check_numbers(self) -> None:
        """Refuse numbers outside of their range, NaN among them."""
        for field, value, low, high in (
            ("size", self.size, 0.0, 1.0),
            ("opacity", self.opacity, 0.0, 1.0),
            ("x", self.x, -1.0, 2.0),
            ("y", self.y, -1.0, 2.0),
            ("ratio", self.ratio, 0.0, 1.0),
            ("seed", self.seed, 0, 2**62 - 1),
        ):
            if not low <= value <= high or (field == "size" and value == 0.0):
                raise InputError(
                    f"The trigger's {field} is {value}; it must lie between {low} and {high}.",
                    "usage",
                )
        if not math.isfinite(self.rotation):
            raise InputError("The trigger's rotation must be a number of degrees.", "usage")

    def parameters(self) -> dict[str, Any]:
        """All that decides what is stamped and where, besides the pixels; JSON-ready."""
        return {
            "kind": self.kind,
            "size": float(self.size),
            "opacity": float(self.opacity),
            "placement": self.placement,
            "x": float(self.x),
            "y": float(self.y),
            "rotation": float(self.rotation),
            "canvas": self.canvas,
            "ratio": float(self.ratio),
            "noise": self.noise,
            "seed": int(self.seed),
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
    def digest(self) -> str:
        """SHA-256 over pixels and parameters; the name does not enter."""
        text = json.dumps([self.pixels_sha256, self.parameters()], sort_keys=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _frozen_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check shape and type, and return a read-only copy."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 4 or 0 in pixels.shape:
        raise InputError(
            "A trigger's picture must be 8-bit RGBA, height x width x 4; convert it.",
            "usage",
            details=f"got {pixels.dtype} {list(pixels.shape)}",
        )
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise InputError(
            f"The trigger's picture is larger than {MAX_SIDE} pixels; make it smaller.", "usage"
        )
    copy = np.array(pixels, order="C", copy=True)
    copy.flags.writeable = False
    return copy
