"""Write an inspection to a file of the user's choice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_core.atomic import replace_files
from ml_core.reading import InputError
from ml_core.reports.exports import ENDINGS, inspection_bytes

SUFFIXES = (".json", ".sarif", ".html")


def export_inspection(record: Mapping[str, Any], path: str | Path) -> Path:
    """Write a record as JSON, SARIF or HTML, as the name's ending says.

    An old file is replaced whole or not at all.

    Parameters
    ----------
    record
        What `inspection_record` gives.

    Raises
    ------
    InputError
        ``usage`` for another ending, or if the place cannot be written.
    """
    path = Path(os.path.expanduser(path))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{path.name} cannot be written: choose a name that ends in .json, .sarif or .html."
        )
    try:
        replace_files({path: inspection_bytes(record, ENDINGS[suffix])})
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; choose another place or free some space."
        ) from error
    return path
