"""The loader doctor: tries settings of a checkpoint in a separate process; the user decides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QLineF, QModelIndex, QPersistentModelIndex, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import (
    QComboBox,
    QHeaderView,
    QPushButton,
    QSpinBox,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.data.images_dialog import DEMO_SPLITS, ImagesChooser
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import Label, named
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import show_rows
from cleanclip_gui.widgets.text import count_text, percent, percent_range, plain, plural, tip
from ml_core.checkpoints.choice import Choice, forget, remember, remembered
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec
from ml_core.events import Event, Finding, Progress
from ml_core.jobs.doctor import DoctorSpec
from ml_core.paths import cache_dir
from ml_core.reading import InputError, Inspection

_COLUMNS = ("Choice", "Question", "Answer", "Accuracy", "95 % interval", "Images", "Bar")
_MARK, _QUESTION, _ANSWER, _ACCURACY, _INTERVAL, _IMAGES, _BAR = range(len(_COLUMNS))
_RATES = Qt.ItemDataRole.UserRole
_INNER = 6
_FIRST = "as opened"
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class _RateDelegate(QStyledItemDelegate):
    """A bar from 0 to 1 with the interval as a whisker."""

    def __init__(self, table: QWidget) -> None:
        super().__init__(table)
        self._table = table

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """Draw the row's background, then bar and whisker."""
        super().paint(painter, option, index)
        rates = index.data(_RATES)
        if not rates:
            return
        rate, low, high, best = rates
        area = QRectF(option.rect).adjusted(_INNER, 8, -_INNER, -8)
        painter.save()
        painter.fillRect(area, look.track_colour(self._table))
        bar = QRectF(area.left(), area.top(), rate * area.width(), area.height())
        colour = look.clean_colour()
        painter.fillRect(bar, colour if best else look.faded(colour, True))
        painter.setPen(QPen(look.text_colour(self._table), 1.5))
        left, right = (area.left() + value * area.width() for value in (low, high))
        middle = area.center().y()
        painter.drawLine(QLineF(left, middle, right, middle))
        for end in (left, right):
            painter.drawLine(QLineF(end, middle - 3, end, middle + 3))
        painter.restore()


class TrialsTable(QTableWidget):
    """Rows as they arrive; :meth:`mark` marks the proposed one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self._trials: list[Mapping[str, Any]] = []
        self._best: Mapping[str, Any] | None = None
        self._word = ""
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        self.setAccessibleName("Settings that were tried")
        show_rows(self, 28)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for cell, width in ((_MARK, 76), (_QUESTION, 212), (_ACCURACY, 84), (_INTERVAL, 136)):
            self.setColumnWidth(cell, theme.px(width))
        self.setColumnWidth(_IMAGES, theme.px(72))
        self.setColumnWidth(_BAR, theme.px(150))
        header.setSectionResizeMode(_ANSWER, QHeaderView.ResizeMode.Stretch)
        for cell in (_ACCURACY, _INTERVAL, _IMAGES):
            title = QTableWidgetItem(_COLUMNS[cell])
            title.setTextAlignment(_RIGHT)
            self.setHorizontalHeaderItem(cell, title)
        self.setItemDelegateForColumn(_BAR, _RateDelegate(self))

    def clear_trials(self) -> None:
        """Show nothing."""
        self._trials, self._best = [], None
        self.setRowCount(0)

    def add(self, trial: Mapping[str, Any]) -> None:
        """Show one more trial, a dictionary from the doctor's job."""
        self._trials.append(trial)
        self.insertRow(self.rowCount())
        self._fill(self.rowCount() - 1)
        self.scrollToBottom()

    def mark(self, best: Mapping[str, Any], *, proposed: bool) -> None:
        """Mark the proposed trial, or the present one if there is no reason to leave it."""
        self._best = best["settings"]
        self._word = "proposed" if proposed else "now"
        for line in range(self.rowCount()):
            self._fill(line)
        line = next((n for n, t in enumerate(self._trials) if t["settings"] == self._best), 0)
        self.scrollTo(self.model().index(line, _ANSWER))

    def _fill(self, line: int) -> None:
        trial = self._trials[line]
        best = self._best is not None and trial["settings"] == self._best
        first = trial["question"] == _FIRST
        texts = {
            _MARK: self._word if best else "now" if first else "",
            _QUESTION: plain(trial["question"], 80),
            _ANSWER: plain(trial["answer"], 300),
            _ACCURACY: percent(trial["accuracy"]),
            _INTERVAL: percent_range((trial["low"], trial["high"])),
            _IMAGES: count_text(trial["n"]),
            _BAR: "",
        }
        font = theme.figure_font(theme.FONT_POINTS, bold=best)
        for cell, text in texts.items():
            item = QTableWidgetItem(text)
            item.setFont(font)
            if cell == _ANSWER:
                item.setToolTip(tip(text))
            if cell in (_ACCURACY, _INTERVAL, _IMAGES):
                item.setTextAlignment(_RIGHT)
            if cell == _BAR:
                item.setData(_RATES, (trial["accuracy"], trial["low"], trial["high"], best))
            self.setItem(line, cell, item)


