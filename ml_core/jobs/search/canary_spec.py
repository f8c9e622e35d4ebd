"""Triggers of our own, planted in a copy of a checkpoint, as records. Torch-free.

The attacker's trigger is unknown. Ours are known, so what removes them can be measured.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.cleaning.canaries import KINDS, CanaryKind
from ml_core.options import option
from ml_core.reading.json_file import JsonFile

CANARIES_FILE = "canaries.json"
COPY_FILE = "canaries.safetensors"
FORMAT = "cleanclip-canaries"
_RECORD = JsonFile("a record of canaries", "plant them again", max_bytes=1_000_000, max_depth=8)
_Rate = Field(ge=0.0, le=1.0)


class CanarySettings(BaseModel):
    """How canaries are planted.

    There is one of each kind: ``patch`` (a small checker at a random place), ``noise`` (one picture
    of noise, blended over the whole) and ``sine`` (stripes, added).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kinds: tuple[CanaryKind, ...] = Field(default=KINDS, min_length=1, max_length=len(KINDS))
    # Share of the training pairs that carry each of them, with a caption of its target.
    share: float = Field(default=0.03, gt=0.0, le=0.2)
    # Rate of the finetuning, as a fraction of the peak rate of the pretraining.
    factor: float = Field(default=1 / 3, gt=0.0, le=10.0)
    steps: int = option(
        400, help="Most steps of planting the canaries.", flag="--canary-steps", ge=1, le=100_000
    )
    batch_size: int = option(128, help="Pairs or images in a step.", ge=2, le=65_536)
    # Steps between two measurements; planting ends at the first one at which all have taken.
    every: int = Field(default=50, ge=1, le=100_000)
    # Attack success rate, a fraction, from which on a canary has taken; 0 takes any.
    wanted: float = Field(default=0.9, ge=0.0, le=1.0)
    seed: int = option(0, help="Seed of canaries and runs.", ge=0, le=2**32 - 1)


class PlantedCanary(BaseModel):
    """A canary, the class that it aims at, and what was measured of it.

    ``trigger`` is its file, beside the record. ``before`` is the attack success rate of the
    checkpoint that was copied, ``asr`` that of the copy with its 95 % interval, all fractions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: CanaryKind
    name: str = Field(max_length=200)
    target: int = Field(ge=0, lt=2**31)
    target_name: str = Field(max_length=1000)
    trigger: str = Field(max_length=200, pattern=r"^[\w-]+\.json$")
    before: float = _Rate
    asr: float = _Rate
    low: float = _Rate
    high: float = _Rate
    n: int = Field(ge=1)
    took: bool


class Canaries(BaseModel):
    """What a planting left; ``canaries`` are all that were planted, also those that did not take.

    ``key`` is of checkpoint, data and settings. The copy with the canaries is no result. Accuracies
    are fractions, of the checkpoint before and of the copy, with the copy's 95 % interval; ``lr``
    is the peak rate of the finetuning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    key: str = Field(max_length=64)
    source_sha256: str | None = Field(max_length=64)
    copy_sha256: str = Field(max_length=64)
    canaries: tuple[PlantedCanary, ...] = Field(min_length=1, max_length=16)
    ca_before: float = _Rate
    ca: float = _Rate
    ca_low: float = _Rate
    ca_high: float = _Rate
    n: int = Field(ge=1)
    steps: int = Field(ge=0)
    lr: float = Field(gt=0.0)
    seconds: float = Field(ge=0.0)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = {}

    @property
    def taken(self) -> tuple[PlantedCanary, ...]:
        """The canaries that took and can be used."""
        return tuple(canary for canary in self.canaries if canary.took)


def read_canaries(folder: Path) -> Canaries:
    """The record of the canaries in a folder.

    Raises
    ------
    InputError
        If the file is missing, or holds no canaries.
    """
    path = folder / CANARIES_FILE
    return _RECORD.check(_RECORD.read(path, inside=folder), Canaries, path.name)
