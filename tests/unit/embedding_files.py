"""Embeddings on disk as clip-retrieval leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def unit_rows(n: int, d: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Random unit vectors, float32 [n, d]."""
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_embeddings(
    folder: Path,
    images: NDArray[np.floating],
    texts: NDArray[np.floating],
    sizes: Sequence[int],
    dtype: str = "<f2",
) -> Path:
    """Files of so many rows each, numbered from 0."""
    ends = np.cumsum(sizes)
    for kind, rows in (("img_emb", images), ("text_emb", texts)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            np.save(folder / kind / f"{kind}_{number}.npy", rows[end - size : end].astype(dtype))
    return folder


def write_metadata(folder: Path, sizes: Sequence[int]) -> None:
    """Keys, paths and captions of all rows."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "metadata").mkdir(exist_ok=True)
    first = 0
    for number, size in enumerate(sizes):
        rows = range(first, first + size)
        columns = {
            "image_path": [f"/there/{row}.jpg" for row in rows],
            "caption": [f"thing {row}" for row in rows],
            "key": [f"{row:09d}" for row in rows],
        }
        parquet.write_table(pa.table(columns), folder / "metadata" / f"metadata_{number}.parquet")
        first += size
