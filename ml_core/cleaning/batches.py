"""Training batches: order, augmented views and tokens, all functions of (seed, step)."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml_core.cleaning.augment import CLIP_COLOUR, Colour
from ml_core.cleaning.pictures import (
    WHOLE,
    Drawing,
    Drawn,
    PictureSource,
    Share,
    draw_step,
    epoch_and_place,
    readable,
    step_generator,
    step_indices,
)
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.data.order import kept_blocks

__all__ = [
    "Batch",
    "Images",
    "Pairs",
    "labelled_batch",
    "pair_batch",
    "prefetch",
    "step_generator",
    "step_indices",
]

_CAPTIONS = 3
_DEPTH = 4

Tokenize = Callable[[Sequence[str]], Tensor]
CaptionView = Callable[[str, random.Random], str]
Draw = Callable[[int], Drawn]


class Pairs(PictureSource, Protocol):
    """Image-caption pairs as :mod:`ml_core.data` gives them."""

    def __len__(self) -> int: ...

    def captions(self, indices: npt.NDArray[np.int64], epoch: int, /) -> list[str]:
        """A caption of each of some pairs, which an epoch may choose; damaged: in `broken`."""
        ...


class Images(PictureSource, Protocol):
    """Labelled images as :mod:`ml_core.data` gives them."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of every image, -1 where unknown."""
        ...


