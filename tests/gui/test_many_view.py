"""Many checkpoints in one table: filled, filtered, opened, examined one by one, exported, kept."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.station import EXAMINATION, FACTS, TABLE
from ml_core.events import Done
from ml_core.jobs.examination import EXAMINATIONS
from ml_core.paths import data_dir
from ml_core.reading import inspect
from ml_core.reports.many import Options, inspect_many, json_lines
from ml_core.reports.sessions.folder import write_session
from ml_core.reports.sessions.record import SESSION_FILE, FileFacts, SavedSession
from tests.gui import examinations
from tests.gui.fakes import FakeRunner
from tests.gui.shell_fakes import Answers, write_safetensors
from tests.gui.test_examination_page import EVIL, make_panel


@pytest.fixture
def folder(tmp_path, tiny_checkpoint):
    """Downloads: two that open, a copy, one that is no CLIP, and one that runs code."""
    folder = tmp_path / "downloads"
    (folder / "deep").mkdir(parents=True)
    for name in ("good.safetensors", "deep/copy.safetensors"):
        shutil.copy(tiny_checkpoint, folder / name)
    (folder / "deep" / os.fsdecode(b"raw\xff.safetensors")).write_bytes(
        tiny_checkpoint.read_bytes()[:-1] + b"\1"
    )
    write_safetensors(folder / "other.safetensors", {"a": [1.0]})
    (folder / "deep" / "evil.pt").write_bytes(EVIL)
    (folder / "README.md").write_text("# Models")
    return folder


@pytest.fixture
def panel(qtbot, tmp_path):
    yield make_panel(qtbot, tmp_path, new_runner=FakeRunner)
    threads.close_all()


def listed(qtbot, panel, folder):
    panel.open_path(str(folder))
    qtbot.waitUntil(lambda: bool(panel.many.paths) and panel.many.busy.isHidden())
    return panel.many


def texts(view, column=1):
    model = view.table.rows
    return [model.index(row, column).data() for row in range(model.rowCount())]


def choose(view, name):
    view.table.selectRow(texts(view).index(name))


def test_a_folder_without_checkpoints_says_so(qtbot, panel, tmp_path):
    (tmp_path / "empty").mkdir()
    view = listed(qtbot, panel, tmp_path / "empty")
    assert view.doing.text() == "No checkpoint lies in this folder."
    assert not view.detail.text()


def test_a_folder_is_listed_and_a_row_opens_its_file(qtbot, panel, folder):
    view = listed(qtbot, panel, folder)
    assert panel.pages.currentIndex() == TABLE
    assert (texts(view)[0], texts(view, 0)[0]) == ("deep/evil.pt", "Refused: dangerous")
    assert len(texts(view)) == 5
    assert "5 inspected: 1 refused: dangerous" in view.summary.text()
    assert "os.system('true')" in view.detail.text()  # the worst is chosen, and says why
    view.filter.setText("READABLE copy")
    assert texts(view) == ["deep/copy.safetensors"]
    view.filter.clear()
    view.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    assert texts(view)[0] == "other.safetensors"
    choose(view, "deep/evil.pt")
    QTest.keyClick(view.table, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: panel.inspection is not None)
    assert (panel.inspection.name, panel.pages.currentIndex()) == ("evil.pt", FACTS)
    panel.back.click()
    assert panel.pages.currentIndex() == TABLE
    assert view.table.chosen >= 0
    assert panel.back.isHidden()
    view.leave.click()
    assert (panel.pages.currentIndex(), panel.back.isHidden()) == (FACTS, True)


def test_cancelled_reading_keeps_its_rows_and_says_so(qtbot, panel, folder):
    panel.check_several([folder] + [folder / "other.safetensors"] * 9)
    panel.many.busy.cancel.click()
    assert "not complete" in panel.many.doing.text()
    assert threads.close_all()
    rows = texts(panel.many)
    qtbot.wait(50)
    assert texts(panel.many) == rows


def test_those_that_open_are_examined_in_turn(qtbot, panel, folder, tmp_path):
    view = listed(qtbot, panel, folder)
    view.minutes.setValue(5)
    view.examine.click()
    first = panel.examining.runner
    assert first.spec["minutes"] == 5
    assert sorted(texts(view, 4)) == ["", "", "", "Examining…", "Waiting"]  # a copy is not
    view.open.click()
    assert panel.pages.currentIndex() == FACTS  # the file at work is another one
    panel.back.click()
    path = first.spec["checkpoint"]
    first.play(examinations.events())
    assert view.doing.text().startswith("1 of 2: ")
    made = data_dir() / EXAMINATIONS / "one"
    first.play(examinations.done(made, examinations.write_examination(made, of=Path(path))))
    weaker = {"verdict": "nothing", "headline": "Nothing found in this search."}
    examinations.write_examination(made.with_name("two"), of=Path(path), **weaker)
    stale = {"verdict": "found", "target": "of another version", "inputs": ""}
    examinations.write_examination(made.with_name("three"), of=Path(path), **stale)
    assert panel.pages.currentIndex() == TABLE
    assert panel.opened == []  # its scan is not one of the open checkpoint
    second = panel.examining.runner
    assert second.spec["checkpoint"] not in (path, None)
    panel.open(second.spec["checkpoint"])
    assert panel.pages.currentIndex() == EXAMINATION
    panel.back.click()
    second.end(Done("failed", error="The disk is full."))
    answers = texts(view, 4)
    assert answers[0] == ""
    assert "The disk is full." in answers
    # The same bytes have the same answer, and come next after what is dangerous.
    found = [answer for answer in answers[1:] if answer == "Backdoor-like: banana"]
    assert found in (answers[1:2], answers[1:3])
    assert view.busy.isHidden()
    view.examine.click()  # the one that failed
    assert panel.examining.runner.spec["checkpoint"] == second.spec["checkpoint"]
    view.busy.cancel.click()
    assert panel.examining.runner.cancelled
    panel.examining.runner.end(Done("cancelled"))
    assert view.doing.text() == "Cancelled: finished steps are kept."
    assert not panel.examining.is_running
    again = listed(qtbot, panel, folder)
    assert texts(again, 4).count("Backdoor-like: banana") == len(found)
    assert "Backdoor-like: of another version" not in texts(again, 4)
    assert panel.context.settings.value.model_extra["minutes_each"] == 5


def test_the_table_is_exported(qtbot, panel, folder, tmp_path):
    view = listed(qtbot, panel, folder)
    for name in ("table.csv", "table.json"):
        Answers(tmp_path / name).take_over(panel.context.prompts)
        view.export.click()
        qtbot.waitUntil(lambda name=name: view.doing.text() == f"Saved {name}.")
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert rows[0]["verdict"] == "dangerous"
    assert {row["bytes"] for row in rows} >= {str((folder / "good.safetensors").stat().st_size)}
    lines = (tmp_path / "table.json").read_bytes().splitlines(keepends=True)
    expected = json_lines(inspect_many([folder], Options(records=True)))
    assert sorted(map(str, map(json.loads, lines))) == sorted(map(str, map(json.loads, expected)))


def test_the_table_comes_back_after_a_restart(qtbot, make, folder, tmp_path):
    (tmp_path / "outer").mkdir()
    folder = folder.rename(tmp_path / "outer" / "downloads")
    window = make()
    window.take_files([folder.parent])
    view = window.stations["checkpoint"].many
    qtbot.waitUntil(lambda: len(texts(view)) == 5)
    assert window.session.station == "checkpoint"
    window.close()
    again = make()
    assert again.keeper.summary().startswith("a table of outer")
    again.sessions.go_on()
    panel = again.stations["checkpoint"]
    qtbot.waitUntil(lambda: len(texts(panel.many)) == 5)
    assert (again.session.station, panel.pages.currentIndex()) == ("checkpoint", TABLE)
    panel.open(folder / "good.safetensors")
    qtbot.waitUntil(lambda: again.session.checkpoint is not None)
    again.keeper.save()
    assert len(texts(panel.many)) == 5
    assert again.keeper.record().checkpoints == (str(folder.parent),)


def test_the_table_of_another_machine_is_not_read(qtbot, make, folder, tmp_path):
    file = str(folder / "good.safetensors")
    facts = FileFacts(digest=inspect(file).sha256, known_by="weights")
    session = SavedSession(checkpoint=file, checkpoints=(str(folder),), files={file: facts})
    write_session(tmp_path / "one.session", session, [])
    record = tmp_path / "one.session" / SESSION_FILE
    record.write_text(json.dumps(json.loads(record.read_text()) | {"seal": ""}))
    window = make()
    window.sessions.open(str(record.parent))
    qtbot.waitUntil(lambda: window.session.checkpoint is not None)
    assert window.stations["checkpoint"].many.paths == ()
