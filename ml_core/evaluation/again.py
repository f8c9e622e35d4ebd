"""Chosen pictures of a set asked again, in batches of a size that somebody names."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.batches import read_batch
from ml_core.evaluation.records import PerImage
from ml_core.evaluation.scorer import Scorer
from ml_core.evaluation.scores import Scores
from ml_core.evaluation.stamping import own_canvases
from ml_core.evaluation.subject import Subject
from ml_core.reading.errors import CancelledError
from ml_core.triggers.record import Trigger

Logits = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answered:
    """Answers of chosen pictures.

    Attributes
    ----------
    per_image
        In the order asked, without the pictures that could not be read.
    clean_logits, triggered_logits
        float32 [n, C], the same pictures; None unless asked for, or without a trigger.
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
    logits: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[int, None, Answered]:
    """What a model says of chosen images, each as `evaluate` has it but for the size of batches.

    Nothing is taken from a cache of embeddings. ``logits`` takes memory for images x classes.

    Parameters
    ----------
    subject, trigger, target
        As of `evaluate`.
    indices
        int64 [n], positions in the set.
    batch
        Images that are encoded at a time, exactly.
    logits
        Whether all logits are given, too.
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
    kept: tuple[list[Logits], list[Logits]] = [], []
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
            for side, found in zip(kept, (clean, stamped), strict=True):
                if logits and found is not None:
                    side.append(found.float().cpu().numpy())
        yield min(start + batch, len(indices))
    first, second = (np.concatenate(side) if side else None for side in kept)
    return Answered(scores.per_image(), first, second)
