"""NumPy's archives of arrays (.npz), read in place; arrays of objects hold pickles."""

from __future__ import annotations

import ast
import struct
from math import prod
from typing import Any, BinaryIO

from ml_core.reading.doctored_zip import doctored
from ml_core.reading.errors import InputError
from ml_core.reading.pickles.machine import MAX_BYTES, Reading, read_pickle
from ml_core.reading.safetensors_header import DTYPE_BYTES, MAX_NAME, MAX_RANK, TensorInfo
from ml_core.reading.torch_file import check_pickles
from ml_core.reading.weights_file import WeightsFile
from ml_core.reading.zip_members import STORED, Member, ZipError, read_member, zip_members

_DTYPES = {
    "|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<i2": "I16", "<u2": "U16", "<i4": "I32",
    "<u4": "U32", "<i8": "I64", "<u8": "U64", "<f2": "F16", "<f4": "F32", "<f8": "F64",
}  # fmt: skip
_MAX_HEADER = 1 << 16


def read_npz(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read an open archive of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If an array of objects names code that is not on the list.
    InputError
        ``damaged`` if it is not what it says, ``unsupported`` for arrays of objects, packed
        members and other types of values.
    """
    try:
        members = zip_members(file, size)
        arrays = [(member, _header(file, member)) for member in members]
        objects = [
            (f"the array {member.name!r}", _pickle(file, member, at))
            for member, (descr, _, _, at) in arrays
            if "O" in descr
        ]
    except ZipError as error:
        raise doctored(file, size, name, str(error)) from None
    names = check_pickles(objects, name)
    if objects:
        raise InputError(
            f"{name} holds arrays of Python objects ({objects[0][0]}), which are not read; save "
            "plain numbers.",
            "unsupported",
        )
    return WeightsFile(
        "NumPy archive (.npz)",
        tuple(_tensor(member, *header, name) for member, header in arrays),
        names=names,
    )


def _header(file: BinaryIO, member: Member) -> tuple[str, bool, tuple[int, ...], int]:
    """Type, column order and shape of an array, and where its numbers begin in the member."""
    label = f"its array {member.name[:80]!r}"
    if member.method != STORED:
        raise ZipError(f"{label} is packed; save it with numpy.savez")
    file.seek(member.offset)
    head = file.read(min(12, member.size))
    if len(head) < 10 or head[:6] != b"\x93NUMPY" or head[6] not in (1, 2, 3):
        raise ZipError(f"{label} is none")
    length, start = struct.unpack_from("<H", head, 8)[0], 10
    if head[6] > 1:
        if len(head) < 12:
            raise ZipError(f"{label} is cut short")
        length, start = struct.unpack_from("<I", head, 8)[0], 12
    if length > _MAX_HEADER or start + length > member.size:
        raise ZipError(f"{label} has a header that is too long")
    file.seek(member.offset + start)
    try:
        found: Any = ast.literal_eval(file.read(length).decode("utf-8").strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ZipError(f"{label} has a damaged header") from None
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise ZipError(f"{label} has a damaged header")
    descr, columns, shape = found["descr"], found["fortran_order"], found["shape"]
    if not isinstance(shape, tuple) or len(shape) > MAX_RANK or not isinstance(columns, bool):
        raise ZipError(f"{label} has no valid shape")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ZipError(f"{label} has no valid shape")
    return str(descr)[:200], columns, shape, start + length


def _pickle(file: BinaryIO, member: Member, at: int) -> Reading:
    """The pickle behind an array of objects."""
    return read_pickle(read_member(file, member, MAX_BYTES)[at:])


def _tensor(
    member: Member, descr: str, columns: bool, shape: tuple[int, ...], at: int, name: str
) -> TensorInfo:
    """Find an array's bytes."""
    title = member.name.removesuffix(".npy")
    label = f"the array {title[:80]!r} of {name}"
    if descr not in _DTYPES:
        raise InputError(
            f"{label[0].upper()}{label[1:]} has values of the type {descr[:40]!r}, which no CLIP "
            "has; save them as float32.",
            "unsupported",
        )
    nbytes = prod(shape) * DTYPE_BYTES[_DTYPES[descr]]
    if at + nbytes != member.size or len(title) > MAX_NAME:
        raise InputError(
            f"{name} is damaged: {label} needs {nbytes} bytes and has {member.size - at}; get the "
            "file again.",
            "damaged",
        )
    stride: tuple[int, ...] | None = None
    if columns and len(shape) > 1:
        stride = tuple(prod(shape[:axis]) for axis in range(len(shape)))
    return TensorInfo(title, _DTYPES[descr], shape, member.offset + at, nbytes, stride)
