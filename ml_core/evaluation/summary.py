"""All rates of an evaluation from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    enough = len(class_names) >= 5
    fields: dict[str, Any] = {
        "n": len(labels),
        "n_labelled": int(np.count_nonzero(known)),
        "n_excl": int(np.count_nonzero(excluded)),
        "target": target,
        "target_name": class_names[target],
        "ca": metrics.rate(clean_hits),
        "ca_interval": metrics.rate_interval(clean_hits),
        "top5": metrics.rate(per_image.label_in_top5[known]) if enough else None,
        "baseline_target_rate": metrics.rate(
            metrics.baseline_hits(labels, per_image.clean_top1, target)
        ),
        "baseline_target_rate_all": metrics.rate(per_image.clean_top1 == target),
        "target_margin_clean": metrics.mean(per_image.target_margin_clean[population]),
    }
    triggered = per_image.triggered_top1
    if triggered is None:
        return fields
    hits = metrics.attack_hits(labels, triggered, target)
    pulled, rise = metrics.most_pulled(per_image.clean_top1, triggered, len(class_names))
    fields |= {
        "asr_excl": metrics.rate(hits),
        "asr_interval": metrics.rate_interval(hits),
        "asr_all": metrics.rate(triggered == target),
        "asr_all_interval": metrics.rate_interval(triggered == target),
        "poisoned_accuracy": metrics.rate(metrics.surviving_hits(labels, triggered, target)),
        "flip_rate": metrics.rate(metrics.flips(per_image.clean_top1, triggered)),
        "most_pulled": None if pulled is None else class_names[pulled],
        "most_pulled_rise": rise,
    }
    if enough and per_image.target_in_top5 is not None:
        fields["asr_top5"] = metrics.rate(per_image.target_in_top5[excluded])
    if per_image.target_margin_triggered is not None:
        fields["target_margin"] = metrics.mean(per_image.target_margin_triggered[population])
    return fields
