"""The index of large shards: where each sample lies, kept for the next opening."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ml_core.atomic import replace_files
from ml_core.data.readers.samples import Slices
from ml_core.paths import cache_dir
from ml_core.reading.archive_members import STORED, zip_members
from ml_core.reading.regular_file import open_file
from ml_core.reading.strict_json import parse_object

KEPT_FROM = 20_000
"""Samples from which an index is worth a file."""
_FORMAT = "cleanclip-shard-index-1"
_MOST_FILES = 16
_MOST_TOLD = 4 << 20
_SETTLED_NS = 3_000_000_000  # clocks of file systems are coarse: a younger shard may still change


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Samples of shards, one shard after another: 25 bytes each.

    A labelled set lists only each picture's place and size, [N, 1].

    Attributes
    ----------
    counts
        int64 [S], samples of each shard; 0 for an empty shard.
    places
        int64 [N, 2], offset of the picture and of the caption in the shard.
    sizes
        int32 [N, 2], their bytes.
    is_json
        bool [N], whether the caption is a field of a ``.json`` member.
    notes, left_out
        What was left out, and how many.
    """

    counts: NDArray[np.int64]
    places: NDArray[np.int64]
    sizes: NDArray[np.int32]
    is_json: NDArray[np.bool_]
    notes: tuple[str, ...]
    left_out: int


def load_index(shards: tuple[Slices, ...]) -> ShardIndex | None:
    """The index of just these shards as they are now, if one was kept and is sound."""
    try:
        place = _place(shards)
        index = _read(place, sum(shard.size for shard in shards))
    except (OSError, ValueError, LookupError, TypeError, EOFError, MemoryError):
        return None
    except zipfile.BadZipFile:
        return None
    if not _fits(index, shards):
        return None
    with suppress(OSError):
        place.touch()
    return index


def save_index(shards: tuple[Slices, ...], index: ShardIndex) -> None:
    """Keep an index, if it is worth it and can be written; the least used ones make room."""
    newest = max(shard.stamp[-1] for shard in shards)
    if len(index.sizes) < KEPT_FROM or time.time_ns() - newest < _SETTLED_NS:
        return
    notes = json.dumps({"notes": index.notes, "left_out": index.left_out}).encode()

    def write(file: BinaryIO) -> None:
        np.savez(
            file,
            counts=index.counts,
            places=index.places,
            sizes=index.sizes,
            is_json=index.is_json,
            told=np.frombuffer(notes, np.uint8),
        )

    with suppress(OSError):  # a full or read-only disk: it is listed again the next time
        place = _place(shards)
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_files({place: write})
        others = sorted(place.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime)
        for path in others[:-_MOST_FILES]:
            path.unlink()


def _read(path: Path, shard_bytes: int) -> ShardIndex:
    """Read what `save_index` wrote for shards of these sizes; any exception means it did not."""
    with open_file(path) as raw:
        size = os.fstat(raw.fileno()).st_size
        # A sample has a header of 512 bytes in its shard, and 25 bytes here.
        if size > _MOST_TOLD + shard_bytes // 16:
            raise ValueError("larger than an index of these shards")
        if any(member.method != STORED for member in zip_members(raw, size)):
            raise ValueError("packed")
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as file:
            notes = parse_object(file["told"].tobytes(), max_bytes=_MOST_TOLD)
            return ShardIndex(
                file["counts"],
                file["places"],
                file["sizes"],
                file["is_json"],
                tuple(map(str, notes["notes"])),
                int(notes["left_out"]),
            )


def _place(shards: tuple[Slices, ...]) -> Path:
    """File of the index, by what the shards are."""
    total = hashlib.sha256(_FORMAT.encode())
    for shard in shards:
        total.update(f"\0{shard.path}\0{shard.stamp}".encode(errors="surrogatepass"))
    return cache_dir() / "shards" / f"{total.hexdigest()[:32]}.npz"


def _fits(index: ShardIndex, shards: tuple[Slices, ...]) -> bool:
    """Whether an index fits the shards: a torn or foreign file does not."""
    count = len(index.is_json)
    shapes = (index.counts.shape, index.places.shape, index.sizes.shape, index.is_json.shape)
    if shapes != ((len(shards),), (count, 2), (count, 2), (count,)):
        return False
    arrays = (index.counts, index.places, index.sizes, index.is_json)
    if [array.dtype.str for array in arrays] != ["<i8", "<i8", "<i4", "|b1"]:
        return False
    if index.counts.min(initial=0) < 0:
        return False
    if int(index.counts.sum()) != count:
        return False
    ends = np.repeat([shard.size for shard in shards], index.counts)[:, None]
    good = (index.places >= 0) & (index.sizes >= 0) & (index.places + index.sizes <= ends)
    return bool(good.all())
