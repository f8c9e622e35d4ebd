"""What a rate finder is asked to do and what it found, as JSON on disk. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ml_core.cleaning.rate_range import DROP, Proposal, RateRow
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PathText
from ml_core.jobs.specs import CleanSpec, JobSpec
from ml_core.options import option
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

RATES_FILE, RATES_TABLE, RATES_CHART = "rates.json", "rates.csv", "rates.svg"
LOWEST, HIGHEST = 1e-6, 1e-2
STEPS, POINTS, PICTURES = 60, 15, 256
CPU_BATCH = 32
"""Examples of a step on the CPU unless another number is asked for: minutes, not hours."""
_FAR = 10.0
_RECORD = JsonFile("a record of a rate finder", "find the rate again", max_bytes=4_000_000)


class RateSpec(JobSpec):
    """One ramp of the learning rate on a copy of a checkpoint.

    ``job`` is the cleaning job whose rate is looked for: checkpoint, data, recipe. Its test images
    and its recipe's rate, schedule and length are not used. Its ``output_dir`` holds the files that
    were written for the job. Without ``output_dir`` nothing is written.
    """

    job: CleanSpec
    low: float = option(LOWEST, "Lowest rate", "The first rate of the ramp.", gt=0.0, le=1.0)
    high: float = option(HIGHEST, "Highest rate", "The last rate of the ramp.", gt=0.0, le=1.0)
    steps: int = option(
        STEPS, "Steps", "Steps from the first to the last.", unit="steps", ge=10, le=10_000
    )
    points: int = option(POINTS, help="Measurements of accuracy on the way.", ge=2, le=1000)
    pictures: int = option(
        PICTURES,
        help="Validation images of a measurement, at most.",
        flag="--watched",
        ge=1,
        le=1_000_000,
    )
    # Class texts of each measurement, at most, but one template at least: where the text encoder is
    # trained they are embedded anew each time, and ImageNet has 80 000. Accuracy with few templates
    # is some points lower; what counts is its fall.
    texts: int = Field(default=1000, ge=1, le=10_000_000)
    batch_size: int | None = option(
        None, help=f"Default: the recipe's, at most {CPU_BATCH} on the CPU.", ge=2, le=65_536
    )
    drop: float = option(DROP, help="Points of accuracy that a rate may cost.", gt=0.0, lt=100.0)
    output_dir: PathText | None = None

    @model_validator(mode="after")
    def _rises(self) -> Self:
        """The ramp goes up, and is measured no more often than it has steps."""
        if self.high < 2 * self.low:
            raise ValueError(
                f"The highest rate ({self.high:g}) must be at least twice the lowest ({self.low:g})"
            )
        if self.points > self.steps:
            raise ValueError(
                f"Accuracy cannot be measured {self.points} times in {self.steps} steps: take "
                "more steps or fewer measurements"
            )
        return self


class RateRecord(Record):
    """What `RATES_FILE` holds: the start and every step, and what they suggest.

    ``ended`` is ``finished``, or why the ramp ended before its last step: accuracy ``fell`` far, or
    the loss ``diverged`` (was not a number) at the rate ``diverged_at``. ``n`` counts labelled
    validation images. ``cached`` rows are those of an earlier ramp of the same things.
    """

    kind: Literal["rates"] = "rates"
    checkpoint: str
    checkpoint_sha256: str | None
    recipe: Recipe
    rows: tuple[RateRow, ...] = Field(max_length=20_000)
    proposal: Proposal
    ended: Literal["finished", "fell", "diverged"]
    diverged_at: float | None = None
    low: float
    high: float
    steps: int
    drop: float
    batch_size: int
    n: int
    classes: int
    templates: int
    device: str
    precision: str
    threads: int
    seconds: float
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    cached: bool = False


def read_record(path: Path) -> RateRecord:
    """What a rate finder found, from its `RATES_FILE`.

    Raises
    ------
    InputError
        If the file is missing, or is something else.
    """
    fields = _RECORD.read(path, inside=path.parent)
    return _RECORD.check(fields, RateRecord, plain(path.name))


def refusal(recipe: Recipe) -> str:
    """Why no rate can be looked for with a method, as a sentence; empty if one can."""
    if recipe.facts.data != "none":
        return ""
    return f"{recipe.facts.title} takes no training step, so it has no learning rate to look for."


def watched_images(job: CleanSpec) -> ImageSpec:
    """The validation images of a job, which its report does not use.

    Raises
    ------
    InputError
        If it has none.
    """
    if job.images is None:
        raise InputError(
            "The rate finder watches accuracy on validation images: choose labelled images."
        )
    return job.images.halves()[0] if job.test_images in (None, job.images) else job.images


def ramp_job(spec: RateSpec, batch_size: int) -> CleanSpec:
    """The steps of a ramp as a cleaning job: its recipe says all but the rate of each step.

    Raises
    ------
    InputError
        If the method has no rate to look for, or there are no validation images.
    """
    job = spec.job
    if sentence := refusal(job.recipe):
        raise InputError(sentence)
    watched = watched_images(job)
    changes: dict[str, Any] = {
        "lr": spec.low, "schedule": "cosine", "warmup_steps": 0, "preset": "rates",
        "epochs": 1, "pairs": spec.steps * batch_size, "batch_size": batch_size,
        "eval_every": -(-spec.steps // spec.points), "save_every": 0, "stop_below_ca": _FAR,
        "way_back": 0.0,  # a loss that is measured elsewhere jumps
        "cache_chunk": min(job.recipe.cache_chunk, batch_size),
    }  # fmt: skip
    return job.model_copy(
        update={
            "recipe": job.recipe.changed(**changes),
            "images": watched.model_copy(
                update={"n": min(watched.n or spec.pictures, spec.pictures)}
            ),
            "test_images": None,
            "heldout_images": None,
            "trigger": None,
            "keep_steps": False,
            "processes": 1,
            "device": "auto" if job.device == "cuda" else job.device,
        }
    )
