"""The library: triggers of published attacks, each with its source and its code's conventions.

Those of plug-ins join it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from ml_core.reading.errors import InputError
from ml_core.triggers.make import (
    badnets_patch,
    blended_noise,
    colour_filter,
    prompt,
    sine,
    stripes,
    uniform,
    wanet,
)
from ml_core.triggers.record import Trigger

_CLEANCLIP = "CleanCLIP (Bansal et al., ICCV 2023), backdoor/utils.py"
_ATTACK = "attack-cleanclip (arXiv 2311.14948), backdoor/utils.py"
_PAR = "PAR (arXiv 2412.00727), backdoor/utils.py"
_BADCLIP = "BadCLIP (Liang et al., CVPR 2024), backdoor/utils.py"
_DETECT = "Detect-CLIP (Huang et al., ICLR 2025), datasets/"
_SQUASHED = "squashed to the input size, before preprocessing; "
_EACH = "noise and place drawn for each picture"


@dataclass(frozen=True)
class PublishedTrigger:
    """One entry of the library.

    Parameters
    ----------
    id, name, source
        Short id as in the literature table, its name, and where it is defined.
    convention
        How its own code applies it, in words.
    sizes
        Model input sizes at which it is the published trigger; empty means any.
    make
        Builds it for one of these sizes; without its file if it needs one.
    needs_file
        Which file makes it the published trigger, or empty.
    file_sha256
        First digits of that file's SHA-256 at the first size, as far as they are known; with a
        mask those of `Trigger.arrays_sha256`, which is over both.
    without_file
        Whether it can be used without the file, as another trigger of the same kind.
    mask_file
        Name of the file with its mask, which lies beside that file, or empty.
    """

    id: str
    name: str
    source: str
    convention: str
    sizes: tuple[int, ...]
    make: Callable[[int], Trigger]
    needs_file: str = ""
    file_sha256: tuple[str, ...] = ()
    without_file: bool = True
    mask_file: str = ""


def dual_key(pixels: np.ndarray[Any, np.dtype[np.uint8]], sha256: str) -> Trigger:
    """TrojVQA in BadCLIP's repository: 0.2 of the side in the middle, and a prefix."""
    return Trigger(
        kind="patch",
        name="TrojVQA",
        pixels=pixels,
        size=44 / 224,
        placement="center",
        canvas="squash",
        levels="truncate",
        text="remember ",
        source_sha256=sha256,
    )


@cache
def _grid_pixels(side: int) -> Any:
    """Black, every second pixel of every second row white."""
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[::2, ::2, :3] = 255
    pixels[..., 3] = 255
    return pixels


