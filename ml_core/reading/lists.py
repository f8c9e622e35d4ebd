"""The one reader of text lists (class names, prompt templates): one entry a line."""

from __future__ import annotations

from pathlib import Path

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file

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
        raise InputError(f"The list {path.name} does not exist or is not a regular file.", "usage")
    try:
        data = read_file(path, MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"The list {path.name} cannot be read: {error.strerror}.", "usage"
        ) from error
    if len(data) > MAX_BYTES:
        raise InputError(f"The list {path.name} is larger than 16 MB; shorten it.", "unsupported")
    if data.count(b"\n") > MAX_LINES:
        raise InputError(
            f"The list {path.name} has over {MAX_LINES:,} lines; shorten it.", "unsupported"
        )
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
            raise InputError(
                f"Line {number} of {path.name} has over {MAX_CHARACTERS} characters; write one "
                "entry per line.",
                "unsupported",
            )
        if any(ord(character) < 32 and character != "\t" for character in line):
            raise InputError(
                f"Line {number} of {path.name} holds control characters; remove them.", "damaged"
            )
        if line:
            lines.append((number, line))
    return lines
