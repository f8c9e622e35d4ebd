"""The result of a scan on disk, which somebody else may have written. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ml_core.detection.scan.records import Contrast, Refined, Scan
from ml_core.reading.arrays import read_safetensors
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.reading.plain import plain

PREFIX = "scan:"
SCAN_FILE = "scan.json"
_FILE = JsonFile("the result of a scan", "run the scan again", max_bytes=6 << 20, max_depth=12)
_LARGEST_SIDE, _MOST_CELLS, _MOST_STARTS = 1024, 32, 64


def read_scan(path: Path) -> Scan:
    """Read what a scan wrote.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If there is none, or it is no result of a scan.
    """
    name = plain(path.name)
    read = _FILE.read(path, inside=path.parent)
    scan = _FILE.check(read, Scan, name)
    fault = next(_faults(scan), "")
    if fault:
        raise InputError(
            f"{name} is not the result of a scan: {fault}; run the scan again.", "damaged"
        )
    return scan


def found_trigger(name: str) -> tuple[Path, str]:
    """The trigger file that ``scan:FOLDER`` names, and the class it leads to.

    Raises
    ------
    InputError
        As `read_scan`, or if the scan found no trigger.
    """
    folder = Path(name.removeprefix(PREFIX))
    path = folder / SCAN_FILE
    if not path.exists():
        raise InputError(f"There is no finished scan in {folder}: it has no {SCAN_FILE}.")
    found = read_scan(path).found
    if found is None:
        raise InputError(f"The scan in {folder} found no trigger: name another with --trigger.")
    return folder / found.file, found.target


def scan_json(scan: Scan) -> bytes:
    """The record as a scan writes it."""
    return json.dumps(scan.model_dump(), indent=1, allow_nan=False).encode()


def read_patches(path: Path, count: int) -> list[NDArray[np.float32]]:
    """The patches of each round.

    Parameters
    ----------
    path
        The file beside the result.
    count
        How many rounds there were.

    Returns
    -------
    list
        Of float32 [K, p, p, 3], 0 to 1.

    Raises
    ------
    InputError
        If a round is missing, or is no set of pictures.
    """
    arrays = read_safetensors(path).arrays
    found = []
    for number in range(count):
        patches = arrays.get(f"round.{number}")
        if patches is None or not _are_pictures(patches):
            raise InputError(
                f"{plain(path.name)} does not hold the patches of the scan; run the scan again.",
                "damaged",
            )
        whole = np.nan_to_num(patches.astype(np.float32)).clip(0, 1)
        found.append(np.ascontiguousarray(whole.transpose(0, 2, 3, 1)))
    return found


def _are_pictures(patches: NDArray[Any]) -> bool:
    if patches.ndim != 4 or patches.dtype.kind != "f":
        return False
    n, channels, height, width = patches.shape
    square = 0 < height == width <= _LARGEST_SIDE
    return bool(0 < n <= _MOST_STARTS and channels == 3 and square)


def _faults(scan: Scan) -> Iterator[str]:
    """What no scan writes, one after the other."""
    for record in _inside(scan):
        if isinstance(record, Contrast) and not -1 <= record.low <= record.high <= 1:
            yield "an interval that is none"
        elif isinstance(record, Refined) and not _is_map(record):
            yield "a map of positions that is none"
    patches = scan.stages.patches
    for found in patches.rounds if patches is not None else ():
        if not (0 < found.side <= _LARGEST_SIDE and 0 <= found.area <= 1):
            yield "a patch of no size"
    if scan.found is not None and not _is_name(scan.found.file):
        yield "a trigger file outside its folder"


def _is_map(found: Refined) -> bool:
    cells = len(found.grid)
    square = 0 < cells <= _MOST_CELLS and all(len(row) == cells for row in found.grid)
    rates = square and all(0 <= rate <= 1 for row in found.grid for rate in row)
    return rates and all(0 <= place < cells for place in found.place)


def _is_name(file: str) -> bool:
    return bool(file) and "\0" not in file and PurePath(file).name == file and "\\" not in file


def _inside(record: BaseModel) -> Iterator[BaseModel]:
    """A record and all that is in it."""
    yield record
    for value in dict(record).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from _inside(one)
