"""Which reader reads which format; archives and gzip files are read without unpacking to disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from ml_core.reading.archive_members import (
    STORED,
    Member,
    ZipError,
    odd_members,
    read_head,
    tar_members,
    zip_members,
)
from ml_core.reading.container import Container, WeightsFile, checksums_of, container_of
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import InputError, SeveralError, damaged, unsupported
from ml_core.reading.gguf_file import read_gguf
from ml_core.reading.hashing import compare_checksums
from ml_core.reading.npz_file import read_npz
from ml_core.reading.onnx_graph import read_onnx
from ml_core.reading.safetensors_header import parse_header
from ml_core.reading.sniff import (
    BROKEN_ZIP,
    CHECKPOINT_SUFFIXES,
    GGUF,
    GZIP,
    NPY,
    NPZ,
    ONNX,
    PICKLE,
    SAFETENSORS,
    TAR,
    TORCH_STREAM,
    TORCH_ZIP,
    ZIP,
    Kind,
    sniff,
)
from ml_core.reading.torch_file import (
    UnknownCodeError,
    check_members,
    doctored,
    read_bare_pickle,
    read_npy,
    read_torch_stream,
    read_torch_zip,
    zip_refusal,
)

_MOST = 64  # checkpoints that are listed, each with its verdict
_BESIDE, _APPLE_DOUBLE = "__MACOSX/", b"\0\x05\x16\x07"


def read_weights(
    file: BinaryIO, size: int, name: str, kind: Kind, member: str = "", folder: Path | None = None
) -> WeightsFile:
    """Read an open file of ``size`` bytes in the format from `sniff`; ``name`` is for sentences.

    Parameters
    ----------
    member
        Which file of an archive with several is meant.
    folder
        Where it lies; None in an archive, beside whose members nothing lies.

    Raises
    ------
    SeveralError
        If an archive holds several checkpoints and none of them is chosen.
    InputError
        If the format is refused, the file is not what it says, or it holds no tensors.
    """
    if kind is GZIP:
        return _read_gzip(file, size, name)
    if kind in (ZIP, TAR):
        return _read_wrapped(file, size, name, kind, member)
    if kind == BROKEN_ZIP:
        raise doctored(file, size, name, _what_is_wrong(file, size))
    if kind.code:
        raise InputError(f"{name} {kind.why}.", kind.code)
    if kind is ONNX:
        weights = read_onnx(file, size, name, folder)
    else:
        weights = _READERS[kind.format](file, size, name)
    if not weights.tensors:
        raise damaged(f"{name} holds no tensors; choose the file with the model's weights.")
    return weights


def _what_is_wrong(file: BinaryIO, size: int) -> ZipError | str:
    """Why a file that begins as a zip archive has no readable list of members."""
    try:
        zip_members(file, size)
    except ZipError as error:
        return error
    return "it has no readable list of members"


def _read_inner(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read what lies in an archive; another archive is not opened."""
    kind = sniff(file, size)
    if kind in (ZIP, TAR, GZIP):
        raise unsupported(
            f"{name} is an archive inside an archive; unpack it and open the file itself."
        )
    return read_weights(file, size, name, kind)


def _read_unzipped(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read what lies in a gzip file: a checkpoint, or a tar archive with one."""
    if sniff(file, size) is TAR:
        return _read_wrapped(file, size, name, TAR)
    return _read_inner(file, size, name)


def _read_safetensors(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read the header; the tensors' bytes need no reading."""
    file.seek(0)
    header = parse_header(file, size, name)
    return WeightsFile(
        SAFETENSORS.format, header.tensors, header.metadata, container=Container("safetensors")
    )


_READERS: Mapping[str, Callable[[BinaryIO, int, str], WeightsFile]] = {
    SAFETENSORS.format: _read_safetensors,
    TORCH_ZIP.format: read_torch_zip,
    TORCH_STREAM.format: read_torch_stream,
    PICKLE.format: read_bare_pickle,
    GGUF.format: read_gguf,
    NPZ.format: read_npz,
    NPY.format: read_npy,
}


def _read_wrapped(
    file: BinaryIO, size: int, name: str, kind: Kind, chosen: str = ""
) -> WeightsFile:
    """Read a checkpoint of an open zip or tar archive of ``size`` bytes.

    ``chosen`` names the member, perhaps with ``#`` and a part of it, if it holds several
    checkpoints. Raises a `SeveralError` if none of those is chosen.
    """
    try:
        listed = (tar_members if kind is TAR else zip_members)(file, size)
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
        raise unsupported(f"{name} is an archive with {many}; unpack it and open one file.")
    (member,) = inside
    label = f"{name}/{member.name}"
    if member.method == STORED:
        stored = Piece(STORED, member.offset, member.size, member.size, 0)
        window = cast(BinaryIO, io.BufferedReader(Unpacked(file, [stored])))
        try:
            weights = _shift(_read_inner(window, member.size, label), member.offset)
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
        weights = _read_packed(image, label, _read_inner)
    beside = [other for other in listed if other is not member]
    others = tuple(other.name for other in beside)
    inner = weights.container or Container("unknown")
    outer = container_of(f"{'tar' if kind is TAR else 'zip'}, {inner.kind}", listed, inner.protocol)
    return replace(
        weights,
        format=f"{weights.format} in an archive",
        unread=weights.unread + others,
        notes=weights.notes + odd_members(file, listed, beside),
        container=outer,
        member=member.name if several else "",
    )


def _read_gzip(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read the checkpoint in an open gzip file of ``size`` bytes, or in a tar archive in it."""
    try:
        image = Unpacked.gzip(file, size)
    except ZipError as error:
        raise _damaged(name, error) from None
    weights = _read_packed(image, name, _read_unzipped)
    inner = weights.container or Container("unknown")
    members = inner.members or 1
    kind = f"gzip, {inner.kind}"
    container = Container(kind, members, members, size, image.size, protocol=inner.protocol)
    packed = "" if weights.format.endswith("in an archive") else ", compressed"
    return replace(weights, format=f"{weights.format}{packed}", container=container)


def _is_beside(file: BinaryIO, member: Member) -> bool:
    """Whether a member is the companion that macOS adds to each file, by name and content."""
    return member.name.startswith(_BESIDE) and read_head(file, member, 4) == _APPLE_DOUBLE


def _read_packed(
    image: Unpacked, label: str, read: Callable[[BinaryIO, int, str], WeightsFile]
) -> WeightsFile:
    """Read the content of a packed piece that was checked."""
    image.bound()
    window = cast(BinaryIO, io.BufferedReader(image))
    try:
        weights = read(window, image.size, label)
        if wrong := compare_checksums(window, weights.checksums):
            what = f"its member {wrong[:80]!r} has another checksum than it should"
            raise ZipError(what)
    except UnknownCodeError as error:
        error.moved(None)
        raise
    except ZipError as error:
        raise _damaged(label, error) from None
    if weights.pieces:
        raise unsupported(f"{label} is packed twice; unpack it once and open the file inside.")
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
