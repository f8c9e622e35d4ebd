"""Queue, history and comparison in the Clean station, also while another run is at work."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu

from cleanclip_gui.clean import run as run_module
from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.runs.runs_table import ACCURACY, CHECKPOINT, RUN, STARTED
from cleanclip_gui.clean.setup import missing_reference
from cleanclip_gui.inference.questions import OpenCheckpoint
from ml_core.cleaning.catalogue import FACTS, MethodFacts
from ml_core.events import Done, Metric, Saved
from ml_core.jobs.journal import add_last_word
from ml_core.jobs.specs import read_spec
from ml_core.triggers import demo_trigger
from tests.gui.factories import facts
from tests.gui.fakes import (
    close,
    columns_out_of_reach,
    drop,
    open_session,
    result_of,
    runner_of,
    station,
)
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, write_journal, write_state


@pytest.fixture
def session(tmp_path):
    (tmp_path / "runs").mkdir()
    return open_session(tmp_path / "runs")


@pytest.fixture
def panel(qtbot, session, tmp_path):
    made = station(qtbot, session, tmp_path)
    made.resize(1262, 640)
    yield made
    close(made)


def end(panel, tmp_path):
    runner = runner_of(panel)
    cleaned = runner.spec_path.parent / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned")
    source = read_spec(runner.spec_path).checkpoint
    runner.end(Done("finished", result_of(cleaned) | {"source": source}))


def shown(panel):
    return [(run.folder.name, run.status) for run in panel.runs.table.rows.runs]


def history(qtbot, panel):
    panel.show_page(1)
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=8000)


def all_read(qtbot, panel):
    qtbot.waitUntil(lambda: not (panel.runs.is_reading or panel.run.is_reading), timeout=8000)


def click(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_a_second_start_waits_its_turn(panel, session, tmp_path):
    for seed in (1, 2, 3):
        panel.form.row("seed").editor.setValue(seed)
        click(panel.start_button)
    assert panel.tabs.tabText(1) == "Queue and history, 2 waiting"
    second, third = panel.queue.folders
    assert [status for _, status in shown(panel)] == ["running", "waiting", "waiting"]
    titles = [run.title for run in panel.runs.runs]
    assert titles == [f"#{seed} Stamped finetuning, quick, seed {seed}" for seed in (1, 2, 3)]
    assert panel.logged[-1] == f"{titles[2]} waits in the queue (2 runs)."
    panel.show_page(1)
    panel.runs.table.choose(third)
    click(panel.runs.up)
    assert panel.queue.folders == (third, second)
    end(panel, tmp_path)
    assert runner_of(panel).spec_path == third / "spec.json"
    assert panel.queue.folders == (second,)  # one at a time
    assert read_spec(third / "spec.json").recipe.seed == 3
    assert session.run.output_dir == str(third)
    panel.runs.table.choose(second)
    click(panel.runs.remove)
    assert panel.queue.folders == ()
    assert "not started" in [status for _, status in shown(panel)]
    end(panel, tmp_path)
    assert not panel.run.is_running
    panel.runs.table.choose(second)
    click(panel.runs.start)
    assert runner_of(panel).spec_path == second / "spec.json"
    end(panel, tmp_path)


def test_history_survives_the_window_and_repeats(qtbot, panel, tmp_path):
    runs = tmp_path / "runs"
    older = write_run(runs, "older", begun=1000.0, seed=7, lr=3e-3)
    write_run(runs, "newer", begun=2000.0, method="supervised")
    history(qtbot, panel)
    assert shown(panel) == [("newer", "finished"), ("older", "finished")]
    panel.runs.table.choose(older)
    spec = read_spec(older / "spec.json")
    with qtbot.waitSignal(panel.runs.repeated) as blocker:
        click(panel.runs.repeat)
    assert blocker.args[0] == spec
    assert panel.form.recipe() == spec.recipe
    assert panel.setup.keep_steps.isChecked()


def test_a_killed_run_is_interrupted_on_its_page_and_in_the_history(qtbot, panel, session):
    """One word, and the way on, now and after the window was closed."""
    panel.start()
    runner = runner_of(panel)
    folder = runner.spec_path.parent
    write_journal(folder, [Metric(1, 9, {"loss": 1.0})])
    write_state(folder, step=1)
    killed = "Killed by SIGKILL, probably out of memory."
    runner.end(Done("failed", {}, killed, "killed", "last line"))
    on = "“Resume” continues from the last save."
    assert panel.trouble_text.text() == f"Interrupted: {killed} {on}"
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.details_button.click()
    assert blocker.args[0].details == "last line"
    assert panel.run_bar.title.text().endswith(": interrupted")
    assert (session.run.status, session.run.error) == ("interrupted", killed)
    assert "interrupted" in [status for _, status in shown(panel)]
    history(qtbot, panel)
    panel.run.forget(folder)  # nothing of it is on show
    assert panel.trouble_card.isHidden()
    panel.runs.table.choose(folder)
    click(panel.runs.open_)
    assert panel.tabs.currentIndex() == 0
    assert panel.trouble_text.text() == f"The run was interrupted. {on}"
    assert not panel.details_button.isVisible()  # there are none
    click(panel.resume_button)
    again = runner_of(panel)
    assert (again.mode, again.spec_path.parent) == ("resume", folder)
    again.end(Done("failed", {}, killed, "killed"))
    click(panel.halve_button)
    batches = [read_spec(one.spec_path).recipe.batch_size for one in (again, runner_of(panel))]
    assert batches[0] == 2 * batches[1]
    runner_of(panel).end(Done("failed", {}, "The loss diverged.", "usage"))
    assert not panel.halve_button.isVisible()


def test_a_point_opens_its_checkpoint(qtbot, panel, session, tmp_path):
    kept = write_run(tmp_path / "runs", "kept")
    bare = write_run(tmp_path / "runs", "bare", kept=False)
    history(qtbot, panel)
    for folder in (kept, bare):
        panel.runs.compare(folder, True)
    all_read(qtbot, panel)
    panel.show_page(2)
    chart = panel.runs.tradeoff
    chart.setFocus()
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_Return):
        QTest.keyClick(chart, key)
    request = panel.context.inference.questions[-1]
    assert isinstance(request, OpenCheckpoint)
    assert request.path == str(kept / "steps" / "step-000020.safetensors")
    QTest.keyClick(chart, Qt.Key.Key_Down)
    QTest.keyClick(chart, Qt.Key.Key_Return)
    assert "was kept" in panel.runs.comparison.message.text()
    assert panel.runs.comparison.message.isVisible()
    session.role = "cleaned"
    for key in (Qt.Key.Key_Home, Qt.Key.Key_Return):
        QTest.keyClick(chart, key)
    # The first run's step 0 was kept; the other's is the suspect itself.
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(facts(kept / "steps" / "step-000000.safetensors"))
    QTest.keyClick(chart, Qt.Key.Key_Down)
    with qtbot.waitSignal(panel.shell.station_wanted):
        QTest.keyClick(chart, Qt.Key.Key_Return)
    assert session.role == "suspect"


def test_results_of_another_place_are_opened(qtbot, panel, tmp_path):
    away = write_run(tmp_path / "cluster", "job-7")
    history(qtbot, panel)
    panel.context.prompts.open_folder = lambda *_: str(away)
    click(panel.runs.add_folder)
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=8000)
    assert shown(panel) == [("job-7", "finished")]
    panel.context.prompts.open_folder = lambda *_: str(tmp_path)
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        click(panel.runs.add_folder)
    assert "holds no spec.json" in blocker.args[0].sentence


def test_recipes_are_saved_opened_and_dropped(qtbot, panel, tmp_path):
    panel.form.set_method("mmcl")
    panel.form.row("seed").editor.setValue(11)
    wanted = panel.form.recipe()
    path = tmp_path / "mine.json"
    panel.context.prompts.save_file = panel.context.prompts.open_file = lambda *_: str(path)
    click(panel.setup.save_recipe)
    for take in (lambda: click(panel.setup.open_recipe), lambda: drop(panel.setup, path)):
        panel.form.set_method("cleanclip")
        take()
        assert panel.form.recipe() == wanted
    path.write_text("{}")
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        click(panel.setup.open_recipe)
    assert "mine.json is not a recipe file" in blocker.args[0].sentence


def test_what_a_method_needs_is_said(session, tmp_path):
    method = MethodFacts("Blend", "h", "s", data="none", needs=frozenset({"reference"}))
    session.checkpoint = facts(session.checkpoint.path)
    for reference, words in (
        (str(tmp_path / "gone"), "There is no reference at"),
        (session.checkpoint.path, "is the checkpoint that is being cleaned"),
    ):
        assert words in missing_reference(method, session, reference)


def test_start_waits_for_what_is_missing(panel, session, monkeypatch):
    needs = replace(FACTS["mmcl"], needs=frozenset({"reference"}))
    monkeypatch.setitem(FACTS, "mmcl", needs)
    panel.form.set_method("mmcl")
    assert not panel.start_button.isEnabled()
    assert "choose a reference" in panel.hint.text()
    reference = Path(session.checkpoint.path).with_name("clean.safetensors")
    reference.write_bytes(b"w")
    assert drop(panel.setup.reference, reference)
    assert panel.start_button.isEnabled()
    panel.start()
    assert read_spec(runner_of(panel).spec_path).reference == str(reference)


DAY = 86_400.0


def names(panel):
    return [run.folder.name for run in panel.runs.table.rows.runs]


def three_runs(parent):
    """The best accuracy in the middle; the last one has no result."""
    begun = 1_790_000_000.0
    return [
        write_run(parent, "old", begun=begun, dip=0.2),
        write_run(parent, "middle", begun=begun + DAY, dip=0.0),
        write_run(
            parent, "new", begun=begun + 2 * DAY, end=Done("failed", {}, "It broke.", "usage")
        ),
    ]


def test_an_older_result_is_shown_while_a_run_works(qtbot, panel, session, tmp_path):
    old = write_run(tmp_path / "runs", "old", checkpoint=tmp_path / "runs" / "poisoned.safetensors")
    panel.start()
    runner = runner_of(panel)
    live = runner.spec_path.parent
    runner.event_received.emit(Metric(1, 9, {"loss": 7.0}))
    history(qtbot, panel)
    panel.runs.table.choose(old)
    click(panel.runs.open_)
    all_read(qtbot, panel)
    assert panel.before_after.isVisible()
    assert panel.run.on_show.folder == old
    # The run bar is of the run at work, and its numbers do not get into the other's charts.
    assert panel.run_bar.title.text() == "#1 Stamped finetuning, quick: running"
    assert session.run.status == "running"
    runner.event_received.emit(Metric(2, 9, {"loss": 6.0}))
    losses = panel.charts.losses.series("loss")
    assert len(losses) == 100
    assert panel.earlier_text.text() == "An earlier run is shown; another one is running."
    # Back at the run at work, all that it has told is there.
    write_journal(live, [Metric(step, 9, {"loss": 8.0 - step}) for step in (1, 2)])
    click(panel.newest_button)
    runner.event_received.emit(Metric(3, 9, {"loss": 5.0}))  # while they are read
    all_read(qtbot, panel)
    assert panel.run.on_show.folder == live
    losses = panel.charts.losses.series("loss")
    assert [losses.point(place) for place in range(len(losses))] == [(1, 7), (2, 6), (3, 5)]
    panel.runs.open_run(read_run(old))
    all_read(qtbot, panel)
    end(panel, tmp_path)
    assert panel.run.on_show.folder == old
    assert (session.run.output_dir, session.run.status) == (str(live), "finished")
    assert panel.earlier_text.text() == "An earlier run is shown; the last one has ended."
    click(panel.newest_button)
    all_read(qtbot, panel)
    assert (panel.run.on_show.folder, panel.run.has_result) == (live, True)
    assert panel.earlier_card.isHidden()


def test_after_a_run_nothing_is_left_of_what_went_before(qtbot, panel, session, tmp_path):
    """Who cancels a run sees that run, and no line tells of work that is over."""
    old = write_run(tmp_path / "runs", "old", checkpoint=tmp_path / "runs" / "poisoned.safetensors")
    panel.start()
    runner = runner_of(panel)
    panel.runs.open_run(read_run(old))
    all_read(qtbot, panel)
    assert panel.result_card.isVisible()
    with qtbot.waitSignal(panel.shell.job_logged) as blocker:
        runner.line_logged.emit("a line of a library")
    assert blocker.args == ["a line of a library"]
    runner.end(Done("cancelled"))
    assert panel.run_bar.title.text() == "#1 Stamped finetuning, quick: cancelled"
    assert panel.result_card.isHidden()
    assert panel.proof_card.isHidden()
    assert panel.trouble_card.isVisible()
    panel.start()
    runner_of(panel).event_received.emit(Saved("run/result.json", "result", 5))
    panel.run_bar.pause.setFocus()
    end(panel, tmp_path)
    assert panel.try_button.hasFocus()  # Pause is gone; what comes next is at hand
    assert panel.scroll_area.verticalScrollBar().value() == 0


def test_the_history_is_sorted_by_a_click_on_a_title(qtbot, panel, tmp_path):
    three_runs(tmp_path / "runs")
    history(qtbot, panel)
    assert names(panel) == ["new", "middle", "old"]
    table = panel.runs.table
    table.choose(tmp_path / "runs" / "old")
    table.sortByColumn(STARTED, Qt.SortOrder.AscendingOrder)
    assert names(panel) == ["old", "middle", "new"]
    assert table.run.folder.name == "old"
    for order in (Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder):
        table.sortByColumn(ACCURACY, order)
        assert names(panel)[-1] == "new"  # without a number, last either way
        accuracies = [run.result["after"]["ca"] for run in table.rows.runs[:2]]
        assert accuracies == sorted(accuracies, reverse=order == Qt.SortOrder.DescendingOrder)
    panel.start()  # the run at work is first, however they are sorted
    assert shown(panel)[0][1] == "running"
    table.sortByColumn(RUN, Qt.SortOrder.AscendingOrder)
    assert shown(panel)[0][1] == "running"
    assert columns_out_of_reach(table, 420) == [CHECKPOINT]  # all are of one


def test_a_deleted_run_is_in_the_trash(qtbot, panel, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    old, middle, _ = three_runs(tmp_path / "runs")
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
    assert "Moved CleanCLIP, talk, 3 changes of" in panel.runs.message.text()
    assert (tmp_path / "Trash" / "files" / "middle" / "result.json").is_file()
    monkeypatch.setattr("cleanclip_gui.clean.runs.page.at_work", lambda folder: folder == old)
    table.choose(old)
    with qtbot.waitSignal(panel.shell.failed) as refused:
        click(panel.runs.delete)
    assert old.is_dir()
    assert "Another process is using old" in refused.args[0].sentence
    elsewhere = write_run(tmp_path / "cluster", "one")
    panel.runs.open_folder(elsewhere)
    panel.start()
    live = runner_of(panel).spec_path.parent
    for folder in (elsewhere, live):
        table.choose(folder)
        panel.runs.delete_run(table.run)
        assert folder.is_dir()
    assert not panel.runs.delete.isEnabled()
    runner_of(panel).end(Done("cancelled"))
    assert panel.runs.delete.isEnabled()


def test_the_right_button_offers_what_can_be_done(qtbot, panel, tmp_path):
    old, *_ = three_runs(tmp_path / "runs")
    history(qtbot, panel)
    panel.runs.table.choose(old)
    panel.runs.table.menu_wanted.emit(panel.mapToGlobal(panel.rect().center()))
    menu = next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMenu) and w.isVisible())
    actions = {action.text(): action for action in menu.actions() if action.text()}
    assert list(actions) == [
        "Show", "Repeat", "Rename", "Open the folder", "Delete",
    ]  # fmt: skip
    actions["Show"].trigger()
    assert panel.run.on_show.folder == old
    menu.close()
    all_read(qtbot, panel)


def test_cancel_asks_when_minutes_would_be_lost_and_pauses_the_queue(panel, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    answers = Answers(yes=False).take_over(panel.context.prompts)
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
    assert panel.logged[-1] == "Cancelled. The queue is paused: “Start the queue” begins 1 run."
    panel.start_queue()
    assert panel.run.is_running
    runner_of(panel).end(Done("finished", {}))


def test_a_cancelled_run_has_a_last_word_whatever_it_was_doing(tmp_path):
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


def test_a_resumed_run_brings_its_trigger_and_target_along(panel, session, tmp_path):
    folder = write_run(tmp_path / "runs", "cut", end=Done("failed", {}, "", "killed"))
    write_state(folder, step=40)
    session.trigger, session.target = None, 1
    panel.runs.note_run(folder)
    panel.start()
    panel.runs.table.choose(folder)
    click(panel.runs.resume)
    assert panel.runs.message.text().startswith("Another run is in progress")
    runner_of(panel).end(Done("cancelled"))
    assert panel.runs.message.text() == ""  # which is no longer true
    click(panel.runs.resume)
    assert panel.run.is_running
    assert (session.trigger, session.target) == (demo_trigger(), 0)
