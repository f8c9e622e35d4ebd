"""Training batches of which some pairs carry a canary, with a caption of its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml_core.cleaning.batches import Batch, as_tensor, step_generator
from ml_core.cleaning.canaries import Canary
from ml_core.data.labels import fill
from ml_core.evaluation.stamping import as_uint8, stamped
from ml_core.model import ClipModel
from ml_core.reading.clip_config import Fit

_POISON = 6
_SEEDS = 2**61  # seeds of evaluations are far below, and so draw other places


@dataclass(frozen=True, eq=False)
class Poison:
    """What is put on some pairs of each batch.

    Attributes
    ----------
    canaries
        The triggers, which act on the model's canvas.
    captions
        int64 [T, L] for each: captions of its target.
    share
        Share of the pairs that carry each canary, on average.
    seed
        Draws pairs, captions and places.
    size, fit
        The model's input side in pixels, and how it makes pictures square.
    """

    canaries: tuple[Canary, ...]
    captions: tuple[Tensor, ...]
    share: float
    seed: int
    size: int
    fit: Fit

    @classmethod
    def of(
        cls,
        canaries: Sequence[Canary],
        templates: Sequence[str],
        model: ClipModel,
        share: float,
        seed: int,
    ) -> Poison:
        """For a model, with prompts as captions."""
        captions = tuple(
            model.tokenize([fill(template, one.target_name) for template in templates])
            for one in canaries
        )
        return cls(tuple(canaries), captions, share, seed, model.image_size, model.preprocess.fit)

    def on(self, batch: Batch, step: int) -> Batch:
        """The batch of a step with the poison in it; the given one is left alone.

        Each canary gets ``share`` of the pairs, rounded up or down by a draw; no pair has two.
        """
        assert batch.tokens is not None
        draws = step_generator(self.seed, _POISON, step)
        count = len(batch)
        counts = (self.share * count + draws.random(len(self.canaries))).astype(np.int64)
        rows = draws.permutation(count)
        images = batch.images.permute(0, 2, 3, 1).numpy().copy()
        tokens = batch.tokens.clone()
        first = 0
        for canary, captions, wanted in zip(
            self.canaries, self.captions, counts.tolist(), strict=True
        ):
            mine = rows[first : first + wanted]
            first += wanted
            if not len(mine):
                continue
            which = step * count + mine
            made = stamped(
                canary.trigger, images[mine], which, _SEEDS + self.seed, self.size,
                torch.device("cpu"), self.fit,
            )  # fmt: skip
            images[mine] = as_uint8(made)
            tokens[mine] = captions[torch.from_numpy(draws.integers(len(captions), size=len(mine)))]
        return replace(batch, images=as_tensor(images), tokens=tokens)
