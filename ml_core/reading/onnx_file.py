"""The wire format of ONNX: protobuf messages, read without protobuf and without running anything.

A message is a row of fields: a key (number and wire type), then a whole number of seven bits a
byte, four or eight bytes, or a length and as many bytes. Numbers of tensors are not read: their
place in the file is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ml_core.reading.errors import SAFETENSORS_COPY, InputError, TruncatedError
from ml_core.reading.folder import check_link
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import DTYPE_BYTES, MAX_NAME, MAX_RANK

_WINDOW = 1 << 16
_MAX_FIELDS = 400_000  # ten times those of the largest CLIP
_MAX_DEPTH = 40  # of messages: a graph in a graph is four deeper
_MAX_TABLE = 1 << 18  # masks and positions have less
_MAX_NUMBERS = 1 << 20
_MAX_FILES = 1000
_MAX_LETTERS = 64 << 20

_DTYPES = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
    11: "F64", 12: "U32", 13: "U64", 16: "BF16", 17: "F8_E4M3", 19: "F8_E5M2",
}  # fmt: skip
_OTHER_TYPES = {
    8: "STRING", 14: "COMPLEX64", 15: "COMPLEX128", 18: "FLOAT8E4M3FNUZ", 20: "FLOAT8E5M2FNUZ",
    21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2",
}  # fmt: skip
_FORMATS = {
    "F32": "f", "F64": "d", "F16": "e", "U8": "B", "I8": "b", "U16": "H", "I16": "h", "I32": "i",
    "I64": "q", "U32": "I", "U64": "Q", "BOOL": "?",
}  # fmt: skip

# What a field holds; a table is another message.
_INT, _TEXT, _SPAN, _FLOAT = "whole number", "text", "bytes", "number"
_MANY = True
Schema = Mapping[int, tuple[str, Any, bool]]
Message = dict[str, Any]
Span = tuple[int, int]

_PAIR: Schema = {1: ("key", _TEXT, False), 2: ("value", _TEXT, False)}
_TENSOR: Schema = {
    1: ("dims", _INT, _MANY),
    2: ("type", _INT, False),
    3: ("segment", _SPAN, False),
    4: ("float_data", _SPAN, _MANY),
    5: ("int32_data", _SPAN, _MANY),
    6: ("string_data", _SPAN, _MANY),
    7: ("int64_data", _SPAN, _MANY),
    8: ("name", _TEXT, False),
    9: ("raw_data", _SPAN, False),
    10: ("double_data", _SPAN, _MANY),
    11: ("uint64_data", _SPAN, _MANY),
    12: ("doc", _SPAN, False),
    13: ("external", _PAIR, _MANY),
    14: ("location", _INT, False),
    16: ("metadata", _SPAN, _MANY),
}
_DIMENSION: Schema = {
    1: ("size", _INT, False), 2: ("symbol", _TEXT, False), 3: ("denotation", _SPAN, False)
}  # fmt: skip
_SHAPE: Schema = {1: ("dims", _DIMENSION, _MANY)}
_TENSOR_TYPE: Schema = {1: ("element", _INT, False), 2: ("shape", _SHAPE, False)}
_TYPE: Schema = {
    1: ("tensor", _TENSOR_TYPE, False),
    **dict.fromkeys((4, 5, 7, 8, 9), ("other", _SPAN, _MANY)),
    6: ("denotation", _SPAN, False),
}
_VALUE: Schema = {
    1: ("name", _TEXT, False),
    2: ("type", _TYPE, False),
    3: ("doc", _SPAN, False),
    4: ("metadata", _SPAN, _MANY),
}
_ATTRIBUTE: dict[int, tuple[str, Any, bool]] = {
    1: ("name", _TEXT, False),
    2: ("f", _FLOAT, False),
    3: ("i", _INT, False),
    4: ("s", _SPAN, False),
    5: ("t", _TENSOR, False),
    7: ("floats", _SPAN, _MANY),
    8: ("ints", _INT, _MANY),
    9: ("strings", _SPAN, _MANY),
    10: ("tensors", _TENSOR, _MANY),
    13: ("doc", _SPAN, False),
    14: ("tp", _SPAN, False),
    15: ("tps", _SPAN, _MANY),
    20: ("type", _INT, False),
    21: ("reference", _TEXT, False),
    22: ("sparse", _SPAN, False),
    23: ("sparses", _SPAN, _MANY),
}
_NODE: Schema = {
    1: ("inputs", _TEXT, _MANY),
    2: ("outputs", _TEXT, _MANY),
    3: ("name", _TEXT, False),
    4: ("operator", _TEXT, False),
    5: ("attributes", _ATTRIBUTE, _MANY),
    6: ("doc", _SPAN, False),
    7: ("domain", _TEXT, False),
    8: ("overload", _TEXT, False),
    9: ("metadata", _SPAN, _MANY),
    10: ("devices", _SPAN, _MANY),
}
_GRAPH: Schema = {
    1: ("nodes", _NODE, _MANY),
    2: ("name", _TEXT, False),
    5: ("initializers", _TENSOR, _MANY),
    10: ("doc", _SPAN, False),
    11: ("inputs", _VALUE, _MANY),
    12: ("outputs", _VALUE, _MANY),
    13: ("values", _SPAN, _MANY),
    14: ("quantization", _SPAN, _MANY),
    15: ("sparse", _SPAN, _MANY),
    16: ("metadata", _SPAN, _MANY),
}
_ATTRIBUTE[6] = ("g", _GRAPH, False)
_ATTRIBUTE[11] = ("graphs", _GRAPH, _MANY)
_OPSET: Schema = {1: ("domain", _TEXT, False), 2: ("version", _INT, False)}
_FUNCTION: Schema = {
    1: ("name", _TEXT, False),
    4: ("inputs", _TEXT, _MANY),
    5: ("outputs", _TEXT, _MANY),
    6: ("attributes", _TEXT, _MANY),
    7: ("nodes", _NODE, _MANY),
    8: ("doc", _SPAN, False),
    9: ("opsets", _OPSET, _MANY),
    10: ("domain", _TEXT, False),
    11: ("defaults", _ATTRIBUTE, _MANY),
    12: ("values", _SPAN, _MANY),
    13: ("overload", _TEXT, False),
    14: ("metadata", _SPAN, _MANY),
}
_MODEL: Schema = {
    1: ("ir_version", _INT, False),
    2: ("producer", _TEXT, False),
    3: ("producer_version", _TEXT, False),
    4: ("domain", _TEXT, False),
    5: ("model_version", _INT, False),
    6: ("doc", _SPAN, False),
    7: ("graph", _GRAPH, False),
    8: ("opsets", _OPSET, _MANY),
    14: ("metadata", _SPAN, _MANY),
    20: ("training", _SPAN, _MANY),
    25: ("functions", _FUNCTION, _MANY),
    26: ("devices", _SPAN, _MANY),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file, by its name there.

    Parameters
    ----------
    dtype
        safetensors' name of the type; ``""`` for one that it does not have.
    shape, offset, nbytes, file
        As in `TensorInfo`; the offset is -1 where the numbers do not lie one after the other.
    numbers
        Where whole numbers of changing length lie instead.
    type_name
        ONNX's name of a type without a name in safetensors.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int = -1
    nbytes: int = 0
    file: str = ""
    numbers: Span | None = None
    type_name: str = ""

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


class OnnxFile:
    """An open ONNX file, its messages, and the files beside it that hold tensors.

    Parameters
    ----------
    name
        For sentences.
    folder
        Where the file lies; None in an archive, which has nothing beside it.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, folder: Path | None) -> None:
        self.name = name
        self.unknown = 0
        """Bytes of fields that ONNX does not define."""
        self._file, self._size, self._folder = file, size, folder
        self._window, self._start = b"", 0
        self._fields = self._numbers = self._letters = 0
        self._beside: dict[str, tuple[BinaryIO, int]] = {}

    def close(self) -> None:
        """Close the files beside it."""
        for file, _ in self._beside.values():
            file.close()

    def model(self) -> Message:
        """Read all messages.

        Raises
        ------
        InputError
            ``damaged`` or ``unsupported``, with the first thing that is wrong.
        """
        return self._read(_MODEL, 0, self._size)

    def damaged(self, what: str) -> InputError:
        """Make the error of a file that is not as it says."""
        return InputError(
            f"{self.name} is a damaged ONNX model: {what}; get the file again.", "damaged"
        )

    def unsupported(self, what: str) -> InputError:
        """Make the error of a file that this version does not read."""
        return InputError(f"{self.name} cannot be used: {what}; {SAFETENSORS_COPY}.", "unsupported")

    def _too_short(self) -> InputError:
        return TruncatedError(
            f"{self.name} is a damaged ONNX model: a field is longer than what it lies in; get the "
            "file again."
        )

    def raw(self, start: int, stop: int) -> bytes:
        """Bytes of the file."""
        if self._start <= start and stop <= self._start + len(self._window):
            return self._window[start - self._start : stop - self._start]
        self._file.seek(start)
        return self._file.read(stop - start)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """A whole number and where it ends."""
        place = at - self._start
        if place < 0 or place + 10 > len(self._window):
            self._file.seek(at)
            self._window, self._start, place = self._file.read(_WINDOW), at, 0
        raw = self._window[place : place + min(10, end - at)]
        value = 0
        for count, byte in enumerate(raw):
            value |= (byte & 127) << 7 * count
            if byte < 128:
                if value >> 64:
                    raise self.damaged("a number has more than 64 bits")
                return value, at + count + 1
        if len(raw) < 10:
            raise self._too_short()
        raise self.damaged("a number has more than ten bytes")

    def _iter_fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Number and wire type of each field; its value and 0, or where its bytes lie."""
        while at < end:
            self._count()
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise self.damaged(f"a field has the number {number}")
            if wire == 0:
                value, at = self._varint(at, end)
                yield number, wire, value, 0
                continue
            if wire == 2:
                length, at = self._varint(at, end)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise self.damaged(f"a field has the wire type {wire}")
            if length > end - at:
                raise self._too_short()
            yield number, wire, at, at + length
            at += length

    def _count(self) -> None:
        self._fields += 1
        if self._fields > _MAX_FIELDS:
            raise self.unsupported(f"it has more than {_MAX_FIELDS:,} fields")

    def _read(self, schema: Schema, at: int, end: int, depth: int = 0) -> Message:
        """One message."""
        if depth > _MAX_DEPTH:
            raise self.unsupported("its graphs lie in each other too deep")
        message: Message = {name: [] for name, _, many in schema.values() if many}
        for number, wire, start, stop in self._iter_fields(at, end):
            if number not in schema:
                self.unknown += max(1, stop - start)
                continue
            name, kind, many = schema[number]
            if kind is _INT and wire == 2 and many:
                message[name] += self._packed(start, stop)
                continue
            if not _has_wire(kind, wire, many):
                raise self.damaged(f"the field {name} is no {kind if kind in _WORDS else 'table'}")
            if kind is _INT:
                value: Any = _signed(start)
            elif kind is _SPAN:
                value = (start, stop)
            elif kind is _TEXT:
                value = self._text(start, stop)
            elif kind is _FLOAT:
                (value,) = struct.unpack("<f", self.raw(start, stop))
            else:
                value = self._read(kind, start, stop, depth + 1)
            if many:
                message[name].append(value)
            elif name in message:
                raise self.damaged(f"it says {name} twice of one thing")
            else:
                message[name] = value
        return message

    def _packed(self, at: int, end: int) -> Iterator[int]:
        while at < end:
            self._count()
            value, at = self._varint(at, end)
            yield _signed(value)

    def _text(self, start: int, stop: int) -> str:
        self._letters += stop - start
        if stop - start > MAX_NAME or self._letters > _MAX_LETTERS:
            raise self.unsupported("its names are longer than those of any CLIP")
        try:
            return self.raw(start, stop).decode()
        except UnicodeDecodeError:
            raise self.damaged("a name in it is not UTF-8") from None

    def pair(self, span: Span) -> tuple[bytes, bytes]:
        """Key and value of a piece of metadata, as bytes."""
        parts = {1: b"", 2: b""}
        for number, wire, start, stop in self._iter_fields(*span):
            if wire == 2 and number in parts:
                parts[number] = self.raw(start, min(stop, start + 4 * MAX_NAME))
        return parts[1], parts[2]

    def tensor(self, message: Message, name: str = "") -> Stored:
        """Where the numbers of a tensor lie.

        Raises
        ------
        InputError
            If they are not as many as its shape and type say, or lie outside their file.
        """
        name = message.get("name", "") or name
        label = f"the tensor {name[:80]!r}"
        shape, code = tuple(message["dims"]), message.get("type", 0)
        if len(shape) > MAX_RANK or any(not 0 <= side < 1 << 48 for side in shape):
            raise self.damaged(f"{label} has no valid shape")
        if prod(side for side in shape if side) > 1 << 48:
            raise self.damaged(f"{label} has no valid shape")
        if "segment" in message:
            raise self.unsupported(f"{label} lies in several pieces")
        if code not in _DTYPES:
            if code not in _OTHER_TYPES:
                raise self.damaged(f"{label} has no valid type")
            return Stored(name, "", shape, type_name=_OTHER_TYPES[code])
        dtype = _DTYPES[code]
        nbytes = prod(shape) * DTYPE_BYTES[dtype]
        if message.get("location", 0):
            return self._external(Stored(name, dtype, shape, 0, nbytes), message["external"])
        given = [
            field
            for field in (
                "raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data",
            )
            if message.get(field)
        ]  # fmt: skip
        if len(given) != 1:
            if not nbytes and not given:
                return Stored(name, dtype, shape, 0, 0)
            raise self.damaged(f"{label} has its numbers {'twice' if given else 'nowhere'}")
        (field,) = given
        spans = [message[field]] if field == "raw_data" else message[field]
        if len(spans) != 1:
            raise self.unsupported(f"{label} keeps its numbers one by one")
        start, stop = spans[0]
        if field in ("raw_data", _IN_PLACE.get(dtype)):
            if stop - start != nbytes:
                raise self.damaged(f"{label} needs {nbytes:,} bytes and has {stop - start:,}")
            return Stored(name, dtype, shape, start, nbytes)
        if field in ("float_data", "double_data"):
            raise self.damaged(f"{label} has numbers of another type than it says")
        return Stored(name, dtype, shape, nbytes=nbytes, numbers=(start, stop))

    def _external(self, stored: Stored, pairs: list[Message]) -> Stored:
        """A tensor in a file beside this one."""
        label = f"the tensor {stored.name[:80]!r}"
        where = {pair.get("key", ""): pair.get("value", "") for pair in pairs}
        location = where.get("location", "")
        if len(where) != len(pairs):
            raise self.damaged(f"{label} says twice where it lies")
        self._open_beside(location, label)
        try:
            offset = int(where.get("offset", "0"))
            length = int(where.get("length", str(stored.nbytes)))
        except ValueError:
            raise self.damaged(f"{label} lies at no valid place in {location[:80]}") from None
        size = self._beside[location][1]
        if length != stored.nbytes or not 0 <= offset <= size - length:
            raise self.damaged(f"{label} does not lie inside {location[:80]} as it says")
        return Stored(stored.name, stored.dtype, stored.shape, offset, length, location)

    def _open_beside(self, location: str, label: str) -> None:
        """Open the file that a tensor names, if it lies where it may."""
        if location in self._beside:
            return
        if self._folder is None:
            raise self.unsupported(f"{label} lies in another file, and this one in an archive")
        strange = any(mark in location for mark in "/\\:\0") or location.startswith(".")
        if strange or not 0 < len(location) <= 255 or location == Path(self.name).name:
            raise InputError(
                f"{self.name} is not opened: {label} is said to lie in {location[:80]!r}, which is "
                "no file name of its folder; get the model from its author.",
                "damaged",
            )
        if len(self._beside) >= _MAX_FILES:
            raise self.unsupported(f"its tensors lie in more than {_MAX_FILES} files")
        path = self._folder / location
        check_link(self._folder, path)
        try:
            self._beside[location] = open_regular(path)
        except InputError as error:
            if error.code != "usage":
                raise
            raise InputError(
                f"{self.name} keeps tensors in {location[:80]!r}, which cannot be read; put that "
                "file beside it.",
                "damaged",
            ) from None

    def table(self, stored: Stored) -> tuple[Any, ...] | None:
        """The numbers of a small tensor; None for a large one, and where there are none."""
        if not 0 < stored.elements <= _MAX_TABLE or self._numbers > _MAX_NUMBERS:
            return None
        self._numbers += stored.elements
        if stored.numbers is not None:
            return self._whole_numbers(stored)
        letter = _FORMATS.get(stored.dtype)
        if letter is None or stored.offset < 0:
            return None
        file = self._beside[stored.file][0] if stored.file else self._file
        file.seek(stored.offset)
        raw = file.read(stored.nbytes)
        if len(raw) != stored.nbytes:
            raise self.damaged(f"the tensor {stored.name[:80]!r} was cut short meanwhile")
        return struct.unpack(f"<{stored.elements}{letter}", raw)

    def _whole_numbers(self, stored: Stored) -> tuple[Any, ...]:
        """Numbers that each have as many bytes as they need."""
        assert stored.numbers is not None, "only such a tensor is asked for them"
        at, end = stored.numbers
        values: list[Any] = []
        while at < end and len(values) <= stored.elements:
            value, at = self._varint(at, end)
            values.append(_signed(value))
        if len(values) != stored.elements:
            raise self.damaged(f"the tensor {stored.name[:80]!r} has more or fewer numbers")
        if stored.dtype == "F16":
            halves = struct.pack(f"<{len(values)}H", *(value & 0xFFFF for value in values))
            return struct.unpack(f"<{len(values)}e", halves)
        return tuple(values)

    def sizes_beside(self) -> dict[str, int]:
        """Bytes of each file beside it that holds tensors."""
        return {name: size for name, (_, size) in self._beside.items()}


_WORDS = (_INT, _TEXT, _SPAN, _FLOAT)
_IN_PLACE = {"F32": "float_data", "F64": "double_data"}


def _has_wire(kind: Any, wire: int, many: bool) -> bool:
    """Whether a field of this kind may be written so."""
    if kind is _INT:
        return wire == 0
    if kind is _FLOAT:
        return wire == 5
    return wire == 2 or (kind is _SPAN and many and wire in (1, 5))  # numbers that are not packed


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
