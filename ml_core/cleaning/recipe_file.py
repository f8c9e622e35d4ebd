"""Recipes as files that can be shared: JSON with a format name and a version. Torch-free."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ml_core.atomic import replace_files
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.reading.plain import plain

FORMAT = "cleanclip-recipe"
VERSION = 1
_FILE = JsonFile("a recipe file", "save the recipe again", max_bytes=100_000, max_depth=3)


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
    record, name = _FILE.read(path), plain(path.name)
    if record.get("format") != FORMAT:
        raise InputError(
            f'{name} is not a recipe file: it does not say "format": "{FORMAT}".', "damaged"
        )
    version, fields = record.get("version"), record.get("recipe")
    if type(version) is not int or version < 1:
        raise InputError(f"{name} is a damaged recipe file: it has no version.", "damaged")
    if version > VERSION:
        raise InputError(
            f"{name} was written by a newer version of this program (recipe format "
            f"{version}, known here up to {VERSION}): update the program.",
            "unsupported",
        )
    if not isinstance(fields, dict):
        raise InputError(f"{name} is a damaged recipe file: it holds no recipe.", "damaged")
    try:
        return make_recipe(fields)
    except InputError as error:
        raise InputError(f"{name}: {error.sentence}", "usage") from error
