"""Numbers of a model on one image set, as a stage of a job."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace

from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet
from ml_core.data.labels import LabelSet, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.evaluate import Measurement
from ml_core.evaluation.records import Evaluation, PerImage
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.stamping import spare_core
from ml_core.evaluation.zero_shot import classifier_steps
from ml_core.events import Control, Event, Progress, forwarded
from ml_core.jobs.opening import opening_images
from ml_core.jobs.specs import Attack, Classes, Setting
from ml_core.model import ClipModel, Preprocess
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.files import load_trigger
from ml_core.triggers.record import Trigger

_PROGRESS_SECONDS = 0.25
BATCH = 64
"""Images a call where nothing else was measured to be faster."""


@dataclass(frozen=True, eq=False)
class OpenSetting:
    """A `Setting` whose files are open: pictures, their classes, and the attack on them."""

    spec: ImageSpec
    images: ImageSet
    label_set: LabelSet
    trigger: Trigger | None = None
    target: int = 0

    @property
    def seed(self) -> int:
        """Seed of each picture's random draws."""
        return self.spec.seed

    def on(self, preprocess: Preprocess) -> Bench:
        """The same on a model's canvas."""
        fitted = self.images.fitted(preprocess.fit)
        canvases = CanvasCache(fitted, preprocess.size)
        return Bench(**vars(self) | {"images": fitted}, canvases=canvases)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bench(OpenSetting):
    """Images on the model's canvas, with what they are tested for."""

    canvases: CanvasCache

    def subject(self, model: ClipModel, classifier: Tensor) -> Subject:
        """A model and its classifier on these images."""
        return Subject(
            model,
            self.canvases,
            classifier,
            self.label_set.class_names,
            self.images.labels,
            self.label_set.templates,
            self.images.key,
            seed=self.seed,
        )


def open_classes(spec: Classes) -> LabelSet:
    """The label set of a job, with the job's own templates if it has some.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    label_set = load_label_set(spec.label_set)
    return label_set if spec.templates is None else replace(label_set, templates=spec.templates)


def open_attack(spec: Attack) -> tuple[LabelSet, Trigger | None]:
    """The label set and the trigger of a job.

    Raises
    ------
    InputError
        If one of them cannot be read, or the target is not one of the classes.
    """
    label_set = open_classes(spec)
    if spec.target >= len(label_set.class_names):
        raise InputError(
            f"The target class {spec.target} does not exist: the label set {label_set.name} has "
            f"the classes 0 to {len(label_set.class_names) - 1}."
        )
    return label_set, None if spec.trigger is None else load_trigger(spec.trigger)


def open_setting(spec: Setting, control: Control) -> Generator[Event, None, OpenSetting]:
    """Open what a job is measured on; events and errors are those of `opening_images`.

    Raises
    ------
    InputError
        As `open_attack`, too.
    """
    label_set, trigger = open_attack(spec)
    images = yield from opening_images(spec.images, label_set, control)
    return OpenSetting(spec.images, images, label_set, trigger, spec.target)


def classifier_of(
    model: ClipModel, label_set: LabelSet, control: Control
) -> Generator[Event, None, Tensor]:
    """The zero-shot classifier of the model's present weights, [C, D]; see `classifier_steps`.

    Yields
    ------
    Event
        Progress of the stage ``texts``, where any text must be embedded.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    steps = classifier_steps(model, label_set.class_names, label_set.templates)
    begin = shown = time.monotonic()
    first: int | None = None  # texts that an earlier call has embedded

    def event_of(step: tuple[int, int]) -> Progress | None:
        nonlocal first, shown
        done, total = step
        if control.cancelled:
            raise CancelledError
        now = time.monotonic()
        if first is not None and done < total and now - shown < _PROGRESS_SECONDS:
            return None
        first, shown = done if first is None else first, now
        return Progress.timed("texts", done, total, begin, first)

    return (yield from forwarded(steps, event_of))


def measure(
    model: ClipModel, bench: Bench, classifier: Tensor, control: Control, stage: str
) -> Generator[Event, None, Evaluation]:
    """Evaluate over all images of a bench; as `measure_images`, without what it keeps of each."""
    evaluation, _ = yield from measure_images(model, bench, classifier, control, stage)
    return evaluation


def measure_images(
    model: ClipModel,
    bench: Bench,
    classifier: Tensor,
    control: Control,
    stage: str,
    *,
    batch: int = BATCH,
    clean: EmbeddingCache | None = None,
) -> Generator[Event, None, tuple[Evaluation, PerImage]]:
    """Evaluate over all images of a bench, and keep what was predicted of each.

    Parameters
    ----------
    model
        In evaluation mode.
    bench
        Images, trigger and target.
    classifier
        Rows of the classes [C, D]: the zero-shot classifier or a linear head.
    control
        Asked for cancel before every batch.
    stage
        Name in the Progress events.
    batch
        Images a call, see `ml_core.evaluation.speed`.
    clean
        Embeddings of the clean images from earlier evaluations.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    begin = time.monotonic()
    yield Progress(stage, 0, 0)  # the first figures of a slow model take a while
    measurement = Measurement(
        bench.subject(model, classifier),
        bench.trigger,
        bench.target,
        first_batch=batch,
        batch=batch,
        cancelled=lambda: control.cancelled,
        clean_cache=clean,
        ahead=spare_core(model.device),
        pace=_PROGRESS_SECONDS,
    )
    for done in measurement.steps():
        yield Progress.timed(stage, done, measurement.total, begin)
    if control.cancelled:
        raise CancelledError
    result = measurement.result()
    assert result is not None
    return result


def metric_values(evaluation: Evaluation, prefix: str = "") -> dict[str, float]:
    """An evaluation as the values of a Metric event; what was not measured is left out."""
    values: dict[str, float] = {}
    for name in ("ca", "asr_excl", "asr_all", "poisoned_accuracy"):
        value = getattr(evaluation, name)
        if value is not None:
            values[prefix + name] = float(value)
    for name, interval in (("ca", evaluation.ca_interval), ("asr", evaluation.asr_interval)):
        if interval is not None:
            values[f"{prefix}{name}_low"], values[f"{prefix}{name}_high"] = interval
    return values