_FOLDER, _TABLE, _FILE, _LIST = "folder", "csv", "file", "list"
_FEW, _MANY, _USUAL = 20, 10_000, 300


class ImageChoice(QWidget):
    """Three fields; ``failed`` carries an InputError of a table that cannot be read."""

    failed = Signal(object)

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._chooser = ImagesChooser(prompts, "labelled images", self)
        self._good = self._good_list = 0
        self.images = _combo("Labelled images")
        for split, text in DEMO_SPLITS:
            if split != "heldout":  # a style that the model never saw says little of its settings
                self.images.addItem(text, (ImageSpec(kind="demo", split=split), "demo"))
        self.images.addItem("A folder per class, or a published set…", _FOLDER)
        self.images.addItem("CSV or TSV table…", _TABLE)
        self.images.addItem("WebDataset shard or Parquet…", _FILE)
        self.labels = _combo("Label set")
        for name in label_sets():
            self.labels.addItem(name, name)
        self.labels.addItem("Text file…", _LIST)
        self.n = named(QSpinBox(), "How many images at most")
        self.n.setRange(_FEW, _MANY)
        self.n.setSingleStep(100)
        self.n.setValue(_USUAL)
        self.n.setGroupSeparatorShown(True)
        self.n.setMinimumWidth(theme.px(96))
        self.n.lineEdit().setTextMargins(6, 0, 0, 0)
        fields = FoldingRow()
        for title, box in (
            ("Labelled images", self.images), ("Label set", self.labels), ("At most", self.n)
        ):  # fmt: skip
            fields.add(Label(title, "field", buddy=box), box)
        row(fields, of=self)
        self._chooser.chosen.connect(self.take)
        self._chooser.failed.connect(self.failed)
        self.images.activated.connect(self._on_images_activated)
        self.labels.activated.connect(self._on_labels_activated)
        self._follow()

    def offer(self, spec: ImageSpec, label_set: str, name: str) -> None:
        """Put the images in use first."""
        self.images.insertItem(0, f"In use: {plain(name, 60)}", (spec, label_set))
        self.images.setCurrentIndex(0)
        self._good = 0
        self._follow()

    def chosen(self) -> tuple[ImageSpec, str]:
        """The image set, of at most that many images, and its label set."""
        spec: ImageSpec = self.images.currentData()[0]
        n = min(self.n.value(), spec.n or self.n.value())
        return spec.model_copy(update={"n": n}), str(self.labels.currentData())

    def take(self, spec: ImageSpec, label_set: str) -> None:
        """Use images of one's own with the classes that were chosen for them."""
        name = Path(spec.path or "").name
        self.images.insertItem(0, plain(name, 60), (spec, label_set))
        self.images.setCurrentIndex(0)
        self._good = 0
        self._follow()

    def _follow(self) -> None:
        """Some images come with their label set."""
        spec, label_set = self.images.currentData()
        if label_set:
            place = self.labels.findData(label_set)
            if place < 0:
                self.labels.insertItem(0, plain(Path(label_set).name, 60), label_set)
                place = 0
            self.labels.setCurrentIndex(place)
            self._good_list = place
        self.labels.setEnabled(spec.kind != "demo")

    def _on_images_activated(self, place: int) -> None:
        choice = self.images.itemData(place)
        if choice not in (_FOLDER, _TABLE, _FILE):
            self._good = place
            self._follow()
            return
        self.images.setCurrentIndex(self._good)  # until something is chosen
        self._chooser.choose(choice, str(self.labels.currentData()))

    def _on_labels_activated(self, place: int) -> None:
        if self.labels.itemData(place) != _LIST:
            self._good_list = place
            return
        self.labels.setCurrentIndex(self._good_list)
        path = self._chooser.choose_class_list()
        if path:
            self.labels.insertItem(0, plain(Path(path).name, 60), path)
            self.labels.setCurrentIndex(0)
            self._good_list = 0


def _combo(name: str) -> QComboBox:
    box = named(QComboBox(), name)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    return box


_LEAD = (
    "Settings that the file does not state, or may state wrongly, are tried on labelled images: "
    "activation, mean and std, attention heads, resolution, logit scale. Nothing changes until "
    "you choose."
)
_AS_IT_IS = "No setting is significantly better than the current one: there is nothing to choose."


