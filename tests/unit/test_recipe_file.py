"""Recipes as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.presets import presets
from ml_core.cleaning.recipe_file import read_recipe, write_recipe
from ml_core.reading.errors import InputError


def test_every_preset_comes_back_as_it_was(tmp_path: Path) -> None:
    for method in METHODS:
        for name, recipe in presets(method).items():
            path = write_recipe(recipe, tmp_path / f"{method}-{name}.json")
            assert read_recipe(path) == recipe


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"method": "par"}', "is not a recipe file"),
        ('{"format": "cleanclip-recipe", "recipe": {}}', "it has no version"),
        ('{"format": "cleanclip-recipe", "version": true, "recipe": {}}', "it has no version"),
        ('{"format": "cleanclip-recipe", "version": 2, "recipe": {}}', "newer version"),
        ('{"format": "cleanclip-recipe", "version": 1, "recipe": []}', "holds no recipe"),
        ('{"format": "cleanclip-recipe", "version": 1, "recipe": {"lr": 7}}', r"rate \(lr\)"),
        ('{"format": "cleanclip-recipe", "version": 1, "recipe": {"wash": 7}}', "wash"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        read_recipe(path)
    assert "bad.json" in caught.value.sentence
    assert "\n" not in caught.value.sentence


def test_a_recipe_that_cannot_be_saved_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    recipe = presets("par")["quick"]
    with pytest.raises(InputError, match="cannot be saved"):
        write_recipe(recipe, tmp_path / "folder")
