"""Score one batch of a subject without and with the trigger, also again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.evaluation.embedding_cache import EmbeddingTable
from ml_core.evaluation.records import PerImage
from ml_core.evaluation.scores import BatchScores, Scores, score
from ml_core.evaluation.stamping import (
    ModelCanvases,
    PictureBatch,
    own_canvases,
    read_batch,
    stamped,
    to_pictures,
)
from ml_core.evaluation.zero_shot import class_logits, triggered_classifier
from ml_core.reading.errors import CancelledError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with the images and classes that it is asked about.

    Attributes
    ----------
    model
        Gives unit image embeddings of float [n, 3, S, S] in [0, 1].
    canvases
        The images on the model's canvas. A trigger with a canvas of its own needs a `CanvasCache`.
    classifier
        float32 [C, D], see `zero_shot_classifier`; put on the model's device.
    class_names
        C names.
    labels
        int64 [N] for the whole set, -1 unlabelled.
    templates
        Prompts of the classifier; none for a linear head.
    data_key
        Identity of the image set, for records and caches; empty takes the ``key`` of what a
        `CanvasCache` draws from.
    triggered_classifier
        Classifier of the prompts with the trigger's text; None makes it when a trigger has a text.
    seed
        Fixes samples, their order, and each image's random draws.

    Raises
    ------
    ValueError
        If classes, classifier and labels do not go together.
    """

    model: ClipModel
    canvases: ModelCanvases
    classifier: Tensor
    class_names: Sequence[str]
    labels: NDArray[np.int64]
    templates: Sequence[str] = ()
    data_key: str = ""
    triggered_classifier: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.classifier):
            raise ValueError(
                f"{len(self.class_names)} class names for {len(self.classifier)} classifier rows"
            )
        labels = np.asarray(self.labels, dtype=np.int64)
        if len(labels) and int(labels.max()) >= len(self.class_names):
            raise ValueError("a label is outside of the class names")
        known = self.data_key
        if not known and isinstance(self.canvases, CanvasCache):
            known = self.canvases.source.key
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "classifier", self.classifier.to(self.model.device))
        object.__setattr__(self, "data_key", known)

    def prompted(self, trigger: Trigger | None) -> Tensor:
        """The classifier that triggered images are compared with.

        Raises
        ------
        InputError
            If the trigger has a text and there are no prompt templates to put it in.
        """
        if self.triggered_classifier is not None:
            return self.triggered_classifier.to(self.model.device)
        return triggered_classifier(
            self.model, self.classifier, trigger, self.class_names, self.templates
        )


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model with all that a batch is scored by.

    Attributes
    ----------
    subject, trigger, target, batch, cancelled
        As in `evaluate`.
    prompted
        float32 [C, D] on the model's device: the classifier for triggered pictures.
    """

    subject: Subject
    prompted: Tensor
    trigger: Trigger | None
    target: int
    batch: int
    cancelled: Callable[[], bool]

    @property
    def model(self) -> ClipModel:
        return self.subject.model

    def _encode(self, pictures: Tensor) -> Tensor:
        """Embed pictures, a batch at a time, [n, D]."""
        parts = []
        for start in range(0, len(pictures), self.batch):
            if self.cancelled():
                raise CancelledError
            parts.append(self.model.encode_images(pictures[start : start + self.batch]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def embed(self, batch: PictureBatch, table: EmbeddingTable | None) -> Tensor:
        """Embed clean pictures, from the table where it knows them, [n, D]."""
        if table is None:
            assert batch.images is not None
            return self._encode(to_pictures(batch.images, self.model.device))
        missing = table.missing(batch.indices)
        if missing.any():
            assert batch.images is not None
            pictures = to_pictures(batch.images[missing], self.model.device)
            table.put(batch.indices[missing], self._encode(pictures))
        return table.get(batch.indices).to(self.model.device)

    def clean_logits(self, embeddings: Tensor) -> Tensor:
        """Logits of clean pictures, float32 [n, C]."""
        return class_logits(self.model, embeddings, self.subject.classifier)

    def scores(self, batch: PictureBatch, logits: Tensor) -> BatchScores:
        """Reduce the logits of a batch's pictures."""
        return score(logits, self.subject.labels[batch.indices], self.target)

    def clean(self, batch: PictureBatch, embeddings: Tensor) -> BatchScores:
        return self.scores(batch, self.clean_logits(embeddings))

    def triggered(self, batch: PictureBatch, embeddings: Tensor) -> BatchScores | None:
        """Score the triggered side; None without a trigger."""
        logits = self.triggered_logits(batch, embeddings)
        return None if logits is None else self.scores(batch, logits)

    def triggered_logits(self, batch: PictureBatch, embeddings: Tensor) -> Tensor | None:
        """Logits of the pictures with the trigger, float32 [n, C]; None without a trigger.

        A trigger that changes only the prompts uses ``embeddings``, those of the clean pictures.
        """
        if self.trigger is None:
            return None
        if self.trigger.changes_pictures or batch.own is not None:
            canvases = batch.images if batch.own is None else batch.own
            assert canvases is not None
            embeddings = self._encode(
                stamped(
                    self.trigger,
                    canvases,
                    batch.indices,
                    self.subject.seed,
                    self.model.image_size,
                    self.model.device,
                    self.model.preprocess.fit,
                )
            )
        return class_logits(self.model, embeddings, self.prompted)

    def control(self, batch: PictureBatch) -> NDArray[np.int64]:
        """Predict from the trigger's own canvas without the trigger, int64 [n]."""
        assert batch.own is not None
        size, device, fit = self.model.image_size, self.model.device, self.model.preprocess.fit
        pictures = stamped(None, batch.own, batch.indices, self.subject.seed, size, device, fit)
        logits = class_logits(self.model, self._encode(pictures), self.subject.classifier)
        with torch.no_grad():
            top1: NDArray[np.int64] = logits.argmax(dim=-1).cpu().numpy()
        return top1


Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers of chosen pictures.

    Attributes
    ----------
    per_image
        In the order asked, without the pictures that could not be read.
    clean_logits, triggered_logits
        float32 [n, C], the same pictures; None for no pictures, or without a trigger.
    """

    per_image: PerImage
    clean_logits: Logits | None = None
    triggered_logits: Logits | None = None


def ask_again(
    subject: Subject,
    trigger: Trigger | None,
    target: int,
    indices: NDArray[np.int64],
    *,
    batch: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[int, None, Answered]:
    """What a model says of chosen images, each as `evaluate` has it but for the size of batches.

    Nothing is taken from a cache of embeddings. The logits take memory for images x classes.

    Parameters
    ----------
    subject, trigger, target
        As in `evaluate`.
    indices
        int64 [n], positions in the set.
    batch
        Images that are encoded at a time, exactly.
    cancelled
        Asked before each batch.

    Yields
    ------
    int
        Images done.

    Raises
    ------
    InputError
        If the model's outputs are not numbers.
    CancelledError
        If it was cancelled.
    """
    own = own_canvases(subject.canvases, trigger, subject.model.image_size, subject.seed)
    control = own is not None and trigger is not None and trigger.canvas != "original"
    sides = Scorer(subject, subject.prompted(trigger), trigger, target, batch, cancelled)
    scores = Scores(
        len(indices),
        triggered=trigger is not None,
        classes=len(subject.class_names),
        control=control,
    )
    collected: tuple[list[Logits], list[Logits]] = [], []
    for start in range(0, len(indices), batch):
        if cancelled():
            raise CancelledError
        read = read_batch(subject.canvases, own, indices[start : start + batch])
        if len(read.indices):
            embeddings = sides.embed(read, None)
            clean = sides.clean_logits(embeddings)
            stamped = sides.triggered_logits(read, embeddings)
            scores.add(
                read.indices,
                sides.scores(read, clean),
                None if stamped is None else sides.scores(read, stamped),
                sides.control(read) if control else None,
            )
            for side, batch_logits in zip(collected, (clean, stamped), strict=True):
                if batch_logits is not None:
                    side.append(batch_logits.float().cpu().numpy())
        yield min(start + batch, len(indices))
    first, second = (np.concatenate(side) if side else None for side in collected)
    return Answered(scores.per_image(), first, second)
