"""The rate finder in the window: what it draws and proposes, and how its rate is used."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.clean.rate_dialog import RateDialog
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.errors import InputError
from tests.gui.fakes import FakeRunner, by_kind, child, heard, open_session, station
from tests.gui.ramps import EVERY, STEPS, finished, record
from tests.gui.shell_fakes import Answers

WAIT = 30_000  # for a child process of a busy machine


@pytest.fixture
def make(qtbot, tmp_path):
    """Opens the dialog for a job with some changes."""
    parent = QWidget()
    qtbot.addWidget(parent)

    def make(**changes):
        job = CleanSpec(
            checkpoint="model.safetensors", recipe=Recipe(), images=ImageSpec(split="val"),
            output_dir=str(tmp_path / "job"),
        ).model_copy(update=changes)  # fmt: skip
        prompts = Answers().prompts()
        dialog = RateDialog(lambda folder: (job, "cpu"), prompts, FakeRunner, parent)
        dialog.show()
        return dialog

    return make


def play(dialog, found):
    dialog.start.click()
    dialog.task.runner.play(finished(found))


def test_a_ramp_is_drawn_and_the_start_of_its_range_used(make, qtbot):
    dialog, proposal = make(), record().proposal
    assert not dialog.use.isVisible()
    play(dialog, record())
    assert len(dialog.losses.series("loss")) == len(dialog.losses.series("smoothed")) == STEPS
    assert len(dialog.rates.series("ca")) == STEPS // EVERY
    assert dialog.verdict.text() == proposal.sentence
    assert "accuracy on 256 images, 36 classes" in dialog.notes.text()
    assert dialog.rates.level[0] == pytest.approx(0.954)
    for chart in dialog.charts:
        qtbot.waitUntil(lambda chart=chart: chart.plot is not None)  # drawn after the result
        assert chart.band.isVisible()
        low, high = chart.band.getRegion()
        assert (10**low, 10**high) == pytest.approx((proposal.low, proposal.high))
    QTest.keyClick(dialog.rates, Qt.Key.Key_Home)
    assert dialog.rates.place.text() == "rate 1.6e-6"
    assert "at rate 1.6e-6: Validation images 96.4 %" in dialog.rates.accessibleDescription()
    assert dialog.rates.csv().splitlines()[0] == "log10_rate,ca,ca_low,ca_high"
    used = heard(dialog.used)
    dialog.use.click()
    assert used == [("cleanclip", proposal.start)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": Recipe(method="interpolate")}, "takes no training step"),
        ({"images": None}, "choose labelled images"),
    ],
)
def test_what_has_no_rate_to_find_is_said_at_once(make, changes, words):
    with pytest.raises(InputError, match=words):
        make(**changes)


def test_a_rate_goes_from_the_form_to_the_form(qtbot, tmp_path):
    make = by_kind(rates=child(tmp_path, finished(record())))
    panel = station(qtbot, open_session(tmp_path), tmp_path, make)
    form = panel.form
    form.find_rate.click()
    dialog = panel.finding.dialog
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
