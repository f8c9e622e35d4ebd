"""Rows of Parquet files by number, page by page; the last row groups are kept."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.tables import MAX_ROWS

_LONGEST_HEADER = 1 << 16  # a page's smallest and largest value stand in it
_MAX_DEPTH = 12
_PADDING = 100  # bytes that readers add to a column of some old writers
_MAX_FIELDS = 1000
MAX_FOOTER = 4 << 20
MAX_LISTED = 50_000
"""Row groups, columns, or columns of all row groups: pyarrow makes a kilobyte of each of those."""
_MAX_PARTS = 1_000_000  # values of a footer, some 150 bytes each here and in pyarrow
_BYTE_ARRAY, _FIXED = 6, 7
_DATA, _INDEX, _DICTIONARY, _DATA_2 = range(4)
_BY_NUMBER = (2, 8)  # encodings of numbers into a dictionary
_BY_PREFIX = 7  # a text says how much of the one before it begins with
_ARROW = b"ARROW:schema"
_TOO_MUCH = "it lists too many columns and row groups; write larger ones"
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of a row group: where it lies, its bytes, and its values, nulls included."""

    start: int
    packed: int
    values: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column as it is stored: its path in the schema, and its type.

    ``texts`` may be read as numbers into a dictionary; ``fixed`` are bytes of one length.
    """

    path: str
    texts: bool
    fixed: bool


@dataclass(frozen=True)
class Footer:
    """What a file says at its end: columns, rows and bytes of its row groups, and their columns."""

    leaves: tuple[Leaf, ...]
    groups: tuple[tuple[int, int, tuple[Chunk, ...]], ...]


class PageError(ValueError):
    """The pages are not what they should be; half a sentence."""


@dataclass(frozen=True)
class Unpacked:
    """What reading a column of a row group needs.

    Attributes
    ----------
    packed
        Bytes in the file.
    unpacked
        Bytes of all pages without compression.
    values
        How many there are, nulls included.
    repeated
        The most bytes that dictionary values take once each of them is written out.
    """

    packed: int = 0
    unpacked: int = 0
    values: int = 0
    repeated: int = 0

    def __add__(self, other: Unpacked) -> Unpacked:
        return Unpacked(
            self.packed + other.packed,
            self.unpacked + other.unpacked,
            self.values + other.values,
            self.repeated + other.repeated,
        )


def read_footer(file: BinaryIO, size: int) -> Footer:
    """Read the footer of an open file of ``size`` bytes.

    Raises
    ------
    PageError
        If it is damaged, encrypted, has over 4 MB, or lists more than pyarrow holds in 200 MB.
    """
    whole, _ = _struct(_Bytes(_footer_bytes(file, size)))
    groups = []
    listed = 0
    for group in _records(whole.get(4)):
        columns = []
        for column in _records(group.get(1)):
            facts = column.get(3)
            if not isinstance(facts, dict) or column.get(1) is not None:
                raise PageError("a column lies elsewhere")
            packed, values, start = (_number(facts, field) for field in (7, 5, 9))
            first = facts.get(11)
            if type(first) is int and 0 < first < start:
                start = first
            columns.append(Chunk(start, packed, values))
        listed += len(columns)
        if listed > MAX_LISTED:
            raise PageError(_TOO_MUCH)
        groups.append((_number(group, 3), _number(group, 2), tuple(columns)))
    leaves = tuple(_leaves(_records(whole.get(2))))
    if any(len(columns) != len(leaves) for _, _, columns in groups):
        raise PageError("a row group has other columns than the file")
    return Footer(leaves, tuple(groups))


def alone(file: BinaryIO, size: int) -> bytes:
    """A file that holds the footer alone, for pyarrow, without the schema that Arrow adds to it.

    That schema is a graph. A few bytes of it may name a field a million times, and pyarrow would
    build each one. Without the schema a column has the type that it is stored as.

    Raises
    ------
    PageError
        The errors of `read_footer` for a footer that is damaged or too long.
    """
    raw = _footer_bytes(file, size).replace(_ARROW, b"-" * len(_ARROW))
    return b"PAR1" + raw + len(raw).to_bytes(4, "little") + b"PAR1"


def _footer_bytes(file: BinaryIO, size: int) -> bytes:
    """The footer as it stands at the end."""
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != b"PAR1" or length > size - 12:
        raise PageError("it does not end as a Parquet file does")
    if length > MAX_FOOTER:
        raise PageError(f"it lists over {MAX_FOOTER >> 20} MB of row groups; write larger ones")
    file.seek(size - 8 - length)
    return file.read(length)


def _records(value: Any) -> list[dict[int, Any]]:
    """A list of records."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise PageError("its footer is damaged")
    return value


def _leaves(elements: list[dict[int, Any]]) -> Iterator[Leaf]:
    """Columns of a schema, which is written depth first."""
    above: list[list[Any]] = []  # name, and how many are still to come in it
    for number, element in enumerate(elements):
        name = element.get(4)
        if not isinstance(name, bytes):
            raise PageError("a column has no name")
        children = element.get(5) or 0
        if type(children) is not int or not 0 <= children <= MAX_LISTED:
            raise PageError("its schema is damaged")
        if number:
            while above and not above[-1][1]:
                above.pop()
            if not above:
                raise PageError("its schema is damaged")
            above[-1][1] -= 1
        text = name.decode("utf-8", "replace")
        if children or not number:
            above.append([text, children])
            if len(above) > 100:
                raise PageError("its schema is nested too deeply")
        else:
            path = ".".join([*(name for name, _ in above[1:]), text])
            yield Leaf(path, element.get(1) == _BYTE_ARRAY, element.get(1) == _FIXED)


