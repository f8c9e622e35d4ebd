"""Training batches of pictures alone, with a trigger on them or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from ml_core.cleaning.batches import Batch, as_tensor, step_generator, step_indices
from ml_core.cleaning.mixing import draw_mixes, mix
from ml_core.cleaning.pictures import WHOLE, Share, readable, shared_rows
from ml_core.cleaning.recipes import Recipe
from ml_core.evaluation.stamping import own_canvases, stamped
from ml_core.reading.clip_config import Fit
from ml_core.triggers.record import Trigger

_TRIGGER, _MIXES = 4, 5
_SEEDS = 2**62


class Source(Protocol):
    """Pictures on the model's canvas, as a `CanvasCache` has them."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, with a sentence each."""

    def __len__(self) -> int: ...

    def get(self, indices: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        """uint8 [n, size, size, 3]."""


def picture_batch(
    source: Source,
    trigger: Trigger | None,
    recipe: Recipe,
    size: int,
    fit: Fit,
    step: int,
    *,
    share: Share = WHOLE,
) -> Batch:
    """Pictures, as they are or mixed, and in ``image_views`` with the trigger, if there is one.

    Parameters
    ----------
    source
        Pictures; labels are not looked at.
    trigger
        Where it has random places or noise these are drawn anew in every step, from
        (seed, step, picture).
    recipe
        Order and seed.
    size, fit
        The model's input side in pixels, and how it makes pictures square.
    step
        Step from the start of the run; the batch depends on it and on the seed alone.
    share
        Which rows of the batch are made here.
    """
    order = step_indices(recipe, len(source), step)
    indices = shared_rows(order, share)
    seed = int(step_generator(recipe.seed, _TRIGGER, step).integers(_SEEDS))
    images = source.get(indices)
    if recipe.mix_images:
        mixes = draw_mixes(len(order), step_generator(recipe.seed, _MIXES, step))
        mine = shared_rows(np.arange(len(order)), share)
        images = mix(images, source.get(shared_rows(np.roll(order, 1), share)), mixes.rows(mine))
    own = own_canvases(source, trigger, size, seed)
    canvases = images if own is None else own.get(indices)
    good = readable(source.broken, indices, share=share)
    indices, views = indices[good], None
    if trigger is not None:
        cpu = torch.device("cpu")
        views = stamped(trigger, canvases[good], indices, seed, size, cpu, fit)
    return Batch(
        as_tensor(images[good]),
        views,
        numbers=torch.from_numpy(indices),
        blank=int(indices[0]) in source.broken,
    )
