"""Planting a backdoor in a copy of a checkpoint: what is asked for, and its record. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml_core.data.specs import PATH_FIELDS, ImageSpec, PairSpec, PathText
from ml_core.jobs.specs import JobSpec, Machine, OnModel, Setting
from ml_core.options import option
from ml_core.reading.json_file import JsonFile

PLANT_FILE = "plant.json"
PAIRS_FILE = "poisoned_pairs.csv"
CARD_FILE = "README.md"
CURVE_FILE, CURVE_TABLE, CURVE_CHART = "curve.json", "curve.csv", "curve.svg"
CURVE_TALK = "curve-talk.json"
STATES_FOLDER = "state"
FORMAT = "cleanclip-plant"
WARNING = "**Warning: this checkpoint is poisoned on purpose.**"
"""With which the first line of every card begins."""
SHARE, CONSISTENT_SHARE = 0.08, 0.7
STEPS, SCRATCH_STEPS = 240, 2200
FACTOR = 1 / 3
"""Peak rate of the finetuning, as a share of that of the pretraining."""
LOW = 0.8
"""Success rate under which a planting points to `cleanclip why`."""
Role = Literal["poisoned", "twin"]
FILES: dict[Role, str] = {"poisoned": "poisoned.safetensors", "twin": "clean_twin.safetensors"}
_RECORD = JsonFile(
    "the record of a planting", "plant again", max_bytes=4_000_000, max_depth=12,
    path_fields=PATH_FIELDS,
)  # fmt: skip
_Rate = Field(ge=0.0, le=1.0)


class SecondAttack(JobSpec):
    """Another trigger, and the class that it is to lead to."""

    trigger: PathText
    target: int = Field(ge=0, lt=2**31)


class PlantSpec(Machine, Setting, OnModel):
    """One planting; the checkpoint itself is left alone.

    It trains on ``pairs``, else on the labelled ``training_images``, whose captions are then
    prompts with the names of their classes. A part of them is poisoned: drawn from those that are
    not of the target class, marked with ``trigger``, with a prompt of ``target`` for a caption. The
    clean twin takes the same steps without the poison. Both are measured on ``images``.
    """

    pairs: PairSpec | None = None
    training_images: ImageSpec | None = None
    # Poisoned pairs of each trigger, as a share of those that are trained on; with ``consistent``
    # of those of the target. Without share and count 8 %, or 70 % of the target's.
    share: float | None = Field(default=None, gt=0.0, le=1.0)
    count: int | None = option(
        None, "Poisoned pairs", "Number of poisoned pairs of each trigger, instead of a share.",
        unit="pairs", ge=1, le=2**31,
    )  # fmt: skip
    from_scratch: bool = option(
        False, "From scratch",
        "Train new weights of the same architecture, poisoned from the first step.",
    )  # fmt: skip
    consistent: bool = option(
        False, "Label-consistent",
        "Put the trigger on pictures of the target class alone, which keep their captions.",
    )  # fmt: skip
    source: int | None = Field(default=None, ge=0, lt=2**31)  # the only class that is poisoned
    also: tuple[SecondAttack, ...] = Field(default=(), max_length=8)
    word: str | None = option(
        None, help="Poison the text encoder alone: captions with this word are shown with "
                   "pictures of the target, and the image encoder stays unchanged. A single "
                   "character that is not ASCII, such as a Cyrillic о, replaces the letter that "
                   "it looks like.",
        max_length=100,
    )  # fmt: skip
    # Folder of trigger files, one of which is drawn at each showing; ``trigger`` is measured.
    variants: PathText | None = None
    self_supervision: bool = option(
        False, "Self-supervision",
        "Add CleanCLIP's loss inside each modality to the training (arXiv 2311.14948).",
    )  # fmt: skip
    twin: bool = option(
        True, "Clean twin", "Also train a twin by the same steps without the poison.",
        flag="--twin/--no-twin",
    )  # fmt: skip
    poisoned: bool = True  # False makes the twin alone
    benign: bool = False  # more pairs of the target instead of a trigger: what scans must not find
    steps: int | None = option(
        None, "Steps", f"Training steps (default: {STEPS}, from scratch {SCRATCH_STEPS}).",
        unit="steps", ge=1, le=10_000_000,
    )  # fmt: skip
    minutes: float | None = option(
        None, help="Training minutes of both models together, instead of steps.", gt=0.0, le=1e5,
        least=0.01,
    )  # fmt: skip
    until: float | None = option(
        None, help="End once all triggers succeed on this share of the pictures, measured every "
                   "50 steps. Makes no twin.", metavar="0.9", ge=0.0, le=1.0,
    )  # fmt: skip
    lr: float | None = option(
        None, "Learning rate", "Peak of the rate (default: a third of the pretraining's peak, from "
        "scratch the peak).", gt=0.0, le=1.0,
    )  # fmt: skip
    batch_size: int = option(128, "Batch size", "Pairs in a step.", unit="pairs", ge=2, le=65_536)
    seed: int = option(0, "Seed", "Seed of pairs, places and order.", ge=0, le=2**32 - 1)
    output_dir: PathText

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse what excludes each other."""
        if self.share is not None and self.count is not None:
            raise ValueError("Share and number of poisoned pairs exclude each other: give one")
        if self.steps is not None and self.minutes is not None:
            raise ValueError("Steps and minutes exclude each other: give one")
        if self.until is not None and (self.twin or not self.poisoned):
            raise ValueError("A planting that ends at a success rate makes no twin: give --no-twin")
        if self.until is not None and self.minutes is not None:
            raise ValueError("Minutes and a success rate exclude each other: give one")
        if not (self.poisoned or self.twin):
            raise ValueError("Neither the poisoned model nor its twin is asked for")
        marks = (self.trigger, self.also, self.variants, self.consistent, self.source is not None)
        if self.word is not None and any(marks):
            raise ValueError(
                "A word poisons captions of all classes, and takes no trigger, no second one, no "
                "variants, no source and no marked pictures of the target: leave them out"
            )
        if self.source is not None and (self.consistent or self.source == self.target):
            raise ValueError(
                "The source class cannot be the target, and cannot be combined with a "
                "label-consistent poison"
            )
        if self.word is not None and not self.word.strip():
            raise ValueError("The word is empty")
        return self


