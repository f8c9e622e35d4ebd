"""Runs on disk, also those that vanish, are damaged or were made elsewhere; jobs to be run."""

# ruff: noqa: F811

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from cleanclip_gui.clean.before_after import summary
from cleanclip_gui.clean.history import list_runs, read_run, run_metrics, run_points
from cleanclip_gui.clean.job import copy_job, make_job, new_folder
from cleanclip_gui.clean.queue import RunQueue
from cleanclip_gui.clean.runs.runs_table import ACCURACY, RUN, STATUS
from cleanclip_gui.jobs.run_names import read_name, run_number, write_name
from cleanclip_gui.session import Session
from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done
from ml_core.jobs.cluster import JOB_FILE
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers.files import load_trigger
from tests.gui.factories import facts, images
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_journal, write_safetensors
from tests.gui.test_clean_bench import (  # noqa: F401
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
    history(qtbot, panel)
    panel.runs.open_folder(away)
    shutil.rmtree(away)
    write_run(tmp_path / "runs", "here")
    for words in ("removed from the table: job-7", ""):
        panel.runs.say("")
        panel.runs.reload()
        qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=WAIT)
        assert words in panel.runs.message.text()
        assert shown(panel) == [("here", "finished")]
    assert panel.runs.message.text() == ""


def test_a_run_whose_folder_was_deleted_is_not_shown_as_running(panel):
    panel.start()
    runner = runner_of(panel)
    assert [status for _, status in shown(panel)] == ["running"]
    shutil.rmtree(runner.spec_path.parent)
    runner.end(Done("failed", {}, "The disk is gone."))
    assert shown(panel) == []
    assert panel.runs.compared() == {}


DAMAGES = (
    {"before": "x"}, {"after": {"ca_interval": [1.0]}}, {"heads": []}, {"method": []},
    {"heldout": {"after": 5}}, {"recipe": 5},
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


def test_a_run_has_a_name_in_table_comparison_and_result(qtbot, panel, tmp_path):
    one, two = (write_run(tmp_path / "runs", name) for name in ("one", "two"))
    history(qtbot, panel)
    runs, table = panel.runs, panel.runs.table
    table.choose(one)
    runs.compare(one, True)
    click(runs.open_)
    panel.show_page(1)
    runs.name.setText("old name")
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_F2)
    QTest.keyClicks(QApplication.focusWidget(), "best <b>so far")  # what is there is selected
    QTest.keyClick(runs.name, Qt.Key.Key_Return)
    assert (one / "note.txt").read_text() == "best <b>so far"
    assert table.rows.index(table.currentIndex().row(), RUN).data() == (
        "best <b>so far · CleanCLIP, talk, 3 changes"
    )
    assert [track.label for track in runs.tradeoff._tracks] == ["best <b>so far"]
    assert panel.run_bar.title.text() == "best <b>so far: finished"
    QTest.keyClicks(runs.name, "!")
    table.choose(two)
    assert (read_name(one), runs.name.text()) == ("best <b>so far!", "")
    QTest.keyClicks(runs.name, "second")
    close(panel)  # which keeps the name, too
    assert read_name(two) == "second"


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


def opened_here(session, sha256, path=None):
    path = path or session.checkpoint.path
    session.checkpoint = facts(path, sha256=sha256)
    return path


