"""Distances to the nearest others, within a chunk of a set, a reference, or a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.reading.errors import CancelledError

# Fetched beyond k, since the product's distances may swap those that are nearly as far.
_SPARE = 8
_BLOCK = 1024
_WIDE = 8192

Indices = NDArray[np.int64]


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
        """r_k: float64 [n], the distance to the k-th other point."""
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
    kind = precision(points.device)
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


class StoredPoints(Protocol):
    """Points that lie on disk."""

    def __len__(self) -> int: ...

    def images(self, indices: Indices, /) -> NDArray[np.float32]:
        """The points at ascending positions, [n, D]."""

    def image_block(self, first: int, stop: int, /) -> NDArray[np.float32]:
        """The points of a range, [n, D]."""


@dataclass(frozen=True, eq=False)
class Space:
    """All points of a set, and which of them count.

    Attributes
    ----------
    rows
        N points of D numbers.
    read
        bool [N]; the others are nobody's neighbours.
    middle
        float [D] on the device of the computation, about in the middle of all: it takes rounding
        away from the products, and decides nothing.
    unit
        Whether the points are made unit vectors.
    cancelled
        Asked before each block.
    """

    rows: StoredPoints
    read: NDArray[np.bool_]
    middle: Tensor
    unit: bool = False
    cancelled: Callable[[], bool] = lambda: False

    def at(self, indices: Indices) -> Tensor:
        """Points at any positions, float64 [n, D] on the device (float32 on MPS)."""
        rows, back = np.unique(indices.reshape(-1), return_inverse=True)
        return self._moved(self.rows.images(rows), self.read[rows])[torch.from_numpy(back)]

    def block(self, first: int, stop: int) -> Tensor:
        """`at` a range."""
        return self._moved(self.rows.image_block(first, stop), self.read[first:stop])

    def _moved(self, values: NDArray[np.float32], read: NDArray[np.bool_]) -> Tensor:
        values[~read] = 0
        points = torch.from_numpy(values).to(self.middle.device)
        if self.unit:
            points = F.normalize(points, dim=-1)
        return points.to(self.middle.dtype) - self.middle


def precision(device: torch.device) -> torch.dtype:
    """The type in which distances are computed."""
    return torch.float32 if device.type == "mps" else torch.float64


def nearest_of_all(space: Space, indices: Indices, k: int) -> Iterator[float | Neighbours]:
    """Find the k nearest others of some points among all of a set that lies on disk.

    As `nearest`, block by block with the best so far: memory is that of these points against one
    block.

    Parameters
    ----------
    space
        The set.
    indices
        int64 [n], positions of the points.
    k
        Neighbours; more than that many others count.

    Yields
    ------
    float or Neighbours
        The share of the set that is done, after each block; at last the neighbours.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    here = space.at(indices)
    device, count = here.device, len(space.rows)
    own = torch.from_numpy(indices).to(device)
    best = torch.full((len(here), k + _SPARE), torch.inf, dtype=here.dtype, device=device)
    places = torch.zeros(len(here), k + _SPARE, dtype=torch.int64, device=device)
    for first in range(0, count, _WIDE):
        if space.cancelled():
            raise CancelledError
        there = space.block(first, first + _WIDE)
        rough = there.square().sum(dim=1) - 2 * (here @ there.T)
        out = torch.from_numpy(np.flatnonzero(~space.read[first : first + _WIDE])).to(device)
        rough[:, out] = torch.inf
        inside = torch.nonzero((own >= first) & (own < first + len(there)))[:, 0]
        rough[inside, own[inside] - first] = torch.inf
        near = rough.topk(min(k + _SPARE, len(there)), dim=1, largest=False)
        both = torch.cat([best, near.values], dim=1)
        nearest = both.topk(k + _SPARE, dim=1, largest=False)
        best = nearest.values
        places = torch.cat([places, near.indices + first], dim=1).gather(1, nearest.indices)
        yield min(first + _WIDE, count) / count
    yield closest(space, here, places, torch.isfinite(best), k)


def closest(space: Space, here: Tensor, candidates: Tensor, usable: Tensor, k: int) -> Neighbours:
    """The k nearest of some candidates by distances from the differences, for `nearest_of_all`.

    Parameters
    ----------
    space
        The set.
    here
        [n, D], the points that `Space.at` gives.
    candidates
        int64 [n, c], positions in the set.
    usable
        bool [n, c]; the others come last, at an infinite distance.
    k
        Neighbours, at most c.
    """
    exact = torch.empty(candidates.shape, dtype=here.dtype, device=here.device)
    for first in range(0, len(here), _BLOCK):
        rows = slice(first, first + _BLOCK)
        part = candidates[rows]
        there = space.at(part.cpu().numpy()).view(*part.shape, -1)
        for column in range(part.shape[1]):
            apart = (there[:, column] - here[rows]).square().sum(dim=1).sqrt()
            exact[rows, column] = apart
    exact[~usable] = torch.inf
    near = exact.topk(k, dim=1, largest=False, sorted=True)
    return Neighbours(near.values.double().cpu(), candidates.gather(1, near.indices).cpu())


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
    dimension = (own.k / total.clamp_min(own.k / LARGEST_LID)).clamp_max(LARGEST_LID)
    return torch.where(radius > 0, dimension, 0.0)


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
        The points that ``places`` counts.

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


def _radii(radius: Tensor, places: Tensor, among: Density) -> tuple[Tensor, Tensor]:
    """r_k of the points, [n], and of their neighbours, [n, k], none of them 0."""
    least = SMALLEST_RADIUS * float(among.radius.median())
    least = max(least, torch.finfo(torch.float64).tiny)
    return radius.clamp_min(least), among.radius.clamp_min(least)[places]
