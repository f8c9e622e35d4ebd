"""Pairs of a CSV or TSV."""

from __future__ import annotations

from pathlib import Path

from ml_core.data.captioned.source import FilePairs, FoundPairs, checked
from ml_core.data.packed_strings import PackedTexts
from ml_core.data.table_files import read_files, require_column, table_path
from ml_core.data.watch import Watch
from ml_core.reading.tables import read_columns


def open_table(path: Path, image_column: str, caption_column: str, watch: Watch) -> FoundPairs:
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
    source = FilePairs(files.paths, files.names, texts)
    return FoundPairs(path.name, source, files.problems, files.left_out)
