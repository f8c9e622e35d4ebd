"""The loader doctor: tries settings of a checkpoint in a separate process; the user decides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QLineF, QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QComboBox, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from cleanclip_gui import theme
from cleanclip_gui.data.images_dialog import DEMO_SPLITS, ImagesChooser
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.theme import look
from cleanclip_gui.widgets.controls import Label, Note, named, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Index, Row, RowsTable, rate
from cleanclip_gui.widgets.text import count_text, percent_range, plain, plural
from ml_core.checkpoints.choice import Choice, forget, remember, remembered
from ml_core.data.labels import label_sets
from ml_core.data.specs import ImageSpec
from ml_core.events import Event, Finding
from ml_core.jobs.doctor import DoctorSpec
from ml_core.paths import cache_dir
from ml_core.reading import InputError, Inspection

_COLUMNS = (
    ("Setting", "The setting, and the value that was tried."),
    ("Accuracy", "Share of the labelled images that are classified correctly."),
    ("95 % interval", "Of the accuracy."),
    ("Images", "Number of images that were predicted."),
    ("0 to 100 %", "The accuracy from 0 to 100 %, with its interval."),
    ("Choice", "What applies now, and what is proposed."),
)
_BAR = 4
_WIDTHS = (84, 136, 72, 150, 84)
_INNER = 6
_FIRST = "as opened"


class _RateDelegate(QStyledItemDelegate):
    """A bar from 0 to 1 with the interval as a whisker."""

    def __init__(self, table: QWidget) -> None:
        super().__init__(table)
        self._table = table

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draw the row's background, then bar and whisker."""
        super().paint(painter, option, index)
        rate, low, high, best = index.data(Qt.ItemDataRole.UserRole)
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


class TrialsTable(RowsTable):
    """Settings as they are tried; the last column marks the proposed one."""

    empty_text = "Each setting gets a line here with its accuracy: press Try the settings."

    def __init__(self) -> None:
        super().__init__("Settings that were tried", _COLUMNS, numbers=range(1, 4))
        self.set_widths(_WIDTHS)
        self.setItemDelegateForColumn(_BAR, _RateDelegate(self))

    def show_trials(self, result: Mapping[str, Any]) -> None:
        """Show the trials of a job's result, or those so far, without ``best``."""
        best, trials = result.get("best"), result["trials"]
        word = "proposed" if result.get("choice") else "now"
        self.set_rows([_row(number, trial, best, word) for number, trial in enumerate(trials)])
        for line, shown in enumerate(self.rows.rows):
            if best is not None and trials[shown.id]["settings"] == best["settings"]:
                self.scrollTo(self.rows.index(line, 0))


def _row(number: int, trial: Mapping[str, Any], best: Mapping[str, Any] | None, word: str) -> Row:
    """A trial, a dictionary from the doctor's job, as a row of the table."""
    is_best = best is not None and trial["settings"] == best["settings"]
    choice = word if is_best else "now" if trial["question"] == _FIRST else ""
    rates = trial["accuracy"], trial["low"], trial["high"]
    return Row(
        number,
        (
            Cell(f"{plain(trial['question'], 80)}: {plain(trial['answer'], 300)}", number),
            rate(rates[0]), Cell(percent_range(rates[1:]), rates[1]),
            Cell(count_text(trial["n"]), trial["n"]), Cell("", (*rates, is_best)),
            Cell(choice, choice),
        ),
    )  # fmt: skip


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
        self.n = NumberBox("int", _FEW, _MANY, title="How many images at most", value=_USUAL)
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

    def chosen(self) -> tuple[ImageSpec, str]:
        """The image set, of at most that many images, and its label set."""
        spec: ImageSpec = self.images.currentData()[0]
        n = min(self.n.number, spec.n or _MANY)
        return spec.model_copy(update={"n": n}), str(self.labels.currentData())

    def take(self, spec: ImageSpec, label_set: str, name: str = "") -> None:
        """Use images with the classes that were chosen for them; they are offered first."""
        name = name or plain(Path(spec.path or "").name, 60)
        self.images.insertItem(0, name, (spec, label_set))
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
    box.setMinimumContentsLength(14)
    return box


_LEAD = (
    "Settings that the file does not state, or may state wrongly, are tried on labelled images: "
    "activation, mean and std, attention heads, resolution, logit scale. Nothing changes until "
    "you choose."
)
_AS_IT_IS = "No setting is significantly better than the current one: there is nothing to choose."


class DoctorDialog(JobDialog):
    """Tries settings of one file.

    ``used`` carries the path of the file whose settings were chosen or forgotten: it is
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
        self._tried: list[Mapping[str, Any]] = []
        self.images = ImageChoice(prompts)
        self.images.failed.connect(self.failed)
        self.trials = TrialsTable()
        self.locked.append(self.images)
        self.verdict = Label("", "heading", wrap=True)
        self.words = Note(selectable=True)
        self.use = push_button("Use this", self.use_proposal, look="primary")
        self.forget = push_button("Forget the choice", self.forget_choice)
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
            name = f"In use: {plain(images.name, 60)}"
            self.images.take(images.spec, self._session.label_set, name)

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
        self._tried.clear()
        self.trials.set_rows([])
        self.card.hide()
        self.use.setEnabled(False)

    def show_running(self) -> None:
        """Show that the doctor works; how long is not known."""
        super().show_running()
        self.busy.show_share(None)

    def take(self, event: Event) -> None:
        """List a setting that was tried."""
        if isinstance(event, Finding) and event.kind == "trial":
            self._tried.append(event.values)
            self.trials.show_trials({"trials": self._tried})
            self.trials.scrollToBottom()
            tried = plural(len(self._tried), "setting")
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
        self.used.emit(str(self.inspection.path))

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
        self.used.emit(str(self.inspection.path))

    def _show_remembered(self, sentence: str) -> None:
        """Say what was chosen before; empty if nothing was."""
        self.forget.setVisible(bool(sentence))
        self.show_state(sentence)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what the doctor proposes and why, warnings first."""
        self._result = result
        warnings: Sequence[str] = result["warnings"]
        choice = result["choice"]
        self.trials.show_trials(result)
        tried = plural(len(result["trials"]), "setting")
        self.show_state(f"{tried} tried on {plain(result['images'], 80)}.")
        title = (
            "File and behaviour disagree" if warnings else "The file does not state every setting"
        )
        self.verdict.setText(title if choice else _AS_IT_IS)
        proposal = (choice or {}).get("evidence", "").replace("Chosen with", "Proposed by", 1)
        sentences = (*warnings, *result["findings"], *([proposal] if proposal else []))
        self.words.setText("\n".join(plain(sentence, 600) for sentence in sentences))
        theme.set_property(self.card, "tone", "caution" if warnings else "" if choice else "ok")
        self.card.show()
        self.use.setEnabled(choice is not None)
        (self.use if choice else self.start).setFocus()
