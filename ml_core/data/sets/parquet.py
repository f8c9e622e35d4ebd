"""Hugging Face image sets in Parquet files (extra ``parquet``); pictures are read row by row."""

from __future__ import annotations

import json
from collections import OrderedDict
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ml_core.data.sets.found import FoundSet
from ml_core.reading.errors import InputError
from ml_core.reading.images import MAX_BYTES, read_image
from ml_core.reading.regular_file import open_regular

_IMAGES = ("image", "img", "images", "jpg", "png")
_LABELS = ("label", "fine_label", "labels", "class", "cls", "category", "target")
_KEPT_GROUPS = 2
_GROUP_BYTES = 2 << 30


class ParquetSource:
    """Pictures of a column; the row groups read last are kept, for neighbours are read together."""

    def __init__(self, files: list[Any], paths: tuple[Path, ...], column: str) -> None:
        self.files = paths
        self._open = files
        self._column = column
        self._lock = Lock()
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()
        places = [
            (number, group, file.metadata.row_group(group).num_rows)
            for number, file in enumerate(files)
            for group in range(file.metadata.num_row_groups)
        ]
        self._places = [(number, group) for number, group, _ in places]
        self._ends = np.cumsum([rows for _, _, rows in places])
        self.rows = int(self._ends[-1]) if places else 0
        if any(rows < 0 for _, _, rows in places) or self.rows >= 1 << 40:
            raise InputError(f"{paths[0].name} says a wrong number of rows.", "damaged")

    def name(self, number: int) -> str:
        """File set and row."""
        return f"{self.files[0].name}, row {number + 1}"

    def read(self, number: int) -> Image.Image:
        """Decode the picture of a row."""
        return read_image(self.raw(number), name=self.name(number))

    def sizes(self, numbers: NDArray[np.int64]) -> None:
        """Not known without reading the pictures."""

    def raw(self, number: int) -> bytes:
        """Bytes of the picture of a row."""
        at = int(np.searchsorted(self._ends, number, side="right"))
        row = number - (int(self._ends[at - 1]) if at else 0)
        rows = self._group(self._places[at])
        try:
            value = rows[row].as_py()
        except (ValueError, LookupError, OverflowError):  # also text that is none
            raise InputError(f"{self.name(number)} is damaged.", "damaged") from None
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or len(data) > MAX_BYTES:
            raise InputError(
                f"{self.name(number)} holds no picture (a path to a file elsewhere is not "
                "followed).",
                "damaged",
            )
        return data

    def _group(self, place: tuple[int, int]) -> Any:
        """The column of a row group."""
        file, group = place
        with self._lock:
            if place not in self._groups:
                facts = self._open[file].metadata.row_group(group)
                if facts.total_byte_size > _GROUP_BYTES:
                    raise InputError(
                        f"{self.files[file].name} has row groups of over {_GROUP_BYTES >> 30} GB; "
                        "write it anew with smaller ones.",
                        "unsupported",
                    )
                try:
                    table = self._open[file].read_row_group(group, columns=[self._column])
                except Exception as error:  # pyarrow raises OSError, ArrowException, MemoryError
                    raise _damaged(self.files[file], error) from None
                self._groups[place] = table.column(self._column)
                while len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(place)
            return self._groups[place]


def find_parquet(path: Path, train: bool) -> FoundSet | None:
    """Open a Parquet file or a folder of them; None if there is none.

    A folder (or its ``data`` folder) may hold ``train-*.parquet`` beside ``test-*.parquet``: the
    asked split is taken, validation standing in for a missing test split. Labels are whole numbers,
    whose names stand in the features that Hugging Face writes into the file, or texts.

    Raises
    ------
    InputError
        Without pyarrow, or if a file is damaged or has no column of pictures.
    """
    paths = _files(path, train)
    if not paths:
        return None
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet files need pyarrow; install it with: pip install 'cleanclip-gui[parquet]'.",
            "unsupported",
        ) from None
    with ExitStack() as handles:
        files = []
        for each in paths:
            file, _ = open_regular(each)
            handles.callback(file.close)
            try:
                files.append(parquet.ParquetFile(file))
            except Exception as error:  # as above
                raise _damaged(each, error) from None
        found = _opened(path, paths, files)
        finalize(found.source, handles.pop_all().close)
    return found


