"""Recipes as files that can be shared: JSON with a format name and a version. Torch-free."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ml_core.atomic import replace_files
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import read_file
from ml_core.reading.strict_json import JsonError, parse_object

FORMAT = "cleanclip-recipe"
VERSION = 1
_MAX_BYTES = 100_000


def write_recipe(recipe: Recipe, path: Path) -> Path:
    """Write a recipe with every field, so that later defaults do not change it.

    Raises
    ------
    InputError
        If the place cannot be written; an older file stays intact.
    """
    path = Path(os.path.expanduser(path))
    record = {"format": FORMAT, "version": VERSION, "recipe": recipe.model_dump()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: (json.dumps(record, indent=1) + "\n").encode()})
    except OSError as error:
        raise InputError(
            f"{path} cannot be saved: {error.strerror}; choose another place or free some space."
        ) from error
    return path


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; the same recipe as was written.

    Raises
    ------
    InputError
        If the file is missing, is no recipe of a version known here, or a field is unknown or
        out of range.
    """
    path = Path(os.path.expanduser(path))
    record = _object(path)
    if record.get("format") != FORMAT:
        raise InputError(
            f'{path.name} is not a recipe file: it does not say "format": "{FORMAT}".', "damaged"
        )
    version, fields = record.get("version"), record.get("recipe")
    if type(version) is not int or version < 1:
        raise InputError(f"{path.name} is a damaged recipe file: it has no version.", "damaged")
    if version > VERSION:
        raise InputError(
            f"{path.name} was written by a newer version of this program (recipe format "
            f"{version}, known here up to {VERSION}): update the program.",
            "unsupported",
        )
    if not isinstance(fields, dict):
        raise InputError(f"{path.name} is a damaged recipe file: it holds no recipe.", "damaged")
    try:
        return make_recipe(fields)
    except InputError as error:
        raise InputError(f"{path.name}: {error.sentence}", "usage") from error


def _object(path: Path) -> dict[str, Any]:
    """The JSON object of a regular file of a sensible size."""
    if not path.exists():
        raise InputError(f"There is no recipe file at {path}.")
    if not path.is_file():
        raise InputError(f"{path.name} is not a recipe file: it is no regular file.", "damaged")
    try:
        raw = read_file(path, _MAX_BYTES + 1)
        return parse_object(raw, max_bytes=_MAX_BYTES, max_depth=3)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except JsonError as error:
        raise InputError(f"{path.name} is not a recipe file: {error}.", "damaged") from error
