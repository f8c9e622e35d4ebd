"""Queue and history: the table of all runs, what can be done with one, and their comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PySide6.QtCore import QFile, QPoint, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QLineEdit, QMenu, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.charts.charts import Chart
from cleanclip_gui.clean.charts.parts import MOST, SYMBOLS, SeriesStyle, free_mark, letter
from cleanclip_gui.clean.history import (
    PastRun,
    SavedRun,
    Status,
    evaluations_until,
    list_runs,
    read_run,
    read_saved_run,
    run_points,
)
from cleanclip_gui.clean.job import copy_job, trigger_of
from cleanclip_gui.clean.queue import RunQueue
from cleanclip_gui.clean.result import is_source, where_open
from cleanclip_gui.clean.run import NO_TRIGGER, CleaningRun
from cleanclip_gui.clean.runs.runs_table import RunsTable, started_text
from cleanclip_gui.clean.runs.tradeoff_chart import Track, TradeoffChart
from cleanclip_gui.clean.training_data import OnceButton
from cleanclip_gui.clean.try_in_studio import TryCleaned
from cleanclip_gui.jobs import tasks
from cleanclip_gui.jobs.run_names import write_name
from cleanclip_gui.session import Session
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import Label, Note
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.path_edit import tool
from cleanclip_gui.widgets.prompts import Prompts, failing, show_on_desktop
from cleanclip_gui.widgets.text import percent, plain
from ml_core.cleaning.tradeoff import Point, points
from ml_core.events import Event, Metric, Saved
from ml_core.jobs.chain_folder import is_chain
from ml_core.jobs.folder_lock import at_work
from ml_core.jobs.specs import CleanSpec, halved
from ml_core.reading.errors import InputError

_Button = TypeVar("_Button", bound=QAbstractButton)
_AHEAD = ("running", "waiting")
# So wide that two charts can stand side by side.
_BOTH = 1100
_PLOT = 190  # pixels of height; the page scrolls where there are fewer


class Comparison(QWidget):
    """Both charts that compare runs; one at a time where there is no room for two."""

    def __init__(self, prompts: Prompts) -> None:
        super().__init__(accessibleName="Comparison of runs")
        self.tradeoff = TradeoffChart(prompts)
        self.curves = Chart(
            "Runs over their steps",
            prompts,
            show=percent,
            whole=True,
            legend_columns=2,
            empty="Tick runs under “Queue and history”: their clean accuracy and attack success on "
            "validation images are drawn in one chart.",
        )
        for chart in (self.tradeoff, self.curves):
            chart.stack.setMinimumHeight(theme.px(_PLOT))
        self.pick_tradeoff = QPushButton("Trade-off")
        self.pick_tradeoff.setToolTip("Clean accuracy against attack success.")
        self.pick_curves = QPushButton("Over steps")
        self.pick_curves.setToolTip("Both rates over the steps of each run.")
        picks = QButtonGroup(self)
        self._switch = QWidget()
        for button in (self.pick_tradeoff, self.pick_curves):
            button.setCheckable(True)
            picks.addButton(button)
        row(self.pick_tradeoff, self.pick_curves, None, of=self._switch, spacing=theme.SPACE_XS)
        charts = row((self.tradeoff, 1), (self.curves, 1), spacing=theme.SPACE_M)
        self.message = Note("caption")
        column(self._switch, (charts, 1), self.message, of=self, spacing=theme.SPACE_S)
        self.pick_tradeoff.setChecked(True)
        picks.buttonToggled.connect(self._arrange)
        self._arrange()

    def draw(self, shown: Sequence[tuple[int, PastRun, tuple[Point, ...]]]) -> None:
        """Draw runs, each with its mark and its evaluations."""
        styles = [style for mark, run, _ in shown for style in _styles(mark, run)]
        labels = {style.key: style.label for style in styles}
        for key in self.curves.keys():  # noqa: SIM118
            if self.curves.series(key).style.label != labels.get(key):  # gone, or renamed
                self.curves.remove_series(key)
        for style in styles:
            self.curves.add_series(style)
        tracks = []
        for mark, run, evaluated in shown:
            tracks.append(Track(str(run.folder), mark, plain(run.title, 60), evaluated))
            fill_curves(self.curves, letter(mark), evaluated)
        self.curves.update_now()
        self.tradeoff.set_tracks(tracks)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show both charts where there is room."""
        super().resizeEvent(event)
        self._arrange()

    def _arrange(self) -> None:
        both = self.width() >= theme.px(_BOTH)
        self._switch.setVisible(not both)
        self.tradeoff.setVisible(both or self.pick_tradeoff.isChecked())
        self.curves.setVisible(both or self.pick_curves.isChecked())


