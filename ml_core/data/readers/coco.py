"""Pairs of a COCO captions file (Chen et al. 2015), with the pictures in a folder."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.pictures import SkipCount
from ml_core.data.readers.samples import FileReader, Samples, checked
from ml_core.data.table_files import PackedPaths, PackedTexts
from ml_core.data.watch import Watch, watched
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.strict_json import JsonError, iter_lists
from ml_core.reading.tables import resolver

MAX_BYTES = 8 << 30
_TRIED = 50


def open_coco(path: Path, pictures: Path | None, watch: Watch) -> Samples:
    """Open a captions file; a picture has all captions that name it, in the file's order.

    Parameters
    ----------
    path
        The JSON, ``captions_train2017.json`` as it comes, or the folder whose ``annotations`` hold
        one.
    pictures
        Folder of the pictures; None looks for ``train2017`` and ``images`` beside.

    Raises
    ------
    InputError
        If the file is damaged or no captions file, or no picture is there.
    """
    path = captions_file(path)
    try:
        ids, names, owners, texts, bad = _read(path, watch)
    except JsonError as error:
        raise InputError(f"{path.name} is no COCO captions file: {error}.", "damaged") from None
    folder = _folder(path, pictures, names)
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    if len(ranked) and (ranked[1:] == ranked[:-1]).any():
        raise InputError(f"{path.name} lists an image's id twice; get it again.", "damaged")
    place = np.minimum(np.searchsorted(ranked, owners), max(0, len(ranked) - 1))
    known = ranked[place] == owners if len(ranked) else np.zeros(len(owners), bool)
    lost = SkipCount("Left out, a caption of a picture that is not listed")
    for owner in owners[~known].tolist():
        lost.add(f"image_id {owner}")
    image = np.where(known, order[place], len(ids)) if len(ids) else np.zeros(len(owners), np.int64)
    by_image = np.argsort(image, kind="stable")[: int(known.sum())]  # captions, image by image
    counts = np.bincount(image[known], minlength=len(ids))
    return _paired(path, folder, names, texts, by_image, counts, (bad, lost), watch)


def captions_file(path: Path) -> Path:
    """The JSON itself, or the one in ``annotations`` of a folder.

    Raises
    ------
    InputError
        ``usage`` if there is no such file, or if there are several and not one is for training.
    """
    if not path.is_dir():
        return path
    files = sorted((path / "annotations").glob("captions_*.json"))
    training = [file for file in files if "train" in file.name]
    if len(files) == 1 or len(training) == 1:
        return (training or files)[0]
    raise InputError(
        f"{path.name} has {len(files)} captions files in annotations; choose one of them.", "usage"
    )


def _read(
    path: Path, watch: Watch
) -> tuple[NDArray[np.int64], PackedTexts, NDArray[np.int64], PackedTexts, SkipCount]:
    """Ids and file names of images; image ids and texts of captions; bad captions."""
    ids, owners = array("q"), array("q")
    names, texts = PackedTexts(), PackedTexts()
    bad = SkipCount("Left out, a bad caption")
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 30} GB.", "unsupported")
        entries = iter_lists(file, ("images", "annotations"))
        for kind, entry in watched(entries, watch, "Reading captions"):
            if kind == "images":
                name = entry.get("file_name")
                if not isinstance(name, str):
                    raise JsonError("an image has no file_name")
                ids.append(_number(entry, "id"))
                names.append(name)
                continue
            owner = _number(entry, "image_id")
            try:
                texts.append(checked(entry.get("caption")))
                owners.append(owner)
            except ValueError as error:
                bad.add(f"annotation of image {owner}: {error}")
    if not len(names) or not len(texts):
        what = "images" if not len(names) else "annotations with captions"
        raise JsonError(f"it lists no {what}")
    return np.array(ids, np.int64), names, np.array(owners, np.int64), texts, bad


def _number(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**62) < value < 2**62:
        raise JsonError(f"an entry has no whole number as its {key}")
    return value


def _folder(path: Path, pictures: Path | None, names: PackedTexts) -> Path:
    """Where the pictures are."""
    if pictures is not None:
        if not pictures.is_dir():
            raise InputError(f"There is no folder of pictures at {pictures}.", "usage")
        return pictures
    split, here = path.stem.rpartition("_")[2], path.parent
    tried = [
        outer / name
        for outer in (here, here.parent)
        for name in (split, f"images/{split}", "images", "")
    ]
    for folder in tried:
        if folder.is_dir() and any(_there(folder, name) for name in names[:_TRIED]):
            return folder
    raise InputError(
        f"None of the pictures of {path.name} is found: not in the folders {split} and images "
        "beside it or one level up; give the folder of the pictures.",
        "usage",
    )


def _there(folder: Path, name: str) -> bool:
    """Whether a picture is in a folder."""
    try:
        return resolver(folder)(name).is_file()
    except InputError:
        return False


def _paired(
    path: Path,
    folder: Path,
    names: PackedTexts,
    texts: PackedTexts,
    by_image: NDArray[np.int64],
    counts: NDArray[np.int64],
    tallies: tuple[SkipCount, ...],
    watch: Watch,
) -> Samples:
    """Images that are there with their captions."""
    root = os.path.realpath(folder)
    resolve = resolver(root)
    below, captions, ends = PackedTexts(), PackedTexts(), array("q")
    silent = SkipCount("Left out, a picture without a caption")
    missing = SkipCount("Left out, a missing picture")
    forbidden = SkipCount("Left out, a bad path")
    start = 0
    watched_counts = watched(counts.tolist(), watch, "Looking for pictures", len(names))
    for number, count in enumerate(watched_counts):
        own, start = by_image[start : start + count], start + count
        name = names[number]
        if not count:
            silent.add(repr(name[:80]))
            continue
        try:
            file = resolve(name)
        except InputError as error:
            forbidden.add(error.sentence.rstrip("."))
            continue
        if not os.path.isfile(file):
            missing.add(repr(name[:80]))
            continue
        for caption in own.tolist():
            captions.append(texts[caption])
        ends.append(len(captions))
        below.append(os.path.relpath(file, root))
    left = (*tallies, silent, missing, forbidden)
    notes = tuple(note for tally in left for note in tally.notes)
    if not ends:
        raise InputError(
            f"No picture of {path.name} can be used; look whether {folder.name} holds them.",
            "usage",
            details="\n".join(notes),
        )
    reader = FileReader(PackedPaths(Path(root), below), below, captions, np.array(ends, np.int64))
    return Samples(path.name, reader, notes, sum(tally.count for tally in left))
