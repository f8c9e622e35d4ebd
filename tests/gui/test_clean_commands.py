"""The commands of the Clean menu in the whole window: what they read, and what they show."""

# ruff: noqa: F811

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from ml_core.events import Done
from ml_core.jobs.specs import read_spec
from tests.gui.fakes import FakeRunner
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_safetensors
from tests.gui.test_resuming import WAIT, make_window, store  # noqa: F401


@pytest.fixture
def window(qtbot, make_window, tmp_path):
    made = make_window()
    made.stations["clean"].output.setText(str(tmp_path / "runs"))
    open_file(qtbot, made, tmp_path / "poisoned.safetensors")
    made.show_station("clean")
    return made


def open_file(qtbot, window, path):
    if not path.exists():
        write_safetensors(path, {"a": [1.0, 2.0]})
    window.open_path(str(path))
    qtbot.waitUntil(
        lambda: opened(window) == path and window.session.images is not None, timeout=WAIT
    )


def opened(window):
    facts = window.session.checkpoint
    return None if facts is None else Path(facts.path)


def runner_of(window):
    runner = window.stations["clean"].run.runner
    assert isinstance(runner, FakeRunner)
    return runner


def test_a_shortcut_reads_the_number_that_is_being_typed(window):
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


def test_a_run_started_in_studio_is_shown(window):
    window.show_station("studio")
    QTest.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert window.stations["clean"].run.is_running
    assert window.station == "clean"
    assert not window.actions_.by_id["clean.start"].autoRepeat()
    runner_of(window).end(Done("cancelled"))


def test_a_closed_window_starts_nothing_that_waits(window, tmp_path):
    clean = window.stations["clean"]
    clean.estimate()
    runner = runner_of(window)
    clean.queue.add(write_run(tmp_path / "runs", "waits", started=False))
    assert len(clean.queue) == 1
    window.close()
    runner.end(Done("cancelled"))
    assert not clean.run.is_running
    assert len(clean.queue) == 1
