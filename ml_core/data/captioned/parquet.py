"""Pairs in Parquet files as Hugging Face keeps them (extra ``parquet``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.captioned.source import (
    FoundPairs,
    check_captions,
    checked,
    named_folder,
)
from ml_core.data.sets.parquet import parquet_files
from ml_core.data.sets.row_groups import RowGroups
from ml_core.data.table_files import require_column
from ml_core.data.watch import Watch
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES, picture_bytes, read_image
from ml_core.reading.tables import resolver

_MAX_CAPTIONS = 1000


class ParquetPairs:
    """Rows by number; memory holds a few row groups."""

    a_file_each = False
    whole_blocks = True

    def __init__(self, groups: RowGroups, folder: Path, image: str, caption: str) -> None:
        self._groups, self._image, self._caption = groups, image, caption
        self._resolve = resolver(folder)
        self.files = groups.paths
        self.blocks: NDArray[np.int64] | None = groups.blocks
        self.window = groups.window

    def __len__(self) -> int:
        return self._groups.rows

    def name(self, number: int) -> str:
        """First file, and row in all of them."""
        return f"{self.files[0].name}, row {number + 1}"

    def read(self, number: int, least: int | None = None) -> Image.Image:
        """Decode the picture of a row."""
        return read_image(self.raw(number), name=self.name(number), least=least)

    def raw(self, number: int) -> bytes:
        """Bytes of the picture of a row, or of the file below the set's folder that it names."""
        value = self._groups.value(number, self._image)
        data, path = value, None
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
        elif isinstance(value, str):
            data, path = None, value
        if isinstance(data, bytes) and len(data) <= MAX_BYTES:
            return data
        if data is None and isinstance(path, str):
            try:
                return picture_bytes(self._resolve(path), name=self.name(number))
            except (InputError, ValueError) as error:
                reason = error.sentence if isinstance(error, InputError) else "bad path."
                raise InputError(f"{self.name(number)}: {reason}", "damaged") from None
        raise InputError(f"{self.name(number)} holds no picture.", "damaged")

    def sizes(self, numbers: NDArray[np.int64]) -> None:
        """Not known without reading the pictures."""

    def captions(self, number: int) -> tuple[str, ...]:
        """The caption of a row, or its list of captions."""
        value: Any = self._groups.value(number, self._caption)
        try:
            if isinstance(value, list) and value:
                return tuple(checked(text) for text in value[:_MAX_CAPTIONS])
            return (checked(value),)
        except ValueError as error:
            raise InputError(f"{self.name(number)}: {error}.", "damaged") from None

    def captions_key(self) -> str:
        """The columns; what stands in them is in the files."""
        return f"{self._image} {self._caption}"

    def chosen(self, numbers: NDArray[np.int64]) -> None:
        """None: the others cost nothing."""


def open_parquet(path: Path, image_column: str, caption_column: str, watch: Watch) -> FoundPairs:
    """Open a Parquet file or a folder of them (or its ``data``), the training split if it has one.

    The image column holds Hugging Face's ``{bytes, path}``, plain bytes, or paths below the folder
    of the files; the caption column holds texts or lists of texts.

    Raises
    ------
    InputError
        Without pyarrow, if there is no such file, one is damaged, a column is missing, or no
        caption can be used.
    """
    files = parquet_files(path, train=True)
    if not files:
        raise InputError(f"{path.name} holds no Parquet file; choose another folder.", "usage")
    groups = RowGroups(files, watch)
    image = require_column(path, groups.columns, image_column, "image")
    caption = require_column(path, groups.columns, caption_column, "caption")
    if not groups.rows:
        raise InputError(f"{path.name} holds no row.", "usage")
    source = ParquetPairs(groups, files[0].parent, image, caption)
    title = f"the column {caption} of {path.name}"
    check_captions(source, title, "name the column that holds texts")
    return FoundPairs(named_folder(path), source)
