"""An evaluation class by class: the rates beside the headline, and what images become."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QSplitter, QWidget

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import EvaluationUpdated
from cleanclip_gui.station import Context
from cleanclip_gui.studio.asr_figure import NEEDS_LABELS, Fact
from cleanclip_gui.studio.exports import ask_and_save, save_classes
from cleanclip_gui.widgets.controls import Label, Note, push_button
from cleanclip_gui.widgets.layout import column, page, row, scrolling
from cleanclip_gui.widgets.name_filters import NUMBERS
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable
from cleanclip_gui.widgets.text import (
    NOT_MEASURED,
    THIN,
    count_text,
    percent,
    percent_range,
    plain,
    plural,
    signed,
)
from ml_core.evaluation.breakdown import Breakdown, ClassRow, Pull, becomes, break_down
from ml_core.evaluation.records import Evaluation

_CLASSES = (
    ("True class", "Classes that have labelled images"),
    ("n", "Images of it that were scored"),
    ("CA %", "Classified correctly without the trigger"),
    ("ASR %", "Predicted as the target with the trigger"),
    ("95 % interval", "Wilson interval of the ASR"),
    ("Kept %", "Poisoned accuracy: classified correctly in spite of the trigger"),
    ("Margin", "Mean of target logit minus best other logit, with the trigger"),
)
_BECOMES = (
    ("Predicted class", "The top-1 class of the model"),
    ("Clean", "Images predicted so without the trigger"),
    ("Triggered", "Images predicted so with the trigger"),
    ("Change", "Change of the share, in percentage points"),
)
_WIDE, _TABLES = 480, 300
_SAVE = "Save the numbers by class"
_NOTHING = Evaluation(n=0, n_total=0, n_excl=0, target=0, target_name="")
_EMPTY = "The numbers appear here as soon as a trigger is measured."
_CONTROL = "CA with resizing alone"
_CANVASES = {
    "squash": "squashed pictures",
    "resize_256": "pictures squashed to 256 px",
    "original": "original pictures",
}


class ClassesPage(QWidget):
    """Splits the live numbers by class, while it is the page on show."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context, self._session = context, context.session
        self._newest: EvaluationUpdated | None = None
        self._shown: EvaluationUpdated | None = None
        self._split: Breakdown | None = None  # of the numbers on show
        self.says = Label(_EMPTY, wrap=True)
        self.warning = Note("warning")
        self.save = push_button(
            icon="save", name=_SAVE, tip=f"{_SAVE} as CSV or JSON", clicked=self._on_save_clicked
        )
        self.accuracy = Fact(
            "CA, top 5 · top 10", "True label among the likeliest classes, without the trigger."
        )
        self.control = Fact(
            _CONTROL,
            "Clean accuracy without the trigger, on pictures resized as this trigger requires: "
            "the cost of the resizing alone.",
        )
        self.reach = Fact(
            "ASR, top 5 · top 10",
            "Target among the likeliest classes of the triggered image, over other classes.",
        )
        self.baseline = Fact(
            "Predicted as target\nwithout trigger",
            "Target predicted without the trigger, on the same images.",
        )
        self.flips = Fact("Flips", "Share of all images whose class changes with the trigger.")
        self.margin = Fact(
            "Target margin",
            "Mean of target logit minus best other logit, without and with the trigger.",
        )
        self._facts = (
            self.accuracy, self.control, self.baseline, self.reach, self.flips, self.margin
        )  # fmt: skip
        self.classes = RowsTable("Numbers by class", _CLASSES)
        self.classes.set_widths((44, 62, 68, 110, 72, 72))
        self.classes.narrowest = 96
        self.heading = Label("What triggered images become", "heading")
        self.becomes = RowsTable("What triggered images become", _BECOMES)
        self.becomes.narrowest = 96
        self.everything = push_button("All other classes", self._on_everything_clicked)
        self._lay_out()
        self.classes.row_chosen.connect(self._on_class_chosen)
        self.show_breakdown(None, None)
        events = self._session.events
        for event in (events.checkpoint, events.images, events.role):
            event.connect(self._forget)

    def follow_evaluation(self, result: EvaluationUpdated, older: bool) -> None:
        """Take new numbers; ``older``: of an older trigger."""
        self._newest = result
        self.touch()
        self.set_stale(older)

    def touch(self, *_: object) -> None:
        """Show the newest numbers, if this is the page on show."""
        if self._newest is not self._shown and not self.isHidden():
            self._show_newest()

    def _show_newest(self) -> None:
        evaluation, images = self._newest, self._session.images
        if evaluation is None or images is None:
            return
        self._shown = evaluation
        self._split = break_down(
            evaluation.per_image, images.labels, evaluation.evaluation.target, images.class_names
        )
        self.show_breakdown(evaluation.evaluation, self._split)
        self._on_class_chosen(self.classes.chosen)

    def _forget(self, *_: object) -> None:
        self._newest = self._shown = self._split = None
        self.show_breakdown(None, None)

    def _on_class_chosen(self, index: int) -> None:
        """Show what the images of a class become, -1 for all other classes."""
        evaluation, images = self._shown, self._session.images
        if evaluation is None or images is None or self._split is None:
            return
        names, labels = images.class_names, images.labels
        if index >= 0:
            self.show_becomes(becomes(evaluation.per_image, labels, index, names), names[index])
        else:
            self.show_becomes(self._split.confusion, "")

    def _on_save_clicked(self) -> None:
        if self._shown is None or self._split is None:
            return
        write = partial(save_classes, self._shown.evaluation, self._split)
        ask_and_save(self._context, self, _SAVE, "numbers-by-class.csv", NUMBERS, write)

    def _lay_out(self) -> None:
        grid = self._grid = QGridLayout()
        grid.setHorizontalSpacing(theme.SPACE_L)
        grid.setVerticalSpacing(theme.SPACE_S)
        self._place_facts(3)
        lower = QWidget()
        column(
            row((self.heading, 1), self.everything), (self.becomes, 1),
            of=lower, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip
        tables = QSplitter(Qt.Orientation.Vertical, childrenCollapsible=False)
        tables.addWidget(self.classes)
        tables.addWidget(lower)
        tables.setStretchFactor(0, 3)
        tables.setStretchFactor(1, 2)
        tables.setMinimumHeight(theme.px(_TABLES))
        head = row((self.says, 1), (self.save, Qt.AlignmentFlag.AlignTop), spacing=theme.SPACE_S)
        whole = page(head, self.warning, grid, (tables, 1), spacing=theme.SPACE_S)
        column(scrolling(whole), of=self, margins=(0, theme.SPACE_S, 0, 0))

    def _place_facts(self, columns: int) -> None:
        """Put the six numbers into so many columns."""
        for place, fact in enumerate(self._facts):
            at = place // columns, place % columns
            self._grid.addWidget(fact, *at, Qt.AlignmentFlag.AlignBottom)
        for number in range(3):
            self._grid.setColumnStretch(number, 1 if number < columns else 0)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Two columns where three do not fit."""
        super().resizeEvent(event)
        self._place_facts(3 if self.width() >= theme.px(_WIDE) else 2)

    def show_breakdown(self, e: Evaluation | None, breakdown: Breakdown | None) -> None:
        """Show an evaluation and what lies behind it."""
        self.save.setEnabled(breakdown is not None)
        if e is None or breakdown is None:
            self.says.setText(_EMPTY)
            self.warning.setText("")
            self.classes.set_rows(())
            self.show_becomes((), "")
        else:
            state = "Estimate, " if e.partial else ""
            self.says.setText(
                f"{state}n = {count_text(e.n)}, target {plain(e.target_name, 60)}. "
                "Select a class to see what its images become."
            )
            self.show_names(e, breakdown)
            self.classes.set_rows([class_row(row) for row in breakdown.classes])
        self._show_facts(e)

    def show_names(self, e: Evaluation, breakdown: Breakdown) -> None:
        """Warn of classes that no model can tell apart."""
        text = ""
        if e.same_names:
            others = ", ".join(f"#{index}" for index in e.same_names)
            text = (
                f"The target #{e.target} has the same name as class {others}: their prompts are "
                "identical, and only the class number decides which is predicted."
            )
        elif breakdown.same_names:
            text = (
                f"{plural(len(breakdown.same_names), 'name')} used for several classes: their "
                "prompts are identical, and only the class number decides which is predicted."
            )
        self.warning.setText(text)

    def set_stale(self, stale: bool) -> None:
        """Grey what is of an older trigger."""
        for fact in self._facts:
            fact.set_stale(stale)
        theme.set_property(self.says, "stale", stale)

    def show_becomes(self, pulls: Sequence[Pull], name: str) -> None:
        """Show what triggered images become; ``name`` is their class, empty all other ones."""
        shown = f" of {plain(name, 40)}" if name else ""
        self.heading.setText(f"What triggered images{shown} become")
        self.everything.setVisible(bool(name))
        self.becomes.set_rows([_pull_row(pull) for pull in pulls])

    def _on_everything_clicked(self) -> None:
        self.classes.clearSelection()
        self.classes.setCurrentIndex(self.classes.rows.index(-1, -1))

    def _show_facts(self, e: Evaluation | None) -> None:
        shown = e or _NOTHING
        labelled = shown.n_labelled > 0
        missing = "–" if e is None else NOT_MEASURED if labelled else NEEDS_LABELS
        _show(self.accuracy, _two(shown.top5, shown.top10), "", missing)
        self.control.show_rate(shown.control_ca, shown.control_interval, missing)
        if e is not None and e.canvas == "model":
            self.control.show_value("same", "the trigger resizes nothing", number=False)
        where = "" if e is None else _CANVASES.get(e.canvas, "")
        self.control.caption.setText(f"CA, {where}" if where else _CONTROL)
        _show(self.reach, _two(shown.asr_top5, shown.asr_top10), "", missing)
        no_trigger = "–" if e is None else NOT_MEASURED
        baseline, interval = shown.baseline_target_rate, shown.baseline_interval
        self.baseline.show_rate(baseline, interval, no_trigger)
        self.flips.show_rate(shown.flip_rate, shown.flip_interval, no_trigger)
        margin = ""
        if shown.target_margin is not None and shown.target_margin_clean is not None:
            margin = f"{signed(shown.target_margin_clean)} → {signed(shown.target_margin)}"
        _show(self.margin, margin, "logits, clean → triggered", no_trigger)


def _show(fact: Fact, text: str, remark: str, missing: str) -> None:
    if text:
        fact.show_value(text, remark)
    else:
        fact.show_value(missing, number=False)


def _two(five: float | None, ten: float | None) -> str:
    shown = [percent(value, unit="") for value in (five, ten) if value is not None]
    return f"{' · '.join(shown)}{THIN}" if shown else ""


def _per_cent(value: float | None) -> Cell:
    return Cell(percent(value, unit=""), value)


def class_row(row: ClassRow) -> Row:
    """A line of the table; what was not measured sorts last."""
    margin = "–" if row.margin is None else signed(row.margin, 2)
    low = None if row.asr_interval is None else row.asr_interval[0]
    return Row(
        row.index,
        (
            Cell(plain(row.name, 120), row.name.lower()),
            Cell(count_text(row.n), row.n),
            _per_cent(row.ca),
            _per_cent(row.asr),
            Cell(percent_range(row.asr_interval, unit=""), low),
            _per_cent(row.poisoned_accuracy),
            Cell(margin, row.margin),
        ),
    )


def _pull_row(pull: Pull) -> Row:
    return Row(
        pull.index,
        (
            Cell(plain(pull.name, 120), pull.name.lower()),
            Cell(count_text(pull.clean), pull.clean),
            Cell(count_text(pull.triggered), pull.triggered),
            Cell(signed(100 * pull.rise), pull.rise),
        ),
    )
