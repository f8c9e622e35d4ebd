"""The folder of what can be made again: how large it is, and emptying it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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

    A file that was written within the last minute stays, since a run may be at it, and so does one
    that the system does not let go. Folders stay: who writes into them later expects them.

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
                found = path.lstat()
            except OSError:  # gone meanwhile
                continue
            if path.is_symlink():
                continue
            yield path, found.st_size, found.st_mtime
