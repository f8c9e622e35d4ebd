"""Rows of Parquet files by number; whole row groups are read, and the last ones kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.sets.parquet_pages import (
    MAX_FOOTER,
    MAX_LISTED,
    Footer,
    PageError,
    Unpacked,
    alone,
    read_footer,
    unpacked_size,
)
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.tables import MAX_ROWS

KEPT_BYTES = 256 << 20
"""Row groups in memory, of which one is kept whatever its size."""
_GROUP_BYTES = 2 << 30
_FREE, _RATIO = 64 << 20, 8
"""A column of a row group may unpack to so many bytes, or to so many times what it has."""
_PER_VALUE = 16  # bytes for places and levels, at most
_FREE_ROWS = 1_000_000
"""So many rows may stand in any file; more need a byte each, as numbers of rows take memory."""
_LARGEST_VALUE = 128 << 20  # bytes; a picture of 100 megapixels is a third of it
_BUFFER = 1 << 20  # a column is read piece by piece, not whole before it is unpacked


class RowGroups:
    """Files that are opened for each row group, so that none stays open.

    Attributes
    ----------
    paths
        The files.
    columns
        Names of the columns of the first one.
    blocks
        int64 [g], rows of each row group that has some.
    """

    def __init__(self, paths: Sequence[Path], watch: Watch = unwatched) -> None:
        self.paths = tuple(paths)
        self.columns: tuple[str, ...] = ()
        self.metadata: dict[bytes, bytes] = {}
        self._lock = Lock()
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()
        self._footers: list[Footer] = []
        places: list[tuple[int, int, int, int]] = []
        for number, path in enumerate(self.paths):
            watch("Reading Parquet files", number, len(self.paths))
            footer = _footer(path)
            self._footers.append(footer)
            for group, (rows, size, _) in enumerate(footer.groups):
                places.append((number, group, rows, size))
            with parquet_file(path) as file:
                schema = file.schema_arrow
                if number == 0:
                    self.columns = tuple(schema.names)
                    self.metadata = dict(schema.metadata or {})
                elif set(schema.names) != set(self.columns):
                    raise InputError(
                        f"{path.name} has other columns than {self.paths[0].name}; keep the files "
                        "of one set together.",
                        "damaged",
                    )
        table = np.array(places, np.int64).reshape(-1, 4)
        count = float(table[:, 2].astype(float).sum())
        if (table < 0).any():
            raise InputError(
                f"{self.paths[0].name} says a wrong number of rows; get it again.", "damaged"
            )
        held = sum(path.stat().st_size for path in self.paths)
        if count > max(_FREE_ROWS, held):
            raise InputError(
                f"{self.paths[0].name} unpacks to far more than it holds: {count:,.0f} rows of "
                f"{held:,} bytes; write each row once.",
                "unsupported",
            )
        if count > MAX_ROWS:
            raise InputError(
                f"{self.paths[0].name} has over {MAX_ROWS:,} rows, the files beside it included; "
                "take a part of them.",
                "unsupported",
            )
        self._places = table[table[:, 2] > 0]
        self.blocks: NDArray[np.int64] = self._places[:, 2].copy()
        self._ends = np.cumsum(self.blocks)
        self.rows = int(self._ends[-1]) if len(self._ends) else 0

    @property
    def window(self) -> int:
        """Rows of average size that may be asked for in any order, at least 1.

        They are half of what is kept: a window's end and the next one's start are wanted at once.
        """
        total = int(self._places[:, 3].sum())
        return max(1, KEPT_BYTES // 2 * self.rows // max(1, total))

    def value(self, number: int, column: str) -> Any:
        """One field as Python has it.

        Raises
        ------
        InputError
            ``damaged`` if it or its row group cannot be read, ``unsupported`` if the row group is
            larger than 2 GB.
        """
        at = int(np.searchsorted(self._ends, number, side="right"))
        row = number - (int(self._ends[at - 1]) if at else 0)
        values = self._group(at, column)
        path = self.paths[int(self._places[at, 0])]
        try:
            value = values[row]
            if _longest(value) > _LARGEST_VALUE:
                raise _too_long(path)
            return value.as_py()
        except MemoryError as error:
            raise damaged(path, error) from None
        except (ValueError, LookupError, OverflowError):  # also text that is none
            raise InputError(f"{path.name}, row {number + 1} is damaged.", "damaged") from None

    def _group(self, at: int, column: str) -> Any:
        """A column of a row group."""
        with self._lock:
            if (at, column) not in self._kept:
                self._kept[at, column] = self._read(at, column)
                total = sum(one.nbytes for one in self._kept.values())
                while total > KEPT_BYTES and len(self._kept) > 1:
                    total -= self._kept.popitem(last=False)[1].nbytes
            self._kept.move_to_end((at, column))
            return self._kept[at, column]

    def each(self, column: str) -> Iterator[Any]:
        """A column of each row group in turn, none kept; raises as `value`."""
        for at in range(len(self._places)):
            yield self._read(at, column)

    def _read(self, at: int, column: str) -> Any:
        """Read a column of a row group."""
        file_number, group, rows, size = self._places[at].tolist()
        path = self.paths[file_number]
        if size > _GROUP_BYTES:
            raise _too_large(path)
        named = _by_number(path, self._footers[file_number], group, column)
        with parquet_file(path, named) as file:
            try:
                values = file.read_row_group(group, columns=[column], use_threads=False).column(
                    column
                )
            except Exception as error:  # pyarrow raises OSError, ArrowException, MemoryError
                raise damaged(path, error) from None
        if len(values) != rows:
            raise damaged(path, ValueError("another number of rows"))
        return values


def _footer(path: Path) -> Footer:
    """A file's footer, or a sentence."""
    file, size = open_regular(path)
    with file:
        try:
            return read_footer(file, size)
        except PageError as error:
            raise damaged(path, error) from None


