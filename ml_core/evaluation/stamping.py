"""The pictures that a trigger acts on, and what the model then sees of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.canvas import CanvasCache
from ml_core.reading.clip_config import CLIP_FIT, Fit
from ml_core.reading.errors import InputError
from ml_core.triggers.apply import canvas_fit, canvas_side, model_pictures, stamp_picture
from ml_core.triggers.record import Trigger


class ModelCanvases(Protocol):
    """Pictures of an image set at the model's input size, e.g. a `CanvasCache`."""

    @property
    def broken(self) -> Collection[int]:
        """Positions of unreadable pictures found so far; callers look after each `get`."""

    def get(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n, S, S, 3]."""


def to_float(images: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Turn uint8 [n, S, S, 3] into float32 [n, 3, S, S] in [0, 1], channels last, on the device."""
    array = images if images.flags.writeable else images.copy()
    moved = torch.from_numpy(np.asarray(array)).to(device)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Turn float [n, 3, S, S] in [0, 1] into uint8 [n, S, S, 3], rounded."""
    scaled = (images * 255).round_().clamp_(0, 255).to(torch.uint8)
    result: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return result


def read_canvases(
    source: ModelCanvases, indices: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Fetch pictures, and drop those that the source then knows to be broken."""
    images = source.get(indices)
    if len(source.broken):
        good = ~np.isin(indices, np.fromiter(source.broken, dtype=np.int64))
        images, indices = images[good], indices[good]
    return images, indices


Fetch = Callable[[NDArray[np.int64]], "PictureBatch"]
AT_ONCE_BYTES = 4 * 1024**2


@dataclass(frozen=True, eq=False)
class PictureBatch:
    """Pictures to score.

    Attributes
    ----------
    indices
        int64 [n], positions in the set; broken pictures are left out.
    images
        uint8 [n, S, S, 3], on the model's canvas; None where their embeddings are known.
    own
        uint8 [n, H, W, 3], on the trigger's canvas; None where that is the model's.
    asked
        Pictures asked for, broken ones included.
    """

    indices: NDArray[np.int64]
    images: Pictures | None
    own: Pictures | None
    asked: int


def read_batch(
    source: ModelCanvases, own: ModelCanvases | None, indices: NDArray[np.int64]
) -> PictureBatch:
    """Fetch pictures on the model's and on the trigger's canvas, without the broken ones."""
    asked = len(indices)
    images, indices = read_canvases(source, indices)
    if own is None or not len(indices):
        return PictureBatch(indices, images, None, asked)
    others, readable = read_canvases(own, indices)
    return PictureBatch(readable, images[np.isin(indices, readable)], others, asked)


def steps(
    order: NDArray[np.int64], first: int, most: Callable[[], int]
) -> Iterator[NDArray[np.int64]]:
    """Cut an order into steps: a small first one, then twice as many, up to the most just then."""
    done, step = 0, max(1, min(first, most()))
    while done < len(order):
        yield order[done : done + step]
        done += step
        step = min(2 * step, max(1, most()))


