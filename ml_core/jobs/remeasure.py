"""Chosen pictures of a kept measurement predicted again from the checkpoint: does it still hold?

The maker of a bundle measures 256 pictures this way, with another batch size and thread count, to
learn by how much logits move. A verifier predicts a sample of its pictures::

    opened = yield from open_again(checkpoint, setting, control)
    answers = yield from predict_again(opened, indices, control, batch=32, threads=2)
    answers.rows  # as per_image.csv has them
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ml_core.checkpoints.choice import choice_of
from ml_core.checkpoints.open import Checkpoint
from ml_core.data.labels import LabelSet, is_built_in, load_label_set
from ml_core.evaluation.evaluate import see_one
from ml_core.evaluation.scorer import Logits, ask_again
from ml_core.evaluation.zero_shot import zero_shot_classifier
from ml_core.events import Control, Event, Progress, forwarded
from ml_core.jobs.devices import choose_device
from ml_core.jobs.measure import Bench, OpenSetting, classifier_of
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reports.rows import Rows, rows_of

_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, eq=False)
class OpenedAgain:
    """Everything of a measurement, ready to predict.

    Attributes
    ----------
    model
        In fp32, on its device.
    bench
        ``bench.images`` has the pictures, with ``key``, ``labels`` and ``pictures.raw(index)``.
    classifier
        float32 [C, D].
    """

    model: ClipModel
    bench: Bench
    classifier: Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of the pictures that could be read, ascending.

    Attributes
    ----------
    rows
        The columns of ``per_image.csv``; the labels come from the images as opened here.
    unread
        int64 [m], pictures asked for that could not be read.
    clean_logits, triggered_logits
        float32 [n, C] in the order of ``rows``; None for no pictures, or without a trigger.
    """

    rows: Rows
    unread: NDArray[np.int64]
    clean_logits: Logits | None = None
    triggered_logits: Logits | None = None


def label_set_of(name: str, class_names: tuple[str, ...], templates: tuple[str, ...]) -> LabelSet:
    """The label set of a measurement; a built-in one brings its ids, which name folders."""
    if is_built_in(name):
        known = load_label_set(name)
        if known.class_names == class_names:
            return replace(known, templates=templates)
    return LabelSet(name, class_names, templates)


def open_again(
    checkpoint: Checkpoint,
    setting: OpenSetting,
    control: Control,
    *,
    choice: object = None,
    classifier: NDArray[np.float32] | None = None,
    device: str = "cpu",
    model: ClipModel | None = None,
) -> Generator[Event, None, OpenedAgain]:
    """Make a checkpoint and the pictures of a measurement ready. Nothing is compared with it here.

    Parameters
    ----------
    checkpoint
        Opened with its donor and without the settings that this machine remembers for it.
    setting
        What was measured, with its seed.
    control
        Cancel and pause.
    choice
        ``CheckpointFacts.choice``: settings of the loader doctor.
    classifier
        float32 [C, D], used unchanged: a linear head, or the kept embeddings of the class texts.
        None embeds the class texts.
    device
        As in `choose_device`.
    model
        That of another measurement of the same files.

    Yields
    ------
    Event
        Progress of the stages ``open`` and ``texts``.

    Raises
    ------
    InputError
        If a file cannot be opened, or the classifier does not fit the model.
    CancelledError
        If it was cancelled.
    """
    yield Progress("open", 0, 1)
    if model is None:
        given = choice_of(choice) if isinstance(choice, dict) else None
        model = checkpoint.build("cpu", given).to(choose_device(device))
    bench = setting.on(model.preprocess)
    yield Progress("open", 1, 1)
    if classifier is None:
        rows = yield from classifier_of(model, setting.label_set, control)
    else:
        rows = _fitting(classifier, model, len(setting.label_set.class_names))
    return OpenedAgain(model, bench, rows)


