"""Clean image embeddings, kept so that a new trigger only costs its own half."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.paths import cache_dir
from ml_core.reading.regular_file import read_file

DISK_LIMIT = 1024**3
_SUFFIX = ".embeddings"
_DIGEST = 32  # bytes of a SHA-256

Rows = NDArray[np.float32]
Known = NDArray[np.bool_]


class EmbeddingStore:
    """Files of embeddings by the hash of all that decides them; the oldest are deleted first.

    A file holds a SHA-256 of key and content, which rows are known, and the rows as float32.
    A file is written whole or not at all, and one that is damaged, foreign or of another shape is
    passed over: the embeddings are computed again. A folder that cannot be written is no error.

    Parameters
    ----------
    folder
        Where they lie; None takes the cache folder.
    limit
        Most bytes of all files together.
    """

    def __init__(self, folder: Path | None = None, limit: int = DISK_LIMIT) -> None:
        self.folder = folder or cache_dir() / "embeddings"
        self.limit = limit

    def load(self, key: tuple[str, ...], rows: int, width: int) -> tuple[Rows, Known] | None:
        """Embeddings float32 [rows, width] and which of them are known; None if there are none."""
        path, size = self._path(key), _DIGEST + rows * (1 + 4 * width)
        try:
            raw = read_file(path, size + 1)
            if len(raw) != size or raw[:_DIGEST] != _digest(key, raw[_DIGEST:]):
                return None
            os.utime(path)
        except OSError:
            return None
        known = np.frombuffer(raw, np.bool_, rows, _DIGEST)
        values = np.frombuffer(raw[_DIGEST + rows :], "<f4").reshape(rows, width)
        return values.astype(np.float32), known

    def save(self, key: tuple[str, ...], values: Rows, known: Known) -> bool:
        """Write embeddings; False if they are too large or the disk does not take them."""
        body = known.astype(np.bool_).tobytes() + np.ascontiguousarray(values, "<f4").tobytes()
        content = _digest(key, body) + body
        if len(content) > self.limit:
            return False
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(self.limit - len(content), path)
            replace_files({path: content})
        except OSError:
            return False
        return True

    def _path(self, key: tuple[str, ...]) -> Path:
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}{_SUFFIX}"

    def _make_room(self, limit: int, keep: Path) -> None:
        """Delete the files that were used longest ago until the others take at most the limit."""
        others = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                others.append((facts.st_mtime_ns, facts.st_size, path))
        others = sorted(other for other in others if other[2] != keep)
        total = sum(size for _, size, _ in others)
        for _, size, path in others:
            if total <= limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size


def _digest(key: tuple[str, ...], body: bytes) -> bytes:
    """SHA-256 of a key and of what is kept for it."""
    digest = hashlib.sha256(json.dumps(key).encode())
    digest.update(body)
    return digest.digest()


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
        """All rows and which are known, if more are known than on disk; marks them as saved."""
        if self._values is None or not (self._known & ~self._saved).any():
            return None
        self._saved = self._known.copy()
        return self._values.numpy(), self._known

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
            table = None if self.store is None else self.store.load(key, rows, width)
            if table is not None:
                self._tables[key].fill(*table)
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