def _opened(path: Path, paths: list[Path], files: list[Any]) -> FoundSet:
    """The set in open files."""
    columns = files[0].schema_arrow.names
    column = _column(path, columns, _IMAGES, "pictures")
    label = next((name for name in _LABELS if name in columns), None)
    for each, opened in zip(paths, files, strict=True):
        if column not in opened.schema_arrow.names or (
            label is not None and label not in opened.schema_arrow.names
        ):
            raise InputError(
                f"{each.name} has other columns than {paths[0].name}; keep the files of one set "
                "together.",
                "damaged",
            )
    source = ParquetSource(files, tuple(paths), column)
    if label is None:
        return FoundSet(path.name, source, None, (), unlabelled=source.rows)
    labels, names = _labels(paths, files, label)
    if labels is None:
        return FoundSet(path.name, source, None, (), unlabelled=source.rows)
    if len(labels) != source.rows:
        raise InputError(f"{path.name} has not a label for each picture.", "damaged")
    return FoundSet(path.name, source, labels, names)


def _files(path: Path, train: bool) -> list[Path]:
    """Files of the split, in the order of their names."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    for folder in (path, path / "data"):
        found = sorted(p for p in folder.glob("*.parquet") if p.is_file() and not p.is_symlink())
        for split in ("train",) if train else ("test", "validation", "valid", "val"):
            chosen = [p for p in found if p.name.startswith(split)]
            if chosen:
                return chosen
        if found:
            return found
    return []


def _labels(
    paths: list[Path], files: list[Any], column: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels as positions in the names of the features, or in the values; None of hidden ones."""
    values: list[Any] = []
    for path, file in zip(paths, files, strict=True):
        try:
            values += file.read(columns=[column]).column(column).to_pylist()
        except Exception as error:  # as above
            raise _damaged(path, error) from None
    named = _feature_names(files[0], column)
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if whole and named:
        if all(value == -1 for value in values):  # Hugging Face's mark of a hidden test set
            return None, ()
        wrong = next((value for value in values if not 0 <= value < len(named)), None)
        if wrong is not None:
            raise InputError(
                f"{paths[0].name} has the label {wrong} and names {len(named)} classes.", "damaged"
            )
        return np.array(values, np.int64), named
    if not whole and not all(isinstance(value, str) for value in values):
        raise InputError(
            f"The column {column!r} of {paths[0].name} holds no labels: give whole numbers or "
            "texts.",
            "unsupported",
        )
    distinct = sorted(set(values))
    places = {value: index for index, value in enumerate(distinct)}
    return np.array([places[v] for v in values], np.int64), tuple(str(v) for v in distinct)


def _feature_names(file: Any, column: str) -> tuple[str, ...]:
    """Class names out of Hugging Face's description of the columns."""
    raw = (file.schema_arrow.metadata or {}).get(b"huggingface", b"")
    try:
        found = json.loads(raw)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    if isinstance(found, dict):  # written as {"0": name, ...}
        found = [found.get(str(index)) for index in range(len(found))]
    good = isinstance(found, list) and all(isinstance(name, str) and name for name in found)
    return tuple(found) if good else ()


def _column(path: Path, columns: list[str], usual: tuple[str, ...], what: str) -> str:
    """The first usual column."""
    found = next((name for name in usual if name in columns), None)
    if found is None:
        raise InputError(
            f"{path.name} has no column of {what} ({', '.join(usual)}); it has "
            f"{', '.join(columns)[:300]}.",
            "usage",
        )
    return found


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name} is no readable Parquet file; get it again.",
        "damaged",
        details=f"{type(error).__name__}: {error}",
    )
