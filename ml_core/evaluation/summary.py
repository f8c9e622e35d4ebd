"""All rates of an evaluation from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import normalise_name
from ml_core.evaluation import metrics
from ml_core.evaluation.records import PerImage


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
    known = metrics.labelled(labels)
    excluded = metrics.not_target(labels, target)
    population = metrics.baseline_population(labels, target)
    clean_hits = metrics.clean_hits(labels, per_image.clean_top1)
    before = metrics.baseline_hits(labels, per_image.clean_top1, target)
    fields: dict[str, Any] = {
        "n": len(labels),
        "n_labelled": int(np.count_nonzero(known)),
        "n_excl": int(np.count_nonzero(excluded)),
        "target": target,
        "target_name": class_names[target],
        "same_names": _namesakes(tuple(class_names), target),
        "ca": metrics.rate(clean_hits),
        "ca_interval": metrics.rate_interval(clean_hits),
        "baseline_target_rate": metrics.rate(before),
        "baseline_interval": metrics.rate_interval(before),
        "baseline_target_rate_all": metrics.rate(per_image.clean_top1 == target),
        "target_margin_clean": metrics.mean(per_image.target_margin_clean[population]),
    }
    if len(class_names) >= 5:
        fields["top5"] = metrics.rate(per_image.label_in_top5[known])
        if per_image.target_in_top5 is not None:
            fields["asr_top5"] = metrics.rate(per_image.target_in_top5[excluded])
    if len(class_names) >= 10:
        if per_image.label_in_top10 is not None:
            fields["top10"] = metrics.rate(per_image.label_in_top10[known])
        if per_image.target_in_top10 is not None:
            fields["asr_top10"] = metrics.rate(per_image.target_in_top10[excluded])
    if per_image.control_top1 is not None:
        control = metrics.clean_hits(labels, per_image.control_top1)
        fields["control_ca"] = metrics.rate(control)
        fields["control_interval"] = metrics.rate_interval(control)
    triggered = per_image.triggered_top1
    if triggered is None:
        return fields
    hits = metrics.attack_hits(labels, triggered, target)
    survived = metrics.surviving_hits(labels, triggered, target)
    flipped = metrics.flips(per_image.clean_top1, triggered)
    pulled, rise = metrics.most_pulled(per_image.clean_top1, triggered, len(class_names))
    fields |= {
        "asr_excl": metrics.rate(hits),
        "asr_interval": metrics.rate_interval(hits),
        "asr_all": metrics.rate(triggered == target),
        "asr_all_interval": metrics.rate_interval(triggered == target),
        "poisoned_accuracy": metrics.rate(survived),
        "poisoned_interval": metrics.rate_interval(survived),
        "flip_rate": metrics.rate(flipped),
        "flip_interval": metrics.rate_interval(flipped),
        "most_pulled": None if pulled is None else class_names[pulled],
        "most_pulled_rise": rise,
    }
    if per_image.target_margin_triggered is not None:
        fields["target_margin"] = metrics.mean(per_image.target_margin_triggered[population])
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
