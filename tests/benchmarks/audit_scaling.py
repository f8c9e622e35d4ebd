"""Rates that `docs/scaling.md` multiplies: ``python -m tests.benchmarks.audit_scaling``.

Seconds are of the processor, user and system of this process, since the machine may be shared;
torch gets one thread. Embeddings are random unit vectors of 512 numbers in float16 files, pictures
are noise and the ViT-B/32 has random weights: rates depend on neither. Approximate neighbours are
measured where faiss is installed, on vectors near a mixture of subspaces, without which no index
finds anything.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch

from ml_core.data.embedding_shards import open_embeddings
from ml_core.detection.embed_pairs import EncodedPairs
from ml_core.detection.neighbours import (
    Forest,
    Neighbours,
    Space,
    closest,
    dao,
    density,
    nearest,
    nearest_of_all,
    slof,
)
from ml_core.detection.summary import Index, shared_index
from ml_core.model import build_model
from ml_core.ranks import ALONE
from ml_core.reading.clip_config import Preprocess
from tests.unit.embedding_files import write_embeddings

WIDTH, K, ASKED = 512, 16, 1024
SIZES = (10_000, 30_000, 100_000)
PAIRS = 128


class Noise:
    """Pairs of noise on the model's canvas."""

    broken: dict[int, str] = {}  # noqa: RUF012
    blocks, window = None, 8192

    def __len__(self) -> int:
        return PAIRS

    def canvas(self, indices: np.ndarray, size: int) -> np.ndarray:
        shape = (len(indices), size, size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def all_captions(self, indices: np.ndarray) -> list[tuple[str, ...]]:
        return [(f"a photo of thing {i} beside a house and a tree",) for i in indices]


def seconds(work: Callable[[], object]) -> float:
    """Of the processor."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def last(steps: Iterator[object]) -> object:
    """What an iterator ends with."""
    *_, end = steps
    return end


def rows(n: int) -> np.ndarray:
    """Unit vectors near 300 subspaces of 24 dimensions."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(300, 24, WIDTH)).astype(np.float32)
    centre = 4 * rng.normal(size=(300, WIDTH)).astype(np.float32)
    out = np.empty((n, WIDTH), np.float16)
    for first in range(0, n, 4096):
        size = min(4096, n - first)
        of = rng.choice(300, size)
        part = np.einsum("nk,nkd->nd", rng.normal(size=(size, 24)).astype(np.float32), basis[of])
        part += centre[of] + 0.3 * rng.normal(size=part.shape).astype(np.float32)
        out[first : first + size] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return out


def main() -> None:
    """Print one line a rate."""
    torch.set_num_threads(1)
    vit = build_model(open_clip.get_model_config("ViT-B-32"), Preprocess(224), None, name="random")
    source = EncodedPairs(vit, Noise(), batch=32)
    spent = seconds(lambda: last(source.embed([np.arange(PAIRS)])))
    print(f"embedding, ViT-B/32 in fp32: {PAIRS / spent:.1f} pairs a second")
    with tempfile.TemporaryDirectory() as scratch:
        for n in SIZES:
            vectors = rows(n)
            folder = write_embeddings(Path(scratch) / str(n), vectors, vectors, (n,))
            shards = open_embeddings(folder)
            if n == SIZES[0]:
                chunk = torch.from_numpy(shards.image_block(0, ASKED))

                def score(chunk: torch.Tensor = chunk) -> None:
                    own = nearest(chunk, K)
                    among = density(own)
                    dao(own.radius, own.places, among), slof(own.radius, own.places, among)

                print(f"scores of a chunk of {ASKED}: {ASKED / seconds(score):.0f} pairs a second")
                forest = Forest(chunk, 0)
                spent = seconds(lambda: forest.score(chunk))  # noqa: B023
                print(f"isolation forest: {ASKED / spent:.0f} pairs a second")
            space = Space(shards, np.ones(n, bool), torch.zeros(WIDTH, dtype=torch.float64))
            at = np.arange(ASKED, dtype=np.int64)
            exact: list[object] = []
            spent = seconds(lambda: exact.append(last(nearest_of_all(space, at, K))))  # noqa: B023
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(
                f"exact neighbours in {n}: {ASKED / spent:.0f} rows a second, "
                f"{2 * ASKED * n * WIDTH / spent / 1e9:.1f} GFLOP a second, peak {peak} MB"
            )
            approximate(space, at, exact[0], Path(scratch) / str(n))


def approximate(space: Space, at: np.ndarray, exact: object, folder: Path) -> None:
    """Build and ask an index."""
    try:
        import faiss
    except ImportError:
        print("approximate neighbours: faiss is not installed")
        return
    faiss.omp_set_num_threads(1)
    indices: list[Index] = []

    def build() -> None:
        work = shared_index(space, 0, folder, ALONE)
        while not indices:
            try:
                next(work)
            except StopIteration as end:
                indices.append(end.value)

    spent = seconds(build)
    n = len(space.rows)
    size = (folder / "neighbours.index").stat().st_size
    print(f"index of {n}: {n / spent:.0f} rows a second, {size / n:.0f} bytes a pair")
    neighbours: list[Neighbours] = []

    def ask() -> None:
        here = space.at(at)
        candidates, usable = indices[0].candidates(here, at, K)
        neighbours.append(closest(space, here, candidates, usable, K))

    spent = seconds(ask)
    assert isinstance(exact, Neighbours)
    hits = (neighbours[0].distances <= exact.radius[:, None] * (1 + 1e-9)).double().mean()
    print(f"approximate in {n}: {len(at) / spent:.0f} rows a second, recall {float(hits):.3f}")


if __name__ == "__main__":
    main()
