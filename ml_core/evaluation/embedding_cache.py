"""Clean image embeddings, kept so that a new trigger only costs its own half."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Key = tuple[str, ...]


class EmbeddingTable:
    """Embeddings of one image set by one checkpoint, filled as they are first asked for."""

    def __init__(self, rows: int) -> None:
        self._known = np.zeros(rows, dtype=np.bool_)
        self._rows = rows
        self._values: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return 0 if self._values is None else self._values.nbytes

    def missing(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are not known yet, [n]."""
        return np.asarray(~self._known[indices], dtype=np.bool_)

    def get(self, indices: NDArray[np.int64]) -> Tensor:
        """float32 [n, D] on the CPU; all must be known."""
        assert self._values is not None
        return self._values[torch.from_numpy(indices)]

    def put(self, indices: NDArray[np.int64], embeddings: Tensor) -> None:
        """Keep float32 [n, D]."""
        if self._values is None:
            self._values = torch.zeros(self._rows, embeddings.shape[1])
        self._values[torch.from_numpy(indices)] = embeddings.to("cpu", torch.float32)
        self._known[indices] = True


class EmbeddingCache:
    """The tables used last, limited in memory; a set too large for the limit is not kept.

    Rows are float32: half precision would move near-ties, and a repeated evaluation would differ
    from the first.

    Parameters
    ----------
    max_bytes
        Limit over all tables.
    """

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.max_bytes = max_bytes
        self._tables: OrderedDict[Key, EmbeddingTable] = OrderedDict()

    def table(self, key: Key, rows: int, width: int) -> EmbeddingTable | None:
        """Table of a checkpoint and data set; None if it would not fit."""
        if rows * width * 4 > self.max_bytes:
            return None
        if key not in self._tables:
            self._tables[key] = EmbeddingTable(rows)
        self._tables.move_to_end(key)
        needed = rows * width * 4
        while len(self._tables) > 1 and self._others(key) + needed > self.max_bytes:
            self._tables.popitem(last=False)
        return self._tables[key]

    def _others(self, key: Key) -> int:
        """Memory held by the tables of other keys."""
        return sum(table.nbytes for other, table in self._tables.items() if other != key)

    def clear(self) -> None:
        """Forget everything."""
        self._tables.clear()
