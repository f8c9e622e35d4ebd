"""The tests that prove a result: their buttons, their jobs, and their records on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QProgressBar, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.proof.dialog import ProofChoice, ProofDialog
from cleanclip_gui.clean.proof.holdouts_table import HoldoutsView
from cleanclip_gui.clean.proof.rebound_view import ReboundView, pairs_text
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.jobs.runner import NewRunner, new_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import column, rule
from cleanclip_gui.widgets.number_box import number_text
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import left_text
from ml_core.events import Done, Event, Metric, Progress
from ml_core.jobs.proof_shape import are_holdouts, is_rebound
from ml_core.jobs.proof_specs import (
    HOLDOUTS_FILE,
    REBOUND_FILE,
    ReboundSpec,
    holdouts_of,
    read_proof,
    rebound_of,
    usual_pairs,
)
from ml_core.jobs.specs import ADAPTER_FILE, SPEC_FILE, CleanSpec, read_spec
from ml_core.reading.errors import InputError

HELP = (
    "A low ASR for one trigger does not prove the model is clean. The rebound test finetunes it "
    "again on clean pairs and watches whether the backdoor comes back; hold-outs test what the run "
    "never saw: the trigger moved, scaled and recoloured, other triggers, retrieval, other classes."
)
Kind = Literal["rebound", "holdouts"]
_FILES: dict[Kind, str] = {"rebound": REBOUND_FILE, "holdouts": HOLDOUTS_FILE}
_NAMES: dict[Kind, str] = {"rebound": "The rebound test", "holdouts": "The hold-outs test"}


class ProofSection(QWidget):
    """Stands under before and after; hidden until there is a result.

    ``rebound_button`` and ``holdouts_button`` show commands of the station, which binds them.
    """

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Proof")
        self.rebound_button = QPushButton()
        self.holdouts_button = QPushButton()
        self.options_button = QPushButton("Options…")
        self.options_button.setProperty("quiet", True)
        self.options_button.setAccessibleName("Options of the tests")
        self.cancel = QPushButton("Cancel")
        self.cancel.setProperty("danger", True)
        self.cancel.setAccessibleName("Cancel the test")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName("Progress of the test")
        self.uses = Label("", "caption", wrap=True)
        self._state = Label("", "caption", wrap=True)
        self.rebound = ReboundView(prompts)
        self.holdouts = HoldoutsView()
        acts = (self.rebound_button, self.holdouts_button, self.options_button, self.cancel)
        head = FoldingRow(Label("Proof", "heading"), *acts)
        column(
            rule(), head, Label(HELP, "caption", wrap=True), self.uses, self.bar, self._state,
            self.rebound, self.holdouts, of=self, margins=(0, theme.SPACE_S, 0, 0),
            spacing=theme.SPACE_S,
        )  # fmt: skip
        self.show_idle("")
        self.hide()

    def show_running(self, text: str) -> None:
        """Show that a test runs; it can only be cancelled."""
        self.bar.setValue(0)
        self.bar.show()
        self.cancel.show()
        self.cancel.setEnabled(True)
        self.say(text)

    def show_share(self, fraction: float) -> None:
        """Show how far the whole test is."""
        self.bar.setValue(round(1000 * fraction))

    def show_idle(self, text: str, *, error: bool = False) -> None:
        """Show that no test runs, and why if it ended early."""
        self.bar.hide()
        self.cancel.hide()
        self.say(text, error=error)

    def show_uses(self, text: str) -> None:
        """Say what was chosen for the tests, or has to be; empty where neither is so."""
        self.uses.setText(text)
        self.uses.setVisible(bool(text))

    def show_record(self, kind: Kind, record: dict[str, Any]) -> None:
        """Show what a test found; what cannot be shown is said."""
        fits = is_rebound(record) if kind == "rebound" else are_holdouts(record)
        if not fits:
            self.refuse(kind, f"{_FILES[kind]} of this run cannot be read; run the test again.")
        elif kind == "rebound":
            self.rebound.show_record(record)
        else:
            self.holdouts.show_record(record)

    def refuse(self, kind: Kind, sentence: str) -> None:
        """Say why nothing is shown of a test."""
        (self.rebound if kind == "rebound" else self.holdouts).hide()
        self.say(sentence)

    def say(self, text: str, *, error: bool = False) -> None:
        """Say one sentence under the bar."""
        theme.set_property(self._state, "role", "error" if error else "caption")
        self._state.setText(text)
        self._state.setVisible(bool(text))

    def said(self) -> str:
        """The sentence under the bar."""
        return self._state.text()

    def forget(self) -> None:
        """Take the results of another run away."""
        self.rebound.hide()
        self.holdouts.hide()
        self.show_idle("")


class ProofTests(QObject):
    """One test at a time. ``changed`` tells that one began or ended, ``failed`` an InputError.

    What is chosen for the tests holds for every run on the same checkpoint, until the window ends.
    """

    changed = Signal()
    failed = Signal(object)
    logged = Signal(str)

    def __init__(
        self,
        section: ProofSection,
        session: Session,
        prompts: Prompts,
        make_runner: NewRunner = new_runner,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._section, self._session, self._prompts = section, session, prompts
        self._choices: dict[str, ProofChoice] = {}
        self._folder: Path | None = None
        self._tested: Path | None = None
        self.task = JobTask("rebound", make_runner, self)
        self.kind: Kind = "rebound"
        self._free = True
        self._points: list[Metric] = []  # of the rebound test at work
        self._begun = 0.0
        self._begin_chart: Callable[[], object] = lambda: None
        self.task.received.connect(self._on_event)
        self.task.ended.connect(self._on_ended)
        self.task.logged.connect(self.logged)
        section.options_button.clicked.connect(self.ask_options)
        section.cancel.clicked.connect(self._on_cancel_clicked)
        section.rebound.chart.failed.connect(self.failed)
        self._refresh()

    @property
    def is_running(self) -> bool:
        """Whether a test is at work."""
        return self.task.is_running

    @property
    def can_begin(self) -> bool:
        """Whether there is a result to test, and nothing at work."""
        return self._folder is not None and self._free and not self.is_running

    @property
    def why_not(self) -> str:
        """What a test waits for; empty where it need not wait, or is at work."""
        return "" if self._free else "A run is in progress; wait until it has finished."

    @property
    def tested(self) -> Path | None:
        """The folder of the run that is tested, or was last."""
        return self._tested

    @property
    def title(self) -> str:
        """What the test at work is called at the head of a sentence."""
        return _NAMES[self.kind]

    def set_free(self, free: bool) -> None:
        """Whether a test could begin: no run is at work."""
        self._free = free
        self._refresh()

    def show_run(self, folder: Path) -> None:
        """Offer the tests of a run's result, and show those that were made of it."""
        if folder != self._folder or not self.is_running:  # resumed, it has another result
            self._folder = folder
            self._section.forget()
            if self.is_running:
                self._show_running()
        for kind in _FILES:
            try:
                record = read_proof(folder, _FILES[kind])
            except InputError as error:
                self._section.refuse(kind, error.sentence)
                continue
            at_work = self.is_running and (kind, folder) == (self.kind, self._tested)
            if record is not None and not at_work:
                self._section.show_record(kind, record)
        self._section.show()
        self._tell_uses()
        self._refresh()

    def begin_rebound(self) -> None:
        """Finetune the cleaned model once more and watch."""
        self._begin("rebound")

    def begin_holdouts(self) -> None:
        """Measure what the run was not told."""
        self._begin("holdouts")

    def ask_options(self) -> None:
        """Ask for other pairs and another rate."""
        if self._folder is None:
            return
        try:
            job = read_spec(self._folder / SPEC_FILE)
        except InputError as error:
            self._section.say(error.sentence)
            return
        dialog = ProofDialog(
            usual_pairs(job), self._choice(job), self._prompts, self._section.window(),
        )  # fmt: skip
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(partial(self._on_chosen, job.checkpoint))
        dialog.open()

    def _on_cancel_clicked(self) -> None:
        """End the test; ask first where that loses minutes, as a test saves nothing on its way."""
        runner, minutes = self.task.runner, round((time.monotonic() - self._begun) / 60)
        if minutes > 1:
            question = f"About {minutes} minutes of work would be lost: a test cannot be resumed."
            window = self._section.window()
            if not self._prompts.confirm(window, "Cancel", question, "Cancel the test", "Go on"):
                return
        if self.task.runner is runner:  # it may have ended meanwhile
            self.cancel()

    def cancel(self) -> None:
        """End the test at once."""
        if self.is_running:
            self._section.cancel.setEnabled(False)
            self.task.cancel()

    def _begin(self, kind: Kind) -> None:
        folder = self._folder
        if folder is None or not self.can_begin:
            return
        try:
            job = read_spec(folder / SPEC_FILE).model_copy(update={"output_dir": str(folder)})
            chosen = {key: value for key, value in vars(self._choice(job)).items() if value}
            if kind == "holdouts":
                chosen.pop("peak_lr", None)
            spec = (rebound_of if kind == "rebound" else holdouts_of)(job, **chosen)
            device = self._session.device if job.device == "auto" else job.device
            self.task.kind = kind
            self.task.start(spec, folder / f"{kind}-spec.json", device)
        except InputError as error:
            self._section.say(error.sentence)
            return
        self.kind, self._tested = kind, folder
        self._begun = time.monotonic()
        self._points = []
        if isinstance(spec, ReboundSpec):
            self._begin_chart = partial(self._section.rebound.begin, spec.limit, spec.steps)
        self._show_running()
        self._refresh()
        self.changed.emit()

    def _show_running(self) -> None:
        """Show the test at work, and what it has measured if it is of the run on show."""
        self._section.show_running(f"{_NAMES[self.kind]} is running.")
        self._section.show_share(self.task.fraction)
        if self.kind == "rebound" and self._tested == self._folder:
            self._begin_chart()
            for point in self._points:
                self._section.rebound.add(point)

    def _choice(self, job: CleanSpec) -> ProofChoice:
        return self._choices.get(job.checkpoint, ProofChoice())

    def _on_chosen(self, checkpoint: str, choice: ProofChoice) -> None:
        self._choices[checkpoint] = choice
        self._tell_uses()

    def _tell_uses(self) -> None:
        """Say what the tests of the run on show take that was chosen, or that they need it."""
        text = ""
        if self._folder is not None:
            try:
                job = read_spec(self._folder / SPEC_FILE)
            except InputError:  # whoever begins a test is told
                pass
            else:
                adapter = (self._folder / ADAPTER_FILE).is_file()
                text = _uses(self._choice(job), usual_pairs(job) is None, adapter)
        self._section.show_uses(text)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._section.show_share(self.task.fraction)
            left = left_text(self.task.seconds_left)
            going = f"{_NAMES[self.kind]} is running"
            self._section.say(f"{going}, {left}." if left else f"{going}.")
        elif isinstance(event, Metric) and self.kind == "rebound":
            self._points.append(event)
            if self._tested == self._folder:
                self._section.rebound.add(event)

    def _on_ended(self, last: Done) -> None:
        name = _NAMES[self.kind]
        if last.status == "finished":
            self._section.show_idle("")
            if self._tested == self._folder:
                self._section.show_record(self.kind, last.result)
        elif last.status == "failed":
            failed = last.error if last.error_code == "killed" else f"{name} failed: {last.error}"
            self._section.show_idle(failed, error=True)
        else:
            self._section.show_idle(f"{name} was cancelled.")
        self._refresh()
        self.changed.emit()

    def _refresh(self) -> None:
        options = self._section.options_button
        options.setEnabled(self._free and not self.is_running)
        options.setToolTip(self.why_not)


def _uses(choice: ProofChoice, needed: bool, adapter: bool) -> str:
    """A sentence on what was chosen; on what has to be where the run had no pairs."""
    parts = []
    if choice.pairs is not None:
        parts.append(f"pairs of {pairs_text(choice.pairs.kind, choice.pairs.path)}")
    if choice.peak_lr is not None:
        parts.append(f"a peak rate of {number_text(choice.peak_lr, 'log')}")
    chosen = f"Chosen for the tests: {' and '.join(parts)}." if parts else ""
    if choice.pairs is not None or not needed:
        return chosen
    who = "Retrieval, a hold-out, needs" if adapter else "The rebound test and retrieval need"
    need = f"{who} image-caption pairs, and this run had none: choose some under “Options…”."
    return f"{need} {chosen}".strip()
