"""Parquet files as Hugging Face keeps them (extra ``parquet``): pictures, labels and captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.known_files import stays_inside
from ml_core.data.pictures import Reader
from ml_core.data.readers.row_groups import RowGroups, damaged
from ml_core.data.readers.samples import Samples, check_captions, checked, named_folder
from ml_core.data.table_files import require_column
from ml_core.data.watch import Watch
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES, picture_bytes
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reading.tables import resolver

_IMAGES = ("image", "img", "images", "jpg", "png")
_MAX_CAPTIONS = 1000
_MAX_FEATURES = 8 << 20
_MAX_CLASSES = 100_000
_MAX_ROWS = 10_000_000
_LABELS = ("label", "fine_label", "labels", "class", "cls", "category", "target")


class ParquetReader(Reader):
    """Rows by number; memory holds a few row groups.

    Parameters
    ----------
    image, caption
        Columns; without captions None.
    folder
        Pictures may be files below it, which a row names; None follows no path.
    """

    whole_blocks = True

    def __init__(
        self, groups: RowGroups, image: str, caption: str | None = None, folder: Path | None = None
    ) -> None:
        self.files = groups.paths
        self.blocks: NDArray[np.int64] | None = groups.blocks
        self.window = groups.window
        self._groups, self._image, self._caption = groups, image, caption
        self._resolve = resolver(folder) if folder is not None else None

    def __len__(self) -> int:
        return self._groups.rows

    def name(self, number: int) -> str:
        """First file, and row in all of them."""
        return f"{self.files[0].name}, row {number + 1}"

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
        if self._resolve is None:
            raise InputError(
                f"{self.name(number)} holds no picture (a path to a file elsewhere is not "
                "followed).",
                "damaged",
            )
        if data is None and isinstance(path, str):
            try:
                return picture_bytes(self._resolve(path), name=self.name(number))
            except (InputError, ValueError) as error:
                reason = error.sentence if isinstance(error, InputError) else "bad path."
                raise InputError(f"{self.name(number)}: {reason}", "damaged") from None
        raise InputError(f"{self.name(number)} holds no picture.", "damaged")

    def captions(self, number: int) -> tuple[str, ...]:
        """The caption of a row, or its list of captions."""
        if self._caption is None:
            return ()
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


def open_parquet(path: Path, image_column: str, caption_column: str, watch: Watch) -> Samples:
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
    reader = ParquetReader(groups, image, caption, files[0].parent)
    title = f"the column {caption} of {path.name}"
    check_captions(reader, title, "name the column that holds texts")
    return Samples(named_folder(path), reader)


def find_parquet(path: Path, train: bool) -> Samples | None:
    """Open a Parquet file or a folder of them; None without one.

    A folder (or its ``data`` folder) may hold ``train-*.parquet`` beside ``test-*.parquet``: the
    asked split is taken, validation standing in for a missing test split. Labels are whole numbers,
    whose names stand in the features that Hugging Face writes into the file, or texts.

    Raises
    ------
    InputError
        Without pyarrow, or if a file is damaged or has no column of pictures.
    """
    paths = parquet_files(path, train)
    if not paths:
        return None
    groups = RowGroups(paths)
    image = next((name for name in _IMAGES if name in groups.columns), None)
    if image is None:
        raise InputError(
            f"{path.name} has no column of pictures ({', '.join(_IMAGES)}); it has "
            f"{', '.join(groups.columns)[:300]}.",
            "usage",
        )
    label = next((name for name in _LABELS if name in groups.columns), None)
    labels, names = _labels(groups, label) if label is not None else (None, ())
    if labels is not None and len(labels) != groups.rows:
        raise InputError(f"{path.name} has not a label for each picture.", "damaged")
    reader = ParquetReader(groups, image)
    return Samples(path.name, reader, labels=labels, class_names=names)


def parquet_files(path: Path, train: bool) -> list[Path]:
    """Files of the split, in the order of their names; none if it holds no Parquet file."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    for folder in (path, path / "data"):
        inside = (p for p in folder.glob("*.parquet") if p.is_file() and stays_inside(folder, p))
        files = sorted(inside)
        for split in ("train",) if train else ("test", "validation", "valid", "val"):
            chosen = [p for p in files if p.name.startswith(split)]
            if chosen:
                return chosen
        if files:
            return files
    return []


