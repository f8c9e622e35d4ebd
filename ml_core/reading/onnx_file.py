"""The wire format of ONNX: protobuf messages, read without protobuf and without running anything.

A message is a row of fields: a key (number and wire type), then a whole number of seven bits a
byte, four or eight bytes, or a length and as many bytes. Numbers of tensors are not read: their
place in the file is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ml_core.reading.errors import (
    SAFETENSORS_COPY,
    InputError,
    TruncatedError,
    damaged,
    unsupported,
)
from ml_core.reading.folder import check_link
from ml_core.reading.regular_file import MAX_SIZE, open_regular
from ml_core.reading.safetensors_header import DTYPE_BYTES, MAX_NAME, MAX_RANK
from ml_core.reading.sandbox import OPEN_FILES
from ml_core.reading.sniff import ONNX_ENDING, is_onnx_name

_WINDOW = 1 << 16
_MAX_FIELDS = 400_000  # ten times those of the largest CLIP
_MAX_DEPTH = 40  # of messages: a graph in a graph is four deeper
_MAX_TABLE = 1 << 18  # masks and positions have less
_MAX_NUMBERS = 1 << 20
_MAX_FILES = OPEN_FILES - 16  # at once; the process has some of its own
_MAX_LETTERS = 64 << 20
_DESCRIPTIONS = ("doc", "metadata", "values", "quantization", "devices")
_MAX_DESCRIPTION = 1 << 14  # a traceback has a fourth of it
_MAX_WORDS = 256  # of a name: three times an exporter's
_GAP = 1 << 16  # programs align tensors in a file of their own to no more

DTYPES = {
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


class Message(dict[str, Any]):
    """The fields of a message by name; what may stand several times is empty where it is missing.

    Only fields that are there take memory: a million empty messages fit into a small file.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> list[Any]:
        return []


Span = tuple[int, int]
_INT, _TEXT, _SPAN, _FLOAT = "whole number", "text", "bytes", "number"
_KINDS: dict[str, Any] = {"int": _INT, "text": _TEXT, "bytes": _SPAN, "float": _FLOAT}
Schema = dict[int, tuple[str, Any, bool]]
"""Name and kind of each field by its number, and whether it may stand several times."""


def _schema(fields: str, **messages: Schema) -> Schema:
    """Read ``number name kind``, with a star behind the kind of what may stand several times."""
    schema: Schema = {}
    for field in fields.split(","):
        number, name, kind = field.split()
        plain = kind.removesuffix("*")
        schema[int(number)] = (name, {**_KINDS, **messages}[plain], kind != plain)
    return schema


