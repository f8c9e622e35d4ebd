"""Embeddings of a sample of images, clean and triggered, for the embedding map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.sampling import stratified_order
from ml_core.evaluation.canvases import CanvasSource, read_canvases
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.scores import require_finite
from ml_core.evaluation.stamping import own_canvases, stamped, to_pictures
from ml_core.reading.errors import CancelledError, InputError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class EmbedStep:
    """Images done of all; ``result`` comes with the last step."""

    done: int
    total: int
    result: Embeddings | None = None


@dataclass(frozen=True, eq=False)
class BothSides:
    """What the model sees, [n, 3, S, S], uint8 or float in [0, 1]; broken pictures are left out."""

    indices: NDArray[np.int64]
    clean: Tensor
    triggered: Tensor | None


def both_sides(
    model: ClipModel,
    source: CanvasSource,
    own: CanvasSource | None,
    trigger: Trigger | None,
    indices: NDArray[np.int64],
    seed: int,
) -> BothSides:
    """Pictures without and with the trigger, as `evaluate` makes them.

    ``own`` is the trigger's own canvas, from `own_canvases`.
    """
    drawn, kept = read_canvases(source, indices)
    others = drawn
    if own is not None and len(kept):
        before = kept
        others, kept = read_canvases(own, kept)
        drawn = drawn[np.isin(before, kept)]
    clean = to_pictures(drawn, model.device)
    if trigger is None or not len(kept):
        return BothSides(kept, clean, None)
    fit = model.preprocess.fit
    seen = stamped(trigger, others, kept, seed, model.image_size, model.device, fit)
    return BothSides(kept, clean, seen)


def embed(
    model: ClipModel,
    canvas_source: CanvasSource,
    classifier: Tensor,
    trigger: Trigger | None,
    *,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    n: int | None = 1000,
    seed: int = 0,
    batch: int = 64,
    templates: Sequence[str] = (),
    data_key: str = "",
    triggered_classifier: Tensor | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[EmbedStep]:
    """Embed a stratified sample, without and with the trigger.

    Parameters
    ----------
    model
        The CLIP.
    canvas_source
        The images.
    classifier
        float32 [C, D], see `zero_shot_classifier`.
    trigger
        None embeds the clean images alone.
    labels
        int64 [N] for the whole set, -1 unlabelled.
    class_names, templates, data_key
        C names; the rest is for the record.
    n
        Images; None takes all.
    seed
        Fixes the sample and the trigger's draws, as in `evaluate`.
    batch
        Most images to encode at a time.
    triggered_classifier
        Of the prompts with the trigger's text, where it has one; decides `triggered_top1`.
    cancelled
        Asked before each batch.

    Yields
    ------
    EmbedStep
        After each batch.

    Raises
    ------
    InputError
        If there are no images, none could be read, or the model's outputs are not numbers.
    """
    if not len(labels) or (n is not None and n < 1):
        raise InputError("There are no images to embed; choose an image set.")
    order = np.sort(stratified_order(labels, seed)[: len(labels) if n is None else n])
    toward = classifier.to(model.device, torch.float32)
    own = own_canvases(canvas_source, trigger, model.image_size, seed)
    kept: list[NDArray[np.int64]] = []
    clean: list[Tensor] = []
    triggered: list[Tensor] = []
    for first in range(0, len(order), batch):
        if cancelled():
            raise CancelledError
        read = both_sides(model, canvas_source, own, trigger, order[first : first + batch], seed)
        if len(read.indices):
            kept.append(read.indices)
            clean.append(model.encode_images(read.clean).float().cpu())
            if read.triggered is not None:
                triggered.append(model.encode_images(read.triggered).float().cpu())
        done = min(first + batch, len(order))
        if done < len(order):
            yield EmbedStep(done, len(order))
    if not kept:
        raise InputError("None of the images could be read; choose other images.", "damaged")
    indices = np.concatenate(kept)
    plain = torch.cat(clean)
    require_finite(plain)
    stamped_all = torch.cat(triggered) if triggered else None
    if stamped_all is not None:
        require_finite(stamped_all)
    texts = toward.cpu()
    prompted = texts if triggered_classifier is None else triggered_classifier.float().cpu()
    found = Embeddings(
        indices=indices,
        labels=labels[indices],
        clean=plain.numpy(),
        texts=texts.numpy(),
        clean_top1=(plain @ texts.T).argmax(dim=1).numpy(),
        class_names=tuple(class_names),
        triggered=None if stamped_all is None else stamped_all.numpy(),
        triggered_top1=(
            None if stamped_all is None else (stamped_all @ prompted.T).argmax(dim=1).numpy()
        ),
        checkpoint=model.name,
        checkpoint_sha256=model.sha256,
        data_key=data_key,
        trigger=None if trigger is None else trigger.digest,
        trigger_name="" if trigger is None else trigger.name,
        templates=tuple(templates),
        seed=seed,
        versions=dict(versions()),
    )
    yield EmbedStep(len(order), len(order), found)
