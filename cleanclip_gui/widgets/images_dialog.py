"""Which columns of a table hold images and labels, and which class each label means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QStringListModel, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.text import count_text, plain, plural
from cleanclip_gui.widgets.label import Label
from ml_core.data.labels import load_label_set, map_labels
from ml_core.data.specs import ImageSpec
from ml_core.data.table_files import IMAGE_COLUMNS, LABEL_COLUMNS, find_column
from ml_core.reading import InputError
from ml_core.reading.tables import read_columns, read_table

_NO_LABELS = "(no labels)"
_LEAVE_OUT = "(leave out)"
_MAX_SHOWN = 500


class ImagesDialog(QDialog):
    """Emits ``chosen(ImageSpec)``.

    Labels that the label set lacks come first, with a class to choose for each; left alone they
    are left out and counted.

    Raises
    ------
    InputError
        If the table cannot be read.
    """

    chosen = Signal(object)

    def __init__(
        self,
        path: Path,
        kind: Literal["folder", "csv"],
        label_set: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._path, self._kind = path, kind
        self._classes = load_label_set(label_set)
        self._reading: Background | None = None
        self._choices: dict[str, QComboBox] = {}
        self.setWindowTitle("Evaluation images")
        heading = Label(plain(path.name, 80), "title")
        form = QFormLayout()
        form.setHorizontalSpacing(theme.SPACE_L)
        form.setVerticalSpacing(theme.SPACE_S)
        self.image_column = _combo("Image column")
        self.label_column = _combo("Label column")
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
        self.n = QSpinBox()
        self.n.setRange(0, 10_000_000)
        self.n.setSingleStep(500)
        self.n.setGroupSeparatorShown(True)
        self.n.setSpecialValueText("all")
        self.n.lineEdit().setTextMargins(6, 0, 0, 0)
        self.n.setAccessibleName("How many images; 0 takes all")
        form.addRow(Label("Images", buddy=self.n), self.n)

        self.state = Label("", "subtle")
        self.state.setWordWrap(True)
        self.table = QTableWidget(0, 3)
        self.table.setAccessibleName("Labels and the class each one means")
        self.table.setHorizontalHeaderLabels(["Label", "Images", "Class"])
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setDefaultSectionSize(38)
        header = self.table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(2, 240)

        self.ok = QPushButton("Use these images")
        self.ok.setProperty("primary", True)
        self.ok.setDefault(True)
        self.ok.clicked.connect(self._on_accepted)
        cancel = QPushButton("Cancel")
        cancel.clicked.connect(self.reject)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(cancel)
        buttons.addWidget(self.ok)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.SPACE_XL,) * 4)
        layout.setSpacing(theme.SPACE_M)
        layout.addWidget(heading)
        layout.addLayout(form)
        layout.addWidget(self.state)
        layout.addWidget(self.table, 1)
        layout.addLayout(buttons)
        self.resize(640, 560)
        self.label_column.currentTextChanged.connect(self._count_labels)
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
            image_column=self.image_column.currentText() or None,
            label_column=None if label in ("", _NO_LABELS) else label,
            class_map=mapped,
            n=self.n.value() or None,
        )

    def done(self, result: int) -> None:
        """Close, and end the reading beside the window."""
        if self._reading is not None:
            self._reading.abandon()
            self._reading = None
        super().done(result)

    @Slot()
    def _count_labels(self) -> None:
        """Read the labels in another thread."""
        if self._reading is not None:
            self._reading.abandon()
        path, kind, column = self._path, self._kind, self.label_column.currentText()
        self._choices = {}
        self.table.setRowCount(0)
        if kind == "csv" and column == _NO_LABELS:
            self.state.setText("Without labels flips are counted, but not accuracy.")
            return
        self.state.setText("Reading labels…")

        def work(cancelled: Callable[[], bool]) -> Iterator[Counter[str]]:
            if kind == "csv":
                yield Counter(row[0] for row in read_table(path, (column,)).rows)
            else:
                folders = sorted(
                    p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")
                )
                yield Counter(
                    {p.name: sum(1 for f in p.rglob("*") if f.is_file()) for p in folders}
                )

        self._reading = Background(work)
        self._reading.yielded.connect(self._on_counted)
        self._reading.failed.connect(self._on_failed)
        self._reading.begin()

    @Slot(object)
    def _on_counted(self, counts: Counter[str]) -> None:
        if self.sender() is not self._reading:
            return
        names = list(counts)
        found = dict(zip(names, map_labels(names, self._classes).labels.tolist(), strict=True))
        unmatched = [name for name in names if found[name] < 0]
        if not names:
            self.state.setText("No class folders: the images count as unlabelled.")
            return
        total = plural(len(names), "label")
        lacking = f"{count_text(len(unmatched))} not in the label set {self._classes.name}"
        state = f"{total}, {lacking if unmatched else 'every one matches a class'}."
        shown = (unmatched + [name for name in names if found[name] >= 0])[:_MAX_SHOWN]
        if len(shown) < len(names):
            lost = max(0, len(unmatched) - len(shown))
            rest = f"; {count_text(lost)} that match no class are left out" if lost else ""
            state += f" The first {count_text(len(shown))} of {count_text(len(names))} are shown"
            state += f"{rest}."
        self.state.setText(state)
        self.table.setRowCount(len(shown))
        choices = QStringListModel(
            [_LEAVE_OUT, *(plain(c, 80) for c in self._classes.class_names)], self
        )
        for row, name in enumerate(shown):
            self.table.setItem(row, 0, QTableWidgetItem(plain(name, 120)))
            number = QTableWidgetItem(count_text(counts[name]))
            number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(row, 1, number)
            if found[name] >= 0:
                text = plain(self._classes.class_names[found[name]], 120)
                self.table.setItem(row, 2, QTableWidgetItem(text))
                continue
            box = _combo(f"Class of {plain(name, 60)}")
            box.setModel(choices)
            self.table.setCellWidget(row, 2, box)
            self._choices[name] = box

    @Slot(object)
    def _on_failed(self, error: InputError) -> None:
        if self.sender() is self._reading:
            self.state.setText(error.sentence)

    @Slot()
    def _on_accepted(self) -> None:
        self.chosen.emit(self.spec())
        self.accept()


def _combo(name: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    return box
