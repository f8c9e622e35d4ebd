"""Training batches: order, views, tokens, mixed pictures: all functions of (seed, step)."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml_core.cleaning.augment import (
    CLIP_COLOUR,
    Colour,
    Draws,
    Pictures,
    apply_draws,
    draw_augmentations,
)
from ml_core.cleaning.pictures import (
    WHOLE,
    Drawing,
    Drawn,
    PictureSource,
    Share,
    draw_step,
    epoch_and_place,
    readable,
    shared_rows,
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
        """A caption for each of some pairs, chosen by epoch; damaged ones go to `broken`."""
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
        int64 [N], the numbers of these examples in the set; stays on the CPU. None: embeddings of
        these examples are not kept for later epochs.
    places
        int64 [N], where each stands in the whole batch of all processes; None where it is whole.
    made_up
        bool [N], which pictures are to get a trigger that the method makes up; stays on the CPU.
    targets
        What the method wants of the images, float [N, ...], see `Method.targets`.
    fill
        Number of examples that are embedded together when embeddings are kept; fewer are padded to
        this number. 0 stands for as many as there are.
    """

    images: Tensor
    image_views: Tensor | None = None
    tokens: Tensor | None = None
    token_views: Tensor | None = None
    labels: Tensor | None = None
    numbers: Tensor | None = None
    places: npt.NDArray[np.int64] | None = None
    made_up: Tensor | None = None
    targets: Tensor | None = None
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
            made_up=cut(self.made_up),
            targets=cut(self.targets),
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
    drawing = pair_drawing(pairs, recipe, size, fill, share)
    drawn, captions = drawn_pairs(pairs, drawing, step, draw)
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
        places=drawn.places,
        blank=int(drawn.indices[0]) in pairs.broken,
    )


def drawn_pairs(
    pairs: Pairs, drawing: Drawing, step: int, draw: Draw | None = None
) -> tuple[Drawn, list[str]]:
    """The pictures of one step on pairs, and their captions; those that are damaged are left out.

    Raises
    ------
    InputError
        If fewer than two pairs can be read.
    """
    drawn = draw_step(pairs, drawing, step) if draw is None else draw(step)
    epoch, _ = epoch_and_place(drawing.recipe, len(pairs), step)
    captions = pairs.captions(drawn.indices, epoch)
    good = readable(pairs.broken, drawn.indices, "pairs", drawing.share)
    if not good.all():  # damaged captions
        drawn = drawn.rows(good)
        captions = [text for text, fine in zip(captions, good.tolist(), strict=True) if fine]
    return drawn, captions


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


_KEPT, _AUGMENTED, _BLENDED, _CUT = range(4)
_RATIOS = (0.2, 0.8)  # of a picture in its blend
_SIDES = (0.25, 0.75)  # of a part, as a share of the picture's side


@dataclass(frozen=True, eq=False)
class Mixes:
    """What was drawn for each of N images.

    Attributes
    ----------
    kinds
        int64 [N]: 0 stays, 1 is augmented, 2 is blended, 3 gets a part of another image.
    chances
        float [N, 4], uniform. A blend uses the first column as its ratio. A part uses them as its
        height, width, row and column.
    augmentations
        The draws for the images that are augmented.
    """

    kinds: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]
    augmentations: Draws

    def rows(self, places: npt.NDArray[np.int64]) -> Mixes:
        return Mixes(self.kinds[places], self.chances[places], self.augmentations.rows(places))


def draw_mixes(count: int, generator: np.random.Generator) -> Mixes:
    """Draw for ``count`` images; how much is drawn depends on that alone."""
    return Mixes(
        generator.integers(0, 4, count),
        generator.random((count, 4)),
        draw_augmentations(count, "autoaugment", generator),
    )


def mix(images: Pictures, others: Pictures, mixes: Mixes) -> Pictures:
    """Mix images uint8 [N, H, W, 3], each with the other image of its row."""
    mixed = images.copy()
    augmented = np.flatnonzero(mixes.kinds == _AUGMENTED)
    mixed[augmented] = apply_draws(images[augmented], mixes.augmentations.rows(augmented))
    height, width = images.shape[1:3]
    for i in np.flatnonzero(mixes.kinds >= _BLENDED):
        first, second, row, column = mixes.chances[i]
        if mixes.kinds[i] == _BLENDED:
            ratio = _between(_RATIOS, first)
            mixed[i] = ratio * images[i] + (1 - ratio) * others[i]
            continue
        high = max(1, round(_between(_SIDES, first) * height))
        wide = max(1, round(_between(_SIDES, second) * width))
        top, left = int(row * (height - high + 1)), int(column * (width - wide + 1))
        part = np.s_[i, top : top + high, left : left + wide]
        mixed[part] = others[part]
    return mixed


def _between(limits: tuple[float, float], chance: float) -> float:
    low, high = limits
    return low + (high - low) * chance


_MIXES = 5


class TrainingPictures(Protocol):
    """Pictures on the model's canvas, as a `CanvasCache` has them."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, with a sentence each."""

    def __len__(self) -> int: ...

    def get(self, indices: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]:
        """uint8 [n, size, size, 3]."""


def picture_batch(
    source: TrainingPictures, recipe: Recipe, step: int, *, share: Share = WHOLE
) -> Batch:
    """Pictures, as they are or mixed.

    Parameters
    ----------
    source
        Pictures; labels are not looked at.
    recipe
        Order and seed.
    step
        Step from the start of the run; the batch depends on it and on the seed alone.
    share
        Which rows of the batch are made here.
    """
    order = step_indices(recipe, len(source), step)
    indices = shared_rows(order, share)
    images = source.get(indices)
    mine = shared_rows(np.arange(len(order)), share)
    if recipe.mix_images:
        mixes = draw_mixes(len(order), step_generator(recipe.seed, _MIXES, step))
        images = mix(images, source.get(shared_rows(np.roll(order, 1), share)), mixes.rows(mine))
    good = readable(source.broken, indices, share=share)
    indices = indices[good]
    return Batch(
        as_tensor(images[good]),
        numbers=torch.from_numpy(indices),
        places=mine[good],
        blank=int(indices[0]) in source.broken,
    )
