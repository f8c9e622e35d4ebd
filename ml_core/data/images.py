"""Labelled or unlabelled evaluation images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.data.detect import find_set
from ml_core.data.digests import Learner, hash_file, known_digests
from ml_core.data.labels import LabelSet, fill, load_label_set, map_labels
from ml_core.data.order import kept_blocks
from ml_core.data.picture_set import PictureSet, hashed
from ml_core.data.pictures import (
    DEMO_SIZES,
    DemoPictures,
    Pictures,
    ReaderPictures,
    key_of,
    summary,
)
from ml_core.data.readers.folders import list_folder
from ml_core.data.readers.samples import Samples
from ml_core.data.readers.tables import open_labelled
from ml_core.data.specs import ImageSpec, part_of, stratified_sample
from ml_core.data.table_files import table_path
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.exports import to_csv
from ml_core.reading.errors import InputError, printable
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.resize import Canvases


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSet(PictureSet):
    """Evaluation images, or labelled images to train on.

    Attributes
    ----------
    labels
        int64 [N], read-only, -1 where a picture has no label.
    class_names
        Names of the labels.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def open_images(
    spec: ImageSpec, label_set: LabelSet | None = None, watch: Watch = unwatched
) -> ImageSet:
    """Open the images a spec names.

    Labels are names or indices, found in the label set whatever their case, blanks, underscores
    and hyphens. Pictures whose label is not in it are left out and named in ``problems``.

    Parameters
    ----------
    spec
        What to open. A folder holds a published set, a folder per class, a ``labels.csv``, or
        unlabelled pictures.
    label_set
        The classes. None takes the demo's for the demo, else the labels found, in order.
    watch
        Called with how far it is; it may end it by raising `CancelledError`.

    Raises
    ------
    InputError
        If nothing can be read, a column is missing, or no label is in the label set.
    """
    if spec.kind == "demo":
        return _demo(spec, label_set or load_label_set("demo"))
    path, in_set = Path(spec.path or ""), False
    if spec.kind == "csv" or (path / "labels.csv").is_file():
        table = table_path(path)
        samples = open_labelled(table, spec.image_column, spec.label_column, watch)
    elif published := _published(path, spec, watch):
        samples, in_set = published, True
    else:
        samples = list_folder(path, watch)
    texts = samples.label_texts()
    if texts is not None:
        texts = tuple(spec.class_map.get(text, text) for text in texts)
    labels, class_names, keep, notes = _map(samples, texts, label_set)
    part = keep[part_of(labels[keep], spec.part, spec.seed)]
    chosen = part[stratified_sample(labels[part], spec.n, spec.seed)]
    reader = samples.reader
    if in_set:  # a published set is known by all its files, other pictures by their own
        pictures = ReaderPictures(reader, chosen)
    else:
        smaller = reader.chosen(chosen)
        pictures = ReaderPictures(reader if smaller is None else smaller)
    left_out = samples.left_out + len(labels) - len(keep)
    notes = samples.notes + notes + (label_set.notes if label_set is not None else ())
    images = _finish(samples.name, pictures, labels[chosen], class_names, notes, left_out, watch)
    return replace(images, blocks=kept_blocks(reader.blocks, chosen), window=reader.window)


def _finish(
    name: str,
    pictures: Pictures,
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    notes: tuple[str, ...],
    left_out: int,
    watch: Watch = unwatched,
) -> ImageSet:
    """Hash and freeze."""
    images_key, lasting = hashed(pictures, name, watch)
    labels = np.ascontiguousarray(labels, np.int64)
    labels.flags.writeable = False
    return ImageSet(
        name=name,
        key=key_of(images_key, labels, class_names),
        lasting_key=key_of(lasting, labels, class_names),
        images_key=images_key,
        notes=notes,
        left_out=left_out,
        pictures=pictures,
        labels=labels,
        class_names=class_names,
    )


