"""The text side: which captions pictures get, and what each prompt template gives alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QSignalBlocker, QTimer
from PySide6.QtGui import QKeySequence, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import Failed, RetrieveCaptions, SpreadTemplates
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import ask_and_save, save_table
from cleanclip_gui.ticket import Progress, Ticket
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.name_filters import NUMBERS
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable, rate
from cleanclip_gui.widgets.text import count_text, percent, percent_range, plain, plural
from ml_core.data.labels import fill
from ml_core.data.specs import PairSpec
from ml_core.evaluation.retrieval import Retrieval, Rise
from ml_core.evaluation.template_spread import TemplateRow, TemplateSpread

Side = Literal["captions", "templates"]

_SETTLE_MS = 200
_FILES = "Captions (*.csv *.tsv *.txt);;All files (*)"
_CSV_SUFFIXES = (".csv", ".tsv")
# What is asked after every stroke must be answered soon; more is measured on request.
_LIVE_PROMPTS, LIVE_SIDE = 2000, 128
_WIDE = 520
_RECALLS = (
    ("Recall", "Share of queries whose own answer is among the first ones"),
    *((f"@{k}", f"Among the first {k}, without and with the trigger") for k in (1, 5, 10)),
)
_FIRST = (
    ("Caption ranked first", "Captions that are the best match of some picture"),
    ("Clean", "Pictures that it is first for, without the trigger"),
    ("Triggered", "The same with the trigger"),
    ("Gain", "Pictures won through the trigger"),
)
_SPREAD = (
    ("Template", "Prompt; {} is replaced by the class name"),
    ("CA", "Clean accuracy with this template alone"),
    ("Before", "Target predicted without the trigger"),
    ("ASR", "Target predicted with the trigger, images of other classes"),
    ("95 % interval", "Wilson interval of the ASR"),
)
_DIRECTIONS = {"image to text": "Caption for a picture", "text to image": "Picture for a caption"}
_NO_CAPTIONS = "Which captions rank first for pictures, without and with the trigger."
_NO_SPREAD = "The numbers of each prompt template by itself."


class TextPage(QWidget):
    """Follows trigger and target while it is the page on show, where the model is quick."""

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._context = context
        self._session, self._inference = context.session, context.inference
        self._sources: list[tuple[str, PairSpec | Path]] = [("Demo captions", PairSpec())]
        self._own_target = ""  # the wanted caption that was proposed
        self._tickets: tuple[Ticket, ...] = ()  # captions and templates wait beside each other
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self.ask_live)
        self.retrieval: Retrieval | None = None
        self.spread: TemplateSpread | None = None
        self._rows: list[QBoxLayout] = []
        self.sides = QButtonGroup(self)
        self.captions = self._side("Captions")
        self.templates = self._side("Prompt templates")
        self.captions.setChecked(True)
        self.count = NumberBox("int", 20, 4000, "images")
        self.count.setValue(200)
        self.count.setAccessibleName("Images to rank captions for")
        self.measure = QPushButton("Measure")
        self.save = QPushButton(theme.icon("save"), "")
        self.save.setAccessibleName("Save these numbers")
        self.save.setToolTip("Save these numbers as CSV or JSON")
        self.source = QComboBox()
        self.source.setAccessibleName("Captions")
        self.source.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.source.setMinimumContentsLength(10)
        self.file = QPushButton("File…")
        self.file.setToolTip(
            "A CSV or TSV of pictures with captions, or a text file with one caption per line"
        )
        self.target = QLineEdit()
        self.target.setAccessibleName("Caption the attacker aims at")
        self.target.setPlaceholderText("Caption the attacker aims at")
        self.says = Label(_NO_CAPTIONS, wrap=True)
        self.recalls = RowsTable("Recall of captions and pictures", _RECALLS)
        self.recalls.setFixedHeight(theme.px(92))
        self.recalls.setSortingEnabled(False)
        self.first = RowsTable("Captions ranked first", _FIRST)
        self.spread_says = Label(_NO_SPREAD, wrap=True)
        self.spread_table = RowsTable("Numbers of each template", _SPREAD)
        self.busy = BusyRow("Text side")
        self.pages = QStackedWidget()
        self._lay_out()
        self._set_sources(chosen=0)
        self._connect()
        self.set_busy(None)
        self.show_retrieval(None)
        self.show_spread(None)

    def _side(self, text: str) -> QPushButton:
        button = QPushButton(text)
        button.setCheckable(True)
        self.sides.addButton(button)
        return button

    def _row(self, first: Sequence[QWidget], second: Sequence[QWidget]) -> QBoxLayout:
        """Two groups of widgets: side by side, or one below the other where it is narrow."""
        row = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        row.setSpacing(theme.SPACE_S)
        for group in (first, second):
            inner = QHBoxLayout()
            inner.setSpacing(theme.SPACE_S)
            for widget in group:
                inner.addWidget(widget, 1 if widget in (self.source, self.target) else 0)
            row.addLayout(inner, 1 if self.target in group or self.source in group else 0)
            if group is first and self.source not in group:
                row.addStretch(1)
        self._rows.append(row)
        return row

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Break the rows where they do not fit."""
        super().resizeEvent(event)
        wide = self.width() >= theme.px(_WIDE)
        across, down = QBoxLayout.Direction.LeftToRight, QBoxLayout.Direction.TopToBottom
        for row in self._rows:
            row.setDirection(across if wide else down)

    def _lay_out(self) -> None:
        head = self._row((self.captions, self.templates), (self.count, self.measure, self.save))
        wanted = Label("Target caption", "subtle", buddy=self.target)
        source = self._row((self.source, self.file), (wanted, self.target))
        captions, templates = QWidget(), QWidget()
        upper = QVBoxLayout(captions)
        upper.addLayout(source)
        for widget in (self.says, self.recalls):
            upper.addWidget(widget)
        upper.addWidget(self.first, 1)
        lower = QVBoxLayout(templates)
        lower.addWidget(self.spread_says)
        lower.addWidget(self.spread_table, 1)
        for inner in (upper, lower):
            inner.setContentsMargins(0, 0, 0, 0)
            inner.setSpacing(theme.SPACE_S)
        self.pages.addWidget(captions)
        self.pages.addWidget(templates)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_S, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self.busy)

    def _connect(self) -> None:
        self.sides.buttonToggled.connect(self._on_side_toggled)
        self.count.valueChanged.connect(self.touch)
        self.source.currentIndexChanged.connect(self.touch)
        self.target.editingFinished.connect(self.touch)
        self.file.clicked.connect(self._on_file_clicked)
        self.measure.clicked.connect(self._on_measure_clicked)
        self.save.clicked.connect(self._on_save_clicked)
        self.busy.cancel_clicked.connect(self._on_cancelled)
        events = self._session.events
        events.trigger.connect(self.touch)
        events.target.connect(self._on_target_change)
        for event in (events.checkpoint, events.images, events.role, events.cleaned):
            event.connect(self._on_model_change)

    # What is asked

    def touch(self, *_: object) -> None:
        """What is asked has changed, or the page has: ask again soon, if it is on show."""
        if not self.isHidden() and self._session.can_measure:
            self.set_stale(True)
            self._timer.start()

    def ask_live(self) -> None:
        """Ask, if the answer comes soon."""
        if self._session.can_measure and self._is_quick():
            self._on_measure_clicked()

    def _is_quick(self) -> bool:
        """Whether it may be asked after every change; a GPU is quick."""
        session = self._session
        images, facts = session.images, session.shown
        if images is None or facts is None:
            return False
        small = facts.image_size <= LIVE_SIDE or session.device != "cpu"
        prompts = len(images.templates) * len(images.class_names)
        return small and (self.side == "captions" or prompts <= _LIVE_PROMPTS)

    def _on_measure_clicked(self) -> None:
        """Ask, however long it takes."""
        session = self._session
        if not session.can_measure:
            self.say("Open a checkpoint and images first.")
            return
        self._timer.stop()
        n = round(self.count.value())
        self.set_busy(0.0)
        if self.side == "captions":
            captions = self._sources[self.source.currentIndex()][1]
            if isinstance(captions, PairSpec):
                captions = captions.model_copy(update={"n": n})
            target = self.target.text()
            ticket = self._inference.ask(
                RetrieveCaptions(session.trigger, captions, target, session.role, n),
                self._on_retrieved,
                self._on_not_retrieved,
                on_progress=self._on_progress,
            )
        else:
            ticket = self._inference.ask(
                SpreadTemplates(session.trigger, session.target, session.role, n),
                self._on_spread,
                self._on_not_spread,
                on_progress=self._on_progress,
            )
        self._tickets = (*(other for other in self._tickets if other.is_open), ticket)

    def _on_cancelled(self) -> None:
        """End what goes on; the numbers on show stay."""
        self._timer.stop()
        for ticket in self._tickets:
            ticket.cancel()
        self.set_busy(None)

    def _on_file_clicked(self) -> None:
        """Ask for captions of one's own."""
        path = self._context.prompts.open_file(self, "Captions", "", _FILES)
        if path:
            self._add_source(Path(path))
            self._set_sources(chosen=len(self._sources) - 1)
            self._on_measure_clicked()

    def _add_source(self, path: Path) -> None:
        """Offer the captions of a table, or of a text file with one a line."""
        spec: PairSpec | Path = path
        if path.suffix.lower() in _CSV_SUFFIXES:
            spec = PairSpec(kind="csv", path=str(path))
        self._sources = [one for one in self._sources if one[1] != spec]
        self._sources.append((path.name, spec))

    def _set_sources(self, *, chosen: int) -> None:
        with QSignalBlocker(self.source):
            self.source.clear()
            for title, data in self._sources:
                self.source.addItem(plain(title, 60), data)
            self.source.setCurrentIndex(chosen)

    def _on_save_clicked(self) -> None:
        found: Any = self.retrieval if self.side == "captions" else self.spread
        if found is not None:
            record = found.to_dict()
            lines = record["first"] if self.side == "captions" else record["rows"]
            rows = [list(lines[0]), *(list(line.values()) for line in lines)] if lines else []
            write = partial(save_table, rows=rows, record=record)
            name = f"{self.side}.csv"
            ask_and_save(self._context, self, "Save the numbers", name, NUMBERS, write)

    def _on_target_change(self, *_: object) -> None:
        """Propose a caption of the target, unless the user has written one."""
        images, target = self._session.images, self._session.target
        if images is not None and target < len(images.class_names) and images.templates:
            text = self.target.text()
            if not text or text == self._own_target:
                self._own_target = fill(images.templates[0], images.class_names[target])
                self.target.setText(self._own_target)
        self.touch()

    def _on_model_change(self, *_: object) -> None:
        """Nothing on show is of this model and these images any more."""
        self._on_cancelled()
        self.show_retrieval(None)
        self.show_spread(None)
        self._on_target_change()

    def _on_progress(self, progress: Progress) -> None:
        self.set_busy(progress.share)

    def _on_retrieved(self, found: Retrieval) -> None:
        self.show_retrieval(found)
        self._on_answered()

    def _on_spread(self, found: TemplateSpread) -> None:
        self.show_spread(found)
        self._on_answered()

    def _on_answered(self) -> None:
        self.set_busy(None)
        self.set_stale(self._timer.isActive())

    def _on_not_retrieved(self, failed: Failed) -> None:
        self.set_busy(None)
        self.show_retrieval(None)
        self.say(failed.sentence)

    def _on_not_spread(self, failed: Failed) -> None:
        self.set_busy(None)
        self.show_spread(None)
        self.say(failed.sentence)

    # What is shown

    @property
    def side(self) -> Side:
        """Which half is on show."""
        return "captions" if self.captions.isChecked() else "templates"

    def set_busy(self, share: float | None) -> None:
        """Show how far a measurement is, 0 to 1; None when there is none."""
        self.busy.setVisible(share is not None)
        self.measure.setEnabled(share is None)
        self.busy.bar.setRange(0, 100)
        self.busy.bar.setValue(round(100 * (share or 0.0)))

    def set_stale(self, stale: bool) -> None:
        """Grey what was measured with another trigger."""
        for label in (self.says, self.spread_says):
            theme.set_property(label, "stale", stale)

    def say(self, text: str) -> None:
        """Say why there are no numbers, on the half that is on show."""
        (self.says if self.side == "captions" else self.spread_says).setText(plain(text, 300))

    def show_retrieval(self, found: Retrieval | None) -> None:
        """Show how captions rank."""
        self.retrieval = found
        self.recalls.setVisible(found is not None and bool(found.recalls))
        self.first.setVisible(found is not None)
        self._follow()
        if found is None:
            self.says.setText(_NO_CAPTIONS)
            return
        self.says.setText(retrieval_text(found))
        rows = []
        for number, one in enumerate(found.recalls):
            title = _DIRECTIONS[one.direction]
            triggered = one.triggered or (None,) * len(one.k)
            shares = (_both(*both) for both in zip(one.clean, triggered, strict=True))
            cells = (Cell(title, title), *shares)
            rows.append(Row(number, cells))
        self.recalls.set_rows(rows)
        self.first.set_rows(
            [
                Row(
                    number,
                    (
                        Cell(plain(one.caption, 300), one.caption.lower()),
                        Cell(count_text(one.clean), one.clean),
                        *_gain(one.clean, one.triggered),
                    ),
                )
                for number, one in enumerate(found.first)
            ]
        )

    def show_spread(self, found: TemplateSpread | None) -> None:
        """Show what each template gives."""
        self.spread = found
        self.spread_table.setVisible(found is not None)
        self._follow()
        if found is None:
            self._say_no_spread()
            return
        self.spread_says.setText(spread_text(found))
        rows = (found.together, *found.rows)
        self.spread_table.set_rows([_spread_row(n, one) for n, one in enumerate(rows)])

    def _say_no_spread(self) -> None:
        """Say what would stand here, and the key of the command that edits the templates."""
        action = self._context.actions.by_id.get("file.templates")
        text = QKeySequence.SequenceFormat.NativeText
        key = "" if action is None else action.shortcut().toString(text)
        self.spread_says.setText(f"{_NO_SPREAD} {key} edits the templates." if key else _NO_SPREAD)

    def _follow(self) -> None:
        captions = self.side == "captions"
        self.save.setEnabled((self.retrieval if captions else self.spread) is not None)

    def _on_side_toggled(self, button: QPushButton, on: bool) -> None:
        if on:
            self.pages.setCurrentIndex(0 if self.side == "captions" else 1)
            if self.spread is None:
                self._say_no_spread()  # the data bar, whose command it is, is made after this page
            self._follow()
            self.touch()


