"""What the proofs of a cleaned checkpoint are asked to do, as records. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.cleaning.catalogue import offered
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec, PairSpec, PathText
from ml_core.jobs.journal import read_json
from ml_core.jobs.specs import CLEANED_FILE, RESULT_FILE, CleanSpec, Machine, Setting, trained_on
from ml_core.options import option
from ml_core.reading.errors import InputError

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Shown(BaseModel):
    """Fields that are not named here are not shown."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Pairs(_Shown):
    kind: str
    path: str | None = None


class _Spec(_Shown):
    pairs: _Pairs | None = None


class _Proof(_Shown):
    notes: list[str] | None = None
    spec: _Spec | None = None
    n: _Count | None = None


class _Point(_Shown):
    step: float
    asr_excl: float
    asr_low: float | None = None
    asr_high: float | None = None


class _Rate(_Shown):
    factor: float
    points: list[_Point]


class _Highest(_Shown):
    max_asr: float


class _Rebound(_Proof):
    limit: float
    peak_lr: float
    pretraining: str | None = None
    steps: _Count
    batch_size: _Count
    rates: list[_Rate]
    worst: _Highest
    stays_clean: bool
    verdict: str
    left_out: dict[str, _Count] | None = None


class _Row(_Shown):
    group: str
    name: str
    measure: str
    before: float | None = None
    after: float | None = None
    after_interval: _Interval | None = None
    baseline: float | None = None
    n: _Count | None = None
    note: str | None = None


class _Worst(_Shown):
    group: str
    name: str
    after: float | None = None


class _Holdouts(_Proof):
    rows: list[_Row]
    worst: _Worst | None = None


def is_rebound(record: Mapping[str, Any]) -> bool:
    """Whether all numbers that are drawn from a rebound test are real, finite numbers."""
    return _fits(record, _Rebound)


def are_holdouts(record: Mapping[str, Any]) -> bool:
    """Whether all numbers in a table of hold-outs are real, finite numbers."""
    return _fits(record, _Holdouts)


def _fits(record: Mapping[str, Any], kind: type[_Proof]) -> bool:
    try:
        kind.model_validate(record)
    except ValidationError:
        return False
    return True


REBOUND_FILE = "rebound.json"
HOLDOUTS_FILE = "holdouts.json"
_DEMO_REBOUND_SEED = 7_000
PROOF_IMAGES = 1000  # of each of some forty measurements: 1.4 points at a rate of 5 %


class ReboundSpec(Machine, Setting):
    """One rebound test: does the backdoor come back when the cleaned model is finetuned again?

    It finetunes on clean ``pairs``, without those that the cleaning saw (``seen``) and those that
    name the target class; ``seen_labels`` says whether the labels of the label set decided which
    images the cleaning saw. The attack is watched on ``images``.
    """

    checkpoint: PathText
    donor: PathText | None = None
    pairs: PairSpec
    seen: PairSpec | ImageSpec | None = None
    seen_labels: bool = False
    trigger: PathText
    output_dir: PathText
    steps: int = option(300, help="Steps of each finetuning.", ge=1, le=100_000)
    batch_size: int = Field(default=64, ge=2, le=65_536)
    peak_lr: float | None = option(
        None, help="Peak rate of the pretraining (default: what is known of it).", gt=0.0, le=1.0
    )
    # Peak rates of the finetunings, as fractions of it.
    factors: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0), min_length=1, max_length=16)
    every: int = Field(default=25, ge=1, lt=2**31)  # steps between two measurements
    # Highest attack success rate, a fraction, of a model that stays clean.
    limit: float = Field(default=0.05, gt=0.0, lt=1.0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)  # order of the pairs


class HoldoutSpec(Machine, Setting):
    """One table of triggers, captions and classes that a cleaning run did not know.

    ``before`` is the suspect, with ``donor`` and ``use_choice``; ``after`` the cleaned checkpoint.
    Neither the run nor the choice of its recipe saw the labelled ``images``. ``pairs`` are for
    retrieval; those that the cleaning saw (``seen``, ``seen_labels`` as in a `ReboundSpec`) are
    left out. ``other_labels`` holds the target by name; None takes a built-in set that does.
    """

    before: str
    after: str
    donor: PathText | None = None
    use_choice: bool = True
    pairs: PairSpec | None = None
    seen: PairSpec | ImageSpec | None = None
    seen_labels: bool = False
    other_labels: PathText | None = None
    trigger: PathText
    output_dir: PathText