def _styles(mark: int, run: PastRun) -> tuple[SeriesStyle, ...]:
    """How the two curves of a run look and are called."""
    name = plain(run.title, 36)
    symbol = SYMBOLS[mark % len(SYMBOLS)]
    return tuple(
        SeriesStyle(
            f"{letter(mark)}.{part}", f"{letter(mark)} {name}, {words}", mark, markers=True,
            dash=number, symbol=symbol,
        )
        for number, (part, words) in enumerate((("ca", "CA"), ("asr", "ASR")))
    )  # fmt: skip


def fill_curves(chart: Chart, key: str, points: tuple[Point, ...]) -> None:
    """Put a run's evaluations into its two series, ``KEY.ca`` and ``KEY.asr``."""
    for name in ("ca", "asr"):
        chart.series(f"{key}.{name}").clear()
    for point in points:
        chart.append(f"{key}.ca", point.step, point.ca)
        if point.asr is not None:
            chart.append(f"{key}.asr", point.step, point.asr)


@dataclass(eq=False)
class _Compared:
    """A run in the charts: its mark, its evaluations, and the task that reads them."""

    mark: int
    points: tuple[Point, ...] = ()
    reading: Ticket = field(default_factory=Ticket.closed)


class RunsPage(QWidget):
    """All runs: the current one, the queued ones and the earlier ones.

    ``repeated(CleanSpec)`` asks to set up the same job again, ``run_opened`` to look at the
    displayed run; ``failed`` carries an InputError. :attr:`comparison` is a separate page.

    Parameters
    ----------
    session
        Names the checkpoint that is open.
    run
        The run at work, and the one on show.
    queue
        Those that wait.
    studio
        Shows the checkpoint of an evaluation.
    prompts
        Asks for folders.
    runs_folder
        Where runs are kept.
    is_busy
        Whether something is at work, so that no other run can be resumed.
    is_in_use
        Whether something is at work in the folder of a run, so that it cannot be deleted.
    """

    repeated = Signal(object)
    run_opened = Signal()
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        run: CleaningRun,
        queue: RunQueue,
        studio: TryCleaned,
        prompts: Prompts,
        runs_folder: Callable[[], Path],
        is_busy: Callable[[], bool],
        is_in_use: Callable[[Path], bool],
    ) -> None:
        super().__init__(accessibleName="Runs: queue, history and comparison")
        self._session, self._run, self._studio = session, run, studio
        self._prompts, self._runs_folder, self._is_busy = prompts, runs_folder, is_busy
        self._is_in_use = is_in_use
        self.queue = queue
        self.table = RunsTable()
        self._acts: list[tuple[QAbstractButton, Callable[[PastRun], bool], bool]] = []
        self.open_ = self._act(
            _button("Show", "Show its result and charts under This run."), self.open_run,
            lambda run: run.status != "waiting" and run.can_be_shown,
        )  # fmt: skip
        self.repeat = self._act(
            _button("Repeat", "Fill the form with this run's settings."),
            lambda run: self.repeated.emit(self._spec_here(run)), lambda run: True,
        )  # fmt: skip
        self.resume = self._act(
            _button("Resume", "Continue from the last save."), self._resume,
            lambda run: run.status not in _AHEAD and run.can_go_on, hides=True,
        )  # fmt: skip
        self.start = self._act(
            _button("Start", "Start the run, or let it wait for the current one."),
            lambda run: queue.add(run.folder), lambda run: run.status == "not started", hides=True,
        )  # fmt: skip
        self.up = self._act(
            tool("chevron-up", "Earlier in the queue"), lambda run: queue.move(run.folder, -1),
            lambda run: run.status == "waiting", hides=True,
        )  # fmt: skip
        self.down = self._act(
            tool("chevron-down", "Later in the queue"), lambda run: queue.move(run.folder, 1),
            lambda run: run.status == "waiting", hides=True,
        )  # fmt: skip
        self.remove = self._act(
            _button("Remove", "Take it out of the queue; its folder stays."),
            lambda run: queue.remove(run.folder), lambda run: run.status == "waiting", hides=True,
        )  # fmt: skip
        self.delete = self._act(
            tool("clear", "Move the run to the trash (Del)"), self.delete_run,
            lambda run: not is_in_use(run.folder),
        )  # fmt: skip
        self.hold = _button("Pause the queue", "Do not start another run after the current one.")
        self.hold.setCheckable(True)
        self.hold.setProperty("toggle", True)
        self.start_queue = _button("", "")
        self.start_queue.hide()
        self.add_folder = _button(
            "Add a run…", "Show the results folder of a run made elsewhere, such as on a cluster."
        )
        self.name = QLineEdit(placeholderText="Name of the selected run (F2)")
        self.name.setAccessibleName("Name of the selected run")
        self.name.setMaxLength(500)
        self.message = Label("", "caption", wrap=True)
        self.message.setMinimumHeight(self.message.fontMetrics().lineSpacing())  # of one line
        self.comparison = Comparison(prompts)
        self.tradeoff, self.curves = self.comparison.tradeoff, self.comparison.curves
        self._past: dict[Path, PastRun] = {}
        self._added: list[Path] = []
        self._live: Path | None = None
        self._live_events: list[Event] = []
        self._compared: dict[Path, _Compared] = {}
        self._named: Path | None = None
        self._reading = Ticket.closed()  # of the folders
        self._said_of_busy = False
        self._lay_out()
        self._connect()
        self._refresh()

    def say(self, text: str, *, while_busy: bool = False) -> None:
        """Say one sentence under the table and under the charts.

        One that is true ``while_busy`` alone goes when nothing is at work any more.
        """
        self._said_of_busy = while_busy
        self.message.setText(text)
        self.comparison.message.setText(text)

    def _lay_out(self) -> None:
        acts = FoldingRow(*(button for button, *_ in self._acts), spacing=0)
        head = FoldingRow(self.start_queue, self.hold, self.add_folder, spacing=0)
        sheet = card(
            head, (self.table, 1), acts, self.name, self.message,
            margins=(theme.SPACE_M, theme.SPACE_S, theme.SPACE_M, theme.SPACE_S),
            spacing=theme.SPACE_XS,
        )  # fmt: skip
        column(sheet, of=self)

    def _connect(self) -> None:
        self._run.began.connect(self._on_began)
        self._run.restored.connect(self._on_restored)
        self._run.event_received.connect(self._add_event)
        self._run.ended.connect(self._end_live)
        self._run.freed.connect(self._on_freed)
        self.queue.changed.connect(self._refresh)
        self.queue.noted.connect(self.note_run)
        self.table.run_chosen.connect(self._on_run_chosen)
        self.table.opened.connect(self._on_opened)
        self.table.delete_wanted.connect(partial(self._with_chosen, self.delete_run))
        self.table.rename_wanted.connect(self._on_rename_wanted)
        self.table.menu_wanted.connect(self._on_menu_wanted)
        self.table.rows.ticked.connect(self.compare)
        self.tradeoff.chosen.connect(self._on_point_chosen)
        self.tradeoff.failed.connect(self.failed)
        self.curves.failed.connect(self.failed)
        self.hold.toggled.connect(self.queue.hold)
        self.name.editingFinished.connect(self.keep_name)
        self.add_folder.clicked.connect(self.choose_folder)

    def _act(
        self,
        button: _Button,
        act: Callable[[PastRun], object],
        usable: Callable[[PastRun], bool],
        *,
        hides: bool = False,
    ) -> _Button:
        """Let a button do something with the selected run.

        One that is about few runs ``hides`` where it cannot be used: it would fill the row.
        """
        button.clicked.connect(partial(self._with_chosen, act))
        self._acts.append((button, usable, hides))
        return button

    # What is known

    @property
    def runs(self) -> tuple[PastRun, ...]:
        """Rows of the table: the one at work, who waits, then the past, newest first."""
        waiting = [folder for folder in self.queue.folders if folder in self._past]
        first = [self._live] if self._live in self._past else []
        ahead = [folder for folder in (*first, *waiting) if folder is not None]
        rest = [folder for folder in self._past if folder not in ahead]
        rest.sort(key=lambda folder: (self._past[folder].begun, folder.name), reverse=True)
        return tuple(self._past_run(folder) for folder in (*ahead, *rest))

    @property
    def is_reading(self) -> bool:
        """Whether folders or journals of runs are being read."""
        tickets = (self._reading, *(run.reading for run in self._compared.values()))
        return any(ticket.is_open for ticket in tickets)

    def compared(self) -> dict[Path, int]:
        """Runs in the charts, with their marks."""
        return {folder: run.mark for folder, run in self._compared.items()}

    def reload(self) -> None:
        """Read the runs' folders in the background."""
        parent, added = self._runs_folder(), tuple(self._added)

        def read(control: tasks.TaskControl) -> tuple[dict[Path, PastRun], list[Path]]:
            runs = {run.folder: run for run in list_runs(parent)}
            gone = []
            for folder in added:
                if control.cancelled():
                    break
                try:
                    runs[folder] = read_run(folder)
                except InputError:
                    gone.append(folder)
            return runs, gone

        self._reading = tasks.run(read, self._on_read, self._on_read_failed, slot="folders")

    def note_run(self, folder: Path) -> None:
        """Read one run's folder again, after its job was written or its files have changed."""
        with failing(self.failed, "Could not read the run"):
            self._take_in(read_run(folder))
        self._refresh()

    def _take_in(self, run: PastRun) -> None:
        """Put a run's state into the table."""
        self._past[run.folder] = run
        self._read_again()

    def _read_again(self) -> None:
        """Begin anew if the folders are being read: what was read of them is old."""
        if self._reading.is_open:
            self.reload()

    # The run at work

    def _begin_live(self, folder: Path, events: tuple[Event, ...] = ()) -> None:
        """A run began in ``folder``, after the events of an earlier session."""
        self._live, self._live_events = folder, list(events)
        self.note_run(folder)
        self.compare(folder, True, silent=True)

    def _on_began(self) -> None:
        if self._run.is_cleaning and self._run.mode != "auto":  # which has rounds, to be read later
            self._begin_live(self._run.on_show.folder)

    def _on_restored(self, saved: SavedRun) -> None:
        """Show the points that a resumed run already has."""
        if saved.folder == self._live:
            self._begin_live(saved.folder, evaluations_until(saved.folder, saved.step))

    def _add_event(self, event: Event) -> None:
        """Take in what the run at work says."""
        if self._live is None:
            return
        evaluated = isinstance(event, Metric) and "ca" in event.values
        saved = isinstance(event, Saved) and event.what == "step"
        if evaluated or saved:
            self._live_events.append(event)
            self._read_points(self._live)

    def _end_live(self) -> None:
        """The run at work has ended; what it left is read from its folder."""
        folder, self._live = self._live, None
        self._live_events = []
        if folder is None:
            return
        if not folder.is_dir():  # deleted while it ran
            self._past.pop(folder, None)
            self.compare(folder, False)
            return
        self.note_run(folder)
        self._read_points(folder)

    # Comparison

    def compare(self, folder: Path, on: bool, *, silent: bool = False) -> None:
        """Draw a run in the charts, or take it out."""
        if not on:
            run = self._compared.pop(folder, None)
            if run is not None:
                run.reading.cancel()
        elif folder not in self._compared:
            if folder not in self._past:
                self.note_run(folder)
            mark = free_mark({run.mark for run in self._compared.values()})
            if mark is None:
                if not silent:
                    self.say(f"At most {MOST} runs can be compared: untick another one first.")
                self._refresh()
                return
            self._compared[folder] = _Compared(mark)
        self._read_points(folder)
        self.say("")
        self._refresh()
        self._draw()

    def _read_points(self, folder: Path) -> None:
        """Read what a compared run has measured: its journal, or the events of the run at work."""
        run = self._compared.get(folder)
        if run is None:
            return
        run.reading.cancel()
        if folder == self._live:
            self._on_points_read(run, points(self._live_events))
        else:
            run.reading = tasks.run(
                lambda _: run_points(folder),
                partial(self._on_points_read, run),
                self._on_read_failed,
            )

    def _on_points_read(self, run: _Compared, points: tuple[Point, ...]) -> None:
        run.points = points
        self._draw()

    def _draw(self) -> None:
        """Bring both charts up to date; a run whose journal is being read follows."""
        shown = sorted(self._compared.items(), key=lambda item: item[1].mark)
        self.comparison.draw(
            [
                (run.mark, self._past[folder], run.points)
                for folder, run in shown
                if folder in self._past
            ]
        )

    # The table

    def _past_run(self, folder: Path) -> PastRun:
        """A run with the status that the window alone knows."""
        run = self._past[folder]
        status: Status = run.status
        if folder == self._live:
            status = "running"
        elif folder in self.queue.folders:
            status = "waiting"
        return run if status == run.status else replace(run, status=status)

    def _refresh(self) -> None:
        self.table.set_runs(self.runs, self.compared())
        self.hold.setChecked(self.queue.held)
        self.start_queue.setVisible(self.queue.held and len(self.queue) > 0)
        self.hold.setHidden(self.start_queue.isVisibleTo(self))
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        run = self.table.run
        for button, usable, hides in self._acts:
            button.setEnabled(run is not None and usable(run))
            button.setVisible(button.isEnabled() or not hides)
        if run is not None and run.status == "waiting":
            place = self.queue.folders.index(run.folder)
            self.up.setEnabled(place > 0)
            self.down.setEnabled(place < len(self.queue) - 1)
        self.name.setEnabled(run is not None)
        text = "" if run is None else run.name
        if self.name.text() != text and not (self.name.hasFocus() and self.name.isModified()):
            self.name.setText(text)

    def choose_folder(self) -> None:
        """Add a run that was made elsewhere, on a cluster say."""
        chosen = self._prompts.open_folder(self, "Results folder of a run", "")
        if chosen:
            self.open_folder(Path(chosen).absolute())

    def open_folder(self, folder: Path) -> None:
        """Show a run of another place in the table."""
        with failing(self.failed, "Could not open the run"):
            self.add(read_run(folder))
            self.table.choose(folder)

    def add(self, run: PastRun) -> None:
        """Have a run of another place in the table."""
        if run.folder not in self._added:
            self._added.append(run.folder)
        self._take_in(run)
        self._refresh()

    def _on_read(self, answer: tuple[dict[Path, PastRun], list[Path]]) -> None:
        runs, gone = answer
        for folder in (*self.queue.folders, *([self._live] if self._live else [])):
            if folder in self._past:  # in another output folder
                runs.setdefault(folder, self._past[folder])
        self._past = dict(runs)
        self._added = [folder for folder in self._added if folder not in gone or folder in runs]
        for folder in [folder for folder in self._compared if folder not in self._past]:
            self.compare(folder, False)
        self._refresh()
        self._draw()
        if lost := [plain(folder.name, 60) for folder in gone if folder not in runs]:
            self.say(
                f"No longer readable, and removed from the table: {', '.join(lost[:5])}. “Add a "
                "run…” shows a folder again."
            )

    def _on_read_failed(self, error: InputError) -> None:
        self.failed.emit(error.titled("Could not read the runs"))

    def _on_run_chosen(self, run: PastRun | None) -> None:
        self.keep_name()
        self._named = None if run is None else run.folder
        self._refresh_buttons()

    def keep_name(self) -> None:
        """Give the run that was selected then the name that was typed."""
        folder = self._named
        if folder is None or not self.name.isModified():
            return
        self.name.setModified(False)
        with failing(self.failed, "Could not rename the run"):
            write_name(folder, self.name.text())
            self.note_run(folder)
            self._run.rename(folder, self._past[folder].name)
            self._draw()

    def _on_rename_wanted(self) -> None:
        self.name.setFocus()
        self.name.selectAll()

    def _on_point_chosen(self, key: str, point: Point) -> None:
        run = self._past.get(Path(key))
        if run is None:
            return
        if not point.checkpoint and point.step:
            self.say(
                f"No checkpoint of step {point.step} of {plain(run.title, 80)} was kept. "
                "Tick “Keep every evaluated checkpoint” and run it again to open its steps."
            )
            return
        self.say("")
        self.open_point(run, point)

    # What can be done with a run

    def _with_chosen(self, act: Callable[[PastRun], object], *_: object) -> None:
        run = self.table.run
        if run is not None:
            act(run)

    def _on_opened(self, run: PastRun) -> None:
        if self.open_.isEnabled():
            self.open_run(run)

    def open_run(self, run: PastRun) -> None:
        """Show a run as if it had just ended, even while another run is active."""
        self._run.show_past(run)
        self.run_opened.emit()

    def halve_run(self, run: PastRun) -> None:
        """Queue a run again, at half its batch."""
        facts, spec = self._session.checkpoint, self._spec_here(run)
        vit = (
            facts is not None
            and Path(facts.path) == Path(spec.checkpoint)
            and facts.architecture.startswith("ViT")
        )
        halved_spec = halved(spec, batch_norm=not vit)
        if halved_spec.recipe == spec.recipe:
            self.say("The batch has two examples already and cannot be halved.")
            return
        with failing(self.failed, "Could not queue the run"):
            folder = copy_job(halved_spec, self._runs_folder())
            self.queue.add(folder)
            self.table.choose(folder)

    def open_point(self, run: PastRun, point: Point) -> None:
        """Open the checkpoint of an evaluation in Studio; step 0 is the suspect itself."""
        asked = trigger_of(run.spec), run.spec.target
        if run.spec.trigger is not None and asked[0] is None:
            self.say(NO_TRIGGER)
        if not point.checkpoint:
            if not is_source(self._session.checkpoint, _source_facts(run)):
                self.say(
                    f"Step 0 is {plain(Path(run.spec.checkpoint).name, 80)} as it was: open that "
                    "file to see it."
                )
                return
            self._studio.show_suspect(asked)
            return
        result = {"source": run.spec.checkpoint, "checkpoint": point.checkpoint}
        self._studio.begin(result, asked)

    def _resume(self, run: PastRun) -> None:
        if self._is_busy():
            self.say(
                "Another run is in progress; resume this one when it has finished.", while_busy=True
            )
            return
        with failing(self.failed, "Could not resume the run"):
            self._run.resume(read_saved_run(run.folder))

    def delete_run(self, run: PastRun) -> None:
        """Move a run to the trash; one of another place is only taken out of the table."""
        folder = run.folder
        if self._is_in_use(folder):
            return
        self.queue.remove(folder)
        place = folder.parent.parent if is_chain(folder.parent) else folder.parent
        if self._runs_folder().absolute() != place:
            self._forget_run(folder)
            self.say(f"Taken out of the table; its files stay in {plain(folder, 200)}.")
            return
        name = plain(folder.name, 80)
        refusal = ""
        if at_work(folder):
            refusal = f"Another process is using {name}; delete it when that has finished."
        elif not QFile(str(folder)).moveToTrash():
            refusal = f"{name} could not be moved to the trash; delete its folder by hand."
        if refusal:
            self.failed.emit(InputError(refusal).titled("Could not delete the run"))
            return
        self._forget_run(folder)
        self._run.forget(folder)
        self.say(f"Moved {plain(run.title, 80)} of {started_text(run.begun)} to the trash.")

    def _forget_run(self, folder: Path) -> None:
        """Take a run out of table and charts."""
        self._past.pop(folder, None)
        self._added = [other for other in self._added if other != folder]
        self._read_again()
        self.compare(folder, False)

    def _on_menu_wanted(self, place: QPoint) -> None:
        """Show what can be done with the selected run."""
        run = self.table.run
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        if run is not None:
            for button, *_ in self._acts:
                if button is not self.delete and not button.isHidden():
                    action = menu.addAction(button.text() or button.accessibleName())
                    action.setEnabled(button.isEnabled())
                    action.triggered.connect(button.click)
            menu.addSeparator()
            menu.addAction("Rename", self._on_rename_wanted)
            menu.addAction("Open the folder", partial(show_on_desktop, run.folder, self.failed))
            menu.addAction("Delete", self.delete.click).setEnabled(self.delete.isEnabled())
        menu.popup(place)

    def _on_freed(self) -> None:
        if self._said_of_busy and not self._is_busy():
            self.say("")
        self._refresh_buttons()

    def _spec_here(self, run: PastRun) -> CleanSpec:
        """A run's job, its checkpoint named where that file is open if it ran elsewhere."""
        result = where_open(_source_facts(run), self._session.checkpoint)
        return run.spec.model_copy(update={"checkpoint": result["source"]})


def _source_facts(run: PastRun) -> dict[str, Any]:
    """What a run says about its source, with a result or without."""
    return {**run.result, "source": run.spec.checkpoint}


def _button(text: str, help_line: str) -> OnceButton:
    button = OnceButton(text)
    button.setProperty("quiet", True)
    button.setToolTip(help_line)
    return button