def predict_again(
    opened: OpenedAgain,
    indices: NDArray[np.int64],
    control: Control,
    *,
    batch: int,
    threads: int = 0,
    stage: str = "again",
) -> Generator[Event, None, Predictions]:
    """Predict chosen pictures, clean and triggered, with this batch size and thread count.

    All logits are kept, which takes memory for pictures x classes.

    Parameters
    ----------
    opened
        The result of `open_again`.
    indices
        int64 [n], positions in the set, each once.
    control
        Cancel ends it before the next batch.
    batch
        Pictures that are encoded at a time.
    threads
        Number of torch's threads on the CPU; 0 changes nothing. The old number is put back at the
        end.
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
        cancelled=lambda: control.cancelled,
    )
    begin = shown = time.monotonic()

    def event_of(done: int) -> Progress | None:
        nonlocal shown
        now = time.monotonic()
        if done < len(indices) and now - shown < _PROGRESS_SECONDS:
            return None
        shown = now
        return Progress.timed(stage, done, len(indices), begin)

    with threads_of(threads):
        answers = yield from forwarded(asking, event_of)
    rows = rows_of(answers.per_image, opened.bench.images.labels)
    unread = np.setdiff1d(indices, rows.indices)
    return Predictions(rows, unread, answers.clean_logits, answers.triggered_logits)


def classifier_anew(opened: OpenedAgain, threads: int) -> Tensor:
    """Embed the class texts anew with this number of threads, even if embeddings are kept."""
    classes = opened.bench.label_set
    with threads_of(threads):
        return zero_shot_classifier(opened.model, classes.class_names, classes.templates)


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Give torch this number of threads inside the block; 0 changes nothing."""
    before = torch.get_num_threads()
    if count and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _fitting(classifier: NDArray[np.float32], model: ClipModel, classes: int) -> Tensor:
    """A kept classifier on the model's device."""
    if classifier.shape != (classes, model.embed_dim):
        shape = " x ".join(map(str, classifier.shape))
        raise InputError(
            f"The kept classifier is {shape} and the checkpoint needs {classes} x "
            f"{model.embed_dim}: it is another model's."
        )
    return torch.from_numpy(np.array(classifier, np.float32)).to(model.device)


MOST = 24
_SIDE = 112


def flipped(rows: Rows, target: int | None, most: int) -> NDArray[np.int64]:
    """Pictures that the trigger changes (to the target, where there is one), drawn by lot.

    Returns
    -------
    NDArray[int64]
        [m], positions in the set, ascending, m up to ``most``.
    """
    if rows.triggered_top is None:
        return np.zeros(0, np.int64)
    hit = rows.clean_top[:, 0] != rows.triggered_top[:, 0]
    if target is not None:
        hit &= rows.triggered_top[:, 0] == target
    positions = rows.indices[hit]
    rng = np.random.Generator(np.random.PCG64(0))
    chosen = rng.permutation(len(positions))[:most]
    return np.sort(positions[chosen])


def pictures_of(opened: OpenedAgain, index: int) -> tuple[bytes, bytes] | None:
    """A picture as the model sees it without and with the trigger, as PNG; None if not possible."""
    bench = opened.bench
    try:
        seen = see_one(bench.canvases, opened.model, bench.trigger, index, bench.seed)
    except InputError:
        return None
    if seen.triggered_image is None:
        return None
    return _png(seen.clean_image), _png(seen.triggered_image)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    if max(image.size) > _SIDE:
        image = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


PICTURES = 256
FLOOR = 1e-5
"""Of the logit scale: the least tau. A coordinate of an embedding that went through a dozen layers
in fp32 (resolution 2^-23, 1.2e-7) is right to a few 1e-6 of the embedding's length whatever order
sums were taken in; so is a cosine, and a difference of two. At CLIP's scale of 100 that is 1e-3,
where two logits of adjacent floats near 30 are 2e-6 apart: machines that agree by chance on 256
pictures are not trusted to agree better elsewhere."""
_TEXTS = 2048  # are embedded anew in seconds


