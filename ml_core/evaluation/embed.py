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
from ml_core.evaluation.canvases import CanvasSource, read_canvases, to_float
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.scores import require_finite
from ml_core.reading.errors import InputError
from ml_core.triggers.apply import apply_indexed
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class EmbedStep:
    """Images done of all; ``result`` comes with the last step."""

    done: int
    total: int
    result: Embeddings | None = None


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
    cancelled
        Asked before each batch; True ends the iteration without a result.

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
    kept: list[NDArray[np.int64]] = []
    clean: list[Tensor] = []
    triggered: list[Tensor] = []
    for first in range(0, len(order), batch):
        if cancelled():
            return
        drawn, indices = read_canvases(canvas_source, order[first : first + batch])
        if len(indices):
            images = to_float(drawn, model.device)
            kept.append(indices)
            clean.append(model.encode_images(images).float().cpu())
            if trigger is not None:
                stamped = apply_indexed(trigger, images, torch.from_numpy(indices), seed)
                triggered.append(model.encode_images(stamped).float().cpu())
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
    found = Embeddings(
        indices=indices,
        labels=labels[indices],
        clean=plain.numpy(),
        texts=texts.numpy(),
        clean_top1=(plain @ texts.T).argmax(dim=1).numpy(),
        class_names=tuple(class_names),
        triggered=None if stamped_all is None else stamped_all.numpy(),
        triggered_top1=(
            None if stamped_all is None else (stamped_all @ texts.T).argmax(dim=1).numpy()
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
