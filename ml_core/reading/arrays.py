"""Arrays of numbers out of .npy, .npz, .pt and .safetensors files, without running any of it."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.archive_members import DEFLATED, ZipError, read_member, zip_members
from ml_core.reading.errors import InputError, unsupported
from ml_core.reading.examine import examine
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import NUMPY, TensorInfo, parse_header
from ml_core.reading.torch_file import NPY_MARK, npy_header

ARRAY_SUFFIXES = frozenset({".npy", ".npz", ".pt", ".pth", ".safetensors"})
MAX_BYTES = 64 << 20
MAX_ARRAYS = 64
_MAX_RANK = 8
_MAX_HEADER = 4096
# NumPy writes its header in this one way; nothing of it is evaluated.
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=]?[a-z]\d{1,2})',\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([\d, ]*)\),?\s*\}\s*"
)
_TYPES = {**NUMPY, "BF16": "<u2"}
_NUMBERS = frozenset(code[1:] for code in NUMPY.values())

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """Arrays by name ("" where the file names none), and the SHA-256 of the file."""

    arrays: dict[str, Array]
    sha256: str


def read_arrays(path: str | Path) -> ArrayFile:
    """Read a small file of arrays; its content decides on the format, its name only for ``.npy``.

    Raises
    ------
    InputError
        ``dangerous`` if it names code, ``damaged`` or ``unsupported`` if it holds no arrays of
        numbers or over 64 MB, ``usage`` if it cannot be read.
    """
    path = Path(path)
    raw = _bytes(path)
    digest = hashlib.sha256(raw).hexdigest()
    if raw.startswith(NPY_MARK):
        return ArrayFile({"": _npy(raw, path.name)}, digest)
    packed = _packed_npz(path) if raw.startswith(b"PK") else None
    if packed is not None:
        return ArrayFile(packed, digest)
    inspection = examine(path)
    if inspection.refused:
        raise inspection.refusal()
    if inspection.sha256 != digest:
        raise InputError(f"{path.name} changed while it was read; open it again.", "damaged")
    return ArrayFile(_tensors(raw, inspection.tensors, path.name), digest)


def read_safetensors(path: str | Path) -> ArrayFile:
    """Read a small safetensors file in this process; its header is checked JSON.

    Raises
    ------
    InputError
        As `read_arrays` does.
    """
    path = Path(path)
    raw = _bytes(path)
    file, size = open_regular(path)
    with file:
        header = parse_header(file, size, path.name)
    if size != len(raw):
        raise InputError(f"{path.name} changed while it was read; open it again.", "damaged")
    arrays = _tensors(raw, header.tensors, path.name)
    return ArrayFile(arrays, hashlib.sha256(raw).hexdigest())


def parse_safetensors(raw: bytes, name: str) -> dict[str, Array]:
    """Arrays of a small safetensors file that is in memory; ``name`` is for sentences.

    Raises
    ------
    InputError
        As `read_arrays` does.
    """
    return _tensors(raw, parse_header(io.BytesIO(raw), len(raw), name).tensors, name)


def _bytes(path: Path) -> bytes:
    """A regular file of limited size."""
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            raise unsupported(
                f"{path.name} is larger than {MAX_BYTES >> 20} MB, which no trigger is; choose "
                "another file."
            )
        return file.read(MAX_BYTES)


def _npy(raw: bytes, name: str) -> Array:
    """Read one array as NumPy saves it; nothing of its header is evaluated.

    Raises
    ------
    InputError
        ``damaged`` if it is no array, ``unsupported`` if it holds anything but numbers.
    """
    damaged = InputError(f"{name} is a damaged NumPy array; save it again.", "damaged")
    if not raw.startswith(NPY_MARK) or len(raw) < 12 or raw[6] not in (1, 2, 3):
        raise damaged
    start, end = npy_header(raw)
    header = raw[start : min(end, start + _MAX_HEADER)].decode("latin-1")
    if "O" in header.partition("'fortran_order'")[0]:
        raise unsupported(f"{name} holds Python objects, which are not read; save plain numbers.")
    match = _HEADER.fullmatch(header)
    if match is None:
        raise damaged
    descr = match[1].replace("=", "<")
    if descr.lstrip("<>|") not in _NUMBERS:
        raise unsupported(
            f"{name} has values of the type {descr}, which are no numbers that can be used; save "
            "them as float32."
        )
    shape = tuple(int(side) for side in match[3].replace(" ", "").split(",") if side)
    if len(shape) > _MAX_RANK:
        raise damaged
    if end + prod(shape) * np.dtype(descr).itemsize != len(raw):
        raise damaged
    order: Any = "F" if match[2] == "True" else "C"
    return np.frombuffer(raw, descr, offset=end).reshape(shape, order=order)


def _packed_npz(path: Path) -> dict[str, Array] | None:
    """Arrays of an archive with packed members, unread by `examine`; None for other files.

    The members are inflated up to a limit, and the arrays in them are read as such.
    """
    file, size = open_regular(path)
    with file:
        try:
            members = zip_members(file, size)
            arrays = all(member.name.endswith(".npy") for member in members)
            if not members or not arrays or all(m.method != DEFLATED for m in members):
                return None
            if len(members) > MAX_ARRAYS or sum(member.size for member in members) > MAX_BYTES:
                raise unsupported(
                    f"{path.name} holds more than a trigger needs ({MAX_BYTES >> 20} MB, "
                    f"{MAX_ARRAYS} arrays); choose another file."
                )
            return {
                member.name.removesuffix(".npy"): _npy(
                    read_member(file, member, MAX_BYTES), f"{member.name[:80]} in {path.name}"
                )
                for member in members
            }
        except ZipError as error:
            raise InputError(
                f"{path.name} is a damaged or doctored archive: {error}; get the file again.",
                "damaged",
            ) from None


def _tensors(raw: bytes, infos: tuple[TensorInfo, ...], name: str) -> dict[str, Array]:
    """Look at the tensors' bytes in their shapes."""
    if len(infos) > MAX_ARRAYS:
        raise unsupported(f"{name} holds {len(infos)} tensors: it is a checkpoint and no trigger.")
    return {info.name: _tensor(raw, info, name) for info in infos}


def _tensor(raw: bytes, info: TensorInfo, name: str) -> Array:
    """One tensor, a view of the file's bytes unless its type needs converting."""
    if info.dtype not in _TYPES:
        raise unsupported(
            f"{name}: the tensor {info.name[:80]!r} has the type {info.dtype}; save it as float32."
        )
    dtype = np.dtype(_TYPES[info.dtype])
    flat = np.frombuffer(raw, dtype, info.nbytes // dtype.itemsize, info.offset)
    if info.dtype == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    if info.stride is None or not info.elements:
        return flat.reshape(info.shape)
    if prod(info.shape) > MAX_BYTES:
        raise unsupported(f"{name}: the tensor {info.name[:80]!r} is too large.")
    steps = tuple(step * flat.itemsize for step in info.stride)
    return np.lib.stride_tricks.as_strided(flat, info.shape, steps, writeable=False)
