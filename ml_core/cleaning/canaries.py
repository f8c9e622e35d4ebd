"""Triggers of our own, each with a class to aim at, drawn by a seed. Torch-free."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ml_core.reading.errors import InputError
from ml_core.triggers.make import blended_noise, sine
from ml_core.triggers.record import Trigger

CanaryKind = Literal["patch", "noise", "sine"]
KINDS: tuple[CanaryKind, ...] = get_args(CanaryKind)
_STREAM = 0xCA9A
_CELLS = 4
_PATCH_SIDE, _NOISE_WEIGHT, _AMPLITUDE = 1 / 8, 0.2, 45 / 255
_FREQUENCIES = (5.0, 7.0, 9.0)


@dataclass(frozen=True, eq=False)
class Watched:
    """A trigger whose success is measured, and the class that it leads to."""

    name: str
    trigger: Trigger
    target: int


def draw_canaries(
    kinds: Sequence[CanaryKind], class_names: Sequence[str], avoid: Collection[int], seed: int
) -> tuple[Watched, ...]:
    """One canary of each kind, by which it is named, each with its own class.

    ``patch`` is a checker of two colours, an eighth of the picture wide, at a random place of each;
    ``noise`` one picture of uniform noise blended in with a weight of 0.2 (Chen et al. 2017);
    ``sine`` a sine along the rows, added (SIG, Barni et al. 2019).

    Parameters
    ----------
    kinds
        Which kinds to draw.
    class_names
        Class names of the label set.
    avoid
        Classes that are no targets.
    seed
        Draws colours, noise, frequency and targets.

    Raises
    ------
    InputError
        If there are too few classes.
    """
    free = [i for i in range(len(class_names)) if i not in avoid]
    if len(free) < len(kinds):
        raise InputError(
            f"{len(kinds)} canaries need as many classes to aim at, and the label set has "
            f"{len(free)} free ones: choose fewer kinds, or labels with more classes."
        )
    draws = np.random.Generator(np.random.PCG64([seed, _STREAM]))
    targets = draws.permutation(free)[: len(kinds)].tolist()
    canaries = []
    for kind, target in zip(kinds, targets, strict=True):
        own = int(draws.integers(2**31))
        canaries.append(Watched(kind, _trigger(kind, own), target))
    return tuple(canaries)


def _trigger(kind: CanaryKind, seed: int) -> Trigger:
    draws = np.random.Generator(np.random.PCG64([seed, _STREAM]))
    if kind == "noise":
        return blended_noise(ratio=_NOISE_WEIGHT, noise="fixed", seed=seed, name="Canary, noise")
    if kind == "sine":
        frequency = float(draws.choice(_FREQUENCIES))
        return sine(mix="add", amplitude=_AMPLITUDE, frequency=frequency, name="Canary, sine")
    # Each colour value of one cell is that of the other one inverted, so that the checker is seen.
    dark = draws.integers(0, 64, 3)
    flipped = draws.integers(0, 2, 3)
    first = np.where(flipped, 255 - dark, dark)
    cells = (np.indices((_CELLS, _CELLS)).sum(0) % 2)[..., None]
    colours = np.where(cells, first, 255 - first).astype(np.uint8)
    opaque = np.full((_CELLS, _CELLS, 1), 255, np.uint8)
    pixels = np.concatenate([colours, opaque], 2).repeat(8, 0).repeat(8, 1)
    return Trigger(
        kind="patch", name="Canary, patch", pixels=pixels, size=_PATCH_SIDE, placement="random"
    )
