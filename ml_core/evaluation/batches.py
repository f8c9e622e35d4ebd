"""Batches of pictures in a fixed order, the next one read while the last one is encoded."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ml_core.evaluation.canvases import CanvasSource, read_canvases

Pictures = NDArray[np.uint8]
Fetch = Callable[[NDArray[np.int64]], "Batch"]
AT_ONCE_BYTES = 4 * 1024**2


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures to score.

    Attributes
    ----------
    indices
        int64 [n], positions in the set; broken pictures are left out.
    images
        uint8 [n, S, S, 3], on the model's canvas; None where their embeddings are known.
    own
        uint8 [n, H, W, 3], on the trigger's canvas; None where that is the model's.
    wanted
        Pictures asked for, broken ones included.
    """

    indices: NDArray[np.int64]
    images: Pictures | None
    own: Pictures | None
    wanted: int


def read_batch(source: CanvasSource, own: CanvasSource | None, indices: NDArray[np.int64]) -> Batch:
    """Fetch pictures on the model's and on the trigger's canvas, without the broken ones."""
    wanted = len(indices)
    images, indices = read_canvases(source, indices)
    if own is None or not len(indices):
        return Batch(indices, images, None, wanted)
    others, kept = read_canvases(own, indices)
    return Batch(kept, images[np.isin(indices, kept)], others, wanted)


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
        Of one canvas in bytes.
    """
    return max(1, AT_ONCE_BYTES // (math.prod(shape) * batch)) * batch


def batches(parts: Iterator[NDArray[np.int64]], fetch: Fetch, *, ahead: bool) -> Iterator[Batch]:
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
