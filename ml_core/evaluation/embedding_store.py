"""Clean image embeddings on disk, so that a repeat encodes nothing anew."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.atomic import replace_files
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file
from ml_core.reading.safetensors_header import parse_header

DISK_LIMIT = 1024**3
_SUFFIX = ".embeddings"
_MOST_HEADER = 1 << 20

Rows = NDArray[np.float32]
Known = NDArray[np.bool_]


class EmbeddingStore:
    """Files of embeddings by the hash of all that decides them; the oldest are deleted first.

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
        path = self._path(key)
        try:
            found = _read(path, key, rows, width)
            os.utime(path)
        except (OSError, ValueError, InputError):
            return None
        return found

    def save(self, key: tuple[str, ...], values: Rows, known: Known) -> bool:
        """Write embeddings; False if they are too large or the disk does not take them."""
        flags = known.astype(np.uint8)
        body = flags.tobytes() + np.ascontiguousarray(values, "<f4").tobytes()
        head = {
            "__metadata__": {"key": json.dumps(key), "sha256": hashlib.sha256(body).hexdigest()},
            "known": _entry("U8", flags, 0),
            "values": _entry("F32", values, flags.nbytes),
        }
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % 8)
        size = 8 + len(text) + len(body)
        if size > self.limit:
            return False
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(self.limit - size, path)
            replace_files({path: len(text).to_bytes(8, "little") + text + body})
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


def _entry(kind: str, array: NDArray[np.generic], start: int) -> dict[str, object]:
    """A tensor in the header of a safetensors file."""
    return {
        "dtype": kind,
        "shape": list(array.shape),
        "data_offsets": [start, start + array.nbytes],
    }


def _read(path: Path, key: tuple[str, ...], rows: int, width: int) -> tuple[Rows, Known]:
    """Read and check a file.

    Raises
    ------
    OSError, ValueError, InputError
        If it is not there, or not what it should be.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > rows * (4 * width + 1) + _MOST_HEADER:
            raise ValueError("larger than these embeddings")
        raw = file.read()
    head = parse_header(io.BytesIO(raw), len(raw), path.name)
    tensors = {tensor.name: tensor for tensor in head.tensors}
    if head.metadata.get("key") != json.dumps(key) or set(tensors) != {"known", "values"}:
        raise ValueError("another file")
    flags, values = tensors["known"], tensors["values"]
    if (flags.dtype, tuple(flags.shape)) != ("U8", (rows,)):
        raise ValueError("another number of pictures")
    if (values.dtype, tuple(values.shape)) != ("F32", (rows, width)):
        raise ValueError("another width")
    start = min(flags.offset, values.offset)
    if hashlib.sha256(raw[start:]).hexdigest() != head.metadata.get("sha256"):
        raise ValueError("damaged")
    known = np.frombuffer(raw, np.uint8, rows, flags.offset).astype(np.bool_)
    found = np.frombuffer(raw, "<f4", rows * width, values.offset).reshape(rows, width)
    return found.astype(np.float32), known
