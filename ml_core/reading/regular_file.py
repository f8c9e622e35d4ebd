"""Open a file once, and only if it is a plain file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.errors import InputError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: Path) -> tuple[BinaryIO, int]:
    """Open for reading and return the file with its size in bytes.

    Never waits for a pipe's other end and never opens a device.

    Raises
    ------
    InputError
        ``unsupported`` if it is no regular file, ``usage`` if it may not be read.
    """
    try:
        _check_kind(path, os.stat(path).st_mode)
        # O_NONBLOCK: should a pipe have taken the file's place since, this returns at once.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "usage") from None
    try:
        found = os.fstat(descriptor)
        _check_kind(path, found.st_mode)
    except InputError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb"), found.st_size


def _check_kind(path: Path, mode: int) -> None:
    """Refuse what is no regular file."""
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise InputError(f"{path.name} is {kind} and not a checkpoint file.", "unsupported")
