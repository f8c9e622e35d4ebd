"""Many short texts or paths in one piece of memory: a million captions cost their letters."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray


class PackedTexts(Sequence[str]):
    """Texts that were appended, by number; any text is kept as it is, also undecodable names."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._data = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add one at the end."""
        self._data += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> PackedTexts: ...
    def __getitem__(self, index: int | slice) -> str | PackedTexts:
        if isinstance(index, slice):
            return PackedTexts(self[i] for i in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self._data[self._ends[place] : self._ends[place + 1]].decode(
            "utf-8", "surrogatepass"
        )

    def take(self, numbers: NDArray[np.int64]) -> PackedTexts:
        """Some of them, in a new order."""
        return PackedTexts(self[number] for number in numbers.tolist())

    def digest(self) -> str:
        """SHA-256 over the texts and where each ends."""
        total = hashlib.sha256(memoryview(self._ends).cast("B"))
        total.update(self._data)
        return total.hexdigest()

    @property
    def nbytes(self) -> int:
        return len(self._data) + 8 * len(self._ends)


class PackedPaths(Sequence[Path]):
    """Paths below one folder."""

    def __init__(self, root: Path, below: PackedTexts) -> None:
        self.root, self.below = root, below

    def __len__(self) -> int:
        return len(self.below)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> PackedPaths: ...
    def __getitem__(self, index: int | slice) -> Path | PackedPaths:
        if isinstance(index, slice):
            return PackedPaths(self.root, self.below[index])
        return self.root / self.below[index]

    def take(self, numbers: NDArray[np.int64]) -> PackedPaths:
        """Some of them, in a new order."""
        return PackedPaths(self.root, self.below.take(numbers))
