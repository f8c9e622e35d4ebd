"""Queue, history and comparison in the Clean station, with a runner that the test plays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtTest import QTest

from cleanclip_gui.clean.history import read_name
from cleanclip_gui.clean.runs.runs_table import (
    ACCURACY,
    ATTACK,
    RUN,
    SHOWN,
    STARTED,
    STATUS,
    TITLES,
)
from cleanclip_gui.clean.setup import KEEP_HELP, missing, requirements_of
from cleanclip_gui.clean.station import CleanStation
from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.jobs.runner import DEVICES
from cleanclip_gui.session import Session
from ml_core.cleaning.catalogue import FACTS, MethodFacts
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Metric, Saved
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger
from tests.gui.factories import facts
from tests.gui.fakes import (
    FakeRunner,
    close,
    open_session,
    result_of,
    runner_of,
    station,
    two_clicks,
)
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_journal, write_state


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "runs").mkdir()
    return open_session(tmp_path / "runs")


@pytest.fixture
def panel(qtbot, session: Session, tmp_path: Path):
    made = station(qtbot, session, tmp_path)
    made.resize(1262, 640)
    yield made
    close(made)


def end(panel: CleanStation, tmp_path: Path) -> None:
    runner = runner_of(panel)
    cleaned = runner.spec_path.parent / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned")
    source = read_spec(runner.spec_path).checkpoint
    runner.end(Done("finished", result_of(cleaned) | {"source": source}))


def shown(panel: CleanStation) -> list[tuple[str, str]]:
    return [(run.folder.name, run.status) for run in panel.runs.table.runs.runs]


def history(qtbot, panel: CleanStation) -> None:
    panel.show_page(1)
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=8000)


def all_read(qtbot, panel: CleanStation) -> None:
    qtbot.waitUntil(lambda: not (panel.runs.is_reading or panel.run.is_reading), timeout=8000)


def click(button) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_a_second_start_waits_its_turn(panel: CleanStation, session, tmp_path: Path) -> None:
    panel.form.row("seed").editor.setValue(1)
    click(panel.start_button)
    first = runner_of(panel)
    panel.form.row("seed").editor.setValue(2)
    click(panel.start_button)
    panel.form.row("seed").editor.setValue(3)
    click(panel.start_button)
    assert panel.tabs.tabText(1) == "Queue and history, 2 waiting"
    assert runner_of(panel) is first
    second, third = panel.queue.folders
    assert [status for _, status in shown(panel)] == ["running", "waiting", "waiting"]
    panel.show_page(1)
    panel.runs.table.choose(third)
    click(panel.runs.up)
    assert panel.queue.folders == (third, second)
    end(panel, tmp_path)
    assert runner_of(panel).spec_path == third / "spec.json"
    assert panel.queue.folders == (second,)  # one at a time
    assert panel.tabs.tabText(1) == "Queue and history, 1 waiting"
    assert read_spec(third / "spec.json").recipe.seed == 3
    assert session.run.output_dir == str(third)
    assert panel.run.asked[0].digest == session.trigger.digest
    panel.runs.table.choose(second)
    click(panel.runs.remove)
    assert panel.queue.folders == ()
    assert ("not started") in [status for _, status in shown(panel)]
    end(panel, tmp_path)
    assert not panel.run.is_running
    assert panel.start_button.text() == "Start cleaning"
    panel.runs.table.choose(second)
    click(panel.runs.start)
    assert runner_of(panel).spec_path == second / "spec.json"
    end(panel, tmp_path)


@pytest.mark.usefixtures("styled")
def test_a_small_screen_cuts_no_mark_status_or_accuracy(
    panel: CleanStation, tmp_path: Path
) -> None:
    killed = write_run(tmp_path / "runs", "killed", end=Done("failed", {}, "Killed.", "killed"))
    whole = write_run(tmp_path / "runs", "whole", dip=0.0)
    result = json.loads((whole / "result.json").read_text())
    result["before"]["ca"] = 1.0
    (whole / "result.json").write_text(json.dumps(result))
    table = panel.runs.table
    panel.resize(1262, 640)
    panel.show_page(1)
    for folder in (killed, whole):
        panel.runs.note_run(folder)
        panel.runs.compare(folder, True)
    for column in (SHOWN, STARTED, STATUS, ACCURACY, ATTACK):
        assert table.sizeHintForColumn(column) <= table.columnWidth(column), TITLES[column]
    assert table.horizontalScrollBar().maximum() == 0
    tip = table.runs.data(table.runs.index(0, RUN), Qt.ItemDataRole.ToolTipRole)
    assert "CleanCLIP, custom: 100 steps" in tip


def test_that_the_queue_is_held_can_be_seen(panel: CleanStation) -> None:
    panel.show_page(1)
    free = panel.runs.hold.grab().toImage()
    panel.runs.hold.setChecked(True)
    assert panel.runs.hold.grab().toImage() != free


def test_a_held_queue_starts_nobody(panel: CleanStation, tmp_path: Path) -> None:
    panel.start()
    panel.start()
    panel.show_page(1)
    click(panel.runs.hold)
    end(panel, tmp_path)
    assert not panel.run.is_running
    assert len(panel.queue) == 1
    click(panel.runs.hold)
    assert panel.run.is_running
    end(panel, tmp_path)


def test_a_run_whose_device_is_taken_waits_on(qtbot, panel, tmp_path, monkeypatch) -> None:
    def refuse(self: FakeRunner) -> None:
        raise InputError("A job is already running on cpu; wait for it or cancel it first.")

    panel.start()
    panel.start()
    (waiting,) = panel.queue.folders
    with monkeypatch.context() as patch:
        patch.setattr(FakeRunner, "launch", refuse)
        end(panel, tmp_path)
    assert "already running on cpu" in panel.log_line.text()
    assert (panel.queue.folders, panel.queue.held) == ((waiting,), False)
    assert panel.tabs.tabText(1) == "Queue and history, 1 waiting"
    assert panel.before_after.isVisible()
    DEVICES.changed.emit()  # as the job of another station ends
    qtbot.waitUntil(lambda: panel.run.is_running)
    assert runner_of(panel).spec_path == waiting / "spec.json"
    end(panel, tmp_path)


def test_history_survives_the_window_and_repeats(qtbot, panel, session, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    write_run(runs, "older", begun=1000.0, seed=7, lr=3e-3)
    write_run(runs, "newer", begun=2000.0, method="supervised")
    history(qtbot, panel)
    assert shown(panel) == [("newer", "finished"), ("older", "finished")]
    panel.runs.table.setFocus()
    panel.runs.table.choose(runs / "older")
    QTest.keyClick(panel.runs.name, Qt.Key.Key_End)
    QTest.keyClicks(panel.runs.name, "keep")
    QTest.keyClick(panel.runs.name, Qt.Key.Key_Return)
    assert read_name(runs / "older") == "keep"
    with qtbot.waitSignal(panel.runs.repeated) as blocker:
        click(panel.runs.repeat)
    assert blocker.args[0] == read_spec(runs / "older" / "spec.json")
    assert panel.form.recipe() == blocker.args[0].recipe
    assert panel.setup.keep_steps.isChecked()
    two_clicks(panel.runs.duplicate, 150)
    assert len(panel.queue) == 0
    again = read_spec(runner_of(panel).spec_path)
    assert again.recipe == blocker.args[0].recipe
    assert Path(again.output_dir) not in (runs / "older", runs / "newer")


def test_an_old_run_is_shown_again(qtbot, panel: CleanStation, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "old")
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    panel.runs.table.setFocus()
    QTest.keyClick(panel.runs.table, Qt.Key.Key_Return)
    assert panel.tabs.currentIndex() == 0
    assert panel.before_after.isVisible()
    all_read(qtbot, panel)
    assert len(panel.charts.rates.series("ca")) == 6
    panel.try_cleaned()
    request = panel.context.inference.questions[-1]
    assert (request.path, request.role) == (str(folder / "cleaned.safetensors"), "cleaned")


def test_a_killed_run_is_interrupted_on_its_page_and_in_the_history(
    qtbot, panel: CleanStation, session
) -> None:
    """One word, and the way on, now and after the window was closed."""
    panel.start()
    runner = runner_of(panel)
    folder = runner.spec_path.parent
    write_journal(folder, [Metric(1, 9, {"loss": 1.0})])
    write_state(folder, step=1)
    runner.end(Done("failed", {}, "The cleaning job was killed by SIGKILL.", "killed"))
    assert panel.run_bar.title.text().endswith(": interrupted")
    assert session.run.status == "interrupted"
    assert ("interrupted") in [status for _, status in shown(panel)]
    history(qtbot, panel)
    panel.run.forget(folder)  # nothing of it is on show
    assert panel.trouble_card.isHidden()
    panel.runs.table.choose(folder)
    click(panel.runs.open_)
    assert panel.tabs.currentIndex() == 0
    assert panel.run_bar.title.text().endswith(": interrupted")
    assert panel.trouble_text.text() == (
        "The run was interrupted. Resume continues from the last save."
    )
    assert not panel.details_button.isVisible()  # there are none
    click(panel.resume_button)
    assert (runner_of(panel).mode, runner_of(panel).spec_path.parent) == ("resume", folder)


def test_a_killed_run_is_offered_at_half_its_batch(panel: CleanStation) -> None:
    panel.start()
    first = runner_of(panel)
    first.end(Done("failed", {}, "Killed by SIGKILL, probably out of memory.", "killed"))
    assert panel.halve_button.isVisible()
    click(panel.halve_button)
    second = runner_of(panel)
    one, two = read_spec(first.spec_path).recipe, read_spec(second.spec_path).recipe
    assert two.batch_size == one.batch_size // 2
    assert not panel.halve_button.isVisible()
    second.end(Done("failed", {}, "The loss diverged.", "usage"))
    assert not panel.halve_button.isVisible()


def test_runs_are_compared_live_and_by_hand(qtbot, panel: CleanStation, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    old = write_run(runs, "old")
    history(qtbot, panel)
    table = panel.runs.table
    table.choose(old)
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_Space)
    assert panel.runs.compared() == {old: 0}
    all_read(qtbot, panel)
    panel.start()
    runner = runner_of(panel)
    live = runner.spec_path.parent
    assert panel.runs.compared() == {old: 0, live: 1}
    runner.event_received.emit(Metric(0, 9, {"ca": 0.97, "asr_excl": 0.98}))
    runner.event_received.emit(Metric(1, 9, {"loss": 1.0}))
    runner.event_received.emit(Metric(3, 9, {"ca": 0.95, "asr_excl": 0.5}))
    kept = live / "steps" / "step-000003.safetensors"
    runner.event_received.emit(Saved(str(kept), "step", 3))
    curves = panel.runs.curves
    assert curves.keys() == ("A.ca", "A.asr", "B.ca", "B.asr")
    assert [curves.series("B.asr").point(i) for i in range(2)] == [(0, 0.98), (3, 0.5)]
    styles = {key: curves.series(key).style for key in curves.keys()}  # noqa: SIM118
    assert styles["A.ca"].symbol != styles["B.ca"].symbol
    assert styles["B.ca"].dash != styles["B.asr"].dash
    spots = panel.runs.tradeoff.spots()
    assert [s.point.step for s in spots if s.track.key == str(live)] == [0, 3]
    assert [bool(s.point.checkpoint) for s in spots if s.track.key == str(live)] == [False, True]
    table.choose(old)
    QTest.keyClick(table, Qt.Key.Key_Space)
    assert curves.keys() == ("B.ca", "B.asr")


def test_a_point_opens_its_checkpoint(qtbot, panel, session, tmp_path: Path) -> None:
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


def test_results_of_another_place_are_opened(qtbot, panel: CleanStation, tmp_path: Path) -> None:
    away = write_run(tmp_path / "cluster", "job-7")
    history(qtbot, panel)
    panel.context.prompts.open_folder = lambda *_: str(away)
    click(panel.runs.add_folder)
    assert shown(panel) == [("job-7", "finished")]
    panel.runs.reload()
    qtbot.waitUntil(lambda: not panel.runs.is_reading, timeout=8000)
    assert shown(panel) == [("job-7", "finished")]
    panel.context.prompts.open_folder = lambda *_: str(tmp_path)
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        click(panel.runs.add_folder)
    assert "holds no spec.json" in blocker.args[0].sentence


def test_recipes_are_saved_opened_and_dropped(qtbot, panel: CleanStation, tmp_path: Path) -> None:
    panel.form.set_method("mmcl")
    panel.form.row("seed").editor.setValue(11)
    wanted = panel.form.recipe()
    path = tmp_path / "mine.json"
    panel.context.prompts.save_file = lambda *_: str(path)
    click(panel.setup.save_recipe)
    panel.form.set_method("cleanclip")
    panel.context.prompts.open_file = lambda *_: str(path)
    click(panel.setup.open_recipe)
    assert panel.form.recipe() == wanted
    panel.form.set_method("cleanclip")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    panel.setup.dropEvent(
        QDropEvent(
            QPointF(2, 2), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    assert panel.form.recipe() == wanted
    path.write_text("{}")
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        click(panel.setup.open_recipe)
    assert "mine.json is not a recipe file" in blocker.args[0].sentence


def test_what_a_method_needs_is_said(session: Session, tmp_path: Path) -> None:
    method = MethodFacts(
        "Blend", "h", "s", data="none", needs=frozenset({"reference", "trigger", "vit"})
    )
    session.checkpoint = facts(session.checkpoint.path)
    clean = tmp_path / "clean.safetensors"
    clean.write_bytes(b"w")

    def said(reference: str) -> str:
        return missing(requirements_of(method, session, reference))

    assert "works only on a ViT image encoder; this checkpoint has ResNet 64 px" in said(str(clean))
    assert "choose a reference" in said("")
    assert "There is no reference at" in said(str(tmp_path / "gone"))
    assert "is the checkpoint that is being cleaned" in said(session.checkpoint.path)
    session.trigger = None
    assert "needs the trigger: paint or open one in Studio" in said(str(clean))


def test_start_waits_for_what_is_missing(panel: CleanStation, session, monkeypatch) -> None:
    from dataclasses import replace

    monkeypatch.setitem(
        FACTS, "mmcl", replace(FACTS["mmcl"], needs=frozenset({"trigger", "reference"}))
    )
    session.trigger = None
    panel.form.set_method("mmcl")
    assert not panel.start_button.isEnabled()
    assert "needs the trigger" in panel.hint.text()
    assert panel.setup.reference.isVisibleTo(panel)
    assert panel.setup.requirements.texts() == [
        "✗  Trigger: none yet",
        "✗  Clean reference: none yet",
    ]
    session.trigger = demo_trigger()
    assert "choose a reference" in panel.hint.text()
    reference = Path(session.checkpoint.path).with_name("clean.safetensors")
    reference.write_bytes(b"w")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(reference))])
    drop = QDropEvent(
        QPointF(QPoint(2, 2)), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    panel.setup.reference.dropEvent(drop)
    assert panel.start_button.isEnabled()
    panel.start()
    assert read_spec(runner_of(panel).spec_path).reference == str(reference)


def test_what_keeping_every_checkpoint_takes(panel: CleanStation) -> None:
    panel.setup.set_weight_bytes(10 << 20)
    panel.form.row("pairs").editor.setValue(128 * 100)
    panel.form.row("eval_every").editor.setValue(30)
    panel.form.changed.emit()
    assert panel.setup.evaluations() == 5  # 0, 30, 60, 90 and 100
    assert panel.setup.keep_help.text().startswith("5 checkpoints, 50.0 MiB on disk.")
    panel.form.row("eval_every").editor.setValue(0)
    panel.form.changed.emit()
    assert "never evaluates" in panel.setup.keep_help.text()
    panel.form.set_method("rvpt")  # how many steps it has depends on the classes
    assert panel.setup.keep_help.text() == KEEP_HELP
    panel.form.set_method("cleanclip")
    panel.form.row("eval_every").editor.setValue(0)
    panel.form.changed.emit()
    click(panel.setup.keep_steps)
    panel.start()
    assert read_spec(runner_of(panel).spec_path).keep_steps


def test_self_supervision_of_pictures_takes_a_folder_of_them(
    panel: CleanStation, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(b"a picture by its name")
    panel.form.set_method("ss")
    panel.data.table.click()
    panel.data.path.setText(str(tmp_path / "photos"))
    assert "holds no image-caption pairs" in panel.data.summary.text()
    panel.form.row("lambda_text").editor.setValue(0.0)
    panel.form.changed.emit()
    assert panel.data.summary.text() == "Found: pictures alone"
    panel.start()
    spec = read_spec(runner_of(panel).spec_path)
    assert spec.pairs == PairSpec(kind="images", path=str(tmp_path / "photos"))
    runner_of(panel).end(Done("cancelled"))
    panel.setup.show_spec(spec)
    assert panel.data.pairs() == spec.pairs
