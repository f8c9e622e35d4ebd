"""The one reader of CSV and TSV tables, and of the paths that stand in them.

Rows are numbered as a spreadsheet numbers them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ml_core.reading.errors import InputError, damaged, unsupported
from ml_core.reading.regular_file import open_regular

MAX_BYTES = 2 * 1024**3
MAX_ROWS = 20_000_000
MAX_COLUMNS = 1000
MAX_RECORD = 1 << 21
"""Characters of a row: the csv module takes what it is given into memory, and many times that."""
NOT_UTF8 = "not UTF-8 text"
_NAMED = 20
_SHORT = 40

_DRIVE = re.compile(r"^[A-Za-z]:")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def read_columns(path: str | Path) -> tuple[str, ...]:
    """Names of a table's columns, from its first row alone; errors as `iter_rows`."""
    path = Path(path)
    return _header(path, next(_records(path), None))


def iter_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...] | str]]:
    """Row numbers of a CSV or TSV with the wanted fields, or a sentence on a bad row, one by one.

    A row is bad that has a wrong number of fields, is not UTF-8, or has control characters, a quote
    that does not close, or a field of over 131072 characters.

    Parameters
    ----------
    path
        A regular UTF-8 file (byte order mark allowed) of at most 2 GB with a header row.
    columns
        Names of the wanted columns.

    Raises
    ------
    InputError
        If the file is missing, empty, too large, has a row of over 2 million characters, is not
        UTF-8 in its header, has two columns of one name, or lacks one of ``columns`` (the sentence
        lists the columns it has).
    """
    records = _records(path)
    header = _header(path, next(records, None))
    for name in columns:
        if name not in header:
            raise InputError(
                f"{path.name} has no column {_quoted(name)}; its columns are {listed(header)}."
            )
    places = [header.index(name) for name in columns]
    for number, record in enumerate(records, start=2):
        if number > MAX_ROWS:
            raise unsupported(f"{path.name} has over {MAX_ROWS:,} rows; split it.")
        if not record:
            continue
        problem = record if isinstance(record, str) else _problem(record, len(header))
        if problem:
            yield number, f"row {number}: {problem}"
        else:
            yield number, tuple(record[place] for place in places)


def _records(path: Path) -> Iterator[list[str] | str]:
    """Each record as its fields, or as a sentence that says what is wrong with it."""
    if not path.is_file():
        raise InputError(f"The table {path.name} does not exist or is not a file.")
    opened, size = open_regular(path)
    # Undecodable bytes become lone surrogates, so that one bad row does not hide the others.
    with io.TextIOWrapper(opened, "utf-8-sig", "surrogateescape", newline="") as file:
        if size > MAX_BYTES:
            raise unsupported(f"The table {path.name} is larger than 2 GB; split it.")
        first = file.readline(1 << 20)
        file.seek(0)
        lines = _Lines(file, path.name)
        reader = csv.reader(lines, delimiter=_delimiter(path, first), strict=True)
        while True:
            line = reader.line_num + 1
            lines.left = MAX_RECORD
            try:
                yield next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"lines {line} to {reader.line_num} cannot be split into fields ({error})"


class _Lines:
    """Lines of the file; one record may take at most ``left`` characters."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file, self._name, self.left = file, name, MAX_RECORD

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self.left)
        if not line:
            raise StopIteration
        self.left -= len(line)
        if self.left <= 0:
            raise unsupported(
                f"{self._name} has a row of over {MAX_RECORD >> 20} million characters; look for a "
                "quote that does not close."
            )
        return line


def listed(columns: Sequence[str]) -> str:
    """Names of columns in a sentence: the first ones, none long."""
    shown = [name if len(name) <= _SHORT else f"{name[:_SHORT]}..." for name in columns[:_NAMED]]
    more = f" and {len(columns) - _NAMED:,} more" if len(columns) > _NAMED else ""
    return ", ".join(shown) + more


def _delimiter(path: Path, first: str) -> str:
    """Tab for .tsv, otherwise whichever separator the header uses most."""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return max((",", "\t", ";"), key=first.count)


def _header(path: Path, record: list[str] | str | None) -> tuple[str, ...]:
    """Check the first record and make it column names."""
    if not record:
        raise damaged(f"The table {path.name} is empty; it needs a header row.")
    if not isinstance(record, str) and len(record) > MAX_COLUMNS:
        raise unsupported(
            f"{path.name} has over {MAX_COLUMNS} columns; keep those that are needed."
        )
    problem = record if isinstance(record, str) else _problem(record, len(record))
    if problem:
        raise damaged(f"The header row of {path.name} is bad: {problem}.")
    names = tuple(name.strip() for name in record)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise damaged(
            f"{path.name} has two columns called {_quoted(twice[0])}; rename one of them."
        )
    return names


def _problem(record: list[str], width: int) -> str:
    """What is wrong with a record, or an empty string."""
    if len(record) != width:
        return f"{len(record)} fields where the header has {width}"
    text = " ".join(record)
    if text.isascii() and text.isprintable():
        return ""
    if _SURROGATES.search(text):
        return NOT_UTF8
    return "holds control characters" if _CONTROL.search(text) else ""


def resolver(folder: str | Path) -> Callable[[str], Path]:
    """What makes paths that a table names absolute, if they stay inside the folder.

    Each parent folder is resolved once.

    Parameters
    ----------
    folder
        The folder that the table may speak of.

    Returns
    -------
    callable
        From a relative path with ``/`` or ``\\``, or an absolute one inside the folder, to the
        absolute path with links resolved. It need not exist. It raises an InputError of code
        ``usage`` for an empty text, a URL, drive, UNC path or NUL, and for whatever leads out of
        the folder, also through a link.
    """
    root = os.path.realpath(folder)
    parents: dict[str, str] = {}

    def resolve(text: str) -> Path:
        problem = _path_problem(text)
        if problem:
            raise InputError(f"The path {_quoted(text)} {problem}.")
        joined = os.path.join(root, text.replace("\\", "/"))
        parent, name = os.path.split(joined)
        real_parent = parents.get(parent)
        if real_parent is None:
            real_parent = parents[parent] = os.path.realpath(parent)
        if name in ("", ".", ".."):
            path = os.path.realpath(joined)
        else:
            path = os.path.join(real_parent, name)
            if os.path.islink(path):
                path = os.path.realpath(path)
        if path != root and not path.startswith(root.rstrip(os.sep) + os.sep):
            raise InputError(f"The path {_quoted(text)} leads out of the table's folder.")
        return Path(path)

    return resolve


def _path_problem(text: str) -> str:
    """What forbids a path whatever the folder, or an empty string."""
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "holds a NUL character"
    if text.startswith(("\\\\", "//")):
        return "is a network path"
    if _DRIVE.match(text):
        return "names a drive"
    if _SCHEME.match(text):
        return "is a URL; download the picture first"
    return ""


def _quoted(text: str) -> str:
    """Shorten and quote a text for an error."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