def test_a_result_of_elsewhere_is_tried_on_the_same_file_here(qtbot, panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    source, failures = opened_here(session, "ab" * 32), []
    panel.shell.failed.connect(failures.append)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    panel.try_cleaned()
    assert panel.context.inference.questions[-1].path == str(folder / "cleaned.safetensors")
    assert panel.run.on_show.result["source"] == source
    all_read(qtbot, panel)
    point = run_points(folder)[1]
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
    session.checkpoint = None
    click(panel.runs.open_)
    opened_here(session, "ab" * 32, source)  # after the result
    assert panel.before_after.isVisible()
    assert panel.run.on_show.result["source"] == source
    all_read(qtbot, panel)


def test_a_missing_trigger_is_said_and_studio_keeps_its_own(qtbot, panel, session, tmp_path):
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.unlink()
    opened_here(session, "ab" * 32)
    mine, session.target = session.trigger, 0
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    assert "Studio keeps the current one" in panel.run_bar.notice.text()
    panel.try_cleaned()
    opened = facts(panel.context.inference.questions[-1].path)
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(opened)
    assert (session.trigger, session.target) == (mine, 0)
    assert session.cleaned is opened
    all_read(qtbot, panel)


def test_the_trigger_beside_the_results_of_a_job_is_found(tmp_path):
    folder = made_elsewhere(tmp_path / "job", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.rename(folder.parent / path.name)
    assert read_run(folder).spec.trigger == str(tmp_path / "job" / "there" / "trigger.json")
    (folder.parent / JOB_FILE).write_text("{}")
    assert read_run(folder).spec.trigger == str(folder.parent / "trigger.json")


def test_a_copy_keeps_the_triggers_that_it_learns_from(tmp_path):
    runs = tmp_path / "runs"
    spec = read_spec(write_run(runs, "run") / "spec.json")
    copy = copy_job(spec.model_copy(update={"stamps": (spec.trigger,)}), runs)
    (stamp,) = read_spec(copy / "spec.json").stamps
    assert Path(stamp).parent == copy
    assert load_trigger(stamp).digest == load_trigger(spec.trigger).digest


def test_a_chain_that_cannot_be_read_hides_no_other_run(tmp_path, monkeypatch):
    write_run(tmp_path, "run")
    (tmp_path / "clean-it-1").mkdir()
    (tmp_path / "clean-it-1" / "auto.json").write_text("{}")
    listed = Path.iterdir

    def refuse(folder):
        if folder.name == "clean-it-1":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [run.folder.name for run in list_runs(tmp_path)] == ["run"]


def test_a_copy_that_cannot_be_made_says_why_and_leaves_no_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    runs = tmp_path / "runs"
    spec = read_spec(write_run(runs, "run") / "spec.json")
    for field in ("trigger", "label_set"):
        gone = spec.model_copy(update={field: str(tmp_path / "gone.json")})
        with pytest.raises(InputError, match=r"gone\.json"):
            copy_job(gone, runs)
    monkeypatch.setattr("cleanclip_gui.clean.job.write_spec", full)
    with pytest.raises(InputError, match="choose another output folder"):
        copy_job(spec, runs)
    assert [path.name for path in runs.iterdir()] == ["run"]


KILLED = Done("failed", {}, "It was killed.", "killed")


def test_the_newest_comes_first_and_other_folders_are_left_out(tmp_path, locked):
    for name, begun in (("old", 1000.0), ("new", 3000.0), ("middle", 2000.0), ("theirs", 0.0)):
        write_run(tmp_path, name, begun=begun)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "spec.json").write_text("{")
    locked(tmp_path / "theirs")
    assert [run.folder.name for run in list_runs(tmp_path)] == ["new", "middle", "old"]
    assert list_runs(tmp_path / "nowhere") == ()
    with pytest.raises(InputError, match="theirs cannot be read: Permission denied; check that"):
        read_run(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Done("cancelled"), "cancelled"),
        (Done("failed", {}, "Too little memory.", "memory"), "failed"),
        (KILLED, "interrupted"),
    ],
)
def test_how_a_run_stands(tmp_path, end, status):
    run = read_run(write_run(tmp_path, "run", end=end))
    assert run.status == status
    assert run.error == (end.error if status == "failed" else "")


def test_a_folder_that_was_moved_and_cut_is_read_where_it_is(tmp_path):
    moved = tmp_path / "elsewhere"
    write_run(tmp_path, "run").rename(moved)
    run = read_run(moved)
    assert run.result["checkpoint"] == run.checkpoint == str(moved / "cleaned.safetensors")
    steps = moved / "steps"
    (steps / "step-000040.safetensors").unlink()
    points = run_points(moved)
    assert [point.step for point in points] == [0, 20, 40, 60, 80, 100]
    assert [bool(point.checkpoint) for point in points] == [True, True, False, True, True, True]
    assert points[1].checkpoint == str(steps / "step-000020.safetensors")
    with open(moved / "events.jsonl", "a") as file:
        file.write('{"event": "metric", "step": 7, "va')  # by a kill
    assert len(run_metrics(moved)) == 100 + 6


