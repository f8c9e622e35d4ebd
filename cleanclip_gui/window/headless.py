"""The guided demo without a display: the real window, drawn offscreen, from start to end."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cleanclip_gui.jobs import tasks
from cleanclip_gui.session.records import is_live
from cleanclip_gui.talk.script import Scenario, Wait

if TYPE_CHECKING:
    from cleanclip_gui.station import Context
    from cleanclip_gui.window.main_window import MainWindow
    from ml_core.evaluation.records import Evaluation

OUTPUT = Path("demo-output")
_WINDOW_SIZE = (1366, 768)
_OPEN_S, _EVALUATE_S, _SCAN_S, _CLEAN_S = 180.0, 180.0, 900.0, 3600.0


def run(
    make_window: Callable[[Context], MainWindow], output: Path = OUTPUT, preset: str = "default"
) -> int:
    """Open, trigger, measure, clean, measure again; files and screenshots go into ``output``.

    Returns the exit status: 0, or 4 with one sentence on standard error.
    """
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui import theme
    from ml_core.paths import cache_dir

    logging.disable(logging.WARNING)
    output.mkdir(parents=True, exist_ok=True)
    app = QApplication([sys.argv[0]])
    theme.apply_theme(app, "light")
    window = make_window(quiet_context(cache_dir() / "headless"))
    set_first_size(window)
    window.show()
    console = Console(stderr=True)
    failures: list[Exception] = []
    result: dict[str, Any] = {}
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        scenario = Scenario(demo_script(window, output, preset, bar))

        def finish(error: Exception | None) -> None:
            if error is not None:
                failures.append(error)
            if window.session.run is not None:
                result.update(window.session.run.result)
            window.close()
            app.quit()

        scenario.ended.connect(finish)
        scenario.start()
        app.exec()
    if failures:
        console.print(f"The demo stopped: {failures[0]}", style="red")
        return 4
    _report(result, output)
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
