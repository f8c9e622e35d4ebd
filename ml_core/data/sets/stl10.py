"""STL-10 (Coates, Ng and Lee 2011) in its binary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_core.data.links import own_file
from ml_core.data.sets.found import FoundSet, RawSource, Slices, check_labels, records
from ml_core.reading.errors import InputError
from ml_core.reading.lists import read_lines

_SIDE = 96
_RECORD = 3 * _SIDE * _SIDE
_NAMES: tuple[str, ...] = (
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
)  # fmt: skip


def find_stl10(folder: Path, train: bool) -> FoundSet | None:
    """Open ``stl10_binary``; None if it is none.

    Raises
    ------
    InputError
        If a file is missing, has no whole number of pictures, or not a label for each.
    """
    split = "train" if train else "test"
    if not any((folder / f"{name}_X.bin").is_file() for name in ("train", "test")):
        return None
    pictures = Slices(own_file(folder, f"{split}_X.bin"))
    own = Slices(own_file(folder, f"{split}_y.bin"))
    total = records((pictures,), _RECORD, "STL-10")
    if own.size != total:
        raise InputError(
            f"{own.path.name} has {own.size} labels for the {total} pictures of "
            f"{pictures.path.name}; one of the two is cut short.",
            "damaged",
        )
    names = _NAMES
    if (folder / "class_names.txt").is_file():
        names = tuple(line for _, line in read_lines(own_file(folder, "class_names.txt")))
    labels = np.frombuffer(own.read(0, own.size), np.uint8).astype(np.int64) - 1
    return FoundSet(
        f"STL-10, {'training' if train else 'test'} pictures",
        RawSource((pictures,), _RECORD, _picture),
        check_labels(labels, len(names), own.path.name),
        names,
    )


def _picture(raw: bytes) -> NDArray[np.uint8]:
    """Planes that are kept column by column as uint8 [96, 96, 3]."""
    planes = np.frombuffer(raw, np.uint8).reshape(3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(2, 1, 0))
