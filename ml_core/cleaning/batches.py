"""Training batches: order, augmented views and tokens, all functions of (seed, step)."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ml_core.cleaning.augment import CLIP_COLOUR, Colour, augment_images
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.reading.errors import InputError

_ORDER, _VIEWS, _CAPTIONS = 1, 2, 3
_DEPTH = 4

Tokenize = Callable[[Sequence[str]], Tensor]
CaptionView = Callable[[str, random.Random], str]


class Pairs(Protocol):
    """Image-caption pairs as :mod:`ml_core.data` gives them."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, with a sentence each."""
        ...

    def __len__(self) -> int: ...

    def captions(self, indices: npt.NDArray[np.int64], /) -> list[str]:
        """Captions of some pairs."""
        ...

    def canvas(self, indices: npt.NDArray[np.int64], size: int, /) -> npt.NDArray[np.uint8]:
        """Pictures of some pairs, uint8 [n, size, size, 3]."""
        ...


class Images(Protocol):
    """Labelled images as :mod:`ml_core.data` gives them."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of every image, -1 where unknown."""
        ...

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, with a sentence each."""
        ...

    def canvas(self, indices: npt.NDArray[np.int64], size: int, /) -> npt.NDArray[np.uint8]:
        """Pictures, uint8 [n, size, size, 3]."""
        ...


@dataclass(frozen=True)
class Batch:
    """One step's examples.

    Attributes
    ----------
    images
        uint8 [N, 3, S, S].
    image_views
        [N, 3, S, S], uint8, augmented or with the trigger on them (then also float in [0, 1]);
        None where the method has no second view.
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


def step_generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Random numbers of one step or epoch, independent of all others."""
    return np.random.Generator(np.random.PCG64([seed, stream, number]))


def step_indices(recipe: Recipe, count: int, step: int) -> npt.NDArray[np.int64]:
    """Numbers of the examples of one step, [batch_size]; each epoch is a new permutation.

    Parameters
    ----------
    recipe
        Gives seed, batch size and number of examples.
    count
        Examples there are; the first ``recipe.pairs`` of them are used.
    step
        Step from the start of the run.
    """
    used = min(count, recipe.pairs)
    per_epoch = max(1, used // recipe.batch_size)
    epoch, place = divmod(step, per_epoch)
    order = step_generator(recipe.seed, _ORDER, epoch).permutation(used)
    start = place * recipe.batch_size
    return order[start : start + recipe.batch_size].astype(np.int64)


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
    fill: Colour = CLIP_COLOUR,
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
    """
    indices, images = _readable(pairs, step_indices(recipe, len(pairs), step), size)
    captions = pairs.captions(indices)
    image_views = token_views = None
    if recipe.method == "par" or views_images(recipe):
        draws = step_generator(recipe.seed, _VIEWS, step)
        views = augment_images(images, recipe.image_augmentation, draws, fill)
        if recipe.method == "par":
            images = views
        else:
            image_views = as_tensor(views)
    if views_captions(recipe):
        words = random.Random(f"{recipe.seed}/{_CAPTIONS}/{step}")
        token_views = tokenize([caption_view(caption, words) for caption in captions])
    return Batch(
        as_tensor(images),
        image_views,
        tokenize(captions),
        token_views,
        numbers=torch.from_numpy(indices),
    )


def views_images(recipe: Recipe) -> bool:
    """Whether the method trains on augmented pictures beside the originals."""
    return "lambda_image" in fields_of(recipe.method) and recipe.lambda_image > 0


def views_captions(recipe: Recipe) -> bool:
    """Whether the method trains on augmented captions beside the originals."""
    return "lambda_text" in fields_of(recipe.method) and recipe.lambda_text > 0


def labelled_batch(
    images: Images, recipe: Recipe, size: int, step: int, fill: Colour = CLIP_COLOUR
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
    fill
        Colour of erased squares, see `augment_images`.
    """
    usable = np.flatnonzero(images.labels >= 0)
    indices, pixels = _readable(images, usable[step_indices(recipe, len(usable), step)], size)
    draws = step_generator(recipe.seed, _VIEWS, step)
    views = augment_images(pixels, recipe.image_augmentation, draws, fill)
    return Batch(
        as_tensor(views),
        labels=torch.from_numpy(images.labels[indices]),
        numbers=torch.from_numpy(indices),
    )


def _readable(
    source: Pairs | Images, indices: npt.NDArray[np.int64], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The pictures that can be decoded, with their numbers; broken ones are left out."""
    images = source.canvas(indices, size)
    good = np.array([int(i) not in source.broken for i in indices], dtype=bool)
    if good.all():
        return indices, images
    if good.sum() < 2:
        raise InputError(
            f"Of {len(indices)} pictures in a batch fewer than two can be read; the first says: "
            f"{next(iter(source.broken.values()))}",
            "damaged",
        )
    return indices[good], images[good]


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