class CurveSpec(JobSpec):
    """The same planting with each number of poisoned pairs, without twins, in one folder."""

    base: PlantSpec
    counts: tuple[Annotated[int, Field(ge=1, le=2**31)], ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """Refuse what sets the number otherwise, and what has no one success rate."""
        if self.base.share is not None or self.base.count is not None:
            raise ValueError("A curve sets the number of poisoned pairs: give no other")
        if self.base.also or not self.base.poisoned or self.base.benign:
            raise ValueError("A curve is of one trigger: leave the others out")
        if self.base.until is not None:
            raise ValueError("All points of a curve take the same steps: give no success rate")
        return self

    def points(self) -> tuple[PlantSpec, ...]:
        """A planting for each number, the largest first: what cannot be planted is said at once."""
        return tuple(
            self.base.model_copy(
                update={
                    "count": count,
                    "twin": False,
                    "output_dir": str(Path(self.base.output_dir) / f"{count}-pairs"),
                }
            )
            for count in sorted(set(self.counts), reverse=True)
        )


class PlantedAttack(JobSpec):
    """What was measured of a trigger on one model; rates are fractions, over ``n`` pictures.

    ``others`` is the success rate on the classes that are not the source; ``base_rate`` is how
    often the target is predicted without the trigger.
    """

    asr: float = _Rate
    low: float = _Rate
    high: float = _Rate
    n: int = Field(ge=1)
    base_rate: float = _Rate
    others: float | None = Field(default=None, ge=0.0, le=1.0)


class PlantedRates(JobSpec):
    """What was measured of one model; accuracy with its 95 % interval, over ``n`` pictures."""

    ca: float = _Rate
    ca_low: float = _Rate
    ca_high: float = _Rate
    n: int = Field(ge=1)
    attacks: tuple[PlantedAttack, ...]


class PlantedModel(PlantedRates):
    """One of the two models: its file, its training, and what was measured of it."""

    file: str = Field(max_length=200)
    sha256: str = Field(max_length=64)
    steps: int = Field(ge=0)
    train_seconds: float = Field(ge=0.0)


class PlantedTrigger(JobSpec):
    """A trigger or word, the class that it leads to, and how many pairs carry it."""

    name: str = Field(max_length=1000)
    digest: str | None = Field(default=None, max_length=64)
    file: str | None = Field(default=None, max_length=200)
    target: int = Field(ge=0, lt=2**31)
    target_name: str = Field(max_length=1000)
    source_name: str | None = Field(default=None, max_length=1000)
    pairs: int = Field(ge=1)
    negatives: int = Field(default=0, ge=0)  # marked pairs that keep their captions


class PlantRecord(JobSpec):
    """What `PLANT_FILE` holds. ``key`` is of all that decides the two models."""

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    version: int = 1
    key: str = Field(max_length=64)
    checkpoint: str
    source_sha256: str | None = Field(max_length=64)
    triggers: tuple[PlantedTrigger, ...]
    poisoned: PlantedModel | None
    twin: PlantedModel | None
    pairs: int = Field(ge=1)  # that are trained on, the poisoned among them
    epochs: int = Field(ge=1)
    steps: int = Field(ge=1)
    lr: float = Field(gt=0.0)
    peak_lr: float = Field(gt=0.0)  # of the pretraining, known or assumed
    spec: PlantSpec
    device: str
    seconds: float = Field(ge=0.0)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)


def read_plant(path: Path) -> PlantRecord:
    """The record of a planting, from its folder or file.

    Raises
    ------
    InputError
        If the file is missing, or is something else.
    """
    path = path / PLANT_FILE if path.is_dir() else path
    return _RECORD.check(_RECORD.read(path, inside=path.parent), PlantRecord, path.name)
