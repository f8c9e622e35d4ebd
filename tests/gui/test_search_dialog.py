"""The search for a recipe in the window: set, watched, cancelled, taken up, and its recipe used."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.clean.runs.tradeoff_chart import READING_HINT
from cleanclip_gui.clean.search_dialog import SearchDialogs
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Message, Progress, Saved
from ml_core.jobs.search import MEANS, SearchSpec
from ml_core.jobs.specs import SPEC_FILE, CleanSpec, read_spec_file, write_spec
from ml_core.reading import inspect
from tests.gui.fakes import FakeRunner
from tests.gui.searches import search_record, write_search
from tests.gui.shell_fakes import write_safetensors


@pytest.fixture
def searching(qtbot, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    parent = QWidget()
    qtbot.addWidget(parent)
    found = inspect(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))
    session = Session()
    facts = ShownCheckpoint(str(found.path), found, "ResNet", "metadata", (), 64, 12)
    session.checkpoint = facts
    pairs: list[PairSpec | None] = [PairSpec()]
    labelled = [False]

    def write(folder):
        spec = CleanSpec(
            checkpoint=str(found.path), recipe=Recipe(), pairs=pairs[0], images=ImageSpec(),
            training_images=ImageSpec(split="clean") if labelled[0] else None,
            output_dir=str(folder),
        )  # fmt: skip
        return write_spec(spec, folder / SPEC_FILE)

    known = [UNKNOWN]
    made = SearchDialogs(session, Prompts(), write, lambda: known[0], parent, FakeRunner)
    made.known = known
    made.pairs, made.labelled = pairs, labelled
    return made


@pytest.fixture
def dialog(searching):
    theme.apply_theme(QApplication.instance(), "light")
    searching.open()
    assert searching.dialog is not None
    return searching.dialog


def runner_of(searching):
    runner = searching.dialog.task.runner
    assert isinstance(runner, FakeRunner)
    return runner


def _row(dialog, number):
    model = dialog.table.model()
    return [model.index(number, column).data() for column in range(model.columnCount())]


def _main(dialog):
    """The buttons that stand out."""
    return [one for one in dialog.findChildren(QPushButton) if one.property("primary")]


def test_runs_arrive_and_the_best_can_be_used(searching, dialog, qtbot):
    assert not dialog.use.isEnabled()
    assert not dialog.card.isVisible()
    dialog.show_record(search_record(2))
    assert dialog.table.model().rowCount() == 2
    assert dialog.card.property("tone") == "caution"
    assert "No recipe that was tried keeps the limits" in dialog.summary.text()
    assert dialog.use.isEnabled()
    assert _main(dialog) == [dialog.start]
    dialog.show_record(search_record())
    assert _main(dialog) == [dialog.use]
    assert dialog.start.isDefault()  # Enter in a field takes no recipe
    assert not dialog.use.isDefault()
    assert _row(dialog, 0) == [
        "MMCL only", "1.5e-3", "160", "97.4 %", "0.6", "0.8 %", "1.5 %", "best",
    ]  # fmt: skip
    assert dialog.card.property("tone") == "ok"
    assert MEANS in dialog.summary.text()
    with qtbot.waitSignal(searching.used) as used:
        dialog.use.click()
    assert (used.args[0].method, used.args[0].total_steps) == ("mmcl", 160)
    assert used.args[0].preset == "search"
    assert searching.dialog is None


def test_the_chart_shows_each_recipe_from_the_copy_on(dialog):
    dialog.show_record(search_record())
    spots = dialog.chart.spots
    steps = [s.point.step for s in spots if "rate 1.5e-3" in s.track.label][:4]
    assert steps == [0, 40, 80, 160]
    assert {spot.track.start_ca for spot in spots} == {0.98}
    assert dialog.chart.readout() == READING_HINT
    assert "Studio" not in dialog.chart.describe(spots[0])
    dialog.asr.setValue(7.0)
    assert dialog.chart.limits.asr == 7.0


def test_a_job_without_data_cannot_be_searched(searching):
    searching.pairs[0] = None
    searching.open()
    searching.dialog.start.click()
    assert not searching.is_running
    assert "choose a method that takes pairs or labelled images" in searching.dialog.state.text()
    searching.labelled[0] = True  # which need no captions
    searching.dialog.start.click()
    spec = read_spec_file(runner_of(searching).spec_path, SearchSpec)
    assert {recipe.method for recipe in spec.recipes} == {"locked-text", "adversarial"}


def test_what_happens_is_shown_and_kept(searching):
    searching.open()
    dialog = searching.dialog
    dialog.start.click()
    runner = runner_of(searching)
    runner.event_received.emit(Progress("canaries", 30, 400))
    assert dialog.state.text() == "Planting canaries…"
    assert (dialog.busy.bar.value(), dialog.busy.bar.maximum()) == (30, 400)
    runner.event_received.emit(Message("Round 1: PAR, rate 5e-4, 40 steps"))
    assert dialog.state.text().startswith("Round 1")
    path = write_search(dialog.folder, search_record(3))
    runner.event_received.emit(Saved(str(path), "result"))
    assert dialog.table.model().rowCount() == 3
    dialog.busy.cancel.click()
    assert "cancel" in runner.told
    assert dialog.state.text() == "Cancelling…"
    runner.event_received.emit(Message("Round 2"))
    assert dialog.state.text() == "Cancelling…"
    runner.ended.emit(Done("cancelled"))
    assert "What was measured is kept" in dialog.state.text()
    assert dialog.start.isEnabled()
    assert not searching.is_running
    dialog.done(0)
    searching.open()
    assert searching.dialog.table.model().rowCount() == 3
    assert "earlier search" in searching.dialog.state.text()
