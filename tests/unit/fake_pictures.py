"""Pictures for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class FakePairs:
    """Six-word captions and random pictures by number."""

    def __init__(self) -> None:
        self.broken: dict[int, str] = {}
        self.blocks, self.window = None, 1024
        self.labels = np.arange(24, dtype=np.int64) % 3

    def __len__(self) -> int:
        return 24

    def captions(self, indices: np.ndarray, epoch: int = 0) -> list[str]:
        return [f"picture number {i} of a cat" for i in indices]

    def canvas(self, indices: np.ndarray, size: int) -> np.ndarray:
        return np.stack(
            [np.random.default_rng(int(i)).integers(0, 256, (size, size, 3)) for i in indices]
        ).astype(np.uint8)


def values(canvases: NDArray[np.uint8]) -> list[int]:
    """The grey of each picture, which must be of one grey."""
    assert (canvases == canvases[:, :1, :1, :1]).all()
    return canvases[:, 0, 0, 0].tolist()  # type: ignore[no-any-return]
