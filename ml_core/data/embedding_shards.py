"""Embeddings of pairs in ``.npy`` files, as clip-retrieval writes them; read by memory mapping."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.known_files import KnownFiles, stays_inside
from ml_core.data.order import WINDOW, runs
from ml_core.data.pictures import printable, summary
from ml_core.data.readers.row_groups import RowGroups
from ml_core.data.readers.samples import MAX_CAPTION
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.arrays import NPY_HEAD, NpyHeader, npy_header
from ml_core.reading.errors import InputError, plain
from ml_core.reading.regular_file import open_regular

IMAGES, TEXTS, METADATA = "img_emb", "text_emb", "metadata"
MAX_WIDTH = 1 << 16
MAX_ROWS = 1 << 40
_MOST_OPEN = 32
_TYPES = ("<f2", "<f4", "|f2", "|f4")
_NAMES = ("key", "url", "image_path")
_CAPTION = "caption"
_LONGEST_NAME = 1000

Rows = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Shard:
    """One number's files, and how many pairs they hold."""

    images: Path
    texts: Path
    metadata: Path | None
    rows: int


class EmbeddingShards:
    """Embeddings of N pairs, float32 [n, D] for any rows; only the requested rows are in memory.

    A file is mapped for as long as it is among the last that were used. Nothing of the folder is
    ever unpickled.

    Attributes
    ----------
    name
        Name of the folder, for the screen.
    width
        D.
    window
        How many pairs are put in random order together, see `epoch_order`.
    notes
        What could not be used besides the embeddings.
    key, known_by
        SHA-256 of the files, and what it was computed from, see `KnownFiles`.
    """

    window = WINDOW

    def __init__(
        self,
        name: str,
        shards: Sequence[_Shard],
        width: int,
        notes: tuple[str, ...],
        key: str,
        known_by: str,
    ) -> None:
        self.name, self.width, self.notes, self.key = name, width, notes, key
        self.known_by = known_by
        self._shards = tuple(shards)
        self._counts = np.array([shard.rows for shard in shards], np.int64)
        self._ends = np.cumsum(self._counts)
        self._open: OrderedDict[Path, NDArray[Any]] = OrderedDict()
        self._tables: OrderedDict[Path, RowGroups] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def blocks(self) -> Indices:
        """Sizes of runs of pairs that lie together, int64 [b], see `epoch_order`."""
        return runs(self._counts[self._counts > 0])

    def images(self, indices: Indices) -> Rows:
        """Embeddings of the pictures at ascending positions, float32 [n, D]."""
        return self._rows(indices, texts=False)

    def texts(self, indices: Indices) -> Rows:
        """Embeddings of the captions at ascending positions, float32 [n, D]."""
        return self._rows(indices, texts=True)

    def image_block(self, first: int, stop: int) -> Rows:
        """`images` of a range."""
        return self._rows(np.arange(first, min(stop, len(self)), dtype=np.int64), texts=False)

    def described(self, index: int) -> tuple[str, str]:
        """What to call a pair (key, URL or path, where the metadata has one), and its caption."""
        at, row = self._place(index)
        table = self._table(self._shards[at])
        position = f"position {index}"
        if table is None:
            return position, ""
        named = next((name for name in _NAMES if name in table.columns), None)
        name = _text(table, row, named)[:_LONGEST_NAME] if named is not None else ""
        caption = _text(table, row, _CAPTION) if _CAPTION in table.columns else ""
        return name or position, caption

    def _place(self, index: int) -> tuple[int, int]:
        """Which shard a pair is in, and which of its rows it is."""
        at = int(np.searchsorted(self._ends, index, side="right"))
        return at, index - (int(self._ends[at - 1]) if at else 0)

    def _rows(self, indices: Indices, *, texts: bool) -> Rows:
        """Rows of one side, from as many files as they lie in."""
        out = np.empty((len(indices), self.width), np.float32)
        owners = np.searchsorted(self._ends, indices, side="right")
        for at in np.unique(owners).tolist():
            here = np.flatnonzero(owners == at)
            shard = self._shards[at]
            rows = indices[here] - (int(self._ends[at - 1]) if at else 0)
            values = self._mapped(shard.texts if texts else shard.images, shard.rows)
            if len(rows) and rows[-1] - rows[0] == len(rows) - 1:  # a slice copies in one go
                out[here] = values[rows[0] : rows[-1] + 1]
            else:
                out[here] = values[rows]
        return out

    def _mapped(self, path: Path, rows: int) -> NDArray[Any]:
        """The array in a file, [rows, D]."""
        if path not in self._open:
            self._open[path] = _map(path, (rows, self.width))
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]

    def _table(self, shard: _Shard) -> RowGroups | None:
        """The metadata beside a shard, or None."""
        path = shard.metadata
        if path is None:
            return None
        if path not in self._tables:
            self._tables[path] = RowGroups([path])
            while len(self._tables) > 2:
                self._tables.popitem(last=False)
        self._tables.move_to_end(path)
        return self._tables[path]


