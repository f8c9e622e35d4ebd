"""Scores of suspicion from the distances to the nearest others.

Every score is a plain function of :class:`~ml_core.detection.neighbours.Neighbours`. ``own`` are
the neighbours of the points that are scored, ``among`` tells of the points that they are neighbours
with: of the same ones, unless a reference was given.

How they fail: k-distance, SLOF and DAO look for points that lie far from others. Planted pictures
look like each other to a backdoored model; where more than k of them are in one chunk, their
neighbours are planted too, they lie close together, and the three scores call them the least
suspicious of all. LID looks at how fast the number of neighbours grows with the distance and can
still tell them, but calls the members of a group of fewer than k the least suspicious. With a
clean reference to find neighbours in, no planted pair has planted neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.detection.neighbours import Neighbours

# Of r_j / r_k: keeps the logarithm of an exact duplicate (r_j = 0) finite.
SMALLEST_RATIO = 1e-4
# Of r_k, against the median of the chunk: keeps the quotient of points with k duplicates finite.
SMALLEST_RADIUS = 1e-6
# Where all k neighbours are equally far, the formula has no finite value.
LARGEST_LID = 1e4
TREES = 100
_FOREST_SAMPLE = 256


@dataclass(frozen=True, eq=False)
class Density:
    """How the points lie among which neighbours were found.

    Attributes
    ----------
    radius
        float64 [m], distance to the k-th other point.
    dimension
        float64 [m], `lid`.
    """

    radius: Tensor
    dimension: Tensor


def density(among: Neighbours) -> Density:
    """Of points whose neighbours are known."""
    return Density(k_distance(among), lid(among))


def k_distance(own: Neighbours) -> Tensor:
    """Distance to the k-th other point; high is suspicious.

    As in Huang et al. (ICLR 2025), whose code takes the (k+1)-th.

    Returns
    -------
    Tensor
        float64 [n], >= 0.
    """
    return own.radius


def lid(own: Neighbours) -> Tensor:
    """Local intrinsic dimensionality: -k / sum_j log(r_j / r_k); high is suspicious.

    The maximum-likelihood estimate of Amsaleg et al. (KDD 2015). A point mass has
    dimension 0: so has a point with k exact duplicates. Ratios are kept above 1e-4 and the result
    below 10 000.

    Returns
    -------
    Tensor
        float64 [n], >= 0.
    """
    radius = own.radius
    ratios = own.distances / radius[:, None].clamp_min(torch.finfo(radius.dtype).tiny)
    total = -ratios.clamp(SMALLEST_RATIO, 1.0).log().sum(dim=1)
    found = (own.k / total.clamp_min(own.k / LARGEST_LID)).clamp_max(LARGEST_LID)
    return torch.where(radius > 0, found, 0.0)


def slof(radius: Tensor, places: Tensor, among: Density) -> Tensor:
    """Simplified local outlier factor: mean_j r_k(x) / r_k(j); high is suspicious.

    Schubert, Zimek and Kriegel (2014): Breunig's LOF (SIGMOD 2000) without the
    reachability distance. About 1 where a point lies as densely as its neighbours.

    Parameters
    ----------
    radius
        float64 [n], distances of the points to their k-th neighbours.
    places
        int64 [n, k], which of the points in ``among`` their neighbours are.
    among
        Those.

    Returns
    -------
    Tensor
        float64 [n], >= 0.
    """
    mine, theirs = _radii(radius, places, among)
    return (mine[:, None] / theirs).mean(dim=1)


def dao(radius: Tensor, places: Tensor, among: Density) -> Tensor:
    """Dimensionality-aware outlier score: mean_j LID(j) log(r_k(x) / r_k(j)); high is suspicious.

    Anderberg et al. (SDM 2024), applied to CLIP's image embeddings by Huang et al. (ICLR 2025),
    whose code takes the (k+1)-th distance and is one place off in the neighbours. Parameters are
    those of `slof`.

    Returns
    -------
    Tensor
        float64 [n]; about 0 where a point lies as densely as its neighbours.
    """
    mine, theirs = _radii(radius, places, among)
    return (among.dimension[places] * (mine[:, None] / theirs).log()).mean(dim=1)


def clip_score(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine of picture and caption; low is suspicious.

    Hessel et al. (EMNLP 2021), without their factor of 2.5 and their cut at 0.

    Parameters
    ----------
    images, texts
        float [n, D] of any length but 0.

    Returns
    -------
    Tensor
        float64 [n] on the CPU, -1 to 1.
    """
    return torch.cosine_similarity(images.double().cpu(), texts.double().cpu(), dim=1)


class Forest:
    """An isolation forest (Liu, Ting and Zhou, ICDM 2008): 100 trees of 256 points each.

    Huang et al. grow one for each batch; here one serves the whole set, so that the scores of
    different chunks can be compared.

    Parameters
    ----------
    sample
        float [m, D], a random sample of the set, or the reference.
    seed
        Fixes the trees.
    """

    def __init__(self, sample: Tensor, seed: int) -> None:
        from sklearn.ensemble import IsolationForest

        made = IsolationForest(
            n_estimators=TREES,
            max_samples=min(_FOREST_SAMPLE, len(sample)),
            random_state=seed % 2**32,
        )
        self._forest = made.fit(sample.float().cpu().numpy())

    def score(self, points: Tensor) -> Tensor:
        """Anomaly score 2^(-E[path] / c), float64 [n] in 0..1; high is suspicious."""
        found = self._forest.score_samples(points.float().cpu().numpy())
        return torch.from_numpy(-found.astype(np.float64))


def auroc(values: NDArray[np.float64], planted: NDArray[np.bool_]) -> float:
    """Chance that a planted pair scores above another one, ties counted half (Mann and Whitney).

    Parameters
    ----------
    values
        float [n], high is suspicious.
    planted
        bool [n], both kinds present.

    Returns
    -------
    float
        0.5 for a score that knows nothing.
    """
    hits, others = values[planted], np.sort(values[~planted])
    if not len(hits) or not len(others):
        raise ValueError("an AUROC needs planted pairs and others")
    below = np.searchsorted(others, hits, side="left")
    upto = np.searchsorted(others, hits, side="right")
    return float((below + upto).mean() / 2 / len(others))


def _radii(radius: Tensor, places: Tensor, among: Density) -> tuple[Tensor, Tensor]:
    """r_k of the points, [n], and of their neighbours, [n, k], none of them 0."""
    least = SMALLEST_RADIUS * float(among.radius.median())
    least = max(least, torch.finfo(torch.float64).tiny)
    return radius.clamp_min(least), among.radius.clamp_min(least)[places]
