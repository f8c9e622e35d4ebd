"""Recipes as files."""

from __future__ import annotations

from pathlib import Path

from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import presets
from ml_core.cleaning.recipes import read_recipe, write_recipe


def test_every_preset_comes_back_as_it_was(tmp_path: Path) -> None:
    for method in METHODS:
        for name, recipe in presets(method).items():
            path = write_recipe(recipe, tmp_path / f"{method}-{name}.json")
            assert read_recipe(path) == recipe
