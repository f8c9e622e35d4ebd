"""Clean image embeddings, kept so that a new trigger only costs its own half."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.evaluation.embedding_store import EmbeddingStore
from ml_core.ranks import Ranks

Key = tuple[str, ...]


class EmbeddingTable:
    """Embeddings of one image set by one checkpoint, filled as they are first asked for."""

    def __init__(self, rows: int) -> None:
        self._known = np.zeros(rows, dtype=np.bool_)
        self._rows = rows
        self._values: Tensor | None = None
        self._saved = np.zeros(rows, dtype=np.bool_)

    def fill(self, values: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
        """Take what was on disk."""
        self._values, self._known = torch.from_numpy(values), known.copy()
        self._saved = known.copy()

    def unsaved(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """All rows and which are known, if there are more than on disk; they count as saved."""
        if self._values is None or not (self._known & ~self._saved).any():
            return None
        self._saved = self._known.copy()
        return self._values.numpy(), self._known

    def put_together(self, ranks: Ranks, width: int, device: torch.device) -> None:
        """Take in what the other processes embedded, rows of ``width`` numbers."""
        own = np.flatnonzero(self._known & ~self._saved)
        rows = torch.zeros(0, width) if self._values is None else self.get(own)
        sizes = ranks.sizes(len(own), device)
        if ranks.world > 1 and any(sizes):
            indices = ranks.gather(torch.from_numpy(own).to(device), sizes)
            self.put(indices.cpu().numpy(), ranks.gather(rows.to(device), sizes))

    @property
    def nbytes(self) -> int:
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
    store
        Where tables are looked for and kept on disk; None keeps them in memory alone.
    """

    def __init__(
        self, max_bytes: int = 256 * 1024 * 1024, store: EmbeddingStore | None = None
    ) -> None:
        self.max_bytes = max_bytes
        self.store = store
        self._tables: OrderedDict[Key, EmbeddingTable] = OrderedDict()

    def table(self, key: Key, rows: int, width: int) -> EmbeddingTable | None:
        """Table of a checkpoint and data set; None if it would not fit."""
        if rows * width * 4 > self.max_bytes:
            return None
        if key not in self._tables:
            self._tables[key] = EmbeddingTable(rows)
            found = None if self.store is None else self.store.load(key, rows, width)
            if found is not None:
                self._tables[key].fill(*found)
        self._tables.move_to_end(key)
        needed = rows * width * 4
        while len(self._tables) > 1 and self._others(key) + needed > self.max_bytes:
            self._tables.popitem(last=False)
        return self._tables[key]

    def save(self) -> None:
        """Write what is new to the store, if there is one."""
        for key, table in self._tables.items():
            new = None if self.store is None else table.unsaved()
            if self.store is not None and new is not None:
                self.store.save(key, *new)

    def _others(self, key: Key) -> int:
        """Memory held by the tables of other keys."""
        return sum(table.nbytes for other, table in self._tables.items() if other != key)

    def clear(self) -> None:
        self._tables.clear()
