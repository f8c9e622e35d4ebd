"""The pictures of a step, originals and augmented views, as functions of (seed, step). Torch-free.

So a process that only decodes and augments starts fast and stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ml_core.cleaning.augment import CLIP_COLOUR, Colour, apply_draws, draw_augmentations
from ml_core.cleaning.recipe_fields import Augmentation
from ml_core.cleaning.recipes import Recipe
from ml_core.data.order import WINDOW, order_slice
from ml_core.reading.errors import InputError

_VIEWS = 2  # 1 is the order's

Share = tuple[int, int]
"""Which part of each batch is made here: this process's number, and how many there are."""
WHOLE: Share = (0, 1)


class PictureSource(Protocol):
    """Pictures by number as :mod:`ml_core.data` gives them."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, with a sentence each."""
        ...

    @property
    def blocks(self) -> npt.NDArray[np.int64] | None:
        """Sizes of the runs of pictures that are stored together; None: random access is cheap."""
        ...

    @property
    def window(self) -> int:
        """How many pictures are put in random order together, see `epoch_order`."""
        ...

    def canvas(self, indices: npt.NDArray[np.int64], size: int, /) -> npt.NDArray[np.uint8]:
        """Pictures, uint8 [n, size, size, 3]."""
        ...


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures of a step that could be decoded.

    Attributes
    ----------
    indices
        int64 [n], numbers of the pictures in their set.
    places
        int64 [n], where each stands in the whole batch.
    images
        uint8 [n, S, S, 3].
    views
        The same augmented, or None.
    """

    indices: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    views: npt.NDArray[np.uint8] | None = None

    def rows(self, which: npt.NDArray[np.bool_]) -> Drawn:
        views = None if self.views is None else self.views[which]
        return Drawn(self.indices[which], self.places[which], self.images[which], views)


@dataclass(frozen=True, eq=False)
class Drawing:
    """Which pictures a step takes and how they are augmented.

    Attributes
    ----------
    recipe
        Order, batch size and seed.
    size
        Side of the model's input in pixels.
    count
        Examples there are.
    usable
        int64 [count], their numbers in the set; None for all.
    views
        How the augmented views are drawn; None for no views.
    share
        Which rows of each batch are made here.
    fill
        Colour of erased squares.
    blocks, window
        Where pictures that are stored together are read together, see `step_indices`.
    """

    recipe: Recipe
    size: int
    count: int
    usable: npt.NDArray[np.int64] | None = None
    views: Augmentation | None = None
    share: Share = WHOLE
    fill: Colour = CLIP_COLOUR
    blocks: npt.NDArray[np.int64] | None = None
    window: int = WINDOW


def step_generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Random numbers of one step or epoch, independent of all others."""
    return np.random.Generator(np.random.PCG64([seed, stream, number]))


def step_indices(
    recipe: Recipe,
    count: int,
    step: int,
    blocks: npt.NDArray[np.int64] | None = None,
    window: int = WINDOW,
) -> npt.NDArray[np.int64]:
    """Numbers of the examples of one step, [batch_size]; each epoch is a new permutation.

    Parameters
    ----------
    recipe
        Gives seed, batch size and number of examples.
    count
        Examples there are; the first ``recipe.pairs`` of them are used.
    step
        Step from the start of the run.
    blocks, window
        Where examples that are stored together are read together, see
        :func:`ml_core.data.order.epoch_order`.
    """
    used = min(count, recipe.pairs)
    epoch, place = epoch_and_place(recipe, used, step)
    start = place * recipe.batch_size
    stop = start + recipe.batch_size
    return order_slice(recipe.seed, epoch, used, blocks, window, start, stop)


def epoch_and_place(recipe: Recipe, count: int, step: int) -> tuple[int, int]:
    """Epoch of a step, and its place in it."""
    return divmod(step, max(1, min(count, recipe.pairs) // recipe.batch_size))


def shared_rows(rows: npt.NDArray[np.int64], share: Share) -> npt.NDArray[np.int64]:
    """The part of a batch's rows that is made here."""
    rank, world = share
    return rows[len(rows) * rank // world : len(rows) * (rank + 1) // world]


def readable(
    broken: Mapping[int, str],
    indices: npt.NDArray[np.int64],
    what: str = "pictures",
    share: Share = WHOLE,
) -> npt.NDArray[np.bool_]:
    """Which pictures, or pairs, of a batch could be read, bool [n].

    If no picture of a process's share could be read, one stays all the same: something has to
    be encoded. The processes count the whole batch where they meet.

    Raises
    ------
    InputError
        If fewer than two of a whole batch could.
    """
    good = np.array([int(i) not in broken for i in indices], dtype=bool)
    if share[1] > 1:
        good[0] |= not good.any()
    elif good.sum() < min(2, len(indices)):
        first = broken[int(indices[good.argmin()])]
        raise InputError(
            f"Fewer than two of the {len(indices)} {what} in a batch can be read: choose other "
            f"data. The first error: {first}.",
            "damaged",
        )
    return good


def draw_step(source: PictureSource, drawing: Drawing, step: int) -> Drawn:
    """Decode and augment one step's pictures; broken ones are left out.

    An example's draws depend on seed, step and its place in the batch alone: not on who makes the
    batch, nor on other pictures.

    Raises
    ------
    InputError
        If fewer than two can be decoded.
    """
    chosen = step_indices(drawing.recipe, drawing.count, step, drawing.blocks, drawing.window)
    places = shared_rows(np.arange(len(chosen)), drawing.share)
    indices = chosen[places] if drawing.usable is None else drawing.usable[chosen[places]]
    images = source.canvas(indices, drawing.size)
    good = readable(source.broken, indices, share=drawing.share)
    if not good.all():
        indices, places, images = indices[good], places[good], images[good]
    if drawing.views is None:
        return Drawn(indices, places, images)
    generator = step_generator(drawing.recipe.seed, _VIEWS, step)
    draws = draw_augmentations(len(chosen), drawing.views, generator)
    views = apply_draws(images, draws.rows(places), drawing.fill)
    return Drawn(indices, places, images, views)
