"""Which clean data a run trains on, and the buttons that choose a file."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import (
    QApplication,
    QButtonGroup,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QToolButton,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import TICK, Label, Note, named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import CAPTION_PAIRS, EXCLUSIONS, Drops
from cleanclip_gui.widgets.path_edit import PathEdit
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural
from ml_core.cleaning.catalogue import Data
from ml_core.data.detect import FILES, KINDS, detect
from ml_core.data.exclusions import read_exclusions
from ml_core.data.specs import ImageSpec, PairKind, PairSpec
from ml_core.data.table_files import pair_columns
from ml_core.reading.errors import InputError

_LABELLED_FILES = "Labelled images (*.csv *.tsv *.tar *.parquet)"
_TABLE_SUFFIXES = (".csv", ".tsv")
_PAIR_SUFFIXES = (*_TABLE_SUFFIXES, ".json", ".tar", ".parquet")
_LARGEST_EXCLUSIONS = 32 << 20  # that is read before a run
_WITH_COLUMNS = ("csv", "parquet")


class TrainingData(QWidget):
    """The demo's clean data, or the user's: pairs of any kind, or labelled images.

    What a path of pairs holds is found by looking into it, and said. A file or a folder can be
    dropped on it.
    """

    changed = Signal()

    def __init__(self, prompts: Prompts) -> None:
        super().__init__()
        Drops(self, self._takes, self._drop)
        self._prompts = prompts
        self._uses_pairs = True
        self._of_demo: bool | None = True  # None: to be chosen anew
        self.demo = QRadioButton("Clean pairs of the demo")
        self.table = QRadioButton("Own pairs")
        self.folder = QRadioButton("Own folder (one per class, or a set)")
        self.demo.setChecked(True)
        self.of_pairs = QCheckBox("Take the pictures of image-caption pairs")
        self.of_pairs.hide()  # until a method takes images alone
        self._choices = QButtonGroup(self)
        for button in (self.demo, self.table, self.folder):
            self._choices.addButton(button)
        self.folder.hide()
        self.path = PathEdit()
        self.browse = self.path.browse(
            "open", "Choose the file of training data", self._ask_for_file
        )
        self.browse_pairs = self.path.asking(prompts, "Choose the folder of training pairs")
        self.summary = Label("", "subtle", wrap=True)
        self.image_column = named(QLineEdit("image"), "Image column")
        self.text_column = named(QLineEdit("caption"), "Caption column")
        self._text_label = Label("Caption column", buddy=self.text_column)
        self.pictures = PathEdit(
            "Folder of the pictures of the COCO file", "Looked for beside the file"
        )
        self.browse_pictures = self.pictures.asking(prompts, "Choose the folder of the pictures")
        self.folder_path = PathEdit(
            "Folder of training images", "Folder per class, or a published set"
        )
        self.browse_folder = self.folder_path.asking(
            prompts, "Choose the folder of training images"
        )
        self.exclude = PathEdit("Exclusions file", "None (made by an audit)")
        self.browse_exclude = self.exclude.asking(prompts, "Choose an exclusions file", EXCLUSIONS)
        self.exclude_says = Note("subtle")
        self._exclude_problem, self._filled_in = "", ("", "")  # columns that nobody typed
        self._looking = Ticket.closed()
        self._table_details = _details(
            (_beside(self.path, self.browse, self.browse_pairs),),
            (self.summary,),
            (Label("Image column", buddy=self.image_column), self.image_column),
            (self._text_label, self.text_column),
            (Label("Pictures", buddy=self.pictures), _beside(self.pictures, self.browse_pictures)),
        )
        self._folder_details = _details((_beside(self.folder_path, self.browse_folder),))
        self.exclude_row = QWidget()
        row(
            Label("Excluded pairs", buddy=self.exclude), (self.exclude, 1), self.browse_exclude,
            of=self.exclude_row, spacing=theme.SPACE_XS,
        )  # fmt: skip
        column(
            self.of_pairs, self.demo, self.table, self._table_details, self.folder,
            self._folder_details, self.exclude_says, self.exclude_row, of=self,
            spacing=theme.SPACE_XS,
        )  # fmt: skip
        self.of_pairs.clicked.connect(self._on_of_pairs_clicked)
        self._choices.buttonToggled.connect(self._on_source_chosen)
        self.path.textChanged.connect(lambda: self._fill_in(self._look()))
        self.exclude.textChanged.connect(self._look_at_exclusions)
        for edit in (
            self.path, self.image_column, self.text_column, self.pictures, self.folder_path,
            self.exclude,
        ):  # fmt: skip
            edit.textChanged.connect(self.changed)
            edit.setAcceptDrops(False)
        self._name_path()

    def suit(self, of_demo: bool) -> None:
        """Begin with the demo's data for a model of the demo, else with the user's own.

        Nothing is chosen anew for another model of the same kind.
        """
        if of_demo != self._of_demo and not self.path.path() and not self.folder_path.path():
            (self.demo if of_demo else self.table).setChecked(True)
        self._of_demo = of_demo

    def set_data(self, data: Data) -> None:
        """Ask for what a method trains on.

        A method that takes images alone uses the pictures of the user's own pairs, if they are
        named.
        """
        alone = data == "images"
        if alone and self.of_pairs.isHidden():
            self.of_pairs.setChecked(self._uses_pairs and self.table.isChecked())
        self.of_pairs.setVisible(alone)
        self.set_uses_pairs(self.of_pairs.isChecked() if alone else data == "pairs")

    def set_uses_pairs(self, uses_pairs: bool) -> None:
        """Ask for captions (True) or labels (False) beside the images."""
        if uses_pairs == self._uses_pairs:
            return
        old, new = ("label", "caption") if uses_pairs else ("caption", "label")
        self._uses_pairs = uses_pairs
        self.demo.setText(
            "Clean pairs of the demo" if uses_pairs else "Clean labelled images of the demo"
        )
        self.table.setText("Own pairs" if uses_pairs else "Own table or file")
        self._text_label.setText(f"{new.capitalize()} column")
        self.text_column.setAccessibleName(f"{new.capitalize()} column")
        if self.text_column.text() in (old, self._filled_in[1]):
            self.text_column.setText(new)
        self.folder.setVisible(not uses_pairs)
        self.exclude_row.setVisible(uses_pairs)
        self.exclude_says.setVisible(uses_pairs and bool(self.exclude_says.text()))
        self._name_path()
        if uses_pairs and self.folder.isChecked():
            self.demo.setChecked(True)

    @property
    def takes_pairs(self) -> bool:
        """Whether captions, not labels, stand beside the images."""
        return self._uses_pairs

    @property
    def has_pairs(self) -> bool:
        """Whether there are pairs, though the method in use may take their pictures alone."""
        return self._uses_pairs or self.demo.isChecked()

    @property
    def lacks(self) -> str:
        """What is to be chosen before anything can be trained on; empty if something is."""
        named = self.folder_path if self.folder.isChecked() else self.path
        if self.demo.isChecked() or named.path():
            return ""
        what = "pairs" if self._uses_pairs else "labelled images"
        return f"Choose {what} of your own, or take those of the demo."

    def ask(self) -> None:
        """Go to the choice of what there is to train on."""
        next(button for button in self._choices.buttons() if button.isChecked()).setFocus()

    def pairs(self) -> PairSpec | None:
        """The pairs to train on; None for a method that takes labelled images.

        Raises
        ------
        InputError
            If the pairs or a column are not named, or the path holds no pairs.
        """
        if not self._uses_pairs:
            return None
        exclude = self._named_exclusions()
        if self.demo.isChecked():
            return PairSpec(kind="demo", split="clean", exclude=exclude)
        path = _named(self.path, "No training pairs are chosen; take a file, folder or the demo's.")
        kind = detect(self.path.path())
        fields: dict[str, Any] = {"kind": kind, "path": path, "exclude": exclude}
        if kind in _WITH_COLUMNS:
            fields["image_column"], fields["caption_column"] = self._columns(path)
        if kind == "coco" and self.pictures.path():
            fields["pictures"] = self.pictures.absolute()
        return PairSpec.model_validate(fields)

    def own(self) -> tuple[PairSpec | None, ImageSpec | None]:
        """The user's own pairs or labelled images, if they are chosen and are there."""
        with suppress(InputError):
            return (None, None) if self.demo.isChecked() else (self.pairs(), self.images())
        return None, None

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
            nothing = "No folder of training images is chosen; choose one."
            folder = _named(self.folder_path, nothing, "folder")
            return ImageSpec(kind="folder", split="train", path=folder)
        path = _named(self.path, "No table of training data is chosen; choose a file.", "file")
        if Path(path).suffix.lower() in FILES:
            return ImageSpec(kind="file", split="train", path=path)
        image, text = self._columns(path)
        return ImageSpec(kind="csv", path=path, image_column=image, label_column=text)

    def forget(self) -> None:
        """Begin anew: the next checkpoint chooses."""
        self._of_demo = None
        self.demo.setChecked(True)
        for edit in (self.path, self.folder_path, self.exclude, self.pictures):
            edit.clear()

    def show_specs(self, pairs: PairSpec | None, images: ImageSpec | None) -> None:
        """Show what a job trains on; a kind of data that is None is not asked for."""
        self.set_uses_pairs(images is None)
        self.of_pairs.setChecked(images is None)
        used = pairs or images
        self.exclude.setText((pairs and pairs.exclude) or "")
        self.pictures.setText((pairs and pairs.pictures) or "")
        if used is None or used.kind == "demo":
            self.demo.setChecked(True)
        elif images is not None and used.kind == "folder":
            self._show_folder(used.path or "")
        else:
            text = pairs.caption_column if pairs is not None else (images and images.label_column)
            self.image_column.setText(used.image_column or self.image_column.text())
            self.text_column.setText(text or self.text_column.text())
            self._show_table(used.path or "")

    def _takes(self, path: Path) -> bool:
        """Whether a dropped path is training data for the method in use."""
        if path.is_dir():
            return not self._uses_pairs or _kind(str(path)) is not None
        endings = _PAIR_SUFFIXES if self._uses_pairs else (*_TABLE_SUFFIXES, *FILES)
        return path.suffix.lower() in endings

    def _drop(self, path: Path) -> None:
        """Train on what was dropped."""
        folder = path.is_dir() and not self._uses_pairs
        (self._show_folder if folder else self._show_table)(str(path))

    def _show_folder(self, path: str) -> None:
        self.folder_path.setText(path)
        self.folder.setChecked(True)

    def _show_table(self, path: str) -> None:
        self.path.setText(path)
        self.table.setChecked(True)

    def _columns(self, path: str) -> tuple[str, str]:
        """Return the names of both columns."""
        image, text = self.image_column.text().strip(), self.text_column.text().strip()
        if not image or not text:
            raise InputError(f"Name both columns of {Path(path).name}.")
        return image, text

    def _named_exclusions(self) -> str | None:
        """Return the exclusions file, checked."""
        path = self.exclude.path()
        if path and not os.path.isfile(path):
            raise InputError(f"There is no exclusions file at {path}; choose one, or none.")
        if path and self._exclude_problem:
            raise InputError(self._exclude_problem)
        return self.exclude.absolute() or None

    def _look_at_exclusions(self) -> None:
        """Read an exclusions file as soon as it is named, in another thread."""
        self._exclude_problem = ""
        self.exclude_says.setText("")
        self._looking.cancel()
        path = self.exclude.path()
        if path and os.path.exists(path):  # Path.exists raises an error of a name too long
            read = partial(_excluded_by, Path(path))
            self._looking = tasks.run(read, self._on_exclusions_read, self._on_exclusions_refused)

    def _on_exclusions_read(self, words: str) -> None:
        theme.set_property(self.exclude_says, "role", "subtle")
        self.exclude_says.setText(words)

    def _on_exclusions_refused(self, error: InputError) -> None:
        """Say now what would otherwise end the run at its start."""
        self._exclude_problem = error.sentence
        self._on_exclusions_read(plain(error.sentence, 400))
        theme.set_property(self.exclude_says, "role", "error")

    def _name_path(self) -> None:
        """Say what the path is for, and look at it anew."""
        pairs = self._uses_pairs
        self.path.setPlaceholderText(
            "Table, folder, COCO JSON, shards, Parquet" if pairs else "Table, shard or Parquet file"
        )
        self.path.setAccessibleName("Training pairs" if pairs else "Table of training data")
        self.browse_pairs.setVisible(pairs)
        self._look()

    def _look(self) -> PairKind | None:
        """Say what the path holds; ask for columns and pictures where they are needed.

        Returns the kind of pairs, if it holds some and pairs are asked for.
        """
        path = self.path.path()
        if self._uses_pairs:
            kind = _kind(path)
            words = f"Found: {KINDS[kind]}" if kind else _why_not(path)
            columns = kind is None or kind in _WITH_COLUMNS
        else:
            kind, words = None, ""
            columns = Path(path).suffix.lower() not in FILES
        self.summary.setText(words)
        form = self._table_details.layout()
        assert isinstance(form, QFormLayout)
        form.setRowVisible(1, bool(words))
        form.setRowVisible(2, columns)
        form.setRowVisible(3, columns)
        form.setRowVisible(4, kind == "coco")
        return kind

    def _fill_in(self, kind: PairKind | None) -> None:
        """Fill in the columns of a table of pairs; a job says what is wrong with others."""
        columns = self.image_column.text(), self.text_column.text()
        if columns == self._filled_in:  # of the table before
            columns = "image", "caption" if self._uses_pairs else "label"
        with suppress(InputError):
            if kind == "csv":
                columns = self._filled_in = pair_columns(self.path.path(), *columns)
        self.image_column.setText(columns[0])
        self.text_column.setText(columns[1])

    def _on_of_pairs_clicked(self, checked: bool) -> None:
        self.set_uses_pairs(checked)
        self.changed.emit()

    def _on_source_chosen(self) -> None:
        self._table_details.setVisible(self.table.isChecked())
        self._folder_details.setVisible(self.folder.isChecked())
        self.changed.emit()

    def _ask_for_file(self, path: str) -> str:
        files = CAPTION_PAIRS if self._uses_pairs else _LABELLED_FILES
        return self._prompts.open_file(self, "Training data", path, files)