class DoctorDialog(JobDialog):
    """Tries settings of one file.

    ``changed(str)`` carries the path of the file whose settings were chosen or forgotten: it is
    to be opened again.

    Parameters
    ----------
    task
        Runs the doctor.
    session
        Tells the device, and the images in use.
    prompts
        Ask for images of one's own.
    inspection
        The file.
    donor
        The donor that the file was opened with.
    """

    changed = Signal(str)
    cancelled_words = "Cancelled; the settings tried so far stay listed."

    def __init__(
        self,
        task: JobTask,
        session: Session,
        prompts: Prompts,
        inspection: Inspection,
        donor: str = "",
        parent: QWidget | None = None,
    ) -> None:
        title = plain(f"Loader doctor: {inspection.name}", 120)
        super().__init__(task, title, "Try the settings", "Progress of the doctor", parent)
        self.inspection = inspection
        self._session, self._donor = session, donor
        self._result: Mapping[str, Any] = {}
        self.images = ImageChoice(prompts)
        self.images.failed.connect(self.failed)
        self.trials = TrialsTable()
        self.locked.append(self.images)
        self.verdict = Label("", "heading", wrap=True)
        self.words = Label("", wrap=True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use this")
        self.use.setProperty("primary", True)
        self.use.clicked.connect(self.use_proposal)
        self.forget = QPushButton("Forget the choice")
        self.forget.clicked.connect(self.forget_choice)
        self.card = card(self.verdict, self.words, margins=theme.SPACE_L, spacing=theme.SPACE_S)
        self.card.setAccessibleName("What the doctor proposes")
        column(
            Label(plain(inspection.name, 100), "title"), Label(_LEAD, "subtle", wrap=True),
            row((self.images, 1), self.start, spacing=theme.SPACE_M), self.busy, self.state,
            (self.trials, 1), self.card,
            row(self.forget, None, self.close_button, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        self.card.hide()
        self.use.setEnabled(False)
        self.finish(1080, 700, self.use)
        self._offer_images()
        try:
            before = remembered(inspection.sha256)
            self._show_remembered("" if before is None else before.sentence)
        except InputError as error:
            self._show_remembered("")
            self.show_ended(error.sentence, error=True)

    def _offer_images(self) -> None:
        """Labelled images that are in use are those to try first."""
        images = self._session.images
        own = images is not None and images.spec.kind != "demo"
        if images is not None and own and (images.labels >= 0).any():
            self.images.offer(images.spec, self._session.label_set, images.name)

    def launch(self) -> None:
        """Try the settings on the chosen images."""
        images, label_set = self.images.chosen()
        device = self._session.device
        spec = DoctorSpec(
            checkpoint=str(self.inspection.path),
            donor=self._donor or None,
            images=images,
            label_set=label_set,
            device=device,
        )
        self.task.start(spec, cache_dir() / "doctor" / f"{os.getpid()}.json", device)
        self.trials.clear_trials()
        self.card.hide()
        self.use.setEnabled(False)

    def stage_words(self, progress: Progress) -> str:
        """Name the only stage."""
        return "Opening the checkpoint and the images…"

    def show_running(self) -> None:
        """Show that the doctor works; how long is not known."""
        super().show_running()
        self.busy.bar.setRange(0, 0)

    def take(self, event: Event) -> None:
        """List a setting that was tried."""
        if isinstance(event, Finding) and event.kind == "trial":
            self.trials.add(event.values)
            tried = plural(self.trials.rowCount(), "setting")
            self.show_doing(f"{tried} tried on {plural(event.values['n'], 'image')}…")

    def use_proposal(self) -> None:
        """Remember the proposed settings for this file and open it with them."""
        values = self._result.get("choice")
        if values is None:
            return
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            choice = remember(str(self._result["sha256"]), self.inspection.name, Choice(**lists))
        except InputError as error:
            self.show_ended(error.sentence, error=True)
            return
        self.use.setEnabled(False)
        self._show_remembered(choice.sentence)
        self.changed.emit(str(self.inspection.path))

    def forget_choice(self) -> None:
        """Open the file as it says again."""
        try:
            forget(self.inspection.sha256)
        except InputError as error:
            self.show_ended(error.sentence, error=True)
            return
        self._show_remembered("")
        self.show_ended("The choice is forgotten: the settings in the file apply again.")
        self.use.setEnabled(bool(self._result.get("choice")))
        self.changed.emit(str(self.inspection.path))

    def _show_remembered(self, sentence: str) -> None:
        """Say what was chosen before; empty if nothing was."""
        self.forget.setVisible(bool(sentence))
        self.show_state(sentence)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what the doctor proposes and why, warnings first."""
        self._result = result
        warnings: Sequence[str] = result["warnings"]
        choice = result["choice"]
        self.trials.mark(result["best"], proposed=choice is not None)
        tried = plural(len(result["trials"]), "setting")
        self.show_state(f"{tried} tried on {plain(result['images'], 80)}.")
        title = (
            "File and behaviour disagree" if warnings else "The file does not state every setting"
        )
        self.verdict.setText(title if choice else _AS_IT_IS)
        proposal = (choice or {}).get("evidence", "").replace("Chosen with", "Proposed by", 1)
        sentences = (*warnings, *result["findings"], *([proposal] if proposal else []))
        self.words.setText("\n".join(plain(sentence, 600) for sentence in sentences))
        self.words.setVisible(bool(sentences))
        theme.set_property(self.card, "tone", "caution" if warnings else "" if choice else "ok")
        self.card.show()
        self.use.setEnabled(choice is not None)
        (self.use if choice else self.start).setFocus()
