"""Numbers of a model on one image set, as a stage of a job."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass

from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.evaluate import evaluate
from ml_core.evaluation.records import Evaluation
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.events import Control, Event, Progress
from ml_core.model import ClipModel, Preprocess
from ml_core.triggers.record import Trigger

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, eq=False)
class Bench:
    """Images on the model's canvas, with what they are tested for."""

    images: ImageSet
    canvases: CanvasCache
    label_set: LabelSet
    trigger: Trigger | None
    target: int
    seed: int


def open_bench(
    spec: ImageSpec,
    label_set: LabelSet,
    trigger: Trigger | None,
    target: int,
    preprocess: Preprocess,
) -> Bench:
    """Open an image set for evaluation, on the canvas that ``preprocess`` describes.

    Raises
    ------
    InputError
        If the images cannot be opened.
    """
    images = open_images(spec, label_set).fitted(preprocess.fit)
    return Bench(
        images, CanvasCache(images, preprocess.size), label_set, trigger, target, spec.seed
    )


def classifier_of(model: ClipModel, label_set: LabelSet) -> Tensor:
    """The zero-shot classifier of the model as it is now, [C, D]."""
    return zero_shot_classifier(model, label_set.class_names, label_set.templates)


def measure(
    model: ClipModel, bench: Bench, classifier: Tensor, control: Control, stage: str
) -> Generator[Event, None, Evaluation | None]:
    """Evaluate over all images of a bench.

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

    Returns
    -------
    Evaluation or None
        None if cancelled.
    """
    result: Evaluation | None = None
    begin, shown = time.monotonic(), 0.0
    for result, _ in evaluate(
        model,
        bench.canvases,
        classifier,
        bench.trigger,
        bench.target,
        labels=bench.images.labels,
        class_names=bench.label_set.class_names,
        templates=bench.label_set.templates,
        seed=bench.seed,
        first_batch=256,
        data_key=bench.images.key,
        cancelled=lambda: control.cancelled,
    ):
        now = time.monotonic()
        if now - shown >= _PROGRESS_SECONDS or not result.partial:
            shown = now
            rate = result.n / max(now - begin, 1e-9)
            done = result.n + result.n_broken
            left = (result.n_total - done) / rate
            yield Progress(stage, done, result.n_total, rate, left)
    return None if control.cancelled else result


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
