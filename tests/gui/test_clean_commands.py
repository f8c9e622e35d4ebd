"""The commands of the Clean menu in the whole window: what they read, and what they show."""

# ruff: noqa: F811

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.window.main_window import MainWindow
from ml_core.events import Done
from ml_core.jobs.specs import read_spec
from tests.gui.fakes import FakeRunner, result_of
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, write_safetensors
from tests.gui.test_resuming import WAIT, make_window, store  # noqa: F401


@pytest.fixture
def window(qtbot, make_window, tmp_path: Path) -> MainWindow:
    made = make_window()
    made.stations["clean"].output.setText(str(tmp_path / "runs"))
    open_file(qtbot, made, tmp_path / "poisoned.safetensors")
    made.show_station("clean")
    return made


def open_file(qtbot, window: MainWindow, path: Path) -> None:
    if not path.exists():
        write_safetensors(path, {"a": [1.0, 2.0]})
    window.open_path(str(path))
    qtbot.waitUntil(
        lambda: opened(window) == path and window.session.images is not None, timeout=WAIT
    )


def opened(window: MainWindow) -> Path | None:
    facts = window.session.checkpoint
    return None if facts is None else Path(facts.path)


def runner_of(window: MainWindow) -> FakeRunner:
    runner = window.stations["clean"].run.runner
    assert isinstance(runner, FakeRunner)
    return runner


def can(window: MainWindow, *names: str) -> list[bool]:
    return [window.actions_.by_id[f"clean.{name}"].isEnabled() for name in names]


def test_a_shortcut_reads_the_number_that_is_being_typed(window: MainWindow) -> None:
    box = window.stations["clean"].form.row("epochs").editor
    box.setFocus()
    box.selectAll()
    QTest.keyClicks(box, "3")
    QTest.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert read_spec(runner_of(window).spec_path).recipe.epochs == 3
    runner_of(window).end(Done("cancelled"))
    box.selectAll()
    QTest.keyClicks(box, "4")
    QTest.keyClick(box, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    assert read_spec(runner_of(window).spec_path).recipe.epochs == 4
    runner_of(window).end(Done("cancelled"))


def test_a_run_started_in_studio_is_shown(window: MainWindow) -> None:
    window.show_station("studio")
    QTest.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert window.stations["clean"].run.is_running
    assert window.station == "clean"
    assert not window.actions_.by_id["clean.start"].autoRepeat()
    runner_of(window).end(Done("cancelled"))


def test_what_was_cleaned_can_be_saved_while_it_is_on_show(
    qtbot, window: MainWindow, tmp_path: Path
) -> None:
    cleaned = tmp_path / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned weights")
    assert can(window, "save", "try") == [False, False]
    window.stations["clean"].start()
    runner_of(window).end(Done("finished", result_of(cleaned)))
    assert can(window, "save", "try") == [True, True]
    open_file(qtbot, window, tmp_path / "other.safetensors")
    assert can(window, "save", "try") == [False, False]
    open_file(qtbot, window, tmp_path / "poisoned.safetensors")
    assert can(window, "save", "try") == [True, True]
    window.stations["clean"].context.prompts.save_file = lambda *_: str(
        tmp_path / "mine.safetensors"
    )
    window.actions_.by_id["clean.save"].trigger()
    qtbot.waitUntil(lambda: (tmp_path / "mine.safetensors").is_file(), timeout=WAIT)
    qtbot.waitUntil(window.stations["clean"].save_button.isEnabled, timeout=WAIT)


def test_every_chart_asks_through_the_window_s_prompts(make_window) -> None:
    answers = Answers()
    clean = make_window(answers).stations["clean"]
    charts = (
        *clean.charts.all(), clean.runs.tradeoff, clean.runs.curves, clean.proof.rebound.chart,
    )  # fmt: skip
    for chart in charts:
        chart.save_as(".png")
    assert answers.asked == ["Save chart"] * len(charts)


def test_buttons_show_their_commands(window: MainWindow) -> None:
    clean = window.stations["clean"]
    actions = window.actions_
    buttons = {
        "start": clean.start_button, "estimate": clean.estimate_button, "try": clean.try_button,
        "save": clean.save_button, "audit": clean.setup.audit_button,
        "resume_folder": clean.setup.resume_other, "rebound": clean.proof.rebound_button,
        "holdouts": clean.proof.holdouts_button, "pause": clean.run_bar.pause,
        "stop": clean.run_bar.stop, "cancel": clean.run_bar.cancel,
        "start_queue": clean.runs.start_queue,
    }  # fmt: skip
    for step in ("idle", "running", "cancelling"):
        for name, button in buttons.items():
            action = actions[f"clean.{name}"]
            assert button.text(), name
            assert button.toolTip() == action.toolTip(), (step, name)
            assert button.isEnabled() == action.isEnabled(), (step, name)
        assert buttons["start_queue"].text() == "Start the queue"  # so the log calls it
        if step == "idle":
            assert buttons["start"].toolTip().endswith("(Ctrl+Return)")
            buttons["start"].click()
        elif step == "running":
            assert buttons["pause"].isEnabled()
            assert buttons["estimate"].toolTip().startswith("Another job is running")
            buttons["cancel"].click()
            assert not buttons["cancel"].isEnabled()
    runner_of(window).end(Done("cancelled"))


def test_a_closed_window_starts_nothing_that_waits(window: MainWindow, tmp_path: Path) -> None:
    clean = window.stations["clean"]
    clean.estimate()
    runner = runner_of(window)
    clean.queue.add(write_run(tmp_path / "runs", "waits", started=False))
    assert len(clean.queue) == 1
    window.close()
    runner.end(Done("cancelled"))
    assert not clean.run.is_running
    assert len(clean.queue) == 1
