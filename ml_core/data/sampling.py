"""Seeded orders in which every prefix is a fair sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml_core.data.specs import Part

# A smaller set is not split: neither part would tell anything.
SMALLEST_SPLIT = 50
SAMPLING = "stratified by label, PCG64; each image's draws from (seed, position in the set)"
"""How `stratified_order` orders, for records."""
_VALIDATION_SHARE, _VALIDATION_MOST = 5, 500


def stratified_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Shuffle so that each prefix holds each label in about its share.

    The k-th of a label's m shuffled members gets the place (k + u) / m with u uniform in
    [0, 1); a prefix with the fraction f of all images then holds between f m - 1 and f m + 1 of
    them.

    Parameters
    ----------
    labels
        int64 [N]; -1 (no label) is a stratum of its own.
    seed
        Seed of the shuffle.

    Returns
    -------
    numpy.ndarray
        int64 [N], a permutation of 0..N-1.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    labels = np.asarray(labels)
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]  # members of a label adjoin
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    place = (rank + rng.random(len(labels))) / np.repeat(counts, counts)
    order: NDArray[np.int64] = by_label[np.argsort(place, kind="stable")].astype(np.int64)
    return order


def stratified_sample(labels: NDArray[np.int64], n: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of a stratified sample of n images; of all where n is None or too large."""
    if n is None or n >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    return np.sort(stratified_order(labels, seed)[:n])


def shots_of(labels: NDArray[np.int64], shots: int | None, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of at most ``shots`` images of each label, -1 left out; of all for None."""
    if shots is None:
        return np.arange(len(labels), dtype=np.int64)
    draws = np.random.Generator(np.random.PCG64(seed))
    drawn = draws.permutation(len(labels))
    by_label = drawn[np.argsort(labels[drawn], kind="stable")]  # members of a label adjoin
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(labels)) - np.repeat(starts, counts)
    return np.sort(by_label[(rank < shots) & (labels[by_label] >= 0)]).astype(np.int64)


def part_of(labels: NDArray[np.int64], part: Part, seed: int) -> NDArray[np.int64]:
    """Ascending numbers of the images of a part.

    One image in five, at most 500, is validation; the rest is test. Both are stratified, and the
    same labels and seed always give the same two. Of a set of fewer than `SMALLEST_SPLIT` images
    each part is the whole set.
    """
    if part == "all" or len(labels) < SMALLEST_SPLIT:
        return np.arange(len(labels), dtype=np.int64)
    order = stratified_order(labels, seed)
    first_test = min(len(labels) // _VALIDATION_SHARE, _VALIDATION_MOST)
    return np.sort(order[:first_test] if part == "validation" else order[first_test:])
