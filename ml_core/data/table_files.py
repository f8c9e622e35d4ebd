"""Picture files named by a table: columns found, rows checked, missing files counted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ml_core.data.pictures import summary
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError
from ml_core.reading.tables import iter_rows, resolver

IMAGE_COLUMNS = (
    "image", "path", "image_path", "filepath", "file_path", "filename", "file_name", "file",
    "img", "image_file", "images",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "class", "target", "label_name", "class_name", "category", "label_index", "labels",
    "class_index",
)  # fmt: skip
CAPTION_COLUMNS = (
    "caption", "title", "text", "captions", "description", "sentence", "alt_text", "alt",
)  # fmt: skip


@dataclass(frozen=True)
class TableFiles:
    """Good rows of a table: files, their names for messages, and the text beside each."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    problems: tuple[str, ...]
    left_out: int


def find_column(columns: Sequence[str], wanted: str | None, usual: Sequence[str]) -> str | None:
    """The wanted column, or the first usual one whatever its case; None if there is none."""
    if wanted is not None and wanted in columns:
        return wanted
    by_lower = {column.lower(): column for column in reversed(columns)}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def require_column(path: Path, columns: Sequence[str], wanted: str | None, what: str) -> str:
    """Find the image, label or caption column, or say which columns there are.

    A column that was named and is not one of the usual names must be there; where a usual name
    is absent another usual one is taken.

    Raises
    ------
    InputError
        ``usage``, listing the columns.
    """
    usual = {"image": IMAGE_COLUMNS, "label": LABEL_COLUMNS, "caption": CAPTION_COLUMNS}[what]
    if wanted is not None and wanted not in columns and wanted != usual[0]:
        found = None
    else:
        found = find_column(columns, wanted, usual)
    if found is None:
        raise InputError(
            f"{path.name} has no column {wanted or usual[0]!r}; choose the {what} column among "
            f"{', '.join(columns)}.",
            "usage",
        )
    return found


def read_files(
    path: Path, image_column: str, text_column: str | None, watch: Watch = unwatched
) -> TableFiles:
    """Read a table's picture files, each inside the table's folder, and the text beside each.

    Parameters
    ----------
    path
        A CSV or TSV.
    image_column, text_column
        Column of the pictures' paths, and of their labels or captions; without the latter the
        texts are empty.
    watch
        Is told the rows read so far, and may end it.

    Returns
    -------
    TableFiles
        Bad rows, forbidden paths and missing files are left out and named in ``problems``.

    Raises
    ------
    InputError
        ``usage`` if no row can be used.
    """
    columns = (image_column,) if text_column is None else (image_column, text_column)
    resolve = cache(resolver(path.parent))  # many rows may name one picture
    known: dict[str, str] = {}
    paths: list[Path] = []
    names: list[str] = []
    texts: list[str] = []
    bad: list[str] = []
    missing: list[str] = []
    for number, row in watched(iter_rows(path, columns), watch, "Reading rows"):
        if isinstance(row, str):
            bad.append(row)
            continue
        name = f"row {number} ({row[0][:80]!r})"
        if text_column is not None and not row[1].strip():
            bad.append(f"row {number}: the column {text_column!r} is empty")
            continue
        try:
            file = resolve(row[0])
        except InputError as error:
            bad.append(f"row {number}: {error.sentence.rstrip('.')}")
            continue
        if not os.path.isfile(file):
            missing.append(name)
            continue
        paths.append(file)
        names.append(name)
        text = row[1].strip() if text_column is not None else ""
        texts.append(known.setdefault(text, text))
    problems = []
    if bad:
        problems.append(summary("Left out, a bad row", bad))
    if missing:
        problems.append(summary("Left out, a missing picture", missing))
    if not paths:
        first = [*bad, *(f"{name}: no such file" for name in missing), "it has no row"][0]
        raise InputError(
            f"No picture of {path.name} can be used ({first}); its paths are taken from its own "
            "folder.",
            "usage",
            details="\n".join(problems),
        )
    return TableFiles(
        tuple(paths), tuple(names), tuple(texts), tuple(problems), len(bad) + len(missing)
    )


def table_path(path: str | Path) -> Path:
    """The table itself, or ``labels.csv`` of a folder."""
    path = Path(path)
    return path / "labels.csv" if path.is_dir() else path
