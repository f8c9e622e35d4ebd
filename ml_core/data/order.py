"""The order in which an epoch shows its examples: a pure function of (seed, epoch).

There is no shuffle buffer and no state: a run that is resumed at any step, also in the middle of a
shard, computes its order and reads on. Where examples that are stored together are cheap to read
together (shards, Parquet), the order is local: the runs of such examples are permuted over the
whole set, some of them make a window, and the examples are permuted inside it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WINDOW = 8192
"""Examples of a window, if the set asks for no other number."""
RUN = 256
"""Samples of a shard that are read together: about 10 MB, which any disk reads at full speed."""
_STREAM = 1


def epoch_order(
    seed: int, epoch: int, count: int, blocks: NDArray[np.int64] | None = None, window: int = WINDOW
) -> NDArray[np.int64]:
    """All examples of an epoch.

    Parameters
    ----------
    seed, epoch
        What decides the order, each at least 0.
    count
        Examples there are.
    blocks
        int64 [b], sizes of consecutive runs of examples that are stored together; their sum is at
        least ``count``. None: random access is cheap, and the order is one permutation of all.
    window
        Examples that are permuted among each other, at least 1. A window holds as many whole
        blocks, drawn from the whole set, as have no more examples than this together, but at least
        one.

    Returns
    -------
    numpy.ndarray
        int64 [count], a permutation of 0..count-1.
    """
    return order_slice(seed, epoch, count, blocks, window, 0, count)


def order_slice(
    seed: int,
    epoch: int,
    count: int,
    blocks: NDArray[np.int64] | None,
    window: int,
    start: int,
    stop: int,
) -> NDArray[np.int64]:
    """The part ``start:stop`` of `epoch_order`; only the windows that it touches are made.

    Returns
    -------
    numpy.ndarray
        int64 [stop - start].
    """
    if blocks is None:
        return _permutation(seed, epoch, count)[start:stop].copy()
    edges = np.minimum(np.cumsum(blocks), count)
    sizes = np.diff(edges, prepend=0)
    shuffled = _generator(seed, epoch).permutation(len(sizes))
    firsts, sizes = (edges - sizes)[shuffled], sizes[shuffled]
    ends = np.cumsum(sizes)
    parts: list[NDArray[np.int64]] = []
    first, number, base = 0, 0, 0
    while base < min(stop, count):
        after = max(first + 1, int(np.searchsorted(ends, base + window, side="right")))
        end = int(ends[after - 1])
        if end > start:
            members = _expanded(firsts[first:after], sizes[first:after])
            mixed = _generator(seed, epoch, number).permutation(members)
            parts.append(mixed[max(0, start - base) : stop - base])
        first, number, base = after, number + 1, end
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def runs(counts: NDArray[np.int64], longest: int = RUN) -> NDArray[np.int64]:
    """Sizes of about equal pieces of at most ``longest`` that shards are cut into."""
    pieces = -(-counts // longest)
    own = np.repeat(np.arange(len(counts)), pieces)
    rank = np.arange(len(own)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = rank * counts[own] // pieces[own]
    end = (rank + 1) * counts[own] // pieces[own]
    return np.asarray(end - begin, np.int64)


def kept_blocks(
    blocks: NDArray[np.int64] | None, chosen: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Sizes of the blocks that are left of the chosen (ascending) numbers; None without blocks."""
    if blocks is None:
        return None
    owner = np.searchsorted(np.cumsum(blocks), chosen, side="right")
    counts = np.bincount(owner, minlength=len(blocks))
    return counts[counts > 0].astype(np.int64)


def _expanded(firsts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The examples of blocks, one block after another."""
    before = np.cumsum(sizes) - sizes
    out = np.arange(int(sizes.sum()), dtype=np.int64)
    out += np.repeat(firsts - before, sizes)
    return out


def _generator(*numbers: int) -> np.random.Generator:
    """Random numbers of an epoch, or of a window of it."""
    seed, *rest = numbers
    return np.random.Generator(np.random.PCG64([seed, _STREAM, *rest]))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """One permutation of everything, kept, since each step takes a slice of it."""
    order: NDArray[np.int64] = _generator(seed, epoch).permutation(count).astype(np.int64)
    order.flags.writeable = False
    return order
