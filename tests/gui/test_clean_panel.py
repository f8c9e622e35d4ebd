"""The Clean station and its run, with a runner that is played by the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication, QLabel

from cleanclip_gui.clean.before_after import (
    BeforeAfterRow,
    difference_text,
    rows_of,
    summary,
    tone_colour,
)
from cleanclip_gui.clean.before_after import facts as result_facts
from cleanclip_gui.clean.result import suggested_name
from cleanclip_gui.clean.run import STALE
from cleanclip_gui.clean.run_bar import progress_text
from cleanclip_gui.jobs.runner import _RUNNING, DEVICES
from cleanclip_gui.widgets.text import duration_text, left_text
from ml_core.cleaning.catalogue import FACTS, METHODS
from ml_core.cleaning.pretraining import Pretraining
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, Metric, Progress
from ml_core.jobs.journal import read_json
from ml_core.jobs.specs import SAVED_FILE, read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger
from tests.gui.factories import facts
from tests.gui.fakes import (
    FakeRunner,
    clean_panel,
    open_session,
    result_of,
    runner_of,
    two_clicks,
)
from tests.gui.shell_fakes import Answers

session = pytest.fixture(open_session)
panel = pytest.fixture(clean_panel)


def texts(panel, *commands):
    """What menu and palette call some commands."""
    return [panel.context.actions[f"clean.{name}"].text().replace("&", "") for name in commands]


def test_a_rate_that_may_destroy_the_checkpoint_is_asked_about_once(panel, session):
    known = {"of_demo": False, "pretraining": Pretraining(5e-4, "RN50", "architecture")}
    session.checkpoint = facts(session.checkpoint.path, **known)
    assert panel.setup.data.table.isChecked()  # the demo's pairs are no other model's
    panel.setup.data.demo.setChecked(True)
    answers = Answers(yes=False).take_over(panel.context.prompts)
    panel.form.set_preset("quick")
    panel.start_button.click()
    (asked,) = answers.asked
    assert "times the peak of 5e-4" in asked
    assert panel.run.runner is None
    assert not panel.setup.folder().exists()
    answers.yes = True
    for count in (2, 2):
        panel.start()
        runner_of(panel).end(Done("cancelled"))
        assert len(answers.asked) == count
    session.checkpoint = facts(session.checkpoint.path, **known)  # another one
    panel.setup.data.demo.setChecked(True)
    panel.start()
    assert len(answers.asked) == 3


def test_start_writes_the_job_that_is_set(panel, session):
    panel.form.row("pairs").editor.setValue(256)
    panel.start_button.click()
    runner = runner_of(panel)
    assert runner.told == ["launch"]
    spec = read_spec(runner.spec_path)
    assert spec.checkpoint == session.checkpoint.path
    assert (spec.recipe.pairs, spec.recipe.preset, spec.target) == (256, "custom", 1)
    sets = spec.pairs, spec.images, spec.test_images, spec.heldout_images
    assert [one.split for one in sets] == ["clean", "val", "test", "heldout"]
    assert spec.test_images.n == 4000
    assert spec.training_images is None
    assert Path(spec.trigger).is_file()
    assert Path(spec.label_set).read_text() == "apple\nbanana\n"
    assert spec.templates == ("a {}",)
    assert Path(spec.output_dir) == runner.spec_path.parent
    assert session.run.status == "running"
    runner.end(Done("cancelled"))
    panel.form.set_method("supervised")
    panel.start()
    spec = read_spec(runner_of(panel).spec_path)
    assert spec.pairs is None
    assert spec.training_images == ImageSpec(kind="demo", split="clean")


def test_what_can_be_pressed(panel, session):
    bar = panel.run_bar
    assert not bar.pause.isVisible()
    panel.start()
    assert panel.start_button.text() == "Add to the queue"
    assert not panel.form.estimate_button.isEnabled()
    assert all(b.isVisible() and b.isEnabled() for b in bar.buttons)
    bar.pause.click()
    assert texts(panel, "pause") == [bar.pause.text()] == ["Resume"]
    assert session.run.status == "paused"
    bar.pause.click()
    assert session.run.status == "running"
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
    assert session.run.status == "cancelled"
    session.checkpoint = None
    assert not panel.start_button.isEnabled()
    assert panel.setup.clean_it_lacks.text() == "Open a checkpoint first: the run cleans it."
    session.checkpoint = facts()
    session.trigger = None
    assert "“Start cleaning” does not measure" in panel.hint.text()
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


def test_a_setting_is_explained_while_it_has_the_focus(panel):
    setup, form = panel.setup, panel.form
    assert not setup.help.isVisible()
    form.method.setFocus()
    assert setup.help.text().startswith(FACTS[form.method.method].help)
    form.more.click()
    form.row("epochs").editor.setFocus()
    assert setup.help.text() == form.row("epochs").editor.accessibleDescription()
    panel.start_button.setFocus()
    assert setup.help.text() == "Each setting is explained here while it has the focus."
    form.more.click()
    assert not setup.help.isVisible()


def test_the_method_to_start_with_fits_the_data(panel):
    method, data = panel.form.method, panel.data

    def tagged():
        texts = [method.itemText(number) for number in range(method.count())]
        return [name for name, text in zip(METHODS, texts, strict=True) if "start here" in text]

    assert tagged() == ["stamped"]
    panel.form.set_method("supervised")
    assert tagged() == ["stamped"]  # the demo has pairs
    data.folder.click()
    assert tagged() == ["unlearning"]


def test_no_estimate_before_it_is_measured(qtbot, panel, session):
    panel.form.estimate_button.click()
    runner = runner_of(panel)
    assert runner.mode == "estimate"
    steps = panel.form.time.text()
    assert steps.endswith("steps of 128 examples")
    assert not panel.run_bar.stop.isVisible()
    found = {"seconds": 190.0, "steps": 312, "step_seconds": 0.52, "memory_bytes": 1 << 30}
    runner.end(Done("finished", found))
    assert panel.form.time.text() == (
        "About 3 min 10 s for 312 steps (0.52 s a step, measured), 1.0 GiB of memory."
    )
    assert session.run is None
    assert not runner.spec_path.exists()
    panel.form.row("batch_size").editor.setValue(64)
    assert panel.form.time.text().endswith("steps of 64 examples")
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


def finish(panel, tmp_path):
    cleaned = tmp_path / "cleaned.safetensors"
    cleaned.write_bytes(b"cleaned weights")
    panel.start()
    runner_of(panel).end(Done("finished", result_of(cleaned)))
    return cleaned


def test_try_in_studio_opens_the_cleaned_checkpoint(qtbot, panel, session, tmp_path):
    cleaned = finish(panel, tmp_path)
    panel.try_button.click()
    ticket = panel.context.inference.tickets[-1]
    assert (ticket.question.path, ticket.question.role) == (str(cleaned), "cleaned")
    panel.try_button.click()
    opened = facts(cleaned)
    ticket.deliver(opened)
    panel.context.inference.fail("The file is damaged.")
    assert session.cleaned is opened  # as the engine has it
    assert session.role == "suspect"
    panel.try_button.click()
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(opened)
    assert session.role == "cleaned"
    panel.shell.suspect_changing.emit()  # it was made from the one before
    assert session.cleaned is None


def test_save_copies_whole_files(qtbot, panel, tmp_path):
    finish(panel, tmp_path)
    prompts = panel.context.prompts
    prompts.save_file = lambda *_: str(tmp_path / "mine.safetensors")
    assert panel.open_button.isHidden()
    panel.save_button.click()
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        panel.save_cleaned()
    assert "is being saved" in blocker.args[0].sentence
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)
    assert (tmp_path / "mine.safetensors").read_bytes() == b"cleaned weights"
    assert read_json(tmp_path / SAVED_FILE) == {"name": "mine.safetensors"}  # for reports
    assert panel.logged[-1] == f"Saved mine.safetensors in {tmp_path}."
    opened: list[str] = []
    panel.shell.takes("checkpoint", opened.append)
    panel.open_button.click()
    assert opened == [str(tmp_path / "mine.safetensors")]
    assert not list(tmp_path.glob("*.part"))
    prompts.save_file = lambda *_: str(tmp_path / "nowhere" / "x.safetensors")
    with qtbot.waitSignal(panel.shell.failed, timeout=5000) as blocker:
        panel.save_cleaned()
    assert "could not be written" in blocker.args[0].sentence
    qtbot.waitUntil(lambda: not panel.saving.is_busy, timeout=5000)


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


def test_start_again_is_the_same_job_whatever_the_form_shows(panel, session):
    panel.form.set_method("par")
    panel.start()
    first = runner_of(panel)
    first.end(Done("failed", {}, "It broke.", "crashed"))
    panel.form.set_method("unlearning")
    panel.form.row("seed").editor.setValue(77)
    session.trigger = None
    assert panel.resume_button.text() == "Start again"
    panel.queue.hold(True)
    panel.resume_button.click()
    assert (runner_of(panel).mode, runner_of(panel) is first) == ("run", False)
    one, two = read_spec(first.spec_path), read_spec(runner_of(panel).spec_path)
    assert two.recipe == one.recipe
    assert Path(two.trigger).parent == Path(two.output_dir) == runner_of(panel).spec_path.parent
    assert panel.run.on_show.asked[0].digest == demo_trigger().digest


def test_a_double_click_starts_one_run(panel):
    two_clicks(panel.start_button, 150, moved=True)
    assert len(panel.queue) == 0
    two_clicks(panel.start_button, 2000)  # each of them is meant
    assert len(panel.queue) == 2
    panel.start_button.setAutoDefault(True)  # as the window has it
    for held in (False, True, True):
        key, no = Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier
        press = QKeyEvent(QEvent.Type.KeyPress, key, no, "", held)
        QApplication.sendEvent(panel.start_button, press)
    assert len(panel.queue) == 3
    panel.queue.hold(True)


def test_a_run_waits_for_a_busy_device_and_the_result_stays(qtbot, panel, tmp_path, monkeypatch):
    """An audit or the loader doctor computes there."""

    def refuse(self):
        raise InputError("A job is already running on cpu.")

    cleaned = finish(panel, tmp_path)
    panel.charts.add(Metric(0, 3, {"ca": 0.97}))
    with monkeypatch.context() as patch:
        patch.setattr(FakeRunner, "launch", refuse)
        patch.setitem(_RUNNING, "cpu", object())
        DEVICES.changed.emit()
        qtbot.waitUntil(lambda: panel.start_button.text() == "Add to the queue")
        assert not panel.form.estimate_button.isEnabled()
        assert panel.form.estimate_button.toolTip().startswith("Another job is running")
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


def test_words():
    assert difference_text(None) == "–"
    assert difference_text(-93.84) == "▼ −93.8 points"
    assert [duration_text(s) for s in (9.6, 61, 3725)] == ["10 s", "1 min 1 s", "1 h 2 min"]
    assert [left_text(s) for s in (None, 0.2, 33.0, 3599.0, 7290.0)] == [
        "", "a few seconds left", "35 s left", "1 h 0 min left", "2 h 2 min left",
    ]  # fmt: skip
    for progress, seconds, words in (
        (
            Progress("after, linear head", 5, 10),
            None,
            "the cleaned checkpoint linear head · 5 of 10",
        ),
        (Progress("before (heldout)", 0, 10), None, "before cleaning (held-out style) · 0 of 10"),
        (Progress("train", 4, 10), 131.0, "Training · 4 of 10 · 2 min left"),
        (Progress("prepare", 0, 0), None, "Choosing the fastest precision"),
    ):
        assert progress_text(progress, seconds).endswith(words)
    rows = [BeforeAfterRow("x", 0.5, after, good=1) for after in (0.6, 0.5, 0.49, 0.4)]
    assert [tone_colour(row) for row in rows] == ["success", "muted", "warning", "danger"]
    rows = [BeforeAfterRow("x", 0.98, after, good=-1) for after in (0.01, 0.2)]
    assert [tone_colour(row) for row in rows] == ["success", "warning"]  # a fifth still works
    result = {"before": {"ca": 0.5}, "after": {"ca": 0.5}, "seconds": 1}
    assert summary(result) == "The run: clean accuracy stayed at 50.0\u00a0% (1 s)."
    noise = {"ca": 0.766, "ca_interval": [0.75, 0.79]}
    result = {"before": {"ca": 0.76, "ca_interval": [0.74, 0.78]}, "after": noise, "seconds": 1}
    assert tone_colour(rows_of(result)[1]) == "muted"
    assert summary(result) == (
        "The run: clean accuracy hardly changed from 76.0 to 76.6\u00a0% (may be chance) (1 s)."
    )
    worse = {"before": noise, "after": result["before"]}
    assert tone_colour(rows_of(worse)[1]) == "warning"  # a loss is never taken for chance
    nothing = {"method": "mmcl", "seconds": 5, "before": None, "after": None}
    assert summary(nothing) == "MMCL only finished; nothing was measured before and after (5 s)."
    assert suggested_name(result_of(Path("cleaned.safetensors"))) == "poisoned-cleaned.safetensors"


def test_the_result_tells_both_rates_of_success_and_how_it_was_trained(panel, tmp_path):
    result = result_of(finish(panel, tmp_path))
    both = {"asr_all": 0.985, "asr_all_interval": [0.97, 0.99], "baseline_target_rate": 0.03}
    result["before"] |= both
    result["after"] |= {"asr_all": 0.07, "asr_all_interval": [0.06, 0.08], "n": 40_000}
    result |= {"notes": ["odd\u202ename.png could not be read."], "batch_norm": "frozen"}
    result |= {"cache_chunk": 64, "recipe": {"batch_size": 256}}
    panel.before_after.show_result(result)
    texts = {label.text() for label in panel.before_after.findChildren(QLabel)}
    assert {"98.0 %", "4.0 %", "98.5 %", "7.0 %", "6.0 – 8.0", "▼ −91.5 points"} <= texts
    assert "all images: 98.5 % before, 7.0 % after" in panel.before_after.accessibleDescription()
    first, note = result_facts(result).split("\n")
    assert "40\u2009000 test images" in first
    assert "BatchNorm: stored statistics · gradient caching, 64 examples at a time" in first
    assert note == "odd\\u202ename.png could not be read."
