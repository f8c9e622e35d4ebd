"""Which reader reads which format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ml_core.reading.archive_members import ZipError, tar_members, zip_members
from ml_core.reading.archived_checkpoint import read_gzip, read_wrapped
from ml_core.reading.container import Container, WeightsFile
from ml_core.reading.errors import InputError
from ml_core.reading.gguf_file import read_gguf
from ml_core.reading.npz_file import read_npz
from ml_core.reading.onnx_graph import read_onnx
from ml_core.reading.safetensors_header import parse_header
from ml_core.reading.sniff import (
    BROKEN_ZIP,
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
    doctored,
    read_bare_pickle,
    read_npy,
    read_torch_stream,
    read_torch_zip,
)


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
    InputError
        If the format is refused, the file is not what it says, or it holds no tensors.
    """
    if kind is GZIP:
        return read_gzip(file, size, name, _read_unzipped)
    if kind in (ZIP, TAR):
        members = zip_members if kind is ZIP else tar_members
        return read_wrapped(file, size, name, members, _read_inner, member)
    if kind == BROKEN_ZIP:
        raise doctored(file, size, name, _what_is_wrong(file, size))
    if kind.code:
        raise InputError(f"{name} {kind.why}.", kind.code)
    if kind is ONNX:
        weights = read_onnx(file, size, name, folder)
    else:
        weights = _READERS[kind.format](file, size, name)
    if not weights.tensors:
        raise InputError(
            f"{name} holds no tensors; choose the file with the model's weights.", "damaged"
        )
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
        raise InputError(
            f"{name} is an archive inside an archive; unpack it and open the file itself.",
            "unsupported",
        )
    return read_weights(file, size, name, kind)


def _read_unzipped(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read what lies in a gzip file: a checkpoint, or a tar archive with one."""
    if sniff(file, size) is TAR:
        return read_wrapped(file, size, name, tar_members, _read_inner)
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
