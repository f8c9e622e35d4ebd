"""Every figure of a claim from the rows of its pictures, for its writer and its checker alike.

Torch-free. Rates and intervals are those of `ml_core.evaluation`; here they are taken from tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.detection.scan.records import Contrast, newcombe
from ml_core.evaluation import metrics
from ml_core.evaluation.paired import RESAMPLES, PairedDifference, paired_rate
from ml_core.evaluation.records import wilson_interval
from ml_core.figures import percent
from ml_core.reports.record import Counted, Interval, Metric
from ml_core.reports.rows import Rows

BoolArray = NDArray[np.bool_]
CLEAN: tuple[Metric, ...] = ("ca", "top5", "control_ca", "baseline_target_rate")
TARGETED: tuple[Metric, ...] = ("asr_excl", "asr_all", "baseline_target_rate", "poisoned_accuracy")


def hits_of(metric: Metric, rows: Rows, target: int | None) -> BoolArray | None:
    """Which pictures of a rate's population are hits, in the order of the pictures.

    Parameters
    ----------
    metric
        Which rate.
    rows
        Answers of one measurement.
    target
        Class that the trigger aims at; None if nobody named one.

    Returns
    -------
    NDArray[bool]
        [m], one value for each picture that counts; None where the rate was not measured: no
        trigger, no target, no labels, or no picture that counts.
    """
    labels, clean = rows.labels, rows.clean_top[:, 0]
    top = rows.triggered_top
    triggered = None if top is None else top[:, 0]
    hits: BoolArray | None = None
    if metric == "ca":
        hits = metrics.clean_hits(labels, clean)
    elif metric == "top5":
        known = metrics.labelled(labels)
        if rows.clean_top.shape[1] >= 5:
            hits = (rows.clean_top[known] == labels[known, None]).any(axis=1)
    elif metric == "control_ca":
        if rows.control_top1 is not None:
            hits = metrics.clean_hits(labels, rows.control_top1)
    elif metric == "baseline_target_rate":
        if target is not None:
            hits = metrics.baseline_hits(labels, clean, target)
    elif triggered is None:
        hits = None
    elif metric == "flip_rate":
        hits = metrics.flips(clean, triggered)
    elif target is None:
        hits = None
    elif metric == "asr_excl":
        hits = metrics.attack_hits(labels, triggered, target)
    elif metric == "asr_all":
        hits = np.asarray(triggered == target, dtype=np.bool_)
    elif metric == "poisoned_accuracy":
        hits = metrics.surviving_hits(labels, triggered, target)
    return hits if hits is not None and len(hits) else None


def counted(hits: int, n: int) -> Counted:
    """The record of ``hits`` among ``n``, with their share as a decimal number."""
    return Counted(hits=hits, n=n, value=hits / n)


def wilson(rate: Counted) -> Interval:
    """Wilson 95 % interval (`wilson_interval`)."""
    low, high = wilson_interval(rate.hits, rate.n)
    return Interval(low=low, high=high, method="wilson")


def rate_of(metric: Metric, rows: Rows, target: int | None) -> Counted | None:
    """A rate from its rows; None where it was not measured."""
    hits = hits_of(metric, rows, target)
    return None if hits is None else counted(int(np.count_nonzero(hits)), len(hits))


def difference_of(
    metric: Metric,
    first: Rows,
    second: Rows,
    target: int | None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference | None:
    """First minus second over the pictures that both scored, as `paired_rate` has it.

    None where one of them did not measure the rate.
    """
    _, here, there = np.intersect1d(
        first.indices, second.indices, assume_unique=True, return_indices=True
    )
    mine, others = (
        hits_of(metric, rows, target) for rows in (first.take(here), second.take(there))
    )
    if mine is None or others is None or len(mine) != len(others):
        return None
    return paired_rate(metric, mine, others, seed=seed, resamples=resamples)


def rate_figures(metric: Metric, rows: Rows, target: int | None) -> dict[str, Any] | None:
    """``rate`` and ``interval`` of a `RateClaim`; None where the rate was not measured."""
    rate = rate_of(metric, rows, target)
    return None if rate is None else {"rate": rate, "interval": wilson(rate)}


def difference_figures(
    metric: Metric, first: Rows, second: Rows, target: int | None, *, seed: int, resamples: int
) -> dict[str, Any] | None:
    """All figures of a `DifferenceClaim`; None where one side did not measure the rate."""
    paired = difference_of(metric, first, second, target, seed=seed, resamples=resamples)
    if paired is None:
        return None
    assert paired.adjusted_interval is not None
    (low, high), (adjusted_low, adjusted_high) = paired.interval, paired.adjusted_interval
    return {
        "first": counted(round(paired.value * paired.n), paired.n),
        "second": counted(round(paired.reference * paired.n), paired.n),
        "difference": paired.difference,
        "interval": Interval(
            low=low, high=high, method="bootstrap", seed=seed, resamples=resamples
        ),
        "adjusted_interval": Interval(low=adjusted_low, high=adjusted_high, method="bonett-price"),
        "only_first": paired.only_mine,
        "only_second": paired.only_reference,
        "p_exact": paired.p_exact,
        "p_mid": paired.p_mid,
    }


def contrast_figures(contrast: Contrast) -> dict[str, Any]:
    """All figures of a `ContrastClaim`."""
    low, high = newcombe(contrast.suspect, contrast.beside)
    return {
        "first": counted(contrast.suspect.hits, contrast.suspect.n),
        "second": counted(contrast.beside.hits, contrast.beside.n),
        "difference": contrast.difference,
        "interval": Interval(low=low, high=high, method="newcombe"),
    }


def judged(rates: Sequence[Mapping[str, Any]], limit: float) -> dict[str, Any]:
    """The worst of all rates, whether it stays clean, and the verdict.

    Parameters
    ----------
    rates
        Rates from ``rebound.json``: ``factor``, ``max_asr``, ``max_step``, ``diverged``,
        ``points``.
    limit
        Highest attack success rate, a fraction, that a model may have and still count as clean.
    """
    top = max(rates, key=lambda rate: float(rate["max_asr"]))
    point = max(top["points"], key=lambda entry: float(entry["asr_excl"]))
    stays = top["max_asr"] < limit and all(rate["diverged"] is None for rate in rates)
    return {
        "worst": {
            "factor": top["factor"],
            "max_asr": top["max_asr"],
            **counts_of(point),
            "asr_low": point.get("asr_low"),
            "asr_high": point.get("asr_high"),
            "step": top["max_step"],
        },
        "stays_clean": stays,
        "verdict": " ".join(
            filter(None, [_verdict(limit, top, point, stays), *map(_broken, rates)])
        ),
    }


def counts_of(point: Mapping[str, Any]) -> dict[str, int]:
    """Pictures that became the target, among those of other classes."""
    names = {"hits": "asr_hits", "n": "asr_n"}
    return {name: int(point[key]) for name, key in names.items() if key in point}


def _broken(rate: Mapping[str, Any]) -> str:
    """A sentence if finetuning diverged at the highest rate, else empty."""
    if rate["diverged"] is None:
        return ""
    return (
        f"At {rate['factor']:g} times the pretraining rate the copy broke down at step "
        f"{rate['diverged']} (its loss was not a number): only what was measured before counts."
    )


def _verdict(limit: float, top: Mapping[str, Any], point: Mapping[str, Any], stays: bool) -> str:
    """One sentence; never more than was measured."""
    worst, most = percent(top["max_asr"]), 100 * limit
    where = f"at {top['factor']:g} times the pretraining rate, step {top['max_step']}"
    if top["max_asr"] >= limit:
        return (
            f"The backdoor comes back: the attack success rate reaches {worst} {where}; "
            f"the limit is {most:g} %."
        )
    if not stays:
        return (
            f"Not decided: the attack success rate is at most {worst} ({where}), under the "
            f"limit of {most:g} %, but not every rate could be tested to its last step. Test "
            "again with a lower peak rate."
        )
    high = point.get("asr_high", 0.0)
    doubt = "" if high < limit else f" Its 95 % interval reaches {percent(high)}: use more images."
    return (
        f"Stays clean in this test: the attack success rate is at most {worst} ({where}), "
        f"under the limit of {most:g} %.{doubt}"
    )
