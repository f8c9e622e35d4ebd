"""Distances to the nearest others, within a chunk of a set or a reference, and scores of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Fetched beyond k, since the product's distances may swap those that are nearly as far.
_SPARE = 8
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest others of n points.

    Attributes
    ----------
    distances
        float64 [n, k] on the CPU, ascending: r_1 to r_k. Exact duplicates are at 0.
    places
        int64 [n, k]: which points of the reference they are.
    """

    distances: Tensor
    places: Tensor

    @property
    def k(self) -> int:
        return self.distances.shape[1]

    @property
    def radius(self) -> Tensor:
        """k-distance r_k: float64 [n], the distance to the k-th other point; high is suspicious.

        As in Huang et al. (ICLR 2025), whose code takes the (k+1)-th.
        """
        return self.distances[:, -1]


def nearest(points: Tensor, k: int, reference: Tensor | None = None) -> Neighbours:
    """Find the k nearest others of each point by Euclidean distance.

    The candidates come from a matrix product, block by block, on the device of ``points``; their
    distances are then computed anew from the differences, since the product loses the small ones
    (which decide LID) to rounding. All in float64 (float32 on MPS, which has none): in float32 the
    product cannot order a close group of many. Memory is that of a block against the reference.

    Parameters
    ----------
    points
        float [n, D].
    k
        Neighbours, 1 to m - 1 (to m where a reference is given).
    reference
        float [m, D]; None looks among the points themselves, and a point is never its own
        neighbour, though its exact duplicates are.

    Returns
    -------
    Neighbours
        On the CPU.

    Raises
    ------
    ValueError
        If there are too few points for k.
    """
    own = reference is None
    others = points if reference is None else reference
    most = len(others) - 1 if own else len(others)
    if not 1 <= k <= most:
        raise ValueError(f"{k} neighbours of {len(others)} points; at most {most} are there")
    kind = torch.float32 if points.device.type == "mps" else torch.float64
    middle = others.to(kind).mean(dim=0)
    there = others.to(kind) - middle  # all of a CLIP's embeddings lie to one side of the origin
    squares = there.square().sum(dim=1)
    distances = torch.empty(len(points), k, dtype=torch.float64)
    places = torch.empty(len(points), k, dtype=torch.int64)
    for first in range(0, len(points), _BLOCK):
        rows = slice(first, first + _BLOCK)
        here = points[rows].to(kind) - middle
        rough = squares - 2 * (here @ there.T)  # [b, m], less |here|^2, which orders nothing
        if own:
            at = torch.arange(len(here), device=here.device)
            rough[at, at + first] = torch.inf
        candidates = rough.topk(min(k + _SPARE, most), dim=1, largest=False).indices
        exact = _distances(here, there, candidates)
        near = exact.topk(k, dim=1, largest=False, sorted=True)
        distances[rows] = near.values.cpu()
        places[rows] = candidates.gather(1, near.indices).cpu()
    return Neighbours(distances, places)


def _distances(here: Tensor, there: Tensor, candidates: Tensor) -> Tensor:
    """Distances of [b, D] to some of [m, D] each, from their differences: [b, c]."""
    columns = [
        (there[candidates[:, c]] - here).square().sum(dim=1).sqrt()
        for c in range(candidates.shape[1])
    ]
    return torch.stack(columns, dim=1)


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
    """How densely points lie among their neighbours.

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
    """The density at points whose neighbours are known."""
    return Density(among.radius, lid(among))


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
    dimension = (own.k / total.clamp_min(own.k / LARGEST_LID)).clamp_max(LARGEST_LID)
    return torch.where(radius > 0, dimension, 0.0)


def slof(own: Neighbours, among: Density) -> Tensor:
    """Simplified local outlier factor: mean_j r_k(x) / r_k(j); high is suspicious.

    Schubert, Zimek and Kriegel (2014): Breunig's LOF (SIGMOD 2000) without the
    reachability distance. About 1 where a point lies as densely as its neighbours.

    Parameters
    ----------
    own
        Neighbours of n points.
    among
        The points that these neighbours are.

    Returns
    -------
    Tensor
        float64 [n], >= 0.
    """
    mine, theirs = _radii(own, among)
    return (mine[:, None] / theirs).mean(dim=1)


def dao(own: Neighbours, among: Density) -> Tensor:
    """Dimensionality-aware outlier score: mean_j LID(j) log(r_k(x) / r_k(j)); high is suspicious.

    Anderberg et al. (SDM 2024), applied to CLIP's image embeddings by Huang et al. (ICLR 2025),
    whose code takes the (k+1)-th distance and is one place off in the neighbours. Parameters are
    those of `slof`.

    Returns
    -------
    Tensor
        float64 [n]; about 0 where a point lies as densely as its neighbours.
    """
    mine, theirs = _radii(own, among)
    return (among.dimension[own.places] * (mine[:, None] / theirs).log()).mean(dim=1)


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

        forest = IsolationForest(
            n_estimators=TREES,
            max_samples=min(_FOREST_SAMPLE, len(sample)),
            random_state=seed % 2**32,
        )
        self._forest = forest.fit(sample.float().cpu().numpy())

    def score(self, points: Tensor) -> Tensor:
        """Anomaly score 2^(-E[path] / c), float64 [n] in 0..1; high is suspicious."""
        scores = self._forest.score_samples(points.float().cpu().numpy())
        return torch.from_numpy(-scores.astype(np.float64))


def _radii(own: Neighbours, among: Density) -> tuple[Tensor, Tensor]:
    """r_k of the points, [n], and of their neighbours, [n, k], none of them 0."""
    least = SMALLEST_RADIUS * float(among.radius.median())
    least = max(least, torch.finfo(torch.float64).tiny)
    return own.radius.clamp_min(least), among.radius.clamp_min(least)[own.places]
