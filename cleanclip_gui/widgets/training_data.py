"""Which clean data a run trains on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QRadioButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.drops import local_paths
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import InputError

_TABLES = "Tables (*.csv *.tsv)"
_TABLE_SUFFIXES = (".csv", ".tsv")


class TrainingData(QWidget):
    """The demo's clean data, the user's table, or, for labelled images, a folder per class.

    A table or a folder can be dropped on it.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)
        self.prompts = Prompts()
        self._uses_pairs = True
        self.demo = QRadioButton("Clean pairs of the demo")
        self.table = QRadioButton("Own table (CSV, TSV)")
        self.folder = QRadioButton("Own folder (one folder per class)")
        self.demo.setChecked(True)
        self._choices = QButtonGroup(self)
        for button in (self.demo, self.table, self.folder):
            self._choices.addButton(button)
        self.folder.hide()
        self.path = QLineEdit()
        self.path.setPlaceholderText("Table with images")
        self.path.setAccessibleName("Table of training data")
        self.browse = tool("open", "Choose the table of training data")
        self.image_column = QLineEdit("image")
        self.image_column.setAccessibleName("Image column")
        self.text_column = QLineEdit("caption")
        self.text_column.setAccessibleName("Caption column")
        self._text_label = Label("Caption column", buddy=self.text_column)
        self.folder_path = QLineEdit()
        self.folder_path.setPlaceholderText("Folder with a folder of pictures per class")
        self.folder_path.setAccessibleName("Folder of training images")
        self.browse_folder = tool("folder", "Choose the folder of training images")
        self._table_details = _details(
            (_beside(self.path, self.browse),),
            (Label("Image column", buddy=self.image_column), self.image_column),
            (self._text_label, self.text_column),
        )
        self._folder_details = _details((_beside(self.folder_path, self.browse_folder),))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_XS)
        for widget in (
            self.demo,
            self.table,
            self._table_details,
            self.folder,
            self._folder_details,
        ):
            layout.addWidget(widget)
        self._choices.buttonToggled.connect(self._on_source_chosen)
        self.browse.clicked.connect(self._on_browse_clicked)
        self.browse_folder.clicked.connect(self._on_browse_folder_clicked)
        for edit in (self.path, self.image_column, self.text_column, self.folder_path):
            edit.textChanged.connect(self.changed)
            edit.setAcceptDrops(False)  # or a dropped file becomes text in it

    def set_uses_pairs(self, uses_pairs: bool) -> None:
        """Ask for captions (True) or labels (False) beside the images."""
        if uses_pairs == self._uses_pairs:
            return
        old, new = ("label", "caption") if uses_pairs else ("caption", "label")
        self._uses_pairs = uses_pairs
        self.demo.setText(
            "Clean pairs of the demo" if uses_pairs else "Clean labelled images of the demo"
        )
        self._text_label.setText(f"{new.capitalize()} column")
        self.text_column.setAccessibleName(f"{new.capitalize()} column")
        if self.text_column.text() == old:
            self.text_column.setText(new)
        self.folder.setVisible(not uses_pairs)
        if uses_pairs and self.folder.isChecked():
            self.demo.setChecked(True)

    @property
    def takes_pairs(self) -> bool:
        """Whether captions, not labels, stand beside the images."""
        return self._uses_pairs

    def pairs(self) -> PairSpec | None:
        """The pairs to train on; None for a method that takes labelled images.

        Raises
        ------
        InputError
            If the table or a column is not named.
        """
        if not self._uses_pairs:
            return None
        if self.demo.isChecked():
            return PairSpec(kind="demo", split="clean")
        path, image, text = self._named()
        return PairSpec(kind="csv", path=path, image_column=image, caption_column=text)

    def images(self) -> ImageSpec | None:
        """The labelled images to train on; None for a method that takes pairs.

        Raises
        ------
        InputError
            If the table, a column or the folder is not named.
        """
        if self._uses_pairs:
            return None
        if self.demo.isChecked():
            return ImageSpec(kind="demo", split="clean")
        if self.folder.isChecked():
            return ImageSpec(kind="folder", path=self._named_folder())
        path, image, text = self._named()
        return ImageSpec(kind="csv", path=path, image_column=image, label_column=text)

    def show_specs(self, pairs: PairSpec | None, images: ImageSpec | None) -> None:
        """Show what a job trains on; the one that is None is not asked for."""
        self.set_uses_pairs(images is None)
        used = pairs or images
        if used is None or used.kind == "demo":
            self.demo.setChecked(True)
        elif used.kind == "folder":
            self._show_folder(used.path or "")
        else:
            text = pairs.caption_column if pairs is not None else (images and images.label_column)
            self.image_column.setText(used.image_column or self.image_column.text())
            self.text_column.setText(text or self.text_column.text())
            self._show_table(used.path or "")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take a table, or a folder where one can be used; the window gets what is left."""
        if any(self._takes(path) for path in local_paths(event.mimeData())[:1]):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Train on what was dropped."""
        for path in local_paths(event.mimeData())[:1]:
            event.acceptProposedAction()
            (self._show_folder if path.is_dir() else self._show_table)(str(path))

    def _takes(self, path: Path) -> bool:
        """Whether a dropped path is training data for the method in use."""
        if path.is_dir():
            return not self._uses_pairs
        return path.suffix.lower() in _TABLE_SUFFIXES

    def _show_folder(self, path: str) -> None:
        self.folder_path.setText(path)
        self.folder.setChecked(True)

    def _show_table(self, path: str) -> None:
        self.path.setText(path)
        self.table.setChecked(True)

    def _named(self) -> tuple[str, str, str]:
        """Return table and columns, checked."""
        path = self.path.text().strip()
        if not path:
            raise InputError("No table of training data is chosen; choose a CSV or TSV file.")
        if not Path(path).is_file():
            raise InputError(f"There is no table at {path}; choose an existing file.")
        columns = (self.image_column.text().strip(), self.text_column.text().strip())
        if not all(columns):
            raise InputError(f"Name both columns of {Path(path).name}.")
        return str(Path(path).absolute()), *columns

    def _named_folder(self) -> str:
        """Return the folder, checked."""
        path = self.folder_path.text().strip()
        if not path:
            raise InputError("No folder of training images is chosen; choose one.")
        if not Path(path).is_dir():
            raise InputError(f"There is no folder at {path}; choose an existing one.")
        return str(Path(path).absolute())

    def _on_source_chosen(self) -> None:
        self._table_details.setVisible(self.table.isChecked())
        self._folder_details.setVisible(self.folder.isChecked())
        self.changed.emit()

    def _on_browse_clicked(self) -> None:
        chosen = self.prompts.open_file(self, "Training data", self.path.text(), _TABLES)
        if chosen:
            self.path.setText(chosen)

    def _on_browse_folder_clicked(self) -> None:
        chosen = self.prompts.open_folder(self, "Training images", self.folder_path.text())
        if chosen:
            self.folder_path.setText(chosen)


def _details(*rows: tuple[Any, ...]) -> QWidget:
    """Return what stands under a choice, hidden at first."""
    details = QWidget()
    form = QFormLayout(details)
    form.setContentsMargins(theme.SPACE_XL, 0, 0, 0)
    form.setVerticalSpacing(theme.SPACE_XS)
    for row in rows:
        form.addRow(*row)
    details.hide()
    return details


def _beside(edit: QLineEdit, button: QToolButton) -> QHBoxLayout:
    """Return a path and the button that chooses it."""
    row = QHBoxLayout()
    row.setSpacing(theme.SPACE_XS)
    row.addWidget(edit, 1)
    row.addWidget(button)
    return row


def tool(icon: str, name: str) -> QToolButton:
    """A small button with an icon and a name."""
    button = QToolButton()
    button.setIcon(theme.icon(icon))
    button.setToolTip(name)
    button.setAccessibleName(name)
    return button
