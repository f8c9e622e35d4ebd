"""Planting in the window: the job it writes, what it shows, and the file that it opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget

from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.studio.plant_dialog import PlantDialog
from ml_core.data.specs import PairSpec
from ml_core.events import Done
from ml_core.jobs.plant import FILES, STATES_FOLDER, PlantSpec
from ml_core.jobs.specs import read_spec_file
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger, load_trigger
from tests.gui.factories import images
from tests.gui.fakes import FakeRunner, heard, open_session
from tests.gui.shell_fakes import Answers
from tests.hostile.doors import planted


@pytest.fixture
def show(qtbot, tmp_path, monkeypatch):
    """Opens the dialog for a session."""
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    parent = QWidget()
    qtbot.addWidget(parent)

    def show(session):
        dialog = PlantDialog(JobTask("plant", FakeRunner), session, Answers().prompts(), parent)
        dialog.show()
        return dialog

    return show


def test_the_trigger_on_the_canvas_is_planted_and_the_poisoned_file_opened(show, tmp_path):
    session = open_session(tmp_path)
    session.images = session.images or images()
    session.trigger, session.target = demo_trigger(), 1
    dialog = show(session)
    assert not dialog.open_file.isVisible()
    dialog.form.set_values(count=30, steps=40)
    dialog.twin.setChecked(False)
    folder = Path(dialog.folder.absolute())
    assert folder.name.endswith("-planted")
    dialog.start.click()
    spec = read_spec_file(dialog.task.runner.spec_path, PlantSpec)
    assert (spec.count, spec.steps, spec.target, spec.twin) == (30, 40, 1, False)
    assert spec.pairs == PairSpec(kind="demo", split="train")
    assert load_trigger(spec.trigger) == demo_trigger()
    assert spec.output_dir == str(folder)
    dialog.task.runner.ended.emit(Done("finished", planted().model_dump(mode="json")))
    assert dialog.outcome.text().count("success 90.0 %") == 2
    assert len(dialog.outcome.text().splitlines()) == 2
    used = heard(dialog.used)
    dialog.open_file.click()
    assert used == [str(folder / FILES["poisoned"])]


def test_a_cancelled_planting_goes_on_and_other_labels_need_pairs(show, tmp_path):
    session = open_session(tmp_path)
    session.images = session.images or images()
    session.trigger = demo_trigger()
    dialog = show(session)
    (Path(dialog.folder.absolute()) / STATES_FOLDER).mkdir(parents=True)
    dialog.start.click()
    assert dialog.task.runner.mode == "resume"
    dialog.done(0)
    changed = show(session)
    changed.form.set_values(seed=5)
    changed.start.click()
    assert "a planting with other settings" in changed.state.text()
    session.label_set = "cifar-10"
    other = show(session)
    other.start.click()
    assert "Choose image-caption pairs" in other.state.text()


def test_without_a_trigger_there_is_nothing_to_plant(show):
    with pytest.raises(InputError, match="needs a checkpoint, images and a trigger"):
        show(Session())
