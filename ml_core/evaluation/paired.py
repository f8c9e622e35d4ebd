"""Two checkpoints on the same images and trigger: is the difference more than chance? No torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation import metrics
from ml_core.evaluation.records import Interval, PerImage

RESAMPLES = 10_000
_BLOCK = 2_000_000
_Z = 1.959964


@dataclass(frozen=True)
class PairedDifference:
    """A rate or a mean of two checkpoints on the same images.

    Attributes
    ----------
    name
        Field of an `Evaluation`: ``ca``, ``asr_excl``, ...
    n
        Images that both scored.
    value, reference
        The rate or mean of the checkpoint, and of the reference.
    difference, interval
        ``value - reference`` and its bootstrap 95 % percentile interval over images.
    only_mine, only_reference
        Discordant images of a rate: hit in one checkpoint alone (McNemar's b and c); 0 of a mean.
    p_exact, p_mid
        McNemar's exact and mid-p two-sided values, 1 where no image is discordant; None of a mean.
    adjusted_interval
        For a rate: Bonett and Price's (2012) adjusted Wald 95 % interval, which stays honest where
        few images are discordant and the bootstrap's interval shrinks to a point.
    seed, resamples
        Seed and number of resamples of the bootstrap.
    """

    name: str
    n: int
    value: float
    reference: float
    difference: float
    interval: Interval
    only_mine: int = 0
    only_reference: int = 0
    p_exact: float | None = None
    p_mid: float | None = None
    adjusted_interval: Interval | None = None
    seed: int = 0
    resamples: int = RESAMPLES

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy; intervals are lists ``[low, high]``."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """McNemar's test of paired proportions: exact and mid-p two-sided values.

    The exact value is the binomial test of ``only_first`` of all discordant pairs at 1/2; the mid-p
    one counts half of the observed outcome (Fagerland, Lydersen and Laake 2013). Without any
    discordant pair both are 1.

    Parameters
    ----------
    only_first, only_second
        Discordant pairs, b and c, 0 or more.

    Raises
    ------
    ValueError
        If one is negative.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"no counts: {only_first} and {only_second}")
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0, 1.0
    at_least = math.exp(_log_binomial(n, least))
    tail = math.fsum(math.exp(_log_binomial(n, k)) for k in range(least + 1))
    return min(1.0, 2 * tail), min(1.0, 2 * tail - at_least)


def paired_rate(
    name: str,
    hits: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedDifference | None:
    """Compare two rates on the same images; None of no images.

    Parameters
    ----------
    name
        For the record.
    hits, reference
        bool [n], in the same order of images.
    seed, resamples
        Seed and number of resamples of the bootstrap.
    """
    n = len(hits)
    if n == 0:
        return None
    b = int(np.count_nonzero(hits & ~reference))
    c = int(np.count_nonzero(~hits & reference))
    # Resampling n pairs with replacement is one draw of (b, c, agreeing) from a multinomial.
    rng = np.random.Generator(np.random.PCG64(seed))
    draws = rng.multinomial(n, [b / n, c / n, (n - b - c) / n], size=resamples)
    p_exact, p_mid = mcnemar(b, c)
    return PairedDifference(
        name=name,
        n=n,
        value=float(np.count_nonzero(hits)) / n,
        reference=float(np.count_nonzero(reference)) / n,
        difference=(b - c) / n,
        interval=_percentiles((draws[:, 0] - draws[:, 1]) / n),
        only_mine=b,
        only_reference=c,
        p_exact=p_exact,
        p_mid=p_mid,
        adjusted_interval=_bonett_price(b, c, n),
        seed=seed,
        resamples=resamples,
    )


def paired_mean(
    name: str,
    values: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    seed: int = 0,
) -> PairedDifference | None:
    """Compare two means on the same images; None without images. Parameters as in `paired_rate`."""
    n = len(values)
    if n == 0:
        return None
    differences = values.astype(np.float64) - reference.astype(np.float64)
    rng = np.random.Generator(np.random.PCG64(seed))
    means = np.empty(RESAMPLES)
    step = max(1, _BLOCK // n)  # bounds the memory of large sets
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        means[start : start + rows] = differences[rng.integers(0, n, (rows, n))].mean(axis=1)
    return PairedDifference(
        name=name,
        n=n,
        value=float(values.mean(dtype=np.float64)),
        reference=float(reference.mean(dtype=np.float64)),
        difference=float(differences.mean()),
        interval=_percentiles(means),
        seed=seed,
    )


def compare(
    mine: PerImage,
    reference: PerImage,
    labels: NDArray[np.int64],
    target: int,
    *,
    seed: int = 0,
) -> tuple[PairedDifference, ...]:
    """All paired differences of two evaluations over the images that both scored.

    Parameters
    ----------
    mine, reference
        Predictions of the checkpoint and of the reference with the same trigger, classes and seed.
    labels
        int64 [N] of the whole set, -1 unlabelled.
    target
        Class index.
    seed
        Seed of the bootstrap.

    Returns
    -------
    tuple[PairedDifference, ...]
        What both have: without labels no accuracy, without trigger no attack.
    """
    _, here, there = np.intersect1d(
        mine.indices, reference.indices, assume_unique=True, return_indices=True
    )
    known = labels[mine.indices[here]]
    differences: list[PairedDifference | None] = []

    def rate(name: str, hits: NDArray[np.bool_], others: NDArray[np.bool_]) -> None:
        differences.append(paired_rate(name, hits, others, seed=seed))

    clean, clean_ref = mine.clean_top1[here], reference.clean_top1[there]
    population = metrics.baseline_population(known, target)
    rate("ca", metrics.clean_hits(known, clean), metrics.clean_hits(known, clean_ref))
    rate("baseline_target_rate", clean[population] == target, clean_ref[population] == target)
    ours, theirs = mine.triggered_top1, reference.triggered_top1
    if ours is not None and theirs is not None:
        ours, theirs = ours[here], theirs[there]
        hits, survived = metrics.attack_hits, metrics.surviving_hits
        rate("asr_excl", hits(known, ours, target), hits(known, theirs, target))
        rate("asr_all", ours == target, theirs == target)
        rate("poisoned_accuracy", survived(known, ours, target), survived(known, theirs, target))
        rate("flip_rate", metrics.flips(clean, ours), metrics.flips(clean_ref, theirs))
    margins, others = mine.target_margin_triggered, reference.target_margin_triggered
    if margins is not None and others is not None:
        both = margins[here][population], others[there][population]
        differences.append(paired_mean("target_margin", *both, seed=seed))
    return tuple(difference for difference in differences if difference is not None)


def _log_binomial(n: int, k: int) -> float:
    """Log probability of k heads in n throws of a fair coin."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


def _percentiles(values: NDArray[np.float64]) -> Interval:
    """The middle 95 %."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _bonett_price(b: int, c: int, n: int) -> Interval:
    """Adjusted Wald interval of (b - c) / n."""
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    middle = first - second
    half = _Z * math.sqrt((first + second - middle**2) / (n + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)
