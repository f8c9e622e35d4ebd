"""Files that are replaced whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

Content = bytes | Callable[[BinaryIO], Any]
_ABANDONED_SECONDS = 3600  # since the last byte of a part that nobody moved


class HalfReplacedError(OSError):
    """Moving failed after some of the files were replaced."""


def replace_files(files: Mapping[Path, Content], keep: Mapping[Path, Path] | None = None) -> None:
    """Write files beside their places, make them durable, then move them there in this order.

    Several processes may write the same files at once: each writes its own parts, and the last to
    move them wins. A killed process leaves hidden ``.part`` files at most. A save of the same file
    takes them away once they are an hour old.

    Parameters
    ----------
    files
        Place, in a folder that is there, and what to write: bytes, or what writes them.
    keep
        Place to where its old file is kept, beside it.

    Raises
    ------
    HalfReplacedError
        If a move failed after another was done.
    OSError
        If the disk is full or a place cannot be written; what was there is intact.
    """
    own = secrets.token_hex(4)
    parts = {place: place.with_name(f".{place.name}.{own}.part") for place in files}
    moved = 0
    try:
        for place, content in files.items():
            with open(parts[place], "xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
                _clear_abandoned(place, os.fstat(file.fileno()).st_mtime)
        for place, part in parts.items():
            if keep and place in keep:
                _keep(place, keep[place], own)
            os.replace(part, place)
            moved += 1
    except OSError as error:
        if moved:
            raise HalfReplacedError(error.errno, error.strerror, error.filename) from error
        raise
    finally:
        for part in parts.values():
            with suppress(OSError):  # moved, or its folder is no folder at all
                part.unlink()
    for folder in {place.parent for place in files}:
        _sync_folder(folder)


def _keep(place: Path, other: Path, own: str) -> None:
    """Give a file a second name; where the disk can, it keeps its own until it is replaced."""
    link = other.with_name(f".{other.name}.{own}.part")
    try:
        os.link(place, link)
        os.replace(link, other)
    except FileNotFoundError:
        return
    except OSError:  # a disk without links
        os.replace(place, other)
    finally:
        with suppress(OSError):  # both were names of one file: then nothing was moved
            link.unlink()


def _clear_abandoned(place: Path, now: float) -> None:
    """Remove what killed processes left of a file; ``now`` is by the clock of the file's disk."""
    name = f".{glob.escape(place.name)}"
    for pattern in (f"{name}.part", f"{name}.{'?' * 8}.part"):  # the first by earlier versions
        for part in place.parent.glob(pattern):
            with suppress(OSError):
                if now - part.lstat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink()


def _sync_folder(path: Path) -> None:
    """Make renames durable, where the system can."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
