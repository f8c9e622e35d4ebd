"""WebDataset shards: tar files whose members of one name are one sample; read in place."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.data.known_files import stays_inside
from ml_core.data.order import runs
from ml_core.data.pictures import Reader, SkipCount, summary
from ml_core.data.readers.samples import (
    MAX_CAPTION,
    Samples,
    Slices,
    check_captions,
    checked,
    named_folder,
    one_line,
)
from ml_core.data.readers.shard_index import ShardIndex, load_index, save_index
from ml_core.data.table_files import PackedTexts
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.archive_members import Member, ZipError, tar_members
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES
from ml_core.reading.regular_file import open_regular, read_lines
from ml_core.reading.strict_json import JsonError, parse_object

MAX_SHARD_MEMBERS = 400_000
"""Some 600 bytes of memory each while a shard is listed; shards of today have 10 000 to 60 000."""
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_LABELS = (".cls", ".cls.txt", ".label")
_TEXTS = (".txt", ".caption", ".text")
MAX_SHARDS = 100_000
_FIELDS = ("caption", "text", "txt", "title")
_MAX_INFO = 1 << 18
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_HEADER = 512
_LABEL_BYTES = 1 << 16
_LABEL_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Sample:
    """Members of one name: a picture, and what there is of label, caption and ``.json``."""

    shard: int
    key: str
    picture: Member
    label: Member | None
    text: Member | None
    info: Member | None


class ShardReader(Reader):
    """Samples of shards by number; no file stays open.

    Parameters
    ----------
    shards, index
        The files, and where the samples lie in them.
    keys
        Names of the samples; None reads a name from its header in the shard when asked.
    """

    def __init__(
        self, shards: tuple[Slices, ...], index: ShardIndex, keys: PackedTexts | None = None
    ) -> None:
        self.files = tuple(shard.path for shard in shards)
        self.blocks = runs(index.counts[index.counts > 0])
        self._shards, self._index, self._keys = shards, index, keys
        self._ends = np.cumsum(index.counts)

    def __len__(self) -> int:
        return len(self._index.sizes)

    def name(self, number: int) -> str:
        """Shard, and the sample as its header calls it."""
        at = self._at(number)
        if self._keys is not None:
            return f"{self.files[at].name}, {self._keys[number]}"
        try:
            head = self._shards[at].read(int(self._index.places[number, 0]) - _HEADER, 100)
        except InputError:
            head = b""
        text = head.split(b"\0")[0].decode("utf-8", "replace").rpartition("/")[2]
        first = int(self._ends[at - 1]) if at else 0
        key = text.partition(".")[0] or f"sample {number - first + 1}"
        return f"{self.files[at].name}, {key}"

    def raw(self, number: int) -> bytes:
        if self._index.sizes[number, 0] > MAX_BYTES:
            raise InputError(f"{self.name(number)} is too large.", "unsupported")
        return self._member(number, 0)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sizes of the pictures' members."""
        return np.asarray(self._index.sizes[numbers, 0], np.int64)

    def captions(self, number: int) -> tuple[str, ...]:
        """The sample's caption, or the captions of its ``.json``."""
        if self._keys is not None:  # labelled pictures
            return ()
        raw = self._member(number, 1)
        try:
            return _from_json(raw) if self._index.is_json[number] else (one_line(raw),)
        except ValueError as error:
            raise InputError(f"{self.name(number)}: {error}.", "damaged") from None

    def _member(self, number: int, which: int) -> bytes:
        offset, size = self._index.places[number, which], self._index.sizes[number, which]
        return self._shards[self._at(number)].read(int(offset), int(size))

    def _at(self, number: int) -> int:
        """The number of a sample's shard."""
        return int(np.searchsorted(self._ends, number, side="right"))


def find_shards(path: Path, train: bool, watch: Watch = unwatched) -> Samples | None:
    """Open a shard, or a folder of shards; None without one.

    A folder may have its shards in ``test`` or ``train``, as clip_benchmark lays them out. Labels
    are ``.cls`` members with a number, or the field ``label``, ``cls`` or ``class`` of a
    ``.json`` member. Class names come from ``classnames.txt`` beside the shards or one folder up.

    Raises
    ------
    InputError
        If a shard is damaged or holds links, or a label is not a number.
    """
    files = _shard_files(path, train)
    if not files:
        return None
    shards = tuple(Slices(file) for file in files)
    samples: list[Sample] = []
    alone: list[str] = []
    for number, shard in enumerate(shards):
        watch("Reading shards", number, len(shards))
        listed, without = shard_samples(number, shard)
        samples += listed
        alone += without
    if not samples:
        raise InputError(f"{path.name} holds no picture in its shards.", "usage")
    watched_samples = watched(samples, watch, "Reading labels", len(samples))
    texts = [_label(shards[sample.shard], sample) for sample in watched_samples]
    notes = (summary("Left out, a sample without a picture", alone),) if alone else ()
    index = ShardIndex(
        np.bincount([sample.shard for sample in samples], minlength=len(shards)),
        np.array([[sample.picture.offset] for sample in samples], np.int64),
        np.array([[sample.picture.size] for sample in samples], np.int64),
        np.zeros(len(samples), np.bool_),
        notes,
        len(alone),
    )
    keys = PackedTexts(sample.key for sample in samples)
    pictures = Samples(path.name, ShardReader(shards, index, keys), notes, len(alone))
    if all(text is None for text in texts):
        return pictures
    bad = next((s.key for s, text in zip(samples, texts, strict=True) if text is None), None)
    if bad is not None:
        raise InputError(
            f"{path.name}: the sample {bad[:80]!r} has no label and others have one.", "damaged"
        )
    labels, names = _positions(path.name, [text or "" for text in texts], files[0])
    return replace(pictures, labels=labels, class_names=names)


