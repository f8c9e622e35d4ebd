"""The window without a display: the guided demo, and talks that are played without an audience."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cleanclip_gui.jobs import tasks
from cleanclip_gui.talk.script import Scenario, Wait, measured
from cleanclip_gui.widgets.layout import reveal
from cleanclip_gui.widgets.text import plain
from ml_core.jobs.specs import CLEANED_FILE, RESULT_FILE, SPEC_FILE, read_spec
from ml_core.jobs.table import JOBS
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui.station import Context
    from cleanclip_gui.talk.script import Step, Talk
    from cleanclip_gui.window.main_window import MainWindow
    from ml_core.evaluation.records import Evaluation

OUTPUT = Path("demo-output")
_WINDOW_SIZE = (1366, 768)
_OPEN_S, _EVALUATE_S, _SCAN_S, _CLEAN_S = 180.0, 180.0, 900.0, 3600.0
_STEP_S, _SETTLE_S, _ENABLED_S, _PAINTED_S = 180.0, 60.0, 30.0, 0.5
_LONG = ("file.examine", "scan.start", "clean.start", "clean.it")
_SCREEN = {"name": "stage", "x": 0, "y": 0, "width": 1920, "height": 1080, "logicalDpi": 96,
           "logicalBaseDpi": 96, "dpr": 1.0}  # fmt: skip


def open_window(
    make_window: Callable[[Context], MainWindow], settings: Path
) -> tuple[QApplication, MainWindow]:
    """Show a window of the first size that nobody answers; warnings are not logged."""
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui import theme
    from cleanclip_gui.collector import Collector

    logging.disable(logging.WARNING)
    app = QApplication.instance() or QApplication([sys.argv[0]])
    assert isinstance(app, QApplication)
    theme.apply_theme(app, "light")
    window = make_window(quiet_context(settings))
    Collector(window)
    set_first_size(window)
    window.show()
    return app, window


def play_script(
    script: Iterator[Wait], wait: Callable[[], object], done: Callable[[], object]
) -> Exception | None:
    """Run the event loop with ``wait`` until the script has called ``done``; returns its error."""
    ended: list[Exception | None] = []

    def finish(error: Exception | None) -> None:
        ended.append(error)
        done()

    scenario = Scenario(script)
    scenario.ended.connect(finish)
    scenario.start()
    if not ended:
        wait()
    return ended[0]


def run_demo(make_window: Callable[[Context], MainWindow], output: Path = OUTPUT) -> int:
    """Play the demo: open, examine and clean, scan again, prove, report.

    The cleaned checkpoint and pictures of the window go into ``output``. Returns the exit status:
    0, or 4 with one sentence on standard error.
    """
    from ml_core.cli.examine import print_examination
    from ml_core.cli.picture import PICTURE, draw_before_after
    from ml_core.jobs.demo import demo_checkpoint
    from ml_core.jobs.examination.kept import kept_records
    from ml_core.paths import cache_dir
    from ml_core.triggers import demo_trigger

    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    output.mkdir(parents=True, exist_ok=True)
    app, window = open_window(make_window, cache_dir() / "headless")
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    with bar:
        error = play_script(demo_script(window, output, bar), app.exec, app.quit)
    run = window.session.run
    window.close()
    if error is not None or run is None:
        console.print(f"The demo stopped: {error}", style="red")
        return 4
    made, picture = Path(run.output_dir), output / PICTURE
    for name in (CLEANED_FILE, RESULT_FILE):
        shutil.copyfile(made / name, output / name)
    # A run that was kept of an earlier demo may name the file of another copy of the program.
    spec = read_spec(made / SPEC_FILE).model_copy(update={"checkpoint": str(demo_checkpoint())})
    draw_before_after(spec, output / CLEANED_FILE, demo_trigger(), picture)
    print_examination(kept_records()[0].model_dump(mode="json"), False)
    print(f"Picture: {picture}\nScreenshots: {output}")
    return 0


def quiet_context(settings: Path) -> Context:
    """What the window works with where nobody answers: every question gets a yes."""
    from cleanclip_gui.session.settings import SettingsStore
    from cleanclip_gui.station import Context
    from cleanclip_gui.widgets.prompts import Prompts

    return Context(settings=SettingsStore(settings), prompts=Prompts(confirm=lambda *_: True))


def set_first_size(window: MainWindow) -> None:
    """Give the window its first size, whatever screen there is."""
    from PySide6.QtCore import Qt

    window.setWindowState(Qt.WindowState.WindowNoState)
    window.resize(*_WINDOW_SIZE)


def demo_script(window: MainWindow, output: Path, bar: Progress) -> Iterator[Wait]:
    """The acts of the demo, for :class:`Scenario`."""
    from PySide6.QtWidgets import QWidget

    session, act = window.session, window.actions_.run
    told = bar.add_task("Opening the checkpoint", total=None)
    asked_whole: Evaluation | None = None

    def shot(name: str) -> None:
        window.grab().save(str(output / f"{name}.png"))

    def part(name: str) -> QWidget:
        widget = window.findChild(QWidget, name)
        assert widget is not None, f"the window has {name}"
        return widget

    def measured(triggered: bool) -> bool:
        nonlocal asked_whole
        evaluation, images, shown = session.evaluation, session.images, session.shown
        if evaluation is None or images is None or evaluation.partial or shown is None:
            return False
        if evaluation.checkpoint_sha256 != shown.inspection.sha256:
            return False
        if (evaluation.asr_excl is not None) != triggered:
            return False
        if evaluation.n_total < images.n and asked_whole is not evaluation:
            asked_whole = evaluation
            act("trigger.measure_all")  # the pictures are of whole sets, also on a slow machine
        return evaluation.n_total == images.n

    window.start_demo()
    window.guide.end()
    yield Wait(lambda: session.checkpoint is not None, _OPEN_S, "the checkpoint did not open")
    yield Wait(lambda: session.images is not None, _OPEN_S, "the pictures did not load")
    window.show_station("checkpoint")
    yield Wait(lambda: not tasks.is_busy(), _OPEN_S, "the tensors were not read")
    shot("1-checkpoint")
    bar.update(told, description="Looking at clean pictures")
    window.show_station("studio")
    yield Wait(lambda: measured(False), _EVALUATE_S, "the clean pictures were not measured")
    shot("2-studio-clean")
    bar.update(told, description="Putting the trigger on")
    act("trigger.demo")
    yield Wait(lambda: measured(True), _EVALUATE_S, "the triggered pictures were not measured")
    shot("3-studio-triggered")
    act("file.examine_clean")

    def at_work(stage: str = "") -> bool:
        """Whether it is examined, and this stage has not come; its words go to the bar."""
        progress = session.job_progress.get("examination")
        if progress is not None:
            bar.update(told, description=JOBS["examine"].words(progress.stage))
        reached = bool(stage) and progress is not None and progress.stage == stage
        return "examination" in session.jobs and not reached

    yield Wait(lambda: not at_work("train"), _SCAN_S, "the scan did not end")
    shot("examined")
    yield Wait(lambda: not at_work(), _CLEAN_S, "the cleaning did not end")
    shot("examined-and-cleaned")
    if session.run is None or session.run.status != "finished":
        raise RuntimeError("the examination ended without a cleaned checkpoint")
    bar.update(told, description="Looking at the cleaned model")
    window.show_station("scan")
    stamped = part("scan.stamped")  # says what the model takes the pictures for, once it is known
    yield Wait(
        lambda: bool(stamped.accessibleDescription()),
        _EVALUATE_S, "the found trigger was not put on pictures",
    )  # fmt: skip
    shot("4-scan")
    window.show_station("clean")
    rates = part("clean.rates")
    yield Wait(
        lambda: rates.accessibleDescription() != "empty", _OPEN_S, "the charts were not drawn"
    )
    shot("6-compare")
    for chart in (part("clean.losses"), rates):  # the page's end first: the rates stand on top
        reveal(chart)
    yield Wait(lambda: True, _SETTLE_S, "")  # what came into view is laid out
    shot("5-clean")
    act("clean.try")
    yield Wait(lambda: session.cleaned is not None, _OPEN_S, "the cleaned checkpoint did not open")
    window.show_station("studio")
    yield Wait(lambda: measured(True), _EVALUATE_S, "the cleaned model was not measured")
    shot("7-studio-cleaned")
    bar.update(told, description="Adding up what can be claimed")
    window.show_station("report")
    page = part("report.page")
    yield Wait(
        lambda: page.isVisible() and not tasks.is_busy(), _OPEN_S, "the report was not put together"
    )
    shot("8-report")
    bar.update(told, description="Done", completed=1, total=1)


@dataclass
class Played:
    """One step: how long it took, and what failed."""

    number: int
    title: str
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def run_talk(
    make_window: Callable[[Context], MainWindow],
    talk: Talk,
    first: int = 0,
    pictures: Path | None = None,
) -> int:
    """Play a talk from a step on; returns the exit status: 0, or 4 if anything failed.

    A table of the steps goes to standard output; with ``pictures``, a PNG of each goes there.
    """
    from PySide6.QtCore import QEventLoop

    console = Console()
    with TemporaryDirectory(prefix="cleanclip-talk-") as folder:
        screen = Path(folder, "screen.json")
        screen.write_text(json.dumps({"screens": [_SCREEN]}))
        os.environ.setdefault("QT_QPA_PLATFORM", f"offscreen:configfile={screen}")
        _, window = open_window(make_window, Path(folder))
        try:
            window.guide.set_talk(talk)
        except InputError as error:
            print(error.sentence, file=sys.stderr)
            window.close()
            return 2
        loop = QEventLoop()
        played = play_talk(window, first, pictures, loop.exec, loop.quit)
        window.close()
    console.print(table_of(played, talk.title))
    slowest = max(played, key=lambda entry: entry.seconds, default=None)
    if slowest is not None:
        named = f"step {slowest.number}, {slowest.title}, {slowest.seconds:.1f} s"
        console.print(f"Slowest: {named}", markup=False)
    return 4 if any(entry.failures for entry in played) else 0


def play_talk(
    window: MainWindow,
    first: int,
    pictures: Path | None,
    wait: Callable[[], object],
    done: Callable[[], object],
) -> list[Played]:
    """Play the talk of the window; ``wait`` runs the event loop until ``done`` is called."""
    played: list[Played] = []
    failed: list[str] = []

    def on_failed(failure: Any) -> None:
        failed.append(failure.sentence)

    def on_crash(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        failed.append(f"{kind.__name__}: {error}")

    shell, hook = window.context.shell, sys.excepthook
    shell.failed.connect(on_failed)
    sys.excepthook = on_crash
    try:
        error = play_script(_talk_script(window, first, pictures, played, failed), wait, done)
    finally:
        sys.excepthook = hook
        shell.failed.disconnect(on_failed)
    if error is not None:
        if not played:
            played.append(Played(first + 1, "Start"))
        played[-1].failures.append(str(error))
    window.guide.end()
    return played


def _talk_script(
    window: MainWindow, first: int, pictures: Path | None, played: list[Played], failed: list[str]
) -> Iterator[Wait]:
    """Show each step, do what Next does there, and wait until it is ready and at rest."""
    session, guide = window.session, window.guide
    window.talk.start(first)
    window.talk.presenter.enter(full_screen=False)
    for number in range(guide.position, len(guide.steps)):
        step = guide.steps[number]
        entry = Played(number + 1, step.title)
        played.append(entry)
        since = time.monotonic()
        guide.show_step(number)
        yield from _until_ready(window, step, entry)
        entry.seconds = time.monotonic() - since
        # What the step asks for begins, comes, and is painted.
        pause, rest = (lambda: False, _PAINTED_S), (lambda: _at_rest(window), _SETTLE_S)
        for come, seconds in (pause, rest, pause):
            yield Wait(_either(come, seconds), seconds + 10, "")
        entry.failures += failed
        failed.clear()
        if pictures is not None:
            _save_picture(window, pictures, f"{number + 1}-{step.title.lower()}")
    if session.checkpoint is None:
        played[-1].failures.append("the demo did not open")


def _save_picture(window: MainWindow, folder: Path, name: str) -> None:
    """Write what a window shows as PNG, e.g. ``3-add-the-trigger.png``."""
    plain_name = "".join(letter if letter.isalnum() else "-" for letter in name[:40])
    path = folder / f"{plain_name}.png"
    with suppress(OSError):  # saving says so as well
        folder.mkdir(parents=True, exist_ok=True)
    if not window.grab().save(str(path)):
        raise InputError(f"{plain(str(path), 80)} could not be saved.")


def _until_ready(window: MainWindow, step: Step, entry: Played) -> Iterator[Wait]:
    session = window.session
    limit = _CLEAN_S if step.run in _LONG else _STEP_S

    def able() -> bool:
        command = next(c for c in window.actions_.commands if c.id == step.run)
        return step.is_ready(session) or (step.acts(session) and command.is_enabled())

    if step.run:
        yield Wait(_either(able, _ENABLED_S), _ENABLED_S + 10, "")
        if not able():
            entry.failures.append(f"{step.run} could not be used within {_ENABLED_S:.0f} s")
            return
        if not step.is_ready(session):
            window.guide.go_on()
    begun = time.monotonic()

    def over() -> bool:
        """Ready, or what was begun has ended in another way."""
        again = bool(step.run) and step.acts(session) and time.monotonic() - begun > 5
        return step.is_ready(session) or again

    yield Wait(_either(over, limit), limit + 10, "")
    if not step.is_ready(session):
        entry.failures.append(f"“{' or '.join(step.ready)}” did not come true within {limit:.0f} s")


def _either(come: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """Whether something has come, or so much time has passed since the first question."""
    begun: list[float] = []

    def look() -> bool:
        begun[:] = begun or [time.monotonic()]
        return come() or time.monotonic() - begun[0] > seconds

    return look


def _at_rest(window: MainWindow) -> bool:
    """Whether nothing on show is still to change."""
    evaluation = measured(window.session)
    final = evaluation is not None and not evaluation.partial
    known = window.session.station != "studio" or final
    return known and not tasks.is_busy()


def table_of(played: list[Played], title: str) -> Table:
    """Steps, seconds and failures, for a terminal."""
    table = Table(title=title, title_justify="left")
    table.add_column("Step", justify="right")
    table.add_column("Title")
    table.add_column("Seconds", justify="right")
    table.add_column("Result", overflow="fold")
    for entry in played:
        outcome = "; ".join(entry.failures) or "ok"
        table.add_row(str(entry.number), entry.title, f"{entry.seconds:.1f}", outcome)
    return table
