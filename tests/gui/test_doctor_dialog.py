"""The loader doctor in the window: it lists what it tries, proposes, and the user decides."""

import pytest
from PIL import Image
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from ml_core.checkpoints.choice import Choice, remember, remembered
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, Finding
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.specs import read_spec_file
from ml_core.reading import inspect
from tests.gui.factories import images
from tests.gui.fakes import FakeRunner, child
from tests.gui.shell_fakes import Answers, write_safetensors

WAIT = 10_000
SETTINGS = {"quick_gelu": True, "image_size": 64}
OTHER = {"quick_gelu": False, "image_size": 64}
EVIDENCE = "Chosen with the loader doctor on 40 labelled images of x: QuickGELU; 90.0 % right."


def trial(question, answer, correct, settings):
    rate = correct / 40
    return {
        "question": question, "answer": answer, "correct": correct, "n": 40, "accuracy": rate,
        "low": rate - 0.05, "high": min(1.0, rate + 0.05), "settings": settings, "nll": 1.0,
    }  # fmt: skip


FIRST = trial("as opened", "GELU\u202e<b>", 20, OTHER)
BEST = trial("activation", "QuickGELU", 36, SETTINGS)
RESULT = {
    "trials": [FIRST, BEST], "best": BEST, "opened": FIRST, "images": "x", "sha256": "",
    "choice": {"quick_gelu": True, "evidence": EVIDENCE}, "findings": [],
    "warnings": ["File and behaviour disagree on the activation."],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))


@pytest.fixture
def found(tmp_path):
    return inspect(write_safetensors(tmp_path / "m.safetensors", {"a": [1.0]}))


@pytest.fixture
def doctor(qtbot, found):
    """Opens the dialog for the file."""
    parent = QWidget()
    qtbot.addWidget(parent)

    def show(make_runner=FakeRunner, *, session=None, path="", donor=""):
        answers, task = Answers(path), JobTask("doctor", make_runner)
        dialog = DoctorDialog(task, session or Session(), answers.prompts(), found, donor, parent)
        dialog.answers = answers
        dialog.show()
        return dialog

    yield show
    assert threads.close_all()


def cells(dialog, row):
    return [dialog.trials.model().index(row, column).data() for column in (0, 1, 2, 5)]


def test_trials_arrive_and_the_best_is_proposed(doctor, qtbot, found):
    result = RESULT | {"sha256": found.sha256}
    dialog = doctor()
    assert not dialog.use.isEnabled()
    dialog.start.click()
    dialog.task.runner.play(
        [Finding("trial", FIRST), Finding("trial", BEST), Done("finished", result)]
    )
    assert dialog.card.isVisible()
    assert cells(dialog, 0)[::3] == ["as opened: GELU\\u202e<b>", "now"]
    assert cells(dialog, 1) == ["activation: QuickGELU", "90.0 %", "85.0 to 95.0 %", "proposed"]
    assert dialog.verdict.text() == "File and behaviour disagree"
    assert dialog.card.property("tone") == "caution"
    assert "Proposed by the loader doctor" in dialog.words.text()
    assert remembered(found.sha256) is None, "nothing is chosen silently"
    with qtbot.waitSignal(dialog.used) as changed:
        dialog.use.click()
    assert changed.args == [str(found.path)]
    kept = remembered(found.sha256)
    assert kept.choice == Choice(quick_gelu=True, evidence=EVIDENCE)
    assert dialog.state.text() == kept.sentence
    assert not dialog.use.isEnabled()
    result = RESULT | {"choice": None, "best": FIRST, "warnings": []}
    dialog.start.click()
    dialog.task.runner.play([Finding("trial", FIRST), Done("finished", result)])
    assert "nothing to choose" in dialog.verdict.text()
    assert not dialog.use.isEnabled()


def test_a_choice_of_before_is_told_and_can_be_forgotten(doctor, qtbot, found):
    kept = remember(found.sha256, found.name, Choice(quick_gelu=True))
    dialog = doctor()
    assert dialog.state.text() == kept.sentence
    assert dialog.forget.isVisible()
    with qtbot.waitSignal(dialog.used):
        dialog.forget.click()
    assert remembered(found.sha256) is None
    assert not dialog.forget.isVisible()


def test_closing_the_dialog_ends_the_child_and_nothing_is_kept(doctor, qtbot, tmp_path, found):
    dialog = doctor(child(tmp_path, [Finding("trial", FIRST)], waits=True, temporary=True))
    dialog.start.click()
    qtbot.waitUntil(lambda: len(dialog.trials.rows.rows) == 1, timeout=WAIT)
    runner = dialog.task.runner
    dialog.reject()
    qtbot.waitUntil(lambda: runner.state == "ended", timeout=WAIT)
    assert runner.pid is None
    assert not runner.spec_path.exists()


def test_the_job_says_images_labels_donor_and_device(doctor, tmp_path):
    session = Session()
    spec = ImageSpec(kind="folder", path=str(tmp_path))
    session.images = images(labels=(0, 1, 1, -1), spec=spec, name="mine")
    session.label_set = "cifar-10"
    dialog = doctor(session=session, donor="donor.pt")
    assert dialog.images.images.currentText() == "In use: mine"
    dialog.images.n.setValue(40)
    dialog.start.click()
    spec = read_spec_file(dialog.task.runner.spec_path, DoctorSpec)
    assert (spec.donor, spec.label_set, spec.device) == ("donor.pt", "cifar-10", "cpu")
    assert (spec.images.path, spec.images.n) == (str(tmp_path), 40)


def test_images_of_ones_own_are_a_folder_per_class(doctor, qtbot, tmp_path, found):
    dialog = doctor(path=tmp_path)
    choice = dialog.images
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    place = choice.images.findData("folder")
    choice.images.setCurrentIndex(place)
    choice.images.activated.emit(place)
    (asked,) = dialog.window().findChildren(ImagesDialog)
    assert not asked.ok.isEnabled()  # until it is known what the folder holds
    qtbot.waitUntil(asked.ok.isEnabled, timeout=10_000)
    asked.ok.click()
    spec, label_set = choice.chosen()
    assert (spec.kind, spec.path) == ("folder", str(tmp_path))
    assert label_set == "demo"
    assert choice.labels.isEnabled()