def test_a_name_stays_with_the_run(tmp_path):
    folder = write_run(tmp_path, "run")
    assert read_name(folder) == ""
    write_name(folder, "  best so far, ±1\n")
    assert read_run(folder).name == "best so far, ±1"
    with pytest.raises(InputError, match="is its folder still there"):
        write_name(tmp_path / "gone", "x")


def test_the_queue_keeps_its_order(qapp):
    queue = RunQueue(SimpleNamespace(ended=Mock(), freed=Mock()), lambda: True)
    told: list[int] = []
    queue.changed.connect(lambda: told.append(len(queue)))
    a, b, c = map(Path, "abc")
    for folder in (a, b, c, a):
        queue.add(folder)
    assert (queue.folders, told) == ((a, b, c), [1, 2, 3])
    queue.move(c, -1)
    queue.move(a, -1)  # at the front already
    assert queue.folders == (a, c, b)
    queue.move(a, 5)
    assert queue.folders == (c, b, a)
    queue.remove(b)
    assert queue.folders == (c, a)


def _job(spec, n, folder):
    session = Session()
    session.checkpoint = facts(folder / "a.safetensors", donor="donor.pt")
    session.images = images(n, spec=spec, name="own")
    recipe = preset("cleanclip", "talk")
    return make_job(session, recipe, folder, pairs=PairSpec(), training_images=None)


def test_images_are_watched_and_tested_in_two_parts(tmp_path):
    own = ImageSpec(kind="folder", path=str(tmp_path), seed=4)
    spec = _job(own, 9000, tmp_path)
    assert spec.images == own.model_copy(update={"part": "validation", "n": 500})
    assert spec.test_images == own.model_copy(update={"part": "test", "n": 4000})
    assert spec.heldout_images is None
    spec = _job(ImageSpec(split="heldout"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", n=500)
    assert spec.test_images == ImageSpec(split="heldout", n=1000)
    spec = _job(ImageSpec(split="val"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", part="validation", n=500)
    assert spec.test_images == ImageSpec(split="val", part="test", n=1000)
    assert spec.donor == "donor.pt"  # a borrowed encoder


def test_a_run_of_a_former_method_is_shown_and_not_run_again(qtbot, panel, session, tmp_path):
    folder = write_run(tmp_path, "prompts")
    spec = json.loads((folder / "spec.json").read_text())
    spec["recipe"] |= {"method": "rvpt", "shots": 16, "prompt_length": 50}
    (folder / "spec.json").write_text(json.dumps(spec))
    result = json.loads((folder / "result.json").read_text())
    result |= {"method": "rvpt", "adapter": str(folder / "adapter.safetensors")}
    (folder / "result.json").write_text(json.dumps(result))
    session.checkpoint, failures = facts(result["source"]), []
    panel.shell.failed.connect(failures.append)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    assert panel.before_after.isVisible()
    assert summary(panel.run.on_show.result).startswith("RVPT cut the ASR from 98")
    former = panel.form.method.method
    click(panel.runs.repeat)
    panel.try_cleaned()
    panel.save_cleaned()
    again, tried, saved = (failure.sentence for failure in failures)
    assert again == "RVPT is no longer offered: take Supervised finetuning instead."
    assert "is an adapter of RVPT, which is no longer offered" in tried
    assert saved == tried
    assert panel.form.method.method == former
    all_read(qtbot, panel)


def test_a_run_keeps_its_number_and_only_a_runs_folder_has_one(tmp_path):
    for name in ("7-par-20261125-141503", "2026-12-01-by-hand", "cleanclip-20261125-141503"):
        (tmp_path / name).mkdir()
    numbers = {path.name: run_number(path) for path in tmp_path.iterdir()}
    assert numbers == {**dict.fromkeys(numbers, 0), "7-par-20261125-141503": 7}
    assert run_number(new_folder(tmp_path, "mmcl")) == 8
    assert run_number(new_folder(tmp_path / "none yet", "mmcl")) == 1
