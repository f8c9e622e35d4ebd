"""Pictures on the model's canvas, and a size-limited cache of them.

The canvas is what a CLIP sees before normalisation: usually the shortest side resized to S with
bicubic interpolation, then the centre S x S; a checkpoint's config may ask for another `Fit`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import threading
import time
import weakref
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.paths import cache_dir
from ml_core.reading.clip_config import Fit
from ml_core.reading.regular_file import change_file
from ml_core.reading.resize import Canvases

MEMORY_LIMIT = 256 * 1024**2
DISK_LIMIT = 4 * 1024**3
_BLOCK = 256
_DISK_RESERVE = 1024**3
_HEADER = 4096
_FORMAT = "cleanclip-canvas-2"


class CanvasSource(Protocol):
    """What a cache draws from: an `ImageSet`, a `PairSet` or a part of one."""

    @property
    def key(self) -> str:
        """Hash of the pictures, their order and what belongs to them."""

    @property
    def fit(self) -> Fit:
        """How `canvas` makes a picture square."""

    @property
    def images_key(self) -> str:
        """Hash of the pictures and their order."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Pictures found undecodable so far, each with a sentence."""

    def __len__(self) -> int: ...

    def canvas(self, indices: Sequence[int] | NDArray[np.int64], size: int) -> Canvases:
        """Draw pictures, uint8 [n, size, size, 3]."""

    def fitted(self, fit: Fit) -> Self:
        """The same pictures, made square in another way."""

    def picture(self, index: int) -> Image.Image:
        """One picture as its file has it."""