def images_at_once(batch: int, shape: tuple[int, ...]) -> int:
    """Most images of a step whose results can wait: a multiple of a batch, of little memory.

    Stamping and scoring cost a fixed time a step, which a fast encoder would feel in every batch.

    Parameters
    ----------
    batch
        Images that are encoded at a time.
    shape
        Shape of one canvas in bytes.
    """
    return max(1, AT_ONCE_BYTES // (math.prod(shape) * batch)) * batch


def batches(
    parts: Iterator[NDArray[np.int64]], fetch: Fetch, *, ahead: bool
) -> Iterator[PictureBatch]:
    """Fetch batch after batch.

    Parameters
    ----------
    parts
        Positions of each batch.
    fetch
        Reads one batch.
    ahead
        Read the next batch in a thread while the caller is busy with the last one. Where torch
        has all cores, that thread would only take from it; see `spare_core`.
    """
    if not ahead:
        yield from map(fetch, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting = None
        for part in parts:
            following = pool.submit(fetch, part)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def spare_core(device: torch.device) -> bool:
    """Whether a thread can read pictures without taking from the encoder."""
    own = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if own else os.cpu_count() or 1
    return device.type != "cpu" or torch.get_num_threads() < cores


Pictures = NDArray[np.uint8]


def own_canvases(
    source: ModelCanvases, trigger: Trigger | None, size: int, seed: int
) -> ModelCanvases | None:
    """Pictures for a trigger whose canvas is not the model's; None where it is.

    Parameters
    ----------
    source
        Pictures on the model's canvas.
    trigger
        Its ``canvas`` decides.
    size
        Side of the model's input in pixels.
    seed
        Seed of the evaluation.

    Returns
    -------
    CanvasSource or None
        If the trigger acts on the original pictures: these with the trigger on them, on the model's
        canvas.

    Raises
    ------
    InputError
        If the source has nothing but the model's canvases.
    """
    if trigger is None or trigger.canvas == "model":
        return None
    if not isinstance(source, CanvasCache):
        raise InputError(
            f"The trigger {trigger.name or 'without name'} acts on another canvas than the "
            "model's, and these images have no other.",
            "unsupported",
        )
    if trigger.canvas == "original":
        return StampedOriginals(source, trigger, size, seed)
    return source.at(canvas_fit(trigger, source.source.fit), canvas_side(trigger, size))


class StampedOriginals:
    """Original pictures with the trigger on them, made square one by one as the source does."""

    def __init__(self, source: CanvasCache, trigger: Trigger, size: int, seed: int) -> None:
        self._source = source
        self._trigger = trigger
        self._size = size
        self._seed = seed
        self.broken: dict[int, str] = {}

    def get(self, indices: NDArray[np.int64]) -> Pictures:
        """uint8 [n, S, S, 3]; black where `broken` has the index."""
        out: Pictures = np.zeros((len(indices), self._size, self._size, 3), np.uint8)
        for row, index in enumerate(indices.tolist()):
            try:
                picture = self._source.picture(index)
            except InputError as error:
                self.broken[index] = error.sentence
                continue
            fit = self._source.source.fit
            out[row] = stamp_picture(self._trigger, picture, index, self._seed, self._size, fit)
        return out


def to_pictures(images: Pictures, device: torch.device) -> Tensor:
    """Turn uint8 [n, H, W, 3] into uint8 [n, 3, H, W], channels last, on the device."""
    return _moved(images, device).permute(0, 3, 1, 2)


def stamped(
    trigger: Trigger | None,
    canvases: Pictures,
    indices: NDArray[np.int64],
    seed: int,
    size: int,
    device: torch.device,
    fit: Fit = CLIP_FIT,
) -> Tensor:
    """What the model sees of triggered pictures.

    Parameters
    ----------
    trigger
        What to stamp; None leaves the pictures alone, for a control on the same canvas.
    canvases
        uint8 [n, H, W, 3], on the trigger's canvas (of the ``original`` one: stamped already).
    indices
        int64 [n], positions in the set, to which random draws belong.
    seed
        Seed of the evaluation.
    size
        Side of the model's input in pixels.
    device
        Where to stamp.
    fit
        How the model makes pictures square.

    Returns
    -------
    Tensor
        [n, 3, size, size], uint8 or float in [0, 1], before normalisation.
    """
    if trigger is not None and trigger.canvas == "original":
        return to_pictures(canvases, device)
    moved = _moved(canvases, device)
    return model_pictures(trigger, moved, torch.from_numpy(indices), seed, size, fit)


def triggered_pictures(
    source: ModelCanvases,
    trigger: Trigger,
    indices: NDArray[np.int64],
    seed: int,
    size: int,
    device: torch.device,
    fit: Fit = CLIP_FIT,
) -> Pictures:
    """Pictures of the set with the trigger on them, as an evaluation with that seed sees them.

    The parameters are those of :func:`stamped`; ``source`` has the pictures on the model's canvas.

    Returns
    -------
    Pictures
        uint8 [n, size, size, 3]; black where a picture cannot be read.
    """
    own = own_canvases(source, trigger, size, seed)
    read, readable = read_canvases(source if own is None else own, indices)
    out: Pictures = np.zeros((len(indices), size, size, 3), np.uint8)
    if len(readable):
        seen = stamped(trigger, read, readable, seed, size, device, fit)
        out[np.isin(indices, readable)] = as_uint8(seen)
    return out


def _moved(images: Pictures, device: torch.device) -> Tensor:
    """The same numbers on the device."""
    array = images if images.flags.writeable else images.copy()
    return torch.from_numpy(array).to(device, non_blocking=True)


def as_uint8(pictures: Tensor) -> Pictures:
    """Turn [n, 3, S, S], uint8 or float in [0, 1], into uint8 [n, S, S, 3], rounded."""
    if pictures.dtype == torch.uint8:
        out: Pictures = pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return out
    return to_uint8(pictures)


FIRST_SECONDS = 0.08
"""A first estimate should be there within 150 ms of the last stroke, drawing and stamping
included."""
BATCH_SECONDS = 0.3
"""A picture that is asked for waits no longer than one batch."""
_UNKNOWN, _UNKNOWN_LARGE = (32, 64), (4, 16)
_LARGE_SIDE = 128
_SMALLEST_FIRST, _SMALLEST = 4, 8


def live_batches(
    seconds_per_image: float | None, *, side: int, device: str, best: int = 64
) -> tuple[int, int]:
    """Choose the size of the first batch and the most of one, for `evaluate`.

    Parameters
    ----------
    seconds_per_image
        What scoring one image takes here, both sides if both are computed; None if it is not known
        yet.
    side
        Model input in pixels.
    device
        ``cpu``, ``cuda`` or ``mps``.
    best
        Images a call at which the encoder is fastest, see `ml_core.evaluation.speed`; larger
        batches only make the next answer late.

    Returns
    -------
    tuple[int, int]
        Neither takes longer than `FIRST_SECONDS` or `BATCH_SECONDS`, unless the model is so slow
        that the smallest sizes do.
    """
    if seconds_per_image is None:
        return _UNKNOWN_LARGE if side > _LARGE_SIDE and device == "cpu" else _UNKNOWN
    rate = 1.0 / max(seconds_per_image, 1e-6)
    first = min(max(int(FIRST_SECONDS * rate), _SMALLEST_FIRST), best)
    return first, max(first, min(max(int(BATCH_SECONDS * rate), _SMALLEST), best))
