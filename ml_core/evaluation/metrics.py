"""Rates from predictions, and all of an evaluation's: functions of arrays, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import normalise_name
from ml_core.evaluation.records import Interval, PerImage, wilson_interval

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
    """As `attack_hits`, but without the trigger; over all images if no image has a label."""
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


def summarise(
    per_image: PerImage, labels: NDArray[np.int64], target: int, class_names: Sequence[str]
) -> dict[str, Any]:
    """Compute the measured fields of an `Evaluation`.

    Parameters
    ----------
    per_image
        Predictions of n images.
    labels
        int64 [n], theirs, -1 unlabelled.
    target
        Class index.
    class_names
        C names.
    """
    known = labelled(labels)
    excluded = not_target(labels, target)
    population = baseline_population(labels, target)
    correct = clean_hits(labels, per_image.clean_top1)
    before = baseline_hits(labels, per_image.clean_top1, target)
    fields: dict[str, Any] = {
        "n": len(labels),
        "n_labelled": int(np.count_nonzero(known)),
        "n_excl": int(np.count_nonzero(excluded)),
        "target": target,
        "target_name": class_names[target],
        "same_names": _namesakes(tuple(class_names), target),
        "ca": rate(correct),
        "ca_interval": rate_interval(correct),
        "baseline_target_rate": rate(before),
        "baseline_interval": rate_interval(before),
        "baseline_target_rate_all": rate(per_image.clean_top1 == target),
        "target_margin_clean": mean(per_image.target_margin_clean[population]),
    }
    if len(class_names) >= 5:
        fields["top5"] = rate(per_image.label_in_top5[known])
        if per_image.target_in_top5 is not None:
            fields["asr_top5"] = rate(per_image.target_in_top5[excluded])
    if len(class_names) >= 10:
        if per_image.label_in_top10 is not None:
            fields["top10"] = rate(per_image.label_in_top10[known])
        if per_image.target_in_top10 is not None:
            fields["asr_top10"] = rate(per_image.target_in_top10[excluded])
    if per_image.control_top1 is not None:
        control = clean_hits(labels, per_image.control_top1)
        fields["control_ca"] = rate(control)
        fields["control_interval"] = rate_interval(control)
    triggered = per_image.triggered_top1
    if triggered is None:
        return fields
    hits = attack_hits(labels, triggered, target)
    survived = surviving_hits(labels, triggered, target)
    flipped = flips(per_image.clean_top1, triggered)
    pulled, rise = most_pulled(per_image.clean_top1, triggered, len(class_names))
    fields |= {
        "asr_excl": rate(hits),
        "asr_interval": rate_interval(hits),
        "asr_all": rate(triggered == target),
        "asr_all_interval": rate_interval(triggered == target),
        "poisoned_accuracy": rate(survived),
        "poisoned_interval": rate_interval(survived),
        "flip_rate": rate(flipped),
        "flip_interval": rate_interval(flipped),
        "most_pulled": None if pulled is None else class_names[pulled],
        "most_pulled_rise": rise,
    }
    if per_image.target_margin_triggered is not None:
        fields["target_margin"] = mean(per_image.target_margin_triggered[population])
    return fields


@lru_cache(maxsize=16)
def _namesakes(class_names: tuple[str, ...], target: int) -> tuple[int, ...]:
    """Other classes whose name is the target's."""
    name = normalise_name(class_names[target])
    return tuple(
        index
        for index, other in enumerate(class_names)
        if index != target and normalise_name(other) == name
    )
