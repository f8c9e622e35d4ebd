"""The header of a safetensors file, checked more strictly than the format asks.

The format: eight bytes of header length (little-endian), a JSON object, the tensors' bytes.
A file passes when its tensors lie back to back and the last one ends where the file ends, so
no byte of the file is left without a name.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ml_core.reading.errors import InputError, TruncatedError, damaged, unsupported
from ml_core.reading.regular_file import open_file
from ml_core.reading.strict_json import JsonError, is_whole, parse_object

MAX_TENSORS = 100_000
MAX_HEADER = 16 << 20  # as many tensors with names of a hundred letters
MAX_RANK = 16
MAX_NAME = 1024

DTYPE_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
NUMPY: Mapping[str, str] = {
    "BOOL": "|b1", "U8": "|u1", "I8": "|i1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
    "U32": "<u4", "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
"""NumPy's names of the types that it has."""
BLOCKS: Mapping[str, tuple[int, int]] = {"Q4_0": (32, 18), "Q8_0": (32, 34)}
"""ggml's types that round blocks of numbers: the numbers of a block, and its bytes."""


def packed_bytes(dtype: str, elements: int) -> int:
    """The bytes of so many numbers of a type; of whole blocks if it has blocks."""
    numbers, nbytes = BLOCKS.get(dtype) or (1, DTYPE_BYTES[dtype])
    return elements // numbers * nbytes


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: ``offset`` counts from the start of the file.

    ``dtype`` is safetensors' name, or ggml's of a type in `BLOCKS`.

    ``nbytes`` reaches from its first to its last element. ``stride`` counts elements and is None
    where they lie in row-major order; ``storage`` names bytes that several tensors may share.
    ``file`` is the shard of a checkpoint in several files, "" where there is one file. Whole
    numbers with ``scales`` stand for ``(number - zero) * scale``, with one scale and zero for all,
    or one for each place along ``axis``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    stride: tuple[int, ...] | None = None
    storage: str = ""
    file: str = ""
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    axis: int = 0

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def value_dtype(self) -> str:
        """The type of the numbers that it stands for."""
        return "F32" if self.scales or self.dtype in BLOCKS else self.dtype


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says; ``tensors`` in the order of their bytes."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]


def read_header(path: Path, inside: Path | None = None) -> Header:
    """Read and check the header of a safetensors file.

    Parameters
    ----------
    inside
        As in `ml_core.reading.regular_file.open_file`.

    Raises
    ------
    InputError
        ``damaged`` with the first thing that is wrong.
    """
    try:
        with open_file(Path(path), inside) as file:
            size = file.seek(0, 2)
            file.seek(0)
            return parse_header(file, size, Path(path).name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def parse_header(file: BinaryIO, size: int, name: str) -> Header:
    """Check the header of an open safetensors file of ``size`` bytes; ``name`` is for messages."""
    if size < 10:
        raise _damaged(name, f"it has only {size} bytes", short=True)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size - 8:
        short = f"its header claims {length} bytes and the file has {size}"
        raise _damaged(name, short, short=True)
    if length > MAX_HEADER:
        raise _too_much(name, f"its header has {length} bytes, the limit is {MAX_HEADER}")
    raw = file.read(length)
    if not raw.startswith(b"{"):
        raise _damaged(name, "its header does not start with '{'")
    try:
        entries = parse_object(raw, max_depth=3)
    except JsonError as error:
        raise _damaged(name, f"in its header, {error}") from None
    metadata = _metadata(entries.pop("__metadata__", {}), name)
    if len(entries) > MAX_TENSORS:
        raise _too_much(name, f"it lists {len(entries)} tensors, the limit is {MAX_TENSORS}")
    start = 8 + length
    tensors = [_tensor(key, entry, start, name) for key, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    _check_contiguous(tensors, start, size, name)
    return Header(tuple(tensors), metadata)


def _damaged(name: str, what: str, short: bool = False) -> InputError:
    """Make the sentence; ``short`` if bytes are missing at the end."""
    sentence = f"{name} is a damaged safetensors file: {what}; get the file again."
    return TruncatedError(sentence) if short else damaged(sentence)


def _too_much(name: str, what: str) -> InputError:
    """Make the sentence on a limit of this tool."""
    advice = "ask its author for a file of the model alone"
    return unsupported(f"{name} cannot be used: {what}; {advice}.")


def _metadata(value: Any, name: str) -> dict[str, str]:
    """Check that the metadata maps text to text."""
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _damaged(name, "its metadata is not a table of texts")
    return value


def _tensor(key: str, entry: Any, start: int, name: str) -> TensorInfo:
    """Check one entry of the header."""
    label = f"the tensor {key[:80]!r}"
    if not key or len(key) > MAX_NAME:
        raise _damaged(name, f"{label} has a name of {len(key)} characters")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(name, f"{label} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise unsupported(
            f"{name} holds {label} of the type {str(dtype)[:40]!r}, which this version cannot "
            "read; convert it to F32, F16 or BF16."
        )
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(is_whole(side, 0, 1 << 48) for side in shape)
    ):
        raise _damaged(name, f"{label} has no valid shape")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(is_whole(offset, 0, 1 << 62) for offset in offsets)
    ):
        raise _damaged(name, f"{label} has no valid data offsets")
    begin, end = offsets
    if prod(side for side in shape if side) > 1 << 48:
        raise _damaged(name, f"{label} has no valid shape")
    nbytes = prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != nbytes:
        raise _damaged(name, f"{label} needs {nbytes} bytes and has {end - begin}")
    return TensorInfo(key, dtype, tuple(shape), start + begin, nbytes)


def _check_contiguous(tensors: list[TensorInfo], start: int, size: int, name: str) -> None:
    """Refuse gaps, overlaps, missing bytes and bytes after the last tensor."""
    position = start
    for tensor in tensors:
        if tensor.offset != position:
            kind = "overlaps another" if tensor.offset < position else "leaves a gap before it"
            raise _damaged(name, f"the tensor {tensor.name[:80]!r} {kind}")
        position += tensor.nbytes
    if position != size:
        short = "is cut short" if position > size else "has bytes after its last tensor"
        what = f"it {short} ({size:,} bytes instead of {position:,})"
        raise _damaged(name, what, position > size)
