"""NumPy's archives of arrays (.npz), read in place; arrays of objects hold pickles."""

from __future__ import annotations

import ast
from itertools import accumulate
from math import prod
from typing import Any, BinaryIO

from ml_core.reading.archive_members import (
    STORED,
    CutShortError,
    Member,
    ZipError,
    read_head,
    read_member,
    zip_members,
)
from ml_core.reading.container import WeightsFile, checksums_of, container_of
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import damaged, first_names, unsupported
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.safetensors_header import DTYPE_BYTES, MAX_NAME, MAX_RANK, NUMPY, TensorInfo
from ml_core.reading.torch_file import NPY_MARK, check_pickles, doctored, npy_header

_DTYPES = {code: dtype for dtype, code in NUMPY.items()}
_MAX_HEADER = 1 << 16


def read_npz(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read an open archive of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If an array of objects names code that is not on the list.
    InputError
        ``damaged`` if it is not what it says, ``unsupported`` for arrays of objects, or if all
        arrays are of other types.
    """
    try:
        members = zip_members(file, size)
        arrays = [(member, _header(file, member)) for member in members]
        budget = Budget()
        objects = [
            (f"the array {member.name!r}", _pickle(file, member, at, budget))
            for member, (descr, _, _, at) in arrays
            if "O" in descr or "object" in descr
        ]
    except ZipError as error:
        raise doctored(file, size, name, error) from None
    names = check_pickles(objects, name)
    if objects:
        raise unsupported(
            f"{name} holds arrays of Python objects ({objects[0][0]}), which are not read; save "
            "plain numbers."
        )
    pieces: tuple[Piece, ...] = ()
    starts = [member.offset for member in members]
    if any(member.method != STORED for member in members):
        pieces = tuple(Piece(m.method, m.offset, m.packed, m.size, m.crc) for m in members)
        starts = [0, *accumulate(member.size for member in members)][:-1]
    tensors = tuple(
        _tensor(member, start, *header, name)
        for (member, header), start in zip(arrays, starts, strict=True)
        if header[0] in _DTYPES
    )
    left_out = [(member, descr) for member, (descr, *_) in arrays if descr not in _DTYPES]
    if not tensors and left_out:
        member, descr = left_out[0]
        raise unsupported(
            f"The array {_title(member)[:80]!r} of {name} has values of the type {descr[:40]!r}, "
            "which no CLIP has; save them as float32."
        )
    try:
        Unpacked(file, pieces).verify()
    except ZipError as error:
        raise doctored(file, size, name, error) from None
    unread = tuple(member.name for member, _ in left_out)
    return WeightsFile(
        "NumPy archive (.npz)",
        tensors,
        names=names,
        unread=unread,
        notes=_note(left_out),
        container=container_of("zip", members),
        pieces=pieces,
        checksums=checksums_of(member for member in members if member.name not in unread),
    )


def _note(left_out: list[tuple[Member, str]]) -> tuple[str, ...]:
    """Say which arrays are of types that are not read."""
    if not left_out:
        return ()
    listed = first_names([f"{_title(m)[:80]} ({descr[:40]})" for m, descr in left_out], 3, 200)
    return (f"Arrays of types that this tool does not read were left out: {listed}.",)


def _title(member: Member) -> str:
    return member.name.removesuffix(".npy")


def _header(file: BinaryIO, member: Member) -> tuple[str, bool, tuple[int, ...], int]:
    """Type, column order and shape of an array, and where its numbers begin in the member."""
    label = f"its array {member.name[:80]!r}"
    head = read_head(file, member, _MAX_HEADER + 12)
    if len(head) < 10 or head[:6] != NPY_MARK or head[6] not in (1, 2, 3):
        raise ZipError(f"{label} is none")
    if head[6] > 1 and len(head) < 12:
        raise CutShortError(f"{label} is cut short")
    start, end = npy_header(head)
    if end - start > _MAX_HEADER or end > member.size:
        raise ZipError(f"{label} has a header that is too long")
    try:
        header: Any = ast.literal_eval(head[start:end].decode("utf-8").strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ZipError(f"{label} has a damaged header") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ZipError(f"{label} has a damaged header")
    descr, columns, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(shape, tuple) or len(shape) > MAX_RANK or not isinstance(columns, bool):
        raise ZipError(f"{label} has no valid shape")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
        raise ZipError(f"{label} has no valid shape")
    return str(descr)[:200], columns, shape, end


def _pickle(file: BinaryIO, member: Member, at: int, budget: Budget) -> Reading:
    """The pickle behind an array of objects."""
    raw = read_member(file, member, MAX_BYTES)[at:]
    return read_pickle(raw, budget=budget, origin=member.place(at))


def _tensor(
    member: Member,
    start: int,
    descr: str,
    columns: bool,
    shape: tuple[int, ...],
    at: int,
    name: str,
) -> TensorInfo:
    title = _title(member)
    label = f"the array {title[:80]!r} of {name}"
    nbytes = prod(shape) * DTYPE_BYTES[_DTYPES[descr]]
    if at + nbytes != member.size or len(title) > MAX_NAME:
        raise damaged(
            f"{name} is damaged: {label} needs {nbytes} bytes and has {member.size - at}; get the "
            "file again."
        )
    stride: tuple[int, ...] | None = None
    if columns and len(shape) > 1:
        stride = tuple(prod(shape[:axis]) for axis in range(len(shape)))
    return TensorInfo(title, _DTYPES[descr], shape, start + at, nbytes, stride)
