"""A checkpoint inside a zip or tar archive or a gzip file: nothing is unpacked to disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast

from ml_core.reading.archive_members import (
    STORED,
    Member,
    ZipError,
    odd_members,
    read_head,
    tar_members,
)
from ml_core.reading.container import Container, WeightsFile, checksums_of, container_of
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import InputError, SeveralError
from ml_core.reading.hashing import ChecksumError, compare_checksums
from ml_core.reading.torch_file import UnknownCodeError, check_members, doctored, zip_refusal

CHECKPOINT_SUFFIXES = (
    ".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npz", ".gguf",
    ".zip", ".tar",
)  # fmt: skip

_MOST = 64  # checkpoints that are listed, each with its verdict
_BESIDE, _APPLE_DOUBLE = "__MACOSX/", b"\0\x05\x16\x07"

List = Callable[[BinaryIO, int], tuple[Member, ...]]
Read = Callable[[BinaryIO, int, str], WeightsFile]


def read_wrapped(
    file: BinaryIO, size: int, name: str, members: List, read: Read, chosen: str = ""
) -> WeightsFile:
    """Read a checkpoint of an open archive of ``size`` bytes.

    Parameters
    ----------
    file, size, name
        The archive; ``name`` is for sentences.
    members
        Lists its members.
    read
        Reads what lies inside; it must refuse another archive.
    chosen
        Name of the member, perhaps with ``#`` and a part of it, if it holds several checkpoints.

    Raises
    ------
    SeveralError
        If it holds several checkpoints and none of them is chosen.
    InputError
        ``damaged`` for a doctored archive, ``dangerous`` for PyTorch's layout of 2017,
        ``unsupported`` if it holds no checkpoint or one that is packed twice; otherwise what
        ``read`` raises.
    """
    try:
        listed = members(file, size)
    except ZipError as error:
        raise doctored(file, size, name, error) from None
    if any(member.name == "storages" for member in listed):
        raise InputError(
            f"{name} is in PyTorch's layout of 2017, whose pickles are run one by one; do not load "
            "it elsewhere.",
            "dangerous",
        )
    inside = [
        member
        for member in listed
        if member.name.lower().endswith(CHECKPOINT_SUFFIXES) and not _is_beside(file, member)
    ]
    names = tuple(member.name for member in inside)
    several = len(names) > 1
    matching = [name for name in names if chosen == name or chosen.startswith(f"{name}#")]
    if len(matching) == 1:
        several = True
        inside = [member for member in inside if member.name == matching[0]]
    if len(inside) != 1:
        if 1 < len(inside) <= _MOST and len(set(names)) == len(names):
            raise SeveralError(name, "an archive", names)
        check_members(file, listed, name)
        many = f"{len(inside)} files that may be checkpoints" if inside else "no checkpoint"
        raise InputError(
            f"{name} is an archive with {many}; unpack it and open one file.", "unsupported"
        )
    (member,) = inside
    label = f"{name}/{member.name}"
    if member.method == STORED:
        window = cast(BinaryIO, io.BufferedReader(_Window(file, member.offset, member.size)))
        try:
            weights = _shift(read(window, member.size, label), member.offset)
        except UnknownCodeError as error:
            error.moved(member.offset)
            raise
        weights = replace(weights, checksums=weights.checksums or checksums_of([member]))
    else:
        piece = Piece(member.method, member.offset, member.packed, member.size, member.crc)
        image = Unpacked(file, [piece])
        try:
            image.verify()
        except ZipError as error:
            raise _damaged(label, error) from None
        weights = _read_packed(image, label, read)
    beside = [other for other in listed if other is not member]
    others = tuple(other.name for other in beside)
    kind = "tar" if members is tar_members else "zip"
    inner = weights.container or Container("unknown")
    outer = container_of(f"{kind}, {inner.kind}", listed, inner.protocol)
    return replace(
        weights,
        format=f"{weights.format} in an archive",
        unread=weights.unread + others,
        notes=weights.notes + odd_members(file, listed, beside),
        container=outer,
        member=member.name if several else "",
    )


def read_gzip(file: BinaryIO, size: int, name: str, read: Read) -> WeightsFile:
    """Read the checkpoint in an open gzip file of ``size`` bytes, or in a tar archive in it.

    Raises
    ------
    InputError
        ``damaged`` if it is not what it says or unpacks to far more than it is; otherwise what
        ``read`` raises.
    """
    try:
        image = Unpacked.gzip(file, size)
    except ZipError as error:
        raise _damaged(name, error) from None
    weights = _read_packed(image, name, read)
    inner = weights.container or Container("unknown")
    members = inner.members or 1
    kind = f"gzip, {inner.kind}"
    container = Container(kind, members, members, size, image.size, protocol=inner.protocol)
    packed = "" if weights.format.endswith("in an archive") else ", compressed"
    return replace(weights, format=f"{weights.format}{packed}", container=container)


def _is_beside(file: BinaryIO, member: Member) -> bool:
    """Whether a member is the companion that macOS adds to each file, by name and content."""
    return member.name.startswith(_BESIDE) and read_head(file, member, 4) == _APPLE_DOUBLE


def _read_packed(image: Unpacked, label: str, read: Read) -> WeightsFile:
    """Read the content of a packed piece that was checked."""
    image.bound()
    window = cast(BinaryIO, io.BufferedReader(image))
    try:
        weights = read(window, image.size, label)
        compare_checksums(window, weights.checksums)
    except UnknownCodeError as error:
        error.moved(None)
        raise
    except ZipError as error:
        raise _damaged(label, error) from None
    except ChecksumError as error:
        wrong = ZipError(f"its member {error.name[:80]!r} has another checksum than it should")
        raise _damaged(label, wrong) from None
    if weights.pieces:
        raise InputError(
            f"{label} is packed twice; unpack it once and open the file inside.", "unsupported"
        )
    return replace(weights, pieces=image.pieces, checksums=())


def _shift(weights: WeightsFile, by: int) -> WeightsFile:
    """The same weights with offsets moved by ``by`` bytes."""
    checksums = tuple(replace(sum_, offset=sum_.offset + by) for sum_ in weights.checksums)
    if weights.pieces:
        pieces = tuple(replace(piece, offset=piece.offset + by) for piece in weights.pieces)
        return replace(weights, pieces=pieces, checksums=checksums)
    tensors = tuple(replace(tensor, offset=tensor.offset + by) for tensor in weights.tensors)
    return replace(weights, tensors=tensors, checksums=checksums)


def _damaged(name: str, what: ZipError) -> InputError:
    return zip_refusal(f"{name} is damaged: {what}; {what.advice}.", what)


class _Window(io.RawIOBase):
    """A part of an open file that reads like a file."""

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
        count = min(len(buffer), max(0, self._size - self._position))
        self._file.seek(self._offset + self._position)
        raw = self._file.read(count)
        buffer[: len(raw)] = raw
        self._position += len(raw)
        return len(raw)
