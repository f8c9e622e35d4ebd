"""What a job is: which recipe on which files, as JSON on disk. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ml_core.atomic import replace_files
from ml_core.cleaning.catalogue import offered
from ml_core.cleaning.recipes import Recipe, explain
from ml_core.data.labels import is_built_in
from ml_core.data.specs import PATH_FIELDS, ImageSpec, PairSpec, PathText
from ml_core.figures import distinct
from ml_core.options import option
from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspect import is_there, whole_file
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

Device = Annotated[  # ``cuda`` where several processes take a GPU each
    str, option(help="auto, cpu, mps or cuda:N.", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
]
Threads = Annotated[
    int,
    option(
        help="CPU threads; 0 takes OMP_NUM_THREADS, or else all cores but one (of two cores, "
        "both).",
        ge=0,
        le=1024,
    ),
]
Processes = Annotated[int, Field(ge=1, le=1024)]


Spec = TypeVar("Spec", bound=BaseModel)


class JobSpec(Record):
    """A job as it stands in a file; unknown fields are refused."""

    def to(self, kind: type[Spec], **own: Any) -> Spec:
        """A job of another kind: the fields that both kinds declare, and its ``own`` ones."""
        shared = type(self).model_fields.keys() & kind.model_fields.keys() - own.keys()
        return kind(**{name: getattr(self, name) for name in shared}, **own)


class OnModel(JobSpec):
    """Which model: a checkpoint, the donor of an encoder that it lacks, the doctor's choice."""

    checkpoint: PathText
    donor: PathText | None = None
    use_choice: bool = True


class Classes(JobSpec):
    """The classes that the model chooses from for each picture."""

    label_set: PathText = "demo"
    templates: tuple[str, ...] | None = None


class Attack(Classes):
    """Which trigger is to lead to which class; None reports the attack as not measured."""

    trigger: PathText | None = None  # PNG or JSON
    target: int = Field(default=0, ge=0, lt=2**31)


class Setting(Attack):
    """What is measured on: pictures, classes, and an attack; see `open_setting`."""

    images: ImageSpec


class Machine(JobSpec):
    """Where a job is computed."""

    device: Device = "auto"
    threads: Threads = 0


_JOB = JsonFile("a job file", "write it anew", max_bytes=1_000_000, path_fields=PATH_FIELDS)


def write_spec_file(spec: BaseModel, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Escapes hold the names of files that are no UTF-8, which pydantic cannot write.
    replace_files({path: json.dumps(spec.model_dump(mode="json"), indent=1).encode()})
    return path


def read_spec_file(path: Path, kind: type[Spec]) -> Spec:
    """Read what :func:`write_spec_file` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or a field is missing or out of range.
    """
    fields = _JOB.read(path, inside=path.parent)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"The job in {plain(path.name)} cannot run: {explain(error)}") from error


SPEC_FILE = "spec.json"
LOCK_FILE = ".lock"
EVENTS_FILE = "events.jsonl"
RESULT_FILE = "result.json"
STEPS_FOLDER = "steps"
CLEANED_FILE = "cleaned.safetensors"
SAVED_FILE = "saved.json"
"""The file name under which a cleaned checkpoint was saved elsewhere: ``{"name": ...}``."""
HEAD_FILE = "linear_head.safetensors"
STATE_FILE = "state/state.safetensors"
TRAINING_SPLITS = ("train", "clean")
# Of the demo's clean compositions about half show one object of one class.
_DEMO_LABELLED_SHARE = 0.5


class SpeedChoice(Record):
    """How the steps of an earlier run were computed, to repeat it without measuring anew."""

    autocast: bool
    channels_last: bool | None = None
    step_seconds: dict[str, float] = {}  # noqa: RUF012, pydantic copies it


