"""The search for a recipe in the window: what it shows of its runs, and how its recipe is used."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui.clean.runs.tradeoff_chart import READING_HINT
from cleanclip_gui.clean.search_dialog import SearchDialog
from cleanclip_gui.session import Session
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Message, Progress, Saved
from ml_core.jobs.search import MEANS, SearchSpec
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec_file, write_spec
from ml_core.reading import inspect
from tests.gui.factories import facts
from tests.gui.fakes import FakeRunner, heard
from tests.gui.searches import search_record, write_search
from tests.gui.shell_fakes import Answers, write_safetensors


@pytest.fixture
def make(qtbot, tmp_path, monkeypatch):
    """Opens the dialog for a job that trains on some data."""
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    parent, session = QWidget(), Session()
    qtbot.addWidget(parent)
    path = write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]})
    session.checkpoint = facts(path, inspection=inspect(path))

    def make(**data):
        def write(folder):
            spec = CleanSpec(
                checkpoint=str(path), recipe=Recipe(), images=ImageSpec(), output_dir=str(folder),
                **data,
            )  # fmt: skip
            return write_spec(spec, folder / SPEC_FILE)

        prompts = Answers().prompts()
        dialog = SearchDialog(
            session.checkpoint, UNKNOWN, session, write, prompts, FakeRunner, parent
        )
        dialog.show()
        return dialog

    return make


def main_buttons(dialog):
    return [one for one in dialog.findChildren(QPushButton) if one.property("primary")]


def test_runs_arrive_and_the_best_can_be_used(make):
    dialog = make()
    assert not dialog.use.isEnabled()
    assert not dialog.card.isVisible()
    dialog.show_record(search_record(2))
    assert dialog.table.model().rowCount() == 2
    assert dialog.card.property("tone") == "caution"
    assert "No recipe that was tried keeps the limits" in dialog.summary.text()
    assert main_buttons(dialog) == [dialog.start]
    dialog.show_record(search_record())
    assert main_buttons(dialog) == [dialog.use]
    assert dialog.start.isDefault()  # Enter in a field takes no recipe
    assert not dialog.use.isDefault()
    model = dialog.table.model()
    assert [model.index(0, column).data() for column in range(model.columnCount())] == [
        "MMCL only", "1.5e-3", "160", "97.4 %", "0.6", "0.8 %", "1.5 %", "best",
    ]  # fmt: skip
    assert MEANS in dialog.summary.text()
    steps = [s.point.step for s in dialog.chart.spots if "rate 1.5e-3" in s.track.label][:4]
    assert steps == [0, 40, 80, 160]
    assert dialog.chart.readout() == READING_HINT
    dialog.form.set_values(max_asr=7.0)
    assert dialog.chart.limits.asr == 7.0
    used = heard(dialog.used)
    dialog.use.click()
    assert [(recipe.method, recipe.total_steps) for recipe in used] == [("mmcl", 160)]


@pytest.mark.parametrize(
    ("data", "methods"),
    [
        ({"pairs": PairSpec()}, {"mmcl", "adversarial", "cleanclip", "par"}),
        ({"training_images": ImageSpec(split="clean")}, {"adversarial"}),
        ({}, None),
    ],
)
def test_the_methods_that_are_tried_follow_from_the_data(make, data, methods):
    dialog = make(**data)
    dialog.start.click()
    if methods is None:
        assert "choose a method that takes pairs or labelled images" in dialog.state.text()
        return
    spec = read_spec_file(dialog.task.runner.spec_path, SearchSpec)
    assert {recipe.method for recipe in spec.recipes} == methods
    assert spec.recipes[0].lr == spec.peak_lr == UNKNOWN.assumed


def test_what_happens_is_shown_and_kept(make):
    dialog = make(pairs=PairSpec())
    dialog.start.click()
    runner = dialog.task.runner
    runner.event_received.emit(Progress("canaries", 30, 400))
    assert (dialog.busy.bar.value(), dialog.busy.bar.maximum()) == (30, 400)
    runner.event_received.emit(Message("Round 1: PAR, rate 5e-4, 40 steps"))
    assert dialog.state.text().startswith("Round 1")
    path = write_search(dialog.folder, search_record(3))
    runner.event_received.emit(Saved(str(path), "result"))
    assert dialog.table.model().rowCount() == 3
    runner.end(Done("cancelled"))
    dialog.done(0)
    again = make()
    assert again.table.model().rowCount() == 3
    assert "earlier search" in again.state.text()
