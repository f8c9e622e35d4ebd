"""Labelled or unlabelled evaluation images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.data.digests import Learner, hash_file, known_digests
from ml_core.data.labels import LabelSet, fill, load_label_set, map_labels
from ml_core.data.order import WINDOW, kept_blocks
from ml_core.data.picture_set import PictureSet, hashed
from ml_core.data.pictures import (
    DEMO_SIZES,
    DemoPictures,
    FilePictures,
    FolderFiles,
    Pictures,
    SourcePictures,
    key_of,
    list_folder,
    printable,
    summary,
)
from ml_core.data.sets.detect import find_set
from ml_core.data.specs import ImageSpec, part_of, shots_of, stratified_sample
from ml_core.data.table_files import (
    LABEL_COLUMNS,
    TableFiles,
    find_column,
    read_files,
    require_column,
    table_path,
)
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.exports import to_csv
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.resize import Canvases
from ml_core.reading.tables import read_columns


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


@dataclass(frozen=True)
class _Found:
    """Pictures with the text of their labels (None: unlabelled), before labels are mapped.

    ``take`` makes the pictures of some numbers. ``class_names`` are the set's own and ``numbers``
    int64 [n] the places of the labels in them; empty and None where the set has no order of its
    own. ``blocks`` and ``window`` as `PictureSet` has them.
    """

    name: str
    n: int
    take: Callable[[NDArray[np.int64]], Pictures]
    texts: tuple[str, ...] | None
    notes: tuple[str, ...]
    left_out: int
    class_names: tuple[str, ...] = ()
    numbers: NDArray[np.int64] | None = None
    blocks: NDArray[np.int64] | None = None
    window: int = WINDOW


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
        Is told how far it is, and may end it by raising `CancelledError`.

    Raises
    ------
    InputError
        If nothing can be read, a column is missing, or no label is in the label set.
    """
    if spec.kind == "demo":
        return _demo(spec, label_set or load_label_set("demo"))
    path = Path(spec.path or "")
    if spec.kind == "csv" or (path / "labels.csv").is_file():
        listing = _from_table(table_path(path), spec, watch)
    else:
        listing = _from_set(path, spec, watch) or _from_folder(path, watch)
    if spec.class_map and listing.texts is not None:
        texts = tuple(spec.class_map.get(text, text) for text in listing.texts)
        listing = replace(listing, texts=texts)
    labels, class_names, keep, notes = _map(listing, label_set)
    part = keep[part_of(labels[keep], spec.part, spec.seed)]
    chosen = part[stratified_sample(labels[part], spec.n, spec.seed)]
    chosen = chosen[shots_of(labels[chosen], spec.shots, spec.shots_seed)]
    pictures = listing.take(chosen)
    left_out = listing.left_out + len(labels) - len(keep)
    notes = listing.notes + notes + (label_set.notes if label_set is not None else ())
    images = _finish(listing.name, pictures, labels[chosen], class_names, notes, left_out, watch)
    return replace(images, blocks=kept_blocks(listing.blocks, chosen), window=listing.window)


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
    keep = keep[shots_of(labels[keep], spec.shots, spec.shots_seed)]
    if len(keep) < len(own):
        pictures = DemoPictures(spec.split, numbers[keep], spec.seed)
    title = f"Demo, {spec.split} split"
    return _finish(title, pictures, labels[keep], label_set.class_names, notes, left_out)


def _from_table(path: Path, spec: ImageSpec, watch: Watch) -> _Found:
    """Pictures of a CSV or TSV."""
    columns = read_columns(path)
    image_column = require_column(path, columns, spec.image_column, "image")
    if spec.label_column is None:
        label_column = find_column(columns, None, LABEL_COLUMNS)
    else:
        label_column = require_column(path, columns, spec.label_column, "label")
    files = read_files(path, image_column, label_column, watch)
    texts = files.texts if label_column is not None else None
    return _Found(path.name, len(files.paths), _taker(files), texts, files.problems, files.left_out)


def _from_folder(folder: Path, watch: Watch) -> _Found:
    """Pictures of a folder per class, or of one unlabelled folder."""
    files = list_folder(folder, watch)
    return _Found(
        folder.name, len(files.paths), _taker(files), files.texts, files.problems, files.left_out
    )


def _from_set(path: Path, spec: ImageSpec, watch: Watch) -> _Found | None:
    """Pictures of a published set; None if the path is not one."""
    published = find_set(path, train=spec.split == "train", watch=watch)
    if published is None:
        if spec.kind == "file" and path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(
                f"{path.name} is a single picture: give its folder, {path.resolve().parent.name}.",
                "usage",
            )
        if spec.kind == "file":
            raise InputError(f"{path.name} is no WebDataset shard and no Parquet file.", "usage")
        return None
    if not published.n:
        raise InputError(f"{published.name} holds no picture.", "usage")
    source, labels = published.source, published.labels
    return _Found(
        published.name,
        published.n,
        lambda chosen: SourcePictures(source, chosen),
        None if labels is None else tuple(published.class_names[i] for i in labels.tolist()),
        published.notes,
        published.left_out,
        published.class_names,
        labels,
        getattr(source, "blocks", None),  # of files and records there is none
        getattr(source, "window", WINDOW),
    )


