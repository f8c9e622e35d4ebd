"""Embeddings of a sample of images, clean and triggered, for the embedding map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.specs import stratified_order
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.evaluate import provenance_of
from ml_core.evaluation.scorer import Subject
from ml_core.evaluation.scores import require_finite
from ml_core.evaluation.stamping import (
    ModelCanvases,
    own_canvases,
    read_canvases,
    stamped,
    to_pictures,
)
from ml_core.events import Step
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.record import Trigger


@dataclass(frozen=True, eq=False)
class BothSides:
    """What the model sees, [n, 3, S, S], uint8 or float in [0, 1]; broken pictures are left out."""

    indices: NDArray[np.int64]
    clean: Tensor
    triggered: Tensor | None


def both_sides(
    subject: Subject, own: ModelCanvases | None, trigger: Trigger | None, indices: NDArray[np.int64]
) -> BothSides:
    """Pictures without and with the trigger, as `evaluate` makes them.

    ``own`` is the trigger's own canvas, from `own_canvases`.
    """
    model = subject.model
    drawn, numbers = read_canvases(subject.canvases, indices)
    others = drawn
    if own is not None and len(numbers):
        before = numbers
        others, numbers = read_canvases(own, numbers)
        drawn = drawn[np.isin(before, numbers)]
    clean = to_pictures(drawn, model.device)
    if trigger is None or not len(numbers):
        return BothSides(numbers, clean, None)
    fit = model.preprocess.fit
    seen = stamped(trigger, others, numbers, subject.seed, model.image_size, model.device, fit)
    return BothSides(numbers, clean, seen)


def embed(
    subject: Subject,
    trigger: Trigger | None,
    *,
    n: int | None = 1000,
    batch: int = 64,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Step[Embeddings]]:
    """Embed a stratified sample, without and with the trigger.

    Parameters
    ----------
    subject
        Its seed fixes the sample and the trigger's draws, as in `evaluate`.
    trigger
        None embeds the clean images alone.
    n
        Images; None takes all.
    batch
        Most images to encode at a time.
    cancelled
        Asked before each batch.

    Yields
    ------
    Step
        After each batch.

    Raises
    ------
    InputError
        If there are no images, none could be read, or the model's outputs are not numbers.
    """
    model, labels, seed = subject.model, subject.labels, subject.seed
    if not len(labels) or (n is not None and n < 1):
        raise InputError("There are no images to embed; choose an image set.")
    order = np.sort(stratified_order(labels, seed)[: len(labels) if n is None else n])
    own = own_canvases(subject.canvases, trigger, model.image_size, seed)
    numbers: list[NDArray[np.int64]] = []
    clean: list[Tensor] = []
    triggered: list[Tensor] = []
    for first in range(0, len(order), batch):
        if cancelled():
            raise CancelledError
        read = both_sides(subject, own, trigger, order[first : first + batch])
        if len(read.indices):
            numbers.append(read.indices)
            clean.append(model.encode_images(read.clean).float().cpu())
            if read.triggered is not None:
                triggered.append(model.encode_images(read.triggered).float().cpu())
        done = min(first + batch, len(order))
        if done < len(order):
            yield Step(done, len(order))
    if not numbers:
        raise InputError("None of the images could be read; choose other images.", "damaged")
    indices = np.concatenate(numbers)
    plain = torch.cat(clean)
    require_finite(plain)
    stamped_all = torch.cat(triggered) if triggered else None
    if stamped_all is not None:
        require_finite(stamped_all)
    texts, prompted = subject.classifier.float().cpu(), subject.prompted(trigger).float().cpu()
    embeddings = Embeddings(
        indices=indices,
        labels=labels[indices],
        clean=plain.numpy(),
        texts=texts.numpy(),
        clean_top1=(plain @ texts.T).argmax(dim=1).numpy(),
        class_names=tuple(subject.class_names),
        triggered=None if stamped_all is None else stamped_all.numpy(),
        triggered_top1=(
            None if stamped_all is None else (stamped_all @ prompted.T).argmax(dim=1).numpy()
        ),
        checkpoint=model.name,
        **provenance_of(subject, trigger),
    )
    yield Step(len(order), len(order), embeddings)
