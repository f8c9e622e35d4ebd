"""Runs that vanish, are damaged, or were made elsewhere; names that are typed."""

# ruff: noqa: F811

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.clean.history import list_runs, read_name, read_run, run_metrics, run_points
from cleanclip_gui.clean.job import copy_job
from cleanclip_gui.clean.runs.runs_table import ACCURACY, RUN, STATUS, started_text
from ml_core.events import Done
from ml_core.jobs.cluster import JOB_FILE
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from tests.gui.factories import facts
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_journal, write_safetensors
from tests.gui.test_clean_bench import (  # noqa: F401  # noqa: F401
    all_read,
    click,
    close,
    history,
    panel,
    runner_of,
    session,
    shown,
)

WAIT = 8000


@pytest.fixture
def locked(monkeypatch):
    """Make a folder one that may not be looked into, also for root."""
    real = Path.stat

    def lock(folder):
        def stat(self, **options):
            if folder in self.parents:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, **options)

        monkeypatch.setattr(Path, "stat", stat)

    return lock


# ---- folders that cannot be read ----


def test_an_unreadable_folder_hides_no_other(tmp_path, locked):
    write_run(tmp_path, "mine")
    write_run(tmp_path, "theirs")
    locked(tmp_path / "theirs")
    assert [run.folder.name for run in list_runs(tmp_path)] == ["mine"]
    with pytest.raises(InputError, match="theirs cannot be read: Permission denied; check that"):
        read_run(tmp_path / "theirs")


def test_an_unreadable_job_does_not_hold_the_queue(qtbot, panel, tmp_path, locked):
    runs = tmp_path / "runs"
    first, second = (write_run(runs, name, started=False) for name in ("first", "second"))
    panel.queue.hold(True)
    for folder in (first, second):
        panel.queue.add(folder)
    locked(first)
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.queue.hold(False)
    assert "first cannot be read" in blocker.args[0].sentence
    assert runner_of(panel).spec_path.parent == second


def test_a_results_folder_that_is_gone_is_said_once(qtbot, panel, tmp_path):
    away = write_run(tmp_path / "cluster", "job-7")
    failures: list[InputError] = []
    panel.shell.failed.connect(failures.append)
    history(qtbot, panel)
    panel.runs.open_folder(away)
    shutil.rmtree(away)
    here = write_run(tmp_path / "runs", "here")
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert shown(panel) == [("here", "finished")]
    assert "removed from the table: job-7" in panel.runs.message.text()
    panel.runs.say("")
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert panel.runs.message.text() == ""
    assert failures == []
    assert [run.folder for run in panel.runs.runs] == [here]


def test_what_changes_while_the_folders_are_read_stays(qtbot, panel, tmp_path, monkeypatch):
    here = write_run(tmp_path / "runs", "here", end=Done("failed", {}, "x", "killed"))
    away = write_run(tmp_path / "cluster", "job-7")
    history(qtbot, panel)
    go_on, has_read = threading.Event(), threading.Event()

    def slow(parent):
        found = list_runs(parent)
        has_read.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr("cleanclip_gui.clean.runs.page.list_runs", slow)
    panel.runs.reload()
    assert has_read.wait(10)
    panel.runs.open_folder(away)
    write_journal(here, [Done("cancelled")])
    panel.runs.note_run(here)
    go_on.set()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
    assert sorted(shown(panel)) == [("here", "cancelled"), ("job-7", "finished")]


def test_a_run_whose_folder_was_deleted_is_not_shown_as_running(panel):
    panel.start()
    runner = runner_of(panel)
    assert [status for _, status in shown(panel)] == ["running"]
    shutil.rmtree(runner.spec_path.parent)
    runner.end(Done("failed", {}, "The disk is gone."))
    assert shown(panel) == []
    assert panel.runs.compared() == {}


# ---- damaged results ----


DAMAGES = (
    {"before": "x"}, {"after": {"ca": "x"}}, {"after": {"ca_interval": [1.0]}}, {"heads": []},
    {"method": []}, {"seconds": "long"}, {"heldout": {"after": 5}}, {"cache_chunk": "8"},
    {"recipe": 5}, {"batch_norm": ["train"]}, {"notes": 5}, {"steps": "x"},
)  # fmt: skip


def test_a_damaged_result_is_said_and_painted(qtbot, panel, tmp_path):
    write_journal(write_run(tmp_path / "runs", "last"), [Done(5, {}, 6, 7)])
    for number, damage in enumerate(DAMAGES):
        path = write_run(tmp_path / "runs", f"{number}") / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    history(qtbot, panel)
    model = panel.runs.table.rows
    for run in [run for run in model.runs if run.folder.name != "last"]:
        panel.runs.table.choose(run.folder)
        row = panel.runs.table.currentIndex().row()
        assert model.data(model.index(row, ACCURACY)) == "–"
        tip = model.data(model.index(row, STATUS), Qt.ItemDataRole.ToolTipRole)
        assert "result.json of this run is damaged" in tip
        click(panel.runs.open_)
        assert "damaged" in panel.run_bar.details.text()
        assert not panel.before_after.isVisible()
        all_read(qtbot, panel)
        panel.show_page(1)