def open_embeddings(folder: Path, watch: Watch = unwatched) -> EmbeddingShards:
    """Open the embeddings that clip-retrieval left in a folder.

    ``img_emb/img_emb_N.npy`` and ``text_emb/text_emb_N.npy`` hold float16 or float32 [n, D], in the
    order of the number N; ``metadata/metadata_N.parquet``, where it is there and pyarrow is
    installed, holds keys, URLs or paths and captions of the same pairs.

    Raises
    ------
    InputError
        If a file is missing, no regular file, outside the folder, of another size than its header
        says, or not of the same shape as its counterpart.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of embeddings at {plain(str(folder))}.")
    images, texts = _numbered(folder, IMAGES, ".npy"), _numbered(folder, TEXTS, ".npy")
    if not images or not texts:
        raise InputError(
            f"{plain(folder.name)} holds no embeddings of pairs: {IMAGES}/{IMAGES}_0.npy and "
            f"{TEXTS}/{TEXTS}_0.npy are needed, as clip-retrieval writes them."
        )
    for number in sorted(images.keys() ^ texts.keys()):
        has, lacks = (IMAGES, TEXTS) if number in images else (TEXTS, IMAGES)
        raise InputError(
            f"There is {has}_{number}.npy and no {lacks}_{number}.npy beside it: pictures and "
            "captions must be there in the same numbers.",
            "damaged",
        )
    tables = _numbered(folder, METADATA, ".parquet")
    notes: list[str] = []
    shards: list[_Shard] = []
    width = 0
    for place, number in enumerate(sorted(images)):
        watch("Looking at embeddings", place, len(images))
        shape, other = _header(images[number]).shape, _header(texts[number]).shape
        if shape != other:
            raise InputError(
                f"{images[number].name} holds {shape[0]} x {shape[1]} numbers and "
                f"{texts[number].name} {other[0]} x {other[1]}: they are not of the same pairs.",
                "damaged",
            )
        if width and shape[1] != width:
            raise InputError(
                f"{images[number].name} has rows of {shape[1]} numbers and the file before it of "
                f"{width}: they are not of one model.",
                "damaged",
            )
        width = shape[1]
        shards.append(_Shard(images[number], texts[number], tables.get(number), shape[0]))
    if not 0 < sum(shard.rows for shard in shards) < MAX_ROWS:
        raise InputError(f"{plain(folder.name)} holds no embeddings.", "damaged")
    shards = list(_with_metadata(shards, notes))
    files = KnownFiles([path for shard in shards for path in (shard.images, shard.texts)])
    key = files.key(watch)
    name = plain(folder.name or folder.resolve().name)
    return EmbeddingShards(name, shards, width, tuple(notes), key, files.known_by)


def _numbered(folder: Path, kind: str, ending: str) -> dict[int, Path]:
    """The files of a kind by their number."""
    pattern = re.compile(rf"{kind}_([0-9]{{1,12}}){re.escape(ending)}")
    paths: dict[int, Path] = {}
    inside = folder / kind
    for path in sorted(inside.iterdir()) if inside.is_dir() else ():
        named = pattern.fullmatch(path.name)
        if named is None:
            continue
        if not stays_inside(folder, path):
            raise InputError(
                f"{kind}/{plain(path.name)} is a link out of its folder, which is not followed: "
                "put the file itself there.",
                "unsupported",
            )
        if int(named[1]) in paths:
            raise InputError(
                f"{paths[int(named[1])].name} and {path.name} have the same number; keep one.",
                "damaged",
            )
        paths[int(named[1])] = path
    return paths


def _header(path: Path) -> NpyHeader:
    """The header of a file of embeddings, which has exactly the size that it announces."""
    file, size = open_regular(path)
    with file:
        header = npy_header(file.read(NPY_HEAD), path.name)
    if header.dtype not in _TYPES or header.by_columns or len(header.shape) != 2:
        raise InputError(
            f"{path.name} holds no embeddings: float16 or float32 with one row a pair are needed.",
            "unsupported",
        )
    if not 0 < header.shape[1] <= MAX_WIDTH or header.shape[0] >= MAX_ROWS:
        raise InputError(f"{path.name} holds rows of an impossible size.", "damaged")
    if header.size != size:
        raise InputError(
            f"{path.name} has {size} bytes and its header announces {header.size}: get it again.",
            "damaged",
        )
    return header


def _map(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a file that was looked at before; `np.load` would open the path itself."""
    header = _header(path)
    if header.shape != shape:
        raise InputError(f"{path.name} changed while it was used; open it again.", "damaged")
    if not shape[0]:
        return np.empty(shape, np.float32)
    file, _ = open_regular(path)
    with file:
        return np.memmap(file, np.dtype(header.dtype), "r", header.start, shape)


def _with_metadata(shards: Sequence[_Shard], notes: list[str]) -> Iterator[_Shard]:
    """The shards, without metadata that does not fit; what is left out is noted."""
    bad: list[str] = []
    for shard in shards:
        fits = shard.metadata is None
        if shard.metadata is not None:
            try:
                fits = RowGroups([shard.metadata]).rows == shard.rows
            except InputError as error:
                bad.append(error.sentence.rstrip("."))
            else:
                if not fits:
                    bad.append(f"{shard.metadata.name} has another number of rows")
        yield shard if fits else _Shard(shard.images, shard.texts, None, shard.rows)
    if bad:
        notes.append(summary("Metadata not used", list(dict.fromkeys(bad))))


def _text(table: RowGroups, row: int, column: str) -> str:
    """A field as a text; empty if it is no text."""
    try:
        value = table.value(row, column)
    except InputError:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return printable(value[:MAX_CAPTION]) if isinstance(value, str) else ""
