"""Recipes as files: saved to be shared or run from the command line, and opened again."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from cleanclip_gui.clean.setup import CleanSetup
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.recipe_file import read_recipe, write_recipe
from ml_core.reading.errors import InputError

_KIND = "Recipe (*.json)"


class RecipeFiles(QObject):
    """The two buttons beside the form."""

    failed = Signal(object)

    def __init__(self, setup: CleanSetup) -> None:
        super().__init__(setup)
        self.prompts = Prompts()
        self._setup = setup
        setup.open_recipe.clicked.connect(self.choose)
        setup.save_recipe.clicked.connect(self.save)
        setup.recipe_dropped.connect(self.open)

    @Slot()
    def choose(self) -> None:
        """Ask for a recipe and show it."""
        path = self.prompts.open_file(self._setup, "Open recipe", "", _KIND)
        if path:
            self.open(Path(path))

    @Slot(object)
    def open(self, path: Path) -> None:
        """Fill the form from a file."""
        try:
            recipe = read_recipe(path)
        except InputError as error:
            self.failed.emit(error)
            return
        self._setup.form.set_recipe(recipe)
        self._setup.form.changed.emit()

    @Slot()
    def save(self) -> None:
        """Write what the form shows."""
        try:
            recipe = self._setup.form.recipe()
            name = f"{recipe.method}-{recipe.preset}.json"
            path = self.prompts.save_file(self._setup, "Save recipe", name, _KIND)
            if path:
                write_recipe(recipe, Path(path))
        except InputError as error:
            self.failed.emit(error)
