"""Open a file once, and only if it is a plain file that lies where it should."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from ml_core.reading.errors import InputError, damaged, unsupported
from ml_core.reading.strict_json import JsonError, parse_object

MAX_SIZE = 1 << 40  # of a checkpoint, or of a file with its tensors
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """A folder, a pipe, a socket or a device lies where a file should; ``kind`` says which."""

    def __init__(self, path: Path, mode: int) -> None:
        self.kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        super().__init__(number, f"it is {self.kind}", str(path))


class LinkOutError(OSError):
    """A link leads out of the folder that it lies in, which somebody else may have filled."""

    def __init__(self, path: Path) -> None:
        words = "it is a link to a file outside its folder, which is not followed"
        super().__init__(errno.ELOOP, words, str(path))


class _Told(FileIO):
    """A file whose reading also fails with a sentence, as on a broken disk or in ``/proc``."""

    path: Path

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise _unreadable(self.path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or "the name is not valid"
    return InputError(f"{path} cannot be read: {reason}.")


def open_file(path: Path, inside: Path | None = None) -> BufferedReader:
    """Open a regular file for reading.

    Whatever lies there, this returns at once: `open` waits for a pipe's other end, and some devices
    act when they are opened. All that reads a path from outside the program opens it here.

    Parameters
    ----------
    inside
        A folder that the file must lie in, also through links. It is given if the user chose a
        folder, perhaps a stranger's, instead of the file.

    Raises
    ------
    NotRegularError
        If it is not a regular file.
    LinkOutError
        If it lies elsewhere.
    OSError
        If the file is missing, or may not be opened.
    """
    if inside is not None and not lies_in(path, inside):
        raise LinkOutError(path)
    return os.fdopen(_descriptor(path, os.O_RDONLY), "rb")


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path leads to something below a folder when all links are followed."""
    try:
        root = os.path.realpath(folder)
        return os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep)
    except (OSError, ValueError):  # a link that leads to itself, a name that is none
        return False


def open_text(path: Path, inside: Path | None = None) -> TextIO:
    """As `open_file`, for UTF-8; other bytes become U+FFFD."""
    return TextIOWrapper(open_file(path, inside), "utf-8", "replace")


def iter_lines(
    path: Path, longest: int, most: int, most_lines: int, inside: Path | None = None
) -> Iterator[str]:
    """Lines of a text file, as `open_text` reads it, as far as it can be one.

    Parameters
    ----------
    longest
        Reading ends at the first line of more characters, since no honest file has one.
    most, most_lines
        Characters and lines after which it ends.

    Raises
    ------
    OSError
        As `open_file` does.
    """
    with open_text(path, inside) as file:
        for _ in range(most_lines):
            line = file.readline(longest + 1)
            if not line or len(line) > longest or most <= 0:
                return
            most -= len(line)
            yield line


def append_text(path: Path) -> TextIO:
    """Open a regular file, or create it, to append lines; each is written at once.

    Raises as `open_file`, also for a link: the file that is meant is the folder's own.
    """
    if path.is_symlink():
        raise LinkOutError(path)
    descriptor = _descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK)
    return os.fdopen(descriptor, "a", 1, encoding="utf-8")


def change_file(path: Path) -> FileIO:
    """Open a regular file to read and to write it in place.

    Raises as `open_file`, also for a link: the file that is meant is the folder's own.
    """
    if path.is_symlink():
        raise LinkOutError(path)
    return FileIO(_descriptor(path, os.O_RDWR | _NO_LINK), "r+b")


def read_file(path: Path, most: int = -1, inside: Path | None = None) -> bytes:
    """The first ``most`` bytes of a regular file, or all of them; raises as `open_file`."""
    with open_file(path, inside) as file:
        return file.read(most)


def open_regular(path: Path, inside: Path | None = None) -> tuple[BufferedReader, int]:
    """As `open_file` for reading, with the file's size in bytes.

    Raises
    ------
    InputError
        ``unsupported`` if it is not a regular file, ``usage`` if it may not be read; so does
        reading from it.
    """
    try:
        with open_file(path, inside) as opened:
            file = _Told(os.dup(opened.fileno()), "rb")
            file.path = path
    except NotRegularError as error:
        raise unsupported(f"{path.name} is {error.kind}; choose a regular file.") from None
    except LinkOutError as error:
        raise unsupported(
            f"{path.name} cannot be read: {error.strerror}; put the file itself there."
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return BufferedReader(file), os.fstat(file.fileno()).st_size


def read_object(path: Path, advice: str, most: int = 1 << 20) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint's folder; ``advice`` is for sentences.

    Raises
    ------
    InputError
        As `open_regular`, and ``damaged`` if it holds something else, or more bytes.
    """
    file, _ = open_regular(path)
    with file:
        raw = file.read(most + 1)
    try:
        return parse_object(raw, max_bytes=most)
    except JsonError as error:
        label = f"{path.parent.name}/{path.name}"
        raise damaged(f"{label} cannot be used: {error}; {advice}.") from None


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
    """Refuse what is not a regular file."""
    if not stat.S_ISREG(mode):
        raise NotRegularError(path, mode)


MAX_BYTES = 16 * 1024 * 1024
MAX_CHARACTERS = 1000
MAX_LINES = 500_000


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Read the non-blank lines of a UTF-8 text file.

    Parameters
    ----------
    path
        A regular file of at most 16 MB; a byte order mark is allowed.

    Returns
    -------
    list of (int, str)
        Line number, from 1, and the line without surrounding blanks.

    Raises
    ------
    InputError
        ``usage`` if the file is missing, ``damaged`` if it is not UTF-8 or a line holds control
        characters, ``unsupported`` if it or a line is too long or there are over 500 000; the
        sentence names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The list {path.name} does not exist or is not a regular file.")
    try:
        data = read_file(path, MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"The list {path.name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise unsupported(f"The list {path.name} is larger than 16 MB; shorten it.")
    if data.count(b"\n") > MAX_LINES:
        raise unsupported(f"The list {path.name} has over {MAX_LINES:,} lines; shorten it.")
    lines = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise InputError(
                f"Line {number} of {path.name} is not UTF-8 text; save the file as UTF-8.",
                "damaged",
                details=str(error),
            ) from error
        if len(line) > MAX_CHARACTERS:
            raise unsupported(
                f"Line {number} of {path.name} has over {MAX_CHARACTERS} characters; write one "
                "entry per line."
            )
        if any(ord(character) < 32 and character != "\t" for character in line):
            raise damaged(f"Line {number} of {path.name} holds control characters; remove them.")
        if line:
            lines.append((number, line))
    return lines
