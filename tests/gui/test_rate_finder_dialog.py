"""The rate finder in the window: opened from the form, watched, cancelled, its rate used."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.clean.rate_dialog import RateDialogs
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec
from ml_core.events import Done
from ml_core.jobs.specs import CleanSpec
from tests.gui.fakes import FakeRunner, by_kind, child, open_session, station
from tests.gui.ramps import finished, record, told
from tests.gui.shell_fakes import Answers

WAIT = 30_000  # for a child process of a busy machine


@pytest.fixture
def job(tmp_path):
    return CleanSpec(
        checkpoint="model.safetensors", recipe=Recipe(), images=ImageSpec(split="val"),
        output_dir=str(tmp_path / "job"),
    )  # fmt: skip


@pytest.fixture
def jobs(job):
    """The job that is set; a test may set another one."""
    return [job]


@pytest.fixture
def finding(qtbot, jobs):
    parent = QWidget()
    qtbot.addWidget(parent)
    prompts = Answers().prompts()
    dialogs = RateDialogs(lambda folder: (jobs[-1], "cpu"), prompts, parent, FakeRunner)
    yield dialogs
    dialogs.close()


@pytest.fixture
def dialog(finding):
    finding.open()
    assert finding.dialog is not None
    return finding.dialog


def begun(dialog):
    dialog.start.click()
    assert isinstance(dialog.task.runner, FakeRunner)
    return dialog.task.runner


@pytest.fixture
def shown(dialog):
    """The dialog with a finished ramp."""
    begun(dialog).play(finished(record()))
    return dialog


def test_the_crosshair_tells_rate_and_value(shown, qtbot):
    chart = shown.rates
    qtbot.waitUntil(lambda: chart.plot is not None)
    QTest.keyClick(chart, Qt.Key.Key_Home)
    assert chart.place.text() == "rate 1.6e-6"
    assert "at rate 1.6e-6: Validation images 96.4 %" in chart.accessibleDescription()
    assert chart.csv().splitlines()[0] == "log10_rate,ca,ca_low,ca_high"


def test_an_estimate_is_told_and_draws_nothing(dialog):
    costs = {"seconds": 372.0, "steps": 60, "step_seconds": 5.5, "memory_bytes": 3 << 30}
    dialog.estimate.click()
    runner = dialog.task.runner
    assert runner.mode == "estimate"
    runner.play([*told(record()), Done("finished", costs)])
    assert dialog.state.text() == (
        "About 6 min 12 s for 60 steps (5.50 s a step, measured), 3.0 GiB of memory."
    )
    assert len(dialog.losses.series("loss")) == 0
    assert not dialog.use.isVisible()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": Recipe(method="interpolate")}, "takes no training step"),
        ({"images": None}, "choose labelled images"),
    ],
)
def test_what_has_no_rate_to_find_is_said_at_once(finding, jobs, job, changes, words):
    said: list[Any] = []
    finding.failed.connect(said.append)
    jobs.append(job.model_copy(update=changes))
    finding.open()
    assert finding.dialog is None
    assert words in said[0].sentence


# In the station


@pytest.fixture
def panel(qtbot, tmp_path):
    make = by_kind(rates=child(tmp_path, finished(record())))
    return station(qtbot, open_session(tmp_path), tmp_path, make)


def test_a_rate_goes_from_the_form_to_the_form(panel, qtbot):
    form = panel.form
    assert form.find_rate.isVisible()
    assert form.find_rate.isEnabled()
    form.find_rate.click()
    dialog = panel.finding.dialog
    assert dialog is not None
    dialog.start.click()
    assert [one.what for one in panel.at_work()] == ["The rate finder is running."]
    qtbot.waitUntil(lambda: dialog.use.isVisible(), timeout=WAIT)
    form.set_method("mmcl")
    dialog.use.click()
    recipe = form.recipe()
    assert (recipe.method, recipe.preset) == ("cleanclip", "custom")
    assert recipe.lr == pytest.approx(record().proposal.start)
    panel.shell.closing.emit()
    assert threads.close_all()
