"""What a job and all windows on one promise: it starts, is cancelled, fails, is let go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtWidgets import QWidget

from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.clean.rate_dialog import RateDialog
from cleanclip_gui.jobs.job_dialog import JobDialog, JobDialogs
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.layout import column
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Event, Finding, Progress
from ml_core.jobs.specs import CleanSpec
from ml_core.reading import inspect
from ml_core.reading.errors import InputError
from tests.gui.factories import facts
from tests.gui.fakes import FakeRunner, heard
from tests.gui.shell_fakes import Answers, write_safetensors

PROMPTS = Answers().prompts()
Parts = tuple[Session, CleanSpec, QWidget]


def _rates(parts):
    _, job, parent = parts
    return RateDialog(lambda folder: (job, "cpu"), PROMPTS, FakeRunner, parent)


def _audit(parts):
    session, _, parent = parts
    path = session.checkpoint.path
    return AuditDialog(
        JobTask("audit", FakeRunner), session, path, "m", PairSpec(), PROMPTS, parent
    )


def _doctor(parts):
    session, _, parent = parts
    task = JobTask("doctor", FakeRunner)
    return DoctorDialog(task, session, PROMPTS, session.checkpoint.inspection, "", parent)


TRIAL = {
    "question": "as opened", "answer": "GELU", "correct": 20, "n": 40, "accuracy": 0.5,
    "low": 0.4, "high": 0.6, "settings": {}, "nll": 1.0,
}  # fmt: skip
# How it is made, an event of its job, how that is told, and what can be set.
DIALOGS: dict[str, tuple[Callable[[Parts], JobDialog], Event, str, dict[str, float]]] = {
    "rates": (
        _rates, Progress("ramp", 3, 60), "Raising the rate: 3 of 60",
        {"low": 1e-5, "high": 1e-3, "steps": 12},
    ),
    "audit": (
        _audit, Progress("embed", 250, 1000, 50.0, 2.0),
        "Embedding and scoring: 250 of 1\u2009000, 50 a second",
        {"k": 8, "chunk_size": 512},
    ),
    "doctor": (_doctor, Finding("trial", TRIAL), "1 setting tried on 40 images…", {}),
}  # fmt: skip


@pytest.fixture(params=DIALOGS)
def shown(request, qtbot, tmp_path, monkeypatch):
    """A dialog, an event of its job, how that is told, and what can be set."""
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    session, parent = Session(), QWidget()
    session.checkpoint = facts(path, inspection=inspect(path))
    qtbot.addWidget(parent)
    job = CleanSpec(
        checkpoint=str(path), recipe=Recipe(), images=ImageSpec(split="val"), pairs=PairSpec(),
        output_dir=str(tmp_path / "job"),
    )  # fmt: skip
    make, *rest = DIALOGS[request.param]
    dialog = make((session, job, parent))
    dialog.owner = parent  # or it is collected
    dialog.show()
    return dialog, *rest


def begun(dialog):
    dialog.start.click()
    runner = dialog.task.runner
    assert isinstance(runner, FakeRunner)
    assert runner.told == ["launch"]
    return runner


def refuse(self):
    raise InputError("A job is already running on cpu.")


def test_a_job_is_watched_cancelled_and_may_fail(shown, monkeypatch):
    dialog, event, words, values = shown
    if values:
        getattr(dialog, "setup", dialog).form.set_values(**values)
    runner = begun(dialog)
    assert {name: runner.spec[name] for name in values} == values
    assert dialog.busy.isVisible()
    assert not any(widget.isEnabled() for widget in dialog.locked)
    assert dialog.state.text().startswith("Opening the checkpoint and the ")
    runner.event_received.emit(event)
    assert dialog.state.text().startswith(words)
    dialog.busy.cancel.click()
    assert runner.cancelled
    runner.event_received.emit(event)  # it was under way
    assert dialog.state.text() == "Cancelling…"
    assert not dialog.busy.cancel.isEnabled()
    runner.end(Done("cancelled"))
    assert dialog.state.text() == dialog.cancelled_words
    assert not dialog.busy.isVisible()
    begun(dialog).end(Done("failed", error="There are 3 pairs."))
    assert dialog.state.text() == "There are 3 pairs."
    assert dialog.state.property("role") == "error"
    monkeypatch.setattr(FakeRunner, "launch", refuse)
    dialog.start.click()
    assert dialog.state.text() == "A job is already running on cpu."
    assert not dialog.task.is_running
    assert dialog.start.isEnabled()


def test_closing_ends_the_job_and_its_last_words_are_not_heard(shown, qtbot):
    dialog, event, *_ = shown
    runner = begun(dialog)
    before = dialog.state.text()
    with qtbot.waitSignal(dialog.closed):
        dialog.done(0)
    assert runner.cancelled
    assert not dialog.task.is_running
    runner.event_received.emit(event)
    runner.end(Done("cancelled"))
    assert dialog.state.text() == before


def test_one_dialog_of_a_kind_is_open(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    refusals = [InputError("Open a checkpoint first.")]

    def new_dialog(old):
        if refusals:
            raise refusals.pop()
        if old is not None:
            return None
        dialog = JobDialog(JobTask("search", FakeRunner), "Title", "Start", "Bar", parent)
        column(dialog.start, dialog.busy, dialog.state, dialog.close_button, of=dialog)
        return dialog

    dialogs = JobDialogs("the search", new_dialog, parent)
    failures, used = heard(dialogs.failed), heard(dialogs.used)
    dialogs.open()
    assert dialogs.dialog is None
    assert failures[0].title == "Could not open the search"
    dialogs.open()
    dialog = dialogs.dialog
    dialogs.open()
    assert dialogs.dialog is dialog
    dialog.used.emit("a recipe")
    assert used == ["a recipe"]
    dialogs.close()
    assert dialogs.dialog is None


SPEC = PairSpec(n=7)


@pytest.fixture
def task(qapp):
    task = JobTask("search", FakeRunner)
    task.heard = []
    for signal in (task.received, task.logged, task.ended):
        signal.connect(task.heard.append)
    return task


def test_where_a_job_cannot_be_written_nothing_is_started(task, tmp_path):
    (tmp_path / "full").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written into full: "):
        task.start(SPEC, tmp_path / "full" / "job.json", "cpu")
    assert not task.is_running
