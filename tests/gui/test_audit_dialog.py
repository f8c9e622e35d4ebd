"""The audit in the window: it shows the worst, the user excludes with one click, and saves."""

import json

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from cleanclip_gui.clean.audit.dialog import AuditDialogs
from cleanclip_gui.clean.audit.gallery import mark_rect
from cleanclip_gui.session import Session
from cleanclip_gui.station import Context
from ml_core.data.exclusions import read_exclusions
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.detection.records import (
    FIVE_POISONS,
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
from tests.gui.dropped import purpose
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner, close, heard
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


def test_one_click_excludes_and_another_takes_in_again(shown, qtbot):
    click_mark(qtbot, shown, 1)
    assert shown.excluded == {1}
    assert shown.count.text() == "1 pair excluded, not saved yet"
    click_mark(qtbot, shown, 1)
    assert shown.excluded == set()
    shown.undo.click()
    assert shown.excluded == {1}
    shown.undo.click()
    assert shown.excluded == set()
    assert not shown.undo.isEnabled()
    shown.redo.click()
    assert shown.excluded == {1}


def test_several_are_selected_and_excluded_by_button_and_key(shown, qtbot):
    rows = shown.view.selectionModel()
    for row in (2, 4):
        rows.select(shown.model.index(row), rows.SelectionFlag.Select)
    shown.exclude.click()
    assert shown.excluded == {0, 2, 4}
    assert not shown.exclude.isEnabled()
    shown.include.click()
    assert shown.excluded == set()
    shown.activateWindow()
    shown.view.setFocus()
    qtbot.keyClick(shown.view, Qt.Key.Key_Delete)
    assert shown.excluded == {0, 2, 4}
    qtbot.keyClick(shown.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert shown.excluded == set()
    qtbot.keyClick(shown.view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(shown.view, Qt.Key.Key_Delete)
    assert len(shown.excluded) == N
    qtbot.keyClick(shown.view, Qt.Key.Key_Insert)
    assert shown.excluded == set()


def test_other_scores_give_other_orders(shown):
    shown.lists.setCurrentIndex(shown.lists.findData("lid"))
    assert shown.model.rows[0] == N - 1
    assert shown.details.caption.text() == f"caption {N - 1}"
    assert shown.details.looks_for.text().startswith("LID, high is suspicious.")
    shown.lists.setCurrentIndex(shown.lists.findData("evaluated"))
    assert shown.model.rows == [3]
    shown.mark([5, 6], out=True)
    shown.lists.setCurrentIndex(shown.lists.findData("excluded"))
    assert shown.model.rows == [5, 6]


def test_a_score_clicked_in_the_table_sorts_by_it(shown, qtbot):
    table = shown.details.standings
    shown.activateWindow()
    table.setFocus()
    table.selectRow([s.name for s in SCORES].index("lid"))
    assert shown.lists.currentData() == "lid"
    assert shown.details.caption.text() == "caption 0"  # the pair stays chosen


def test_exclusions_are_saved_and_follow_what_is_marked(auditing, shown, qtbot, tmp_path):
    told = heard(auditing.used)
    shown.mark([1, 3], out=True)
    shown.save.click()
    path = tmp_path / "out.json"
    found = read_exclusions(path)
    assert [one.identity for one in found.pairs] == [f"{1:064x}", f"{3:064x}"]
    assert found.pairs[1].reason == "audit: DAO 7, rank 4; also an evaluation picture"
    assert found.set_key == "a" * 64
    assert "2 pairs" in shown.state.text()
    assert not shown.save.isEnabled()
    assert told == [(str(path), PAIRS)]
    shown.mark([1], out=False)  # and the file follows
    shown.save.click()
    assert [one.identity for one in read_exclusions(path).pairs] == [f"{3:064x}"]
    (earlier := tmp_path / "more.json").write_text(path.read_text().replace(f"{3:064x}", "b" * 64))
    shown.pairs = PAIRS.model_copy(update={"exclude": str(earlier)})
    shown.mark([2], out=True)
    shown.save.click()  # what the set was opened without stays excluded
    assert {one.identity for one in read_exclusions(path).pairs} == {
        "b" * 64, f"{2:064x}", f"{3:064x}",
    }  # fmt: skip


def test_a_file_that_is_no_exclusions_file_is_not_written_over(shown, tmp_path):
    (tmp_path / "out.json").write_text("{}")
    shown.mark([1], out=True)
    shown.save.click()
    assert "out.json cannot be used" in shown.state.text()
    assert (tmp_path / "out.json").read_text() == "{}"
    assert shown.unsaved


def test_closing_asks_about_marks_that_are_not_saved(auditing, shown, prompts):
    answers = Answers(yes=False)
    answers.take_over(prompts)
    shown.mark([1], out=True)
    shown.close_button.click()
    assert auditing.dialog is shown
    assert "1 pair excluded, but not saved" in answers.asked[0]
    answers.yes = True
    shown.reject()  # Escape
    assert auditing.dialog is None


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
    dialog.setup.form.set_values(chunk_size=64)
    assert dialog.setup.values()["chunk_size"] == 64
    dialog.setup.form.set_values(k=128)  # of which a chunk of few pairs is no help
    assert dialog.setup.values()["chunk_size"] == 512


def test_without_a_checkpoint_or_pairs_it_says_why(auditing, session, pairs):
    said = []
    auditing.failed.connect(lambda error: said.append(error.sentence))
    pairs.append(None)
    auditing.open()
    session.checkpoint = None
    auditing.open()
    assert "labelled images" in said[0]
    assert "Open a checkpoint first" in said[1]
    assert auditing.dialog is None


def test_the_clean_station_leaves_out_what_was_excluded(qtbot, session, tmp_path):
    from cleanclip_gui.clean.station import CleanStation
    from cleanclip_gui.inference.inference import Inference
    from tests.gui.shell_fakes import FakeEngine

    panel = CleanStation(Context(session=session, inference=Inference(FakeEngine)))
    qtbot.addWidget(panel)
    assert panel.setup.audit_hint.text() == FIVE_POISONS
    panel.setup.audit_button.click()
    assert panel.auditing.dialog is not None
    path = tmp_path / "exclusions.json"
    path.write_text("{}")
    panel.auditing.used.emit((str(path), PairSpec(seed=7)))
    assert panel.data.pairs().exclude is None  # of other pairs
    panel.auditing.used.emit((str(path), PairSpec()))
    assert panel.data.pairs().exclude == str(path)
    panel.form.method.setCurrentIndex(panel.form.method.findData("supervised"))
    assert not panel.setup.audit_button.isVisibleTo(panel)
    assert close(panel)


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
    assert dialog.isVisible()
    assert dialog.model.rowCount() == N
    assert dialog.model.pixmap(7).toImage().pixelColor(2, 2).red() == 7
    assert "100 pairs scored" in dialog.state.text()
    assert dialog.excluded == set()
    assert dialog.start.isEnabled()
    dialog.mark([1, 3], out=True)
    dialog.save.click()  # elsewhere; the audit keeps a copy
    assert (tmp_path / "out.json").is_file()
    dialog.close_button.click()
    assert auditing.dialog is None

    auditing.open_saved(folder)
    again = auditing.dialog
    assert again.excluded == {1, 3}
    assert not again.unsaved
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
    old = auditing.dialog
    assert old.model.rowCount() == N
    assert not old.start.isEnabled()
    assert old.start.toolTip() == "Open m.safetensors to audit again."
    session.checkpoint = facts(tmp_path / "x", inspection=inspect(tmp_path / "m.safetensors"))
    auditing.open()  # for the pairs in use, as the open checkpoint sees them
    assert auditing.dialog is not old
    assert auditing.dialog.start.isEnabled()


def test_the_page_is_about_the_checkpoint_that_it_names(auditing, session, tmp_path):
    first = session.checkpoint
    auditing.open()
    old = auditing.dialog
    path = write_safetensors(tmp_path / "b.safetensors", {"a": [1.0]})
    session.checkpoint = facts(path, inspection=inspect(path))
    assert not old.start.isEnabled()
    assert old.start.toolTip() == "Open m.safetensors to audit again."
    auditing.open()
    assert auditing.dialog is not old
    assert "as b.safetensors sees them" in [
        one.text() for one in auditing.dialog.findChildren(QLabel)
    ]
    running = auditing.dialog
    running.start.click()
    assert read_spec_file(running.task.runner.spec_path, AuditSpec).checkpoint == str(path)
    session.checkpoint = first
    auditing.open()
    assert auditing.dialog is running  # and what it does is not ended
    assert running.task.is_running


def test_marks_that_are_not_saved_stay_before_another_audit(auditing, session, prompts, tmp_path):
    first, second = (saved_audit(tmp_path, session, name) for name in ("one", "two"))
    answers = Answers(second, yes=False)
    answers.take_over(prompts)
    auditing.open_saved(first)
    dialog = auditing.dialog
    dialog.mark([1], out=True)
    auditing.choose()
    assert auditing.dialog is dialog
    assert answers.asked[0] == "Open an audit"
    assert "not saved" in answers.asked[1]
    answers.yes = True
    auditing.choose()
    assert auditing.dialog is not dialog
    assert auditing.dialog.folder == second


@pytest.mark.parametrize("what", ["nothing", "pictures", "others"])
def test_a_damaged_audit_is_one_sentence(auditing, session, tmp_path, qtbot, what):
    folder = saved_audit(tmp_path, session)
    if what == "nothing":
        (folder / AUDIT_FILE).unlink()
    elif what == "others":
        np.save(folder / THUMBNAILS_FILE, np.zeros((3, 8, 8, 3), np.uint8))
    else:
        (folder / THUMBNAILS_FILE).write_bytes(b"{")
    with qtbot.waitSignal(auditing.failed) as blocker:
        auditing.open_saved(folder)
    assert isinstance(blocker.args[0], InputError)
    assert auditing.dialog is None


def test_the_folder_of_an_audit_is_known_when_it_is_dropped(session, tmp_path):
    folder = saved_audit(tmp_path, session)
    assert purpose(folder) == "audit"
    assert purpose(folder / AUDIT_FILE) == "audit"
    (folder / AUDIT_FILE).rename(tmp_path / AUDIT_FILE)
    assert purpose(tmp_path / AUDIT_FILE) == "trigger"  # a JSON file of that name
