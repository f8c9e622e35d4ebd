"""Pickles outside PyTorch's layouts: they are refused, and what they name is told."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NoReturn

from ml_core.reading.errors import InputError
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.sniff import HEAD, looks_pickle
from ml_core.reading.torch_file import check_pickles
from ml_core.reading.zip_members import Member, read_head

_NPY = b"\x93NUMPY"
# The header of an array of numbers, texts or times, as NumPy writes it.
_NUMBERS = re.compile(
    rb"\{\s*'descr':\s*'[<>|=][A-NP-Za-z?]\d{1,9}(?:\[\w+\])?',\s*"
    rb"'fortran_order':\s*(?:True|False),\s*'shape':\s*\([\d, ]*\),?\s*\}\s*"
)
_MAX_TOTAL = 64 << 20


def read_bare_pickle(file: BinaryIO, size: int, name: str) -> NoReturn:
    """Follow an open pickle of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``damaged`` or ``unsupported`` otherwise: PyTorch keeps no tensors in such a file.
    """
    file.seek(0)
    raw = file.read(MAX_BYTES)
    check_pickles([("the pickle", read_pickle(raw, ends=size <= MAX_BYTES, origin=0))], name)
    raise InputError(
        f"{name} is a Python pickle and no PyTorch file, so it holds no tensors that this tool "
        "reads; save the state dict with torch.save or as safetensors.",
        "unsupported",
    )


def read_npy(file: BinaryIO, size: int, name: str) -> NoReturn:
    """Refuse an open NumPy array of ``size`` bytes; one of objects is a pickle.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``unsupported`` otherwise: a checkpoint has more than one array.
    """
    file.seek(0)
    start = _objects_at(file.read(HEAD))
    if start:
        file.seek(start)
        raw = file.read(MAX_BYTES)
        found = read_pickle(raw, ends=size - start <= MAX_BYTES, origin=start)
        if found.unknown or found.misuse:
            check_pickles([("its pickle", found)], name)
        raise InputError(
            f"{name} is a NumPy array that may hold Python objects, which are not read; do not "
            "load it elsewhere.",
            "unsupported",
        )
    raise InputError(
        f"{name} is a NumPy array; this version opens safetensors files, PyTorch files and "
        "open_clip folders.",
        "unsupported",
    )


def check_members(file: BinaryIO, members: Iterable[Member], name: str) -> None:
    """Refuse an archive without a checkpoint for the pickles in it, by whatever names.

    Raises
    ------
    UnknownCodeError
        If one names code that is not on the list.
    InputError
        ``unsupported`` if one is an array of objects, which only its loader's options keep from
        being run.
    """
    readings = list(_pickles(file, members))
    told = [(label, found) for label, found in readings if found.unknown or found.misuse]
    check_pickles(told, name)
    if objects := [label for label, found in readings if label.startswith("the array")]:
        raise InputError(
            f"{name} holds arrays that may be of Python objects ({objects[0]}), which are not "
            "read; do not load it elsewhere.",
            "unsupported",
        )


def _pickles(file: BinaryIO, members: Iterable[Member]) -> Iterator[tuple[str, Reading]]:
    """Arrays of objects and pickles among members, each read as far as it is needed."""
    budget, left = Budget(), _MAX_TOTAL
    for member in members:
        head = read_head(file, member, HEAD)
        start = _objects_at(head)
        if not (start or looks_pickle(head)) or left <= 0:
            continue
        raw = read_head(file, member, min(MAX_BYTES, left))[start:]
        left -= len(raw)
        kind = "array" if start else "member"
        reading = read_pickle(raw, ends=False, budget=budget, origin=member.place(start))
        yield f"the {kind} {member.name[:80]!r}", reading


def _objects_at(head: bytes) -> int:
    """Where the pickle of a NumPy array begins if it may be one of objects; 0 if it is none."""
    if len(head) < 12 or not head.startswith(_NPY):
        return 0
    length, start = struct.unpack_from("<H", head, 8)[0], 10
    if head[6] > 1:
        length, start = struct.unpack_from("<I", head, 8)[0], 12
    end = start + int(length)
    return 0 if _NUMBERS.fullmatch(head, start, end) else end
