"""Folders of pictures: a folder per class, unlabelled, or with a text file beside each picture."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ml_core.data.known_files import stays_inside
from ml_core.data.pictures import SkipCount, summary
from ml_core.data.readers.samples import FileReader, Samples, named_folder, one_line
from ml_core.data.table_files import PackedPaths, PackedTexts
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError, printable
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.regular_file import open_regular

TEXT_SUFFIXES = (".txt", ".caption")
_MAX_TEXT = 1 << 20
_MAX_LINES = 1000
_MAX_FILES = 5_000_000


@dataclass
class _Walked:
    """What a walk has come upon, by the reason to leave it out."""

    files: list[tuple[str, str, str]] = field(default_factory=list)  # path, name, class
    foreign: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def list_folder(folder: Path, watch: Watch = unwatched) -> Samples:
    """List the pictures of a folder, by name, in a fixed order.

    Hidden files are passed over. Files of other kinds, links that lead out of the folder, linked
    and unreadable folders, and pictures that lie beside class folders are left out and named in
    ``notes``.

    Raises
    ------
    InputError
        ``usage`` if the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder.name} does not exist or is not a folder.", "usage")
    root = os.path.realpath(folder)
    listing = _sorted_out(root, folder.name, watch)
    if not listing.files:
        raise InputError(
            f"{folder.name} holds no PNG, JPEG, WebP, GIF or BMP picture; choose another folder.",
            "usage",
        )
    labelled = any(label for _, _, label in listing.files)
    loose = [name for _, name, label in listing.files if labelled and not label]
    pictures = [file for file in listing.files if file[2] or not labelled]
    notes = (
        ("Left out, no picture by its name", listing.foreign),
        ("Left out, a link out of the folder or to a folder", listing.links),
        ("Left out, a folder that cannot be read", listing.unreadable),
        ("Left out, a picture beside the class folders", loose),
    )
    start = len(os.path.join(root, ""))  # the walk began there: no path needs `relpath`
    below = PackedTexts(path[start:] for path, _, _ in pictures)
    names = PackedTexts(name for _, name, _ in pictures)
    return Samples(
        folder.name,
        FileReader(PackedPaths(Path(root), below), names),
        tuple(summary(what, items) for what, items in notes if items),
        len(listing.links) + len(listing.unreadable) + len(loose),
        texts=tuple(label for _, _, label in pictures) if labelled else None,
    )


def _sorted_out(root: str, title: str, watch: Watch) -> _Walked:
    """Sort everything below the root."""
    listing = _Walked()

    def note(error: OSError) -> None:
        listing.unreadable.append(printable(os.path.relpath(error.filename or root, root)))

    for where, folders, files in os.walk(root, onerror=note):
        inside = os.path.relpath(where, root)
        shown = [name for name in folders if not name.startswith(".")]
        linked = {name for name in shown if os.path.islink(os.path.join(where, name))}
        listing.links += [_below(inside, name) for name in sorted(linked)]
        folders[:] = sorted(name for name in shown if name not in linked)
        label = "" if inside == "." else printable(inside.split(os.sep)[0])
        names = sorted(name for name in files if not name.startswith("."))
        for name in watched(names, watch, "Listing files"):
            path = os.path.join(where, name)
            if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                listing.foreign.append(_below(inside, name))
            elif os.path.islink(path) and not os.path.realpath(path).startswith(root + os.sep):
                listing.links.append(_below(inside, name))
            elif not os.path.isfile(path):
                listing.foreign.append(_below(inside, name))
            else:
                listing.files.append((path, _below(inside, name), label))
        if len(listing.files) > _MAX_FILES:
            raise InputError(f"{title} holds over {_MAX_FILES:,} pictures.", "unsupported")
    return listing


def _below(inside: str, name: str) -> str:
    """Path below the root, for messages."""
    return printable(os.path.normpath(os.path.join(inside, name)))


def open_folder(folder: Path, watch: Watch) -> Samples:
    """Open a folder, subfolders and all, in the order of the names.

    Hidden files are passed over. Pictures without a text file, damaged or empty text files, and
    links that lead out of the folder are left out and counted.

    Raises
    ------
    InputError
        ``usage`` if it is no folder or holds no picture with a text.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder.name} does not exist or is not a folder.", "usage")
    root = Path(os.path.realpath(folder))
    title = named_folder(folder)
    below, texts, ends = PackedTexts(), PackedTexts(), array("q")
    alone = SkipCount("Left out, a picture without a text file")
    links = SkipCount("Left out, a link out of the folder or to a folder")
    bad = SkipCount("Left out, a bad text file")
    closed = SkipCount("Left out, a folder that cannot be read")
    for picture, text in watched(_walk(root, links, closed), watch, "Reading text files"):
        name = printable(picture)
        if text is None:
            alone.add(name)
            continue
        if any(_leads_out(root, file) for file in (picture, text)):
            links.add(name)
            continue
        try:
            lines = _lines(root / text)
        except ValueError as error:
            bad.add(f"{printable(text)}: {error}")
            continue
        for line in lines:
            texts.append(line)
        ends.append(len(texts))
        below.append(picture)
    tallies = (alone, links, bad, closed)
    notes = tuple(note for tally in tallies for note in tally.notes)
    if not ends:
        raise InputError(
            f"{title} holds no picture (PNG, JPEG, WebP, GIF, BMP) with a text file of its name "
            "beside it; choose another folder.",
            "usage",
            details="\n".join(notes),
        )
    reader = FileReader(PackedPaths(root, below), below, texts, np.array(ends, np.int64))
    return Samples(title, reader, notes, sum(tally.count for tally in tallies))


def _walk(root: Path, links: SkipCount, closed: SkipCount) -> Iterator[tuple[str, str | None]]:
    """Each picture with its text file, both below the root, folder by folder."""

    def note(error: OSError) -> None:
        closed.add(printable(os.path.relpath(error.filename or root, root)))

    for where, folders, files in os.walk(root, onerror=note):
        inside = os.path.relpath(where, root)
        shown = sorted(name for name in folders if not name.startswith("."))
        linked = [name for name in shown if os.path.islink(os.path.join(where, name))]
        for name in linked:
            links.add(printable(os.path.normpath(os.path.join(inside, name))))
        folders[:] = [name for name in shown if name not in linked]
        there = set(files)
        for name in sorted(files):
            stem, ending = os.path.splitext(name)
            if name.startswith(".") or ending.lower() not in IMAGE_SUFFIXES:
                continue
            text = next((stem + end for end in TEXT_SUFFIXES if stem + end in there), None)
            picture = os.path.normpath(os.path.join(inside, name))
            yield picture, None if text is None else os.path.normpath(os.path.join(inside, text))


def _leads_out(root: Path, below: str) -> bool:
    path = root / below
    return path.is_symlink() and not stays_inside(root, path)


def _lines(path: Path) -> list[str]:
    """Captions of a text file.

    Raises
    ------
    ValueError
        With half a sentence.
    """
    try:
        file, size = open_regular(path)
        with file:
            raw = file.read(_MAX_TEXT + 1)
    except InputError as error:
        raise ValueError(error.sentence.rstrip(".")) from None
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from None
    if max(size, len(raw)) > _MAX_TEXT:
        raise ValueError("it is larger than 1 MB")
    rows = [row for row in raw.splitlines() if row.strip()]
    if not rows:
        raise ValueError("it is empty")
    if len(rows) > _MAX_LINES:
        raise ValueError(f"it has over {_MAX_LINES} lines")
    return [one_line(row) for row in rows]
