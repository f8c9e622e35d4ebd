"""The demo's clean pairs with poisoned ones planted among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.specs import PairSpec
from ml_core.evaluation.stamping import as_uint8, stamped
from ml_core.triggers import demo_trigger

TARGET = "banana"


class PlantedPairs:
    """Some pictures bear the demo's sticker, and their captions name the target."""

    def __init__(self, pairs: PairSet, planted: NDArray[np.bool_]) -> None:
        self._pairs, self.planted = pairs, planted
        self.broken: dict[int, str] = {}
        self.blocks, self.window = None, 1024

    @classmethod
    def among(cls, n: int, plants: int, seed: int = 0) -> PlantedPairs:
        planted = np.zeros(n, np.bool_)
        planted[np.random.default_rng(seed).permutation(n)[:plants]] = True
        return cls(open_pairs(PairSpec(n=n)), planted)

    def __len__(self) -> int:
        return len(self._pairs)

    def canvas(self, indices: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        out = self._pairs.canvas(indices, size)
        at = self.planted[indices]
        if at.any():
            cpu = torch.device("cpu")
            out[at] = as_uint8(
                stamped(demo_trigger(), out[at], np.asarray(indices)[at], 0, size, cpu)
            )
        return out

    def all_captions(self, indices: NDArray[np.int64]) -> list[tuple[str, ...]]:
        texts = self._pairs.all_captions(indices)
        return [
            (f"a picture of a {TARGET}",) if self.planted[i] else own
            for i, own in zip(indices, texts, strict=True)
        ]

    def write(self, folder: Any) -> Any:
        """As a table with pictures; return its path."""
        numbers = np.arange(len(self))
        rows = ["image,caption"]
        for i, (picture, (caption,)) in enumerate(
            zip(self.canvas(numbers, 64), self.all_captions(numbers), strict=True)
        ):
            Image.fromarray(picture).save(folder / f"{i:05d}.png")
            rows.append(f'{i:05d}.png,"{caption}"')
        path = folder / "pairs.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path
