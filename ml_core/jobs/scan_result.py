"""A finished scan, read from its folder as hostile input. Torch-free."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ml_core.detection.scan.records import Scan
from ml_core.jobs.scan_spec import SCAN_FILE
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file
from ml_core.reading.strict_json import JsonError, parse_object

_MOST_BYTES = 32 << 20
_MOST_DEPTH = 32
PREFIX = "scan:"


def read_scan(folder: Path) -> Scan:
    """Read what a scan wrote into a folder.

    Raises
    ------
    InputError
        If there is none, or it is damaged, too large or of another version.
    """
    path = folder / SCAN_FILE
    if not path.exists():
        raise InputError(f"There is no finished scan in {folder}: it has no {SCAN_FILE}.")
    raw = read_file(path, _MOST_BYTES + 1, folder)
    try:
        told = parse_object(raw, max_bytes=_MOST_BYTES, max_depth=_MOST_DEPTH)
        return Scan.model_validate(told)
    except JsonError as error:
        reason = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else str(first["msg"])
    raise InputError(
        f"{path.name} in {folder.name} cannot be used as a scan ({reason[:200]}); scan again.",
        "damaged",
    )


def found_trigger(name: str) -> tuple[Path, str]:
    """The trigger file that ``scan:FOLDER`` names, and the class it leads to.

    Raises
    ------
    InputError
        As `read_scan`; if the scan found no trigger, or its file lies elsewhere.
    """
    folder = Path(name.removeprefix(PREFIX))
    found = read_scan(folder).found
    if found is None:
        raise InputError(f"The scan in {folder} found no trigger: name another with --trigger.")
    if Path(found.file).name != found.file:
        raise InputError(f"{SCAN_FILE} names a trigger outside of its folder.", "damaged")
    return folder / found.file, found.target
