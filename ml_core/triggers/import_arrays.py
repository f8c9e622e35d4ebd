"""Triggers out of other programs' files; those of published attacks are recognised."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ml_core.reading.arrays import MAX_BYTES
from ml_core.reading.regular_file import open_regular
from ml_core.triggers import library
from ml_core.triggers.pattern_file import read_pattern_file
from ml_core.triggers.published import published
from ml_core.triggers.record import Trigger


def import_trigger(path: str | Path, mask: str | Path | None = None) -> Trigger:
    """Read a trigger from a picture or an array file of the published attacks.

    Understood are a pattern ([h, w], [h, w, 3], [3, h, w], RGBA, also with leading ones), a
    warping grid ([h, w, 2]: WaNet's noise, or places from -1 to 1), a pattern with its mask
    (``mask`` 1 where the trigger is) and BadEncoder's and DECREE's ``t`` with ``tm`` (x tm + t).
    Bytes, and floats up to 255, become fractions. A file that is known by its SHA-256 to be the
    content of a published attack becomes that trigger. What a file does not say (weight, canvas) is
    set as the papers do it for such a content, and can be changed.

    Parameters
    ----------
    path
        ``.png``, ``.jpg``, ``.webp``, ..., or ``.npy``, ``.npz``, ``.pt``, ``.pth``,
        ``.safetensors``.
    mask
        A second file with the mask.

    Raises
    ------
    InputError
        If a file cannot be read, or holds no trigger.
    """
    path = Path(path)
    if mask is None:
        known = _recognised(path)
        if known is not None:
            return known
    return read_pattern_file(path, mask)


def _recognised(path: Path) -> Trigger | None:
    """The published trigger that a file is the content of, if its SHA-256 is known."""
    starts = {start: entry for entry in library.LIBRARY for start in entry.file_sha256}
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            return None
        digest = hashlib.sha256(file.read(MAX_BYTES)).hexdigest()
    for start, entry in starts.items():
        if digest.startswith(start):
            return published(entry.id, entry.sizes[0], path)
    return None