def _positions(
    title: str, texts: list[str], shard: Path
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as positions: of numbers in the list of classes, else of the names that occur."""
    names, numeric = _class_names(shard), all(text.isdecimal() for text in texts)
    if names and numeric:
        labels = np.array([int(text) for text in texts], np.int64)
        if labels.max() >= len(names):
            raise InputError(
                f"{title}: a label is {labels.max()}, and classnames.txt has {len(names)} classes.",
                "damaged",
            )
        return labels, names
    distinct = sorted(set(texts), key=int) if numeric else sorted(set(texts))
    places = {text: index for index, text in enumerate(distinct)}
    return np.array([places[text] for text in texts], np.int64), tuple(distinct)


def _shard_files(path: Path, train: bool) -> list[Path]:
    """Shards in the order of the numbers in their names."""
    if path.is_file():
        return [path] if path.suffix == ".tar" else []
    for folder in (path, path / ("train" if train else "test")):
        files = shards_in(folder)
        if files:
            return files
    return []


def shards_in(folder: Path) -> list[Path]:
    """The ``.tar`` files that lie in a folder, by the numbers in their names."""
    files = [p for p in folder.glob("*.tar") if p.is_file() and stays_inside(folder, p)]
    return sorted(files, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.name)], p))


def shard_samples(number: int, shard: Slices) -> tuple[list[Sample], list[str]]:
    """Samples of a shard, and the keys of those without a picture.

    Raises
    ------
    InputError
        ``damaged`` if it is no plain tar archive or holds links or unsafe names.
    """
    file, size = open_regular(shard.path)
    with file:
        try:
            members = tar_members(file, size, most=MAX_SHARD_MEMBERS, advice="write smaller shards")
        except ZipError as error:
            raise InputError(
                f"The shard {shard.path.name} is damaged or no plain tar archive ({error}); "
                f"{error.advice}.",
                "damaged",
            ) from None
    by_key: dict[str, dict[str, Member]] = {}
    for member in members:
        folder, slash, name = member.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        if stem and dot:  # hidden files and files without an ending are no samples
            by_key.setdefault(f"{folder}{slash}{stem}", {})[f".{ending.lower()}"] = member
    samples, without = [], []
    for key, parts in by_key.items():
        picture = next((parts[ending] for ending in _PICTURES if ending in parts), None)
        if picture is None:
            without.append(key)
            continue
        label = next((parts[ending] for ending in _LABELS if ending in parts), None)
        text = next((parts[ending] for ending in _TEXTS if ending in parts), None)
        samples.append(Sample(number, key, picture, label, text, parts.get(".json")))
    return samples, without


def _label(shard: Slices, sample: Sample) -> str | None:
    """Text of a sample's label; None without one."""
    member = sample.label or sample.info
    if member is None:
        return None
    if member.size > _LABEL_BYTES:
        raise _bad_label(shard, sample)
    try:
        text = shard.read(member.offset, member.size).decode("utf-8").strip()
        if sample.label is not None:
            value: object = text
        else:
            fields = parse_object(text.encode(), max_bytes=_LABEL_BYTES, half_characters=True)
            value = next((fields[n] for n in ("label", "cls", "class") if n in fields), None)
    except (UnicodeDecodeError, JsonError):
        raise _bad_label(shard, sample) from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise _bad_label(shard, sample)
    label = str(value)
    if label.isdecimal() and len(label) > _LABEL_DIGITS:
        raise _bad_label(shard, sample)
    return label


def _class_names(shard: Path) -> tuple[str, ...]:
    """Names from ``classnames.txt``, or none."""
    for folder in (shard.parent, shard.parent.parent):
        path = folder / "classnames.txt"
        if path.is_file() and not path.is_symlink():
            return tuple(line for _, line in read_lines(path))
    return ()


def _bad_label(shard: Slices, sample: Sample) -> InputError:
    return InputError(
        f"{shard.path.name}: the label of the sample {sample.key[:80]!r} is damaged.", "damaged"
    )


def open_shards(text: str, watch: Watch) -> Samples:
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
    used = np.flatnonzero(index.counts)
    index = replace(index, counts=index.counts[used])
    reader = ShardReader(tuple(shards[number] for number in used.tolist()), index)
    check_captions(
        reader,
        title,
        f"keep each in a .txt, or in the field {', '.join(_FIELDS[:-1])} or {_FIELDS[-1]} of a "
        ".json",
    )
    return Samples(title, reader, notes, index.left_out)


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
        np.asarray(places, np.int64).reshape(-1, 2),
        np.asarray(sizes, np.int32).reshape(-1, 2),
        np.array(kinds, np.bool_),
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
