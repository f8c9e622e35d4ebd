"""A search for the recipe that fits: budget and limits, what is tried, the choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.runs.tradeoff_chart import Track, TradeoffChart
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.form import Form
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.number_box import number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.rows_table import Cell, Row, RowsTable, rate
from cleanclip_gui.widgets.text import percent, plain
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
    """Searches for one checkpoint; ``used`` carries the recipe that the user took.

    Parameters
    ----------
    facts
        Facts about the checkpoint.
    known
        What is known about its pretraining: the tried rates are multiples of its rate.
    session
        Knows what is open, and the device.
    write_job
        Writes the job that is set up into a folder and returns its path.
    """

    cancelled_words = "Cancelled. What was measured is kept: the same search goes on from there."

    def __init__(
        self,
        facts: ShownCheckpoint,
        known: Pretraining,
        session: Session,
        write_job: Callable[[Path], Path],
        prompts: Prompts,
        make_runner: NewRunner = new_runner,
        parent: QWidget | None = None,
    ) -> None:
        name = facts.inspection.name
        title = plain(f"Search for a recipe: {name}", 120)
        task = JobTask("search", make_runner)
        super().__init__(task, title, "Start the search", "Progress of the search", parent)
        self.path = facts.path
        self.folder = searches_dir() / (facts.inspection.sha256 or name)[:24]
        self._session, self._write_job = session, write_job
        self.record: SearchRecord | None = None
        self.form = Form(
            SearchSpec, "minutes", "max_ca_drop", "max_asr", "rebound_steps", "peak_lr"
        )
        self.form.set_values(peak_lr=known.assumed)
        self.locked.append(self.form)
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
        self.use = push_button("Use this recipe", self._on_use_clicked)
        self.use.setEnabled(False)
        self.form.changed.connect(self._show_limits)
        self._show_limits()
        self._lay_out(name)
        self.card.hide()
        self.finish(1180, 760, self.use)
        self.start.setDefault(True)  # of the fields; Use is pressed by Enter where it has the focus
        earlier = "An earlier search of this checkpoint found this. " if self.show_saved() else ""
        self.show_state(f"{earlier}{known.sentence}")

    def launch(self) -> None:
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
        values = self.form.values()
        return SearchSpec(
            base=base.model_copy(update={"device": device, "processes": 1}),
            recipes=candidates_of(methods, DEFAULT_FACTORS, values["peak_lr"]),
            **values,
        )

    def _show_limits(self) -> None:
        """Draw the limits that are set in the chart."""
        self.chart.ca_drop.setValue(self.form.boxes["max_ca_drop"].value())
        self.chart.asr.setValue(self.form.boxes["max_asr"].value())

    def _on_use_clicked(self) -> None:
        if self.record is not None and self.record.best is not None:
            self.used.emit(self.record.best.recipe)
            self.done(0)

    def _lay_out(self, checkpoint: str) -> None:
        self.card = card(self.summary, margins=theme.SPACE_L)
        self.card.setAccessibleName("What the search found")
        column(
            Label(plain(f"A recipe for {checkpoint}", 100), "title"),
            Label(LEAD, "subtle", wrap=True),
            row((self.form, 1), (self.start, Qt.AlignmentFlag.AlignTop), spacing=theme.SPACE_M),
            self.busy, self.state,
            (row((self.table, 3), (self.chart, 2), spacing=theme.SPACE_M), 1), self.card,
            row(None, self.close_button, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip


def _cells(place: int, run: SearchRow, chosen: bool) -> Row:
    """A run as a row of the table."""
    drop = "–" if run.ca_drop is None else f"{run.ca_drop:.1f}"
    worst = run.status if run.worst_asr is None else percent(run.worst_asr)
    return Row(
        place,
        (
            Cell(run.recipe.facts.title, run.recipe.method),
            Cell(number_text(run.recipe.lr, "log"), run.recipe.lr),
            Cell(str(run.steps), run.steps),
            rate(run.ca),
            Cell(drop, run.ca_drop),
            rate(run.mean_asr),
            Cell(worst, run.worst_asr),
            Cell("best" if chosen else "", float(chosen)),
        ),
    )
