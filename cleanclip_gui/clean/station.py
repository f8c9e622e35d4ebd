"""Clean: choose how, see what it takes, watch it, compare before and after, and with other runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QApplication, QPushButton, QStackedWidget, QTabBar, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.audit.dialog import AuditDialogs, same_pairs
from cleanclip_gui.clean.before_after import BeforeAfter
from cleanclip_gui.clean.chain_view import ChainView
from cleanclip_gui.clean.charts.charts import CleaningCharts
from cleanclip_gui.clean.history import SavedRun, read_run
from cleanclip_gui.clean.job import new_chain, new_folder, without_trigger, write_job
from cleanclip_gui.clean.proof import HELP, ProofSection
from cleanclip_gui.clean.queue import QUEUE_FILE, RunQueue
from cleanclip_gui.clean.rate_dialog import RateDialog
from cleanclip_gui.clean.result import is_source
from cleanclip_gui.clean.resuming import Resuming, is_audit, is_unfinished_run
from cleanclip_gui.clean.run import CleaningRun, estimate_folder, estimate_sentence
from cleanclip_gui.clean.run_bar import RunBar
from cleanclip_gui.clean.runs.page import RunsPage
from cleanclip_gui.clean.save_result import SaveCleaned
from cleanclip_gui.clean.setup import CleanSetup
from cleanclip_gui.clean.training_data import OnceButton
from cleanclip_gui.clean.try_in_studio import TryCleaned
from cleanclip_gui.commands import INSIDE, Command
from cleanclip_gui.jobs.job_dialog import JobDialogs
from cleanclip_gui.jobs.runner import DEVICES, is_taken
from cleanclip_gui.session import ShownCheckpoint
from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import AtWork, Context, Page, Scene
from cleanclip_gui.widgets.columns import Columns, Needs, Room, fit_titles
from cleanclip_gui.widgets.controls import (
    Label,
    action_tool,
    bind,
    focus_first,
    push_button,
)
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import above_foot, card, column, page, row, scrolling
from cleanclip_gui.widgets.prompts import failing
from cleanclip_gui.widgets.text import plain, plural
from ml_core.cleaning.catalogue import FACTS, METHODS, Method
from ml_core.cleaning.pretraining import DEMO, with_parent
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import PairSpec
from ml_core.detection.scan.records import read_scan
from ml_core.events import Done
from ml_core.jobs.auto import AutoSpec, AutoStep
from ml_core.jobs.chain_folder import Chain
from ml_core.jobs.journal import digest_of
from ml_core.jobs.rates import refusal
from ml_core.jobs.scan import SCAN_FILE
from ml_core.jobs.specs import CleanSpec
from ml_core.paths import data_dir
from ml_core.reading.errors import InputError

_LAID_OUT_MS = 100
_CHOSEN = 8  # pixels by which the tab that is chosen is wider than its hint


class PageHead(QWidget):
    """Tabs for this run, for all runs and for their comparison.

    Parameters
    ----------
    setup
        Opens and closes the set-up.
    """

    def __init__(self, setup: QAction) -> None:
        super().__init__()
        self.setup_button = action_tool(setup)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("Pages of the Clean station")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.setUsesScrollButtons(False)
        for _ in range(3):
            self.tabs.addTab("")
        row(self.setup_button, self.tabs, None, of=self, spacing=theme.SPACE_S)
        self.show_waiting(0)

    def show_waiting(self, count: int, *, paused: bool = False) -> None:
        """Say on the tab how many runs wait, and whether for the user."""
        how = f", {count} waiting" if count else ""
        held = ", paused" if count and paused else ""
        queue = (f"Queue and history{how}{held}", f"Queue{held or how}")
        self._titles = (("This run", "This run"), queue, ("Compare runs", "Compare"))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Take the long titles if there is room for them."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        gaps = 2 * theme.SPACE_S
        room = self.width() - self.setup_button.sizeHint().width() - gaps - theme.px(_CHOSEN)
        fit_titles(self.tabs, self._titles, room)
        self.tabs.setMinimumWidth(self.tabs.sizeHint().width() + theme.px(_CHOSEN))


ROOM = Room(left=Needs(396, 396), middle=Needs(372, 520))  # the set-up is on the left
THIS_RUN, RUNS, COMPARISON = range(3)
ASK_SECONDS = 60.0  # of work that cancelling would lose
ESTIMATE_WAITS = "Another job is running; measure when it has finished."
_START, _ADD = "&Start cleaning", "A&dd to the queue"
_RUN = ("A cleaning run is going on.", "Its last save is kept.")
_AUDIT = (
    "An audit of training pairs is going on.",
    "Finished embeddings are reused by the next audit.",
)
_RATES = ("The rate finder is running.", "Nothing of it is kept.")
_SAVING = ("A file is being saved.", "The file it would replace and the run's own file are kept.")
_TEST_KEEPS = "It will start from the beginning next time."


def _leave() -> None:
    """Do not cancel: this work is short, and ends by itself."""


class CleanStation(Page):
    """Set-up on the left with Start below it; on the right this run, and all runs, as pages."""

    id = "clean"
    title = "Clea&n"
    question = "Can the backdoor be removed?"
    icon = "clean"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        session, shell, prompts = context.session, context.shell, context.prompts
        self.setup = CleanSetup(prompts)
        self.form, self.data, self.output = self.setup.form, self.setup.data, self.setup.output
        # What does it, without widgets ...
        self.run = CleaningRun(session, context.device, context.new_runner, self)
        self.queue = RunQueue(self.run, self.is_busy, self)
        self.trying = TryCleaned(session, context.inference, shell, self)
        self.saving = SaveCleaned(prompts, self)
        self.auditing = AuditDialogs(session, prompts, self.data.pairs, self, context.new_runner)
        self.finding = JobDialogs[RateDialog](
            "the rate finder",
            lambda _: RateDialog(self._job_here, prompts, context.new_runner, self.window()), self,
        )  # fmt: skip
        # ... and what shows it.
        self.chain = ChainView(prompts)
        self.charts = CleaningCharts(prompts)
        self.charts.rates.setObjectName("clean.rates")
        self.charts.losses.setObjectName("clean.losses")
        self.chain.rebound.chart.setObjectName("clean.rebound")
        self.before_after = BeforeAfter()
        self.before_after.setObjectName("clean.before_after")
        self.proof = ProofSection(
            session, prompts, lambda: not self.run.is_running, context.new_runner
        )
        self.runs = RunsPage(
            session, self.run, self.queue, self.trying, prompts, self.setup.folder, self.is_busy,
            self._is_in_use,
        )  # fmt: skip
        self.resuming = Resuming(
            context, self.run, self.queue, self.setup.folder, self.is_busy, self
        )
        self._can_start = self._can_start_chain = self._is_free = False
        self._saves = self.run.on_show
        self._state: dict[str, object] = {}  # as a session keeps it
        self._laid_out = QTimer(self, singleShot=True, interval=_LAID_OUT_MS)
        self._laid_out.timeout.connect(self._to_top)
        self._restored: Recipe | None = None  # until the session's checkpoint is there
        self._accepted: set[str] = set()  # warnings of rates, for the checkpoint that is open
        context.actions.add(self.commands())
        self._tips = {name: action.toolTip() for name, action in context.actions.by_id.items()}
        self._make_buttons()
        self._lay_out()
        self._connect()
        self.show_run()

    # What the user can do

    def commands(self) -> tuple[Command, ...]:
        """What can be done with runs, results, the queue and audits."""
        commands = (
            Command(
                "clean.it", "Clean &it", "&Clean", partial(self._shown, self.clean_it),
                "Scan, clean with what was found, scan again, and test whether it comes back.",
                "clean", "Ctrl+Shift+Return", 0, lambda: self._can_start_chain,
                needs="Needs a checkpoint, pictures and training data, and no job at work.",
            ),
            Command(
                "clean.estimate", "&Estimate", "&Clean", partial(self._shown, self.estimate),
                "Measure a few steps and say how long the run would take.", "info", "Ctrl+E", 0,
                lambda: self._can_start and self._is_free,
            ),
            Command(
                "clean.start", _START, "&Clean", partial(self._shown, self.start),
                "Finetune the checkpoint in the background.", "play", "Ctrl+Return", 0,
                lambda: self._can_start,
            ),
            Command(
                "clean.audit", "&Audit training pairs…", "&Clean", self.auditing.open,
                "Look for poisoned pairs in the training data that is chosen.", "search",
                "Ctrl+Shift+A", 0,
                lambda: self.session.checkpoint is not None and self.data.takes_pairs,
            ),
            Command(
                "clean.find_rate", "Find a &learning rate…", "&Clean", self.finding.open,
                "Raise the learning rate on a copy and see where accuracy falls.", "sliders", "", 0,
                lambda: self._can_start and not refusal(self.form.recipe()),
            ),
            Command(
                "clean.open_audit", "Ope&n audit…", "&Clean", self.auditing.choose,
                "Show an earlier audit with its exclusions.", "folder",
            ),
            Command(
                "clean.resume_folder", "&Resume a run…", "&Clean", self.resuming.choose,
                "Continue an interrupted run from its folder.", "folder", "Ctrl+R", 0,
                lambda: not self.run.is_running,
            ),
            Command(
                "clean.pause", "&Pause", "&Clean", self.run.pause,
                "Pause the run before its next step, or resume it.", "pause", "Ctrl+P", 1,
                lambda: self.run.can_be_steered,
            ),
            Command(
                "clean.stop", "S&top and save", "&Clean", self.run.stop,
                "Finish the current step, save the model and measure it.", "stop", "Ctrl+.", 1,
                lambda: self.run.can_be_steered,
            ),
            Command(
                "clean.cancel", "&Cancel", "&Clean", self.cancel,
                "End the run at once; its last save is kept.", "cancel", "Ctrl+Shift+.", 1,
                lambda: self.run.can_be_cancelled,
            ),
            Command(
                "clean.try", "Try in St&udio", "&Clean", self.try_cleaned,
                "Put the same trigger on the cleaned model.", "compare", "Ctrl+Shift+T", 2,
                lambda: self.run.has_result,
            ),
            Command(
                "clean.save", "Save cleaned c&heckpoint…", "&Clean", self.save_cleaned,
                "Save the cleaned model to a place of your choice.", "save", "Ctrl+S", 2,
                lambda: self.run.has_result and not self.saving.is_busy,
            ),
            Command(
                "clean.open_saved", "Open the sa&ved copy", "&Clean", self.open_saved,
                "Open the file that the cleaned model was saved in.", "open", "", 2,
                lambda: self.run.on_show.saved is not None,
                needs="Save the cleaned checkpoint first.",
            ),
            Command(
                "clean.rebound", "Re&bound test", "&Clean",
                partial(self._shown, partial(self.prove, "rebound")),
                "Finetune the cleaned model once more: does the backdoor come back?", "redo", "",
                2, self._can_prove,
            ),
            Command(
                "clean.holdouts", "Hold-&outs", "&Clean",
                partial(self._shown, partial(self.prove, "holdouts")),
                "Test triggers and data the run never saw.", "target", "", 2, self._can_prove,
            ),
            Command(
                "clean.runs", "Queue and histor&y", "&Clean",
                partial(self._shown, partial(self.show_page, RUNS)),
                "Waiting and earlier runs.", "library", "", 3,
            ),
            Command(
                "clean.start_queue", "Start the &queue", "&Clean", self.start_queue,
                "Start the runs that wait in a paused queue, one after the other.", "play", "", 3,
                lambda: self.queue.can_start,
            ),
            Command(
                "clean.compare", "Co&mpare runs", "&Clean",
                partial(self._shown, partial(self.show_page, COMPARISON)),
                "Trade-off and curves of the ticked runs.", "compare", "", 3,
            ),
            Command(
                "view.setup", "Set-up of clean&ing", "&View", lambda: self.columns.toggle_left(),
                "Show or hide the set-up of a run, so that its charts have the whole width.",
                "column-left", "Ctrl+Shift+U", 1, self._is_shown,
                lambda: self.columns.left_open, needs="Go to Clean first.", submenu=INSIDE,
            ),
            # Without a menu: what the welcome page offers, and what the guided run does.
            Command(
                "clean.resume_last", "Resume", "", partial(self._shown, self.resuming.resume_shown),
                "Continue the interrupted run.", "play", "", 0,
                lambda: self.run.is_offered,
            ),
            *(
                Command(
                    f"clean.set_{preset}", f"CleanCLIP, preset {preset}", "",
                    partial(self.set_preset, preset), "",
                )
                for preset in ("talk", "default")
            ),
        )  # fmt: skip
        # A key that is held undoes step by step, but starts one run.
        return tuple(replace(command, repeats=False) for command in commands)

    def at_work(self) -> tuple[AtWork, ...]:
        """Runs, proofs, audits and files that are being written."""
        works = []
        if is_live(self.session.run):
            keeps = self.run.begins_again or _RUN[1]
            works.append(AtWork(_RUN[0], keeps, partial(self._end, self.run.cancel), waits=True))
        if self.proof.is_running:
            what = f"{self.proof.title} is going on."
            works.append(AtWork(what, _TEST_KEEPS, partial(self._end, self.proof.cancel)))
        for dialogs, sentences in ((self.auditing, _AUDIT), (self.finding, _RATES)):
            if dialogs.is_running:
                works.append(AtWork(*sentences, partial(self._end, dialogs.cancel)))
        if self.saving.is_busy:
            works.append(AtWork(*_SAVING, _leave))
        return tuple(works)

    def take_file(self, path: Path) -> bool:
        """Open the folder of an audit, and offer to go on with a run that has no result."""
        if is_audit(path):
            self.auditing.open_saved(path if path.is_dir() else path.parent)
        elif is_unfinished_run(path):
            self.resuming.offer(path)
        else:
            return False
        return True

    def scene(self) -> Scene:
        """The rebound test while it runs, else the run's rates; none of another checkpoint."""
        run, rates, rebound = self.run.on_show, self.charts.rates, self.chain.rebound
        if rebound.isVisibleTo(self.chain) and rebound.chart.has_data():
            rates = rebound.chart
        is_open = is_source(self.session.checkpoint, run.result or {"source": run.source})
        return Scene(rates) if rates.has_data() and is_open else Scene()

    def may_close(self) -> bool:
        """Whether no marks of an audit would be lost, or the user lets them go."""
        return self.auditing.may_lose_marks("Quit", "Quit")

    def state(self) -> dict[str, object]:
        """The user's own training data, and the recipe that was chosen."""
        return self._state

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Choose a session's method and data; what was chosen before stays where none is opened."""
        self._restored = saved["recipe"]
        self._show_restored()
        if self._restored is None and saved["checkpoint"]:
            self.form.set_method(METHODS[0])
            self.form.set_preset("default")
        if saved["pairs"] or saved["labelled"]:
            self.data.show_specs(saved["pairs"], saved["labelled"])
        elif saved["checkpoint"]:
            self.data.forget()

    def is_busy(self) -> bool:
        """Whether this station is at work, for a run, an estimate or a test."""
        return self.run.is_running or self.proof.is_running

    def _is_in_use(self, folder: Path) -> bool:
        """Whether something is at work in the folder of a run."""
        newest = self.run.newest
        if self.run.is_cleaning and newest is not None and folder.is_relative_to(newest.folder):
            return True
        return self.proof.is_running and self.proof.tested == folder

    def start(self) -> None:
        """Write the job that is set, and run it or let it wait; ask about too high a rate."""
        if self._lacks_data() or not self._may_start():
            return
        with failing(self.shell.failed, "Could not start cleaning"):
            spec = self.setup.job(self.session, device=self.context.device.wanted)
            self.queue.start_or_add(write_job(spec), spec)

    def clean_it(self) -> None:
        """Start the chain that scans, cleans, scans again and proves, or lead to what it lacks."""
        if self._lacks_data():
            return
        with failing(self.shell.failed, "Could not start cleaning"):
            folder = new_folder(self.setup.folder(), "clean-it")
            try:
                base, _ = self._job_here(folder, Recipe())
                self.run.begin_chain(new_chain(self.session, base))
            except InputError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self.show_page(THIS_RUN)
            self.run_bar.pause.setFocus()

    def _lacks_data(self) -> bool:
        """Whether training data is still to be chosen; if so, lead to its choice."""
        lacks = FACTS[self.form.method.method].data != "none" and bool(self.data.lacks)
        if lacks:
            self.columns.open_left()
            self.data.ask()
        return lacks

    def _may_start(self) -> bool:
        """Whether the rate suits the checkpoint, or the user wants it, which is asked once."""
        warning = self.form.rate_warning()
        if not warning or warning in self._accepted:
            return True
        prompts, question = self.context.prompts, f"{warning} Start all the same?"
        if not prompts.confirm(self.window(), "Learning rate", question, "Start", "Go back"):
            return False
        self._accepted.add(warning)
        return True

    def set_preset(self, preset: str) -> None:
        """Set CleanCLIP's preset of that name, unless something is being cleaned."""
        if not is_live(self.session.run):
            self.form.set_method("cleanclip")
            self.form.set_preset(preset)
            self.columns.open_left()

    def estimate(self) -> None:
        """Measure a few steps and say how long the run would take."""
        if self.is_busy():
            return
        with failing(self.shell.failed, "Could not measure the steps"):
            self.run.estimate(self.setup.job(self.session, estimate_folder()))

    def _job_here(self, folder: Path, recipe: Recipe | None = None) -> tuple[CleanSpec, str]:
        """The job that is set, or with another recipe, and the one device that it is done on."""
        device = self.context.device.wanted
        spec = self.setup.job(self.session, folder, device, recipe)
        return spec.model_copy(update={"device": device, "processes": 1}), device

    def cancel(self) -> None:
        """End the run or the estimate at once, and start none of what waits; asks before much
        work is lost."""
        runner, lost = self.run.runner, self.run.seconds_unsaved
        if lost > ASK_SECONDS:
            question = (
                f"About {plural(round(lost / 60), 'minute')} of work since the last save would be "
                f"lost. {self.run.begins_again or '“Stop and save” keeps it.'}"
            )
            prompts = self.context.prompts
            if not prompts.confirm(self.window(), "Cancel", question, "Cancel the run", "Go on"):
                return
        if self.run.runner is not runner:  # it has ended meanwhile
            return
        if self.run.is_cleaning and len(self.queue):
            self.queue.hold(True)
        self.run.cancel()

    def start_queue(self) -> None:
        """Show the queue and let what waits run."""
        self._shown(partial(self.show_page, RUNS))
        self.queue.hold(False)

    def try_cleaned(self) -> None:
        """Open the cleaned checkpoint beside the suspect one and show it in Studio."""
        self.trying.begin(self.run.on_show.result, self.run.on_show.asked)

    def save_cleaned(self) -> None:
        """Copy the cleaned checkpoint to a place of the user's choice."""
        if not self.saving.is_busy:
            self._saves = self.run.on_show
        self.saving.begin(self.run.on_show.result)

    def open_saved(self) -> None:
        """Open the copy that was saved of the run on show."""
        self.shell.open("checkpoint", str(self.run.on_show.saved))

    def _on_saved(self, path: Path) -> None:
        self._saves.saved = path
        self.shell.logged.emit(f"Saved {path.name} in {path.parent}.")
        self.show_run()

    def prove(self, kind: str) -> None:
        """Begin the ``rebound`` test or the ``holdouts`` of the result on show, and go to it."""
        self.show_page(THIS_RUN)
        self.proof.begin(kind)
        QTimer.singleShot(0, self, self._go_to_proof)  # when what was just shown has its place

    def _go_to_proof(self) -> None:
        self._laid_out.stop()
        self.scroll_area.ensureWidgetVisible(self.proof.busy)
        is_running = self.proof.is_running  # else it says what is missing
        (self.proof.busy.cancel if is_running else self.proof.options_button).setFocus()

    def show_page(self, number: int) -> None:
        """Show ``THIS_RUN``, ``RUNS`` (queue and history) or the ``COMPARISON``."""
        self.tabs.setCurrentIndex(number)

    def _is_shown(self) -> bool:
        return self.session.station == self.id

    def _shown(self, act: Callable[[], object]) -> None:
        """Do something on the page of this station."""
        self.shell.station_wanted.emit(self.id)
        act()

    def _end(self, act: Callable[[], object]) -> None:
        """Cancel something, and start none of what waits in the queue after it."""
        self.queue.hold(True)
        act()

    def _can_prove(self) -> bool:
        """Whether a result is on show that could be tested now."""
        return self.run.has_result and self.proof.can_begin

    # How it is laid out

    def _make_buttons(self) -> None:
        actions = self.context.actions
        self.start_button = OnceButton(theme.icon("play"), "")
        self.start_button.setObjectName("clean.start_button")
        bind(self.form.estimate_button, actions["clean.estimate"], text=True)
        self.try_button = push_button(icon="studio", look="primary")
        self.save_button = bind(QPushButton(), actions["clean.save"], text=True, icon=True)
        bind(self.chain.save, actions["clean.save"], text=True, icon=True)
        self.open_button = push_button()
        for button in (self.chain.open_saved, self.open_button):
            bind(button, actions["clean.open_saved"], text=True, icon=True)
        self.resume_button = OnceButton(theme.icon("play", "on_accent"), "Resume")
        self.resume_button.setProperty("primary", True)
        self.keep_button = push_button(
            "Keep what was saved and scan it", partial(self.resuming.resume_shown, keep=True),
            tip="Train no further: take what was saved, and go on with the next step.",
        )  # fmt: skip
        self.halve_button = OnceButton("Start again at half the batch")
        self.halve_button.setToolTip("For a run that ran out of memory.")
        self.details_button = push_button("Details", self._on_details_clicked)
        bind(self.setup.clean_it, actions["clean.it"], text=True)
        bind(self.start_button, actions["clean.start"], text=True)
        bind(self.try_button, actions["clean.try"], text=True)
        bind(self.setup.audit_button, actions["clean.audit"], text=True, icon=True)
        bind(self.form.find_rate, actions["clean.find_rate"], text=True)
        bind(self.setup.resume_other, actions["clean.resume_folder"], text=True)
        if "scan.cleaned" in actions.by_id:
            bind(self.proof.scan_button, actions["scan.cleaned"], text=True)
        self.proof.scan_button.setVisible("scan.cleaned" in actions.by_id)
        bind(self.proof.rebound_button, actions["clean.rebound"], text=True)
        bind(self.proof.holdouts_button, actions["clean.holdouts"], text=True)
        bind(self.runs.start_queue, actions["clean.start_queue"], text=True)

    def _lay_out(self) -> None:
        self.run_bar = RunBar(self.run, self.context.actions)
        self.hint = Label("", "caption", wrap=True)
        self.trouble_text = Label(wrap=True)
        result_buttons = FoldingRow(self.try_button, self.save_button, self.open_button)
        self.result_card = card(self.before_after, result_buttons)
        self.proof_card = card(self.proof)
        self.earlier_text = Label(wrap=True)
        self.newest_button = push_button("Show the current run", self.run.show_newest)
        self.earlier_card = card(self.earlier_text, FoldingRow(self.newest_button))
        theme.set_property(self.earlier_card, "tone", "info")
        trouble_buttons = FoldingRow(
            self.resume_button, self.keep_button, self.halve_button, self.details_button
        )
        self.trouble_card = card(self.trouble_text, trouble_buttons)
        for sheet in (self.result_card, self.proof_card, self.earlier_card, self.trouble_card):
            sheet.hide()
        self.head = PageHead(self.context.actions["view.setup"])
        self.tabs = self.head.tabs
        self.columns = Columns(
            self._left_side(), self._right_side(), None, ROOM,
            self.context.settings, self.id,
        )  # fmt: skip
        self.columns.shown_changed.connect(self.context.actions.refresh_soon)
        row(self.columns, of=self, margins=theme.SPACE_M)

    def _left_side(self) -> QWidget:
        """The set-up, scrolling, above the buttons, which always show."""
        return above_foot(
            self.setup, self.setup.help, self.hint, self.start_button,
        )  # fmt: skip

    def _right_side(self) -> QWidget:
        """Run bar; tabs; this run's outcome and charts, or all runs."""
        this_run = page(
            self.earlier_card, self.trouble_card, self.chain, self.result_card, self.proof_card,
            (self.charts, 1), spacing=theme.SPACE_M,
        )  # fmt: skip
        self.scroll_area = scrolling(this_run)
        self._pages = QStackedWidget()
        for widget in (self.scroll_area, scrolling(self.runs), scrolling(self.runs.comparison)):
            self._pages.addWidget(widget)
        self.right = QWidget()
        column(self.run_bar, self.head, (self._pages, 1), of=self.right, spacing=theme.SPACE_S)
        return self.right

    # What follows the run, the session and the widgets

    def _connect(self) -> None:
        shell, run = self.shell, self.run
        shell.ready.connect(self._on_window_ready)
        shell.closing.connect(self._on_closing)
        shell.takes("run", self._on_run_wanted)
        shell.takes("auto", self._on_auto_wanted)
        shell.takes("trusted", self.setup.reference.set_path)
        for part in (
            run, self.queue, self.setup, self.trying, self.saving, self.auditing, self.charts,
            self.runs, self.proof, self.finding, self.chain,
        ):  # fmt: skip
            part.failed.connect(shell.failed)
        for line in (self.queue.logged, run.warned, self.proof.task.warned):
            line.connect(shell.logged)
        for line in (run.logged, self.proof.logged):
            line.connect(shell.job_logged)
        shell.demo_opening.connect(run.forget_ended)
        run.opened.connect(self._on_run_opened)
        run.measured.connect(self.charts.add)
        run.event_received.connect(self.chain.add)
        run.step_ended.connect(self._on_step_ended)
        self.chain.step_chosen.connect(self._on_step_chosen)
        self.chain.report.clicked.connect(partial(shell.station_wanted.emit, "report"))
        run.result_shown.connect(self._on_result_shown)
        run.restored.connect(self._on_run_restored)
        run.changed.connect(self.show_run)
        run.freed.connect(self._refresh)
        self.queue.changed.connect(self._on_queue_changed)
        self.runs.repeated.connect(self._on_repeated)
        self.runs.run_opened.connect(partial(self.show_page, THIS_RUN))
        self.proof.changed.connect(self._start_next)
        self.auditing.used.connect(self._on_excluded)
        self.finding.used.connect(self._on_rate_found)
        self.saving.saved.connect(self._on_saved)
        self.saving.busy_changed.connect(self._refresh)
        self.setup.changed.connect(self._on_setup_changed)
        self.setup.changed.connect(self._keep_state)
        self.setup.reference.changed.connect(self._on_reference_changed)
        run.began.connect(partial(shell.interrupted.emit, ""))
        run.ended.connect(self._on_run_ended)
        self.resume_button.clicked.connect(self.resuming.resume_shown)
        self.halve_button.clicked.connect(self._on_halve_clicked)
        self.tabs.currentChanged.connect(self._on_page_shown)
        DEVICES.changed.connect(self._start_next, Qt.ConnectionType.QueuedConnection)
        events = self.session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.reference.connect(self._show_pretraining)
        for event in (events.trigger, events.jobs, events.scan_reference, events.answer):
            event.connect(self._refresh)
        events.images.connect(self._on_setup_changed)
        events.devices.connect(self._on_devices_change)
        events.device.connect(self._on_devices_change)

    def show_run(self) -> None:
        """Show what the run left, or why it left nothing, and what an estimate found."""
        run, trouble = self.run.on_show, self.run.on_show.trouble
        for sheet in (self.result_card, self.proof_card):
            sheet.setVisible(run.shows_result)
        self.trouble_card.setVisible(trouble is not None)
        if trouble is not None:
            failed = trouble.error is not None
            self.trouble_text.setText(plain(trouble.sentence))
            theme.set_property(self.trouble_card, "tone", "danger" if failed else "info")
            self.resume_button.setText("Resume" if trouble.can_resume else "Start again")
            self.keep_button.setVisible(run.chain is not None and run.chain.was_stopped)
            self.halve_button.setVisible(trouble.may_lack_memory)
            self.details_button.setVisible(bool(trouble.error and trouble.error.details))
        self._show_chain()
        estimated = self.run.estimated
        self.form.show_estimate(estimate_sentence(estimated) if estimated else "")
        self._refresh()

    def _show_chain(self) -> None:
        """Show the chain that the run on show is of, and the charts unless it scans or proves.

        A card says so where another run is the newest, or another checkpoint is open.
        """
        run = self.run.on_show
        at_work = self.run.is_cleaning and run is self.run.newest
        was_left = bool(run.result) and not (run.shows_result or at_work)  # for another checkpoint
        chain = None if was_left else run.chain
        self.chain.show_chain(chain, at_work=at_work)
        self.proof.about.setText((chain and chain.scanned(run.folder)) or HELP)
        has_answer = self.chain.has_answer  # with the same buttons
        theme.set_primary(self.setup.clean_it, "clean", not run.shows_result)
        theme.set_primary(self.chain.save, "save", has_answer)
        theme.set_primary(self.try_button, "studio", not has_answer)
        self.save_button.setHidden(has_answer)
        self.open_button.setVisible(run.saved is not None and not has_answer)
        self.chain.open_saved.setVisible(run.saved is not None and has_answer)
        self.charts.setVisible(not (at_work and self.run.begins_again) and not was_left)
        hidden = self.run.newest_is_hidden and bool(run.source)
        self.earlier_card.setVisible(hidden or was_left)
        self.newest_button.setVisible(hidden)
        if hidden:
            going = "another one is running" if self.run.is_cleaning else "the last one has ended"
            self.earlier_text.setText(f"An earlier run is shown; {going}.")
            what = "run at work" if self.run.is_cleaning else "last run"
            self.newest_button.setText(f"Show the {what}")
        elif was_left:
            name = plain(Path(run.result["source"]).name, 80)
            self.earlier_text.setText(f"This run cleaned {name}. Open that file to see its result.")

    def _refresh(self, *_: object) -> None:
        """Enable what can be done, and say what is missing."""
        session, actions = self.session, self.context.actions
        missing = self.setup.check(session)
        busy = self.is_busy()
        self._is_free = not busy and not is_taken(self.setup.device(self.context.device.wanted))
        self._can_start_chain = self.setup.show_chain(session, is_free=self._is_free)
        self._can_start = session.checkpoint is not None and not self.form.problem() and not missing
        self.proof.refresh()
        actions["clean.start"].setText(_START if self._is_free else _ADD)
        for button in (self.resume_button, self.keep_button):
            button.setEnabled(not busy)
        for name, reason in (
            ("clean.stop", self.run.begins_again),
            ("clean.cancel", self.run.begins_again),
            ("clean.estimate", "" if self._is_free else ESTIMATE_WAITS),
            ("clean.rebound", self.proof.why_not),
            ("clean.holdouts", self.proof.why_not),
        ):
            actions[name].setToolTip(reason or self._tips[name])
        hint = missing
        if session.checkpoint is None:
            hint = ""  # “Clean it” says it
        elif not missing and session.images is None:
            hint = "No images are chosen: nothing will be measured before and after."
        elif not missing and session.trigger is None:
            hint = without_trigger(session)
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        self.shell.commands_changed.emit()

    def _on_run_ended(self, last: Done) -> None:
        hidden = self.run.newest_is_hidden and self.run.mode != "estimate"
        if last.status == "cancelled":
            if hidden:  # whoever cancels a run looks for what is left of it
                self.run.show_newest()
            if self.queue.can_start:
                waiting = plural(len(self.queue), "run")
                self.shell.logged.emit(
                    f"Cancelled. The queue is paused: “Start the queue” begins {waiting}."
                )
        elif hidden:
            self.shell.logged.emit("The current run has ended; it is in the history.")
        focus = QApplication.focusWidget()
        if focus is not None and self.right.isAncestorOf(focus):
            self.context.actions.refresh()
            focus_first(self.try_button, self.resume_button)  # the run bar has no button any more
            self._show_top()

    def _show_top(self) -> None:
        """Show the answer, whatever gets the focus now and when the page has been laid out."""
        QTimer.singleShot(0, self, self._to_top)
        self._laid_out.start()

    def _to_top(self) -> None:
        self.scroll_area.verticalScrollBar().setValue(0)

    def _on_run_opened(self) -> None:
        self.charts.clear()
        self._show_top()
        run = self.run.on_show
        if run.source:
            self.charts.explain(run.recipe.method, run.asked[0])

    def _on_result_shown(self, result: dict[str, Any]) -> None:
        self.before_after.show_result(result)
        self.result_card.show()
        self.proof_card.show()
        self._show_top()
        self.proof.show_run(self.run.on_show.folder)

    def _on_step_ended(self, chain: Chain, step: AutoStep) -> None:
        """Make a scan of the chain known to Scan and Report."""
        if step.kind == "scan" and step.status == "finished":
            folder = chain.folder / step.folder
            with suppress(InputError):
                self.context.settings.add_scan(folder, read_scan(folder / SCAN_FILE))

    def _on_step_chosen(self, chain: Chain, step: AutoStep) -> None:
        """Show what a step made, where it belongs."""
        folder = chain.folder / step.folder
        if step.kind == "scan":
            self.shell.open("scan", str(folder))
            return
        with failing(self.shell.failed, "Could not show the step"):
            self.run.show_past(read_run(folder))

    def _on_run_restored(self, saved: SavedRun) -> None:
        self.setup.show_spec(saved.spec)
        if self.run.is_running:
            self.show_page(THIS_RUN)

    def _on_repeated(self, spec: CleanSpec) -> None:
        with failing(self.shell.failed, "Could not repeat the run"):
            self.setup.show_spec(spec)
            self.columns.open_left()
            self.resuming.repeat(spec)

    def _on_queue_changed(self) -> None:
        """Say on the tab how many runs wait, and whether for the user."""
        self.head.show_waiting(len(self.queue), paused=self.queue.held)
        self.shell.commands_changed.emit()

    def _start_next(self) -> None:
        self.queue.start_next()
        self._refresh()

    def _on_excluded(self, exclusions: tuple[str, PairSpec]) -> None:
        """Leave out of the next run what was excluded, if these are still the pairs in use."""
        path, audited = exclusions
        with suppress(InputError):
            if same_pairs(self.data.pairs(), audited):
                self.data.exclude.setText(path)

    def _on_rate_found(self, found: tuple[Method, float]) -> None:
        """Set the rate, and the method for which it was found."""
        method, rate = found
        if self.form.method.method != method:
            self.form.set_method(method)
        self.form.set_rate(rate)

    def _on_halve_clicked(self) -> None:
        with failing(self.shell.failed, "Could not start the run again"):
            self.runs.halve_run(read_run(self.run.on_show.folder))

    def _on_details_clicked(self) -> None:
        trouble = self.run.on_show.trouble
        if trouble is not None and trouble.error is not None:
            self.shell.failed.emit(trouble.error)

    def _on_window_ready(self) -> None:
        """Take up what the last window left: the run that was interrupted, and the queue."""
        self.resuming.offer_interrupted()
        left_out = self.queue.keep(data_dir() / QUEUE_FILE)
        if left_out:
            self.runs.say(left_out)
        trouble = self.run.on_show.trouble
        self.shell.interrupted.emit(trouble.sentence if trouble else "")
        self._refresh()

    def _on_run_wanted(self, folder: str) -> None:
        """Show a run of an earlier window, if nothing is at work and it can still be read."""
        if self.is_busy():
            return
        try:
            past = read_run(Path(folder))
        except InputError as error:
            self.shell.logged.emit(error.sentence)
            return
        if past.can_be_shown:
            self.runs.add(past)
            self.run.show_past(past)

    def _on_auto_wanted(self, take: Callable[[AutoSpec], object]) -> None:
        """Hand over what *Clean it* would be asked, without a scan that is there."""
        with failing(self.shell.failed, "Could not start cleaning"):
            if not self._can_start_chain:
                raise InputError(self.setup.clean_it_lacks.text())
            images, trigger = self.session.images, self.session.trigger
            given = [images and images.class_names, trigger and trigger.digest]
            # The same trigger and classes have the same files: then it is the same cleaning.
            folder = data_dir() / "examinations" / f"clean-{digest_of(given)[:16]}"
            base, _ = self._job_here(folder, Recipe())
            take(new_chain(self.session, base).spec.model_copy(update={"scanned": None}))

    def _on_closing(self) -> None:
        """Keep what is being typed, and start nothing new when the present work ends."""
        self.queue.hold(True)
        self.runs.keep_name()
        self.auditing.close()
        self.finding.close()

    def _on_setup_changed(self, *_: object) -> None:
        self.run.forget_estimate()
        self._refresh()

    def _keep_state(self) -> None:
        form, (pairs, labelled) = self.setup.form, self.data.own()
        recipe: Recipe | None = None
        if form.method.method != METHODS[0] or not form.is_default:
            with suppress(InputError):
                recipe = form.recipe()
        state: dict[str, object] = {"pairs": pairs, "labelled": labelled, "recipe": recipe}
        if state != self._state:
            self._state = state
            self.shell.state_changed.emit()

    def _on_reference_changed(self) -> None:
        self.session.trusted = self.setup.reference.path()

    def _on_page_shown(self, number: int) -> None:
        self._pages.setCurrentIndex(number)
        if number == RUNS:
            self.runs.reload()
        self.shell.commands_changed.emit()

    def _on_checkpoint_change(self, facts: ShownCheckpoint | None) -> None:
        self.run.forget_estimate()
        self._accepted.clear()
        if facts is not None:
            self.setup.data.suit(facts.of_demo)
        self._show_pretraining()
        self.run.follow(facts, keep=self.proof.is_running)

    def _show_pretraining(self, *_: object) -> None:
        """Offer the presets that suit the checkpoint; a reference may tell what it does not."""
        facts, other = self.session.checkpoint, self.session.reference
        if facts is None or facts.of_demo:
            pretraining = DEMO
        elif other is not None and other.architecture == facts.architecture:
            pretraining = with_parent(facts.pretraining, other.pretraining)
        else:
            pretraining = facts.pretraining
        self.form.set_pretraining(pretraining)
        if facts is not None:  # the recipe's preset may be one of those that are offered now
            self._show_restored()
            self._restored = None

    def _show_restored(self) -> None:
        if self._restored is not None:
            with failing(self.shell.failed, "Could not take over the session's recipe"):
                self.setup.show_recipe(self._restored)

    def _on_devices_change(self, _: object) -> None:
        self.setup.gpus.set_devices(self.session.devices, self.context.device.wanted)
