# ruff: noqa: F811  (fixtures of another file are parameters here)
"""Earlier runs are looked at, sorted and deleted while one works; ending one loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu

from cleanclip_gui.clean import run as run_module
from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.runs.runs_table import ACCURACY, RUN, STARTED
from cleanclip_gui.clean.station import CleanStation
from ml_core.events import Done, Metric, Progress, Saved, to_json
from ml_core.jobs.journal import add_last_word
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger
from tests.gui.fakes import runner_of
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, write_state
from tests.gui.test_clean_bench import (  # noqa: F401
    all_read,
    click,
    end,
    history,
    panel,
    session,
    shown,
)

DAY = 86_400.0


def names(panel: CleanStation) -> list[str]:
    return [run.folder.name for run in panel.runs.table.runs.runs]


def three_runs(parent: Path) -> list[Path]:
    """The best accuracy in the middle; the last one has no result."""
    begun = 1_790_000_000.0
    return [
        write_run(parent, "old", begun=begun, dip=0.2),
        write_run(parent, "middle", begun=begun + DAY, dip=0.0),
        write_run(
            parent, "new", begun=begun + 2 * DAY, end=Done("failed", {}, "It broke.", "usage")
        ),
    ]


def test_an_older_result_is_shown_while_a_run_works(
    qtbot, panel: CleanStation, session, tmp_path: Path
) -> None:
    old = write_run(tmp_path / "runs", "old", checkpoint=tmp_path / "runs" / "poisoned.safetensors")
    panel.start()
    runner = runner_of(panel)
    live = runner.spec_path.parent
    runner.event_received.emit(Metric(1, 9, {"loss": 7.0}))
    history(qtbot, panel)
    panel.runs.table.choose(old)
    assert panel.runs.open_.isEnabled()
    click(panel.runs.open_)
    all_read(qtbot, panel)
    assert panel.tabs.currentIndex() == 0
    assert panel.before_after.isVisible()
    assert panel.run.folder == old
    assert len(panel.charts.losses.series("loss")) == 100
    # The run bar is of the run at work, and its numbers do not get into the other's charts.
    assert panel.run_bar.title.text() == "CleanCLIP, quick is running"
    assert session.run.status == "running"
    assert panel.run_bar.cancel.isVisible()
    runner.event_received.emit(Metric(2, 9, {"loss": 6.0}))
    assert len(panel.charts.losses.series("loss")) == 100
    assert panel.earlier_text.text() == "An earlier run is shown; another one is running."
    # Back at the run at work, all that it has told is there.
    (live / "events.jsonl").write_text(
        "".join(to_json(Metric(step, 9, {"loss": 8.0 - step})) + "\n" for step in (1, 2))
    )
    click(panel.newest_button)
    runner.event_received.emit(Metric(3, 9, {"loss": 5.0}))  # while they are read
    all_read(qtbot, panel)
    assert panel.earlier_card.isHidden()
    assert panel.run.folder == live
    losses = panel.charts.losses.series("loss")
    assert [losses.point(place) for place in range(len(losses))] == [(1, 7), (2, 6), (3, 5)]


def test_a_run_that_ends_unseen_leaves_what_is_looked_at(
    qtbot, panel: CleanStation, session, tmp_path: Path
) -> None:
    old = write_run(tmp_path / "runs", "old", checkpoint=tmp_path / "runs" / "poisoned.safetensors")
    panel.start()
    live = runner_of(panel).spec_path.parent
    panel.runs.open_run(read_run(old))
    all_read(qtbot, panel)
    said = panel.before_after.sentence()
    end(panel, tmp_path)
    assert panel.before_after.sentence() == said
    assert panel.run.folder == old
    assert session.run.output_dir == str(live)
    assert session.run.status == "finished"
    assert panel.earlier_text.text() == "An earlier run is shown; the last one has ended."
    click(panel.newest_button)
    all_read(qtbot, panel)
    assert panel.before_after.sentence() != said
    assert panel.run.has_result
    assert panel.earlier_card.isHidden()


def test_the_run_at_work_is_shown_from_the_table_as_well(
    qtbot, panel: CleanStation, tmp_path: Path
) -> None:
    old = write_run(tmp_path / "runs", "old")
    panel.start()
    live = runner_of(panel).spec_path.parent
    (live / "events.jsonl").write_text("")
    panel.runs.open_run(read_run(old))
    history(qtbot, panel)
    panel.runs.table.choose(live)
    click(panel.runs.open_)
    all_read(qtbot, panel)
    assert panel.run.folder == live
    assert panel.run.is_running


def test_the_history_is_sorted_by_a_click_on_a_title(
    qtbot, panel: CleanStation, tmp_path: Path
) -> None:
    three_runs(tmp_path / "runs")
    history(qtbot, panel)
    assert names(panel) == ["new", "middle", "old"]
    table = panel.runs.table
    table.choose(tmp_path / "runs" / "old")
    table.sortByColumn(STARTED, Qt.SortOrder.AscendingOrder)
    assert names(panel) == ["old", "middle", "new"]
    assert table.chosen.folder.name == "old"
    for order in (Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder):
        table.sortByColumn(ACCURACY, order)
        assert names(panel)[-1] == "new"  # without a number, last either way
        accuracies = [run.result["after"]["ca"] for run in table.runs.runs[:2]]
        assert accuracies == sorted(accuracies, reverse=order == Qt.SortOrder.DescendingOrder)
    panel.start()  # the run at work is first, however they are sorted
    assert shown(panel)[0][1] == "running"
    table.sortByColumn(RUN, Qt.SortOrder.AscendingOrder)
    assert shown(panel)[0][1] == "running"


def test_a_deleted_run_is_in_the_trash(
    qtbot, panel: CleanStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    parent = tmp_path / "runs"
    old, middle, _ = three_runs(parent)
    history(qtbot, panel)
    table = panel.runs.table
    table.choose(middle)
    click(panel.runs.open_)
    all_read(qtbot, panel)
    panel.show_page(1)
    QTest.keyClick(table, Qt.Key.Key_Delete)
    assert names(panel) == ["new", "old"]
    assert not middle.exists()
    assert not panel.run.has_result  # nothing of it is on show
    assert panel.result_card.isHidden()
    assert "Moved CleanCLIP, custom of" in panel.runs.message.text()
    assert (tmp_path / "Trash" / "files" / "middle" / "result.json").is_file()
    refused: list[InputError] = []
    panel.shell.failed.connect(refused.append)
    monkeypatch.setattr("cleanclip_gui.clean.runs.page.at_work", lambda folder: folder == old)
    table.choose(old)
    click(panel.runs.delete)
    assert old.is_dir()
    assert "Another process is using old" in refused[0].sentence


def test_neither_the_run_at_work_nor_one_of_another_place_is_deleted(
    qtbot, panel: CleanStation, tmp_path: Path
) -> None:
    elsewhere = write_run(tmp_path / "cluster", "one")
    panel.runs.open_folder(elsewhere)
    panel.runs.delete_run(panel.runs.table.chosen)
    assert elsewhere.is_dir()
    assert names(panel) == []
    panel.start()
    live = runner_of(panel).spec_path.parent
    panel.runs.table.choose(live)
    assert not panel.runs.delete.isEnabled()
    panel.runs.delete_run(panel.runs.table.chosen)
    assert live.is_dir()
    runner_of(panel).end(Done("cancelled"))
    assert panel.runs.delete.isEnabled()


def test_the_right_button_offers_what_can_be_done(
    qtbot, panel: CleanStation, tmp_path: Path
) -> None:
    old, *_ = three_runs(tmp_path / "runs")
    history(qtbot, panel)
    panel.runs.table.choose(old)
    panel.runs.table.menu_wanted.emit(panel.mapToGlobal(panel.rect().center()))
    menu = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMenu) and w.isVisible())
    texts = [action.text() for action in menu.actions() if action.text()]
    assert texts == [
        "Show", "Repeat", "Duplicate", "Rename", "Open the folder",
        "Delete",
    ]  # fmt: skip
    next(action for action in menu.actions() if action.text() == "Show").trigger()
    assert panel.run.folder == old
    menu.close()
    all_read(qtbot, panel)


def test_cancel_asks_when_minutes_would_be_lost_and_pauses_the_queue(
    panel: CleanStation, monkeypatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    answers = Answers(yes=False)
    answers.take_over(panel.context.prompts)
    panel.start()
    panel.start()
    runner = runner_of(panel)
    now[0] += 300
    panel.run_bar.cancel.click()
    assert answers.asked == [
        "About 5 minutes of work since the last save would be lost. “Stop and save” keeps it."
    ]
    assert runner.told == ["launch"]
    runner.event_received.emit(Saved("state", "resume", 5))
    now[0] += 30
    panel.run_bar.cancel.click()
    assert len(answers.asked) == 1  # half a minute is nothing to ask about
    runner.end(Done("cancelled"))
    assert not panel.run.is_running  # the one that waits does not begin by itself
    assert panel.queue.can_start
    assert panel.log_line.text() == (
        "Cancelled. The queue is paused: “Start the queue” begins 1 run."
    )
    panel.start_queue()
    assert panel.run.is_running
    runner_of(panel).end(Done("finished", {}))


def test_what_is_no_longer_true_goes(panel: CleanStation, tmp_path: Path) -> None:
    old = write_run(tmp_path / "runs", "old", end=Done("cancelled"))
    write_state(old, step=2)
    panel.runs.note_run(old)
    panel.start()
    runner = runner_of(panel)
    runner.line_logged.emit("Cancelling.")
    panel.runs.table.choose(old)
    panel.runs.resume.click()
    assert panel.runs.message.text().startswith("Another run is in progress")
    runner.end(Done("cancelled"))
    assert panel.runs.message.text() == ""
    assert panel.log_line.text() == ""


@pytest.mark.usefixtures("styled")
def test_nothing_below_the_run_bar_moves_when_a_run_begins_or_ends(
    panel: CleanStation,
) -> None:
    def places() -> tuple[int, ...]:
        QApplication.processEvents()
        return panel.run_bar.height(), panel.head.y(), panel.runs.name.y(), panel.start_button.y()

    panel.show_page(1)
    idle = places()
    panel.start()
    assert places() == idle
    runner = runner_of(panel)
    runner.event_received.emit(Progress("train", 3, 9, 250.0))
    runner.line_logged.emit("A line of a library.")
    assert places() == idle
    runner.end(Done("cancelled"))
    assert places() == idle


def test_a_cancelled_run_has_a_last_word_whatever_it_was_doing(tmp_path: Path) -> None:
    """Its process was killed in the middle of a line, or before it wrote one."""
    folder = write_run(tmp_path, "cut", end=Done("failed", {}, "", "killed"))
    journal = folder / "events.jsonl"
    with open(journal, "a") as file:
        file.write('{"event": "progr')
    assert read_run(folder).status == "interrupted"
    add_last_word(journal, Done("cancelled"))
    assert read_run(folder).status == "cancelled"
    early = write_run(tmp_path, "early", started=False)
    add_last_word(early / "events.jsonl", Done("cancelled"))
    assert read_run(early).status == "cancelled"
    os.mkdir(tmp_path / "events.jsonl")
    add_last_word(tmp_path / "events.jsonl", Done("cancelled"))  # cannot be written: no matter


def test_a_resumed_run_brings_its_trigger_and_target_along(
    panel: CleanStation, session, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "runs", "cut", end=Done("failed", {}, "", "killed"))
    write_state(folder, step=40)
    session.trigger, session.target = None, 0
    panel.runs.note_run(folder)
    panel.runs.table.choose(folder)
    click(panel.runs.resume)
    assert panel.run.is_running
    assert (session.trigger, session.target) == (demo_trigger(), 1)
    assert "will not be measured" not in panel.hint.text()


def test_the_history_needs_no_checkpoint(qtbot, panel: CleanStation, session, tmp_path) -> None:
    old = write_run(tmp_path / "runs", "old")
    session.checkpoint = None
    assert panel.is_available()
    assert panel.hint.text() == "Open a checkpoint first: it is what will be cleaned."
    assert not panel.start_button.isEnabled()
    history(qtbot, panel)
    panel.runs.open_run(read_run(old))
    all_read(qtbot, panel)
    assert panel.before_after.isVisible()
