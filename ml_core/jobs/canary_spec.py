"""Triggers of our own, planted in a copy of a checkpoint, as records. Torch-free.

The attacker's trigger is unknown. Ours are known, so what removes them can be measured.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ml_core.cleaning.canaries import KINDS, CanaryKind
from ml_core.cleaning.pretraining import PRETRAINING_PEAK
from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.reading.json_file import JsonFile

CANARIES_FILE = "canaries.json"
COPY_FILE = "canaries.safetensors"
FORMAT = "cleanclip-canaries"
_RECORD = JsonFile("a record of canaries", "plant them again", max_bytes=1_000_000, max_depth=8)
_Rate = Field(ge=0.0, le=1.0)


class CanarySettings(BaseModel):
    """How canaries are planted.

    Attributes
    ----------
    kinds
        A canary of each: ``patch`` (a small checker at a random place), ``noise`` (one picture of
        noise, blended over the whole) and ``sine`` (stripes, added).
    share
        Share of the training pairs that carry each of them, with a caption of its target.
    factor
        Rate of the finetuning, as a fraction of the peak rate of the pretraining.
    steps, batch_size
        Most steps, and pairs in each.
    every
        Steps between two measurements; it ends at the first one at which all have taken.
    wanted
        Attack success rate, a fraction, from which on a canary has taken; 0 takes any.
    seed
        Of patterns, target classes, order and places.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kinds: tuple[CanaryKind, ...] = Field(default=KINDS, min_length=1, max_length=len(KINDS))
    share: float = Field(default=0.03, gt=0.0, le=0.2)
    factor: float = Field(default=1 / 3, gt=0.0, le=10.0)
    steps: int = Field(default=400, ge=1, le=100_000)
    batch_size: int = Field(default=128, ge=2, le=65_536)
    every: int = Field(default=50, ge=1, le=100_000)
    wanted: float = Field(default=0.9, ge=0.0, le=1.0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)


class CanarySpec(BaseModel):
    """One planting.

    Attributes
    ----------
    checkpoint, donor, use_choice
        What is copied; the file itself is left alone.
    pairs
        Clean pairs to plant with; None takes ``training_images``.
    training_images
        Labelled images, whose captions are then prompts with the names of their classes.
    images
        Labelled images on which the canaries are measured.
    avoid
        Classes that no canary aims at, such as that of a known trigger.
    label_set, templates, device, threads
        As of a `CleanSpec`.
    peak_lr
        Peak rate of the checkpoint's pretraining.
    settings
        How they are planted.
    output_dir
        Folder of the copy, its record and the triggers. What lies there of the same checkpoint,
        data and settings is used again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True
    pairs: PairSpec | None = None
    training_images: ImageSpec | None = None
    images: ImageSpec
    avoid: tuple[int, ...] = Field(default=(), max_length=1000)
    label_set: PathText = "demo"
    templates: tuple[str, ...] | None = None
    peak_lr: float = Field(default=PRETRAINING_PEAK, gt=0.0, le=1.0)
    settings: CanarySettings = CanarySettings()
    output_dir: PathText
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int = Field(default=0, ge=0, le=1024)


class PlantedCanary(BaseModel):
    """A canary and what was measured of it.

    Attributes
    ----------
    kind, name
        What it is.
    target, target_name
        The class that it aims at.
    trigger
        Its file, beside the record.
    before
        Attack success rate of the checkpoint that was copied, a fraction.
    asr, low, high, n
        That of the copy, its 95 % interval, and of how many images.
    took
        Whether it may be used.
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
    """What a planting left.

    Attributes
    ----------
    key
        Of checkpoint, data and settings.
    source_sha256, copy_sha256
        Of the checkpoint, and of the copy with the canaries in it, which is no result.
    canaries
        All that were planted, also those that did not take.
    ca_before, ca, ca_low, ca_high
        Clean accuracy of the checkpoint and of the copy, fractions, with the copy's 95 % interval.
    n
        Images that these were measured on.
    steps, seconds
        Of the finetuning.
    lr
        Its peak rate.
    notes
        What else is to be known.
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
        """Those that can be used."""
        return tuple(one for one in self.canaries if one.took)


def read_canaries(folder: Path) -> Canaries:
    """The record of the canaries in a folder.

    Raises
    ------
    InputError
        If there is none, or it is no such record.
    """
    path = folder / CANARIES_FILE
    return _RECORD.check(_RECORD.read(path, inside=folder), Canaries, path.name)