# ---- names ----


def test_a_name_that_is_being_typed_outlives_a_new_row(qtbot, panel, tmp_path):
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    panel.runs.name.setFocus()
    QTest.keyClicks(panel.runs.name, "half a ")
    panel.start()
    assert len(shown(panel)) == 2
    QTest.keyClicks(panel.runs.name, "word")
    assert panel.runs.name.text() == "half a word"
    QTest.keyClick(panel.runs.name, Qt.Key.Key_Return)
    assert read_name(folder) == "half a word"


def test_a_name_is_kept_when_another_run_is_chosen_or_the_window_closes(qtbot, panel, tmp_path):
    one, two = (write_run(tmp_path / "runs", name) for name in ("one", "two"))
    history(qtbot, panel)
    panel.runs.table.choose(one)
    panel.runs.name.setFocus()
    QTest.keyClicks(panel.runs.name, "first")
    panel.runs.table.choose(two)
    assert (read_name(one), panel.runs.name.text()) == ("first", "")
    QTest.keyClicks(panel.runs.name, "second")
    close(panel)
    assert (read_name(one), read_name(two)) == ("first", "second")


# ---- the table ----


def test_a_run_has_a_name_in_table_comparison_and_result(qtbot, panel, tmp_path):
    folder = write_run(tmp_path / "runs", "one")
    history(qtbot, panel)
    runs, table = panel.runs, panel.runs.table
    table.choose(folder)
    runs.compare(folder, True)
    click(runs.open_)
    assert panel.run_bar.title.text() == "CleanCLIP, custom: finished"
    panel.show_page(1)
    runs.name.setText("old name")
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_F2)
    QTest.keyClicks(QApplication.focusWidget(), "best <b>so far")  # what is there is selected
    QTest.keyClick(runs.name, Qt.Key.Key_Return)
    assert (folder / "note.txt").read_text() == "best <b>so far"
    row = table.currentIndex().row()
    assert table.rows.index(row, RUN).data() == "best <b>so far · CleanCLIP, custom"
    assert [track.label for track in runs.tradeoff._tracks] == ["best <b>so far"]
    names = [runs.curves.series(key).style.label for key in runs.curves.keys()]  # noqa: SIM118
    assert names == ["A best <b>so far, CA", "A best <b>so far, ASR"]
    assert panel.run_bar.title.text() == "best <b>so far: finished"
    runs.open_run(read_run(folder))  # as the next window does
    assert panel.run_bar.title.text() == "best <b>so far: finished"


def test_when_a_run_was_written():
    now = time.time()
    assert started_text(now) == time.strftime("Today %H:%M", time.localtime(now))
    year = time.localtime(now).tm_year
    days = [now + sign * 86_400 for sign in (-1, 1)]
    day = next(day for day in days if time.localtime(day).tm_year == year)
    assert started_text(day) == time.strftime("%d %b %H:%M", time.localtime(day))
    assert started_text(0.0).endswith(" 1970") or started_text(0.0).endswith(" 1969")


# ---- long runs ----


def test_charts_of_one_run_do_not_come_into_those_of_the_next(qtbot, panel, tmp_path, monkeypatch):
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    go_on = threading.Event()

    def slow(folder):
        assert go_on.wait(10)
        return run_metrics(folder)

    monkeypatch.setattr("cleanclip_gui.clean.run.run_metrics", slow)
    panel.runs.table.choose(folder)
    click(panel.runs.open_)
    panel.start()
    go_on.set()
    all_read(qtbot, panel)
    assert len(panel.charts.rates.series("ca")) == 0


def made_elsewhere(parent, sha256, **options):
    """Results that were brought back: the checkpoint's path and the trigger's are of there."""
    there = parent / "there"
    folder = write_run(parent, "results", checkpoint=there / "m.safetensors", **options)
    facts = {"provenance": json.dumps({"source_sha256": sha256})}
    write_safetensors(folder / "cleaned.safetensors", {"a": [1.0]}, facts)
    for path in folder.glob("steps/*"):
        write_safetensors(path, {"a": [1.0]}, facts)
    spec = json.loads((folder / "spec.json").read_text())
    spec["trigger"] = str(there / "trigger.json")
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def opened_here(session, sha256):
    path = session.checkpoint.path
    session.checkpoint = facts(path, sha256=sha256)
    return path


