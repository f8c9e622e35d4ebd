"""In every window and size of type nothing overlaps, sticks out or is narrower than its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QTabBar,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.doctor_dialog import DoctorDialog
from cleanclip_gui.checkpoint.file_actions import ConvertDialog
from cleanclip_gui.checkpoint.known_dialog import KnownDialog
from cleanclip_gui.checkpoint.parts_dialog import PartsDialog
from cleanclip_gui.clean.audit.dialog import AuditDialog
from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.proof import ProofDialog
from cleanclip_gui.clean.rate_dialog import RateDialog
from cleanclip_gui.clean.station import COMPARISON, RUNS, THIS_RUN
from cleanclip_gui.data.data_bar import ClassesDialog, ProblemsDialog, TemplatesDialog
from cleanclip_gui.data.hub_dialog import HubDialog
from cleanclip_gui.data.images_dialog import ImagesDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.studio.library_dialog import TriggerLibrary
from cleanclip_gui.studio.trigger_files import entries
from cleanclip_gui.widgets.controls import Label
from cleanclip_gui.window.crash import ErrorDialog
from cleanclip_gui.window.help_dialog import AboutDialog
from ml_core.cleaning.recipes import Recipe
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Progress
from ml_core.jobs.specs import CleanSpec
from ml_core.reading import inspect
from tests.gui.access_faults import name_faults
from tests.gui.examinations import write_examination
from tests.gui.fakes import FakeRunner, close, open_session, runner_of, station
from tests.gui.layout_faults import faults, lasting_faults
from tests.gui.ramps import record
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import Answers, write_safetensors
from tests.gui.test_audit_dialog import N, audit

# Of the window, by per cent of type: the smallest, and the one with the least room for its words.
SIZES = {100: (900, 540), 150: (1024, 768)}
SCREEN = QSize(880, 500)
# Of the window, the station has what rail, header and status bar leave.
BESIDE = QSize(100, 104)


@pytest.fixture(autouse=True)
def usual(qapp):
    yield
    theme.set_size(100)


@pytest.mark.parametrize("percent", SIZES)
def test_every_station_fits(opened_window, qtbot, tmp_path, percent):
    found = {}
    theme.set_size(percent)
    opened_window.resize(*SIZES[percent])
    for name in ("welcome", *opened_window.stations):
        opened_window.show_station(name)
        found[name] = lasting_faults(opened_window, qtbot)
        for bar in opened_window.pages.currentWidget().findChildren(QTabBar):
            for number in range(bar.count()) if bar.isVisible() else ():
                if bar.isTabVisible(number) and bar.isTabEnabled(number):
                    bar.setCurrentIndex(number)
                    found[name, bar.tabText(number)] = lasting_faults(opened_window, qtbot)
            bar.setCurrentIndex(0)
    panel = opened_window.stations["checkpoint"]
    opened_window.show_station("checkpoint")
    record = write_examination(tmp_path)
    panel._show_examination(record)
    for line in panel.examination.rows.values():
        line.more.setChecked(True)
    found["examination"] = lasting_faults(opened_window, qtbot)
    found["names"] = name_faults(panel.examination)
    panel.examination.begin(record.name, record.spec)
    found["examining"] = lasting_faults(opened_window, qtbot)
    panel.check_several([tmp_path, tmp_path / "gone.pt"])
    found["reading many"] = lasting_faults(opened_window, qtbot)
    qtbot.waitUntil(lambda: panel.many.table.chosen >= 0)
    found["many"] = lasting_faults(opened_window, qtbot) + name_faults(panel.many)
    assert not any(found.values()), found
    assert opened_window.size().toTuple() == SIZES[percent]


@pytest.fixture
def clean(qtbot, tmp_path):
    """The Clean station with three runs of before."""
    runs = tmp_path / "runs"
    write_run(runs, "cleanclip-1")
    write_run(runs, "mmcl-2", method="mmcl")
    write_run(runs, "supervised-3", method="supervised", linear=True)
    made = station(qtbot, open_session(runs), tmp_path)
    made.resize(QSize(900, 540) - BESIDE)
    yield made
    close(made)


def test_clean_fits_with_a_result_with_runs_and_at_work(clean, qtbot, tmp_path):
    found = {}

    def look(name):
        found[name] = lasting_faults(clean, qtbot)

    look("ready")
    clean.show_page(RUNS)
    qtbot.waitUntil(lambda: not clean.runs.is_reading, timeout=8000)
    clean.runs.table.choose(tmp_path / "runs" / "mmcl-2")
    look("a run is chosen")
    for name in ("cleanclip-1", "mmcl-2", "supervised-3"):
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
    assert not any(found.values()), found


DIALOGS = {
    "convert": lambda tmp: ConvertDialog("a long name of a checkpoint.pt", "it has no model " * 9),
    "known": lambda tmp: KnownDialog(_inspected(tmp), "ViT-B-32"),
    "parts": lambda tmp: PartsDialog([Path(f"{_file(tmp)}#text_encoder")], _inspected(tmp)),
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


@pytest.mark.parametrize("percent", [100, 200])
def test_every_dialog_fits_and_shows_its_words(qtbot, tmp_path, percent):
    theme.set_size(percent)
    found = {}
    for name, make in DIALOGS.items():
        dialog = make(tmp_path)
        qtbot.addWidget(dialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        if percent == 100:  # on a small screen, where other dialogs take two thirds at most
            resized = dialog.testAttribute(Qt.WidgetAttribute.WA_Resized)
            room = SCREEN if resized else SCREEN * 2 / 3
            dialog.resize((dialog.size() if resized else dialog.sizeHint()).boundedTo(room))
        dialog.show()
        found[name] = lasting_faults(dialog, qtbot)
        if percent == 100:
            found[name] += name_faults(dialog)
            size = dialog.size()
            assert (size.width() <= 900, size.height() <= 512) == (True, True), (name, size)
        dialog.close()
    assert not any(found.values()), found


def test_faults_are_found(qtbot):
    outer = QWidget()
    qtbot.addWidget(outer)
    row = QHBoxLayout(outer)
    for text in ("Some words", "and some more of them"):
        label = Label(text)
        label.setMinimumWidth(10)
        row.addWidget(label)
    outer.show()
    for width, place, count in ((80, None, 2), (400, None, 0), (400, 2, 1), (400, 395, 1)):
        outer.resize(width, 40)
        if place is not None:
            row.itemAt(1).widget().move(place, 2)
        assert len(faults(outer)) == count


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
