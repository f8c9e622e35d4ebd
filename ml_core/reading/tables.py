"""The one reader of CSV and TSV tables, and of the paths that stand in them.

Rows are numbered as a spreadsheet numbers them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

MAX_BYTES = 2 * 1024**3
MAX_ROWS = 20_000_000
MAX_COLUMNS = 1000
MAX_LINE = 1 << 24

_DRIVE = re.compile(r"^[A-Za-z]:")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Table:
    """Columns and rows of a table.

    Attributes
    ----------
    columns
        Names of the columns that were kept, in order.
    rows
        The fields of each good row, in the order of ``columns``.
    numbers
        Row number of each good row.
    bad_rows
        Row number and a sentence for each row that was left out.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: list[int]
    bad_rows: list[tuple[int, str]]


def read_columns(path: str | Path) -> tuple[str, ...]:
    """Names of a table's columns, from its first row alone; errors as `read_table`."""
    path = Path(path)
    return _header(path, next(_records(path), None))


def read_table(path: str | Path, columns: tuple[str, ...] | None = None) -> Table:
    """Read a CSV or TSV file with a header row.

    Parameters
    ----------
    path
        A regular UTF-8 file (byte order mark allowed) of at most 2 GB.
    columns
        Columns to keep, so that memory holds no more than is used; None keeps all.

    Returns
    -------
    Table
        Good rows, and each bad row (wrong number of fields, not UTF-8, control characters, a
        quote that does not close, a field of over 131072 characters) with its number.

    Raises
    ------
    InputError
        If the file is missing, empty, too large, has a line of over 16 million characters, is not
        UTF-8 in its header, has two columns of one name, or lacks one of ``columns`` (the sentence
        lists the columns it has).
    """
    path = Path(path)
    wanted = read_columns(path) if columns is None else columns
    table = Table(wanted, [], [], [])
    for number, row in iter_rows(path, wanted):
        if isinstance(row, str):
            table.bad_rows.append((number, row))
        else:
            table.rows.append(row)
            table.numbers.append(number)
    return table


def iter_rows(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...] | str]]:
    """Row numbers of a table with the wanted fields, or a sentence on a bad row, one by one.

    Raises
    ------
    InputError
        As `read_table` does.
    """
    records = _records(path)
    header = _header(path, next(records, None))
    for name in wanted:
        if name not in header:
            raise InputError(
                f"{path.name} has no column {name!r}; its columns are {', '.join(header)}.", "usage"
            )
    places = [header.index(name) for name in wanted]
    for number, record in enumerate(records, start=2):
        if number > MAX_ROWS:
            raise InputError(f"{path.name} has over {MAX_ROWS:,} rows; split it.", "unsupported")
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
        raise InputError(f"The table {path.name} does not exist or is not a file.", "usage")
    opened, size = open_regular(path)
    # Undecodable bytes become lone surrogates, so that one bad row does not hide the others.
    with io.TextIOWrapper(opened, "utf-8-sig", "surrogateescape", newline="") as file:
        if size > MAX_BYTES:
            raise InputError(f"The table {path.name} is larger than 2 GB; split it.", "unsupported")
        first = file.readline(1 << 20)
        file.seek(0)
        reader = csv.reader(_lines(file, path.name), delimiter=_delimiter(path, first), strict=True)
        while True:
            line = reader.line_num + 1
            try:
                yield next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield f"lines {line} to {reader.line_num} cannot be split into fields ({error})"


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """Lines of limited length: the csv module would take a line of 2 GB into memory."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise InputError(
                f"{name} has a line of over {MAX_LINE >> 20} million characters; it is no table.",
                "unsupported",
            )
        yield line


def _delimiter(path: Path, first: str) -> str:
    """Tab for .tsv, otherwise whichever separator the header uses most."""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return max((",", "\t", ";"), key=first.count)


def _header(path: Path, record: list[str] | str | None) -> tuple[str, ...]:
    """Check the first record and make it column names."""
    if not record:
        raise InputError(f"The table {path.name} is empty; it needs a header row.", "damaged")
    problem = record if isinstance(record, str) else _problem(record, len(record))
    if problem:
        raise InputError(f"The header row of {path.name} is bad: {problem}.", "damaged")
    names = tuple(name.strip() for name in record)
    if len(names) > MAX_COLUMNS:
        raise InputError(f"{path.name} has over {MAX_COLUMNS} columns.", "unsupported")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path.name} has two columns called {twice[0]!r}; rename one of them.", "damaged"
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
        return "not UTF-8 text"
    return "holds control characters" if _CONTROL.search(text) else ""


def resolve_inside(folder: str | Path, text: str) -> Path:
    """Path that a table names, if it stays inside the folder.

    Parameters
    ----------
    folder
        The folder that the table may speak of.
    text
        A relative path with ``/`` or ``\\``, or an absolute one that lies inside the folder.

    Returns
    -------
    Path
        Absolute path with links resolved. It need not exist.

    Raises
    ------
    InputError
        ``usage`` for an empty text, a URL, drive, UNC path or NUL, and for whatever leads out of
        the folder, also through a link.
    """
    return resolver(folder)(text)


def resolver(folder: str | Path) -> Callable[[str], Path]:
    """`resolve_inside` for many paths: each parent folder is resolved once."""
    root = os.path.realpath(folder)
    parents: dict[str, str] = {}

    def resolve(text: str) -> Path:
        problem = _path_problem(text)
        if problem:
            raise InputError(f"The path {_shown(text)} {problem}.", "usage")
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
            raise InputError(f"The path {_shown(text)} leads out of the table's folder.", "usage")
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


def _shown(text: str) -> str:
    """Shorten and quote a text for an error."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
