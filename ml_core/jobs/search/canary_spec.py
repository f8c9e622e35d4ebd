"""Triggers of our own, planted in a copy of a checkpoint, as records. Torch-free.

The attacker's trigger is unknown. Ours are known, so what removes them can be measured.
"""

from __future__ import annotations

from pydantic import Field

from ml_core.cleaning.canaries import KINDS, CanaryKind
from ml_core.options import option
from ml_core.records import Record

_Rate = Field(ge=0.0, le=1.0)


class CanarySettings(Record):
    """How canaries are planted, see `PlantSpec`.

    There is one of each kind: ``patch`` (a small checker at a random place), ``noise`` (one picture
    of noise, blended over the whole) and ``sine`` (stripes, added).
    """

    kinds: tuple[CanaryKind, ...] = Field(default=KINDS, min_length=1, max_length=len(KINDS))
    # Share of the training pairs that carry each of them, with a caption of its target.
    share: float = Field(default=0.03, gt=0.0, le=0.2)
    # Rate of the finetuning, as a fraction of the peak rate of the pretraining.
    factor: float = Field(default=1 / 3, gt=0.0, le=10.0)
    steps: int = option(
        400, help="Most steps of planting the canaries.", flag="--canary-steps", ge=1, le=100_000
    )
    batch_size: int = option(128, help="Pairs or images in a step.", ge=2, le=65_536)
    # Success rate, a fraction, from which on a canary has taken: once all have, planting ends.
    wanted: float = Field(default=0.9, ge=0.0, le=1.0)
    seed: int = option(0, help="Seed of canaries and runs.", ge=0, le=2**32 - 1)


class PlantedCanary(Record):
    """A canary, the class that it aims at, and what was measured of it.

    ``asr`` is the attack success rate on the copy, with its 95 % interval, all fractions.
    """

    kind: CanaryKind
    name: str = Field(max_length=200)
    target: int = Field(ge=0, lt=2**31)
    target_name: str = Field(max_length=1000)
    asr: float = _Rate
    low: float = _Rate
    high: float = _Rate
    n: int = Field(ge=1)
    took: bool