class CleanSpec(Machine, Attack, OnModel):
    """One cleaning job."""

    recipe: Recipe
    # Needed by CleanCLIP and MMCL. Methods that train on images alone take their pictures where
    # there are no training images.
    pairs: PairSpec | None = None
    training_images: ImageSpec | None = None
    # Labelled, watched while training; None watches nothing.
    images: ImageSpec | None = None
    # Of the before/after numbers. Where only ``images`` is given, or the same twice, one fifth of
    # them is watched and the rest tested, or all twice if they are few.
    test_images: ImageSpec | None = None
    heldout_images: ImageSpec | None = None  # another art style of the demo, reported beside
    targeted: bool = True  # whether somebody named the target; if not, nothing is said about it
    output_dir: PathText
    reference: PathText | None = None  # clean, of the same architecture, for methods that take one
    # Trigger files of what scans found, which methods put on their pictures; where there are
    # none, it takes ``trigger``.
    stamps: tuple[PathText, ...] = Field(default=(), max_length=64)
    keep_steps: bool = False  # whether the checkpoint of every evaluation is kept, in ``steps/``
    # Of this machine, in which the window starts the job, with torchrun. Elsewhere whoever starts
    # it decides.
    processes: Processes = 1
    # Training time that the recipe's budget was fitted to, to know it again.
    minutes: float | None = Field(default=None, gt=0.0, le=1e6, allow_inf_nan=False)
    # What an earlier run chose (``speed`` of its result); None measures as the recipe says.
    speed: SpeedChoice | None = None

    @property
    def sets(self) -> dict[str, ImageSpec | PairSpec]:
        """The data that are named, by field."""
        names = ("pairs", "training_images", "images", "test_images", "heldout_images")
        return {name: part for name in names if (part := getattr(self, name)) is not None}


def note_saved(folder: Path, name: str) -> None:
    """Keep the name under which what a run made was saved, for reports; best effort."""
    with suppress(OSError):
        replace_files({folder / SAVED_FILE: json.dumps({"name": name}).encode()})


def as_measured(spec: CleanSpec, result: Mapping[str, Any]) -> CleanSpec:
    """The job with the arithmetic that an earlier run of it chose, if its result says so.

    If the result is of another device or another choice of precision, the job measures anew.
    """
    try:
        speed = SpeedChoice.model_validate(result.get("speed"))
        before = Recipe.model_validate(result.get("recipe"))
    except ValidationError:  # there is no result, or an older version wrote it
        return spec
    if spec.recipe.precision != before.precision or spec.device not in (
        "auto",
        result.get("device"),
    ):
        return spec.model_copy(update={"speed": None})
    return spec.model_copy(update={"speed": speed})


def check_spec(spec: CleanSpec) -> None:
    """Refuse a job that cannot start, before anything is loaded.

    Raises
    ------
    InputError
        If an earlier version alone had the method, the data that it needs are not named, or a file
        is missing.
    """
    offered(spec.recipe.method)
    facts = spec.recipe.facts
    part, words = {
        "pairs": (spec.pairs, "image-caption pairs: choose a pair table or the demo"),
        "labelled": (spec.training_images, "labelled images: choose a folder, a CSV or the demo"),
        "images": (
            trained_on(spec),
            "images: choose a folder, a CSV, image-caption pairs or the demo",
        ),
    }.get(facts.data, (spec, ""))
    if part is None:
        raise InputError(f"{facts.title} trains on {words}.")
    if "reference" in facts.needs and spec.reference is None:
        raise InputError(
            f"{facts.title} needs a clean checkpoint of the same architecture: choose a reference."
        )
    training = spec.training_images
    if training is not None and training.kind == "demo" and training.split not in TRAINING_SPLITS:
        raise InputError(
            f"The demo's {training.split} pictures are for measuring: train on demo:clean."
        )
    if whole_file(spec.checkpoint).resolve() == (Path(spec.output_dir) / CLEANED_FILE).resolve():
        raise InputError(
            "The cleaned checkpoint would overwrite the one being cleaned: choose another folder."
        )
    for what, path in (
        ("checkpoint", spec.checkpoint),
        ("donor", spec.donor),
        ("reference", spec.reference),
        ("trigger", spec.trigger),
        *(("trigger", path) for path in spec.stamps),
    ):
        if path is not None and not is_there(path):
            raise InputError(f"There is no {what} at {path}; choose an existing file.")


def trained_on(spec: CleanSpec) -> PairSpec | ImageSpec | None:
    """The data that the run trains on; without a number, as much as its recipe takes.

    A method that takes images alone uses the pictures of pairs if the job names no images.
    """
    facts = spec.recipe.facts
    if facts.data == "none":
        return None
    part: PairSpec | ImageSpec | None
    part = spec.pairs if facts.data == "pairs" else spec.training_images
    if facts.data == "images":
        part = part or spec.pairs
    if part is None or part.n is not None:
        return part
    share = _DEMO_LABELLED_SHARE if facts.data == "labelled" and part.kind == "demo" else 1.0
    return part.model_copy(update={"n": int(spec.recipe.pairs / share)})


