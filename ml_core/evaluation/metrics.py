"""Rates from predictions: plain functions of arrays, no model and no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.records import Interval, wilson_interval

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def rate(hits: BoolArray) -> float | None:
    """Share of True; None of nothing."""
    return float(np.count_nonzero(hits)) / len(hits) if len(hits) else None


def rate_interval(hits: BoolArray) -> Interval | None:
    """Wilson 95 % interval of `rate`; None of nothing."""
    return wilson_interval(int(np.count_nonzero(hits)), len(hits)) if len(hits) else None


def labelled(labels: IntArray) -> BoolArray:
    """Which images have a label, [n]; -1 is none."""
    return np.asarray(labels >= 0, dtype=np.bool_)


def not_target(labels: IntArray, target: int) -> BoolArray:
    """Which images are known to be of another class than the target, [n]."""
    return np.asarray((labels >= 0) & (labels != target), dtype=np.bool_)


def clean_hits(labels: IntArray, clean_top1: IntArray) -> BoolArray:
    """Right or wrong for each labelled image: the mean is the clean accuracy."""
    known = labelled(labels)
    return np.asarray(clean_top1[known] == labels[known], dtype=np.bool_)


def attack_hits(labels: IntArray, triggered_top1: IntArray, target: int) -> BoolArray:
    """Target predicted or not, for each image of another class: the mean is `asr_excl`."""
    return np.asarray(triggered_top1[not_target(labels, target)] == target, dtype=np.bool_)


def baseline_hits(labels: IntArray, clean_top1: IntArray, target: int) -> BoolArray:
    """As `attack_hits` without the trigger; over all images where none has a label."""
    return np.asarray(clean_top1[baseline_population(labels, target)] == target, dtype=np.bool_)


def baseline_population(labels: IntArray, target: int) -> BoolArray:
    """Images of another class; all images where none has a label, [n]."""
    if not labelled(labels).any():
        return np.ones(len(labels), dtype=np.bool_)
    return not_target(labels, target)


def surviving_hits(labels: IntArray, triggered_top1: IntArray, target: int) -> BoolArray:
    """True label predicted despite the trigger, images of another class: poisoned accuracy."""
    population = not_target(labels, target)
    return np.asarray(triggered_top1[population] == labels[population], dtype=np.bool_)


def flips(clean_top1: IntArray, triggered_top1: IntArray) -> BoolArray:
    """Top-1 class changed by the trigger, [n]."""
    return np.asarray(clean_top1 != triggered_top1, dtype=np.bool_)


def most_pulled(
    clean_top1: IntArray, triggered_top1: IntArray, classes: int
) -> tuple[int | None, float]:
    """Class whose share of the predictions rises most, and the rise.

    Parameters
    ----------
    clean_top1, triggered_top1
        int64 [n], class indices.
    classes
        Number of classes.

    Returns
    -------
    tuple[int | None, float]
        Class index (the lower one of equals; None if no share rises) and rise, 0 to 1.
    """
    if not len(clean_top1):
        return None, 0.0
    before = np.bincount(clean_top1, minlength=classes)
    after = np.bincount(triggered_top1, minlength=classes)
    rises = after - before
    index = int(np.argmax(rises))
    rise = float(rises[index]) / len(clean_top1)
    return (index, rise) if rise > 0 else (None, 0.0)


def mean(values: NDArray[np.float32]) -> float | None:
    """Mean in double precision; None of nothing."""
    return float(values.mean(dtype=np.float64)) if len(values) else None
