"""Where the columns of a Parquet file lie and what they unpack to: nothing is unpacked.

A Parquet file of a kilobyte may hold a gigabyte: pages are packed, equal values are counted instead
of written, and a dictionary's long text is named by a number a thousand times. What the footer says
of sizes is the author's word. pyarrow believes the headers of the pages, and so does this.

The footer is read here too: pyarrow ends the process when it is asked for some of what a damaged
one says. Footer and headers are Thrift's compact protocol; see parquet.thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

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
        At most so many bytes are made of the dictionary where each value is written out.
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
    """A file of the footer alone, for pyarrow, without the schema that Arrow adds to it.

    That schema is a graph, in which a field may stand a million times in a few bytes, and pyarrow
    makes each of them. Without it a column has the type that it is stored as.

    Raises
    ------
    PageError
        As `read_footer` does for a footer that is none or too long.
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
        How many values it should hold: nobody reads on after them.

    Raises
    ------
    PageError
        If a page does not lie in the chunk, or is encoded so that its size cannot be told.
    """
    found = dictionary = repeated = unpacked = 0
    at, end = start, start + packed + _PADDING
    if end >= 1 << 62:
        raise PageError("a column does not lie in the file")
    while at < end and found < values:
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
            found += count
            if encoding in _BY_NUMBER:
                repeated += count * dictionary
        elif kind != _INDEX:
            raise PageError("a page is of an unknown kind")
    return Unpacked(packed, unpacked, found, repeated)


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
        found = self.raw[self.at : self.at + length]
        if len(found) != length:
            raise PageError("a page's header is cut short")
        self.at += length
        return found

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
    made: dict[int, Any] = {}
    key = 0
    for kind, step in _fields(raw):
        key = key + step if step else raw.signed()
        if kind in (_TRUE, _FALSE):
            made[key] = kind == _TRUE
        else:
            made[key] = _value(raw, kind, depth)
    return made, raw.at


def _fields(raw: _Bytes) -> Iterator[tuple[int, int]]:
    """Type of each field, and by how much its number rises; 0 says that the number follows."""
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
