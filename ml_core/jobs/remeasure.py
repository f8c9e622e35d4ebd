"""Chosen pictures of a kept measurement predicted again from the checkpoint: does it still hold?

Who makes a bundle measures 256 pictures so, with another batch size and thread count, to know by
how much logits move (`ml_core.jobs.tau`); who verifies one predicts a sample of its pictures::

    opened = yield from open_again(asked, control)
    found = yield from predict_again(opened, indices, control, batch=32, threads=2)
    found.rows  # as per_image.csv has them
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.adapter import apply_adapter, read_adapter
from ml_core.checkpoints.open import Checkpoint
from ml_core.checkpoints.saved_choices import choice_of
from ml_core.data.images import ImageSet, open_images
from ml_core.data.labels import LabelSet, label_sets, load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.again import Logits, ask_again
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.events import Control, Event, Progress
from ml_core.jobs.devices import choose_device
from ml_core.jobs.measure import Bench, bench_of, classifier_of
from ml_core.jobs.opening import opening
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reports.rows import Rows, rows_of
from ml_core.triggers.record import Trigger

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, eq=False)
class Asked:
    """What was measured, and the files on this machine that it is measured from again.

    Attributes
    ----------
    checkpoint, donor, adapter
        Files. The donor gives the encoder that the checkpoint lacks.
    choice
        ``CheckpointFacts.choice``: settings of the loader doctor. What this machine remembers for
        the file is not asked.
    images
        As it was measured, with the path on this machine.
    label_set, class_names, templates
        As of the measurement.
    trigger
        None measures the clean side alone.
    target
        Class index; any where nobody named one.
    seed
        Of the measurement: it decides each picture's random draws.
    classifier
        float32 [C, D], used as it is: a linear head, or the class texts' embeddings as they were
        kept. None embeds the class texts.
    device
        As of `choose_device`.
    """

    checkpoint: Path
    images: ImageSpec
    label_set: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    trigger: Trigger | None = None
    target: int = 0
    seed: int = 0
    donor: Path | None = None
    adapter: Path | None = None
    choice: Mapping[str, Any] | None = None
    classifier: NDArray[np.float32] | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class OpenedAgain:
    """Everything of a measurement, ready to predict.

    Attributes
    ----------
    checkpoint
        As opened: its inspection has the SHA-256.
    model
        In fp32, on its device.
    bench
        ``bench.images`` has the pictures, with ``key``, ``labels`` and ``pictures.raw(index)``.
    classifier
        float32 [C, D].
    """

    checkpoint: Checkpoint
    model: ClipModel
    bench: Bench
    classifier: Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of the pictures that could be read, ascending.

    Attributes
    ----------
    rows
        As of ``per_image.csv``; the labels are those of the images as opened here.
    unread
        int64 [m], pictures asked for that could not be read.
    clean_logits, triggered_logits
        float32 [n, C] in the order of ``rows``; None unless asked for, or without a trigger.
    """

    rows: Rows
    unread: NDArray[np.int64]
    clean_logits: Logits | None = None
    triggered_logits: Logits | None = None


def label_set_of(name: str, class_names: tuple[str, ...], templates: tuple[str, ...]) -> LabelSet:
    """The label set of a measurement; a built-in one brings its ids, which name folders."""
    if name in label_sets():
        known = load_label_set(name)
        if known.class_names == class_names:
            return replace(known, templates=templates)
    return LabelSet(name, class_names, templates)


def open_images_again(asked: Asked, control: Control) -> Generator[Event, None, ImageSet]:
    """The pictures of a measurement alone.

    Raises
    ------
    InputError
        If they cannot be opened.
    CancelledError
        If it was cancelled.
    """
    classes = label_set_of(asked.label_set, asked.class_names, asked.templates)
    return (yield from opening(lambda watch: open_images(asked.images, classes, watch), control))


