"""What runs are called: as the user has it, their chain, or their recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_core.atomic import replace_files
from ml_core.cleaning.presets import run_title
from ml_core.jobs.auto import round_title
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_text

NAME_FILE = "note.txt"
MAX_NAME = 500


def run_number(folder: Path) -> int:
    """The number in the name of a run's folder, e.g. ``7-par-20261125-141503``; 0 without one."""
    match = re.fullmatch(r"(\d{1,6})-.+-\d{8}-\d{6}", folder.name)
    return int(match[1]) if match else 0


def run_name(folder: Path, recipe: Mapping[str, Any], name: str) -> str:
    """What a run is called: its number, and the name that the user gave it or its recipe.

    A round has the number of its chain.
    """
    chain = round_title(folder)
    number = run_number(folder.parent if chain else folder)
    return f"{f'#{number} ' if number else ''}{name or chain or run_title(recipe)}"


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