def write_spec(spec: CleanSpec, path: Path) -> Path:
    """Write ``spec`` as JSON; return the path."""
    return write_spec_file(spec, path)


def read_spec(path: Path) -> CleanSpec:
    """Read a job from JSON; relative paths in it start at its folder.

    Raises
    ------
    InputError
        If the file is missing, is not JSON, or a field is missing or out of range.
    """
    return _absolute(read_spec_file(path, CleanSpec), path.resolve().parent)


def _absolute(spec: CleanSpec, folder: Path) -> CleanSpec:
    """Resolve the spec's relative paths against ``folder``."""
    names = ("checkpoint", "donor", "reference", "trigger", "output_dir")
    given = {name: getattr(spec, name) for name in names}
    if not is_built_in(spec.label_set):
        given["label_set"] = spec.label_set
    changes: dict[str, Any] = {
        name: str(folder / path) for name, path in given.items() if path is not None
    }
    changes["stamps"] = tuple(str(folder / path) for path in spec.stamps)
    sets = {
        name: part.model_copy(update={key: str(folder / path) for key, path in part.paths.items()})
        for name, part in spec.sets.items()
    }
    return spec.model_copy(update=changes | sets)


BENCH_FILE = "bench.json"
TABLE_FILE = "bench.csv"
CHART_FILE = "tradeoff.svg"


class BenchSpec(JobSpec):
    """A fair comparison.

    All share ``base``: checkpoint, data, trigger, target. Its ``output_dir`` is the folder of the
    comparison; its recipe is not used. Each recipe runs once with each seed. ``minutes`` is the
    training time that each gets on this machine, measured before it starts; None leaves the
    recipes' own budgets.
    """

    base: CleanSpec
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=256)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, max_length=64)
    minutes: float | None = Field(default=None, gt=0.0, le=10_000.0)
    rebound: bool = option(
        False, help="Finetune each result again and watch the ASR.", flag="--rebound/--no-rebound"
    )
    holdouts: bool = option(
        False, help="Test triggers and data that no run saw.", flag="--holdouts/--no-holdouts"
    )
    # None takes 300, or a test that is there.
    rebound_steps: int | None = option(
        None,
        help="Steps of each finetuning of --rebound (else 300).",
        flag="--steps",
        ge=1,
        le=100_000,
    )
    other_labels: PathText | None = None

    def jobs(self) -> tuple[CleanSpec, ...]:
        """One job for each recipe and seed, each in its own folder."""
        jobs: list[CleanSpec] = []
        names = distinct((f"{each.method}-{each.preset}" for each in self.recipes), "{}-{}")
        for name, recipe in zip(names, self.recipes, strict=True):
            for seed in self.seeds:
                changes = {
                    "recipe": recipe.model_copy(update={"seed": seed}),
                    "output_dir": str(Path(self.base.output_dir) / f"{name}-seed{seed}"),
                    "minutes": self.minutes if recipe.total_steps else None,
                }
                jobs.append(self.base.model_copy(update=changes))
        return tuple(jobs)


def halved(spec: CleanSpec, *, batch_norm: bool = True) -> CleanSpec:
    """The job with half as many examples in memory at a time.

    With BatchNorm frozen, or none in the model, half as many are encoded at a time (gradient
    caching): the gradient stays that of the whole batch. With BatchNorm in training only a smaller
    batch helps, whose contrast is weaker; the number of examples stays.

    Parameters
    ----------
    spec
        The job as it was started.
    batch_norm
        Whether the model has BatchNorm (a ResNet); True if not known.
    """
    recipe = spec.recipe
    if recipe.batch_norm == "frozen" or not batch_norm:
        now = min(recipe.cache_chunk or recipe.batch_size, recipe.batch_size)
        return _with(spec, cache_chunk=max(1, now // 2))
    return _with(spec, batch_size=max(2, recipe.batch_size // 2))


def _with(spec: CleanSpec, **fields: int) -> CleanSpec:
    """The job with some fields of its recipe changed."""
    return spec.model_copy(update={"recipe": spec.recipe.changed(**fields)})
