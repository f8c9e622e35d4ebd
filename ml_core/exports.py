"""Files that the user asked for: written whole or not at all, tables safe for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ml_core.atomic import Content, replace_files
from ml_core.reading.errors import InputError

# What a spreadsheet takes for a formula when a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def save_export(path: Path, content: Content) -> None:
    """Replace a file whole or not at all.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    try:
        replace_files({path: content})
    except OSError as error:
        raise InputError(
            f"{path.name} could not be written; choose another folder.", "usage", str(error)
        ) from error


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, each cell `defused`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([defused(cell) for cell in row])
    return text.getvalue()


def defused(cell: object) -> object:
    """The cell; a text that a spreadsheet would compute gets an apostrophe, a number does not."""
    if isinstance(cell, str) and cell.startswith(_FORMULA) and not _is_number(cell):
        return f"'{cell}"
    return cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
