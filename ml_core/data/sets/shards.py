"""WebDataset shards: tar files whose members of one name are one sample; read in place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.known_files import stays_inside
from ml_core.data.order import WINDOW, runs
from ml_core.data.pictures import summary
from ml_core.data.sets.found import FoundSet, Slices
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES, read_image
from ml_core.reading.regular_file import open_regular, read_lines
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reading.tar_members import tar_members
from ml_core.reading.zip_members import Member, ZipError

MAX_SHARD_MEMBERS = 400_000
"""Some 600 bytes of memory each while a shard is listed; shards of today have 10 000 to 60 000."""
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_LABELS = (".cls", ".cls.txt", ".label")
_TEXTS = (".txt", ".caption", ".text")
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


class ShardSource:
    """Pictures in tar files."""

    a_file_each = False

    def __init__(self, shards: tuple[Slices, ...], samples: list[Sample]) -> None:
        self.files = tuple(shard.path for shard in shards)
        self._shards = shards
        self._samples = samples
        owners = np.array([sample.shard for sample in samples], np.int64)
        counts = np.bincount(owners, minlength=len(shards)).astype(np.int64)
        self.blocks: NDArray[np.int64] | None = runs(counts[counts > 0])
        self.window = WINDOW

    def name(self, number: int) -> str:
        sample = self._samples[number]
        return f"{self.files[sample.shard].name}, {sample.key}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        """Decode a member in place."""
        return read_image(self.raw(number), name=self.name(number), least=least)

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self._samples[n].picture.size for n in numbers.tolist()], np.int64)

    def raw(self, number: int) -> bytes:
        sample = self._samples[number]
        if sample.picture.size > MAX_BYTES:
            raise InputError(f"{self.name(number)} is too large.", "unsupported")
        return self._shards[sample.shard].read(sample.picture.offset, sample.picture.size)


def find_shards(path: Path, train: bool, watch: Watch = unwatched) -> FoundSet | None:
    """Open a shard, or a folder of shards; None without one.

    A folder may have its shards in ``test`` or ``train``, as clip_benchmark lays them out. Labels
    are ``.cls`` members with a number, or the field ``label``, ``cls`` or ``class`` of a
    ``.json`` member. Class names come from ``classnames.txt`` beside the shards or one folder up.

    Raises
    ------
    InputError
        If a shard is damaged or holds links, or a label is no number.
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
    source = ShardSource(shards, samples)
    title = path.name
    if all(text is None for text in texts):
        return FoundSet(title, source, None, (), notes, len(alone), len(samples))
    bad = next((s.key for s, text in zip(samples, texts, strict=True) if text is None), None)
    if bad is not None:
        raise InputError(
            f"{path.name}: the sample {bad[:80]!r} has no label and others have one.", "damaged"
        )
    return _labelled(title, source, [text or "" for text in texts], files[0], notes, len(alone))


def _labelled(
    title: str,
    source: ShardSource,
    texts: list[str],
    shard: Path,
    notes: tuple[str, ...],
    left_out: int,
) -> FoundSet:
    """Labels as positions: of numbers in the list of classes, else of the names that occur."""
    names = _class_names(shard)
    if names and all(text.isdecimal() for text in texts):
        labels = np.array([int(text) for text in texts], np.int64)
        if labels.max() >= len(names):
            raise InputError(
                f"{title}: a label is {labels.max()}, and classnames.txt has {len(names)} classes.",
                "damaged",
            )
        return FoundSet(title, source, labels, names, notes, left_out)
    numeric = all(text.isdecimal() for text in texts)
    distinct = sorted(set(texts), key=int) if numeric else sorted(set(texts))
    places = {text: index for index, text in enumerate(distinct)}
    numbers = np.array([places[text] for text in texts], np.int64)
    return FoundSet(title, source, numbers, tuple(distinct), notes, left_out)


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
