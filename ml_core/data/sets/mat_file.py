"""Number arrays of a MATLAB 5 file, as Flowers-102 keeps its labels; nothing else of the format."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular

MAX_BYTES = 2 << 20
"""Of a file, and of all that is packed in it; Flowers-102 has 16 KB."""
_MATRIX, _PACKED = 14, 15
_NUMBERS = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8",
    12: "<i8", 13: "<u8",
}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)


class _NotReadableError(ValueError):
    """Half a sentence says why."""


def read_mat(path: Path) -> dict[str, NDArray[np.int64]]:
    """Read the arrays of whole numbers, each flat.

    Raises
    ------
    InputError
        ``damaged`` if it is no little-endian MATLAB 5 file, is cut short, unpacks to over 2 MB, or
        has an array of something else than whole numbers; ``unsupported`` if it has over 2 MB.
    """
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            raise InputError(f"{path.name} has over {MAX_BYTES >> 20} MB.", "unsupported")
        raw = file.read(MAX_BYTES)
    try:
        if raw[124:128] != b"\x00\x01IM":
            raise _NotReadableError("it is no MATLAB 5 file")
        found, left = {}, MAX_BYTES
        for kind, data in _elements(raw[128:]):
            if kind == _PACKED:
                inside = _unpacked(data, left)
                left -= len(inside)
                kind, data = next(_elements(inside), (0, b""))
            if kind == _MATRIX:
                name, values = _matrix(data)
                found[name] = values
        return found
    except (_NotReadableError, struct.error, zlib.error) as error:
        raise InputError(
            f"{path.name} cannot be read as a MATLAB file of labels ({error}); get it again.",
            "damaged",
        ) from None


def _unpacked(data: bytes, most: int) -> bytes:
    """Inflate, up to the limit."""
    machine = zlib.decompressobj()
    found = machine.decompress(data, most + 1)
    if len(found) > most:
        raise _NotReadableError("it unpacks to too much")
    return found


def _elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Kinds and contents of the elements that follow each other."""
    at = 0
    while at + 8 <= len(raw):
        word, length = struct.unpack_from("<II", raw, at)
        if word >> 16:  # up to four bytes stand in the tag itself
            kind, length, start = word & 0xFFFF, word >> 16, at + 4
            if length > 4:
                raise _NotReadableError("a short element is too long")
            at += 8
        else:
            kind, start = word, at + 8
            # Packed elements alone are not filled up to eight bytes.
            at = start + (length if kind == _PACKED else -(-length // 8) * 8)
        if start + length > len(raw):
            raise _NotReadableError("it is cut short")
        yield kind, raw[start : start + length]


def _matrix(data: bytes) -> tuple[str, NDArray[np.int64]]:
    """Name and whole numbers of one array."""
    parts = list(_elements(data))
    if len(parts) < 4 or len(parts[0][1]) < 8:
        raise _NotReadableError("an array has no head")
    (flags,) = struct.unpack_from("<I", parts[0][1])
    if flags & 0xFF not in _NUMERIC_CLASSES or flags >> 11 & 1:
        raise _NotReadableError("an array holds something else than real numbers")
    if len(parts[1][1]) % 4:
        raise _NotReadableError("an array has no shape")
    shape = np.frombuffer(parts[1][1], "<i4").astype(object)  # whose product may be any number
    kind, raw = parts[3]
    if kind not in _NUMBERS or len(raw) % np.dtype(_NUMBERS[kind]).itemsize:
        raise _NotReadableError("an array has an unknown type")
    values = np.frombuffer(raw, _NUMBERS[kind])
    if (shape < 0).any() or math.prod(shape.tolist()) != len(values):
        raise _NotReadableError("an array has not as many numbers as it says")
    whole = values.astype(np.float64)
    if not (np.abs(whole) < 2**53).all() or (whole != np.round(whole)).any():
        raise _NotReadableError("an array holds something else than whole numbers")
    return parts[2][1].decode("ascii", "replace"), whole.astype(np.int64)