def _demo(spec: ImageSpec, label_set: LabelSet) -> ImageSet:
    """The built-in demo's pictures, with labels where the label set has the class."""
    from ml_core.data import demo

    count = spec.n if spec.n is not None and spec.part == "all" else DEMO_SIZES[spec.split]
    numbers = np.arange(count, dtype=np.int64)
    pictures = DemoPictures(spec.split, numbers, spec.seed)
    own = pictures.labels()
    if spec.part != "all":
        numbers = part_of(own, spec.part, spec.seed)[: spec.n]
        pictures, own = DemoPictures(spec.split, numbers, spec.seed), own[numbers]
    names = demo.demo_classes()
    mapping = map_labels(names, label_set)
    labels = np.append(mapping.labels, -1)[own]
    keep = np.flatnonzero((own < 0) | (labels >= 0))
    if not len(keep):
        raise _none_match("the demo", names, label_set)
    notes: tuple[str, ...] = ()
    if mapping.unmatched:
        notes = (_unmatched(mapping.unmatched, Counter(names[i] for i in own), label_set),)
    left_out = len(own) - len(keep)
    if len(keep) < len(own):
        pictures = DemoPictures(spec.split, numbers[keep], spec.seed)
    title = f"Demo, {spec.split} split"
    return _finish(title, pictures, labels[keep], label_set.class_names, notes, left_out)


def _published(path: Path, spec: ImageSpec, watch: Watch) -> Samples | None:
    """A published set; None if the path is not one."""
    samples = find_set(path, train=spec.split == "train", watch=watch)
    if samples is not None and not samples.n:
        raise InputError(f"{samples.name} holds no picture.", "usage")
    if samples is not None or spec.kind != "file":
        return samples
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(
            f"{path.name} is a single picture: give its folder, {path.resolve().parent.name}.",
            "usage",
        )
    raise InputError(f"{path.name} is no WebDataset shard and no Parquet file.", "usage")


