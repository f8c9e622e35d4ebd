"""The files that an audit leaves: its record, the pictures of its pairs, and what was excluded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.data.exclusions import read_exclusions
from ml_core.detection.records import Audit, read_audit
from ml_core.jobs.audit_spec import (
    AUDIT_FILE,
    EXCLUSIONS_FILE,
    THUMBNAILS_FILE,
    AuditSpec,
    read_audit_spec,
)
from ml_core.jobs.specs import SPEC_FILE
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_file

_LARGEST = 1024  # pixels on a side of a thumbnail


def read_result(folder: Path) -> tuple[Audit, NDArray[np.uint8]]:
    """What an audit left in its folder: the record, and its pairs' pictures, read when shown.

    Raises
    ------
    InputError
        If a file is missing or not what it should be.
    """
    try:
        audit = read_audit(folder / AUDIT_FILE)
        pictures = _mapped(folder / THUMBNAILS_FILE)
    except (OSError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            "The audit's files cannot be read; run it again.", "damaged", str(error)
        ) from error
    sides = pictures.shape[1:] if pictures.ndim == 4 else (0, 0, 0)
    if (
        len(pictures) != len(audit.pairs)
        or sides[2] != 3
        or not 0 < min(sides) <= max(sides) <= _LARGEST
    ):
        raise InputError("The audit's pictures do not match its record; run it again.", "damaged")
    return audit, pictures


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The array in a file, of which only what is looked at is read; `np.load` opens a path itself.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or it holds no uint8.
    """
    with open_file(path, inside=path.parent) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of the format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.uint8 or by_columns:
            raise ValueError("no pictures")
        return np.memmap(file, np.uint8, "r", file.tell(), shape)


def read_saved(folder: Path) -> tuple[Audit, NDArray[np.uint8], AuditSpec]:
    """Read the result and the settings of an audit that was made earlier.

    Raises
    ------
    InputError
        If the folder holds none, or a file is not what it should be.
    """
    if not (folder / AUDIT_FILE).is_file():
        raise InputError(
            f"{folder.name} is not the folder of an audit: it holds no {AUDIT_FILE}; choose the "
            "folder that one audit made."
        )
    return *read_result(folder), read_audit_spec(folder / SPEC_FILE)


def marks_of(folder: Path, audit: Audit) -> frozenset[int]:
    """Pairs of an audit that were excluded when it was saved last.

    Raises
    ------
    InputError
        If its exclusions file cannot be read.
    """
    path = folder / EXCLUSIONS_FILE
    if not path.exists():
        return frozenset()
    out = {pair.identity for pair in read_exclusions(path).pairs}
    return frozenset(pair.index for pair in audit.pairs if pair.member in out)