def _named(edit: PathEdit, nothing: str, what: str = "") -> str:
    """The path that is named, absolute; refuse none, and one where no ``what`` is."""
    path = edit.absolute()
    if not edit.path():
        raise InputError(nothing)
    if what and not (os.path.isdir if what == "folder" else os.path.isfile)(path):
        raise InputError(f"There is no {what} at {plain(path, 200)}; choose an existing one.")
    return path


def _excluded_by(path: Path, _control: tasks.TaskControl) -> str:
    """What an exclusions file leaves out."""
    if path.is_file() and path.stat().st_size > _LARGEST_EXCLUSIONS:
        return "A large file: it is read when the run starts."
    return f"Leaves out {plural(len(read_exclusions(path).pairs), 'pair')}."


def _kind(path: str) -> PairKind | None:
    """Kind of the pairs at a path, if it holds some."""
    try:
        return detect(path) if path else None
    except InputError:
        return None


def _why_not(path: str) -> str:
    """Why a path is no path of pairs; nothing while it is being typed."""
    if not path or not os.path.exists(path):
        return ""
    try:
        detect(path)
    except InputError as error:
        return error.sentence
    return ""


def _details(*rows: tuple[Any, ...]) -> QWidget:
    """Return what stands under a choice, hidden at first."""
    details = QWidget()
    form = QFormLayout(details)
    form.setContentsMargins(theme.px(TICK), 0, 0, 0)
    form.setVerticalSpacing(theme.SPACE_XS)
    for parts in rows:
        form.addRow(*parts)
    details.hide()
    return details


def _beside(edit: QLineEdit, *buttons: QToolButton) -> QHBoxLayout:
    """Return a path and the buttons that choose it."""
    return row((edit, 1), *buttons, spacing=theme.SPACE_XS)


class OnceButton(QPushButton):
    """Takes one press of the mouse in the time of a double click."""

    _pressed_at = -1_000_000  # ms, as the window system counts

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Press, unless it is the second one of a double click."""
        after = event.timestamp() - self._pressed_at  # negative from a device with its own clock
        if 0 < after < QApplication.doubleClickInterval():
            return
        self._pressed_at = event.timestamp()
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Press once, however long the key is held."""
        if not event.isAutoRepeat():
            super().keyPressEvent(event)
