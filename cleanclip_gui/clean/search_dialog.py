"""A search for the recipe that fits: budget and limits, what is tried, the choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.runs.tradeoff_chart import Track, TradeoffChart
from cleanclip_gui.jobs.job_dialog import JobDialog, JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.number_box import NumberBox, number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable, rate
from cleanclip_gui.widgets.text import percent, plain
from ml_core.cleaning.catalogue import FACTS
from ml_core.cleaning.halving import (
    DEFAULT_FACTORS,
    DEFAULT_METHODS,
    WITHOUT_CAPTIONS,
    candidates_of,
)
from ml_core.cleaning.pretraining import Pretraining
from ml_core.events import Event, Message, Progress, Saved
from ml_core.jobs.search import MEANS, SearchRecord, SearchRow, SearchSpec, curves_of, read_search
from ml_core.jobs.specs import read_spec
from ml_core.jobs.table import JOBS
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError

SEARCH_SPEC = "search-spec.json"
LEAD = (
    "The attacker's trigger is unknown, so triggers of our own (canaries) are planted in a copy of "
    "this checkpoint. Recipes run on the copy, many short and the better half twice as long. What "
    "removes the canaries within the limits is chosen. The checkpoint itself is left alone."
)
_COLUMNS = (
    ("Method", "Which method ran."),
    ("Rate", "Its peak learning rate."),
    ("Steps", "Length of the run; a longer one begins anew."),
    ("CA", "Clean accuracy on the validation images after the run."),
    ("Drop", "Points of clean accuracy lost since the checkpoint."),
    ("Mean ASR", "Mean success rate of the canaries after the run."),
    ("Worst ASR", "Highest success rate, also after the rebound."),
    ("Best", "The recipe that the search chose."),
)
_WIDTHS = (72, 64, 74, 62, 94, 98, 54)


def searches_dir() -> Path:
    """Where searches are kept."""
    return data_dir() / "searches"


class SearchDialog(JobDialog):
    """Searches for one checkpoint; ``used(recipe)`` is the recipe that the user took.

    Parameters
    ----------
    task
        Runs the search.
    facts
        Facts about the checkpoint.
    known
        What is known about its pretraining: the tried rates are multiples of its rate.
    folder
        Folder of the searches on this checkpoint.
    session
        Knows what is open, and the device.
    write_job
        Writes the job that is set up into a folder and returns its path.
    """

    used = Signal(object)
    cancelled_words = "Cancelled. What was measured is kept: the same search goes on from there."

    def __init__(
        self,
        task: JobTask,
        facts: ShownCheckpoint,
        known: Pretraining,
        folder: Path,
        session: Session,
        write_job: Callable[[Path], Path],
        prompts: Prompts,
        parent: QWidget | None = None,
    ) -> None:
        name = facts.inspection.name
        title = plain(f"Search for a recipe: {name}", 120)
        super().__init__(task, title, "Start the search", "Progress of the search", parent)
        self.path, self.folder = facts.path, folder
        self._session, self._write_job = session, write_job
        self.record: SearchRecord | None = None
        self.minutes = NumberBox(
            "float", 0.5, 10_000.0, "min", title="Time for the search", value=10.0
        )
        self.ca_drop = NumberBox(
            "float", 0.0, 100.0, "points", title="Limit of lost clean accuracy", value=1.0
        )
        self.asr = NumberBox(
            "float", 0.0, 100.0, "%", title="Limit of the canaries' success", value=2.0
        )
        self.rebound = NumberBox(
            "int", 0, 100_000, "steps", title="Steps of the rebound",
            tip="Ordinary finetuning after each run, after which the canaries are measured again.",
        )  # fmt: skip
        self.peak = NumberBox(
            "log", 1e-7, 1.0, title="Pretraining rate", value=known.assumed,
            tip="Peak learning rate of the checkpoint's pretraining; the rates that are tried are "
            "multiples of it.",
        )  # fmt: skip
        self.table = RowsTable("Recipes that were tried", _COLUMNS, numbers=range(1, 7))
        self.table.set_widths([theme.px(width) for width in _WIDTHS])
        self.chart = TradeoffChart(
            prompts,
            empty="Each run becomes a point: clean accuracy against the highest success rate of a "
            "canary.",
            opens=False,
        )
        self.summary = Label("", wrap=True)
        self.summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use this recipe")
        self.use.setEnabled(False)
        self.use.clicked.connect(self._on_use_clicked)
        self.ca_drop.valueChanged.connect(self.chart.ca_drop.setValue)
        self.asr.valueChanged.connect(self.chart.asr.setValue)
        self.chart.ca_drop.setValue(self.ca_drop.value())
        self.chart.asr.setValue(self.asr.value())
        self._lay_out(name)
        self.card.hide()
        self.finish(1180, 760, self.use)
        self.start.setDefault(True)  # of the fields; Use is pressed by Enter where it has the focus
        earlier = "An earlier search of this checkpoint found this. " if self.show_saved() else ""
        self.show_state(f"{earlier}{known.sentence}")

    def launch(self, *, estimate: bool = False) -> None:
        """Begin, or go on with the same search."""
        facts, device = self._session.checkpoint, self._session.device
        if facts is None or facts.path != self.path:
            raise InputError("That checkpoint is no longer open: open it again.")
        self.task.start(self._spec(device), self.folder / SEARCH_SPEC, device)

    def show_running(self) -> None:
        """Show that a search begins; its length is not known."""
        super().show_running()
        self.busy.bar.setRange(0, 0)

    def take(self, event: Event) -> None:
        """Show how far the search is, what it does, and each run."""
        if isinstance(event, Progress):
            if event.stage in ("canaries", "search", "estimate"):
                self.busy.bar.setRange(0, max(0, event.total))
                self.busy.bar.setValue(event.done)
            if event.stage in JOBS["search"].stages:  # of the others a message tells
                self.show_doing(self.stage_words(event))
        elif isinstance(event, Message):
            self.show_doing(event.text)
        elif isinstance(event, Saved):
            self.show_saved()

    def show_saved(self) -> bool:
        """Show the search on disk; return whether there is one."""
        try:
            self.show_record(read_search(self.folder))
        except InputError:
            return False
        return True

    def show_record(self, record: SearchRecord) -> None:
        """Every run so far, and the best of them."""
        self.record = record
        self.table.set_rows(
            [
                _cells(place, run, place == record.chosen)
                for place, run in reversed(list(enumerate(record.rows)))
            ]
        )
        self.chart.set_tracks(
            [
                Track(curve.title, mark, curve.title, curve.points, start=record.ca_before)
                for mark, curve in enumerate(curves_of(record))
            ]
        )
        self.summary.setText(plain(f"{record.said} {MEANS}", 2000))
        theme.set_property(self.card, "tone", "ok" if record.keeps else "caution")
        self.card.setVisible(record.best is not None)
        self.use.setEnabled(record.best is not None)
        # The main button takes a recipe only where one keeps the limits.
        theme.set_property(self.use, "primary", record.keeps)
        theme.set_property(self.start, "primary", not record.keeps)

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """Show what was measured until the end."""
        self.show_saved()
        super().show_ended(words, error=error)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show the finished search."""
        self.show_saved()
        self.show_state("")

    def _spec(self, device: str) -> SearchSpec:
        """Return the search that is set; an InputError names the data that it lacks."""
        base = read_spec(self._write_job(self.folder))
        if base.pairs is None and base.training_images is None:
            raise InputError(
                f"{base.recipe.facts.title} trains on no data, and a search needs some: choose a "
                "method that takes pairs or labelled images, and its training data."
            )
        methods = WITHOUT_CAPTIONS if base.pairs is None else DEFAULT_METHODS
        peak = self.peak.value()
        return SearchSpec(
            base=base.model_copy(update={"device": device, "processes": 1}),
            recipes=candidates_of(methods, DEFAULT_FACTORS, peak),
            minutes=self.minutes.value(),
            max_ca_drop=self.ca_drop.value(),
            max_asr=self.asr.value(),
            rebound_steps=round(self.rebound.value()),
            peak_lr=peak,
        )

    def _on_use_clicked(self) -> None:
        if self.record is not None and self.record.best is not None:
            self.used.emit(self.record.best.recipe)
            self.done(0)

    def _lay_out(self, checkpoint: str) -> None:
        boxes = {
            "Time": self.minutes, "CA drop ≤": self.ca_drop, "Canary ASR ≤": self.asr,
            "Rebound": self.rebound, "Pretraining rate": self.peak,
        }  # fmt: skip
        self.locked += boxes.values()
        for box in boxes.values():
            box.setFixedWidth(theme.px(112))
        fields = FoldingRow(
            *((Label(text, "field", buddy=box), box) for text, box in boxes.items())
        )
        self.card = card(self.summary, margins=theme.SPACE_L)
        self.card.setAccessibleName("What the search found")
        column(
            Label(plain(f"A recipe for {checkpoint}", 100), "title"),
            Label(LEAD, "subtle", wrap=True),
            row((fields, 1), (self.start, Qt.AlignmentFlag.AlignTop), spacing=theme.SPACE_M),
            self.busy, self.state,
            (row((self.table, 3), (self.chart, 2), spacing=theme.SPACE_M), 1), self.card,
            row(None, self.close_button, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip


class SearchDialogs(JobDialogs[SearchDialog]):
    """Opens the search for the open checkpoint; ``used(recipe)`` is the recipe that was taken."""

    used = Signal(object)
    subject = "the search"

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        write_job: Callable[[Path], Path],
        pretraining: Callable[[], Pretraining],
        parent: QWidget,
        make_runner: NewRunner = new_runner,
    ) -> None:
        super().__init__(parent)
        self._session, self._prompts, self._write_job = session, prompts, write_job
        self._pretraining, self._make_runner = pretraining, make_runner

    def new_dialog(self) -> SearchDialog | None:
        """Return a dialog for the checkpoint, unless one is open."""
        facts = self._session.checkpoint
        if facts is None:
            raise InputError("Open a checkpoint first: the search plants triggers in a copy of it.")
        if self.dialog is not None and self.dialog.path == facts.path:
            return None
        inspection = facts.inspection
        dialog = SearchDialog(
            JobTask("search", self._make_runner), facts, self._pretraining(),
            searches_dir() / (inspection.sha256 or inspection.name)[:24],
            self._session, self._write_job, self._prompts, self._parent.window(),
        )  # fmt: skip
        dialog.used.connect(self.used)
        return dialog


def _cells(place: int, run: SearchRow, chosen: bool) -> Row:
    """A run as a row of the table."""
    drop = "–" if run.ca_drop is None else f"{run.ca_drop:.1f}"
    worst = run.status if run.worst_asr is None else percent(run.worst_asr)
    return Row(
        place,
        (
            Cell(FACTS[run.recipe.method].title, run.recipe.method),
            Cell(number_text(run.recipe.lr, "log"), run.recipe.lr),
            Cell(str(run.steps), run.steps),
            rate(run.ca),
            Cell(drop, run.ca_drop),
            rate(run.mean_asr),
            Cell(worst, run.worst_asr),
            Cell("best" if chosen else "", float(chosen)),
        ),
    )
