"""What picklescan says of the same file, in its own words; it never relaxes a verdict.

picklescan compares names with a list of dangerous ones and knows nothing of what is not on it.
Call this in the reader's process only: it takes whole archives into memory.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import version
from pathlib import Path

_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".zip", ".npy", ".npz")
_SHOWN = 5


@cache
def picklescan_name() -> str:
    """Load picklescan, with what it loads at its first array, and tell its name and version."""
    import numpy.lib.format  # noqa: F401
    import picklescan.scanner  # noqa: F401

    return f"picklescan {version('picklescan')}"


def second_opinion(path: Path) -> str:
    """Scan a file with picklescan.

    Parameters
    ----------
    path
        A file; picklescan looks at its ending to tell what it is.

    Returns
    -------
    str
        One sentence that begins with picklescan's name and version.
    """
    from picklescan import scanner

    who = picklescan_name()
    if path.suffix.lower() not in _ENDINGS:
        return f"{who} does not look into files named *{path.suffix or ' without an ending'}."
    logging.getLogger("picklescan").disabled = True
    try:
        found = scanner.scan_file_path(str(path))
    except Exception as error:
        return f"{who} could not read the file ({type(error).__name__})."
    named = [
        f"{each.module}.{each.name} ({each.safety.value})"
        for each in found.globals
        if each.safety is not scanner.SafetyLevel.Innocuous
    ]
    if named:
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        return f"{who} found {', '.join(named[:_SHOWN])}{more}."
    if found.scan_err:
        return f"{who} could not read all of it."
    if not found.scanned_files:
        return f"{who} found no pickle in it."
    return f"{who} found no name that it knows as dangerous."