def _map(
    samples: Samples, texts: Sequence[str] | None, label_set: LabelSet | None
) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Labels [N], class names, numbers of the pictures to keep, notes."""
    everything = np.arange(samples.n)
    if texts is None:
        class_names = label_set.class_names if label_set else ()
        return np.full(len(everything), -1, np.int64), class_names, everything, ()
    if label_set is None:
        if samples.labels is not None:
            return samples.labels, samples.class_names, everything, ()
        distinct = set(texts)
        numeric = all(text.isdecimal() for text in distinct)
        class_names = tuple(sorted(distinct, key=int) if numeric else sorted(distinct))
        places = {text: index for index, text in enumerate(class_names)}
        return np.array([places[text] for text in texts]), class_names, everything, ()
    mapping = map_labels(texts, label_set)
    numbered = _numbered(samples.name, set(texts), label_set)
    if samples.labels is not None and len(samples.class_names) == len(label_set.class_names):
        known = (mapping.labels >= 0) & ~np.isin(texts, mapping.ambiguous)
        if (mapping.labels[known] == samples.labels[known]).all():
            note = (
                f"The label set {label_set.name} has as many classes as {samples.name} and some "
                "have other names: the labels are taken by their numbers"
            )
            by_number = (note,) if mapping.unmatched else numbered
            return samples.labels, label_set.class_names, everything, by_number
    keep = np.flatnonzero(mapping.labels >= 0)
    if not len(keep):
        raise _none_match(samples.name, mapping.unmatched, label_set)
    notes = list(numbered)
    if mapping.unmatched:
        notes.append(_unmatched(mapping.unmatched, Counter(texts), label_set))
    if mapping.ambiguous:
        notes.append(
            f"The label set {label_set.name} has two classes of the name "
            f"{' and of the name '.join(mapping.ambiguous)}; the first one is taken"
        )
    return mapping.labels, label_set.class_names, keep, tuple(notes)


def _numbered(name: str, texts: set[str], label_set: LabelSet) -> tuple[str, ...]:
    """Note that labels without names are taken as positions: another order would be wrong."""
    named = any(text.isdecimal() for text in (*label_set.class_names, *label_set.ids))
    if named or not texts or not all(text.isdecimal() for text in texts):
        return ()
    low, *_, high = sorted([*texts, *texts], key=lambda text: (len(text), text))
    return (
        f"The labels of {name} are numbers, {low[:20]} to {high[:20]}: they are taken as "
        f"positions from 0 on in the label set {label_set.name}, which has "
        f"{len(label_set.class_names)} classes",
    )


def _unmatched(names: Sequence[str], counts: Counter[str], label_set: LabelSet) -> str:
    """Note the labels that the label set lacks, with their numbers of pictures."""
    listed = [f"“{name}” on {counts[name]}" for name in names]
    return summary(f"Left out, labels that are not among the classes of {label_set.name}", listed)


def _none_match(name: str, labels: Sequence[str], label_set: LabelSet) -> InputError:
    shown = ", ".join(labels[:5])
    return InputError(
        f"None of the labels of {name} ({shown}) is in the label set {label_set.name}; choose "
        "another label set.",
        "usage",
    )


Indices = NDArray[np.int64]


class PromptPairs:
    """The labelled pictures of a set with prompts for captions; an epoch takes the next template.

    Blocks of pictures that are stored together are not kept: those without a label are left out.
    """

    blocks: Indices | None = None

    def __init__(self, images: ImageSet, templates: Sequence[str]) -> None:
        self._images, self._templates = images, tuple(templates)
        self._chosen = np.flatnonzero(images.labels >= 0)
        self._places = {int(number): place for place, number in enumerate(self._chosen)}
        self.window = images.window

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def broken(self) -> Mapping[int, str]:
        """Undecodable pictures found so far."""
        broken = self._images.broken
        return {self._places[i]: reason for i, reason in broken.items() if i in self._places}

    def captions(self, indices: Indices, epoch: int = 0) -> list[str]:
        """A prompt for each of some pictures; neighbours have different templates."""
        numbers = np.asarray(indices, np.int64)
        labels = self._images.labels[self._chosen[numbers]]
        return [
            fill(
                self._templates[(number + epoch) % len(self._templates)],
                self._images.class_names[label],
            )
            for number, label in zip(numbers.tolist(), labels.tolist(), strict=True)
        ]

    def canvas(self, indices: Indices, size: int) -> Canvases:
        """Pictures, uint8 [n, size, size, 3]."""
        return self._images.canvas(self._chosen[np.asarray(indices, np.int64)], size)


COLUMNS = ("index", "name", "sha256", "bytes", "label")
_BLOCK = 1024


def list_pictures(images: ImageSet, watch: Watch = unwatched) -> bytes:
    """The pictures of a set as a CSV of `COLUMNS`, in the set's order.

    The SHA-256 is of what `Pictures.raw` gives: the whole file, the bytes inside a packed set, or,
    for the demo, the words from which a picture is composed. A picture that cannot be read has
    none, and 0 bytes. Digests of files that are known from before are not computed again.

    Parameters
    ----------
    images
        The set.
    watch
        Called with how far it is; it may end it.
    """
    return to_csv(_rows(images, watch)).encode()


def what_is_hashed(images: ImageSet) -> str:
    """What the SHA-256 of a picture is taken of, in a few words."""
    if isinstance(images.pictures, DemoPictures):
        return "the split, seed and number that the program composes it from"
    if isinstance(images.pictures, ReaderPictures) and images.pictures.whole:
        return "its file"
    return "its bytes in the set's files"


def _rows(images: ImageSet, watch: Watch) -> Iterator[tuple[object, ...]]:
    yield COLUMNS
    seen: set[str] = set()
    digests = _digests(images.pictures)
    places = watched(digests, watch, "Listing pictures", len(images))
    for index, (digest, size) in enumerate(places):
        name = printable(images.pictures.name(index))
        if name in seen:  # a packed set may call two alike
            name = f"{name} [{index}]"
        seen.add(name)
        yield index, name, digest, size, int(images.labels[index])


def _digests(pictures: Pictures) -> Iterator[tuple[str, int]]:
    """SHA-256 in hex and bytes of each picture."""
    if isinstance(pictures, ReaderPictures) and pictures.whole:
        yield from _file_digests(pictures.reader.files)
        return
    for index in range(len(pictures)):
        raw = b""
        with suppress(InputError):
            raw = pictures.raw(index)
        yield (hashlib.sha256(raw).hexdigest(), len(raw)) if raw else ("", 0)


def _file_digests(paths: Sequence[Path]) -> Iterator[tuple[str, int]]:
    learner = Learner()
    for start in range(0, len(paths), _BLOCK):
        block = [paths[i] for i in range(start, min(start + _BLOCK, len(paths)))]
        known: dict[int, bytes] = {}
        with suppress(OSError):  # one vanished: it is told below
            known = known_digests(block)
        for number, path in enumerate(block):
            try:
                size = path.stat().st_size
                digest = known.get(number)
                if digest is None:
                    fact, digest = hash_file(path)
                    if fact is not None:
                        size = fact.st_size
                        learner.learn(path, fact, digest)
            except OSError:
                yield "", 0
                continue
            yield digest.hex(), size
        learner.save()