def open_again(
    asked: Asked,
    control: Control,
    *,
    images: ImageSet | None = None,
    checkpoint: Checkpoint | None = None,
    model: OpenedAgain | None = None,
) -> Generator[Event, None, OpenedAgain]:
    """Open checkpoint, pictures and classes of a measurement. Nothing is compared with it here.

    Parameters
    ----------
    asked
        What to open.
    control
        Cancel and pause.
    images, checkpoint
        What is open already.
    model
        Another measurement of the same files, whose model is taken.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data`` and ``texts``.

    Raises
    ------
    InputError
        If a file cannot be opened, or the classifier does not fit the model.
    CancelledError
        If it was cancelled.
    """
    yield Progress("open", 0, 1)
    if images is None:
        images = yield from open_images_again(asked, control)
    if checkpoint is None:
        checkpoint = open_checkpoint(asked.checkpoint, asked.donor, use_choice=False)
    built = _build(asked, checkpoint) if model is None else model.model
    classes = label_set_of(asked.label_set, asked.class_names, asked.templates)
    bench = bench_of(images, classes, asked.trigger, asked.target, built.preprocess, asked.seed)
    yield Progress("open", 1, 1)
    if asked.classifier is None:
        classifier = yield from classifier_of(built, classes, control)
    else:
        classifier = _fitting(asked.classifier, built, len(classes.class_names))
    return OpenedAgain(checkpoint, built, bench, classifier)


def predict_again(
    opened: OpenedAgain,
    indices: NDArray[np.int64],
    control: Control,
    *,
    batch: int,
    threads: int = 0,
    logits: bool = False,
    stage: str = "again",
) -> Generator[Event, None, Predictions]:
    """Predict chosen pictures, clean and triggered, with so many a batch and so many threads.

    Parameters
    ----------
    opened
        Of `open_again`.
    indices
        int64 [n], positions in the set, each once.
    control
        Cancel ends it before the next batch.
    batch
        Pictures that are encoded at a time.
    threads
        Of torch on the CPU; 0 leaves them as they are. They are put back at the end.
    logits
        Whether to give all logits, for which memory of pictures x classes is taken.
    stage
        Name in the Progress events.

    Raises
    ------
    InputError
        If a position lies outside of the set, or the model's outputs are not numbers.
    CancelledError
        If it was cancelled.
    """
    indices = np.sort(np.asarray(indices, np.int64))
    count = len(opened.bench.images)
    if len(indices) and not 0 <= indices[0] <= indices[-1] < count:
        raise InputError(
            f"Picture {indices[-1]} was measured, and {opened.bench.images.name} holds {count}: "
            "these are other images."
        )
    yield Progress(stage, 0, len(indices))
    asking = ask_again(
        opened.bench.subject(opened.model, opened.classifier),
        opened.bench.trigger,
        opened.bench.target,
        indices,
        batch=batch,
        logits=logits,
        cancelled=lambda: control.cancelled,
    )
    begin = shown = time.monotonic()
    with threads_of(threads):
        while True:
            try:
                done = next(asking)
            except StopIteration as end:
                found = end.value
                break
            now = time.monotonic()
            if done == len(indices) or now - shown >= _PROGRESS_SECONDS:
                shown, rate = now, done / max(now - begin, 1e-9)
                yield Progress(stage, done, len(indices), rate, (len(indices) - done) / rate)
    rows = rows_of(found.per_image, opened.bench.images.labels)
    unread = np.setdiff1d(indices, rows.indices)
    return Predictions(rows, unread, found.clean_logits, found.triggered_logits)


def classifier_anew(opened: OpenedAgain, threads: int) -> Tensor:
    """The class texts embedded with so many threads, whatever is kept of them."""
    classes = opened.bench.label_set
    with threads_of(threads):
        return zero_shot_classifier(opened.model, classes.class_names, classes.templates)


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    """So many threads of torch for a while; 0 leaves them as they are."""
    before = torch.get_num_threads()
    if count and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _build(asked: Asked, checkpoint: Checkpoint) -> ClipModel:
    """The model, on its device."""
    choice = None if asked.choice is None else choice_of(asked.choice)
    model = checkpoint.build("cpu", choice).to(choose_device(asked.device))
    if asked.adapter is not None:
        apply_adapter(model, read_adapter(asked.adapter))
    return model


def _fitting(classifier: NDArray[np.float32], model: ClipModel, classes: int) -> Tensor:
    """A kept classifier on the model's device."""
    if classifier.shape != (classes, model.embed_dim):
        shape = " x ".join(map(str, classifier.shape))
        raise InputError(
            f"The kept classifier is {shape} and the checkpoint needs {classes} x "
            f"{model.embed_dim}: it is another model's."
        )
    return torch.from_numpy(np.array(classifier, np.float32)).to(model.device)
