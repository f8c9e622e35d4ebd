"""Asks which images and classes to use: the demo's splits, and what lies on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.widgets.name_filters import CLASS_LISTS, IMAGE_SETS, TABLES
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.data.sets.detect import FILES
from ml_core.reading import InputError

Kind = Literal["folder", "csv", "file"]

DEMO_SPLITS: tuple[tuple[Literal["test", "val", "heldout"], str], ...] = (
    ("test", "Demo: test images"),
    ("val", "Demo: validation images"),
    ("heldout", "Demo: an art style the model never saw"),
)


class ImagesChooser(QObject):
    """Asks for a path, and then which of its columns and classes are meant.

    ``chosen(ImageSpec, str)`` carries the images and the name or file of their classes; ``failed``
    an InputError of a table that cannot be read.

    Parameters
    ----------
    prompts
        Ask for the path.
    what
        The images in the titles of the dialogs, such as "evaluation images".
    parent
        The dialogs stand over its window.
    """

    chosen = Signal(object, str)
    failed = Signal(object)

    def __init__(self, prompts: Prompts, what: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._prompts, self._what, self._parent = prompts, what, parent

    def choose(self, kind: Kind, label_set: str) -> None:
        """Ask for a folder, a table, or a file that is an image set by itself."""
        parent, prompts = self._parent, self._prompts
        if kind == "folder":
            path = prompts.open_folder(parent, f"Folder of {self._what}", "")
        elif kind == "csv":
            path = prompts.open_file(parent, f"Table of {self._what}", "", TABLES)
        else:
            path = prompts.open_file(parent, "Image set in one file", "", IMAGE_SETS)
        if path:
            self.open_path(Path(path), label_set)

    def open_path(self, path: Path, label_set: str) -> None:
        """Show the dialog that maps columns and classes of a folder, file or table."""
        kind: Kind = "folder" if path.is_dir() else "csv"
        if kind == "csv" and path.suffix.lower() in FILES:
            kind = "file"
        try:
            dialog = ImagesDialog(path, kind, label_set, self._parent.window())
        except InputError as error:
            self.failed.emit(error.titled("Could not open the images"))
            return
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(self.chosen)
        dialog.open()

    def choose_class_list(self) -> str:
        """Ask for a text file with one class a line; empty if none was chosen."""
        return self._prompts.open_file(
            self._parent, "Class list, one name per line", "", CLASS_LISTS
        )
