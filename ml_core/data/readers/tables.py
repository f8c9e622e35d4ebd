"""Tables of pictures with labels or captions, and lists of captions without pictures."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.pictures import Reader, SkipCount
from ml_core.data.readers.samples import MAX_CAPTION, FileReader, Samples, checked, one_line
from ml_core.data.table_files import (
    LABEL_COLUMNS,
    PackedTexts,
    find_column,
    read_files,
    require_column,
    table_path,
)
from ml_core.data.watch import Watch, watched
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.tables import iter_rows, read_columns

TABLE_SUFFIXES = (".csv", ".tsv", ".tab")


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
    files = read_files(path, images, labels, watch)
    texts = files.texts if labels is not None else None
    reader = FileReader(files.paths, files.names)
    return Samples(path.name, reader, files.problems, files.left_out, texts=texts)


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
    texts = PackedTexts()
    files = read_files(path, images, captions, watch, lambda text: texts.append(checked(text)))
    reader = FileReader(files.paths, files.names, texts)
    return Samples(path.name, reader, files.problems, files.left_out)


class CaptionsAlone(Reader):
    """Captions without pictures.

    Parameters
    ----------
    path
        The file that they stand in.
    texts
        N captions.
    lines
        N line or row numbers.
    """

    def __init__(self, path: Path, texts: PackedTexts, lines: Sequence[int]) -> None:
        self.files = (path,)
        self._texts, self._lines = texts, lines

    def __len__(self) -> int:
        return len(self._texts)

    def name(self, number: int) -> str:
        return f"line {self._lines[number]}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        raise InputError(f"{self.files[0].name} holds captions alone, no pictures.", "usage")

    def raw(self, number: int) -> bytes:
        """The caption, which is no picture's bytes."""
        return self._texts[number].encode("utf-8")

    def sizes(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Not known: captions have no picture bytes."""
        return np.full(len(numbers), -1, np.int64)

    def captions(self, number: int) -> tuple[str, ...]:
        return (self._texts[number],)

    def captions_key(self) -> str:
        return self._texts.digest()


def open_captions(path: Path, column: str, watch: Watch) -> Samples:
    """Open a table with a caption column, or a text file with a caption a line.

    Raises
    ------
    InputError
        If it cannot be read, lacks the column, or holds no caption.
    """
    table = path.suffix.lower() in TABLE_SUFFIXES
    rows = _rows(path, column) if table else _lines(path)
    texts, lines, bad = PackedTexts(), array("q"), SkipCount("Left out, a bad caption")
    for number, row in watched(rows, watch, "Reading captions"):
        if isinstance(row, str):
            texts.append(row)
            lines.append(number)
        else:
            bad.add(f"line {number}: {row}")
    if not lines:
        raise InputError(
            f"{path.name} holds no caption; give a text file with one per line, or a table with a "
            "caption column.",
            "usage",
            details="\n".join(bad.notes),
        )
    return Samples(path.name, CaptionsAlone(path, texts, lines), bad.notes, bad.count)


def _rows(path: Path, column: str) -> Iterator[tuple[int, str | ValueError]]:
    """Row numbers of a table with the caption, or what is wrong with it."""
    named = require_column(path, read_columns(path), column, "caption")
    for number, row in iter_rows(path, (named,)):
        try:
            yield number, ValueError(row) if isinstance(row, str) else checked(row[0])
        except ValueError as error:
            yield number, error


def _lines(path: Path) -> Iterator[tuple[int, str | ValueError]]:
    """Line numbers of a list with the caption, or what is wrong with it; blank lines have none."""
    file, _ = open_regular(path)
    with file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_CAPTION + 2), b""), start=1):
            if len(raw) > MAX_CAPTION and not raw.endswith(b"\n"):
                raise InputError(
                    f"Line {number} of {path.name} has over {MAX_CAPTION >> 10} KB: it is no list "
                    "of captions.",
                    "unsupported",
                )
            if not raw.strip():
                continue
            try:
                yield number, one_line(raw)
            except ValueError as error:
                yield number, error
