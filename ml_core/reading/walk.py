"""Find what may be a checkpoint below some paths, one after the other."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.errors import InputError, SeveralError
from ml_core.reading.folder import ForeignFolderError, list_folder, read_index
from ml_core.reading.regular_file import open_file
from ml_core.reading.sniff import CHECKPOINT_SUFFIXES, ONNX_ENDING, may_be_model

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

    @property
    def left_out(self) -> tuple[tuple[int, str], ...]:
        """How many were left out, and why."""
        return (
            (self.passed_over, "without the name or the first bytes of a checkpoint"),
            (self.not_followed, "not followed: a link or a special file"),
        )


def walk(paths: Iterable[Path], tally: Tally) -> Iterator[Path]:
    """Yield the files and checkpoint folders at and below some paths.

    A path that was given is yielded whatever it is, unless it is a folder that is no checkpoint:
    then what lies below it is, as far as its name or its first bytes are those of a checkpoint.
    After a folder that is one come the files that may be another and that its examination leaves
    out. Links in folders are not followed. A path with ``*``, ``?`` or ``[`` where nothing lies is
    a pattern; ``**`` stands for folders at any depth. Nothing is collected: a folder may hold a
    million files.
    """
    for path in paths:
        text = os.path.expanduser(path)
        matches: Iterable[str] = (text,)
        if glob.has_magic(text) and not os.path.lexists(text):
            matches = glob.iglob(text, recursive=True, include_hidden=True)
        place = None
        for place in matches:
            if os.path.isdir(place):
                yield from _below(place, tally)
            else:
                tally.files += 1
                yield Path(place)
        if place is None:
            yield path  # nothing matches, which its examination says


def is_one(folder: Path) -> bool:
    """Whether a folder is a checkpoint, and nothing else that may be one lies in it."""
    found = walk([folder], Tally())
    return next(found, None) == folder and next(found, None) is None


def files_read(folder: Path) -> frozenset[str] | None:
    """Names of what the examination of a checkpoint's folder reads; None of a collection.

    Of a folder with several checkpoints they are those, each a folder; of another program's model
    nothing is read.
    """
    try:
        files = list_folder(folder)
    except SeveralError as error:
        return frozenset(error.members)
    except ForeignFolderError:
        return frozenset()
    except InputError:
        return None
    read = {path.name for path in (files.config, files.weights, files.preprocessor) if path}
    if files.sharded:
        with suppress(InputError):  # which its examination says
            read |= read_index(files.weights, files.weights.name).keys()
    return frozenset(read)


def _below(folder: str, tally: Tally) -> Iterator[Path]:
    """What lies in a folder and below it, in the order of the disk."""
    folders, members = [folder], set[str]()
    while folders:
        place = folders.pop()
        read = files_read(Path(place))
        if read is not None and place not in members:
            tally.files += 1
            yield Path(place)
        try:
            entries = os.scandir(place)
        except OSError:
            yield Path(place)  # its examination says why it cannot be read
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    if entry.name in (read or ()):
                        members.add(entry.path)
                elif entry.name in (read or ()):
                    continue
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
    """Read a list of paths as it comes; blank entries are left out, and the end of lines of DOS.

    Raises
    ------
    InputError
        If an entry is longer than any path, or holds a zero byte.
    """
    rest = b""
    while chunk := file.read1(_LONGEST_PATH):  # type: ignore[attr-defined]
        *entries, rest = (rest + chunk).split(separator)
        if len(rest) > _LONGEST_PATH:
            raise InputError("The list of paths has an entry that is longer than any path.")
        yield from _paths(entries, separator)
    yield from _paths([rest], separator)


def _paths(entries: Iterable[bytes], separator: bytes) -> Iterator[Path]:
    for entry in entries:
        if b"\0" in entry:
            raise InputError("The list of paths has zero bytes between: give -0.")
        if name := entry.removesuffix(b"\r") if separator == b"\n" else entry:
            yield Path(os.fsdecode(name))
