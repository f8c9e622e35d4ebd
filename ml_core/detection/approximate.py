"""Approximate neighbours by an inverted file (extra ``faiss``), for sets beyond exact search."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ml_core.detection.audit import Step
from ml_core.detection.neighbours import Indices, Space
from ml_core.ranks import Ranks
from ml_core.reading.errors import CancelledError, InputError

SAMPLE = 1000
"""Pairs whose exact neighbours are looked for too, to say which share was found."""
_SPARE = 8
_BLOCK = 65_536
_LISTS = 4  # times the root of the number of pairs
_FEWEST_OF_A_LIST = 64
_FEWEST_SEARCHED, _SEARCHED = 16, 32  # lists, at least, and one in so many
_FILE = "neighbours.index"


def faiss_or_refusal() -> Any:
    """The library.

    Raises
    ------
    InputError
        Without it.
    """
    try:
        import faiss
    except ImportError:
        raise InputError(
            "Approximate neighbours need faiss; install it with: "
            "pip install 'cleanclip-gui[faiss]'.",
            "unsupported",
        ) from None
    return faiss


@dataclass(frozen=True, eq=False)
class Index:
    """An index of all pairs that can be read; the numbers in it are half as exact as the files'."""

    index: Any

    def candidates(self, here: Tensor, own: Indices, k: int) -> tuple[Tensor, Tensor]:
        """Positions that are probably near.

        Parameters
        ----------
        here
            [n, D], points as of `Space.at`.
        own
            int64 [n], their own positions, which are no candidates.
        k
            Neighbours that are wanted.

        Returns
        -------
        tuple of Tensor
            int64 [n, c] with c > k, and bool [n, c], which of them are any.
        """
        asked = here.float().cpu().numpy()
        _, found = self.index.search(np.ascontiguousarray(asked), k + _SPARE + 1)
        usable = (found >= 0) & (found != own[:, None])
        places = torch.from_numpy(np.where(found < 0, own[:, None], found).astype(np.int64))
        return places.to(here.device), torch.from_numpy(usable).to(here.device)


@dataclass(frozen=True)
class _Added:
    """Pairs in the index."""

    done: int


def shared_index(
    space: Space, seed: int, folder: Path, ranks: Ranks
) -> Generator[Step, None, Index]:
    """Build an index in the first process; the others map its file.

    It is an inverted file of 4 sqrt(N) lists (k-means of a sample), of which one in 32 is searched
    for each point; the points in it are float16. Memory is D x 2 + 8 bytes a pair.

    Raises
    ------
    InputError
        Without faiss.
    """
    with ranks.as_one(space.middle.device):
        faiss = faiss_or_refusal()
    total = len(space.rows)
    path = folder / _FILE
    work = _built(faiss, space, seed, path) if ranks.first else iter(())
    for _, done in ranks.in_step(work, space.middle.device):
        yield Step("index", done, total)
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    index.nprobe = min(index.nlist, max(_FEWEST_SEARCHED, index.nlist // _SEARCHED))
    return Index(index)


def _built(faiss: Any, space: Space, seed: int, path: Path) -> Iterator[_Added]:
    """Train, add block by block, and write."""
    there = np.flatnonzero(space.read)
    lists = max(1, min(int(_LISTS * math.sqrt(len(there))), len(there) // _FEWEST_OF_A_LIST))
    drawn = np.random.Generator(np.random.PCG64([seed, 2])).permutation(len(there))
    sample = np.sort(there[drawn[: lists * _FEWEST_OF_A_LIST]])
    points = space.at(sample).float().cpu().numpy()
    quantizer = faiss.IndexFlatL2(points.shape[1])
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, points.shape[1], lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2
    )
    index.cp.seed = seed % (1 << 31)
    index.train(points)
    for first in range(0, len(space.rows), _BLOCK):
        if space.cancelled():
            raise CancelledError
        stop = min(first + _BLOCK, len(space.rows))
        at = np.flatnonzero(space.read[first:stop])
        if len(at):
            rows = space.block(first, stop)[torch.from_numpy(at).to(space.middle.device)]
            index.add_with_ids(rows.float().cpu().numpy(), (at + first).astype(np.int64))
        yield _Added(stop)
    faiss.write_index(index, str(path))
