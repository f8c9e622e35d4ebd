"""An inspection in the formats of other tools, chosen by name or ending."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ml_core.atomic import replace_files
from ml_core.reading.errors import InputError, plain, printable

Format = Literal["text", "json", "sarif", "html", "cdx"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[str, Format] = {
    ".cdx.json": "cdx",
    ".sarif.json": "sarif",
    ".json": "json",
    ".sarif": "sarif",
    ".html": "html",
    ".txt": "text",
}
"""What the end of a file's name says; the longer ones first."""
SUFFIXES = (".json", ".sarif", ".html")
"""Endings of a file that `export_inspection` writes."""


def chosen_format(named: str | None, file: Path | None) -> Format:
    """The format that was named, else that of the file's ending; text without both.

    Raises
    ------
    InputError
        ``usage`` if the format is unknown, or the ending is not in `ENDINGS`.
    """
    if named is not None:
        if named not in FORMATS:
            raise InputError(
                f"There is no format {plain(named)[:80]!r}; choose {_or(FORMATS)} for --format."
            )
        return named
    if file is None:
        return "text"
    name = file.name.lower()
    for ending, form in ENDINGS.items():
        if name.endswith(ending):
            return form
    raise InputError(
        f"{plain(file.name)} does not tell the format: give --format, or a name that ends in "
        f"{_or(tuple(ENDINGS))}."
    )


def inspection_bytes(record: Mapping[str, Any], form: Format) -> bytes:
    """An inspection in a format other than text, which is the command line's.

    Parameters
    ----------
    record
        What `inspection_record` gives.
    """
    if form == "html":
        from ml_core.reports.html.fields import inspection_page

        return inspection_page(record).encode()
    if form == "cdx":
        from ml_core.reports.cyclonedx import inspection_bom

        return inspection_bom(record)
    if form == "sarif":
        from ml_core.checkpoints.inspection_sarif import sarif_log

        record = sarif_log(record)
    from ml_core.events import finite

    return (json.dumps(finite(record, printable), indent=1) + "\n").encode()


def export_inspection(record: Mapping[str, Any], path: str | Path) -> Path:
    """Write an inspection as JSON, SARIF or HTML, as the name's ending says.

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
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path.name} cannot be written: choose a name that ends in .json, .sarif or .html."
        )
    try:
        replace_files({path: inspection_bytes(record, ENDINGS[path.suffix.lower()])})
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; choose another place or free some space."
        ) from error
    return path


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