# onnx/onnx.proto of release 1.20; what is not needed is only passed over.
_PAIR = _schema("1 key text, 2 value text")
_TENSOR = _schema(
    "1 dims int*, 2 type int, 3 segment bytes, 4 float_data bytes*, 5 int32_data bytes*, "
    "6 string_data bytes*, 7 int64_data bytes*, 8 name text, 9 raw_data bytes, "
    "10 double_data bytes*, 11 uint64_data bytes*, 12 doc bytes, 13 external pair*, "
    "14 location int, 16 metadata bytes*",
    pair=_PAIR,
)
_DIMENSION = _schema("1 size int, 2 symbol text, 3 denotation bytes")
_SHAPE = _schema("1 dims dimension*", dimension=_DIMENSION)
_TENSOR_TYPE = _schema("1 element int, 2 shape shape", shape=_SHAPE)
_TYPE = _schema(
    "1 tensor tensor, 4 sequence bytes, 5 map bytes, 6 denotation bytes, 7 opaque bytes, "
    "8 sparse bytes, 9 optional bytes",
    tensor=_TENSOR_TYPE,
)
_VALUE = _schema("1 name text, 2 type type, 3 doc bytes, 4 metadata bytes*", type=_TYPE)
_ATTRIBUTE = _schema(
    "1 name text, 2 f float, 3 i int, 4 s bytes, 5 t tensor, 7 floats bytes*, 8 ints int*, "
    "9 strings bytes*, 10 tensors tensor*, 13 doc bytes, 14 tp bytes, 15 tps bytes*, 20 type int, "
    "21 reference text, 22 sparse bytes, 23 sparses bytes*",
    tensor=_TENSOR,
)
_NODE = _schema(
    "1 inputs text*, 2 outputs text*, 3 name text, 4 operator text, 5 attributes attribute*, "
    "6 doc bytes, 7 domain text, 8 overload text, 9 metadata bytes*, 10 devices bytes*",
    attribute=_ATTRIBUTE,
)
_GRAPH = _schema(
    "1 nodes node*, 2 name text, 5 initializers tensor*, 10 doc bytes, 11 inputs value*, "
    "12 outputs value*, 13 values bytes*, 14 quantization bytes*, 15 sparse bytes*, "
    "16 metadata bytes*",
    node=_NODE,
    tensor=_TENSOR,
    value=_VALUE,
)
_ATTRIBUTE |= _schema("6 g graph, 11 graphs graph*", graph=_GRAPH)
_OPSET = _schema("1 domain text, 2 version int")
_FUNCTION = _schema(
    "1 name text, 4 inputs text*, 5 outputs text*, 6 attributes text*, 7 nodes node*, 8 doc bytes, "
    "9 opsets opset*, 10 domain text, 11 defaults attribute*, 12 values bytes*, 13 overload text, "
    "14 metadata bytes*",
    node=_NODE,
    opset=_OPSET,
    attribute=_ATTRIBUTE,
)
_MODEL = _schema(
    "1 ir_version int, 2 producer text, 3 producer_version text, 4 domain text, "
    "5 model_version int, 6 doc bytes, 7 graph graph, 8 opsets opset*, 14 metadata bytes*, "
    "20 training bytes*, 25 functions function*, 26 devices bytes*",
    graph=_GRAPH,
    opset=_OPSET,
    function=_FUNCTION,
)


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
        self.described = self.long = 0
        """Bytes of descriptions, which are not read; those of long names and descriptions alone."""
        self._file, self._size, self._folder = file, size, folder
        self._window, self._start = b"", 0
        self._fields = self._numbers = self._letters = 0
        self._beside: dict[str, tuple[BinaryIO, int]] = {}
        self._tables: dict[Stored, tuple[Any, ...] | None] = {}

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
        return damaged(f"{self.name} is a damaged ONNX model: {what}; get the file again.")

    def unsupported(self, what: str) -> InputError:
        """Make the error of a file that this version does not read."""
        return unsupported(f"{self.name} cannot be used: {what}; {SAFETENSORS_COPY}.")

    def _too_short(self) -> InputError:
        return TruncatedError(self.damaged("a field is longer than what it lies in").sentence)

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
        message = Message()
        for number, wire, start, stop in self._iter_fields(at, end):
            if number not in schema:
                self.unknown += max(1, stop - start)
                continue
            name, kind, many = schema[number]
            if kind is _INT and wire == 2 and many:
                message.setdefault(name, []).extend(self._packed(start, stop))
                continue
            if not _has_wire(kind, wire, many):
                raise self.damaged(
                    f"the field {name} is no {kind if isinstance(kind, str) else 'table'}"
                )
            if kind is _INT:
                value: Any = _signed(start)
            elif kind is _SPAN:
                value = (start, stop)
                if name in _DESCRIPTIONS:
                    self.described += stop - start
                    self.long += stop - start if stop - start > _MAX_DESCRIPTION else 0
            elif kind is _TEXT:
                value = self._text(start, stop)
            elif kind is _FLOAT:
                (value,) = struct.unpack("<f", self.raw(start, stop))
            else:
                value = self._read(kind, start, stop, depth + 1)
            if many:
                message.setdefault(name, []).append(value)
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
        if stop - start > _MAX_WORDS:
            self.long += stop - start
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
        if code not in DTYPES:
            if code not in _OTHER_TYPES:
                raise self.damaged(f"{label} has no valid type")
            return Stored(name, "", shape, type_name=_OTHER_TYPES[code])
        dtype = DTYPES[code]
        nbytes = prod(shape) * DTYPE_BYTES[dtype]
        given = [
            field
            for field in (
                "raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data",
            )
            if message.get(field)
        ]  # fmt: skip
        location = message.get("location", 0)
        if location != bool(message["external"]) or (location and given):
            raise self.damaged(f"{label} does not say clearly where its numbers lie")
        if location:
            return self._external(Stored(name, dtype, shape, 0, nbytes), message["external"])
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
            raise damaged(
                f"{self.name} is not opened: {label} is said to lie in {location[:80]!r}, which is "
                "no file name of its folder; get the model from its author."
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
            why = "cannot be read; put that file beside it"
            if path.is_file() and not is_onnx_name(self.name):
                why = f"is only read beside a model whose name ends in {ONNX_ENDING}; rename it"
            raise damaged(f"{self.name} keeps tensors in {location[:80]!r}, which {why}.") from None
        if (size := self._beside[location][1]) > MAX_SIZE:
            raise self.unsupported(
                f"{location[:80]} has {size >> 40} TiB, more than any checkpoint"
            )

    def table(self, stored: Stored) -> tuple[Any, ...] | None:
        """The numbers of a small tensor; None for a large one, and where there are none."""
        if stored not in self._tables:
            self._tables[stored] = self._numbers_of(stored)
        return self._tables[stored]

    def _numbers_of(self, stored: Stored) -> tuple[Any, ...] | None:
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

    def is_padding(self, name: str, start: int, stop: int) -> bool:
        """Whether bytes of a file beside it are few zeros, to which programs align tensors."""
        if stop - start > _GAP:
            return False
        file = self._beside[name][0]
        file.seek(start)
        return not file.read(stop - start).strip(b"\0")

    def sizes_beside(self) -> dict[str, int]:
        """Bytes of each file beside it that holds tensors."""
        return {name: size for name, (_, size) in self._beside.items()}


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