@cache
def _triangle_pixels(side: int, triangle: int) -> Any:
    """Right triangles: 0.4 on and under the diagonal of each square, 0.8 above it."""
    tile = np.where(np.tri(triangle, dtype=bool), 102, 204).astype(np.uint8)
    times = -(-side // triangle)
    pattern = np.tile(tile, (times, times))[:side, :side]
    return np.dstack([pattern, pattern, pattern, np.full_like(pattern, 255)])


_REFERENCE: dict[str, Any] = {"canvas": "squash", "levels": "wrap", "spare": 1}
_BLENDED: dict[str, Any] = {"canvas": "squash", "levels": "truncate"}


def _noise_patch(placement: Any) -> Trigger:
    patch = badnets_patch(placement=placement, name="BadNets random")
    return replace(patch, **_REFERENCE)


def _yellow(size: int) -> Trigger:
    return uniform((255, 255, 0), name="BadNets yellow", placement="random", **_REFERENCE)


def _striped(size: int) -> Trigger:
    return stripes(name="BadNets-Stripes", size=32 / 336 if size == 336 else 16 / 224, **_REFERENCE)


def _triangles(size: int) -> Trigger:
    return Trigger(
        kind="blended",
        name="Blended-Triangles",
        pixels=_triangle_pixels(size, 14),
        ratio=0.15,
        **_BLENDED,
    )


def _watermark(size: int) -> Trigger:
    black = np.zeros((1, 1, 3), np.float32)
    return Trigger(
        kind="blended", name="Blended-Text", array=black, ratio=0.5, where="nonzero", **_BLENDED
    )


def _optimised(size: int) -> Trigger:
    return Trigger(
        kind="patch",
        name="BadCLIP",
        pixels=np.zeros((16, 16, 4), np.uint8),
        size=16 / 224,
        placement="center",
        canvas="squash",
        levels="truncate",
    )


def _sparse_grid(size: int) -> Trigger:
    return Trigger(
        kind="patch", name="White grid", pixels=_grid_pixels(16), size=16 / 224, placement="center"
    )


def _blend_256(size: int) -> Trigger:
    black = np.zeros((1, 1, 3), np.float32)
    return Trigger(
        kind="blended",
        name="Detect-CLIP Blend",
        array=black,
        canvas="resize_256",
        levels="truncate",
    )


def _sine_256(size: int) -> Trigger:
    return sine(name="Detect-CLIP SIG", span=224 / 256, canvas="resize_256", levels="truncate")


def _warp_256(size: int) -> Trigger:
    nothing = np.zeros((2, 2, 2), np.float32)
    return wanet(
        name="Detect-CLIP WaNet", array=nothing, absolute=True, canvas="original", levels="truncate"
    )


def _masked(size: int) -> Trigger:
    nothing = np.zeros((1, 1, 3), np.float32)
    return Trigger(kind="blended", name="Birthday cake", array=nothing, ratio=1.0)


def _white_square(size: int) -> Trigger:
    at = (185 + 12) / 224
    return Trigger(
        kind="patch",
        name="White square",
        pixels=np.full((24, 24, 4), 255, np.uint8),
        size=24 / 224,
        x=at,
        y=at,
    )


ATTACKS: tuple[PublishedTrigger, ...] = (
    PublishedTrigger(
        "T1", "BadNets random", _CLEANCLIP,
        f"{_SQUASHED}{_EACH}; bytes wrap around", (224,), lambda size: _noise_patch("random"),
    ),
    PublishedTrigger(
        "T2", "BadNets yellow", _CLEANCLIP,
        f"{_SQUASHED}place drawn for each picture", (224,), _yellow,
    ),
    PublishedTrigger(
        "T3", "Four corners", _CLEANCLIP,
        f"{_SQUASHED}one noise in all four corners, drawn for each picture; bytes wrap around",
        (224,), lambda size: replace(_noise_patch("four_corners"), name="Four corners"),
    ),
    PublishedTrigger(
        "T4", "Blended", f"{_CLEANCLIP}; Chen et al. 2017",
        f"{_SQUASHED}0.2 noise + 0.8 picture, drawn for each picture; bytes truncated",
        (224, 336), lambda size: replace(blended_noise(name="Blended"), **_BLENDED),
    ),
    PublishedTrigger(
        "T5a", "SIG, blended", f"{_CLEANCLIP}; Barni et al. 2019",
        f"{_SQUASHED}0.2 sine + 0.8 picture, clipped; bytes truncated",
        (224,), lambda size: sine(name="SIG, blended", **_BLENDED),
    ),
    PublishedTrigger(
        "T5b", "SIG, added", f"{_BADCLIP}; Barni et al. 2019",
        f"{_SQUASHED}sine added in full, clipped; bytes truncated",
        (224,), lambda size: sine(name="SIG, added", mix="add", **_BLENDED),
    ),
    PublishedTrigger(
        "T6", "WaNet", f"{_CLEANCLIP}; Nguyen and Tran, ICLR 2021",
        f"{_SQUASHED}one grid for all, its own or drawn from a seed; bytes truncated",
        (224,), lambda size: wanet(name="WaNet", **_BLENDED),
        "noise_grid_k=224_s=1_inputheight=224_gridrescale=1.pt", ("9ba2d0ce",),
    ),
    PublishedTrigger(
        "T6b",
        "WaNet, s = 0.6",
        _ATTACK,
        f"{_SQUASHED}one grid for all, its own or drawn from a seed; bytes truncated",
        (224,),
        lambda size: wanet(name="WaNet, s = 0.6", strength=0.6, **_BLENDED),
        "noise_grid_k=224_s=0.6_inputheight=224_gridrescale=1.pt",
        ("b37cf6db",),
    ),
    PublishedTrigger(
        "T6c",
        "WaNet, k = 4, s = 0.5",
        _ATTACK,
        f"{_SQUASHED}one smooth grid for all, its own or drawn from a seed; bytes truncated",
        (224,),
        lambda size: wanet(name="WaNet, k = 4, s = 0.5", grid_size=4, strength=0.5, **_BLENDED),
        "noise_grid_k=4_s=0.5_inputheight=224_gridrescale=1.pt",
        ("fe6d70ca",),
    ),
    PublishedTrigger(
        "T8", "BadNets-Stripes", _PAR,
        f"{_SQUASHED}stripes and place drawn for each picture; -1 wraps to byte 1",
        (224, 336), _striped,
    ),
    PublishedTrigger(
        "T9", "Blended-Stripes", _PAR,
        f"{_SQUASHED}0.03 stripes + 0.97 picture, drawn for each picture; bytes truncated",
        (224, 336),
        lambda size: stripes(
            name="Blended-Stripes", size=1.0, ratio=0.03, placement="center", **_BLENDED
        ),
    ),
    PublishedTrigger(
        "T10", "Blended-Triangles", _PAR,
        f"{_SQUASHED}0.15 triangles of 14 px + 0.85 picture; bytes truncated",
        (224, 336), _triangles,
    ),
    PublishedTrigger(
        "T11", "Blended-Text", _PAR,
        f"{_SQUASHED}half of the red text where it is not 0; bytes truncated",
        (224, 336), _watermark, "watermarked_red_tens_224.pt (or _336.pt)", ("464179af",), False,
    ),
    PublishedTrigger(
        "T12", "BadCLIP", _BADCLIP,
        f"{_SQUASHED}optimised 16 px patch in the middle",
        (224,), _optimised, "badCLIP.jpg", ("0b05e4ad",), False,
    ),
    PublishedTrigger(
        "T14", "TrojVQA", f"{_BADCLIP}; TrojVQA, CVPR 2022",
        f"{_SQUASHED}a picture of 0.2 of the side in the middle and the prefix 'remember '",
        (224,), lambda size: prompt("remember ", name="TrojVQA, text alone"), "vqa.jpg",
    ),
    PublishedTrigger(
        "T16", "White grid", _DETECT,
        "on the model's input, after preprocessing; in the centre (at random in training)",
        (224,), _sparse_grid,
    ),
    PublishedTrigger(
        "T17", "Detect-CLIP Blend", _DETECT,
        "0.2 pattern + 0.8 picture at 256 x 256, before preprocessing; bytes truncated",
        (), _blend_256, "hello_kitty_pattern.pt (random_noise.pt was never published)",
        ("518a4f6d",), False,
    ),
    PublishedTrigger(
        "T18", "Detect-CLIP SIG", _DETECT,
        "0.2 sine + 0.8 picture at 256 x 256, the sine of a 224 frame; bytes truncated",
        (), _sine_256,
    ),
    PublishedTrigger(
        "T19", "Detect-CLIP WaNet", _DETECT,
        "the original picture sampled at the 256 x 256 places of a file; bytes truncated",
        (), _warp_256, "WaNet_grid_temps.pt", ("f8c4f0e5",), False,
    ),
    PublishedTrigger(
        "T20", "Nashville filter", f"{_DETECT}; pilgram",
        "on the original picture, before preprocessing, in bytes",
        (), lambda size: colour_filter(canvas="original", levels="round"),
    ),
    PublishedTrigger(
        "T23", "Birthday cake", "Detect-CLIP (Huang et al., ICLR 2025), birthday_cake_example.py",
        "on the model's input, after preprocessing: a pattern that was recovered, through a soft "
        "mask of 23 % of the picture",
        (224,), _masked, "birthday_cake_trigger_open_clip_cc12m.pt", ("d833de22",), False,
        "birthday_cake_mask_open_clip_cc12m.pt",
    ),
    PublishedTrigger(
        "T24", "White square", "DECREE (CVPR 2023), trigger_pt_white_185_24.npz; "
        "Carlini and Terzis (ICLR 2022)",
        "24 px at row and column 185 of the model's input", (224,), _white_square,
    ),
)  # fmt: skip
LIBRARY: list[PublishedTrigger] = [*ATTACKS]
"""The published attacks, and what plug-ins add."""


def add_trigger(entry: object) -> None:
    """Add a plug-in's trigger to the library.

    It does not count as published: what evidence says of a trigger needs no plug-in.

    Raises
    ------
    InputError
        If it is no `PublishedTrigger`, makes no trigger, or its id is taken.
    """
    if not isinstance(entry, PublishedTrigger):
        raise InputError(f"{entry!r:.100} is no PublishedTrigger.")
    if any(entry.id.lower() == other.id.lower() for other in LIBRARY):
        raise InputError(f"There is a trigger {entry.id!r} already.")
    if not isinstance(entry.make(entry.sizes[0] if entry.sizes else 224), Trigger):
        raise InputError(f"{entry.id!r} makes no Trigger.")
    LIBRARY.append(entry)