def _labels(groups: RowGroups, column: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels as positions in the feature names, or in the values; None if they are hidden."""
    if groups.rows > _MAX_ROWS:
        raise InputError(
            f"{groups.paths[0].name} has over {_MAX_ROWS:,} rows; take a part of it.", "unsupported"
        )
    numbers: list[NDArray[np.int64]] = []
    places: dict[str, int] = {}
    whole = True
    for values in groups.each(column):
        for chunk in values.chunks:
            try:
                texts, codes = _codes(chunk)
            except Exception as error:  # pyarrow raises OSError, ArrowException, MemoryError
                raise damaged(groups.paths[0], error) from None
            if codes is None or (numbers and whole != (texts is None)):
                raise InputError(
                    f"The column {column!r} of {groups.paths[0].name} holds no labels: give whole "
                    "numbers or texts.",
                    "unsupported",
                )
            whole = texts is None
            if texts is not None:
                own = [places.setdefault(text, len(places)) for text in texts]
                codes = np.array(own, np.int64)[codes] if own else codes
            if len(places) > _MAX_CLASSES:
                raise InputError(
                    f"The column {column!r} of {groups.paths[0].name} has over {_MAX_CLASSES:,} "
                    "different texts, more than there are classes.",
                    "unsupported",
                )
            numbers.append(codes)
    labels = np.concatenate([np.empty(0, np.int64), *numbers])
    if whole:
        return _numbered(groups, column, labels)
    order = sorted(places)
    ranks = np.empty(len(order), np.int64)
    ranks[[places[text] for text in order]] = np.arange(len(order))
    return ranks[labels], tuple(order)


def _codes(chunk: Any) -> tuple[list[str] | None, NDArray[np.int64] | None]:
    """Whole numbers, or texts with the number of each row's text; else None and None."""
    import pyarrow as pa

    kind = chunk.type.value_type if pa.types.is_dictionary(chunk.type) else chunk.type
    if chunk.null_count:
        return None, None
    if pa.types.is_integer(kind):
        plain = chunk.dictionary_decode() if chunk.type != kind else chunk
        try:
            return None, plain.cast(pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:  # over 2^63
            return None, None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        coded = chunk if chunk.type != kind else chunk.dictionary_encode()
        if len(coded.dictionary) > _MAX_CLASSES or coded.dictionary.null_count:
            return None, None
        numbers = coded.indices.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return coded.dictionary.to_pylist(), numbers
    return None, None


def _numbered(
    groups: RowGroups, column: str, labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Whole numbers as positions in the names of the features, or in themselves."""
    named = _feature_names(groups.metadata, column)
    if not named:
        distinct, places = np.unique(labels, return_inverse=True)
        return places.astype(np.int64), tuple(map(str, distinct.tolist()))
    if (labels == -1).all():  # Hugging Face's mark of a hidden test set
        return None, ()
    wrong = labels[(labels < 0) | (labels >= len(named))]
    if len(wrong):
        raise InputError(
            f"{groups.paths[0].name} has the label {wrong[0]} and names {len(named)} classes.",
            "damaged",
        )
    return labels, named


def _feature_names(metadata: dict[bytes, bytes], column: str) -> tuple[str, ...]:
    """Class names out of Hugging Face's description of the columns."""
    raw = metadata.get(b"huggingface", b"")
    try:
        fields = parse_object(raw, max_bytes=_MAX_FEATURES, max_parts=_MAX_CLASSES * 2)
        names: Any = fields["info"]["features"][column]["names"]
    except (JsonError, KeyError, TypeError):
        return ()
    if isinstance(names, dict):  # written as {"0": name, ...}
        names = [names.get(str(index)) for index in range(len(names))]
    good = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return tuple(names) if good else ()