def rebound_of(spec: CleanSpec, *, most: int = PROOF_IMAGES, **changes: Any) -> ReboundSpec:
    """The rebound test of a finished cleaning run, on at most so many images.

    Raises
    ------
    InputError
        If the run had no trigger or no images, left no weights, or there are no pairs to finetune
        on.
    """
    images = _images(spec, most)
    pairs = changes.get("pairs") or usual_pairs(spec)
    if pairs is None:
        raise InputError(
            "The rebound test finetunes on image-caption pairs, and the run had none: choose "
            "some, under “Options…” in the window or with `cleanclip prove --pairs`."
        )
    fields = {
        "checkpoint": str(Path(spec.output_dir) / CLEANED_FILE),
        "donor": None,
        "images": images,
        **_seen(spec),
    }
    return spec.to(ReboundSpec, **fields | changes | {"pairs": pairs})


def holdouts_of(spec: CleanSpec, *, most: int = PROOF_IMAGES, **changes: Any) -> HoldoutSpec:
    """The hold-outs of a finished cleaning run, each on at most so many images.

    Raises
    ------
    InputError
        If the run had no trigger or no images, or its result cannot be opened any more.
    """
    images = _images(spec, most)
    fields = {
        "before": spec.checkpoint,
        "after": str(Path(spec.output_dir) / CLEANED_FILE),
        "images": images,
        "pairs": usual_pairs(spec),
        **_seen(spec),
    }
    return spec.to(HoldoutSpec, **fields | changes)


def usual_pairs(spec: CleanSpec) -> PairSpec | None:
    """The pairs of a run's proofs unless others are named; None if the run had none.

    They are the whole set of which the run trained on a part, or new compositions of the demo's
    art.
    """
    pairs = spec.pairs or _demo_pairs(spec)
    if pairs is None:
        return None
    if pairs.kind == "demo":
        return PairSpec(kind="demo", split="clean", seed=pairs.seed + _DEMO_REBOUND_SEED)
    return pairs.model_copy(update={"n": None})


def read_proof(folder: Path, name: str) -> dict[str, Any] | None:
    """A proof of the result in a run's folder; None if it is missing or is about other weights.

    Raises
    ------
    InputError
        If a number about the result's weights cannot be shown.
    """
    record = read_json(folder / name)
    tested = record if name == REBOUND_FILE else record.get("after")
    key = "checkpoint_sha256" if name == REBOUND_FILE else "sha256"
    if not isinstance(tested, dict) or key not in tested:
        return None
    result = read_json(folder / RESULT_FILE)
    if tested[key] != result.get("checkpoint_sha256"):
        return None
    if not (is_rebound if name == REBOUND_FILE else are_holdouts)(record):
        raise InputError(f"{name} of this run cannot be read; run the test again.", "damaged")
    return record


def _seen(spec: CleanSpec) -> dict[str, Any]:
    """What the cleaning was trained on."""
    if spec.recipe.method == "rvpt":  # it left no checkpoint that could be tested
        offered(spec.recipe.method)
    return {"seen": trained_on(spec), "seen_labels": spec.recipe.facts.data == "labelled"}


def _images(spec: CleanSpec, most: int) -> ImageSpec:
    """Test images of a run whose trigger is known, no more than a proof takes."""
    if spec.trigger is None:
        raise InputError("The run had no trigger: there is no attack success rate to prove.")
    images = spec.test_images
    if images is None or images == spec.images:
        if spec.images is None:
            raise InputError("The run had no images: choose labelled images to measure on.")
        images = spec.images.halves()[1]
    return images.model_copy(update={"n": min(images.n or most, most)})


def _demo_pairs(spec: CleanSpec) -> PairSpec | None:
    """The demo's pairs for a run on the demo's images."""
    training = spec.training_images
    demo = spec.label_set == "demo" and spec.label_set in label_sets()
    if demo and (training is None or training.kind == "demo"):
        return PairSpec(kind="demo", split="clean")
    return None
