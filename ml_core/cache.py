"""Caches: the folder of what can be made again, and the last few results in memory."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from ml_core.paths import cache_dir

_IN_USE_S = 60.0


@dataclass(frozen=True)
class Freed:
    """Files that were removed and their bytes, and how many were left since they are in use."""

    files: int
    bytes: int
    left: int


def cache_bytes(folder: Path | None = None) -> int:
    """Bytes of all files of the cache."""
    return sum(size for _, size, _ in _files(folder or cache_dir()))


def clear_cache(folder: Path | None = None, cancelled: Callable[[], bool] = lambda: False) -> Freed:
    """Remove the files of the cache.

    A file written within the last minute stays, since a run may still use it. So does a file that
    the system does not let go. Folders stay, since later writers expect them.

    Parameters
    ----------
    folder
        The cache; None is the user's own.
    cancelled
        Asked between files.
    """
    removed = freed = left = 0
    for path, size, written in _files(folder or cache_dir()):
        if cancelled():
            break
        if time.time() - written < _IN_USE_S:
            left += 1
            continue
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError:  # Windows keeps what somebody has open
            left += 1
            continue
        removed, freed = removed + 1, freed + size
    return Freed(removed, freed, left)


def _files(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Regular files with their size and when they were written; no link is followed."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                status = path.lstat()
            except OSError:  # gone meanwhile
                continue
            if path.is_symlink():
                continue
            yield path, status.st_size, status.st_mtime


_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class ResultCache(Generic[_K, _V]):
    """Keeps the last few results by key, for any thread; the oldest one goes first."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[_K, _V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        """What is kept for the key, else what ``make`` returns, without holding the lock."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)
        return value

    def find(self, key: _K) -> _V | None:
        """What is kept for the key, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def forget(self, key: _K) -> None:
        """Drop what is kept for the key."""
        with self._lock:
            self._kept.pop(key, None)
