"""Find what may be a checkpoint below some paths, one after the other."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.archived_checkpoint import CHECKPOINT_SUFFIXES
from ml_core.reading.errors import InputError, SeveralError
from ml_core.reading.folder import ForeignFolderError, list_folder
from ml_core.reading.regular_file import open_file
from ml_core.reading.sniff import ONNX_ENDING, may_be_model

_HEAD = 512
_LONGEST_PATH = 1 << 16


@dataclass
class Tally:
    """What a walk met so far.

    Parameters
    ----------
    files
        Files that were looked at.
    passed_over
        Those of them that are no checkpoint by their name and their first bytes.
    not_followed
        Links, pipes, sockets and devices in folders.
    """

    files: int = 0
    passed_over: int = 0
    not_followed: int = 0


def walk(paths: Iterable[Path], tally: Tally) -> Iterator[Path]:
    """Yield the files and checkpoint folders at and below some paths.

    A path that was given is yielded whatever it is, unless it is a folder that `is_one` denies:
    then what lies below it is, as far as its name or its first bytes are those of a checkpoint.
    Links in it are not followed. A path with ``*``, ``?`` or ``[`` where nothing lies is a pattern;
    ``**`` stands for folders at any depth. Nothing is collected: a folder may hold a million files.
    """
    for path in paths:
        text = os.path.expanduser(path)
        matches: Iterable[str] = (text,)
        if glob.has_magic(text) and not os.path.lexists(text):
            matches = glob.iglob(text, recursive=True, include_hidden=True)
        place = None
        for place in matches:
            if os.path.isdir(place) and not is_one(Path(place)):
                yield from _below(place, tally)
            else:
                tally.files += 1
                yield Path(place)
        if place is None:
            yield path  # nothing matches, which its examination says


def is_one(folder: Path) -> bool:
    """Whether a folder is one checkpoint, or is another program's model, and no collection."""
    try:
        list_folder(folder)
    except (SeveralError, ForeignFolderError):
        return True
    except InputError:
        return False
    return True


def _below(folder: str, tally: Tally) -> Iterator[Path]:
    """What lies in a folder and below it, in the order of the disk."""
    folders = [folder]
    while folders:
        place = folders.pop()
        try:
            entries = os.scandir(place)
        except OSError:
            yield Path(place)  # its examination says why it cannot be read
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if is_one(Path(entry.path)):
                        tally.files += 1
                        yield Path(entry.path)
                    else:
                        folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    tally.not_followed += 1
                elif is_candidate(Path(entry.path), tally):
                    yield Path(entry.path)


def is_candidate(file: Path, tally: Tally) -> bool:
    """Whether a regular file is a checkpoint by its name or its first bytes, or cannot be read."""
    tally.files += 1
    if file.name.lower().endswith((*CHECKPOINT_SUFFIXES, ONNX_ENDING)):
        return True
    try:
        with open_file(file) as opened:
            if may_be_model(opened.read(_HEAD)):
                return True
    except OSError:
        return True
    tally.passed_over += 1
    return False


def listed(file: BinaryIO, separator: bytes = b"\n") -> Iterator[Path]:
    """Read a list of paths as it comes; blank entries are left out.

    Raises
    ------
    InputError
        If an entry is longer than any path.
    """
    rest = b""
    while chunk := file.read1(_LONGEST_PATH):  # type: ignore[attr-defined]
        *entries, rest = (rest + chunk).split(separator)
        if len(rest) > _LONGEST_PATH:
            raise InputError("The list of paths has an entry that is longer than any path.")
        yield from (Path(os.fsdecode(entry)) for entry in entries if entry)
    if rest:
        yield Path(os.fsdecode(rest))
