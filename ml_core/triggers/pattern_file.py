"""The content of other programs' files as triggers: pictures, patterns, masks, warping grids."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.arrays import ARRAY_SUFFIXES, read_arrays
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.triggers.make import from_image
from ml_core.triggers.record import Trigger

Floats = NDArray[np.float32]

_PATCH_SIDE = 64  # smaller arrays are patches, larger ones cover the canvas
_CLIP_CANVAS = 224


def read_pattern_file(
    path: str | Path, mask: str | Path | None = None, *, side: int | None = None
) -> Trigger:
    """Build a trigger from a file's content, by the names and shapes of its arrays.

    No file gives weight and canvas, so they are taken from the papers for such a content.

    Parameters
    ----------
    mask
        A second file with the mask.
    side
        As `from_image` has it.

    Raises
    ------
    InputError
        If a file cannot be read, or holds no trigger.
    """
    path = Path(path)
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        return _picture(path, side)
    array_file = read_arrays(path)
    arrays = {name: _plain(values, path.name) for name, values in array_file.arrays.items()}
    if mask is not None:
        other = read_arrays(mask)
        arrays = {"pattern": _only(arrays, path.name)}
        arrays["mask"] = _only(
            {name: _plain(a, Path(mask).name) for name, a in other.arrays.items()}, Path(mask).name
        )
    pattern = _from_arrays(arrays, path.name)
    return replace(pattern, name=path.stem[:200], source_sha256=array_file.sha256)


def _picture(path: Path, side: int | None) -> Trigger:
    """A picture, with the SHA-256 of its file."""
    from ml_core.reading.images import read_image

    image = read_image(path)
    file, _ = open_regular(path)
    with file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return from_image(image, name=path.stem[:200], side=side, source_sha256=digest)


def _from_arrays(arrays: dict[str, Floats], name: str) -> Trigger:
    """Tell by names and shapes what the arrays are."""
    if set(arrays) == {"t", "tm"}:
        return _premultiplied(arrays["t"], arrays["tm"], name)
    masks = [key for key in arrays if "mask" in key.lower()]
    if len(arrays) == 2 and len(masks) == 1:
        (pattern,) = (values for key, values in arrays.items() if key not in masks)
        return _masked(_colours(pattern, name), _mask(arrays[masks[0]], name), name)
    values = _only(arrays, name)
    if values.ndim == 3 and values.shape[2] == 2:
        return _grid(values)
    return _pattern(values, name)


def _only(arrays: dict[str, Floats], name: str) -> Floats:
    """The one array of a file."""
    if len(arrays) != 1:
        names = ", ".join(repr(key[:40]) for key in list(arrays)[:4])
        raise InputError(
            f"{name} holds {len(arrays)} arrays ({names}); a trigger is one pattern, or one "
            "pattern and one mask.",
            "unsupported",
        )
    return next(iter(arrays.values()))


def _plain(values: NDArray[Any], name: str) -> Floats:
    """Floats in units of full brightness, without leading axes of length 1."""
    if values.dtype.kind not in "fiub" or not values.size:
        raise InputError(f"{name} holds no numbers that a trigger is made of.", "unsupported")
    whole = values.dtype == np.uint8
    with np.errstate(over="ignore", invalid="ignore"):
        pattern = values.astype(np.float32)
    if not np.isfinite(pattern).all():
        raise InputError(f"{name} holds NaN or infinite values; get the file again.", "damaged")
    while pattern.ndim > 2 and pattern.shape[0] == 1:
        pattern = pattern[0]
    if (whole and float(pattern.max()) > 1) or (
        pattern.min() >= 0 and 2 < float(pattern.max()) <= 255
    ):
        pattern = pattern / np.float32(255)
    return pattern


def _colours(values: Floats, name: str) -> Floats:
    """A pattern as [h, w, 3]."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] not in (1, 3):
        raise InputError(
            f"{name} holds an array of the shape {list(values.shape)}; a pattern is height x width "
            "x 3, a grid height x width x 2.",
            "unsupported",
        )
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _mask(values: Floats, name: str) -> Floats:
    """A mask as [h, w, 1 or 3], 0 to 1."""
    mask = _colours(values, name)
    if float(mask.min()) < 0 or float(mask.max()) > 1:
        raise InputError(f"The mask in {name} goes beyond 0 to 1; get the file again.", "damaged")
    same = (mask == mask[..., :1]).all()
    return mask[..., :1] if same else mask


