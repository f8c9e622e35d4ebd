"""The cleaning run by itself, with a runner that the test plays: no widget, no window."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cleanclip_gui.clean.history import read_run, read_saved_run
from cleanclip_gui.clean.run import NO_TRIGGER, STALE, CleaningRun, estimate_folder
from cleanclip_gui.inference.inference import StudioDevice
from cleanclip_gui.session import Session
from ml_core.events import Done, Message, Metric, Progress, Saved
from ml_core.jobs.specs import CleanSpec, read_spec
from ml_core.reading.errors import InputError
from tests.gui.factories import facts
from tests.gui.fakes import FakeRunner
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import FakeInference, write_state

KILLED = Done("failed", {}, "Killed by SIGKILL.", "killed", "last line")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    checkpoint = tmp_path / "poisoned.safetensors"
    checkpoint.write_bytes(b"weights")
    made = Session()
    made.checkpoint = facts(checkpoint)
    return made


@pytest.fixture
def run(qapp, session: Session) -> CleaningRun:
    return CleaningRun(session, StudioDevice(session, FakeInference()), FakeRunner)  # type: ignore[arg-type]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_run(tmp_path, "job", started=False)


def begin(run: CleaningRun, folder: Path) -> FakeRunner:
    run.begin(folder, spec_of(folder), (None, 1))
    return runner_of(run)


def spec_of(folder: Path) -> CleanSpec:
    return read_spec(folder / "spec.json")


def runner_of(run: CleaningRun) -> FakeRunner:
    assert isinstance(run.runner, FakeRunner)
    return run.runner


def heard(signal) -> list:
    found: list = []
    signal.connect(found.append)
    return found


def test_it_needs_no_widgets() -> None:
    code = (
        "import cleanclip_gui.clean.queue, sys;"
        "assert not {'PySide6.QtWidgets', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_says_how_it_stands_and_tells_the_session(run, session, job: Path) -> None:
    statuses: list[str] = []
    session.events.run.connect(lambda state: statuses.append(state.status))
    assert (run.state, run.headline, run.is_running) == ("idle", "Ready", False)
    runner = begin(run, job)
    assert (run.state, run.headline) == ("starting", "CleanCLIP, custom is running")
    assert "slower" in run.notice
    assert run.can_be_steered
    runner.event_received.emit(Progress("train", 1, 4))
    assert session.run_progress.stage == "train"
    assert 0 < session.run_progress.fraction < 1
    run.pause()
    assert (run.state, run.headline) == ("paused", "CleanCLIP, custom is paused")
    run.pause()
    run.stop()
    assert run.headline == "Finishing the step, then saving"
    assert (run.can_be_steered, run.can_be_cancelled) == (False, True)
    run.cancel()
    assert (run.headline, run.can_be_cancelled) == ("Cancelling", False)
    runner.end(Done("cancelled"))
    assert (run.state, run.headline, run.notice) == ("idle", "CleanCLIP, custom: cancelled", "")
    assert statuses == ["running", "running", "paused", "running", "cancelled"]
    assert session.run.output_dir == str(job)


def test_what_its_process_tells_is_passed_on(run, job: Path) -> None:
    said, measured, lines = heard(run.event_received), heard(run.measured), heard(run.logged)
    runner = begin(run, job)
    metric, saved = Metric(1, 4, {"loss": 1.0}), Saved("out/step-1.safetensors", "step", 1)
    for event in (metric, saved, Message("warm")):
        runner.event_received.emit(event)
    runner.line_logged.emit("a line")
    assert said == [metric, saved, Message("warm")]
    assert measured == [metric]
    assert lines == ["Saved step-1.safetensors at step 1.", "warm", "a line"]


def test_all_have_heard_the_last_word_before_another_one_begins(run, job: Path) -> None:
    order: list[str] = []
    run.freed.connect(lambda: order.append("freed"))
    run.ended.connect(lambda _: order.append("ended"))  # connected later, heard before
    begin(run, job).end(Done("cancelled"))
    assert order == ["ended", "freed"]


def test_a_result_stays_beside_its_checkpoint(run, session, tmp_path: Path, job: Path) -> None:
    shown = heard(run.result_shown)
    first, other = session.checkpoint, facts(tmp_path / "other.safetensors")
    begin(run, job).end(Done("finished", {"source": first.path, "seconds": 1.0}))
    assert (run.has_result, len(shown)) == (True, 1)
    run.follow(other)
    assert not run.has_result
    session.checkpoint = other
    assert run.headline == "CleanCLIP, custom on poisoned.safetensors: finished"
    run.follow(first)
    assert (run.has_result, len(shown)) == (True, 2)
    run.follow(other, keep=True)  # a test of it is at work
    assert run.has_result


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
def test_why_there_is_no_result(
    run, job: Path, last, saved, sentence, headline, halve, error
) -> None:
    runner = begin(run, job)
    if saved:
        write_state(job, step=2)
    runner.end(last)
    trouble = run.trouble
    assert trouble is not None
    assert (trouble.sentence, run.headline) == (sentence, headline)
    assert (trouble.can_resume, trouble.may_lack_memory) == (saved, halve)
    assert (trouble.error is not None) == error
    assert run.is_offered
    begin(run, job)
    assert (run.trouble, run.is_offered) == (None, False)


def test_a_saved_run_is_offered_and_goes_on(run, job: Path) -> None:
    restored, measured = heard(run.restored), heard(run.measured)
    folder = write_run(job.parent, "killed", end=KILLED)
    write_state(folder, step=40)
    saved = read_saved_run(folder)
    run.offer(saved)
    assert run.trouble.sentence.startswith("CleanCLIP, custom was interrupted; its last save is at")
    assert max(metric.step for metric in measured) == 40
    measured.clear()
    run.resume(saved)
    assert runner_of(run).mode == "resume"
    assert run.trouble is None
    assert max(metric.step for metric in measured) == 40
    assert restored == [saved, saved]
    assert run.asked[0].digest == saved.trigger.digest


def test_a_busy_device_leaves_what_is_shown(run, job: Path, monkeypatch) -> None:
    begin(run, job).end(Done("finished", {"source": "", "seconds": 1.0}))

    def refuse(self: FakeRunner) -> None:
        raise InputError("A job is already running on cpu.")

    monkeypatch.setattr(FakeRunner, "launch", refuse)
    opened = []
    run.opened.connect(lambda: opened.append(1))
    with pytest.raises(InputError, match="already running"):
        run.begin(job, spec_of(job), (None, 1))
    assert (run.is_running, run.has_result, opened) == (False, True, [])


def test_an_estimate_is_of_the_set_up_that_it_was_begun_with(run, session, job: Path) -> None:
    said = heard(run.event_received)
    found = {"seconds": 190.0, "steps": 312, "step_seconds": 0.52}
    run.estimate(job / "spec.json")
    assert (run.headline, run.is_cleaning, run.can_be_steered) == ("Estimating", False, False)
    run.pause()
    run.stop()
    assert runner_of(run).told == ["launch"]
    runner_of(run).event_received.emit(Metric(1, 4, {"loss": 1.0}))
    runner_of(run).end(Done("finished", found))
    assert (run.estimated, run.headline, run.details) == (found, "Ready", "")
    assert (session.run, said) == (None, [])
    assert not estimate_folder().exists()
    run.forget_estimate()
    assert run.estimated == {}
    run.estimate(job / "spec.json")
    run.forget_estimate()  # the form was changed meanwhile
    runner_of(run).end(Done("finished", found))
    assert (run.estimated, run.details) == ({}, STALE)
    failures = heard(run.failed)
    run.estimate(job / "spec.json")
    runner_of(run).end(KILLED)
    assert (failures[0].sentence, failures[0].details) == ("Killed by SIGKILL.", "last line")


def test_a_run_of_the_history_is_shown(qtbot, run, session, tmp_path: Path) -> None:
    folder = write_run(tmp_path, "old")
    measured = heard(run.measured)
    run.show_past(read_run(folder))
    assert run.is_reading
    qtbot.waitUntil(lambda: not run.is_reading)
    assert len(measured) == 106
    assert (run.has_result, session.run.status) == (True, "finished")
    for path in folder.glob("trigger.*"):
        path.unlink()
    run.show_past(read_run(folder))
    assert run.notice == NO_TRIGGER
    run.show_past(read_run(write_run(tmp_path, "new", started=False)))  # and the reading is void
    assert (run.headline, run.has_result, run.trouble) == (
        "CleanCLIP, custom: not started",
        False,
        None,
    )
    measured.clear()
    qtbot.waitUntil(lambda: not run.is_reading)
    assert measured == []
