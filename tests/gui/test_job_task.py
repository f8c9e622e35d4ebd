"""A job is written, started and heard of, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleanclip_gui.jobs.job_task import JobTask
from ml_core.data.specs import PairSpec
from ml_core.events import Done, Message, Progress
from ml_core.jobs.specs import read_spec_file
from ml_core.reading.errors import InputError
from tests.gui.fakes import FakeRunner

SPEC = PairSpec(n=7)


@pytest.fixture
def task(qapp) -> JobTask:
    task = JobTask("search", FakeRunner)
    task.heard = []
    for signal in (task.received, task.logged, task.ended):
        signal.connect(task.heard.append)
    return task


def test_a_job_is_written_started_and_heard_until_its_end(task: JobTask, tmp_path: Path) -> None:
    task.start(SPEC, tmp_path / "deep" / "job.json", "cuda:1")
    runner = task.runner
    assert read_spec_file(runner.spec_path, PairSpec) == SPEC
    assert (runner.kind, runner.device, runner.told) == ("search", "cuda:1", ["launch"])
    progress, words, last = Progress("embed", 1, 4), Message("words"), Done("finished")
    runner.line_logged.emit("a line")
    runner.event_received.emit(progress)
    runner.event_received.emit(words)
    assert task.progress is progress
    assert runner.state == "running"
    task.cancel()
    assert task.is_cancelling
    runner.end(last)
    assert task.heard == ["a line", progress, "words", words, last]
    assert not task.is_running
    assert not task.is_cancelling


def test_nothing_is_heard_of_an_abandoned_job(task: JobTask, tmp_path: Path) -> None:
    task.start(SPEC, tmp_path / "job.json", "cpu")
    runner = task.runner
    task.abandon()
    assert not task.is_running
    assert runner.cancelled
    runner.event_received.emit(Message("late"))
    runner.end(Done("cancelled"))
    assert task.heard == []


def test_where_a_job_cannot_be_written_nothing_is_started(task: JobTask, tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written into full: "):
        task.start(SPEC, tmp_path / "full" / "job.json", "cpu")
    assert not task.is_running