def unpacked_size(file: BinaryIO, start: int, packed: int, values: int) -> Unpacked:
    """Walk over the pages of one column chunk.

    Parameters
    ----------
    file
        The whole file.
    start, packed
        Where the chunk lies, and its bytes.
    values
        How many values it should hold; reading ends after them.

    Raises
    ------
    PageError
        If a page does not lie in the chunk, or its encoding hides its size.
    """
    counted = dictionary = repeated = unpacked = 0
    at, end = start, start + packed + _PADDING
    if end >= 1 << 62:
        raise PageError("a column does not lie in the file")
    while at < end and counted < values:
        file.seek(at)
        header, length = _struct(_Bytes(file.read(_LONGEST_HEADER)))
        kind, size, stored = (_number(header, field) for field in (1, 2, 3))
        at += length + stored
        if at > end:
            raise PageError("a page does not lie in its column")
        unpacked += size
        if kind == _DICTIONARY:
            dictionary = size
        elif kind in (_DATA, _DATA_2):
            inside = header.get(5 if kind == _DATA else 8)
            if not isinstance(inside, dict):
                raise PageError("a page has no header")
            count, encoding = _number(inside, 1), _number(inside, 2 if kind == _DATA else 4)
            if encoding == _BY_PREFIX:
                raise PageError("its texts are delta-encoded; write it again without")
            counted += count
            if encoding in _BY_NUMBER:
                repeated += count * dictionary
        elif kind != _INDEX:
            raise PageError("a page is of an unknown kind")
    return Unpacked(packed, unpacked, counted, repeated)


def _number(fields: dict[int, Any], key: int) -> int:
    """A whole number that is not negative."""
    value = fields.get(key)
    if type(value) is not int or value < 0:
        raise PageError("a page's header is damaged")
    return value


class _Bytes:
    """Bytes that are read from their beginning."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at, self.left = raw, 0, _MAX_PARTS

    def take(self, length: int) -> bytes:
        part = self.raw[self.at : self.at + length]
        if len(part) != length:
            raise PageError("a page's header is cut short")
        self.at += length
        return part

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise PageError("a page's header is damaged")

    def signed(self) -> int:
        value = self.varint()
        return value >> 1 ^ -(value & 1)


def _struct(raw: _Bytes, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Fields of a record, and how many bytes have been read since the beginning."""
    fields: dict[int, Any] = {}
    key = 0
    for kind, step in _fields(raw):
        key = key + step if step else raw.signed()
        if kind in (_TRUE, _FALSE):
            fields[key] = kind == _TRUE
        else:
            fields[key] = _value(raw, kind, depth)
    return fields, raw.at


def _fields(raw: _Bytes) -> Iterator[tuple[int, int]]:
    """Type of each field, and the step from the last field's number; 0: the number follows."""
    for _ in range(_MAX_FIELDS):
        (byte,) = raw.take(1)
        if not byte:
            return
        yield byte & 15, byte >> 4
    raise PageError("a page's header has too many fields")


def _value(raw: _Bytes, kind: int, depth: int) -> Any:
    """A value of a type; tables are passed over."""
    raw.left -= 1
    if depth > _MAX_DEPTH:
        raise PageError("it is nested too deeply")
    if raw.left < 0:
        raise PageError(_TOO_MUCH)
    if kind in (_I16, _I32, _I64):
        return raw.signed()
    if kind in (_TRUE, _FALSE, _BYTE):  # in lists a switch takes a byte
        return raw.take(1)
    if kind == _DOUBLE:
        return struct.unpack("<d", raw.take(8))[0]
    if kind == _BINARY:
        return raw.take(raw.varint())
    if kind == _STRUCT:
        return _struct(raw, depth + 1)[0]
    if kind in (_LIST, _SET):
        (byte,) = raw.take(1)
        count = _few(byte >> 4 if byte >> 4 < 15 else raw.varint())
        return [_value(raw, byte & 15, depth + 1) for _ in range(count)]
    if kind == _MAP and (size := _few(raw.varint())):
        (byte,) = raw.take(1)
        for _ in range(size):
            _value(raw, byte >> 4, depth + 1)
            _value(raw, byte & 15, depth + 1)
        return None
    if kind == _MAP:
        return None
    raise PageError("a page's header is damaged")


def _few(count: int) -> int:
    if count > MAX_LISTED:
        raise PageError("it lists too much")
    return count


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

        They fill half of the kept row groups, since the end of a window and the start of the next
        are read together.
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
                total = sum(values.nbytes for values in self._kept.values())
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
    """Columns to read as numbers into a dictionary, since their values in full would be too large.

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
                sizes = unpacked_size(file, chunk.start, chunk.packed, chunk.values)
            except PageError as error:
                raise damaged(path, error) from None
            if sizes.unpacked + sizes.repeated > _FREE and leaf.texts:
                named.append(leaf.path)
                sizes = replace(sizes, repeated=0)
            elif not leaf.fixed:
                sizes = replace(sizes, repeated=0)  # a number is no longer than its place
            total += sizes
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
    """The error of a file that pyarrow cannot read, or should not."""
    if isinstance(error, MemoryError):
        return InputError(
            f"{path.name} needs more memory than there is; write it again with smaller row groups.",
            "unsupported",
        )
    reason = f" ({error})" if isinstance(error, PageError) else ""
    return InputError(
        f"{path.name} is no readable Parquet file{reason}; get it again.",
        "damaged",
        details=f"{type(error).__name__}: {error}",
    )
