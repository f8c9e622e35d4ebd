"""Distances to the nearest others, within a chunk of a set or within a reference."""

from __future__ import annotations

from dataclasses import dataclass

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
