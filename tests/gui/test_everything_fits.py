"""In every window and size of type nothing overlaps, sticks out or is narrower than its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLayout,
    QTabBar,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.checkpoint.file_actions import ConvertDialog
from cleanclip_gui.checkpoint.known_dialog import KnownDialog
from cleanclip_gui.checkpoint.triage_dialog import TriageDialog
from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.proof import ProofDialog
from cleanclip_gui.clean.rate_dialog import RateDialog
from cleanclip_gui.clean.station import COMPARISON, RUNS, THIS_RUN, CleanStation
from cleanclip_gui.data.data_bar import ClassesDialog, ProblemsDialog, TemplatesDialog
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.studio.trigger_files import entries
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.window.crash import ErrorDialog
from cleanclip_gui.window.help_dialog import AboutDialog, KeysDialog
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Progress
from ml_core.jobs.specs import CleanSpec
from ml_core.reading import inspect
from ml_core.triggers import demo_trigger
from tests.gui.access_faults import name_faults
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner, close, runner_of
from tests.gui.layout_faults import faults, lasting_faults
from tests.gui.ramps import record
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, FakeInference, write_safetensors
from tests.gui.test_audit_dialog import N, audit

# Of the window, in per cent of type: the smallest, a laptop's, a projector's and a full screen.
SIZES = {
    100: [(900, 540), (1024, 768), (1093, 614)],
    150: [(1024, 768), (1280, 720), (1366, 768)],
    200: [(1920, 1080)],
}
SCREEN = QSize(880, 500)
# Of the window, the station has what rail, header and status bar leave.
BESIDE = QSize(100, 104)


@pytest.fixture(autouse=True)
def usual(qapp):
    yield
    theme.set_size(100)


@pytest.mark.parametrize("percent", SIZES)
def test_every_station_fits_at_every_size(opened_window, qtbot, percent):
    found = {}

    def look(name):
        if wrong := lasting_faults(opened_window, qtbot):
            found[name, size] = wrong

    theme.set_size(percent)
    for size in SIZES[percent]:
        opened_window.resize(*size)
        for name in ("welcome", *opened_window.stations):
            opened_window.show_station(name)
            look(name)
            page = opened_window.pages.currentWidget()
            for bar in page.findChildren(QTabBar):
                if not bar.isVisible():
                    continue
                for number in range(bar.count()):
                    if bar.isTabVisible(number) and bar.isTabEnabled(number):
                        bar.setCurrentIndex(number)
                        look(f"{name}, {bar.tabText(number)}")
                bar.setCurrentIndex(0)
        assert opened_window.size().toTuple() == size
    assert found == {}


def test_the_numbers_fit_their_column_whatever_they_say(opened_window, qtbot):
    studio = opened_window.stations["studio"]
    theme.set_size(150)
    opened_window.resize(1024, 768)
    opened_window.show_station("studio")
    qtbot.waitUntil(lambda: studio.columns.isVisible() and studio.figure.width() > 300)
    page = studio.figure.parentWidget()
    room = page.parentWidget().width()
    studio.figure.set_roles(True, "cleaned")
    studio.figure.status.setText("estimate, n = 4000")
    for part in (studio.figure.status, studio.measured, studio.measure_whole):
        part.show()
    for layout in page.findChildren(QLayout):
        layout.invalidate()
    assert page.minimumSizeHint().width() <= room


@pytest.fixture
def clean(qtbot, tmp_path: Path):
    """The Clean station with three runs of before."""
    checkpoint = tmp_path / "runs" / "poisoned.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"weights")
    session = Session()
    session.checkpoint, session.images = facts(checkpoint), images(5000)
    session.trigger, session.target = demo_trigger(), 1
    write_run(checkpoint.parent, "cleanclip-1")
    write_run(checkpoint.parent, "mmcl-2", method="mmcl")
    write_run(checkpoint.parent, "probe-3", method="linear-probe", linear=True)
    made = CleanStation(
        Context(
            session=session, inference=FakeInference(), new_runner=FakeRunner,
            settings=SettingsStore(tmp_path / "config"),
        )
    )  # fmt: skip
    made.shell.ready.emit()
    made.output.setText(str(checkpoint.parent))
    qtbot.addWidget(made)
    made.resize(QSize(900, 540) - BESIDE)
    made.show()
    yield made
    close(made)


@pytest.mark.parametrize("size", SIZES[100])
def test_clean_fits_with_a_result_with_runs_and_at_work(clean, qtbot, tmp_path, size):
    found = {}

    def look(name):
        if wrong := lasting_faults(clean, qtbot):
            found[name] = wrong

    clean.resize(QSize(*size) - BESIDE)
    look("ready")
    assert clean.size() == QSize(*size) - BESIDE
    clean.show_page(RUNS)
    qtbot.waitUntil(lambda: not clean.runs.is_reading, timeout=8000)
    look("runs")
    clean.runs.table.choose(tmp_path / "runs" / "mmcl-2")
    look("a run is chosen")
    for name in ("cleanclip-1", "mmcl-2", "probe-3"):
        clean.runs.compare(tmp_path / "runs" / name, True)
    qtbot.waitUntil(lambda: not clean.runs.is_reading, timeout=8000)
    clean.show_page(COMPARISON)
    look("comparison")
    clean.runs.comparison.pick_curves.click()
    look("curves")
    clean.show_page(THIS_RUN)
    clean.run.show_past(read_run(tmp_path / "runs" / "cleanclip-1"))
    qtbot.waitUntil(lambda: clean.result_card.isVisible() and not clean.run.is_reading)
    clean.proof.busy.show()
    clean.proof.say("The rebound test is running.")
    look("result, test")
    clean.proof.busy.hide()
    clean.proof.say("")
    clean.start()
    runner_of(clean).mark_running()
    runner_of(clean).event_received.emit(Progress("heldout", 3, 1234, 100.0, 200.0))
    look("running")
    clean.columns.toggle_left()
    look("running, without the set-up")
    runner_of(clean).end(Done("cancelled"))
    clean.columns.toggle_left()
    assert found == {}


DIALOGS = {
    "convert": lambda tmp: ConvertDialog("a long name of a checkpoint.pt", "it has no model " * 9),
    "known": lambda tmp: KnownDialog(_inspected(tmp), "ViT-B-32"),
    "triage": lambda tmp: TriageDialog([_file(tmp)]),
    "doctor": lambda tmp: DoctorDialog(
        JobTask("doctor"), Session(), Answers().prompts(), _inspected(tmp)
    ),
    "hub": lambda tmp: HubDialog(),
    "audit": lambda tmp: _audit(),
    "proof": lambda tmp: ProofDialog(PairSpec(), {}, Answers().prompts()),
    "rates": lambda tmp: _rates(),
    "classes": lambda tmp: ClassesDialog(["a", "b"]),
    "templates": lambda tmp: TemplatesDialog(("a photo of a {}",), "dog"),
    "images": lambda tmp: ImagesDialog(_table(tmp), "csv", "cifar-10"),
    "about": lambda tmp: AboutDialog("0.1.0"),
    "library": lambda tmp: TriggerLibrary(entries(64)),
    "problems": lambda tmp: ProblemsDialog("pictures", ["Left out: a.png"] * 40, None),
    "error": lambda tmp: ErrorDialog("This file cannot be read, since it is cut off. " * 5, "why"),
}


@pytest.mark.parametrize("name", DIALOGS)
def test_every_dialog_fits_and_shows_its_words_at_200_percent(qtbot, tmp_path, name):
    for percent in (100, 200):
        theme.set_size(percent)
        dialog = DIALOGS[name](tmp_path)
        qtbot.addWidget(dialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        if percent == 100:  # on a small screen, where other dialogs take two thirds at most
            resized = dialog.testAttribute(Qt.WidgetAttribute.WA_Resized)
            room = SCREEN if resized else SCREEN * 2 / 3
            dialog.resize((dialog.size() if resized else dialog.sizeHint()).boundedTo(room))
        dialog.show()
        assert lasting_faults(dialog, qtbot) == []
        if percent == 100:
            assert name_faults(dialog) == []
            size = dialog.size()
            assert (size.width() <= 900, size.height() <= 512) == (True, True), size
        dialog.close()


class SmallScreen:
    """900 x 540, whatever the screen of the tests."""

    def availableGeometry(self) -> QRect:  # noqa: N802
        return QRect(0, 0, 900, 540)

    def availableSize(self) -> QSize:  # noqa: N802
        return QSize(900, 540)


def test_an_error_with_its_details_open_fits_a_small_screen(qtbot):
    dialog = ErrorDialog("This file cannot be read, since it is cut off. " * 20, "line\n" * 200)
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.screen = SmallScreen
    dialog.show()
    short = dialog.height()
    dialog.move(100, 400 - short // 2)
    dialog.toggle.click()
    assert lasting_faults(dialog, qtbot) == []
    assert (dialog.width() <= 884, short < dialog.height() <= 492) == (True, True), dialog.size()
    assert dialog.frameGeometry().bottom() < 540
    assert dialog.details.height() >= 4 * dialog.details.fontMetrics().lineSpacing()
    high = dialog.height()
    dialog.toggle.click()
    assert dialog.height() < high - 60
    dialog.close()


def test_the_dialog_of_the_keys_fits(small_window, qtbot):
    actions = small_window.actions_
    dialog = KeysDialog(actions.commands, actions.key_tables, small_window)
    dialog.show()
    wrong = lasting_faults(dialog, qtbot)
    assert dialog.width() <= 900
    assert wrong == []
    dialog.close()


def test_faults_are_found(qtbot):
    outer = QWidget()
    qtbot.addWidget(outer)
    row = QHBoxLayout(outer)
    for text in ("Some words", "and some more of them"):
        label = Label(text)
        label.setMinimumWidth(10)
        row.addWidget(label)
    outer.resize(80, 40)
    outer.show()
    assert len(faults(outer)) == 2
    outer.resize(400, 40)
    assert faults(outer) == []
    row.itemAt(1).widget().move(2, 2)
    assert len(faults(outer)) == 1
    row.itemAt(1).widget().move(395, 2)
    assert len(faults(outer)) == 1


def _file(tmp):
    return write_safetensors(tmp / "m.safetensors", {"a": [1.0], "visual.proj": [[1.0]]})


def _inspected(tmp):
    return inspect(_file(tmp))


def _table(tmp):
    path = tmp / "labels.csv"
    path.write_text("image,label\n" + "".join(f"{n}.png,class {n}\n" for n in range(9)))
    return path


def _audit():
    pairs, name = PairSpec(kind="csv", path="pairs.csv"), "poisoned.safetensors"
    prompts = Answers().prompts()
    dialog = AuditDialog(JobTask("audit"), Session(), name, name, pairs, prompts)
    dialog.show_audit(audit(), np.zeros((N, 48, 48, 3), np.uint8), Path())
    return dialog


def _rates():
    job = CleanSpec(
        checkpoint="poisoned.safetensors", recipe=Recipe(), images=ImageSpec(split="val"),
        output_dir="out",
    )  # fmt: skip
    dialog = RateDialog(lambda folder: (job, "cpu"), Answers().prompts(), FakeRunner, None)
    found = record(notes=("A note that is as long as those that are usually there.",))
    dialog.show_result(found.model_dump())
    return dialog
