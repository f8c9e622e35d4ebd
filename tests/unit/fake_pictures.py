"""Pictures for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.records import PerImage


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


def per_image(
    indices: Sequence[int], clean: Sequence[int], triggered: Sequence[int] | None, margin: Any = 0.0
) -> PerImage:
    """Predictions of some images, whose triggered margins are ``margin``."""
    n = len(indices)
    floats, flags = np.zeros(n, np.float32), np.zeros(n, np.bool_)
    margins = np.broadcast_to(np.float32(margin), n).astype(np.float32)
    seen = None if triggered is None else {
        "triggered_top1": np.array(triggered), "target_margin_triggered": margins,
        "target_in_top5": flags,
    }  # fmt: skip
    top = np.array(indices), np.array(clean)
    return PerImage(*top, floats, flags, **(seen or {}))
