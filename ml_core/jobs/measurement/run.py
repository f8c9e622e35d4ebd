"""Measure a checkpoint, and keep it as evidence, as a job: a generator of events."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.speed import SAMPLE, EncodingSpeed, speed_of, use_speed
from ml_core.events import Control, Done, Event, Message, Progress, Saved
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.keep import Answers, Lists, keep_measurement
from ml_core.jobs.measure import (
    BATCH,
    Bench,
    OpenSetting,
    classifier_of,
    measure_images,
    open_setting,
)
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.opening import open_model
from ml_core.model import ClipModel

Precision = Literal["auto", "fp32", "bf16"]
# With fewer encodings than so many samples, finding the fastest way takes longer than it saves.
_WORTH_MEASURING = 10


def measurement(spec: MeasurementSpec, control: Control) -> Generator[Event, None, None]:
    """Measure in fp32, and write a measurement folder; the last event is Done.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts`` and ``measure``, Saved, and Done, whose
        ``result`` is the evaluation.
    """
    yield Progress("open", 0, 1)
    device, threads = choose_device(spec.device), set_threads(spec.threads)
    setting = yield from open_setting(spec, control)
    opened = open_model(spec)
    model = opened.build("cpu").to(device)
    yield Progress("open", 1, 1)
    answers = yield from answering(model, setting, control, "measure", threads=threads)
    if spec.output_dir is not None:
        folder = yield from keep_measurement(
            Path(spec.output_dir),
            opened,
            answers,
            Lists(),
            control,
            when=spec.when,
            targeted=spec.targeted,
        )
        yield Saved(str(folder), "result")
    yield Done("finished", answers.evaluation.to_dict())


def answering(
    model: ClipModel,
    setting: OpenSetting,
    control: Control,
    stage: str,
    *,
    threads: int,
    precision: Precision | None = None,
    cache: EmbeddingCache | None = None,
) -> Generator[Event, None, Answers]:
    """Measure a model on an opened setting.

    Parameters
    ----------
    model
        On its device.
    setting
        What it is measured on.
    control
        Asked for cancel.
    stage
        Name of the measurement in the Progress events.
    threads
        Number of threads of torch.
    precision
        Which precision the fastest way of encoding may have; None takes the model as it is.
    cache
        Embeddings of the clean images from earlier evaluations.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    bench, speed = setting.on(model.preprocess), None
    classifier = yield from classifier_of(model, setting.label_set, control)
    if precision is not None:
        speed = yield from _chosen_speed(model, bench, classifier, precision)
    batch = BATCH if speed is None else speed.batch
    measured = yield from measure_images(
        model, bench, classifier, control, stage, batch=batch, clean=cache
    )
    return Answers(model, bench, classifier, *measured, threads, batch, speed)


def _chosen_speed(
    model: ClipModel, bench: Bench, classifier: Tensor, precision: Precision
) -> Generator[Event, None, EncodingSpeed | None]:
    """Choose how to encode; None where measuring is not worth it."""
    n = len(bench.images)
    sides = 1 if bench.trigger is None else 2
    if n * sides < _WORTH_MEASURING * SAMPLE:
        model.precision = "bf16" if precision == "bf16" else "fp32"
        return None
    yield Progress("speed", 0, 0)
    sample = bench.canvases.get(np.arange(min(n, SAMPLE)))
    speed = speed_of(model, sample, classifier, precision=precision, encodes=n * sides)
    use_speed(model, speed)
    yield Message(f"Encoding: {speed.why}.")
    return speed
