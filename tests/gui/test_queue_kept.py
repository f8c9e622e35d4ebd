"""The queue survives the window: shown again in its order, held, begun with one click."""

# ruff: noqa: F811

import os

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui.clean.queue import QUEUE_FILE, read_queue, write_queue
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Metric
from ml_core.jobs.specs import CleanSpec, write_spec
from ml_core.paths import data_dir
from tests.gui.shell_fakes import write_journal
from tests.gui.test_resuming import make_window, store  # noqa: F401
from tests.unit.small_jobs import small_recipe


def job(tmp_path, name):
    """A written job that nobody has begun."""
    folder = tmp_path / "runs" / name
    spec = CleanSpec(
        checkpoint=str(tmp_path / "m.safetensors"), recipe=small_recipe(), pairs=PairSpec(),
        output_dir=str(folder), device="cpu",
    )  # fmt: skip
    write_spec(spec, folder / "spec.json")
    return folder


def test_the_queue_comes_back_held_and_begins_at_a_click(make_window, tmp_path):
    first, second, third, lost = (job(tmp_path, name) for name in ("a", "b", "c", "lost"))
    window = make_window()
    clean = window.stations["clean"]
    assert len(clean.queue) == 0
    clean.queue.hold(True)
    for folder in (first, second, third, lost):
        clean.queue.add(folder)
    clean.queue.move(third, -1)
    window.close()
    (lost / "spec.json").write_text("{")

    again = make_window().stations["clean"]
    assert again.queue.folders == (first, third, second)
    assert again.queue.held
    assert not again.run.is_running
    assert again.tabs.tabText(1) == "Queue and history, 3 paused"
    assert [run.status for run in again.runs.runs] == ["waiting"] * 3
    assert again.runs.message.text() == "1 job of the queue cannot be read and will not run: lost."
    window = again.window()
    assert "3 runs left in the queue from last time: press “Start the queue”." in window.log.text()
    assert window.actions_.by_id["view.clean"].isEnabled()  # without a checkpoint
    assert window.actions_.by_id["clean.start_queue"].isEnabled()
    window.show_station("clean")
    again.show_page(1)
    assert again.runs.start_queue.isVisible()
    QTest.mouseClick(again.runs.start_queue, Qt.MouseButton.LeftButton)
    assert again.run.runner is not None
    assert again.run.runner.spec_path.parent == first
    assert not again.runs.start_queue.isVisible()
    # What is at work waits no more, in no window.
    assert read_queue(data_dir() / QUEUE_FILE) == ((third, second), "")
    again.run.runner.end(Done("cancelled"))
    assert again.run.runner.spec_path.parent == third
    again.queue.hold(True)
    again.run.runner.end(Done("cancelled"))


def test_a_damaged_queue_is_one_sentence(tmp_path):
    path = tmp_path / QUEUE_FILE
    assert read_queue(path) == ((), "")
    for text in ("", "[]", "{", '{"folders": 5}', '{"folders": [5]}', "{}", "\x00"):
        path.write_text(text)
        folders, sentence = read_queue(path)
        assert folders == ()
        assert sentence.startswith("The saved queue cannot be read: start its runs")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_the_queue_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / QUEUE_FILE)
    folders, sentence = read_queue(tmp_path / QUEUE_FILE)
    assert folders == ()
    assert sentence.startswith("The saved queue cannot be read")


def test_what_was_begun_since_does_not_wait(tmp_path):
    waits, begun = job(tmp_path, "waits"), job(tmp_path, "begun")
    write_journal(begun, [Metric(1, 9, {"loss": 1.0})])
    write_queue(tmp_path / QUEUE_FILE, [begun, waits, waits])
    assert read_queue(tmp_path / QUEUE_FILE) == ((waits,), "")


def test_what_another_window_began_is_not_run_twice(make_window, tmp_path):
    first, gone, last = (job(tmp_path, name) for name in ("first", "gone", "last"))
    clean = make_window().stations["clean"]
    clean.queue.hold(True)
    for folder in (first, gone, last):
        clean.queue.add(folder)
    write_journal(first, [Metric(1, 9, {"loss": 1.0})])
    write_journal(gone, [Metric(1, 9, {"loss": 1.0})])
    clean.start_queue()
    assert clean.run.runner is not None
    assert clean.run.runner.spec_path.parent == last
    assert read_queue(data_dir() / QUEUE_FILE) == ((), "")
    clean.run.runner.end(Done("cancelled"))
