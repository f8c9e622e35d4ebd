"""Pairs in WebDataset shards: an index of where members lie, everything else is read when asked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.atomic import replace_files
from ml_core.data.captioned.source import (
    MAX_CAPTION,
    FoundPairs,
    check_captions,
    checked,
    named_folder,
    one_line,
)
from ml_core.data.order import WINDOW, runs
from ml_core.data.pictures import SkipCount
from ml_core.data.sets.found import Slices
from ml_core.data.sets.shards import shard_samples, shards_in
from ml_core.data.watch import Watch
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES, read_image
from ml_core.reading.regular_file import open_file
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reading.zip_members import STORED, zip_members

KEPT_FROM = 20_000
"""Samples from which an index is worth a file."""
_FORMAT = "cleanclip-shard-index-1"
_MOST_FILES = 16
_MOST_TOLD = 4 << 20
_SETTLED_NS = 3_000_000_000  # clocks of file systems are coarse: a younger shard may still change


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Samples of shards, one shard after another: 25 bytes each.

    Attributes
    ----------
    counts
        int64 [S], samples of each shard, 0 of one without any.
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
    """Read what `save_index` wrote of shards of so many bytes; what it raises says it did not."""
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


MAX_SHARDS = 100_000
_FIELDS = ("caption", "text", "txt", "title")
_MAX_INFO = 1 << 18
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_HEADER = 512


class ShardPairs:
    """Samples of shards by number; no file stays open."""

    a_file_each = False
    whole_blocks = False
    window = WINDOW

    def __init__(self, shards: tuple[Slices, ...], index: ShardIndex) -> None:
        used = np.flatnonzero(index.counts)
        self._shards = tuple(shards[number] for number in used.tolist())
        self.files = tuple(shard.path for shard in self._shards)
        counts = index.counts[used]
        self.blocks: NDArray[np.int64] | None = runs(counts)
        self._ends = np.cumsum(counts)
        self._places, self._sizes, self._is_json = index.places, index.sizes, index.is_json

    def __len__(self) -> int:
        return len(self._sizes)

    def name(self, number: int) -> str:
        """Shard, and the sample as its header calls it."""
        shard = self._shard(number)
        try:
            head = shard.read(int(self._places[number, 0]) - _HEADER, 100)
        except InputError:
            head = b""
        text = head.split(b"\0")[0].decode("utf-8", "replace").rpartition("/")[2]
        key = text.partition(".")[0] or f"sample {number - self._first(number) + 1}"
        return f"{shard.path.name}, {key}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        """Decode a member in place."""
        return read_image(self.raw(number), name=self.name(number), least=least)

    def raw(self, number: int) -> bytes:
        return self._member(number, 0)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sizes of the pictures' members."""
        return np.asarray(self._sizes[numbers, 0], np.int64)

    def captions(self, number: int) -> tuple[str, ...]:
        """The sample's caption, or the captions of its ``.json``."""
        raw = self._member(number, 1)
        try:
            return _from_json(raw) if self._is_json[number] else (one_line(raw),)
        except ValueError as error:
            raise InputError(f"{self.name(number)}: {error}.", "damaged") from None

    def captions_key(self) -> str:
        """They stand in the shards."""
        return ""

    def chosen(self, numbers: NDArray[np.int64]) -> None:
        """An index of these alone: the others would cost 25 bytes a sample."""

    def _member(self, number: int, which: int) -> bytes:
        offset, size = int(self._places[number, which]), int(self._sizes[number, which])
        return self._shard(number).read(offset, size)

    def _shard(self, number: int) -> Slices:
        return self._shards[int(np.searchsorted(self._ends, number, side="right"))]

    def _first(self, number: int) -> int:
        """The first sample of the same shard."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        return int(self._ends[at - 1]) if at else 0


def open_shards(text: str, watch: Watch) -> FoundPairs:
    """Open a shard, a folder of shards (or its ``train``), or a pattern ``{000000..000123}.tar``.

    A sample's caption is its ``.txt`` (or ``.caption``, ``.text``), else the field ``caption``,
    ``text``, ``txt`` or ``title`` of its ``.json``. Nothing is unpacked.

    Raises
    ------
    InputError
        If no shard is there, one is damaged or holds links, or no sample has a caption that can be
        used.
    """
    files, title, missing = shard_files(text)
    shards = tuple(Slices(file) for file in files)
    index = load_index(shards)
    if index is None:
        index = _listed(shards, watch)
        save_index(shards, index)
    notes = missing.notes + index.notes
    if not len(index.is_json):
        raise InputError(
            f"{title} holds no picture with a caption in its shards.",
            "usage",
            details="\n".join(notes),
        )
    source = ShardPairs(shards, index)
    check_captions(
        source,
        title,
        f"keep each in a .txt, or in the field {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]} of a "
        ".json",
    )
    return FoundPairs(title, source, notes, index.left_out)


def _listed(shards: tuple[Slices, ...], watch: Watch) -> ShardIndex:
    """List the members of all shards."""
    alone = SkipCount("Left out, a sample without a picture")
    silent = SkipCount("Left out, a sample without a caption")
    large = SkipCount("Left out, a sample with a picture or caption that is too large")
    places, sizes, kinds, counts = array("q"), array("i"), bytearray(), array("q")
    for number, shard in enumerate(shards):
        watch("Reading shards", number, len(shards))
        before = len(kinds)
        samples, without = shard_samples(number, shard)
        for key in without:
            alone.add(f"{shard.path.name}, {key[:80]}")
        for sample in samples:
            name = f"{shard.path.name}, {sample.key[:80]}"
            caption = sample.text or sample.info
            if caption is None:
                silent.add(name)
                continue
            limit = MAX_CAPTION if sample.text else _MAX_INFO
            if sample.picture.size > MAX_BYTES or caption.size > limit:
                large.add(name)
                continue
            places.extend((sample.picture.offset, caption.offset))
            sizes.extend((sample.picture.size, caption.size))
            kinds.append(sample.text is None)
        counts.append(len(kinds) - before)
    tallies = (alone, silent, large)
    return ShardIndex(
        np.array(counts, np.int64),
        np.frombuffer(places, np.int64).reshape(-1, 2) if places else np.empty((0, 2), np.int64),
        np.frombuffer(sizes, np.int32).reshape(-1, 2) if sizes else np.empty((0, 2), np.int32),
        np.frombuffer(bytes(kinds), np.bool_),
        tuple(note for tally in tallies for note in tally.notes),
        sum(tally.count for tally in tallies),
    )


def shard_files(text: str) -> tuple[list[Path], str, SkipCount]:
    """Shards in order, a title for the screen, and those of a pattern that are missing.

    Raises
    ------
    InputError
        ``usage`` if none is there or the pattern names over 100000.
    """
    missing = SkipCount("Left out, a missing shard")
    path = Path(text)
    if is_pattern(text):
        files = []
        for shard in _expanded(text):
            if shard.is_file():
                files.append(shard)
            else:
                missing.add(shard.name)
        title = path.name
    elif path.is_dir():
        files = shards_in(path) or shards_in(path / "train")
        title = named_folder(path)
    else:
        files, title = [path], path.name
    if not files:
        raise InputError(
            f"{title} names no shard that is there; give a .tar file, a folder of them, or a "
            "pattern like {000000..000123}.tar.",
            "usage",
        )
    return files, title, missing


def is_pattern(text: str) -> bool:
    """Whether a text names shards by a range of numbers."""
    return _RANGE.search(text) is not None


def _expanded(text: str) -> Iterator[Path]:
    """Paths of a pattern in order; a number keeps the width of the range's first."""
    total = 1
    for first, last in _RANGE.findall(text):
        if max(len(first), len(last)) > 12:
            raise _too_many(text)
        total *= max(0, int(last) - int(first) + 1)
        if total > MAX_SHARDS:
            raise _too_many(text)
    yield from (Path(name) for name in _filled(text))


def _filled(text: str) -> Iterator[str]:
    span = _RANGE.search(text)
    if span is None:
        yield text
        return
    first, last = span.groups()
    for number in range(int(first), int(last) + 1):
        yield from _filled(f"{text[: span.start()]}{number:0{len(first)}}{text[span.end() :]}")


def _from_json(raw: bytes) -> tuple[str, ...]:
    """Captions of a sample's description."""
    try:
        fields = parse_object(raw, max_bytes=_MAX_INFO, half_characters=True)
    except JsonError as error:
        raise ValueError(f"its .json is damaged ({error})") from None
    value = next((fields[name] for name in _FIELDS if fields.get(name) is not None), None)
    if isinstance(value, list) and value:
        return tuple(checked(text) for text in value)
    return (checked(value),)


def _too_many(text: str) -> InputError:
    return InputError(
        f"{Path(text).name} names over {MAX_SHARDS} shards; give a shorter range.", "usage"
    )
