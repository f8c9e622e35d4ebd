"""Fixed triggers that are tried unchanged: the library of published ones, and simple patterns.

Only forward passes. Clean models have natural favourites too (a sine turns nine of ten pictures of
a small model into one class), so only what the reference does not share counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml_core.detection.scan.records import ProbeRow, Rate
from ml_core.detection.scan.sides import Sides
from ml_core.reading.errors import InputError
from ml_core.triggers import LIBRARY, Trigger, badnets_patch, blended_noise, published, sine

NATURAL = 0.05  # what the reference may do at most under the same trigger
_SMALL, _LARGE = 0.02**0.5, 0.035**0.5
_RED, _GREEN, _BLUE, _YELLOW = (220, 20, 40), (20, 180, 60), (30, 60, 220), (250, 220, 30)
_BLACK, _WHITE = (5, 5, 5), (250, 250, 250)
_DRAW = 7


@dataclass(frozen=True, eq=False)
class Probe:
    """A trigger to try."""

    id: str
    trigger: Trigger


def probes_at(size: int) -> tuple[Probe, ...]:
    """All probes at a model's input size, about forty.

    High frequencies are left out: from an eighth of the side on, sines move clean models too.
    """
    return (*_library(size), *_patterns(size))


def _library(size: int) -> Iterator[Probe]:
    for entry in LIBRARY:
        if entry.needs_file and not entry.without_file:
            continue
        trigger = published(entry.id, size)
        if trigger.changes_pictures:
            # On the model's canvas: what is searched are pictures at that size.
            yield Probe(entry.id, replace(trigger, canvas="model", text=""))


def _patterns(size: int) -> Iterator[Probe]:
    for ratio in (0.1, 0.2, 0.3):
        yield Probe(
            f"noise-{ratio:g}",
            blended_noise(ratio=ratio, noise="fixed", name=f"Noise, {ratio:.0%} blended"),
        )
    for frequency in (2, 4, 6, 8):
        if frequency <= size / 8:
            yield Probe(
                f"sine-{frequency}x",
                sine(mix="add", frequency=float(frequency), name=f"Sine, {frequency} across"),
            )  # fmt: skip
    for frequency in (3, 6):
        for way, name in ((0, "down"), (1, "diagonal")):
            yield Probe(f"sine-{frequency}-{name}", _grating(size, frequency, way))
    for cells in (2, 3, 4):
        for first, second, name in (
            (_RED, _WHITE, "red"), (_BLUE, _WHITE, "blue"), (_BLACK, _YELLOW, "yellow")
        ):  # fmt: skip
            yield Probe(f"checker-{cells}-{name}", _checker(cells, first, second, name))
    for colour, name in ((_RED, "red"), (_GREEN, "green"), (_WHITE, "white"), (_BLACK, "black")):
        pixels = np.array([[[*colour, 255]]], np.uint8)
        yield Probe(
            f"solid-{name}",
            Trigger(kind="patch", name=f"Solid patch, {name}", pixels=pixels, size=_LARGE,
                    placement="random"),
        )  # fmt: skip
    yield Probe("random-patch", badnets_patch(size=_SMALL, noise="fixed"))
    draw = np.random.default_rng(_DRAW)
    for number in range(2):
        array = draw.random((12, 12, 3), np.float32)
        yield Probe(
            f"random-patch-{number + 2}",
            Trigger(kind="patch", name=f"Random patch {number + 2}", array=array, size=_LARGE,
                    placement="random"),
        )  # fmt: skip


def _grating(size: int, frequency: int, way: int) -> Trigger:
    y, x = np.mgrid[0:size, 0:size] / size
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * frequency * (y if way == 0 else (x + y) / 2))
    array = np.repeat(wave[..., None], 3, 2).astype(np.float32)
    name = f"Sine, {frequency} {'down' if way == 0 else 'diagonal'}"
    return Trigger(kind="blended", name=name, array=array, ratio=0.3)


def _checker(
    cells: int, first: tuple[int, int, int], second: tuple[int, int, int], name: str
) -> Trigger:
    even = np.indices((cells, cells)).sum(0) % 2 == 0
    pixels = np.where(even[..., None], (*first, 255), (*second, 255)).astype(np.uint8)
    side = 12 // cells
    pixels = pixels.repeat(side, 0).repeat(side, 1)
    return Trigger(
        kind="patch", name=f"Checker, {name}, {cells} x {cells}", pixels=pixels, size=_SMALL,
        placement="random",
    )  # fmt: skip


def probe_row(sides: Sides, probe: Probe, predicted: list[NDArray[np.int64]]) -> ProbeRow:
    """What a probe did: the class of the largest contrast among those the reference keeps.

    ``predicted`` holds each model's classes for the first held-out pictures.
    """
    part = slice(len(predicted[0]))
    clean = sides.clean()[0][part]
    moved = predicted[0][predicted[0] != clean]
    named = np.unique(moved if len(moved) else clean[:1])
    contrasts = [(sides.contrast(int(c), predicted, part), int(c)) for c in named]
    unnatural = [row for row in contrasts if row[0].beside.value <= NATURAL] or contrasts
    contrast, number = max(unnatural, key=lambda row: row[0].difference)
    return ProbeRow(
        id=probe.id, name=probe.trigger.name, target=sides.class_names[number], contrast=contrast,
        favourite=_favourite(sides, predicted[-1]) if sides.reference is not None else None,
    )  # fmt: skip


def _favourite(sides: Sides, predicted: NDArray[np.int64]) -> Rate:
    """How many of the first pictures the reference moves to the class that rises most there."""
    part = slice(len(predicted))
    return sides.rate(sides.most_risen(predicted, sides.clean()[1][part]), predicted, part)


def measured_again(sides: Sides, probe: Probe, row: ProbeRow, tried: int, seed: int) -> ProbeRow:
    """The same probe and class on the other held-out pictures, which nothing was chosen on."""
    rest = slice(tried, None)
    if len(sides.held_out) - tried < tried:
        return row
    number = list(sides.class_names).index(row.target)
    contrast = sides.measure(number, probe.trigger, seed, rest)
    return row.model_copy(update={"contrast": contrast, "again": True})


_LOOKED_AT = 64
_FLAT = 4.0  # spread of a picture's values, of 255
# Of steps between neighbouring pixels: real pictures have areas and edges, so that a few steps are
# far larger than most. Noise, also smooth noise, is about Gaussian, which has 3.
_KURTOSIS = 5.0


def check_real(pictures: NDArray[np.uint8], name: str) -> None:
    """Refuse pictures of noise or of one colour.

    Parameters
    ----------
    pictures
        uint8 [n, S, S, 3].
    name
        Name of the set.

    Raises
    ------
    InputError
        If half of them are so.
    """
    values = pictures[:_LOOKED_AT].astype(np.float64)
    if np.median(values.std((1, 2, 3))) < _FLAT:
        what = "all one colour"
    elif np.median(kurtosis(np.diff(values, axis=2))) < _KURTOSIS:
        what = "noise"
    else:
        return
    raise InputError(
        f"The pictures of {name} are {what}: a trigger shows only on real pictures. Choose "
        "photographs, with or without labels."
    )


def kurtosis(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourth moment over the squared second, of each [n, ...]: 3 of a Gaussian, 0 of a constant."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(1, keepdims=True)
    spread = (flat**2).mean(1)
    ratio: NDArray[np.float64] = (flat**4).mean(1) / np.maximum(spread, 1e-9) ** 2
    return np.where(spread < 1e-9, 0.0, ratio)