def _grid(values: Floats) -> Trigger:
    """A grid of places if it is close to the one that bends nothing, else WaNet's noise."""
    height, width = values.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    off = max(float(np.abs(values[..., 0] - x).mean()), float(np.abs(values[..., 1] - y).mean()))
    places = off < 0.2 and float(np.abs(values).max()) <= 1.5
    return Trigger(
        kind="wanet",
        array=values,
        absolute=places,
        grid_size=min(1024, max(2, height)),
        noise="fixed",
        canvas="original" if places else "squash",
        levels="truncate",
    )


def _pattern(values: Floats, name: str) -> Trigger:
    """A patch if it is small, else something that is blended over the canvas."""
    if values.ndim == 3 and 4 in (values.shape[2], values.shape[0]):
        if values.shape[2] != 4:
            values = values.transpose(1, 2, 0)
        return _masked(values[..., :3], values[..., 3:].clip(0, 1), name)
    colours = _colours(values, name)
    height, width = colours.shape[:2]
    if max(height, width) <= _PATCH_SIDE:
        size = min(1.0, max(height, width) / _CLIP_CANVAS)
        return _exact(colours, None, kind="patch", size=size, placement="center", canvas="squash")
    sparse = bool((colours != 0).mean() < 0.5)
    triangles = set(np.unique(colours).round(4).tolist()) == {0.4, 0.8}
    return Trigger(
        kind="blended",
        array=colours,
        ratio=0.5 if sparse else 0.15 if triangles else 0.2,
        where="nonzero" if sparse else "everywhere",
        canvas="resize_256" if (height, width) == (256, 256) else "squash",
        levels="truncate",
    )


def _premultiplied(pattern: Floats, keep: Floats, name: str) -> Trigger:
    """x tm + t: the mask says how much of the picture is kept; the pattern is weighted already."""
    taken = 1 - _mask(keep, name)
    weighed = _colours(pattern, name)
    if taken.shape[:2] != weighed.shape[:2]:
        raise InputError(f"The mask and the pattern in {name} differ in size.", "damaged")
    if float(np.where(taken > 0, 0, np.abs(weighed)).max()) > 0:
        raise InputError(
            f"{name} adds to the picture where its mask keeps all of it, which is no patch.",
            "unsupported",
        )
    colours = np.divide(weighed, taken, out=np.zeros_like(weighed), where=taken > 0)
    return _masked(colours, taken, name)


def _masked(colours: Floats, mask: Floats, name: str) -> Trigger:
    """A pattern and its mask: cut out as a patch if it is small, else over the whole canvas."""
    if mask.shape[:2] != colours.shape[:2]:
        raise InputError(f"The mask and the pattern in {name} differ in size.", "damaged")
    seen = np.asarray((mask > 0).any(axis=2))
    if not seen.any():
        raise InputError(f"The mask in {name} is 0 all over: there is no trigger.", "damaged")
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    height, width = mask.shape[:2]
    if height != width or max(bottom - top, right - left) * 2 > height:
        return Trigger(kind="blended", array=colours, mask=mask, ratio=1.0)
    cut = (slice(top, bottom), slice(left, right))
    return _exact(
        colours[cut],
        mask[cut],
        kind="patch",
        size=max(bottom - top, right - left) / height,
        x=(left + right) / 2 / width,
        y=(top + bottom) / 2 / height,
    )


def _exact(colours: Floats, mask: Floats | None, **parameters: Any) -> Trigger:
    """A picture where bytes hold the values, else an array."""
    alpha = np.ones((*colours.shape[:2], 1), np.float32) if mask is None else mask
    if alpha.shape[2] == 1:
        values = np.concatenate([colours, alpha], axis=2)
        whole = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
        if np.allclose(whole / 255, values, rtol=0, atol=1e-6):
            return Trigger(pixels=whole, **parameters)
    return Trigger(array=colours, mask=mask, **parameters)
