"""The bytes of an inspected file's tensors, once more: the same bytes, or an error.

Between the verdict and this the file lies open to other programs. What shows a change is decided
in ``docs/decisions/0010-one-hash.md``.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from ml_core.reading.decompression import Unpacked
from ml_core.reading.errors import InputError
from ml_core.reading.inspection import Inspection
from ml_core.reading.regular_file import open_regular
from ml_core.reading.zip_members import ZipError

_CHUNK = 1 << 20


@contextmanager
def weights_bytes(found: Inspection, shard: str = "") -> Iterator[BinaryIO]:
    """Open the file of an inspection's tensors, unpacked where it is packed.

    The offsets of the tensors hold in it. A read that comes out short means that the file
    changed.

    Parameters
    ----------
    shard
        Which file, as `TensorInfo.file` tells.

    Raises
    ------
    InputError
        ``usage`` if it cannot be opened any more.
    """
    file, _ = open_regular(file_of(found, shard))
    pieces = [piece for piece in found.pieces if piece.file == shard]
    with file:
        if not pieces:
            yield file
            return
        yield cast(BinaryIO, io.BufferedReader(_Short(file, pieces), _CHUNK))


def file_of(found: Inspection, shard: str) -> Path:
    """Path of a shard, or of the only file."""
    assert found.weights_path is not None, "only a file that was not refused has tensors"
    return found.weights_path.with_name(shard) if shard else found.weights_path


def looks_same(found: Inspection) -> bool:
    """Whether the files of the tensors are still those that were inspected, as far as one sees.

    That saves another inspection before the tensors are read; `check_same` decides after it.
    """
    try:
        return bool(found.files) and all(
            stamp.matches(os.stat(file_of(found, stamp.file))) for stamp in found.files
        )
    except OSError:
        return False


def check_same(found: Inspection, shard: str, file: BinaryIO) -> None:
    """Make sure, after reading, that an open file of `weights_bytes` is what was inspected.

    Raises
    ------
    InputError
        ``damaged`` if it changed since it was inspected.
    """
    stamp = next((stamp for stamp in found.files if stamp.file == shard), None)
    if stamp is not None:
        if stamp.still_holds(file.fileno()):
            return
        if stamp.sha256 == _hash(file.fileno()):
            return
    raise changed(found)


def changed(found: Inspection) -> InputError:
    """Make the error of a file that is no longer the one that was inspected."""
    return InputError(f"{found.path} changed since it was examined; open it again.", "damaged")


def _hash(descriptor: int) -> str:
    """SHA-256 of an open file, from its start."""
    with os.fdopen(os.dup(descriptor), "rb") as again:
        again.seek(0)
        return hashlib.file_digest(again, "sha256").hexdigest()


class _Short(Unpacked):
    """One whose reading ends early where the bytes are not what they were."""

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except ZipError:
            return 0