class CanvasCache:
    """Canvases of a set at one size, each drawn once.

    A small set (under 256 MB) is kept in memory. A larger one goes to a file in the cache folder
    that is keyed by the pictures and the size; its oldest neighbours are deleted when the folder
    would exceed its limit, and of a set larger than the limit only the first part is kept. Each
    canvas carries a checksum, so a torn, damaged or foreign entry is drawn again and two processes
    may share the file.

    Broken pictures come back black and stand in `broken` (index -> sentence) after `get`: leave
    them out of every count.
    """

    def __init__(
        self,
        source: CanvasSource,
        size: int,
        *,
        folder: Path | None = None,
        memory_limit: int = MEMORY_LIMIT,
        disk_limit: int = DISK_LIMIT,
    ) -> None:
        self.source = source
        self.size = size
        self._options = folder, memory_limit, disk_limit
        self._others: dict[tuple[Fit, int], CanvasCache] = {}
        self._item = size * size * 3
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._file: io.FileIO | None = None
        self._kept: Canvases | None = None
        self._filled: NDArray[np.bool_] = np.zeros(len(source), np.bool_)
        total = len(source) * self._item
        if total <= memory_limit:
            self._kept = np.zeros((len(source), size, size, 3), np.uint8)
            return
        self._capacity = min(len(source), disk_limit // self._item)
        # A cache that cannot be written (read-only, full) is no error: pictures are drawn anew.
        with contextlib.suppress(OSError):
            self._file = self._open(folder or cache_dir() / "canvases", disk_limit)
            weakref.finalize(self, self._file.close)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far, index -> sentence."""
        return self.source.broken

    @property
    def seconds(self) -> float:
        """How long pictures were read and drawn so far, here and by those that `at` made."""
        return self._seconds + sum(other.seconds for other in self._others.values())

    def __len__(self) -> int:
        return len(self.source)

    def get(self, indices: Sequence[int] | NDArray[np.int64]) -> Canvases:
        """Canvases of the given pictures.

        Parameters
        ----------
        indices
            int [n], each in 0..N-1.

        Returns
        -------
        numpy.ndarray
            uint8 [n, size, size, 3], the caller's own; black where `broken` has the index.
        """
        numbers = np.asarray(indices, dtype=np.int64)
        out: Canvases = np.empty((len(numbers), self.size, self.size, 3), np.uint8)
        with self._lock:
            started = time.perf_counter()
            missing = np.flatnonzero(~self._read(numbers, out))
            for start in range(0, len(missing), _BLOCK):
                rows = missing[start : start + _BLOCK]
                out[rows] = self.source.canvas(numbers[rows], self.size)
                self._write(numbers[rows], out[rows])
            self._seconds += time.perf_counter() - started
        return out

    def at(self, fit: Fit, size: int) -> CanvasCache:
        """The same pictures made square in another way: what a trigger with its own canvas needs.

        It is made once and then kept.
        """
        folder, memory_limit, disk_limit = self._options
        if (fit, size) not in self._others:
            self._others[fit, size] = CanvasCache(
                self.source.fitted(fit),
                size,
                folder=folder,
                memory_limit=memory_limit,
                disk_limit=disk_limit,
            )
        return self._others[fit, size]

    def picture(self, index: int) -> Image.Image:
        """One picture as its file has it, RGB or RGBA; InputError if it is damaged."""
        started = time.perf_counter()
        image = self.source.picture(index)
        with self._lock:
            self._seconds += time.perf_counter() - started
        return image

    def close(self) -> None:
        """Close the file; later canvases are drawn anew."""
        for other in self._others.values():
            other.close()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _read(self, numbers: NDArray[np.int64], out: Canvases) -> NDArray[np.bool_]:
        """Copy what is kept into `out`, and return which rows were found."""
        if self._kept is not None:
            present = self._filled[numbers]
            out[present] = self._kept[numbers[present]]
            return present
        present = np.zeros(len(numbers), np.bool_)
        if self._file is None:
            return present
        try:
            sums = self._checksums()
            for row, index in enumerate(numbers.tolist()):
                if index < self._capacity and sums[index]:
                    view = out[row].reshape(-1).data
                    self._file.seek(self._offset + index * self._item)
                    whole = self._file.readinto(view) == self._item
                    present[row] = whole and _checksum(view) == sums[index]
        except OSError:
            self._file = None
        return present

    def _write(self, indices: NDArray[np.int64], canvases: Canvases) -> None:
        """Keep freshly drawn canvases, but none of a broken picture."""
        if self._kept is not None:
            good = np.array([i not in self.broken for i in indices.tolist()], np.bool_)
            self._kept[indices[good]] = canvases[good]
            self._filled[indices[good]] = True
            return
        if self._file is None:
            return
        try:
            for index, canvas in zip(indices.tolist(), canvases, strict=True):
                if index >= self._capacity or index in self.broken:
                    continue
                data = canvas.reshape(-1).data
                self._file.seek(self._offset + index * self._item)
                self._file.write(data)
                self._file.seek(_HEADER + 4 * index)
                self._file.write(_checksum(data).to_bytes(4, "little"))
        except OSError:  # full disk: what was written is checked by its checksum
            self._file = None

    def _checksums(self) -> NDArray[np.uint32]:
        """Read the checksums of all entries, also of other processes' ones; 0 if missing."""
        assert self._file is not None
        self._file.seek(_HEADER)
        data = self._file.read(4 * self._capacity)
        return np.frombuffer(data.ljust(4 * self._capacity, b"\0"), "<u4")

    def _open(self, folder: Path, limit: int) -> io.FileIO:
        """Open this set's cache file, made anew if it is missing or not what it says."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = [_FORMAT, self.source.images_key, self.size, len(self.source), self._capacity]
        header = json.dumps(facts).encode().ljust(_HEADER)
        path = folder / f"{hashlib.sha256(header).hexdigest()[:32]}.canvas"
        self._offset = -(-(_HEADER + 4 * self._capacity) // 4096) * 4096
        _make_room(folder, limit - self._offset - self._capacity * self._item, path)
        if not _begins_with(path, header):
            if shutil.disk_usage(folder).free < self._capacity * self._item + _DISK_RESERVE:
                raise OSError("too little space is left for a cache")
            fresh = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
            with contextlib.suppress(FileNotFoundError):  # whatever lies there is not opened
                fresh.unlink()
            with fresh.open("xb") as file:
                file.write(header)
                file.truncate(self._offset)
            fresh.replace(path)
        os.utime(path)
        return change_file(path)


def _checksum(data: memoryview) -> int:
    """CRC-32, moved off 0, which means "not there"."""
    return zlib.crc32(data) or 1


def _begins_with(path: Path, header: bytes) -> bool:
    """Tell whether a file of the folder's own exists and begins with these bytes."""
    try:
        with change_file(path) as file:
            return file.read(len(header)) == header
    except OSError:
        return False


def _make_room(folder: Path, limit: int, keep: Path) -> None:
    """Delete the least recently opened cache files until the others take at most `limit` bytes."""
    others = []
    for path in folder.iterdir():
        if path != keep and path.suffix in (".canvas", ".tmp"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                used = getattr(facts, "st_blocks", facts.st_size // 512) * 512
                others.append((facts.st_mtime, used, path))
    total = sum(used for _, used, _ in others)
    for _, used, path in sorted(others):
        if total <= limit:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= used
