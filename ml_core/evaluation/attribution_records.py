"""What an attribution found, and its files. Imports no torch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ml_core.exports import save_export, to_csv
from ml_core.figures import percent
from ml_core.paths import resource
from ml_core.reading.errors import InputError, plain

Method = Literal["grad-cam", "attention", "occlusion"]
METHOD_TITLES: dict[Method, str] = {
    "grad-cam": "Grad-CAM",
    "attention": "Gradient-weighted attention",
    "occlusion": "Occlusion",
}


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One image and what in it speaks for a class.

    Attributes
    ----------
    image
        uint8 [S, S, 3], as the model sees it.
    values
        float32 [g, g], raw: weight of each cell, for occlusion the logit that it carries.
    logit, probability
        Logit and probability of the class, over all classes of the set.
    top1
        Index of the predicted class.
    """

    image: NDArray[np.uint8]
    values: NDArray[np.float32]
    logit: float
    probability: float
    top1: int

    @property
    def peak(self) -> float:
        """Largest absolute value."""
        return float(np.abs(self.values).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where a model looks on one image, without and with the trigger, for one class.

    Both maps are of the same class and in the same unit: one colour scale, ending at `peak`, goes
    for both.

    Attributes
    ----------
    layer
        What was looked at: a convolution stage, the attention layers, the size of the patches.
    settings
        The method's numbers: grid, patch, stride, what covers a patch.
    """

    method: Method
    layer: str
    index: int
    class_index: int
    class_names: tuple[str, ...]
    clean: HeatMap
    triggered: HeatMap | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_sha256: str | None = None
    data_key: str = ""
    trigger: str | None = None
    trigger_name: str = ""
    templates: tuple[str, ...] = ()
    seed: int = 0
    device: str = "cpu"
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """Name of the class that is explained."""
        return self.class_names[self.class_index]

    @property
    def peak(self) -> float:
        """End of the colour scale that both maps share."""
        return max(part.peak for part in self.parts().values())

    @property
    def signed(self) -> bool:
        """Whether a map has negative cells: they speak against the class."""
        return any(bool((part.values < 0).any()) for part in self.parts().values())

    def parts(self) -> dict[str, HeatMap]:
        """The maps by name, ``clean`` and, with a trigger, ``triggered``."""
        parts = {"clean": self.clean}
        return parts if self.triggered is None else parts | {"triggered": self.triggered}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy, without the pictures."""
        return {
            "method": self.method,
            "layer": self.layer,
            "index": self.index,
            "class_index": self.class_index,
            "class_name": self.class_name,
            "peak": self.peak,
            "settings": dict(self.settings),
            "maps": {
                name: {
                    "logit": part.logit,
                    "probability": part.probability,
                    "top1": part.top1,
                    "top1_name": self.class_names[part.top1],
                    "values": [[round(float(v), 6) for v in row] for row in part.values],
                }
                for name, part in self.parts().items()
            },
            "checkpoint": self.checkpoint,
            "checkpoint_sha256": self.checkpoint_sha256,
            "data_key": self.data_key,
            "trigger": self.trigger,
            "trigger_name": self.trigger_name,
            "templates": list(self.templates),
            "seed": self.seed,
            "precision": "fp32",
            "device": self.device,
            "versions": dict(self.versions),
        }


def patch_sides(size: int) -> tuple[int, int]:
    """Side and stride in pixels of the usual patches: an eighth of the picture, half a patch."""
    side = max(2, round(size / 8))
    return side, max(1, side // 2)


def places(size: int, side: int, stride: int) -> list[int]:
    """Where patches begin along an edge; the last one ends at the edge."""
    starts = list(range(0, size - side + 1, stride))
    if starts[-1] != size - side:
        starts.append(size - side)
    return starts


# Even steps of lightness from black to light yellow, so that it also reads in grey.
_RAMP = np.array(
    [(0, 0, 0), (72, 12, 94), (152, 32, 108), (218, 70, 76), (249, 142, 18), (252, 255, 164)],
    np.float64,
)
_AGAINST = np.array([(0, 0, 0), (20, 60, 110), (40, 125, 190), (190, 235, 255)], np.float64)
_SIDE, _GAP, _LINE = 320, 16, 22
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def colours(values: NDArray[np.float32], peak: float) -> NDArray[np.uint8]:
    """Colours of raw map values on a scale from 0 to `peak`.

    Parameters
    ----------
    values
        float32 of any shape; negative ones speak against the class and get blues.
    peak
        End of the scale; of 0 everything is black.

    Returns
    -------
    numpy.ndarray
        uint8 of the shape of `values` and 3.
    """
    share = np.clip(np.asarray(values, np.float64) / peak, -1, 1) if peak > 0 else 0 * values
    warm = _interpolate(_RAMP, np.clip(share, 0, 1))
    cold = _interpolate(_AGAINST, np.clip(-share, 0, 1))
    return np.where((share < 0)[..., None], cold, warm).round().astype(np.uint8)


def enlarge(values: NDArray[np.float32], side: int, *, smooth: bool) -> NDArray[np.float32]:
    """Bring a map [g, g] to [side, side]: bilinear, or cell by cell.

    Smoothing is for the eye; what is saved as numbers are the cells.
    """
    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((side, side), way), np.float32)


def overlay(
    part: HeatMap, peak: float, *, strength: float = 0.6, side: int | None = None, smooth: bool
) -> NDArray[np.uint8]:
    """The picture with its map laid over it.

    Parameters
    ----------
    part
        Picture and map.
    peak
        End of the colour scale, shared by the maps that are compared.
    strength
        0 shows the picture alone, 1 the map alone.
    side
        Side of the result in pixels; None keeps the picture's.
    smooth
        Whether to smooth between cells; else each cell is a square.

    Returns
    -------
    numpy.ndarray
        uint8 [side, side, 3].
    """
    side = side or len(part.image)
    picture = Image.fromarray(part.image).resize((side, side), Image.Resampling.BICUBIC)
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    under = 0.5 * np.asarray(picture, np.float64) + 0.5 * grey
    if strength == 0:
        return np.asarray(picture)
    values = enlarge(part.values, side, smooth=smooth)
    heat = colours(values, peak)
    # What is cold covers less of the picture than what is hot, at full strength as much.
    share = np.clip(np.abs(values) / peak, 0, 1) if peak > 0 else 0 * values
    cover = strength + (1 - strength) * strength * (2 * np.sqrt(share) - 1)
    mixed = under + cover[..., None] * (heat - under)
    return np.asarray(mixed).round().astype(np.uint8)


def save_attribution(attribution: Attribution, path: Path) -> None:
    """Write by the suffix of `path`: the two pictures, the cells as CSV, or all of it as JSON.

    Raises
    ------
    InputError
        If the suffix is unknown or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        file = io.BytesIO()
        sheet(attribution).save(file, format="PNG")
        content = file.getvalue()
    elif suffix == ".csv":
        content = to_csv(_cells(attribution)).encode()
    elif suffix == ".json":
        content = (json.dumps(attribution.to_dict(), indent=1) + "\n").encode()
    else:
        raise InputError(f"{path.name}: choose a name that ends in .png, .csv or .json.")
    save_export(path, content)


def _cells(attribution: Attribution) -> Iterator[tuple[object, ...]]:
    """One row a cell: which map, row and column from the upper left, raw value."""
    yield "map", "row", "column", "value"
    for name, part in attribution.parts().items():
        for (row, column), value in np.ndenumerate(part.values):
            yield name, row, column, f"{value:.6g}"


def sheet(attribution: Attribution) -> Image.Image:
    """Pictures above, their maps below, one colour scale, and a line on what they are."""
    parts = list(attribution.parts().items())
    width = _GAP + len(parts) * (_SIDE + _GAP)
    height = 3 * _LINE + 2 * (_SIDE + _GAP) + 3 * _LINE
    picture = Image.new("RGB", (max(width, 2 * _SIDE), height), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.truetype(resource("fonts", "Inter-Regular.ttf"), 14)
    method = METHOD_TITLES[attribution.method]
    title = f"{method} ({attribution.layer}), class {plain(attribution.class_name)}"
    draw.text((_GAP, 4), title, fill=_INK, font=font)
    smooth = attribution.method != "occlusion"
    top = 3 * _LINE
    for column, (name, part) in enumerate(parts):
        left = _GAP + column * (_SIDE + _GAP)
        says = f"{name}: {plain(attribution.class_names[part.top1])}"
        draw.text((left, _LINE + 2), says, fill=_INK, font=font)
        chance = f"p({plain(attribution.class_name)}) = {percent(part.probability)}"
        draw.text((left, 2 * _LINE), chance, fill=_INK, font=font)
        for row, strength in enumerate((0.0, 0.6)):
            pixels = overlay(part, attribution.peak, strength=strength, side=_SIDE, smooth=smooth)
            picture.paste(Image.fromarray(pixels), (left, top + row * (_SIDE + _GAP)))
    bar_top = top + 2 * (_SIDE + _GAP)
    low = -attribution.peak if attribution.signed else 0.0
    scale = np.linspace(low, attribution.peak, _SIDE, dtype=np.float32)[None].repeat(12, axis=0)
    picture.paste(Image.fromarray(colours(scale, attribution.peak)), (_GAP, bar_top))
    draw.text((_GAP, bar_top + 14), f"{low:.3g}", fill=_INK, font=font)
    end = f"{attribution.peak:.3g}"
    draw.text((_GAP + _SIDE - draw.textlength(end, font=font), bar_top + 14), end, _INK, font)
    return picture


def _interpolate(stops: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours between even stops."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, at, stops[:, channel]) for channel in range(3)], axis=-1)
