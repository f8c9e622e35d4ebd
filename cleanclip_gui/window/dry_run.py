"""A talk without an audience: every step is played, timed and looked at for failures."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cleanclip_gui.jobs import tasks
from cleanclip_gui.talk.pictures import save_picture, step_name
from cleanclip_gui.talk.script import Scenario, Wait, measured
from cleanclip_gui.window.headless import quiet_context, set_first_size
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.station import Context
    from cleanclip_gui.talk.script import Step, Talk
    from cleanclip_gui.window.main_window import MainWindow

_STEP_S, _SETTLE_S, _ENABLED_S = 180.0, 60.0, 30.0
_SCREEN = {"name": "stage", "x": 0, "y": 0, "width": 1920, "height": 1080, "logicalDpi": 96,
           "logicalBaseDpi": 96, "dpr": 1.0}  # fmt: skip
_LONG: dict[str, float] = {"scan.start": 900.0, "clean.start": 3600.0}


@dataclass
class Played:
    """One step: how long it took, and what failed."""

    number: int
    title: str
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def run(
    make_window: Callable[[Context], MainWindow],
    talk: Talk,
    first: int = 0,
    pictures: Path | None = None,
) -> int:
    """Play a talk from a step on; returns the exit status: 0, or 4 if anything failed.

    A table of the steps goes to standard output; with ``pictures``, a PNG of each goes there.
    """
    from PySide6.QtCore import QEventLoop
    from PySide6.QtWidgets import QApplication

    from cleanclip_gui import theme

    logging.disable(logging.WARNING)
    console = Console()
    with TemporaryDirectory(prefix="cleanclip-talk-") as folder:
        screen = Path(folder, "screen.json")
        screen.write_text(json.dumps({"screens": [_SCREEN]}))
        os.environ.setdefault("QT_QPA_PLATFORM", f"offscreen:configfile={screen}")
        app = QApplication.instance() or QApplication([sys.argv[0]])
        assert isinstance(app, QApplication)
        theme.apply_theme(app, "light")
        window = make_window(quiet_context(Path(folder)))
        set_first_size(window)
        window.show()
        try:
            window.guide.set_talk(talk)
        except InputError as error:
            print(error.sentence, file=sys.stderr)
            window.close()
            return 2
        loop = QEventLoop()
        played = play(window, first, pictures, loop.exec, loop.quit)
        window.close()
    console.print(table_of(played, talk.title))
    slowest = max(played, key=lambda entry: entry.seconds, default=None)
    if slowest is not None:
        named = f"step {slowest.number}, {slowest.title}, {slowest.seconds:.1f} s"
        console.print(f"Slowest: {named}", markup=False)
    return 4 if any(entry.failures for entry in played) else 0


def play(
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
    scenario = Scenario(_script(window, first, pictures, played, failed))
    ended: list[Exception | None] = []

    def finish(error: Exception | None) -> None:
        ended.append(error)
        done()

    scenario.ended.connect(finish)
    try:
        scenario.start()
        if not ended:
            wait()
    finally:
        sys.excepthook = hook
        shell.failed.disconnect(on_failed)
    if ended[0] is not None:
        last = played[-1] if played else Played(first + 1, "Start")
        last.failures.append(str(ended[0]))
        played[:] = [*played[:-1], last] if played else [last]
    window.guide.end()
    return played


def _script(
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
    limit = _LONG.get(step.run, _STEP_S)

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
