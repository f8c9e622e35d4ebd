"""Clean and triggered predictions over the same images, in batches that grow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core import __version__, plugins
from ml_core.data.specs import stratified_order
from ml_core.evaluation.embedding_cache import EmbeddingCache, EmbeddingTable
from ml_core.evaluation.metrics import summarise
from ml_core.evaluation.records import Evaluation, PerImage, Prediction
from ml_core.evaluation.scorer import Scorer, Subject
from ml_core.evaluation.scores import Scores, require_finite
from ml_core.evaluation.stamping import (
    ModelCanvases,
    PictureBatch,
    as_uint8,
    batches,
    images_at_once,
    own_canvases,
    read_batch,
    stamped,
    steps,
    to_pictures,
)
from ml_core.evaluation.zero_shot import probabilities
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@lru_cache(maxsize=1)
def _own_versions() -> dict[str, str]:
    versions = {"cleanclip-gui": __version__, "torch": str(torch.__version__)}
    try:
        versions["open_clip"] = version("open_clip_torch")
    except PackageNotFoundError:
        versions["open_clip"] = "not installed"
    return versions


def versions() -> dict[str, str]:
    """Versions of the parts that decide a number, and of the plug-ins that are switched on."""
    return _own_versions() | plugins.versions()


def provenance_of(subject: Subject, trigger: Trigger | None) -> dict[str, Any]:
    """What decided a number, as the fields of its record: weights, data, trigger, prompts, seed."""
    return {
        "checkpoint_sha256": subject.model.sha256,
        "data_key": subject.data_key,
        "trigger": None if trigger is None else trigger.digest,
        "trigger_name": "" if trigger is None else trigger.name,
        "templates": tuple(subject.templates),
        "seed": subject.seed,
        "versions": versions(),
    }


def evaluate(
    subject: Subject,
    trigger: Trigger | None,
    target: int,
    *,
    n: int | None = None,
    first_batch: int = 64,
    batch: int = 256,
    clean_cache: EmbeddingCache | None = None,
    ahead: bool = False,
    pace: float = 0.0,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Evaluation, PerImage]]:
    """Measure clean accuracy, attack success and flips, and say how it stands after each batch.

    The images, their number and their order are fixed by the seed before the first is scored, so
    that every partial result is a stratified sample. Each image's random draws come from (seed,
    position in the set): batch sizes change the speed and nothing else. A trigger with a text is
    told to the text encoder too: the triggered images are compared with triggered prompts.

    Parameters
    ----------
    subject
        What is measured.
    trigger
        None measures the clean side alone.
    target
        Class index that the attacker wants, 0 to C - 1.
    n
        Images to score, in stratified order; None scores all.
    first_batch, batch
        Images of the first step, small for a quick first estimate, and the most that are encoded
        at a time; in between it doubles.
    clean_cache
        Keeps the clean embeddings of a model that has an ``identity``; those of its store are used
        and what is new goes there at the end. Give none while training.
    ahead
        Read the next batch while one is encoded, see `batches.spare_core`.
    pace
        Least seconds between two results; the last one always comes. Where a batch takes much
        less, several are read, stamped and scored at once.
    cancelled
        Asked before each encoding.

    Yields
    ------
    tuple[Evaluation, PerImage]
        The last one has ``partial=False``.

    Raises
    ------
    InputError
        If the target is no class, there are no images, none could be read, or the model's outputs
        are not numbers.
    CancelledError
        If it was cancelled.
    """
    measurement = Measurement(
        subject,
        trigger,
        target,
        n=n,
        first_batch=first_batch,
        batch=batch,
        clean_cache=clean_cache,
        ahead=ahead,
        pace=pace,
        cancelled=cancelled,
    )
    for _ in measurement.steps():
        result = measurement.result()
        if result is not None:
            yield result


class Measurement:
    """An evaluation that goes on step by step.

    Parameters
    ----------
    subject, trigger, target, n, first_batch, batch, clean_cache, ahead, pace, cancelled
        As in `evaluate`.

    Raises
    ------
    InputError
        If the target is no class, or there are no images.
    """

    def __init__(
        self,
        subject: Subject,
        trigger: Trigger | None,
        target: int,
        *,
        n: int | None = None,
        first_batch: int = 64,
        batch: int = 256,
        clean_cache: EmbeddingCache | None = None,
        ahead: bool = False,
        pace: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        labels = subject.labels
        _check(subject, target)
        if n is not None and n < 1:
            raise InputError(
                "An evaluation needs at least one image; choose a larger set.", "usage"
            )
        self._subject, self._trigger, self._target = subject, trigger, target
        self._first_batch, self._batch, self._cache = first_batch, batch, clean_cache
        self._ahead, self._pace, self._cancelled = ahead, pace, cancelled
        self._order = stratified_order(labels, subject.seed)[: len(labels) if n is None else n]
        self._own = own_canvases(subject.canvases, trigger, subject.model.image_size, subject.seed)
        self._control = (
            self._own is not None and trigger is not None and trigger.canvas != "original"
        )
        self._scores = Scores(
            len(self._order),
            triggered=trigger is not None,
            classes=len(subject.class_names),
            control=self._control,
        )
        self._facts = conditions_of(subject, trigger) | {"n_total": len(self._order)}
        self._ended = False

    @property
    def total(self) -> int:
        """Images to score."""
        return len(self._order)

    def result(self) -> tuple[Evaluation, PerImage] | None:
        """How it stands; None as long as nothing was scored."""
        per_image = self._scores.per_image()
        if not len(per_image.indices):
            return None
        subject = self._subject
        labels = subject.labels[per_image.indices]
        evaluation = Evaluation(
            **summarise(per_image, labels, self._target, subject.class_names),
            **self._facts,
            n_broken=self._scores.broken,
            partial=not self._ended,
        )
        return evaluation, per_image

    def steps(self) -> Iterator[int]:
        """Score all images.

        Yields
        ------
        int
            Images done, broken ones included; the last one is `total`.

        Raises
        ------
        InputError
            If none could be read, or the model's outputs are not numbers.
        CancelledError
            If it was cancelled.
        """
        subject, trigger, own = self._subject, self._trigger, self._own
        table, prompted = _table(self._cache, subject), subject.prompted(trigger)
        batch, cancelled, scores = self._batch, self._cancelled, self._scores
        sides = Scorer(subject, prompted, trigger, self._target, max(1, batch), cancelled)

        def fetch(indices: NDArray[np.int64]) -> PictureBatch:
            known = trigger is None and table is not None and not table.missing(indices).any()
            if known:
                return PictureBatch(indices, None, None, len(indices))
            return read_batch(subject.canvases, own, indices)

        most = batch  # of a step; more where it takes less time than there is until the next result
        parts = steps(self._order, self._first_batch, lambda: most)
        done, shown, begin = 0, 0.0, time.monotonic()
        for read in batches(parts, fetch, ahead=self._ahead):
            if cancelled():
                raise CancelledError
            done += read.asked
            scores.broken += read.asked - len(read.indices)
            if len(read.indices):
                embeddings = sides.embed(read, table)
                scores.add(
                    read.indices,
                    sides.clean(read, embeddings),
                    sides.triggered(read, embeddings),
                    sides.control(read) if self._control else None,
                )
            now = time.monotonic()
            if read.images is not None and 2 * (now - begin) < self._pace:
                most = min(2 * most, images_at_once(batch, read.images.shape[1:]))
            begin = now
            if done < self.total and now - shown >= self._pace:
                shown = now
                yield done
        if scores.broken == self.total:
            raise InputError("None of the images could be read; choose other images.", "damaged")
        self._ended = True
        yield self.total
        if self._cache is not None:
            self._cache.save()


def look_at(
    subject: Subject,
    trigger: Trigger | None,
    target: int,
    indices: NDArray[np.int64],
    *,
    clean_cache: EmbeddingCache | None = None,
) -> PerImage:
    """What a model says of a few chosen images, each exactly as `evaluate` has it.

    For pictures that somebody looks at: they are no sample of the set, so there are no rates.

    Parameters
    ----------
    subject, trigger, target, clean_cache
        As in `evaluate`.
    indices
        int64 [n], in one batch; pictures that cannot be read are left out of the result.

    Raises
    ------
    InputError
        If the model's outputs are not numbers.
    """
    own = own_canvases(subject.canvases, trigger, subject.model.image_size, subject.seed)
    table = _table(clean_cache, subject)
    prompted = subject.prompted(trigger)
    sides = Scorer(subject, prompted, trigger, target, max(1, len(indices)), lambda: False)
    classes = len(subject.class_names)
    scores = Scores(len(indices), triggered=trigger is not None, classes=classes)
    read = read_batch(subject.canvases, own, indices)
    if len(read.indices):
        embeddings = sides.embed(read, table)
        clean = sides.clean(read, embeddings)
        scores.add(read.indices, clean, sides.triggered(read, embeddings))
    return scores.per_image()


@dataclass(frozen=True, eq=False)
class Seen:
    """One image as a model sees it, uint8 [S, S, 3]; ``triggered_image`` None without a trigger."""

    clean_image: NDArray[np.uint8]
    triggered_image: NDArray[np.uint8] | None


@torch.no_grad()
def see_one(
    canvases: ModelCanvases, model: ClipModel, trigger: Trigger | None, index: int, seed: int = 0
) -> Seen:
    """One image clean and triggered, as `predict_one` gives it; the model is not asked.

    Raises
    ------
    InputError
        If the image cannot be read.
    """
    _, clean, seen = _pictures(canvases, model, trigger, index, seed)
    return Seen(clean, None if seen is None else as_uint8(seen)[0])


def _pictures(
    canvases: ModelCanvases, model: ClipModel, trigger: Trigger | None, index: int, seed: int
) -> tuple[Tensor, NDArray[np.uint8], Tensor | None]:
    """One image as a batch, as pixels, and as a batch with the trigger on it."""
    own = own_canvases(canvases, trigger, model.image_size, seed)
    read = read_batch(canvases, own, np.array([index], dtype=np.int64))
    if not len(read.indices) or read.images is None:
        raise InputError(f"Image number {index} could not be read; choose another.", "damaged")
    pictures = to_pictures(read.images, model.device)
    if trigger is None:
        return pictures, read.images[0], None
    drawn = read.images if read.own is None else read.own
    fit = model.preprocess.fit
    seen = stamped(trigger, drawn, read.indices, seed, model.image_size, model.device, fit)
    return pictures, read.images[0], seen


@torch.no_grad()
def predict_one(subject: Subject, trigger: Trigger | None, index: int) -> Prediction:
    """Class probabilities of one image, clean and triggered, placed as `evaluate` places it.

    Raises
    ------
    InputError
        If the image cannot be read or the model's outputs are not numbers.
    """
    model, classifier, seed = subject.model, subject.classifier, subject.seed
    pictures, image, seen = _pictures(subject.canvases, model, trigger, index, seed)
    if seen is None:
        return Prediction(
            index, image, _probabilities(model, model.encode_images(pictures), classifier)
        )
    if seen.is_floating_point():
        pictures = pictures.to(seen.dtype).div_(255)
    both = model.encode_images(torch.cat([pictures, seen]))  # one call takes less than two
    clean = _probabilities(model, both[:1], classifier)
    probs = _probabilities(model, both[1:], subject.prompted(trigger))
    return Prediction(index, image, clean, as_uint8(seen)[0], probs)


def _probabilities(model: ClipModel, embedding: Tensor, classifier: Tensor) -> NDArray[np.float32]:
    """Class probabilities of one picture, float32 [C]."""
    probs = probabilities(model, embedding, classifier)
    require_finite(probs)
    row: NDArray[np.float32] = probs[0].cpu().numpy()
    return row


def _check(subject: Subject, target: int) -> None:
    """Refuse what cannot be scored."""
    if not len(subject.labels):
        raise InputError("There are no images to evaluate; choose an image set.", "usage")
    if not 0 <= target < len(subject.class_names):
        raise InputError(
            f"The target class {target} does not exist; choose 0 to "
            f"{len(subject.class_names) - 1}.",
            "usage",
        )


def _table(cache: EmbeddingCache | None, subject: Subject) -> EmbeddingTable | None:
    """Find the clean embeddings of this checkpoint and data set, if both have an identity."""
    model = subject.model
    if cache is None or model.identity is None or not subject.data_key:
        return None
    place = (str(model.device), model.precision, model.layout)
    key = (model.identity, subject.data_key, *place, versions()["torch"])
    return cache.table(key, len(subject.labels), subject.classifier.shape[1])


def conditions_of(subject: Subject, trigger: Trigger | None) -> dict[str, Any]:
    """What decides an evaluation but its target, as the fields of its record."""
    model = subject.model
    rows = subject.classifier.detach().to("cpu", torch.float32).contiguous().numpy()
    return provenance_of(subject, trigger) | {
        "canvas": "model" if trigger is None else trigger.canvas,
        "precision": model.precision,
        "layout": model.layout,
        "classifier_sha256": hashlib.sha256(rows.tobytes()).hexdigest(),
        "device": str(model.device),
    }
