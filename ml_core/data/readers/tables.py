"""Tables of pictures with labels or captions."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

from ml_core.data.pictures import SkipCount
from ml_core.data.readers.samples import FileReader, Samples, checked
from ml_core.data.table_files import (
    LABEL_COLUMNS,
    Labels,
    PackedPaths,
    PackedTexts,
    find_column,
    require_column,
    table_path,
)
from ml_core.data.watch import Watch, watched
from ml_core.reading.errors import InputError
from ml_core.reading.tables import NOT_UTF8, iter_rows, read_columns, resolver

TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
_KEPT_PATHS = 1 << 16
_PATHS = "its paths are taken from its own folder"
MAX_LABELLED = 2_500_000  # 100 bytes each


def open_labelled(
    path: Path, image_column: str | None, label_column: str | None, watch: Watch
) -> Samples:
    """Open a table of pictures with labels, or without; pictures are looked for in its folder.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column that was named, or names no picture that is there.
    """
    columns = read_columns(path)
    images = require_column(path, columns, image_column, "image")
    if label_column is None:
        labels = find_column(columns, None, LABEL_COLUMNS)
    else:
        labels = require_column(path, columns, label_column, "label")
    return _read(path, images, labels, watch)


def open_table(path: Path, image_column: str, caption_column: str, watch: Watch) -> Samples:
    """Open a table; pictures are looked for in its own folder.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column, or names no picture that is there.
    """
    path = table_path(path)
    columns = read_columns(path)
    images = require_column(path, columns, image_column, "image")
    captions = require_column(path, columns, caption_column, "caption")
    return _read(path, images, captions, watch, PackedTexts())


class RowNames(Sequence[str]):
    """What to call the pictures of a table: row and file, made when asked for."""

    def __init__(self, numbers: array[int], paths: PackedPaths) -> None:
        self._numbers, self._paths = numbers, paths

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return row_name(self._numbers[index], self._paths.below[index])


def row_name(number: int, path: str) -> str:
    """A row of a table in a sentence."""
    return f"row {number} ({path[:80]!r})"


def _read(
    path: Path,
    image_column: str,
    text_column: str | None,
    watch: Watch,
    captions: PackedTexts | None = None,
) -> Samples:
    """Read a table's picture files, each inside the table's folder, and the text beside each.

    Parameters
    ----------
    path
        A CSV or TSV.
    image_column, text_column
        Column of the pictures' paths, and of their labels or captions; without the latter there
        are no labels. Labels have limits, see `Labels`.
    watch
        Called with the rows read so far; it may end the reading.
    captions
        Takes the text of each good row as a caption, not as a label. A row whose text is no caption
        is bad.

    Returns
    -------
    Samples
        Bad rows, forbidden paths and missing files are left out and noted.

    Raises
    ------
    InputError
        ``usage`` if no row can be used, ``unsupported`` if there are over 2.5 million pictures
        whose texts are not taken, or more labels than classes there can be.
    """
    columns = (image_column,) if text_column is None else (image_column, text_column)
    root = os.path.realpath(path.parent)
    resolve = resolver(root)

    @lru_cache(maxsize=_KEPT_PATHS)  # many rows may name one picture
    def look(name: str) -> str | None:
        file = resolve(name)
        return os.path.relpath(file, root) if os.path.isfile(file) else None

    labels = Labels(path.name)
    below, numbers = PackedTexts(), array("q")
    texts: list[str] = []
    bad, missing = SkipCount("Left out, a bad row"), SkipCount("Left out, a missing picture")
    for number, row in watched(iter_rows(path, columns), watch, "Reading rows"):
        if isinstance(row, str):
            bad.add(row)
            continue
        text = row[1].strip() if text_column is not None else ""
        if text_column is not None and not text:
            bad.add(f"row {number}: the column {text_column!r} is empty")
            continue
        try:
            file = look(row[0])
        except InputError as error:
            bad.add(f"row {number}: {error.sentence.rstrip('.')}")
            continue
        if file is None:
            missing.add(row_name(number, row[0]))
            continue
        try:
            if captions is not None:
                captions.append(checked(text))
            else:
                texts.append(labels.one(text))
        except ValueError as error:
            bad.add(f"row {number}: {error}")
            continue
        below.append(file)
        numbers.append(number)
        if captions is None and len(numbers) > MAX_LABELLED:
            raise InputError(
                f"{path.name} names over {MAX_LABELLED:,} pictures; split it.", "unsupported"
            )
    problems = bad.notes + missing.notes
    if not numbers:
        first = [
            *((fault, _advice(fault)) for fault in bad.first),
            *((f"{name}: no such file", _PATHS) for name in missing.first),
            ("it has no row below its header", "write a row for each picture"),
        ]
        fault, advice = first[0]
        raise InputError(
            f"No picture of {path.name} can be used ({fault}); {advice}.", "usage",
            details="\n".join(problems),
        )  # fmt: skip
    paths = PackedPaths(Path(root), below)
    return Samples(
        path.name,
        FileReader(paths, RowNames(numbers, paths), captions),
        problems,
        bad.count + missing.count,
        texts=None if text_column is None or captions is not None else tuple(texts),
    )


def _advice(fault: str) -> str:
    """What to do about a bad row."""
    if NOT_UTF8 in fault:
        return "save the table as UTF-8"
    return _PATHS if "The path" in fault else "correct its rows"
