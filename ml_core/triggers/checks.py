"""What a trigger may be: the range and unit of each number, and what each kind needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import InputError

Kind = Literal[
    "patch", "badnets", "stripes", "blended", "sig", "wanet", "nashville", "prompt", "combined"
]
Placement = Literal["fixed", "random", "four_corners", "center"]
Noise = Literal["per_image", "fixed"]
Canvas = Literal["model", "squash", "resize_256", "original"]
Levels = Literal["float", "round", "truncate", "wrap"]
Mix = Literal["blend", "add"]
Where = Literal["everywhere", "nonzero"]
TextPlace = Literal["prefix", "word", "suffix", "inside"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
NOISES: tuple[Noise, ...] = get_args(Noise)
CANVASES: tuple[Canvas, ...] = get_args(Canvas)
LEVELS: tuple[Levels, ...] = get_args(Levels)
MIXES: tuple[Mix, ...] = get_args(Mix)
WHERES: tuple[Where, ...] = get_args(Where)
TEXT_PLACES: tuple[TextPlace, ...] = get_args(TextPlace)


MAX_SIDE = 4096
MAX_ARRAY_SIDE = 1024
MAX_VALUE = 16.0
MAX_PARTS = 8
MAX_TEXT = 200

RANGES: dict[str, tuple[float, float, str]] = {
    "size": (1e-6, 1.0, "share of the canvas's shorter side"),
    "opacity": (0.0, 1.0, "share of the effect"),
    "x": (-1.0, 2.0, "share of the canvas's width"),
    "y": (-1.0, 2.0, "share of the canvas's height"),
    "spare": (0, 64, "pixels"),
    "rotation": (-36000.0, 36000.0, "degrees, counter-clockwise"),
    "ratio": (0.0, 1.0, "weight of the pattern"),
    "stripe": (1, 512, "pixels"),
    "amplitude": (0.0, 1.0, "share of full brightness"),
    "frequency": (0.0, 512.0, "periods"),
    "span": (1e-6, 1.0, "share of the canvas"),
    "grid_size": (2, 1024, "control points a side"),
    "strength": (0.0, 16.0, "half pixels"),
    "grid_rescale": (0.5, 2.0, "factor on the grid"),
    "seed": (0, 2**62 - 1, ""),
}
_WHOLE = ("spare", "stripe", "grid_size", "seed")


def check(fields: Mapping[str, Any]) -> None:
    """Refuse what cannot be stamped, in one sentence that names the field.

    Parameters
    ----------
    fields
        Fields of a `ml_core.triggers.record.Trigger`, by name.

    Raises
    ------
    InputError
        ``usage``.
    """
    _check_choices(fields)
    _check_numbers(fields)
    _check_arrays(fields)
    _check_text(fields)
    _check_kind(fields)


def frozen_pixels(pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    """Check shape and type of a picture, and return a read-only copy."""
    if pixels is None:
        return None
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
    return _read_only(pixels)


def frozen_array(array: NDArray[np.float32] | None, name: str) -> NDArray[np.float32] | None:
    """Check an array of numbers, and return a read-only float32 copy."""
    if array is None:
        return None
    array = np.asarray(array)
    if array.dtype.kind not in "fiu" or array.ndim != 3 or 0 in array.shape:
        raise InputError(
            f"The trigger's {name} must be numbers, height x width x channels; convert it.",
            "usage",
            details=f"got {array.dtype} {list(array.shape)}",
        )
    if max(array.shape[:2]) > MAX_ARRAY_SIDE:
        raise InputError(
            f"The trigger's {name} has over {MAX_ARRAY_SIDE} values a side; make it smaller.",
            "usage",
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all() or float(np.abs(array).max()) > MAX_VALUE:
        raise InputError(
            f"The trigger's {name} holds values that are no brightness (NaN, infinite or beyond "
            f"{MAX_VALUE:g}); get the file again.",
            "damaged",
        )
    return _read_only(array)


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(values, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def _check_choices(fields: Mapping[str, Any]) -> None:
    """Refuse words that name nothing."""
    for field, allowed in (
        ("kind", KINDS),
        ("placement", PLACEMENTS),
        ("noise", NOISES),
        ("canvas", CANVASES),
        ("levels", LEVELS),
        ("mix", MIXES),
        ("where", WHERES),
        ("text_place", TEXT_PLACES),
        ("mirrored", (False, True)),
        ("absolute", (False, True)),
    ):
        value = fields[field]
        if value not in allowed:
            words = ", ".join(str(word) for word in allowed)
            raise InputError(f"The trigger's {field} is {value!r}; it must be one of {words}.")


def _check_numbers(fields: Mapping[str, Any]) -> None:
    """Refuse numbers outside of their range, NaN among them."""
    for field, (low, high, unit) in RANGES.items():
        value = fields[field]
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise InputError(
                f"The trigger's {field} is {value}; it must lie between {low:g} and {high:g}"
                + (f" ({unit})." if unit else ".")
            )
        if field in _WHOLE and value != int(value):
            raise InputError(f"The trigger's {field} is {value}; it must be a whole number.")
    jpeg = fields["jpeg"]
    if jpeg is None:
        return
    if isinstance(jpeg, bool) or not isinstance(jpeg, int) or not 1 <= jpeg <= 100:
        raise InputError(f"The trigger's jpeg is {jpeg}; a quality must be 1 to 100, or none.")
    if fields["levels"] == "float":
        raise InputError(
            "A JPEG holds bytes: choose the levels round, truncate or wrap, or no JPEG."
        )


def _check_arrays(fields: Mapping[str, Any]) -> None:
    """Refuse arrays that do not go together."""
    array, mask = fields["array"], fields["mask"]
    if array is not None and fields["pixels"] is not None:
        raise InputError("A trigger has a picture or an array of numbers, not both.")
    channels = 2 if fields["kind"] == "wanet" else 3
    if array is not None and array.shape[2] != channels:
        raise InputError(
            f"The array of a {fields['kind']} trigger must have {channels} channels, not "
            f"{array.shape[2]}; choose another file."
        )
    if mask is None:
        return
    if array is None or mask.shape[:2] != array.shape[:2] or mask.shape[2] not in (1, 3):
        raise InputError("A trigger's mask must have the height and width of its array.")
    if float(mask.min()) < 0 or float(mask.max()) > 1:
        raise InputError("A trigger's mask must lie between 0 and 1; get the file again.")


def _check_text(fields: Mapping[str, Any]) -> None:
    """Refuse what would break a prompt template."""
    text = fields["text"]
    if len(text) > MAX_TEXT or not text.isprintable() or {"{", "}"} & set(text):
        raise InputError(
            f"The trigger's text must be one line of at most {MAX_TEXT} characters without braces."
        )
    digest = fields["source_sha256"]
    if digest and (len(digest) != 64 or set(digest) - set("0123456789abcdef")):
        raise InputError("The trigger's source_sha256 is no SHA-256 of a file.")


def _check_kind(fields: Mapping[str, Any]) -> None:
    """Refuse a kind without what it is made of."""
    kind, parts = fields["kind"], fields["parts"]
    if kind == "patch" and fields["pixels"] is None and fields["array"] is None:
        raise InputError("A patch trigger needs a picture; paint or upload one.", "usage")
    if kind == "prompt" and not fields["text"]:
        raise InputError("A prompt trigger needs a text; type a word or a prefix.")
    if kind == "wanet" and fields["absolute"] and fields["array"] is None:
        raise InputError("A warp by absolute places needs a grid; import its file.")
    if kind != "combined":
        if parts:
            raise InputError(f"A {kind} trigger has no parts; combine triggers instead.")
        return
    if not 1 <= len(parts) <= MAX_PARTS:
        raise InputError(f"A combined trigger needs 1 to {MAX_PARTS} parts.")
    if any(part.kind in ("combined", "prompt") for part in parts):
        raise InputError(
            "The parts of a combined trigger are seen in the picture: a text belongs to the whole, "
            "and combined triggers do not nest."
        )
