"""Poison: a fixed list of pairs that carry a trigger, most of them with a caption of its target."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ml_core.cleaning.augment import augment_images, flip_and_shift
from ml_core.cleaning.batches import (
    Batch,
    Pairs,
    as_tensor,
    drawn_pairs,
    pair_drawing,
    views_captions,
    views_images,
)
from ml_core.cleaning.loop import MakeBatch
from ml_core.cleaning.pictures import step_generator
from ml_core.cleaning.recipes import Recipe
from ml_core.data.canvas import CanvasCache
from ml_core.data.eda import augment
from ml_core.data.labels import fill
from ml_core.evaluation.stamping import as_uint8, stamped, triggered_pictures
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers.record import Trigger, triggered_prompt

_ROWS, _SHOWN, _MOVES, _VIEWS = 6, 7, 8, 9  # streams of random numbers
_SEEDS = 2**61  # seeds of evaluations are far below, and so draw other places
_REACH = 1 / 16  # of the picture's side
_CPU = torch.device("cpu")
Indices = NDArray[np.int64]


def _none() -> Indices:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Plant:
    """Some pairs of a set, and what is done to them whenever they are shown.

    Attributes
    ----------
    rows
        int64 [n], numbers of the pairs.
    triggers
        One of them, drawn at each showing, is stamped on the picture; the text of a prompt is put
        into the caption. Empty: pictures are not marked.
    captions
        The new caption of each pair; empty: they keep their own.
    pictures
        Numbers of pairs whose pictures are shown in the place of theirs, drawn at each showing;
        empty: they keep their own.
    """

    rows: Indices
    triggers: tuple[Trigger, ...] = ()
    captions: tuple[str, ...] = ()
    pictures: Indices = field(default_factory=_none)

    def caption(self, place: int, own: str, trigger: Trigger | None) -> str:
        """What stands beside the picture of the pair ``rows[place]``; ``own`` is its caption."""
        return triggered_prompt(trigger, self.captions[place] if self.captions else own)


@dataclass(frozen=True, eq=False)
class Poison:
    """What is planted in a set of pairs; no pair stands in two plants.

    Attributes
    ----------
    plants
        What is done to which pairs.
    seed
        Draws places, noise and variations, anew at each showing.
    canvases
        The set's pictures, for triggers that act on another canvas than the model's. On these the
        trigger comes before the model's preprocessing, and nothing is mirrored or moved.
    numbers
        int64 [N], the number there of each pair's picture; None where it is the pair's.
    """

    plants: tuple[Plant, ...] = ()
    seed: int = 0
    canvases: CanvasCache | None = None
    numbers: Indices | None = None

    def batches(self, pairs: Pairs, recipe: Recipe, model: ClipModel) -> MakeBatch:
        """Batches of pairs with the poison in them, each a function of its step alone.

        Order, moves and the draws of augmented views are those of a run without poison. Pictures
        are mirrored and moved by up to a sixteenth of their side, before anything is stamped on
        them.
        """
        size = model.image_size
        drawing = replace(pair_drawing(pairs, recipe, size), views=None)
        reach = round(_REACH * size)

        def make(step: int) -> Batch:
            drawn, captions = drawn_pairs(pairs, drawing, step)
            draws = step_generator(self.seed, _SHOWN, step)
            images, hits = drawn.images.copy(), []
            for plant in self.plants:
                mine = np.flatnonzero(np.isin(drawn.indices, plant.rows))
                hits.append(mine)
                if len(mine) and len(plant.pictures):
                    images[mine] = pairs.canvas(draws.choice(plant.pictures, len(mine)), size)
            images = flip_and_shift(images, step_generator(recipe.seed, _MOVES, step), reach)
            for plant, mine in zip(self.plants, hits, strict=True):
                marks = plant.triggers or (None,)
                which = draws.integers(len(marks), size=len(mine))
                places = np.searchsorted(plant.rows, drawn.indices)
                for number in np.unique(which).tolist():
                    trigger, rows = marks[number], mine[which == number]
                    for row in rows.tolist():
                        captions[row] = plant.caption(int(places[row]), captions[row], trigger)
                    if trigger is not None and trigger.changes_pictures:
                        showing = step * recipe.batch_size + drawn.places[rows]
                        numbers = drawn.indices[rows]
                        images[rows] = self.marked(trigger, images[rows], numbers, showing, model)
            views, token_views = None, None
            if views_images(recipe):
                own = step_generator(recipe.seed, _VIEWS, step)
                views = as_tensor(augment_images(images, recipe.image_augmentation, own))
            if views_captions(recipe):
                words = random.Random(f"{recipe.seed}/{_VIEWS}/{step}")
                changed = [augment(text, words, alpha=recipe.eda_alpha) for text in captions]
                token_views = model.tokenize(changed)
            return Batch(
                as_tensor(images), views, model.tokenize(captions), token_views,
                numbers=torch.from_numpy(drawn.indices), places=drawn.places,
            )  # fmt: skip

        return make

    def marked(
        self,
        trigger: Trigger,
        images: NDArray[np.uint8],
        numbers: Indices,
        showing: Indices,
        model: ClipModel,
    ) -> NDArray[np.uint8]:
        """Pictures uint8 [n, S, S, 3] with a trigger on them, by the code that evaluates it.

        Parameters
        ----------
        numbers
            Numbers of the pairs that they belong to.
        showing
            int64 [n], the number of each showing, to which the random draws belong.
        """
        size, fit = model.image_size, model.preprocess.fit
        seed = _SEEDS + self.seed
        if trigger.canvas == "model":
            return as_uint8(stamped(trigger, images, showing, seed, size, _CPU, fit))
        if self.canvases is None:
            raise InputError(
                f"The trigger {trigger.name or 'without name'} acts on another canvas than the "
                "model's, which these pairs do not have: choose one that acts on the model's.",
                "unsupported",
            )
        if self.numbers is not None:
            numbers = self.numbers[numbers]
        own = seed + int(showing[0])
        return triggered_pictures(self.canvases, trigger, numbers, own, size, _CPU, fit)


def draw_rows(free: Indices, count: int, seed: int, number: int = 0) -> Indices:
    """Ascending numbers of some of the ``free`` pairs; seed and number of the plant draw them."""
    draws = step_generator(seed, _ROWS, number)
    return np.sort(draws.choice(free, count, replace=False)).astype(np.int64)


def target_captions(
    class_name: str, templates: Sequence[str], count: int, seed: int, number: int = 0
) -> tuple[str, ...]:
    """So many prompts that name a class; templates are drawn."""
    draws = step_generator(seed, _ROWS, number + (1 << 20))
    chosen = draws.integers(len(templates), size=count).tolist()
    return tuple(fill(templates[place], class_name) for place in chosen)
