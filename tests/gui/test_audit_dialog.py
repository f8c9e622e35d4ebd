"""The audit in the window: it shows the worst, the user excludes with one click, and saves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.audit.dialog import AuditDialogs
from cleanclip_gui.clean.audit.gallery import mark_rect
from cleanclip_gui.session import Session
from ml_core.data.exclusions import read_exclusions
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.records import (
    FIVE_POISONS,
    SCORE,
    SCORES,
    Audit,
    Distribution,
    Standing,
    SuspectPair,
)
from ml_core.events import Done
from ml_core.jobs.audit import (
    AUDIT_FILE,
    EXCLUSIONS_FILE,
    THUMBNAILS_FILE,
    AuditSpec,
)
from ml_core.jobs.specs import read_spec_file, write_spec_file
from ml_core.reading import InputError, inspect
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner, heard
from tests.gui.shell_fakes import Answers, write_safetensors

N = 40
PAIRS = PairSpec()


def pair(index):
    standings = {
        s.name: Standing(float(10 - index if s.high else index), index + 1, (index + 1) / 100)
        for s in SCORES
    }
    standings["lid"] = Standing(float(index), 100 - index, 1 - index / 100)
    name = f"row {index}\u202e<b>"
    return SuspectPair(index, f"{index:064x}", name, f"caption {index}", standings, index == 3, 9)


def audit(overlap=1):
    edges = tuple(float(e) for e in range(11))
    return Audit(
        n=100,
        unread=2,
        distributions=tuple(
            Distribution(s.name, 100, 0.0, 10.0, 5.0, (0, 1, 2, 5, 7, 8, 9), edges, (10,) * 10)
            for s in SCORES
        ),
        worst={
            s.name: tuple(range(N)) if s.name != "lid" else tuple(reversed(range(N)))
            for s in SCORES
        },
        pairs=tuple(map(pair, range(N))),
        overlap={"Evaluation": overlap} if overlap else {},
        notes=(FIVE_POISONS, "A score ranks; it does not decide."),
        facts={"pairs": "pairs.csv", "pairs_key": "a" * 64, "neighbours_among": 64},
    )


def write_result(folder, found):
    (folder / AUDIT_FILE).write_text(json.dumps(found.to_dict()))
    pictures = np.zeros((len(found.pairs), 8, 8, 3), np.uint8)
    pictures[:, :, :, 0] = np.arange(len(found.pairs))[:, None, None]
    np.save(folder / THUMBNAILS_FILE, pictures)


@pytest.fixture
def session(tmp_path):
    session = Session()
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    session.checkpoint = facts(path, inspection=inspect(path), donor="d.pt")
    return session


@pytest.fixture
def prompts(tmp_path):
    return Answers(tmp_path / "out.json").prompts()


@pytest.fixture
def pairs():
    """The pairs in use; a test may take them away."""
    return [PAIRS]


@pytest.fixture
def auditing(qtbot, session, prompts, pairs):
    parent = QWidget()
    qtbot.addWidget(parent)
    auditing = AuditDialogs(session, prompts, lambda: pairs[-1], parent, FakeRunner)
    yield auditing
    auditing.close()


@pytest.fixture
def shown(auditing):
    """The dialog with a finished audit."""
    auditing.open()
    dialog = auditing.dialog
    dialog.start.click()
    write_result(dialog.folder, audit())
    dialog.task.runner.end(Done("finished"))
    assert dialog.model.audit is not None
    return dialog


def test_an_audit_without_a_plugins_score_is_shown_where_the_plugin_is_on(auditing, monkeypatch):
    earlier = audit()
    added = replace(SCORES[0], name="added", title="Added")
    monkeypatch.setitem(SCORE, "added", added)
    SCORES.append(added)
    try:
        auditing.open()
        dialog = auditing.dialog
        dialog.start.click()
        write_result(dialog.folder, earlier)
        dialog.task.runner.end(Done("finished"))
        lists = [dialog.lists.itemText(number) for number in range(dialog.lists.count())]
        assert "Worst by Added" not in lists
        assert dialog.details.standings.rows.rowCount() == len(SCORES) - 1
    finally:
        SCORES.remove(added)


def click_mark(qtbot, dialog, row):
    rect = dialog.view.visualRect(dialog.model.index(row))
    place = mark_rect(rect).center()
    qtbot.mouseClick(dialog.view.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_the_worst_are_shown_with_their_standing(shown):
    assert shown.model.rowCount() == N
    assert "100 pairs scored" in shown.state.text()
    assert "2 pictures could not be read" in shown.state.text()
    assert shown.notes.toPlainText() == "• A score ranks; it does not decide."
    assert shown.details.caption.text() == "caption 0"
    assert "\u202e" not in shown.details.name.text()
    assert "rank 1" in shown.model.data(shown.model.index(0), Qt.ItemDataRole.AccessibleTextRole)
    assert shown.details.standings.rows.rowCount() == len(SCORES)
    assert shown.details.spread.marked == 10.0
    image = shown.model.pixmap(7).toImage()
    assert image.pixelColor(2, 2).red() == 7


def test_pairs_are_excluded_by_a_click_the_buttons_and_keys(shown, qtbot):
    click_mark(qtbot, shown, 1)
    assert shown.excluded == {1}
    assert shown.count.text() == "1 pair excluded, not saved yet"
    click_mark(qtbot, shown, 1)
    assert shown.excluded == set()
    rows = shown.view.selectionModel()
    for row in (2, 4):
        rows.select(shown.model.index(row), rows.SelectionFlag.Select)
    shown.exclude.click()
    assert shown.excluded == {0, 2, 4}
    assert not shown.exclude.isEnabled()
    shown.undo.click()
    assert shown.excluded == set()
    shown.redo.click()
    shown.include.click()
    assert shown.excluded == set()
    shown.activateWindow()
    shown.view.setFocus()
    qtbot.keyClick(shown.view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(shown.view, Qt.Key.Key_Delete)
    assert len(shown.excluded) == N
    qtbot.keyClick(shown.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert shown.excluded == set()
    qtbot.keyClick(shown.view, Qt.Key.Key_Delete)
    qtbot.keyClick(shown.view, Qt.Key.Key_Insert)
    assert shown.excluded == set()


def test_other_scores_give_other_orders(shown):
    table = shown.details.standings
    shown.activateWindow()
    table.setFocus()
    table.selectRow([s.name for s in SCORES].index("lid"))
    assert shown.lists.currentData() == "lid"
    assert shown.details.caption.text() == "caption 0"  # the pair stays chosen
    assert shown.model.rows[0] == N - 1
    assert shown.details.looks_for.text().startswith("LID, high is suspicious.")
    shown.lists.setCurrentIndex(shown.lists.findData("evaluated"))
    assert shown.model.rows == [3]
    shown.mark([5, 6], out=True)
    shown.lists.setCurrentIndex(shown.lists.findData("excluded"))
    assert shown.model.rows == [5, 6]


def test_exclusions_are_saved_and_follow_what_is_marked(auditing, shown, tmp_path):
    told, path = heard(auditing.used), tmp_path / "out.json"
    path.write_text("{}")
    shown.mark([1, 3], out=True)
    shown.save.click()
    assert "out.json cannot be used" in shown.state.text()
    assert (path.read_text(), shown.unsaved) == ("{}", True)  # another file is not written over
    path.unlink()
    shown.save.click()
    found = read_exclusions(path)
    assert [one.identity for one in found.pairs] == [f"{1:064x}", f"{3:064x}"]
    assert found.pairs[1].reason == "audit: DAO 7, rank 4; also an evaluation picture"
    assert found.set_key == "a" * 64
    assert not shown.save.isEnabled()
    assert told == [(str(path), PAIRS)]
    (earlier := tmp_path / "more.json").write_text(path.read_text().replace(f"{3:064x}", "b" * 64))
    shown.pairs = PAIRS.model_copy(update={"exclude": str(earlier)})
    shown.mark([1], out=False)
    shown.mark([2], out=True)
    shown.save.click()  # what the set was opened without stays excluded
    assert {one.identity for one in read_exclusions(path).pairs} == {
        "b" * 64, f"{2:064x}", f"{3:064x}",
    }  # fmt: skip


def test_the_job_names_pairs_reference_images_and_checkpoint(auditing, session, prompts, tmp_path):
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    session.images = images(labels=(0, 1), spec=spec, name="mine")
    auditing.open()
    dialog = auditing.dialog
    assert dialog.setup.n.value() == 4096  # of the demo's 100 000
    dialog.setup.n.setValue(0)
    dialog.setup.form.set_values(k=8)
    prompts.open_file = lambda *_: str(tmp_path / "clean.csv")
    box = dialog.setup.reference
    box.activated.emit(box.count() - 1)
    assert "clean.csv" in dialog.state.text()  # it is not there
    (tmp_path / "clean.csv").write_text("image,caption\na.png,a\n")
    box.activated.emit(box.count() - 1)
    assert box.currentText() == "clean.csv"
    dialog.start.click()
    runner = dialog.task.runner
    job = read_spec_file(runner.spec_path, AuditSpec)
    assert job.pairs == PAIRS
    assert job.reference == PairSpec(kind="csv", path=str(tmp_path / "clean.csv"))
    assert (job.images, job.k, job.donor, runner.device) == ((spec,), 8, "d.pt", "cpu")
    dialog.setup.form.set_values(k=128, chunk_size=64)  # of which a chunk of few pairs is no help
    assert dialog.setup.values()["chunk_size"] == 512


def saved_audit(tmp_path, session, name="audit-1"):
    """The folder of an audit that was made before."""
    folder = tmp_path / name
    folder.mkdir()
    write_result(folder, audit())
    spec = AuditSpec(
        checkpoint=session.checkpoint.path,
        pairs=PAIRS.model_copy(update={"n": 100}),
        output_dir=str(folder),
    )
    write_spec_file(spec, folder / "spec.json")
    return folder


def test_a_saved_audit_is_opened_with_its_gallery_and_exclusions(auditing, session, tmp_path):
    folder = saved_audit(tmp_path, session)
    auditing.open_saved(folder)
    dialog = auditing.dialog
    assert dialog.model.rowCount() == N
    assert dialog.model.pixmap(7).toImage().pixelColor(2, 2).red() == 7
    assert dialog.start.isEnabled()
    dialog.mark([1, 3], out=True)
    dialog.save.click()  # elsewhere; the audit keeps a copy
    assert (tmp_path / "out.json").is_file()
    dialog.close_button.click()
    auditing.open_saved(folder)
    again = auditing.dialog
    assert again.excluded == {1, 3}
    assert again.count.text() == "2 pairs excluded"
    assert (again.setup.n.value(), again.setup.values()["k"]) == (100, 16)
    again.mark([3], out=False)
    again.save.click()
    kept = read_exclusions(folder / EXCLUSIONS_FILE).pairs
    assert [one.identity for one in kept] == [f"{1:064x}"]


def test_an_audit_of_another_checkpoint_can_be_looked_at(auditing, session, tmp_path):
    folder = saved_audit(tmp_path, session)
    session.checkpoint = None
    auditing.open_saved(folder)
    assert auditing.dialog.model.rowCount() == N
    assert not auditing.dialog.start.isEnabled()


def test_the_page_is_about_the_checkpoint_that_it_names(auditing, session, tmp_path):
    first = session.checkpoint
    auditing.open()
    old = auditing.dialog
    path = write_safetensors(tmp_path / "b.safetensors", {"a": [1.0]})
    session.checkpoint = facts(path, inspection=inspect(path))
    assert not old.start.isEnabled()
    assert old.start.toolTip() == "Open m.safetensors to audit again."
    auditing.open()
    running = auditing.dialog
    running.start.click()
    assert read_spec_file(running.task.runner.spec_path, AuditSpec).checkpoint == str(path)
    session.checkpoint = first
    auditing.open()
    assert auditing.dialog is running  # and what it does is not ended
    assert running.task.is_running


def test_marks_that_are_not_saved_are_asked_about(auditing, session, prompts, tmp_path):
    first, second = (saved_audit(tmp_path, session, name) for name in ("one", "two"))
    answers = Answers(second, yes=False)
    answers.take_over(prompts)
    auditing.open_saved(first)
    dialog = auditing.dialog
    dialog.mark([1], out=True)
    dialog.close_button.click()
    assert "1 pair excluded, but not saved" in answers.asked[0]
    auditing.choose()
    assert "not saved" in answers.asked[2]
    assert auditing.dialog is dialog
    answers.yes = True
    auditing.choose()
    assert auditing.dialog.folder == second
    auditing.dialog.reject()  # Escape
    assert auditing.dialog is None


def test_a_damaged_audit_is_one_sentence(auditing, session, tmp_path, qtbot):
    np.save(tmp_path / "others.npy", np.zeros((3, 8, 8, 3), np.uint8))
    others = (tmp_path / "others.npy").read_bytes()
    for name, damage in ((AUDIT_FILE, None), (THUMBNAILS_FILE, b"{"), (THUMBNAILS_FILE, others)):
        path = saved_audit(tmp_path, session, f"{len(damage or ())}") / name
        path.unlink()
        if damage:
            path.write_bytes(damage)
        with qtbot.waitSignal(auditing.failed) as blocker:
            auditing.open_saved(path.parent)
        assert isinstance(blocker.args[0], InputError)
        assert auditing.dialog is None