@dataclass(frozen=True)
class Tau:
    """What a second measurement of some pictures came to.

    Attributes
    ----------
    tau
        Twice the largest change of a difference of two logits of one picture, at least `FLOOR`.
    pictures
        How many were measured again.
    changed
        How many of them, clean or triggered, then had another top-1 than was kept.
    """

    tau: float
    pictures: int
    changed: int


def measuring_tau(
    opened: OpenedAgain,
    rows: Rows,
    control: Control,
    *,
    batch: int,
    threads: int,
    zero_shot: bool = True,
    pictures: int = PICTURES,
) -> Generator[Event, None, Tau]:
    """Measure pictures as they were measured, and again with another batch size and thread count.

    The change of a picture is the largest change of its logits minus the smallest, since a shift
    that all logits share changes no answer. The change of each kept margin counts too, since a
    measurement of another machine may differ more than two measurements of this one. The class
    texts are embedded anew unless there are many.

    Parameters
    ----------
    opened
        The measurement, with the classifier that was kept.
    rows
        Its answers.
    control
        Cancel ends it before the next batch.
    batch, threads
        As it was measured.
    zero_shot
        Whether the classifier is of the class texts.
    pictures
        How many are drawn.

    Yields
    ------
    Event
        Progress of the stage ``again``.

    Raises
    ------
    InputError
        If the pictures are not those that were measured, or outputs are not numbers.
    CancelledError
        If it was cancelled.
    """
    rng = np.random.Generator(np.random.PCG64(0))
    count = min(pictures, len(rows))
    places = np.sort(rng.choice(len(rows), count, replace=False))
    chosen = rows.indices[places]
    as_kept = yield from predict_again(opened, chosen, control, batch=batch, threads=threads)
    others = 1 if threads > 1 else 2
    classes, changed = opened.bench.label_set, opened
    if zero_shot and len(classes.class_names) * len(classes.templates) <= _TEXTS:
        changed = replace(opened, classifier=classifier_anew(opened, others))
    again = yield from predict_again(
        changed, chosen, control, batch=max(1, batch // 4 + 1), threads=others
    )
    for predictions in (as_kept, again):
        if not np.array_equal(predictions.rows.indices, chosen):
            raise InputError(
                f"{len(predictions.unread)} of {count} pictures of {opened.bench.images.name} that "
                "were measured cannot be read any more: bring them back, or take the set away to "
                "report without tau."
            )
    move = max(
        _moved(as_kept.clean_logits, again.clean_logits),
        _moved(as_kept.triggered_logits, again.triggered_logits),
        *(_margins_moved(rows.take(places), predictions.rows) for predictions in (as_kept, again)),
    )
    least = FLOOR * opened.model.logit_scale
    return Tau(max(2 * move, least), len(again.rows), _answers_changed(rows.take(places), again))


def _moved(first: Logits | None, second: Logits | None) -> float:
    """The largest change of a difference of two logits of one picture."""
    if first is None or second is None or not len(first):
        return 0.0
    change = second.astype(np.float64) - first
    return float((change.max(axis=1) - change.min(axis=1)).max())


def _margins_moved(before: Rows, now: Rows) -> float:
    """The largest change of a margin; if the answer changed, both margins add up."""
    move = 0.0
    for top, margin, new_top, new_margin in (
        (before.clean_top, before.clean_margin, now.clean_top, now.clean_margin),
        (before.triggered_top, before.triggered_margin, now.triggered_top, now.triggered_margin),
    ):
        if top is None or margin is None or new_top is None or new_margin is None:
            continue
        same = top[:, 0] == new_top[:, 0]
        change = np.where(same, np.abs(margin - new_margin), margin + new_margin)
        move = max(move, float(change.max(initial=0.0)))
    return move


def _answers_changed(before: Rows, now: Predictions) -> int:
    changed: NDArray[np.bool_] = before.clean_top[:, 0] != now.rows.clean_top[:, 0]
    if before.triggered_top is not None and now.rows.triggered_top is not None:
        changed |= before.triggered_top[:, 0] != now.rows.triggered_top[:, 0]
    return int(np.count_nonzero(changed))
