"""The Clean station and its run, with a runner that is played by the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QLabel

from cleanclip_gui.clean.before_after import BeforeAfterRow, difference_text, summary, tone_colour
from cleanclip_gui.clean.result import suggested_name
from cleanclip_gui.clean.run import STALE, CleaningRun
from cleanclip_gui.clean.run_bar import progress_text
from cleanclip_gui.inference.inference import StudioDevice
from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.jobs.runner import _RUNNING, DEVICES
from cleanclip_gui.widgets.text import duration_text, left_text
from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import fields_of
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, Metric, Progress, Saved
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger
from tests.gui.factories import facts
from tests.gui.fakes import (
    FakeRunner,
    clean_panel,
    close,
    open_session,
    result_of,
    runner_of,
    two_clicks,
)
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, FakeInference, write_state

session = pytest.fixture(open_session)
panel = pytest.fixture(clean_panel)


def test_the_search_begins_with_the_rate_that_the_presets_follow(panel):
    told = Pretraining(8e-4, "from params.txt of its training", "file")
    panel.form.set_pretraining(told)
    panel.searching.open()
    assert panel.searching.dialog is not None
    assert panel.searching.dialog.form.values()["peak_lr"] == told.rate
    close(panel)
    assert panel.searching.dialog is None


def test_the_named_reference_is_known_to_other_stations(panel):
    panel.setup.reference.set_path("clean.pt")
    assert panel.session.trusted == str(Path("clean.pt").absolute())
    panel.setup.reference.set_path("")
    assert panel.session.trusted == ""


def texts(panel, *commands):
    """What menu and palette call some commands."""
    return [panel.context.actions[f"clean.{name}"].text().replace("&", "") for name in commands]


def test_a_rate_that_may_destroy_the_checkpoint_is_asked_about_once(panel, session):
    known = Pretraining(5e-4, "RN50", "architecture")
    other = {"of_demo": False, "pretraining": known}
    session.checkpoint = facts(session.checkpoint.path, **other)
    answers = Answers(yes=False).take_over(panel.context.prompts)
    panel.form.set_preset("quick")
    panel.start_button.click()
    (asked,) = answers.asked
    assert "times the peak of 5e-4" in asked
    assert panel.run.runner is None
    assert not (panel.setup.folder()).exists()
    answers.yes = True
    panel.start_button.click()
    runner_of(panel).end(Done("cancelled"))
    assert len(answers.asked) == 2
    panel.start()
    runner_of(panel).end(Done("cancelled"))
    assert len(answers.asked) == 2
    session.checkpoint = facts(session.checkpoint.path, **other)  # another one
    panel.start()
    assert len(answers.asked) == 3


def test_a_reference_tells_how_the_checkpoint_was_pretrained(panel, session):
    session.checkpoint = facts(session.checkpoint.path, of_demo=False)
    panel.form.set_method("tbar")
    assert panel.form.recipe().lr == 2.4e-5  # of 3.6e-4, which is assumed
    told = Pretraining(1e-3, "from params.txt", "file")
    session.reference = facts("clean.pt", of_demo=False, pretraining=told)
    assert panel.form.recipe().lr == 6.7e-5
    session.reference = facts("clean.pt", pretraining=told, architecture="RN50", of_demo=False)
    assert panel.form.recipe().lr == 2.4e-5


def test_start_writes_the_job_that_is_set(panel, session):
    panel.form.row("pairs").editor.setValue(256)
    panel.start_button.click()
    runner = runner_of(panel)
    assert runner.told == ["launch"]
    spec = read_spec(runner.spec_path)
    assert spec.checkpoint == session.checkpoint.path
    assert (spec.recipe.pairs, spec.recipe.preset, spec.target) == (256, "custom", 1)
    assert (spec.images.split, spec.test_images.split, spec.heldout_images.split) == (
        "val", "test", "heldout",
    )  # fmt: skip
    assert spec.test_images.n == 4000
    assert spec.pairs.split == "clean"
    assert spec.training_images is None
    assert Path(spec.trigger).is_file()
    assert Path(spec.label_set).read_text() == "apple\nbanana\n"
    assert spec.templates == ("a {}",)
    assert Path(spec.output_dir) == runner.spec_path.parent
    assert session.run.status == "running"
    assert "numbers come slower" in panel.run_bar.notice.text()
    runner.end(Done("cancelled"))
    assert panel.run_bar.notice.text() == ""
    panel.form.set_method("supervised")
    panel.start()
    spec = read_spec(runner_of(panel).spec_path)
    assert spec.pairs is None
    assert spec.training_images == ImageSpec(kind="demo", split="clean")


def test_what_can_be_pressed(panel, session):
    bar = panel.run_bar
    assert panel.start_button.isEnabled()
    assert not bar.pause.isVisible()
    panel.start()
    assert panel.start_button.isEnabled()
    assert panel.start_button.text() == "Add to the queue"
    assert texts(panel, "start", "pause") == ["Add to the queue", "Pause"]
    assert not panel.estimate_button.isEnabled()
    assert all(b.isVisible() and b.isEnabled() for b in bar.buttons)
    bar.pause.click()
    assert bar.pause.text() == "Resume"
    assert texts(panel, "pause") == ["Resume"]
    assert session.run.status == "paused"
    bar.pause.click()
    assert session.run.status == "running"
    assert panel.run.headline == "CleanCLIP, quick is running"
    bar.stop.click()
    assert panel.run.headline == "Finishing the step, then saving"
    assert (bar.pause.isEnabled(), bar.stop.isEnabled(), bar.cancel.isEnabled()) == (
        False, False, True,
    )  # fmt: skip
    bar.cancel.click()
    assert panel.run.headline == "Cancelling"
    assert not bar.cancel.isEnabled()
    assert runner_of(panel).told == ["launch", "pause", "resume", "stop", "cancel"]
    runner_of(panel).end(Done("cancelled"))
    assert panel.start_button.text() == "Start cleaning"
    assert panel.estimate_button.isEnabled()
    assert session.run.status == "cancelled"
    session.checkpoint = None
    assert not panel.start_button.isEnabled()
    assert panel.hint.text() == "Open a checkpoint first: it is what will be cleaned."
    session.checkpoint = facts()
    session.trigger = None
    assert "attack success will not be measured" in panel.hint.text()
    session.images = None
    assert "nothing will be measured" in panel.hint.text()


def test_events_move_charts_progress_and_log(panel):
    panel.start()
    runner = runner_of(panel)
    runner.event_received.emit(Metric(0, 3, {"ca": 0.97, "asr_excl": 0.98}))
    runner.event_received.emit(Metric(1, 3, {"loss": 2.0, "clip": 2.0, "lr": 1e-4}))
    runner.event_received.emit(Progress("train", 1, 3, 250.0, 62.0))
    runner.line_logged.emit("a line\x1b[31m of a library")
    assert panel.charts.rates.series("asr_excl").point(0) == (0, 0.98)
    assert panel.charts.losses.series("loss").point(0) == (1, 2.0)
    assert panel.run_bar.details.text() == "Training · 1 of 3"
    assert panel.run_bar.throughput.text() == "250 examples a second"
    assert "\x1b" not in panel.log_line.text() + panel.log_line.toolTip()
    runner.event_received.emit(Saved("out/step-1.safetensors", "step", 1))
    assert panel.log_line.text() == "Saved step-1.safetensors at step 1."
    assert panel.session.run_progress.stage == "train"
    assert 0 < panel.session.run_progress.fraction < 1


def test_on_a_gpu_studio_moves_and_comes_back(panel, session):
    session.device = "cuda:0"
    panel.start()
    panel.context.inference.answer("cpu")
    assert session.device == "cpu"
    assert panel.run_bar.notice.text() == "Studio evaluates on the CPU while the run uses cuda:0."
    runner_of(panel).end(Done("cancelled"))
    assert panel.context.inference.devices == ["cpu", "cuda:0"]
    assert session.run.device == "cuda:0"
    session.device = "cpu"  # as the user chose; the next run may take another GPU
    assert "on the CPU while the run uses cuda:1" in panel.context.device.release("cuda:1")
    panel.context.device.restore()
    assert session.device == "cpu"


def test_no_estimate_before_it_is_measured(qtbot, panel, session):
    assert panel.estimate_label.text() == ""
    panel.estimate_button.click()
    runner = runner_of(panel)
    assert runner.mode == "estimate"
    assert panel.estimate_label.text() == ""
    assert not panel.run_bar.stop.isVisible()
    found = {"seconds": 190.0, "steps": 312, "step_seconds": 0.52, "memory_bytes": 1 << 30}
    runner.end(Done("finished", found))
    assert panel.estimate_label.text() == (
        "About 3 min 10 s for 312 steps (0.52 s a step, measured), 1.0 GiB of memory."
    )
    assert session.run is None
    assert not runner.spec_path.exists()
    panel.form.row("batch_size").editor.setValue(64)
    assert panel.estimate_label.text() == ""
    panel.estimate_button.click()
    runner_of(panel).end(Done("finished", found))
    assert panel.estimate_label.text()
    session.images = None  # most of a short run is measuring images
    assert panel.estimate_label.text() == ""
    panel.estimate()
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        runner_of(panel).end(Done("failed", {}, "There is no table.", "usage", "why"))
    assert (blocker.args[0].sentence, blocker.args[0].details) == ("There is no table.", "why")
    panel.estimate()
    panel.run.pause()  # which an estimate does not do
    panel.form.row("batch_size").editor.setValue(32)  # while it is measured
    assert runner_of(panel).told == ["launch"]
    runner_of(panel).end(Done("finished", found))
    assert (panel.run.estimated, panel.run.details) == ({}, STALE)


def test_a_run_of_hours_can_be_shortened(panel, session):
    session.checkpoint = facts(session.checkpoint.path, of_demo=False)
    for hours, there in ((30, 100_000), (0.9, 100_000), (30, 2000)):
        panel.form.set_preset("paper")
        panel.estimate_button.click()
        steps = panel.form.recipe().total_steps
        found = {
            "seconds": hours * 3700, "train_seconds": hours * 3600, "steps": steps,
            "step_seconds": 24.0, "pairs": there,
        }  # fmt: skip
        runner_of(panel).end(Done("finished", found))
        assert panel.shorten_button.isVisible() == (hours > 1)
        if hours < 1:
            continue
        panel.shorten_button.click()
        recipe = panel.form.recipe()
        assert abs(recipe.total_steps - 150) <= 3
        assert recipe.pairs <= there
        assert panel.form.changed_fields() == ("pairs", "epochs", "warmup_steps")
        assert recipe.warmup_steps == recipe.total_steps // 4  # of the 50 that the preset has
        assert not panel.shorten_button.isVisible()
        assert "Shortened to" in panel.log_line.text()
        panel.form.reset()


def finish(panel, tmp_path):
    cleaned = tmp_path / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned weights")
    panel.start()
    runner_of(panel).end(Done("finished", result_of(cleaned)))
    return cleaned


def test_before_and_after_stand_side_by_side(panel, session, tmp_path):
    finish(panel, tmp_path)
    assert panel.before_after.sentence() == (
        "CleanCLIP cut the ASR from 98.0 to 4.0\u00a0%; clean accuracy fell from 97.4 to "
        "96.2\u00a0% (3 min 7 s)."
    )
    texts = [label.text() for label in panel.before_after.findChildren(QLabel)]
    for text in ("98.0 %", "4.0 %", "▼ −94.0 points", "▼ −1.2 points", "▲ +84.0 points",
                 "97.0 – 99.0", "3.0 – 5.0", "= no change"):  # fmt: skip
        assert text in texts
    assert "Poisoned accuracy: 2.0 % before, 86.0 % after" in (
        panel.before_after.accessibleDescription()
    )
    assert panel.try_button.isVisible()
    assert session.run.status == "finished"
    assert session.run.result["seconds"] == 187.0


def test_try_in_studio_opens_the_cleaned_checkpoint(qtbot, panel, session, tmp_path):
    cleaned = finish(panel, tmp_path)
    panel.try_button.click()
    request = panel.context.inference.questions[-1]
    assert isinstance(request, OpenCheckpoint)
    assert (request.path, request.role) == (str(cleaned), "cleaned")
    assert session.role == "suspect"
    opened = facts(cleaned)
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(opened)
    assert session.role == "cleaned"
    assert session.cleaned is opened
    panel.shell.suspect_changing.emit()  # it was made from the one before
    assert session.cleaned is None


def test_a_cleaned_checkpoint_that_was_opened_is_named_when_the_next_one_fails(
    panel, session, tmp_path
):
    cleaned = finish(panel, tmp_path)
    shown = []
    panel.shell.station_wanted.connect(shown.append)
    panel.try_button.click()
    first = panel.context.inference.tickets[-1]
    panel.try_button.click()
    opened = facts(cleaned)
    first.deliver(opened)
    panel.context.inference.fail("The file is damaged.")
    assert session.cleaned is opened  # as the engine has it
    assert session.role == "suspect"
    assert shown == []


def test_save_copies_whole_files(qtbot, panel, tmp_path):
    finish(panel, tmp_path)
    asked: list[tuple[str, ...]] = []
    prompts = panel.context.prompts
    prompts.save_file = lambda _, *said: asked.append(said) or str(tmp_path / "mine.safetensors")
    panel.save_button.click()
    assert panel.saving.is_busy
    qtbot.waitUntil(lambda: panel.save_button.isEnabled(), timeout=5000)
    assert not panel.saving.is_busy
    assert asked == [
        ("Save cleaned checkpoint", "poisoned-cleaned.safetensors", "safetensors (*.safetensors)")
    ]
    assert (tmp_path / "mine.safetensors").read_bytes() == b"cleaned weights"
    assert panel.log_line.text() == "Saved the cleaned checkpoint as mine.safetensors."
    assert not list(tmp_path.glob("*.part"))
    panel.save_cleaned()
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.save_cleaned()
    assert "is being saved" in blocker.args[0].sentence
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)
    prompts.save_file = lambda *_: str(tmp_path / "nowhere" / "x.safetensors")
    with qtbot.waitSignal(panel.shell.failed, timeout=5000) as blocker:
        panel.save_cleaned()
    assert "could not be written" in blocker.args[0].sentence
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)
    assert close(panel)


def test_no_file_is_written_over_unasked(qtbot, panel, tmp_path):
    """A name with a full stop gets no ending from the dialog, which asks about that name only."""
    finish(panel, tmp_path)
    there = tmp_path / "mine.v2.safetensors"
    there.write_bytes(b"older weights")
    answers = Answers(tmp_path / "mine.v2", yes=False)
    answers.take_over(panel.context.prompts)
    panel.save_button.click()
    assert answers.asked[1] == "mine.v2.safetensors exists already. Write over it?"
    assert not panel.saving.is_busy
    assert there.read_bytes() == b"older weights"
    answers.yes = True
    panel.save_button.click()
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)
    assert there.read_bytes() == b"cleaned weights"


def test_an_adapter_is_called_one(qtbot, panel, tmp_path):
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(b"adapter")
    result = result_of(finish(panel, tmp_path))
    assert panel.save_button.text() == "Save cleaned checkpoint…"
    panel.start()
    adapted = result | {"method": "rvpt", "adapter": str(adapter)}
    runner_of(panel).end(Done("finished", adapted))
    assert panel.save_button.text() == "Save adapter…"
    assert texts(panel, "save") == ["Save adapter…"]
    answers = Answers(tmp_path / "mine.safetensors")
    answers.take_over(panel.context.prompts)
    panel.save_button.click()
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)
    assert answers.asked == ["Save adapter"]
    assert (tmp_path / "mine.safetensors").read_bytes() == b"adapter"
    assert panel.log_line.text() == (
        "Saved the adapter as mine.safetensors; keep it with the weights."
    )


def test_start_again_is_the_same_job_whatever_the_form_shows(panel, session):
    panel.form.set_method("par")
    panel.start()
    first = runner_of(panel)
    first.end(Done("failed", {}, "It broke.", "crashed"))
    panel.form.set_method("tbar")
    panel.form.row("seed").editor.setValue(77)
    session.trigger = None
    assert not panel.start_button.isEnabled()
    assert panel.resume_button.text() == "Start again"
    panel.queue.hold(True)
    panel.resume_button.click()
    assert (runner_of(panel).mode, runner_of(panel) is first) == ("run", False)
    one, two = read_spec(first.spec_path), read_spec(runner_of(panel).spec_path)
    assert two.recipe == one.recipe
    assert Path(two.trigger).parent == Path(two.output_dir) == runner_of(panel).spec_path.parent
    assert panel.run.on_show.asked[0].digest == demo_trigger().digest


@pytest.mark.parametrize("moved", [False, True])
def test_a_double_click_starts_one_run(panel, moved):
    two_clicks(panel.start_button, 150, moved=moved)
    assert panel.run.is_running
    assert len(panel.queue) == 0
    two_clicks(panel.start_button, 2000)  # each of them is meant
    assert len(panel.queue) == 2
    panel.start_button.setAutoDefault(True)  # as the window has it
    for repeated in (False, True, True):  # a key that is held
        key = Qt.Key.Key_Return
        press = QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier, "", repeated)
        QApplication.sendEvent(panel.start_button, press)
    assert len(panel.queue) == 3
    panel.queue.hold(True)


def refuse(self):
    raise InputError("A job is already running on cpu.")


def test_a_run_waits_for_a_busy_device_and_the_result_stays(qtbot, panel, tmp_path, monkeypatch):
    """An audit or the loader doctor computes there."""
    cleaned = finish(panel, tmp_path)
    panel.charts.add(Metric(0, 3, {"ca": 0.97}))
    with monkeypatch.context() as patch:
        patch.setattr(FakeRunner, "launch", refuse)
        patch.setitem(_RUNNING, "cpu", object())
        DEVICES.changed.emit()
        qtbot.waitUntil(lambda: panel.start_button.text() == "Add to the queue")
        assert not panel.estimate_button.isEnabled()
        assert panel.estimate_button.toolTip().startswith("Another job is running")
        panel.start()
        assert not panel.run.is_running
        assert len(panel.queue) == 1
        assert panel.before_after.isVisible()
        assert panel.run.on_show.result["checkpoint"] == str(cleaned)
        assert len(panel.charts.rates.series("ca")) == 1
    DEVICES.changed.emit()
    qtbot.waitUntil(lambda: panel.run.is_running)
    assert len(panel.queue) == 0
    assert panel.start_button.text() == "Add to the queue"
    runner_of(panel).end(Done("cancelled"))
    assert panel.start_button.text() == "Start cleaning"


@pytest.mark.usefixtures("styled")
def test_changed_fields_and_every_choice_fit_the_column(panel):
    panel.form.more.setChecked(True)
    for method in METHODS:
        panel.form.set_method(method)
        for name in set(fields_of(method)) - {"method", "preset"}:
            panel.form.row(name).set_changed(True, "another")
        for choice in (panel.data.demo, panel.data.table, panel.data.folder):
            choice.setChecked(True)
            QApplication.processEvents()
            assert panel.setup.width() == panel.setup.parentWidget().width(), method


def test_words():
    assert difference_text(None) == "–"
    assert difference_text(-93.84) == "▼ −93.8 points"
    assert [duration_text(s) for s in (9.6, 61, 3725)] == ["10 s", "1 min 1 s", "1 h 2 min"]
    assert progress_text(Progress("after, linear head", 5, 10)) == (
        "Measuring the cleaned checkpoint linear head · 5 of 10"
    )
    assert progress_text(Progress("before (heldout)", 0, 10, None, 9.0)) == (
        "Measuring the checkpoint before cleaning (held-out style) · 0 of 10"
    )
    assert progress_text(Progress("train", 4, 10), 131.0) == "Training · 4 of 10 · 2 min left"
    assert progress_text(Progress("prepare", 0, 0)) == "Choosing the fastest precision"
    assert [left_text(s) for s in (None, 0.2, 33.0, 58.0, 3599.0, 7290.0)] == [
        "", "a few seconds left", "35 s left", "1 min left", "1 h 0 min left", "2 h 2 min left",
    ]  # fmt: skip
    rows = [BeforeAfterRow("x", 0.5, after, good=1) for after in (0.6, 0.5, 0.49, 0.4, None)]
    assert [tone_colour(row) for row in rows] == [
        "success", "muted", "warning", "danger", "muted",
    ]  # fmt: skip
    result = {"before": {"ca": 0.5}, "after": {"ca": 0.5}, "seconds": 1}
    assert summary(result) == "The run: clean accuracy stayed at 50.0\u00a0% (1 s)."
    nothing = {"method": "mmcl", "seconds": 5, "before": None, "after": None}
    assert summary(nothing) == ("MMCL only finished; nothing was measured before and after (5 s).")
    assert suggested_name(result_of(Path("cleaned.safetensors"))) == "poisoned-cleaned.safetensors"


def test_another_checkpoint_takes_the_old_result_away(panel, session, tmp_path):
    finish(panel, tmp_path)
    assert panel.before_after.isVisible()
    first = session.checkpoint
    assert panel.run.has_result
    session.checkpoint = facts(tmp_path / "other.safetensors")
    assert not panel.before_after.isVisible()
    assert not panel.run.has_result
    session.checkpoint = first
    assert panel.before_after.isVisible()
    assert panel.run.has_result
    panel.try_cleaned()
    question = panel.context.inference.questions[-1]
    assert question.path == str(tmp_path / "cleaned.safetensors")
    panel.start()
    session.checkpoint = None
    session.checkpoint = first
    assert not panel.run.has_result  # the run at work has none yet


def test_a_run_is_named_by_its_checkpoint_once_another_one_is_open(qtbot, panel, session, tmp_path):
    panel.start()
    runner = runner_of(panel)
    runner.mark_running()
    first = session.checkpoint
    session.checkpoint = facts(tmp_path / "other.safetensors")
    assert panel.run_bar.title.text() == "CleanCLIP, quick on poisoned.safetensors is running"
    runner.pause()
    assert panel.run_bar.title.text() == "CleanCLIP, quick on poisoned.safetensors is paused"
    cleaned = tmp_path / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned weights")
    runner.end(Done("finished", result_of(cleaned) | {"source": first.path}))
    assert panel.before_after.isVisible()
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.try_cleaned()
    assert blocker.args[0].sentence.startswith("This result was cleaned from poisoned.safetensors")
    session.checkpoint = first
    panel.try_cleaned()
    assert panel.context.inference.questions[-1].path == str(cleaned)


def test_runs_may_lie_in_the_home_folder(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    panel.output.setText("~/myruns")
    panel.start()
    assert runner_of(panel).spec_path.parent.parent == tmp_path / "myruns"


KILLED = Done("failed", {}, "Killed by SIGKILL.", "killed", "last line")


@pytest.fixture
def run(qapp, session):
    return CleaningRun(session, StudioDevice(session, FakeInference()), FakeRunner)  # type: ignore[arg-type]


@pytest.fixture
def job(tmp_path):
    return write_run(tmp_path, "job", started=False)


def begin(run, folder):
    run.begin(folder, spec_of(folder), (None, 1))
    return run.runner


def spec_of(folder):
    return read_spec(folder / "spec.json")


def test_it_needs_no_widgets():
    code = (
        "import cleanclip_gui.clean.queue, sys;"
        "assert not {'PySide6.QtWidgets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_have_heard_the_last_word_before_another_one_begins(run, job):
    order: list[str] = []
    run.freed.connect(lambda: order.append("freed"))
    run.ended.connect(lambda _: order.append("ended"))  # connected later, heard before
    begin(run, job).end(Done("cancelled"))
    assert order == ["ended", "freed"]


@pytest.mark.parametrize(
    ("last", "saved", "sentence", "headline", "halve", "error"),
    [
        (KILLED, True, "Interrupted: Killed by SIGKILL. Resume continues from the last save.",
         "CleanCLIP, custom: interrupted", True, True),
        (KILLED, False, "Interrupted: Killed by SIGKILL. Nothing was saved yet: Start again "
         "begins at the first step.", "CleanCLIP, custom: interrupted", True, True),
        (Done("cancelled"), True, "The run was cancelled. Resume continues from the last save.",
         "CleanCLIP, custom: cancelled", False, False),
        (Done("failed", {}, "The loss diverged.", "usage"), True,
         "The loss diverged. Resume continues from the last save.",
         "CleanCLIP, custom: failed", False, True),
    ],
)  # fmt: skip
def test_why_there_is_no_result(run, job, last, saved, sentence, headline, halve, error):
    runner = begin(run, job)
    if saved:
        write_state(job, step=2)
    runner.end(last)
    trouble = run.on_show.trouble
    assert trouble is not None
    assert (trouble.sentence, run.headline) == (sentence, headline)
    assert (trouble.can_resume, trouble.may_lack_memory) == (saved, halve)
    assert (trouble.error is not None) == error
    assert run.is_offered
    begin(run, job)
    assert (run.on_show.trouble, run.is_offered) == (None, False)