def test_a_result_of_elsewhere_is_tried_on_the_same_file_here(qtbot, panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    assert Path(read_run(folder).spec.trigger) == folder / "trigger.json"
    source = opened_here(session, "ab" * 32)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    failures: list[InputError] = []
    panel.shell.failed.connect(failures.append)
    panel.try_cleaned()
    assert failures == []
    assert panel.context.inference.questions[-1].path == str(folder / "cleaned.safetensors")
    assert panel.run.on_show.result["source"] == source
    all_read(qtbot, panel)
    point = run_points(folder)["zero-shot"][1]
    panel.runs.open_point(read_run(folder), point)
    assert panel.context.inference.questions[-1].path == point.checkpoint
    with qtbot.waitSignal(panel.runs.repeated) as blocker:
        click(panel.runs.repeat)
    assert blocker.args[0].checkpoint == source
    assert failures == []
    opened_here(session, "cd" * 32)
    assert not panel.before_after.isVisible()  # of another checkpoint
    click(panel.runs.open_)
    panel.try_cleaned()
    assert "open that file first" in failures[0].sentence
    assert panel.run.on_show.result["source"].endswith("/there/m.safetensors")
    session.checkpoint = None
    click(panel.runs.open_)
    all_read(qtbot, panel)


def test_the_checkpoint_may_be_opened_after_the_result(panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    session.checkpoint = None
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    path = str(tmp_path / "runs" / "poisoned.safetensors")
    session.checkpoint = facts(path, sha256="ab" * 32)
    assert panel.before_after.isVisible()
    assert panel.run.on_show.result["source"] == path


def test_an_adapter_of_elsewhere_goes_on_the_file_here(qtbot, panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "")
    facts = {"facts": json.dumps({"source_sha256": "ab" * 32})}
    write_safetensors(folder / "adapter.safetensors", {"prompts": [1.0]}, facts)
    result = json.loads((folder / "result.json").read_text())
    result |= {"checkpoint": result["source"], "adapter": "/there/adapter.safetensors"}
    (folder / "result.json").write_text(json.dumps(result))
    source = opened_here(session, "ab" * 32)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    panel.try_cleaned()
    request = panel.context.inference.questions[-1]
    assert (request.path, request.adapter) == (source, str(folder / "adapter.safetensors"))
    all_read(qtbot, panel)


def test_a_missing_trigger_is_said_and_studio_keeps_its_own(qtbot, panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.unlink()
    opened_here(session, "ab" * 32)
    mine, session.target = session.trigger, 0
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    assert panel.run_bar.notice.isVisible()
    assert "Studio keeps the current one" in panel.run_bar.notice.text()
    panel.try_cleaned()
    request = panel.context.inference.questions[-1]
    opened = facts(request.path)
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(opened)
    assert session.trigger is mine
    assert session.target == 0
    assert session.cleaned is opened
    all_read(qtbot, panel)


def test_the_trigger_beside_the_results_of_a_job_is_found(tmp_path):
    folder = made_elsewhere(tmp_path / "job", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.rename(folder.parent / path.name)
    assert read_run(folder).spec.trigger == str(tmp_path / "job" / "there" / "trigger.json")
    (folder.parent / JOB_FILE).write_text("{}")
    assert read_run(folder).spec.trigger == str(folder.parent / "trigger.json")


# ---- copies ----


@pytest.mark.parametrize("lost", ["trigger", "class list"])
def test_a_copy_names_what_is_gone_and_leaves_no_folder(tmp_path, lost):
    folder = write_run(tmp_path / "runs", "run")
    spec = read_spec(folder / "spec.json")
    if lost == "trigger":
        spec = spec.model_copy(update={"trigger": str(tmp_path / "gone.json")})
    else:
        spec = spec.model_copy(update={"label_set": str(tmp_path / "gone.txt")})
    with pytest.raises(InputError, match=r"gone\.(json|txt)") as caught:
        copy_job(spec, tmp_path / "runs")
    assert "choose another output folder" not in caught.value.sentence
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_copy_that_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "runs", "run")
    spec = read_spec(folder / "spec.json")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cleanclip_gui.clean.job.write_spec", full)
    with pytest.raises(InputError, match="choose another output folder"):
        copy_job(spec, tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_trigger_of_another_name_is_found_where_the_run_lies(tmp_path):
    folder = write_run(tmp_path, "run")
    save_trigger(badnets_patch(), folder / "mine")
    spec = json.loads((folder / "spec.json").read_text()) | {"trigger": "/there/mine.json"}
    (folder / "spec.json").write_text(json.dumps(spec))
    assert read_run(folder).spec.trigger == str(folder / "mine.json")
