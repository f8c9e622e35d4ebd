"""Triggers that are put on a part of each batch: known ones, varied, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ml_core.cleaning.adversaries import bent, patch, texture
from ml_core.cleaning.batches import Batch, as_tensor
from ml_core.cleaning.pictures import step_generator
from ml_core.cleaning.recipes import Recipe
from ml_core.evaluation.stamping import as_uint8, stamped, to_float
from ml_core.model import ClipModel
from ml_core.reading.clip_config import Fit
from ml_core.reading.errors import InputError
from ml_core.triggers.record import Trigger

_STREAM = 6
_SEEDS = 2**61  # seeds of evaluations are far below, and so draw other places
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Stamps:
    """What is stamped on some pictures of each batch.

    Attributes
    ----------
    triggers
        The triggers, which act on the model's canvas.
    share
        Share of the pictures that carry each trigger, on average; none carries two.
    seed
        Draws pictures, places and variations.
    size, fit
        The model's input side in pixels, and how it makes pictures square.
    varied
        Whether triggers are moved, scaled and recoloured, anew in every step.
    random
        Share of the pictures that carry a random trigger each.
    made_up
        Share of the pictures that are left to the method, see `Batch.made_up`.
    batch
        Pictures in the batch of all processes together, which share one draw; 0 takes those of the
        batch that is given.
    """

    triggers: tuple[Trigger, ...]
    share: float
    seed: int
    size: int
    fit: Fit
    varied: bool = False
    random: float = 0.0
    made_up: float = 0.0
    batch: int = 0

    @classmethod
    def training(cls, triggers: Sequence[Trigger], recipe: Recipe, model: ClipModel) -> Stamps:
        """What a recipe stamps: known triggers in equal parts, and made-up ones.

        Raises
        ------
        InputError
            If a trigger changes no picture.
        """
        for trigger in triggers:
            if not trigger.changes_pictures:
                raise InputError(
                    f"The trigger {trigger.name or 'without name'} changes no picture, which "
                    f"{recipe.facts.title} works on: choose one that does."
                )
        known = recipe.stamp_share * (1 - recipe.made_up_share) if triggers else 0.0
        invented = recipe.stamp_share - known
        return cls(
            tuple(triggers), known / max(1, len(triggers)), recipe.seed, model.image_size,
            model.preprocess.fit, varied=True, random=invented * recipe.random_share,
            made_up=invented * (1 - recipe.random_share),
            batch=recipe.batch_size,
        )  # fmt: skip

    def on(self, batch: Batch, step: int) -> Batch:
        """The batch of a step with the stamps on its pictures; the given one is left alone.

        Each trigger gets its share of the pictures, rounded up or down by a draw. Captions stay.
        Where there are none, the pictures stay too, and the stamped ones are their ``image_views``.
        """
        draws = step_generator(self.seed, _STREAM, step)
        places = np.arange(len(batch)) if batch.places is None else batch.places[: len(batch)]
        count = self.batch or len(batch)
        shares = np.array([*[self.share] * len(self.triggers), self.random, self.made_up])
        counts = (shares * count + draws.random(len(shares))).astype(np.int64)
        parts = np.split(draws.permutation(count), np.cumsum(counts))
        *carriers, others, left, _ = (np.flatnonzero(np.isin(places, part)) for part in parts)
        images = batch.images.permute(0, 2, 3, 1).numpy().copy()
        for number, mine in enumerate(carriers):
            trigger = self.triggers[number]
            if self.varied:
                trigger = varied(trigger, draws)
            if not len(mine):
                continue
            which, seed = step * count + places[mine], _SEEDS + self.seed
            marked = stamped(trigger, images[mine], which, seed, self.size, _CPU, self.fit)
            images[mine] = as_uint8(marked)
        for row in others:
            own = np.random.default_rng([self.seed, _STREAM, step, places[row]])
            images[row] = with_random(images[row], own)
        made_up = torch.zeros(len(batch.images), dtype=torch.bool)
        made_up[torch.from_numpy(left)] = True
        batch = replace(batch, made_up=made_up if self.made_up else None)
        if batch.tokens is None:
            return replace(batch, image_views=as_tensor(images))
        return replace(batch, images=as_tensor(images))


_SCALES, _GAINS, _SHIFT = (0.75, 1.33), (0.8, 1.2), 0.1
_STRENGTHS = (0.6, 1.3)


def varied(trigger: Trigger, draws: np.random.Generator) -> Trigger:
    """A trigger as an attacker may have made it, of which a search found the like.

    A patch is scaled by 0.75 to 1.33, its colours by 0.8 to 1.2 and shifted by up to 0.1, and lies
    anywhere. What covers the whole picture is made weaker or stronger, by 0.6 to 1.3.
    """
    if trigger.kind in ("patch", "badnets") or (trigger.kind == "stripes" and trigger.size < 1):
        size = min(1.0, trigger.size * draws.uniform(*_SCALES))
        moved = replace(
            trigger, size=size, placement="random", canvas="model", levels="float", jpeg=None
        )
        return _recoloured(moved, draws)
    if trigger.parts:
        return replace(trigger, parts=tuple(varied(part, draws) for part in trigger.parts))
    strength = draws.uniform(*_STRENGTHS)
    weaker, stronger = min(1.0, strength), max(1.0, strength)  # opacity multiplies every effect
    return replace(
        trigger, opacity=trigger.opacity * weaker, ratio=min(1.0, trigger.ratio * stronger),
        amplitude=min(1.0, trigger.amplitude * stronger),
        strength=min(16.0, trigger.strength * stronger), canvas="model", levels="float", jpeg=None,
    )  # fmt: skip


def _recoloured(trigger: Trigger, draws: np.random.Generator) -> Trigger:
    """The same trigger in other colours, if it has any of its own."""
    gains, shifts = draws.uniform(*_GAINS, 3), draws.uniform(-_SHIFT, _SHIFT, 3)
    if trigger.array is not None:
        return replace(trigger, array=np.clip(trigger.array * gains + shifts, 0, 1))
    if trigger.pixels is None:
        return trigger
    pixels = trigger.pixels.copy()
    pixels[..., :3] = np.clip(pixels[..., :3] * gains + 255 * shifts, 0, 255)
    return replace(trigger, pixels=pixels)


_PATCH, _TEXTURE = 0.65, 0.9  # cumulated chances of the kinds; the rest are warps
_SIDES = (0.08, 0.25)  # of the picture's side
_RATIOS = (0.05, 0.35)
_KNOTS, _BENT = 6, 0.8


def with_random(image: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """A picture uint8 [S, S, 3] with a random patch, texture or warp."""
    size, kind = len(image), draws.random()
    if kind < _PATCH:
        side = max(2, round(draws.uniform(*_SIDES) * size))
        row, column = draws.integers(0, size - side + 1, 2)
        marked = image.copy()
        pixels = patch(side, draws).transpose(1, 2, 0) * 255
        marked[row : row + side, column : column + side] = pixels
        return marked
    if kind < _TEXTURE:
        ratio = draws.uniform(*_RATIOS)
        over = texture(size, draws).transpose(1, 2, 0) * 255
        mixed: NDArray[np.uint8] = ((1 - ratio) * image + ratio * over).astype(np.uint8)
        return mixed
    knots = _BENT * draws.standard_normal((2, _KNOTS, _KNOTS), np.float32)
    warped: NDArray[np.uint8] = as_uint8(
        bent(to_float(image[None], _CPU), torch.from_numpy(knots))
    )[0]
    return warped