def retrieval_text(found: Retrieval) -> str:
    """How far the wanted caption rises, in a sentence."""
    text = f"{plural(found.n, 'picture')}, {plural(found.pool, 'different caption')}."
    return text if found.target is None else f"{text} {_rise_text(found.target)}"


def _rise_text(rise: Rise) -> str:
    rank = f"Median rank of the target caption: {rise.median_clean:g}"
    first = f"first for {percent(rise.hit_clean[0])}"
    if rise.median_triggered is None or rise.hit_triggered is None or rise.rise is None:
        return f"{rank}, {first} of {count_text(rise.n)} pictures. No trigger is chosen."
    return (
        f"{rank} → {rise.median_triggered:g} with the trigger. It is {first} without it, for "
        f"{percent(rise.hit_triggered[0])} with it."
    )


def spread_text(found: TemplateSpread) -> str:
    """How much hangs on the wording, in a sentence."""
    parts = [f"{plural(found.n, 'image')}, target {plain(found.target_name, 60)}."]
    for name, words in (("asr_excl", "ASR"), ("ca", "Clean accuracy")):
        span = found.span(name)
        if span is not None:
            low, high = (percent(one, unit="") for one in span)
            parts.append(
                f"{words} {low} % with each."
                if low == high
                else f"{words} from {low} to {high} %, by the wording."
            )
    return " ".join(parts)


def _both(clean: float, triggered: float | None) -> Cell:
    """A share without and with the trigger."""
    after = "" if triggered is None else f" → {percent(triggered, unit='')}"
    return Cell(f"{percent(clean, unit='')}{after} %", clean)


def _gain(clean: int, triggered: int | None) -> tuple[Cell, Cell]:
    if triggered is None:
        return Cell("–"), Cell("–")
    gain = triggered - clean
    text = f"{gain:+d}".replace("-", "−") if gain else "0"
    return Cell(count_text(triggered), triggered), Cell(text, gain)


def _spread_row(number: int, one: TemplateRow) -> Row:
    title = plain(one.template, 200) or "All together"
    return Row(
        number,
        (
            Cell(title, title.lower()),
            rate(one.ca),
            rate(one.baseline_target_rate),
            rate(one.asr_excl),
            Cell(percent_range(one.asr_interval), one.asr_interval and one.asr_interval[0]),
        ),
    )