def _by_number(path: Path, footer: Footer, group: int, column: str) -> list[str]:
    """Columns to be read as numbers into a dictionary, since written out they would be too large.

    Raises
    ------
    InputError
        ``unsupported`` if a column unpacks to far more than it has, ``damaged`` if its pages are
        not what they should be.
    """
    total, named = Unpacked(), []
    file, _ = open_regular(path)
    with file:
        for leaf, chunk in zip(footer.leaves, footer.groups[group][2], strict=True):
            if leaf.path.partition(".")[0] != column.partition(".")[0]:
                continue
            try:
                found = unpacked_size(file, chunk.start, chunk.packed, chunk.values)
            except PageError as error:
                raise damaged(path, error) from None
            if found.unpacked + found.repeated > _FREE and leaf.texts:
                named.append(leaf.path)
                found = replace(found, repeated=0)
            elif not leaf.fixed:
                found = replace(found, repeated=0)  # a number is no longer than its place
            total += found
    if total.unpacked > _LARGEST_VALUE * max(1, footer.groups[group][0]):
        raise _too_long(path)
    needed = total.unpacked + total.repeated + _PER_VALUE * total.values
    if needed > _GROUP_BYTES:
        raise _too_large(path)
    if needed > max(_FREE, _RATIO * total.packed):
        raise InputError(
            f"{path.name} unpacks to far more than it holds: the column {column[:80]} of a row "
            f"group has {total.packed:,} bytes and makes {needed:,}; write it again with smaller "
            "row groups.",
            "unsupported",
        )
    return named


def _too_large(path: Path) -> InputError:
    return InputError(
        f"{path.name} has row groups of over {_GROUP_BYTES >> 30} GB; write it again with smaller "
        "ones.",
        "unsupported",
    )


def _too_long(path: Path) -> InputError:
    return InputError(
        f"{path.name} has a row of over {_LARGEST_VALUE >> 20} MB; leave it out.", "unsupported"
    )


def _longest(value: Any) -> int:
    """Bytes of a value, or of the longest of its parts, before Python copies them."""
    import pyarrow as pa

    if isinstance(value, pa.StructScalar):
        return max((_longest(value[name]) for name in value), default=0)
    if isinstance(value, pa.DictionaryScalar):
        value = value.value
    raw = value.as_buffer() if hasattr(value, "as_buffer") else None
    return 0 if raw is None else int(raw.size)


@contextmanager
def parquet_file(path: Path, named: Sequence[str] = ()) -> Iterator[Any]:
    """An open Parquet file.

    Parameters
    ----------
    named
        Columns that are read as numbers into a dictionary.

    Raises
    ------
    InputError
        Without pyarrow, or if it is damaged.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            "Parquet files need pyarrow; install it with: pip install 'cleanclip-gui[parquet]'.",
            "unsupported",
        ) from None
    handle, size = open_regular(path)
    with handle:
        try:
            footer = parquet.ParquetFile(
                BytesIO(alone(handle, size)),
                thrift_string_size_limit=MAX_FOOTER,
                thrift_container_size_limit=MAX_LISTED,
            )
            file = parquet.ParquetFile(
                handle,
                metadata=footer.metadata,
                read_dictionary=list(named) or None,
                buffer_size=_BUFFER,
                pre_buffer=False,
            )
        except Exception as error:  # as above
            raise damaged(path, error) from None
        try:
            yield file
        except UnicodeDecodeError as error:  # of a column's name
            raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> InputError:
    """A file that pyarrow does not read, or should not."""
    if isinstance(error, MemoryError):
        return InputError(
            f"{path.name} needs more memory than there is; write it again with smaller row groups.",
            "unsupported",
        )
    said = f" ({error})" if isinstance(error, PageError) else ""
    return InputError(
        f"{path.name} is no readable Parquet file{said}; get it again.",
        "damaged",
        details=f"{type(error).__name__}: {error}",
    )
