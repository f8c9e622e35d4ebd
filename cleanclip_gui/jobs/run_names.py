"""What runs are called: as the user has it, their chain, or their recipe."""

from __future__ import annotations

from pathlib import Path

from ml_core.atomic import replace_files
from ml_core.cleaning.catalogue import run_title
from ml_core.jobs.auto import round_title
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_text

NAME_FILE = "note.txt"
MAX_NAME = 500


def run_name(folder: Path, method: str, preset: str, name: str) -> str:
    """What a run is called, with the name that the user gave it, if any."""
    return run_title(method, preset, name or round_title(folder))


def read_name(folder: Path) -> str:
    """What the user calls a run; empty if nothing."""
    try:
        with open_text(folder / NAME_FILE, inside=folder) as file:
            return file.read(MAX_NAME).strip()
    except OSError:
        return ""


def write_name(folder: Path, text: str) -> None:
    """Keep a name in the run's folder.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        replace_files({folder / NAME_FILE: text.strip()[:MAX_NAME].encode()})
    except OSError as error:
        raise InputError(
            f"The run {folder.name} cannot be renamed; is its folder still there?",
            "usage",
            str(error),
        ) from error
