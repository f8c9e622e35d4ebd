"""Which pictures of a folder, file or table to use, and which class each label means."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, QSignalBlocker, QStringListModel, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QHeaderView,
    QProgressBar,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.dialog_frame import (
    ClosingDialog,
    field_form,
    frame,
    primary_button,
    resize_within,
)
from cleanclip_gui.widgets.name_filters import CLASS_LISTS, IMAGE_SETS, TABLES
from cleanclip_gui.widgets.number_box import fill
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, plain, plural
from ml_core.atomic import replace_files
from ml_core.data.detect import FILES
from ml_core.data.labels import label_sets, load_label_set, map_labels
from ml_core.data.specs import ImageSpec
from ml_core.data.table_files import IMAGE_COLUMNS, LABEL_COLUMNS, count_labels, find_column
from ml_core.paths import data_dir
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.tables import read_columns


def label_set_of(names: tuple[str, ...], title: str) -> str:
    """A built-in label set of these names, or a file that is written for them.

    Parameters
    ----------
    names
        In order.
    title
        Names the file.

    Raises
    ------
    InputError
        If the file cannot be written, or a name does not fit into a line.
    """
    for name in label_sets():
        if load_label_set(name).class_names == names:
            return name
    stem = re.sub(r"[^\w .()-]+", " ", title).strip(" .")[:80] or "classes"
    path = data_dir() / "labels" / f"{stem}.txt"
    lines = tuple(name.strip() for name in names)
    if not all(lines):
        raise InputError("A class of this set has no name; choose another label set.", "usage")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: "".join(f"{line}\n" for line in lines).encode()})
    except OSError as error:
        sentence = f"The label set cannot be kept in {path.parent}: {error.strerror}."
        raise InputError(sentence, "usage", details=str(error)) from error
    if load_label_set(path).class_names != lines:
        raise InputError(
            "The class names cannot be kept in a list of one per line; choose another label set."
        )
    return str(path)


_NO_LABELS = "(no labels)"
_LEAVE_OUT = "(leave out)"
_OWN = "own"
_MAX_SHOWN = 500


@dataclass(frozen=True)
class _Read:
    """Labels with their counts; a published set has a name, its classes in order, and notes.

    ``n`` is the number of pictures, 0 where it is not known.
    """

    counts: Counter[str]
    name: str = ""
    n: int = 0
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class ImagesDialog(ClosingDialog):
    """Emits ``chosen(ImageSpec, str)`` with the name of the label set to use.

    Labels that the label set lacks come first, with a class to choose for each; left alone they
    are left out and counted. A published set brings its own classes.

    Raises
    ------
    InputError
        If the table cannot be read.
    """

    chosen = Signal(object, str)

    def __init__(
        self,
        path: Path,
        kind: Literal["folder", "file", "csv"],
        label_set: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Evaluation images", parent)
        self._path, self._kind = path, kind
        self._label_set = label_set
        self._classes = load_label_set(label_set)
        self._read = _Read(Counter())
        self._reading = Ticket.closed()
        self._choices: dict[str, QComboBox] = {}
        form = field_form()
        self.image_column = named(QComboBox(), "Image column")
        self.label_column = named(QComboBox(), "Label column")
        if kind == "csv":
            columns = read_columns(path)
            self.image_column.addItems(list(columns))
            self.label_column.addItems([_NO_LABELS, *columns])
            self.image_column.setCurrentText(find_column(columns, None, IMAGE_COLUMNS) or "")
            self.label_column.setCurrentText(
                find_column(columns, None, LABEL_COLUMNS) or _NO_LABELS
            )
            form.addRow(Label("Image column", buddy=self.image_column), self.image_column)
            form.addRow(Label("Label column", buddy=self.label_column), self.label_column)
        splits = (("test", "Test images"), ("train", "Training images"))
        self.split = fill(named(QComboBox(), "Which images of the set"), splits)
        names = dict.fromkeys((label_set, *label_sets()))
        sets = [(name, plain(Path(name).name, 60)) for name in names]
        entries = ((_OWN, "Those of the images"), *sets)
        self.label_set = fill(named(QComboBox(), "Classes"), entries, label_set)
        form.addRow(Label("Split", buddy=self.split), self.split)
        form.addRow(Label("Classes", buddy=self.label_set), self.label_set)
        self._form = form
        self.n = named(QSpinBox(), "How many images; 0 takes all")
        self.n.setRange(0, 10_000_000)
        self.n.setSingleStep(500)
        self.n.setGroupSeparatorShown(True)
        self.n.setSpecialValueText("all")
        self.n.lineEdit().setTextMargins(9, 0, 0, 0)
        form.addRow(Label("At most", buddy=self.n), self.n)

        self.state = Label("", "subtle", wrap=True)
        self.busy = named(QProgressBar(), "Reading")
        self.busy.setRange(0, 0)
        self.busy.setTextVisible(False)
        self.table = named(QTableWidget(0, 3), "Labels and the class each one means")
        self.table.setHorizontalHeaderLabels(["Label", "Images", "Class"])
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        count = QTableWidgetItem("Images")
        count.setTextAlignment(right)
        self.table.setHorizontalHeaderItem(1, count)
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setDefaultSectionSize(38)
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(2, theme.px(240))

        self.ok = primary_button("Use these images", self._on_accepted)
        parts = (form, self.state, self.busy, self.table)
        frame(self, f"Evaluation images: {plain(path.name, 80)}", parts, self.ok)
        resize_within(self, 640, 560)
        self.label_column.currentTextChanged.connect(self._count_labels)
        self.split.currentIndexChanged.connect(self._count_labels)
        self.label_set.currentIndexChanged.connect(self._on_label_set_changed)
        form.setRowVisible(self.split, False)
        self._count_labels()

    def spec(self) -> ImageSpec:
        """Return the image set as chosen."""
        label = self.label_column.currentText()
        mapped = {
            name: self._classes.class_names[box.currentIndex() - 1]
            for name, box in self._choices.items()
            if box.currentIndex() > 0
        }
        return ImageSpec(
            kind=self._kind,
            path=str(self._path),
            split=self.split.currentData(),
            image_column=self.image_column.currentText() or None,
            label_column=None if label in ("", _NO_LABELS) else label,
            class_map=mapped,
            n=self.n.value() or None,
        )

    @property
    def classes_chosen(self) -> str | tuple[str, ...]:
        """A label set, or the names that the set brings."""
        name = self.label_set.currentData()
        return self._own_classes() if name == _OWN else str(name)

    def _own_classes(self) -> tuple[str, ...]:
        return self._read.classes or tuple(sorted(self._read.counts))

    def done(self, result: int) -> None:
        """Close, and end the reading in the background."""
        self._reading.cancel()
        super().done(result)

    def _count_labels(self) -> None:
        """Read the labels in another thread."""
        self._reading.cancel()
        path, kind, column = self._path, self._kind, self.label_column.currentText()
        train = self.split.currentData() == "train"
        self._choices, self._read = {}, _Read(Counter())
        self.table.setRowCount(0)
        if kind == "csv" and column == _NO_LABELS:
            self._end_reading()
            self.state.setText("Without labels, flips are counted but not accuracy.")
            return
        self.state.setText("Reading labels…")
        self.busy.show()
        self.ok.setEnabled(kind == "csv")

        def work(control: tasks.TaskControl) -> _Read:
            if kind == "csv":
                return _Read(count_labels(path, column))
            return _looked_into(path, kind, train, control)

        self._reading = tasks.run(work, self._on_counted, self._on_failed)

    def _end_reading(self) -> None:
        self.busy.hide()
        self.ok.setEnabled(True)

    def _on_counted(self, read: _Read) -> None:
        self._end_reading()
        self._read = read
        self._form.setRowVisible(self.split, bool(read.name) and self._kind == "folder")
        self._form.setRowVisible(self.label_set, bool(read.counts))
        with QSignalBlocker(self.label_set):
            if read.name and read.counts:
                self.label_set.setCurrentIndex(0)
        self._show_labels()

    def _on_label_set_changed(self) -> None:
        name = self.label_set.currentData()
        if name != _OWN:
            try:
                self._classes = load_label_set(name)
            except InputError as error:
                self.state.setText(error.sentence)
                return
        self._show_labels()

    def _show_labels(self) -> None:
        """Show labels and classes; those that the label set lacks first."""
        read, own = self._read, self.label_set.currentData() == _OWN
        self._choices = {}
        self.table.setRowCount(0)
        names, head = list(read.counts), _head(read)
        if not names:
            head = head or (f"{plural(read.n, 'picture')}. " if read.n else "")
            self.state.setText(f"{head}No labels: flips are counted but not accuracy.")
            return
        if own:
            classes = plural(len(self._own_classes()), "class", "classes")
            self.state.setText(f"{head}The label set is the {classes} of the images.")
            self._fill(names[:_MAX_SHOWN], dict.fromkeys(names, -1), own=True)
            return
        labels = dict(zip(names, map_labels(names, self._classes).labels.tolist(), strict=True))
        unmatched = [name for name in names if labels[name] < 0]
        total = plural(len(names), "label")
        lacking = f"{count_text(len(unmatched))} not in the label set {self._classes.name}"
        state = f"{head}{total}, {lacking if unmatched else 'every one matches a class'}."
        shown = (unmatched + [name for name in names if labels[name] >= 0])[:_MAX_SHOWN]
        if len(shown) < len(names):
            lost = max(0, len(unmatched) - len(shown))
            rest = f"; {count_text(lost)} that match no class are left out" if lost else ""
            state += f" The first {count_text(len(shown))} of {count_text(len(names))} are shown"
            state += f"{rest}."
        self.state.setText(state)
        self._fill(shown, labels, own=False)

    def _fill(self, shown: list[str], labels: dict[str, int], *, own: bool) -> None:
        self.table.setRowCount(len(shown))
        choices = QStringListModel(
            [_LEAVE_OUT, *(plain(c, 80) for c in self._classes.class_names)], self
        )
        for row, name in enumerate(shown):
            self.table.setItem(row, 0, QTableWidgetItem(plain(name, 120)))
            number = QTableWidgetItem(count_text(self._read.counts[name]))
            number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, 1, number)
            if own or labels[name] >= 0:
                text = name if own else self._classes.class_names[labels[name]]
                self.table.setItem(row, 2, QTableWidgetItem(plain(text, 120)))
                continue
            box = named(QComboBox(), f"Class of {plain(name, 60)}")
            box.setModel(choices)
            self.table.setCellWidget(row, 2, box)
            self._choices[name] = box

    def _on_failed(self, error: InputError) -> None:
        self.busy.hide()
        self._form.setRowVisible(self.split, self.split.currentIndex() > 0)
        self.state.setText(plain(error.sentence, 500))

    def _on_accepted(self) -> None:
        classes = self.classes_chosen
        if not isinstance(classes, str):
            try:
                classes = label_set_of(classes, f"classes of {self._path.stem}")
            except InputError as error:
                self.state.setText(plain(error.sentence, 500))
                return
        self.chosen.emit(self.spec(), classes)
        self.accept()


def _looked_into(path: Path, kind: str, train: bool, control: tasks.TaskControl) -> _Read:
    """The labels of a folder's table or of a published set, else of a folder per class.

    Raises
    ------
    InputError
        If there is no picture, or the set is damaged.
    """
    from ml_core.data.detect import find_set
    from ml_core.data.readers.folders import list_folder

    def watch(*_: object) -> None:
        if control.cancelled():
            raise CancelledError

    table = path / "labels.csv"
    if table.is_file():
        column = find_column(read_columns(table), None, LABEL_COLUMNS)
        return _Read(count_labels(table, column) if column else Counter())
    image_set = find_set(path, train=train)
    if image_set is None and kind == "file":
        raise InputError(f"{path.name} is no WebDataset shard and no Parquet file.", "usage")
    if image_set is None:
        files = list_folder(path, watch)
        return _Read(Counter(files.texts or ()), n=files.n)
    counts: Counter[str] = Counter()
    if image_set.labels is not None:
        sizes = Counter(image_set.labels.tolist())
        for number, name in enumerate(image_set.class_names):
            counts[name] += sizes[number]
    return _Read(counts, image_set.name, image_set.n, image_set.class_names, image_set.notes)


def _head(read: _Read) -> str:
    """What a published set is, and what of it is left out."""
    if not read.name:
        return ""
    notes = "".join(f" {plain(note, 200)}." for note in read.notes[:3])
    return f"{plain(read.name, 120)}: {plural(read.n, 'picture')}.{notes} "


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
        dialog.chosen.connect(self.chosen)
        dialog.open()

    def choose_class_list(self) -> str:
        """Ask for a text file with one class a line; empty if none was chosen."""
        return self._prompts.open_file(
            self._parent, "Class list, one name per line", "", CLASS_LISTS
        )
