"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

Content = bytes | Callable[[BinaryIO], Any]


class HalfReplacedError(OSError):
    """Moving failed after some of the files were replaced."""


def replace_files(files: Mapping[Path, Content]) -> None:
    """Write files beside their places, make them durable, then move them there in this order.

    A killed process leaves a hidden ``.part`` file at most, which the next save writes over.

    Parameters
    ----------
    files
        Place, in a folder that is there, and what to write: bytes, or what writes them.

    Raises
    ------
    HalfReplacedError
        If a move failed after another was done.
    OSError
        If the disk is full or a place cannot be written; what was there is intact.
    """
    parts = {place: place.with_name(f".{place.name}.part") for place in files}
    moved = 0
    try:
        for place, content in files.items():
            with suppress(FileNotFoundError):  # opened, a pipe would wait and a link lead elsewhere
                parts[place].unlink()
            with open(parts[place], "xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
        for place, part in parts.items():
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
