"""Training sets whose pictures are decoded once and cached for later epochs. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_core.data.canvas import CanvasCache
from ml_core.data.images import ImageSet
from ml_core.data.pairs import PairSet
from ml_core.reading.resize import Canvases

Indices = npt.NDArray[np.int64]


class _CachedSet:
    """Pictures of a set from a cache.

    A copy in another process has its cache in a file, which all of them share.
    """

    def __init__(self, source: PairSet | ImageSet, size: int) -> None:
        self._source, self._size = source, size
        self._cache = CanvasCache(source, size)

    def __len__(self) -> int:
        return len(self._source)

    def __getstate__(self) -> tuple[PairSet | ImageSet, int]:
        return self._source, self._size

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self._source, self._size = state
        self._cache = CanvasCache(self._source, self._size, memory_limit=0)

    @property
    def blocks(self) -> Indices | None:
        return self._source.blocks

    @property
    def window(self) -> int:
        return self._source.window

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        return self._source.broken

    def canvas(self, indices: Indices, size: int) -> Canvases:
        return self._cache.get(indices)


class CachedPairs(_CachedSet):
    """Image-caption pairs."""

    def __init__(self, pairs: PairSet, size: int) -> None:
        super().__init__(pairs, size)

    def captions(self, indices: Indices, epoch: int = 0) -> list[str]:
        """A caption of each of some pairs."""
        assert isinstance(self._source, PairSet)
        return self._source.captions(indices, epoch)


class CachedImages(_CachedSet):
    """Labelled images."""

    def __init__(self, images: ImageSet, size: int) -> None:
        super().__init__(images, size)

    @property
    def labels(self) -> Indices:
        """Class of every image, -1 where unknown."""
        assert isinstance(self._source, ImageSet)
        return self._source.labels