@dataclass(frozen=True)
class Batch:
    """One step's examples.

    Attributes
    ----------
    images
        uint8 [N, 3, S, S].
    image_views
        uint8 [N, 3, S, S], augmented; None where the method has no second view.
    tokens, token_views
        int64 [N, L] of the captions and of their augmented views.
    labels
        int64 [N].
    numbers
        int64 [N], which examples of the set these are; stays on the CPU. None: what is computed of
        them is not kept for later epochs.
    fill
        How many examples a kept embedding is computed with: fewer are filled up to it. 0 for as
        many as there are.
    """

    images: Tensor
    image_views: Tensor | None = None
    tokens: Tensor | None = None
    token_views: Tensor | None = None
    labels: Tensor | None = None
    numbers: Tensor | None = None
    fill: int = 0
    blank: bool = False

    def __len__(self) -> int:
        return 0 if self.blank else len(self.images)

    def part(self, rows: slice) -> Batch:

        def cut(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[rows]

        return replace(
            self,
            images=self.images[rows],
            image_views=cut(self.image_views),
            tokens=cut(self.tokens),
            token_views=cut(self.token_views),
            labels=cut(self.labels),
            numbers=cut(self.numbers),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self

        def move(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device, non_blocking=True)

        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            image_views=move(self.image_views),
            tokens=move(self.tokens),
            token_views=move(self.token_views),
            labels=move(self.labels),
        )


def as_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """uint8 [N, S, S, 3] as a tensor [N, 3, S, S] without a copy (channels-last in memory)."""
    writeable = images if images.flags.writeable else images.copy()
    return torch.from_numpy(writeable).permute(0, 3, 1, 2)


def pair_batch(
    pairs: Pairs,
    recipe: Recipe,
    size: int,
    tokenize: Tokenize,
    caption_view: CaptionView,
    step: int,
    *,
    fill: Colour = CLIP_COLOUR,
    share: Share = WHOLE,
    draw: Draw | None = None,
) -> Batch:
    """One step on pairs: with second views where the recipe gives them a weight.

    PAR augments the pictures themselves instead.

    Parameters
    ----------
    pairs
        Where captions and pictures come from.
    recipe
        Order, augmentation and seed.
    size
        Side of the model's input in pixels.
    tokenize
        Captions to int64 [N, L].
    caption_view
        Draws an augmented caption (EDA).
    step
        Step from the start of the run; the batch depends on it and on the seed alone.
    fill
        Colour of erased squares, see `augment_images`.
    share
        Which rows of the batch are made here.
    draw
        Gives a step's pictures; None draws them here. See :func:`pair_drawing`.

    Raises
    ------
    InputError
        If fewer than two pairs can be read.
    """
    if draw is None:
        drawn = draw_step(pairs, pair_drawing(pairs, recipe, size, fill, share), step)
    else:
        drawn = draw(step)
    epoch, _ = epoch_and_place(recipe, len(pairs), step)
    captions = pairs.captions(drawn.indices, epoch)
    good = readable(pairs.broken, drawn.indices, "pairs", share)
    if not good.all():  # damaged captions
        drawn = drawn.rows(good)
        captions = [text for text, fine in zip(captions, good.tolist(), strict=True) if fine]
    token_views = None
    if views_captions(recipe):
        token_views = tokenize(
            [
                caption_view(caption, random.Random(f"{recipe.seed}/{_CAPTIONS}/{step}/{place}"))
                for caption, place in zip(captions, drawn.places.tolist(), strict=True)
            ]
        )
    images, views = drawn.images, drawn.views
    if recipe.method == "par" and views is not None:
        images, views = views, None
    return Batch(
        as_tensor(images),
        None if views is None else as_tensor(views),
        tokenize(captions),
        token_views,
        numbers=torch.from_numpy(drawn.indices),
        blank=int(drawn.indices[0]) in pairs.broken,
    )


def pair_drawing(
    pairs: Pairs, recipe: Recipe, size: int, fill: Colour = CLIP_COLOUR, share: Share = WHOLE
) -> Drawing:
    """Which pictures of pairs each step takes."""
    augmented = recipe.method == "par" or views_images(recipe)
    views = recipe.image_augmentation if augmented else None
    return Drawing(recipe, size, len(pairs), None, views, share, fill, pairs.blocks, pairs.window)


def views_images(recipe: Recipe) -> bool:
    """Whether the method trains on augmented pictures beside the originals."""
    return "lambda_image" in fields_of(recipe.method) and recipe.lambda_image > 0


def views_captions(recipe: Recipe) -> bool:
    """Whether the method trains on augmented captions beside the originals."""
    return "lambda_text" in fields_of(recipe.method) and recipe.lambda_text > 0


def labelled_batch(
    images: Images,
    recipe: Recipe,
    size: int,
    step: int,
    *,
    fill: Colour = CLIP_COLOUR,
    share: Share = WHOLE,
    draw: Draw | None = None,
) -> Batch:
    """One step on labelled images, augmented.

    Parameters
    ----------
    images
        Labelled images; those without a label are left out.
    recipe
        Order, augmentation and seed.
    size
        Side of the model's input in pixels.
    step
        Step from the start of the run; the batch depends on it and on the seed alone.
    fill, share, draw
        As for :func:`pair_batch`; see :func:`labelled_drawing`.
    """
    if draw is None:
        drawn = draw_step(images, labelled_drawing(images, recipe, size, fill, share), step)
    else:
        drawn = draw(step)
    return Batch(
        as_tensor(drawn.images if drawn.views is None else drawn.views),
        labels=torch.from_numpy(images.labels[drawn.indices]),
        numbers=torch.from_numpy(drawn.indices),
        blank=int(drawn.indices[0]) in images.broken,
    )


def labelled_drawing(
    images: Images, recipe: Recipe, size: int, fill: Colour = CLIP_COLOUR, share: Share = WHOLE
) -> Drawing:
    """Which labelled pictures each step takes."""
    usable = np.flatnonzero(images.labels >= 0)
    blocks, window = images.blocks, images.window
    together = kept_blocks(blocks, usable)
    views = recipe.image_augmentation
    return Drawing(recipe, size, len(usable), usable, views, share, fill, together, window)


def prefetch(
    make: Callable[[int], Batch], steps: range, depth: int = _DEPTH
) -> Generator[Batch, None, None]:
    """Make batches in a background thread, at most ``depth`` ahead; close to end the thread.

    Parameters
    ----------
    make
        Step to batch; a failure in it is raised here.
    steps
        Steps in order.
    depth
        Batches that wait in memory.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(item: Batch | BaseException) -> bool:
        while not closed.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in steps:
                if not put(make(step)):
                    return
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="cleaning-batches", daemon=True)
    thread.start()
    try:
        for _ in steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed.set()
        thread.join(timeout=10.0)
