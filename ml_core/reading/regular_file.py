"""Open a file once, and only if it is a plain file."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TextIO

from ml_core.reading.errors import InputError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))


class NotRegularError(OSError):
    """A folder, a pipe, a socket or a device lies where a file should; ``kind`` says which."""

    def __init__(self, path: Path, mode: int) -> None:
        self.kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        super().__init__(number, f"it is {self.kind}", str(path))


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Whatever lies there, this returns at once: `open` waits for a pipe's other end, and some devices
    act when they are opened. All that reads a path from outside the program opens it here.

    Raises
    ------
    NotRegularError
        If it is no regular file.
    OSError
        If there is none, or it may not be opened.
    """
    return os.fdopen(_descriptor(path, os.O_RDONLY), "rb")


def open_text(path: Path) -> TextIO:
    """As `open_file`, for UTF-8; what is none becomes U+FFFD."""
    return TextIOWrapper(open_file(path), "utf-8", "replace")


def append_text(path: Path) -> TextIO:
    """Open a regular file to write lines at its end, each at once; it is made if there is none.

    Raises as `open_file`.
    """
    descriptor = _descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return os.fdopen(descriptor, "a", 1, encoding="utf-8")


def read_file(path: Path, most: int = -1) -> bytes:
    """The first ``most`` bytes of a regular file, or all of them; raises as `open_file`."""
    with open_file(path) as file:
        return file.read(most)


def open_regular(path: Path) -> tuple[BufferedReader, int]:
    """As `open_file` for reading, with the file's size in bytes.

    Raises
    ------
    InputError
        ``unsupported`` if it is no regular file, ``usage`` if it may not be read.
    """
    try:
        file = open_file(path)
    except NotRegularError as error:
        raise InputError(
            f"{path.name} is {error.kind}; choose a regular file.", "unsupported"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "usage") from None
    return file, os.fstat(file.fileno()).st_size


def _descriptor(path: Path, access: int) -> int:
    """Open a regular file."""
    try:
        _check_kind(path, os.stat(path).st_mode)
    except FileNotFoundError:
        if not access & os.O_CREAT:
            raise
    # O_NONBLOCK: should a pipe have taken the file's place since, this returns at once.
    descriptor = os.open(path, access | _FLAGS, 0o666)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(path: Path, mode: int) -> None:
    """Refuse what is no regular file."""
    if not stat.S_ISREG(mode):
        raise NotRegularError(path, mode)
