"""The window without a display: the guided demo, and talks that are played without an audience."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cleanclip_gui.jobs import tasks
from cleanclip_gui.session.records import is_live
from cleanclip_gui.talk.pictures import save_picture, step_name
from cleanclip_gui.talk.script import Scenario, Wait, measured
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
_STEP_S, _SETTLE_S, _ENABLED_S = 180.0, 60.0, 30.0
_SCREEN = {"name": "stage", "x": 0, "y": 0, "width": 1920, "height": 1080, "logicalDpi": 96,
           "logicalBaseDpi": 96, "dpr": 1.0}  # fmt: skip


def open_window(
    make_window: Callable[[Context], MainWindow], settings: Path
) -> tuple[QApplication, MainWindow]:
    """Show a window of the first size that nobody answers; warnings are not logged."""
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui import theme

    logging.disable(logging.WARNING)
    app = QApplication.instance() or QApplication([sys.argv[0]])
    assert isinstance(app, QApplication)
    theme.apply_theme(app, "light")
    window = make_window(quiet_context(settings))
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


def run_demo(
    make_window: Callable[[Context], MainWindow], output: Path = OUTPUT, preset: str = "default"
) -> int:
    """Open, trigger, measure, clean, measure again; files and screenshots go into ``output``.

    Returns the exit status: 0, or 4 with one sentence on standard error.
    """
    from ml_core.paths import cache_dir

    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    output.mkdir(parents=True, exist_ok=True)
    app, window = open_window(make_window, cache_dir() / "headless")
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        error = play_script(demo_script(window, output, preset, bar), app.exec, app.quit)
    run = window.session.run
    window.close()
    if error is not None or run is None:
        console.print(f"The demo stopped: {error}", style="red")
        return 4
    _report(run.result, output)
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


def _report(result: dict[str, Any], output: Path) -> None:
    """Draw the before and after picture and print the final table."""
    from ml_core.cli.clean import result_rows
    from ml_core.cli.output import comparison_table
    from ml_core.cli.picture import draw_before_after
    from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, read_spec
    from ml_core.triggers import demo_trigger

    folder = Path(result["checkpoint"]).parent
    shutil.copyfile(folder / RESULT_FILE, output / RESULT_FILE)
    cleaned = output / "cleaned.safetensors"
    picture = output / "before-after.png"
    draw_before_after(read_spec(folder / SPEC_FILE), cleaned, demo_trigger(), picture)
    console = Console()
    title = f"{result['method']}, preset {result['preset']}, {result['seconds']:.0f} s"
    console.print(comparison_table(title, result_rows(result)))
    console.print(f"Cleaned checkpoint: {cleaned}\nPicture: {picture}\nScreenshots: {output}")


def demo_script(window: MainWindow, output: Path, preset: str, bar: Progress) -> Iterator[Wait]:
    """The acts of the guided demo, for :class:`Scenario`."""
    from PySide6.QtWidgets import QWidget

    session, act = window.session, window.actions_.run
    stage = bar.add_task("Opening the checkpoint", total=100)
    asked_whole: Evaluation | None = None

    def shot(name: str) -> None:
        window.grab().save(str(output / f"{name}.png"))

    def measured(triggered: bool) -> bool:
        nonlocal asked_whole
        evaluation, images = session.evaluation, session.images
        if evaluation is None or images is None or evaluation.partial:
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
    bar.update(stage, completed=8, description="Looking at clean pictures")
    window.show_station("studio")
    yield Wait(lambda: measured(False), _EVALUATE_S, "the clean pictures were not measured")
    shot("2-studio-clean")
    bar.update(stage, completed=15, description="Putting the trigger on")
    act("trigger.demo")
    yield Wait(lambda: measured(True), _EVALUATE_S, "the triggered pictures were not measured")
    shot("3-studio-triggered")
    bar.update(stage, completed=18, description="Searching for a trigger that nobody named")
    window.show_station("scan")
    act("scan.set_demo")
    act("scan.start")

    def scanned() -> bool:
        return "scan" in session.jobs and session.jobs["scan"].status != "running"

    def stamped() -> bool:
        """Whether the found trigger is on pictures, with what the model says of them."""
        pictures = window.findChild(QWidget, "scan.stamped")
        return pictures is not None and bool(pictures.accessibleDescription())

    yield Wait(scanned, _SCAN_S, "the scan did not end")
    if session.jobs["scan"].status != "finished":
        raise RuntimeError("the scan ended without a result")
    if session.jobs["scan"].verdict == "found":
        yield Wait(stamped, _EVALUATE_S, "the found trigger was not put on pictures")
    shot("4-scan")
    window.show_station("clean")
    act(f"clean.set_{preset}")
    act("clean.start")
    shown = False

    def cleaned() -> bool:
        """Whether the run has ended; how far it is goes to the bar meanwhile."""
        nonlocal shown
        run, progress = session.run, session.run_progress
        if run is not None and is_live(run) and progress is not None:
            description = f"CleanCLIP: {progress.stage}"
            bar.update(stage, completed=25 + 65 * progress.fraction, description=description)
            if progress.stage == "train" and progress.fraction > 0.6 and not shown:
                shown = True
                shot("5-clean")
        return run is not None and not is_live(run)

    yield Wait(cleaned, _CLEAN_S, "the cleaning run did not end")
    if session.run is None or session.run.status != "finished":
        status = "" if session.run is None else session.run.error or session.run.status
        raise RuntimeError(f"the cleaning run ended as {status}")
    shot("6-compare")
    result = session.run.result
    shutil.copyfile(result["checkpoint"], output / "cleaned.safetensors")
    bar.update(stage, completed=92, description="Looking at the cleaned model")
    act("clean.try")
    yield Wait(lambda: session.cleaned is not None, _OPEN_S, "the cleaned checkpoint did not open")
    window.show_station("studio")

    def looked_at_again() -> bool:
        evaluation = session.evaluation
        sha256 = result["checkpoint_sha256"]
        return measured(True) and evaluation is not None and evaluation.checkpoint_sha256 == sha256

    yield Wait(looked_at_again, _EVALUATE_S, "the cleaned model was not measured")
    shot("7-studio-cleaned")
    bar.update(stage, completed=97, description="Adding up what can be claimed")
    window.show_station("report")
    claims = window.findChild(QWidget, "report.claims")
    assert claims is not None, "Report has a list of claims"
    yield Wait(
        lambda: claims.isVisible() and not tasks.is_busy(),
        _OPEN_S,
        "the report was not put together",
    )
    shot("8-report")
    bar.update(stage, completed=100, description="Done")


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
        yield Wait(_either(lambda: _at_rest(window), _SETTLE_S), _SETTLE_S + 10, "")
        entry.failures += failed
        failed.clear()
        if pictures is not None:
            save_picture(window, pictures / step_name(number + 1, step.title))
    if session.checkpoint is None:
        played[-1].failures.append("the demo did not open")


def _until_ready(window: MainWindow, step: Step, entry: Played) -> Iterator[Wait]:
    session = window.session
    limit = _CLEAN_S if step.run.endswith(".start") else _STEP_S

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
