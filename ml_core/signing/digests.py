"""The SHA-256 of what is signed: a file, the files of a folder, the members of a stored zip."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.folder import check_link
from ml_core.reading.json_file import short
from ml_core.reading.plain import plain
from ml_core.reading.regular_file import open_regular
from ml_core.reading.zip_members import STORED, Member, ZipError, zip_members
from ml_core.signing.manifest import MAX_FILES

UNSIGNED = (".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface")
"""What git and the Hub's downloader leave in a folder: no part of a model."""
_MAX_DEPTH = 32
_CHUNK = 1 << 20


def never() -> bool:
    """Work that nobody cancels."""
    return False


def digest_of_file(path: Path, cancelled: Callable[[], bool] = never) -> str:
    """SHA-256 of a regular file, in hex.

    Raises
    ------
    InputError
        If it cannot be read, or changed meanwhile.
    CancelledError
        If ``cancelled`` turned true.
    """
    file, size = open_regular(path)
    with file:
        before = os.fstat(file.fileno())
        digest = _digest(file, size + 1, cancelled)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError(f"{plain(path.name)} changed while it was read; try again.", "damaged")
    return digest


def names_of_folder(
    folder: Path, left_out: Collection[str] = UNSIGNED, *, links: bool = False
) -> tuple[str, ...]:
    """Names of all files below a folder, with ``/`` between.

    Parameters
    ----------
    left_out
        Files, and folders with all that is in them, that are not listed.
    links
        Whether links to files of the folder, or of the same repository in a Hugging Face cache,
        are taken for files. The specification has none.

    Raises
    ------
    InputError
        If there is a link that may not be, something that is no file, or too much.
    """
    names: list[str] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as entries:
                found = list(entries)
        except OSError as error:
            raise InputError(f"{folder / inside} cannot be read: {error.strerror}.") from None
        for entry in found:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if is_below(name, left_out):
                continue
            if entry.is_symlink():
                if not links or entry.is_dir():
                    raise InputError(
                        f"{folder.name}/{short(name)} is a link, which a signature does not cover; "
                        "put the file itself there."
                    )
                check_link(folder, folder / name)
            elif entry.is_dir():
                if name.count("/") >= _MAX_DEPTH:
                    raise InputError(f"{folder.name} has folders nested too deeply.", "unsupported")
                waiting.append(name)
                continue
            names.append(name)
            if len(names) + len(waiting) > MAX_FILES:
                raise InputError(
                    f"{folder.name} holds more than {MAX_FILES} files; choose the folder of one "
                    "checkpoint.",
                    "unsupported",
                )
    return tuple(sorted(names))


def digests_of_folder(
    folder: Path,
    names: Collection[str],
    known: Mapping[str, str] | None = None,
    cancelled: Callable[[], bool] = never,
) -> dict[str, str]:
    """SHA-256 of files of a folder by name; ``known`` ones are not read again."""
    known = known or {}
    return {name: known.get(name) or digest_of_file(folder / name, cancelled) for name in names}


def is_below(name: str, places: Collection[str]) -> bool:
    """Whether a name is one of some files, or lies in one of some folders."""
    return any(name == place or name.startswith(f"{place.rstrip('/')}/") for place in places)


def stored_members(file: BinaryIO, size: int, label: str) -> dict[str, Member]:
    """The files in an open zip whose members are stored, by name.

    Raises
    ------
    InputError
        ``damaged`` if it is no zip that can be read in one way only.
    """
    try:
        members = zip_members(file, size)
    except ZipError as error:
        raise InputError(f"{label} is a damaged zip: {error}; {error.advice}.", "damaged") from None
    files = {member.name: member for member in members if not member.name.endswith("/")}
    for name, member in files.items():
        if member.method != STORED:
            raise InputError(
                f"{label} packs its member {short(name)!r}; a bundle stores its files as they are.",
                "unsupported",
            )
    return files


def digest_of_member(file: BinaryIO, member: Member, cancelled: Callable[[], bool] = never) -> str:
    """SHA-256 of a stored member, in hex."""
    file.seek(member.offset)
    return _digest(file, member.size, cancelled)


def _digest(file: BinaryIO, most: int, cancelled: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    while most > 0 and (chunk := file.read(min(most, _CHUNK))):
        if cancelled():
            raise CancelledError
        digest.update(chunk)
        most -= len(chunk)
    return digest.hexdigest()
