"""A checkpoint inside a zip or tar archive, read in place: nothing is unpacked."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

from ml_core.reading.doctored_zip import doctored
from ml_core.reading.errors import InputError
from ml_core.reading.weights_file import WeightsFile
from ml_core.reading.zip_members import STORED, Member, ZipError

_ENDINGS = (
    ".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npz", ".zip", ".tar",
)  # fmt: skip

List = Callable[[BinaryIO, int], tuple[Member, ...]]
Read = Callable[[BinaryIO, int, str], WeightsFile]


def read_wrapped(file: BinaryIO, size: int, name: str, members: List, read: Read) -> WeightsFile:
    """Read the one checkpoint of an open archive of ``size`` bytes.

    Parameters
    ----------
    file, size, name
        The archive; ``name`` is for sentences.
    members
        Lists its members.
    read
        Reads what lies inside; it must refuse another archive.

    Raises
    ------
    InputError
        ``damaged`` for a doctored archive, ``dangerous`` for PyTorch's layout of 2017,
        ``unsupported`` if it holds no or several checkpoints or packs the one it holds; otherwise
        what ``read`` raises.
    """
    try:
        found = members(file, size)
    except ZipError as error:
        raise doctored(file, size, name, str(error)) from None
    if any(member.name == "storages" for member in found):
        raise InputError(
            f"{name} is in PyTorch's layout of 2017, whose pickles are run one by one; do not load "
            "it elsewhere.",
            "dangerous",
        )
    inside = [member for member in found if member.name.lower().endswith(_ENDINGS)]
    if len(inside) != 1:
        many = f"{len(inside)} files that may be checkpoints" if inside else "no checkpoint"
        raise InputError(
            f"{name} is an archive with {many}; unpack it and open one file.", "unsupported"
        )
    (member,) = inside
    if member.method != STORED:
        raise InputError(
            f"{name} is an archive in which {member.name[:80]!r} is packed; unpack it and open "
            "that file.",
            "unsupported",
        )
    window = cast(BinaryIO, io.BufferedReader(_Window(file, member.offset, member.size)))
    weights = read(window, member.size, f"{name}/{member.name}")
    others = tuple(other.name for other in found if other is not member)
    return replace(
        weights,
        format=f"{weights.format} in an archive",
        tensors=tuple(
            replace(tensor, offset=tensor.offset + member.offset) for tensor in weights.tensors
        ),
        unread=weights.unread + others,
    )


class _Window(io.RawIOBase):
    """Some bytes of an open file, as a file of their own."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size = file, offset, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        self._file.seek(self._offset + self._position)
        raw = self._file.read(wanted)
        buffer[: len(raw)] = raw
        self._position += len(raw)
        return len(raw)