def _taker(files: FolderFiles | TableFiles) -> Callable[[NDArray[np.int64]], Pictures]:
    """Makes pictures of chosen files."""

    def take(chosen: NDArray[np.int64]) -> Pictures:
        if len(chosen) == len(files.paths):
            return FilePictures(files.paths, files.names)
        if isinstance(files, TableFiles):
            return FilePictures(files.paths.take(chosen), files.names.take(chosen))
        numbers = chosen.tolist()
        return FilePictures([files.paths[i] for i in numbers], [files.names[i] for i in numbers])

    return take


def _map(
    listing: _Found, label_set: LabelSet | None
) -> tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Labels [N], class names, numbers of the pictures to keep, notes."""
    everything = np.arange(listing.n)
    if listing.texts is None:
        class_names = label_set.class_names if label_set else ()
        return np.full(len(everything), -1, np.int64), class_names, everything, ()
    if label_set is None:
        if listing.numbers is not None:
            return listing.numbers, listing.class_names, everything, ()
        distinct = set(listing.texts)
        numeric = all(text.isdecimal() for text in distinct)
        class_names = tuple(sorted(distinct, key=int) if numeric else sorted(distinct))
        places = {text: index for index, text in enumerate(class_names)}
        return np.array([places[text] for text in listing.texts]), class_names, everything, ()
    mapping = map_labels(listing.texts, label_set)
    if listing.numbers is not None and len(listing.class_names) == len(label_set.class_names):
        known = (mapping.labels >= 0) & ~np.isin(listing.texts, mapping.ambiguous)
        if (mapping.labels[known] == listing.numbers[known]).all():
            note = (
                f"The label set {label_set.name} has as many classes as {listing.name} and some "
                "have other names: the labels are taken by their numbers"
            )
            by_number = (note,) if mapping.unmatched else _numbered(listing, label_set)
            return listing.numbers, label_set.class_names, everything, by_number
    keep = np.flatnonzero(mapping.labels >= 0)
    if not len(keep):
        raise _none_match(listing.name, mapping.unmatched, label_set)
    notes = list(_numbered(listing, label_set))
    if mapping.unmatched:
        notes.append(_unmatched(mapping.unmatched, Counter(listing.texts), label_set))
    if mapping.ambiguous:
        notes.append(
            f"The label set {label_set.name} has two classes of the name "
            f"{' and of the name '.join(mapping.ambiguous)}; the first one is taken"
        )
    return mapping.labels, label_set.class_names, keep, tuple(notes)


def _numbered(listing: _Found, label_set: LabelSet) -> tuple[str, ...]:
    """Note that labels without names are taken as positions: another order would be wrong."""
    texts = set(listing.texts or ())
    named = any(name.isdecimal() for name in (*label_set.class_names, *label_set.ids))
    if named or not texts or not all(text.isdecimal() for text in texts):
        return ()
    low, *_, high = sorted([*texts, *texts], key=lambda text: (len(text), text))
    return (
        f"The labels of {listing.name} are numbers, {low[:20]} to {high[:20]}: they are taken as "
        f"positions from 0 on in the label set {label_set.name}, which has "
        f"{len(label_set.class_names)} classes",
    )


def _unmatched(names: Sequence[str], counts: Counter[str], label_set: LabelSet) -> str:
    """Note the labels that the label set lacks, with their numbers of pictures."""
    listed = [f"{name} (on {counts[name]})" for name in names]
    return summary(f"Left out, a label that the label set {label_set.name} lacks", listed)


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

    The SHA-256 is of what `Pictures.raw` gives: of a file, the file; of a packed set, the bytes in
    it; of the demo, the words from which a picture is composed. A picture that cannot be read has
    none, and 0 bytes. Digests of files that are known from before are not computed again.

    Parameters
    ----------
    images
        The set.
    watch
        Is told how far it is, and may end it.
    """
    return to_csv(_rows(images, watch)).encode()


def what_is_hashed(images: ImageSet) -> str:
    """What the SHA-256 of a picture is taken of, in a few words."""
    if isinstance(images.pictures, DemoPictures):
        return "the split, seed and number that the program composes it from"
    if isinstance(images.pictures, FilePictures):
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
    if isinstance(pictures, FilePictures):
        yield from _file_digests(pictures)
        return
    for index in range(len(pictures)):
        raw = b""
        with suppress(InputError):
            raw = pictures.raw(index)
        yield (hashlib.sha256(raw).hexdigest(), len(raw)) if raw else ("", 0)


def _file_digests(pictures: FilePictures) -> Iterator[tuple[str, int]]:
    learner, paths = Learner(), pictures.paths
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
