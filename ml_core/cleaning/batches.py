"""Training batches: order, augmented views and tokens, all functions of (seed, step)."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml_core.cleaning.pictures import (
    WHOLE,
    Drawing,
    Drawn,
    PictureSource,
    Share,
    draw_step,
    step_generator,
    step_indices,
)
from ml_core.cleaning.recipes import Recipe

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

    def captions(self, indices: npt.NDArray[np.int64], /) -> list[str]:
        """Captions of some pairs."""
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
        int64 [N], which examples of the set these are; stays on the CPU.
    """

    images: Tensor
    image_views: Tensor | None = None
    tokens: Tensor | None = None
    token_views: Tensor | None = None
    labels: Tensor | None = None
    numbers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: slice) -> Batch:
        """Some of the examples."""

        def cut(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[rows]

        return Batch(
            self.images[rows],
            cut(self.image_views),
            cut(self.tokens),
            cut(self.token_views),
            cut(self.labels),
            cut(self.numbers),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self

        def move(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device, non_blocking=True)

        return Batch(
            self.images.to(device, non_blocking=True),
            move(self.image_views),
            move(self.tokens),
            move(self.token_views),
            move(self.labels),
            self.numbers,
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
    share: Share = WHOLE,
    draw: Draw | None = None,
) -> Batch:
    """One step of CleanCLIP (with both second views) or of MMCL (without).

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
    share
        Which rows of the batch are made here.
    draw
        Gives a step's pictures; None draws them here. See :func:`pair_drawing`.
    """
    if draw is None:
        drawn = draw_step(pairs, pair_drawing(pairs, recipe, size, share), step)
    else:
        drawn = draw(step)
    captions = pairs.captions(drawn.indices)
    numbers = torch.from_numpy(drawn.indices)
    if drawn.views is None:
        return Batch(as_tensor(drawn.images), tokens=tokenize(captions), numbers=numbers)
    caption_views = [
        caption_view(caption, random.Random(f"{recipe.seed}/{_CAPTIONS}/{step}/{place}"))
        for caption, place in zip(captions, drawn.places.tolist(), strict=True)
    ]
    return Batch(
        as_tensor(drawn.images),
        as_tensor(drawn.views),
        tokenize(captions),
        tokenize(caption_views),
        numbers=numbers,
    )


def pair_drawing(pairs: Pairs, recipe: Recipe, size: int, share: Share = WHOLE) -> Drawing:
    """Which pictures of pairs each step takes."""
    views = recipe.image_augmentation if draws_views(recipe) else None
    return Drawing(recipe, size, len(pairs), None, views, share)


def draws_views(recipe: Recipe) -> bool:
    """Whether the method trains on augmented views beside the originals."""
    return recipe.method == "cleanclip" and (recipe.lambda_image > 0 or recipe.lambda_text > 0)


def labelled_batch(
    images: Images,
    recipe: Recipe,
    size: int,
    step: int,
    *,
    share: Share = WHOLE,
    draw: Draw | None = None,
) -> Batch:
    """One step of supervised finetuning: augmented labelled images.

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
    share, draw
        As for :func:`pair_batch`; see :func:`labelled_drawing`.
    """
    if draw is None:
        drawn = draw_step(images, labelled_drawing(images, recipe, size, share), step)
    else:
        drawn = draw(step)
    return Batch(
        as_tensor(drawn.images if drawn.views is None else drawn.views),
        labels=torch.from_numpy(images.labels[drawn.indices]),
        numbers=torch.from_numpy(drawn.indices),
    )


def labelled_drawing(images: Images, recipe: Recipe, size: int, share: Share = WHOLE) -> Drawing:
    """Which labelled pictures each step takes."""
    usable = np.flatnonzero(images.labels >= 0)
    return Drawing(recipe, size, len(usable), usable, recipe.image_augmentation, share)


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
