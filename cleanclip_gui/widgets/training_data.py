"""Which clean data a run trains on, and where its files go."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.reading.errors import InputError

_TABLES = "Tables (*.csv *.tsv)"


class TrainingData(QWidget):
    """The demo's clean data or the user's table; for pairs and for labelled images."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.prompts = Prompts()
        self._uses_pairs = True
        self.demo = QRadioButton("Clean pairs of the demo")
        self.table = QRadioButton("Own table (CSV, TSV)")
        self.demo.setChecked(True)
        self._choices = QButtonGroup(self)
        for button in (self.demo, self.table):
            self._choices.addButton(button)
        self.path = QLineEdit()
        self.path.setPlaceholderText("Table with images")
        self.path.setAccessibleName("Table of training data")
        self.browse = tool("open", "Choose the table of training data")
        self.image_column = QLineEdit("image")
        self.image_column.setAccessibleName("Image column")
        self.text_column = QLineEdit("caption")
        self.text_column.setAccessibleName("Caption column")
        self._text_label = QLabel("Caption column")
        self._text_label.setBuddy(self.text_column)
        where = QHBoxLayout()
        where.setSpacing(theme.SPACE_XS)
        where.addWidget(self.path, 1)
        where.addWidget(self.browse)
        self._details = QWidget()
        form = QFormLayout(self._details)
        form.setContentsMargins(theme.SPACE_XL, 0, 0, 0)
        form.setVerticalSpacing(theme.SPACE_XS)
        form.addRow(where)
        form.addRow("Image column", self.image_column)
        form.addRow(self._text_label, self.text_column)
        self._details.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_XS)
        for widget in (self.demo, self.table, self._details):
            layout.addWidget(widget)
        self.table.toggled.connect(self._on_source_chosen)
        self.browse.clicked.connect(self._on_browse_clicked)
        for edit in (self.path, self.image_column, self.text_column):
            edit.textChanged.connect(self.changed)

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
            If the table or a column is not named.
        """
        if self._uses_pairs:
            return None
        if self.demo.isChecked():
            return ImageSpec(kind="demo", split="clean")
        path, image, text = self._named()
        return ImageSpec(kind="csv", path=path, image_column=image, label_column=text)

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

    def _on_source_chosen(self, own: bool) -> None:
        self._details.setVisible(own)
        self.changed.emit()

    def _on_browse_clicked(self) -> None:
        chosen = self.prompts.open_file(self, "Training data", self.path.text(), _TABLES)
        if chosen:
            self.path.setText(chosen)


def tool(icon: str, name: str) -> QToolButton:
    """A small button with an icon and a name."""
    button = QToolButton()
    button.setIcon(theme.icon(icon))
    button.setToolTip(name)
    button.setAccessibleName(name)
    return button
