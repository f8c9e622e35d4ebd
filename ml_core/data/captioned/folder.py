"""Pairs of a folder: pictures with text files of the same name beside them, a caption a line."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ml_core.data.captioned.source import FilePairs, FoundPairs, named_folder, one_line
from ml_core.data.known_files import stays_inside
from ml_core.data.pictures import SkipCount, printable
from ml_core.data.table_files import PackedPaths, PackedTexts
from ml_core.data.watch import Watch, watched
from ml_core.reading.errors import InputError
from ml_core.reading.images import IMAGE_SUFFIXES
from ml_core.reading.regular_file import open_regular

TEXT_SUFFIXES = (".txt", ".caption")
_MAX_TEXT = 1 << 20
_MAX_LINES = 1000


def open_folder(folder: Path, watch: Watch) -> FoundPairs:
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
    source = FilePairs(PackedPaths(root, below), below, texts, np.array(ends, np.int64))
    return FoundPairs(title, source, notes, sum(tally.count for tally in tallies))


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
