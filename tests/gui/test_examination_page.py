"""Examine: one click on a file, a page that fills, an answer, and what the other stations get."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QLabel

from cleanclip_gui import threads
from cleanclip_gui.checkpoint.examining import examination_of
from cleanclip_gui.checkpoint.station import EXAMINATION, FACTS, CheckpointStation
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.session.records import BEING_CLEANED, Answer
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.picture_grid import PictureCell
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec
from ml_core.events import Done
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.examination import EXAMINATIONS, ExamineStep, words
from ml_core.paths import data_dir
from tests.gui import examinations
from tests.gui.factories import images
from tests.gui.fakes import FakeRunner
from tests.gui.run_folders import write_run
from tests.gui.scans import scan as scan_record
from tests.gui.scans import write_scan
from tests.gui.shell_fakes import Answers, FakeEngine, write_safetensors

EVIL = b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03."


def make_panel(qtbot, tmp_path, **fields):
    """The Checkpoint station alone; ``opened`` is what it asked the window to open."""
    context = Context(
        inference=Inference(FakeEngine), settings=SettingsStore(tmp_path / "config"),
        prompts=Answers().prompts(), **fields,
    )  # fmt: skip
    panel = CheckpointStation(context)
    panel.context, panel.opened, panel.wanted, panel.failures = context, [], [], []
    for kind in ("scan", "scan_made", "run", "scan_reference"):
        context.shell.takes(kind, lambda folder, kind=kind: panel.opened.append((kind, folder)))
    context.shell.station_wanted.connect(panel.wanted.append)
    context.shell.failed.connect(panel.failures.append)
    qtbot.addWidget(panel)
    panel.resize(1200, 700)
    panel.show()
    return panel


@pytest.fixture
def panel(qtbot, tmp_path):
    yield make_panel(qtbot, tmp_path, new_runner=FakeRunner)
    threads.close_all()


@pytest.fixture
def poisoned(tmp_path):
    return Path(shutil.copy(demo_checkpoint(), tmp_path / "poisoned.safetensors"))


def opened(qtbot, panel, path):
    panel.open(path)
    qtbot.waitUntil(lambda: panel._model is not None)
    return panel.inspection.sha256


REFUSED = {
    "verdict": "dangerous", "headline": "Refused: dangerous. It runs code.", "target": "",
    "steps": (ExamineStep(kind="file", state="done", figure="Refused: dangerous"),),
    "looked_at": (), "not_looked_at": ("Which CLIP.",), "advice": "do not load",
    "advice_sentence": words.ADVICE["do not load"],
}  # fmt: skip


def states(view):
    return [line.state.text().partition(",")[0] for line in view.rows.values() if line.isVisible()]


def test_one_click_on_an_open_file_leads_to_the_answer(qtbot, panel, poisoned, tmp_path):
    opened(qtbot, panel, poisoned)
    view = panel.examination
    panel.verdict.next.click()
    runner = panel.examining.runner
    assert {name: runner.spec[name] for name in ("checkpoint", "images", "reference", "auto")} == {
        "checkpoint": str(poisoned), "images": None, "reference": None, "auto": None,
    }  # fmt: skip
    assert panel.at_work()
    assert states(view) == ["waiting"] * 7
    runner.play(examinations.events())
    assert states(view) == ["done"] * 3 + ["running"] * 2 + ["waiting"] * 2
    assert view.rows["accuracy"].figure.text() == "99.2 %"
    assert view.busy.bar.value() > 0

    folder = data_dir() / EXAMINATIONS / "examined"
    record = examinations.write_examination(folder, of=poisoned)
    runner.play(examinations.done(folder, record))
    assert view.headline.text() == record.headline
    assert view.answer.property("tone") == "danger"
    assert states(view) == ["done"] * 7
    marks = {kind: line.mark.pixmap().toImage() for kind, line in view.rows.items()}
    assert marks["known"] == marks["scan"] == marks["attack"]  # 96 % of a trigger is no good news
    assert marks["known"] != marks["accuracy"]
    assert "built-in drawings" in view.not_looked_at.text()
    assert view.looked_at.text()
    assert not [t for t in map(QLabel.text, view.findChildren(QLabel)) if re.search(r"\bsafe\b", t)]
    assert panel.opened == [("scan_made", str(folder / "scan"))]

    line = view.rows["scan"]
    assert not line.rest.isVisible()
    line.more.click()
    assert "attacker's trigger" in line.rest.text()
    assert line.rest.isVisible()
    line.show_button.click()
    assert panel.opened[1:] == [("scan", str(folder / "scan"))]
    view.next.click()
    assert (view.next.text(), panel.wanted[-1]) == ("Clean it", "clean")
    answer = Answer(
        "Backdoor-like: banana", "danger", "scan", cleaned="Cleaned copy: ASR 98.1 → 0.1 %"
    )
    panel.context.session.answer = replace(answer, cleaned_tone="info")
    assert (view.advice.text(), view.next.text()) == (f"{answer.cleaned}.", "Write the report")
    panel.context.session.answer = replace(answer, cleaned_tone="danger")
    assert (view.advice.text(), view.next.text()) == (record.advice_sentence, "Clean it")
    panel.context.session.answer = replace(answer, cleaned=BEING_CLEANED)
    assert (view.advice.text(), view.next.text()) == ("Being cleaned.", "Go to Clean")
    view.facts.click()
    assert panel.pages.currentIndex() == FACTS
    panel.verdict.next.click()
    assert (panel.pages.currentIndex(), panel.answer_again.isVisible()) == (EXAMINATION, False)
    view.facts.click()
    panel.answer_again.click()
    assert (panel.pages.currentIndex(), panel.answer_again.isVisible()) == (EXAMINATION, False)
    assert view.facts.hasFocus()
    assert not panel.examining.is_running

    pair = np.zeros((2, 8, 8, 3), np.uint8)
    cells = (PictureCell(tuple(pair), ("cat", "→ banana"), marked=True),)
    for scan, shown in (("other", False), ("scan", True)):
        panel.shell.open("stamped", str(folder / scan), cells)
        assert view.pictures.isVisible() == shown
    panel.open(write_safetensors(tmp_path / "other.safetensors", {"a": [1.0]}))
    assert (panel.pages.currentIndex(), panel.answer_again.isVisible()) == (FACTS, False)
    panel.shell.demo_opening.emit()  # a talk opened the demo, which was never examined
    opened(qtbot, panel, poisoned)
    assert panel.pages.currentIndex() == EXAMINATION
    assert view.headline.text() == record.headline
    assert not view.pictures.isVisible()  # they were of the other file
    assert panel.opened[-1] == ("scan_made", str(folder / "scan"))  # whose pictures are shown


def test_a_refused_file_has_an_answer_whatever_lies_in_the_working_directory(
    qtbot, panel, tmp_path, monkeypatch
):
    other = examinations.write_examination(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    evil = tmp_path / "evil.pt"
    evil.write_bytes(EVIL)
    panel.open(evil)
    qtbot.waitUntil(lambda: panel.inspection is not None)
    panel.context.actions.run("file.examine")
    record = other.model_copy(update=REFUSED)
    panel.examining.runner.play([Done("finished", record.model_dump(mode="json") | {"folder": ""})])
    view = panel.examination
    assert view.headline.text() == record.headline
    assert view.answer.property("tone") == "danger"
    assert (view.next.text(), view.again.text()) == ("Show why", "Examine again")
    assert view.next.hasFocus()
    assert view.not_looked_at.text().endswith("•&nbsp;Which CLIP.</p>")
    assert panel.opened == []
    view.next.click()
    assert panel.pages.currentIndex() == FACTS


def test_a_kept_examination_is_not_shown_for_another_config(
    qtbot, panel, tiny_checkpoint, tmp_path
):
    folder = tmp_path / "folder"
    assert run_command(["convert", str(tiny_checkpoint), str(folder)]) == 0
    record = examinations.write_examination(data_dir() / EXAMINATIONS / "one", of=folder)
    opened(qtbot, panel, folder)
    assert panel.examination.headline.text() == record.headline
    assert panel.opened == [("scan_made", str(data_dir() / EXAMINATIONS / "one" / "scan"))]
    config = folder / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.48145466", "0.1"))
    opened(qtbot, panel, folder)
    assert (panel.pages.currentIndex(), panel.examined) == (FACTS, None)


def test_a_cancelled_examination_goes_on(qtbot, panel, poisoned):
    opened(qtbot, panel, poisoned)
    panel.verdict.next.click()
    runner = panel.examining.runner
    runner.play(examinations.events())
    panel.examination.busy.cancel.click()
    assert runner.cancelled
    runner.end(Done("cancelled"))
    assert panel.examination.headline.text() == "The examination was cancelled."
    assert states(panel.examination) == ["done"] * 3 + ["not done"] * 4
    panel.examination.again.click()
    assert panel.examining.runner.spec == runner.spec
    panel.examining.runner.end(Done("failed", error="The disk is full."))
    assert panel.examination.advice.text() == "The disk is full."  # nothing of it is kept
    assert panel.examination.again.text() == "Examine again"


def test_the_users_pictures_and_reference_are_taken(qtbot, panel, poisoned, tmp_path):
    opened(qtbot, panel, poisoned)
    parent = write_safetensors(tmp_path / "parent.safetensors", {"a": [1.0]})
    folder, session = ImageSpec(kind="folder", path=str(tmp_path)), panel.context.session
    inputs, again = panel.verdict.inputs, panel.examination
    assert inputs.pictures.text() == "Images: the built-in drawings"
    assert inputs.reference.text() == "Reference: the demo's clean twin"
    kept = examinations.write_examination(tmp_path / "kept", sha256=panel.inspection.sha256)
    panel._show_examination(kept)
    assert not again.measured_on.isVisible()
    session.images = images(200, spec=folder, class_names=("cat", "dog"))
    assert again.measured_on.text() == (
        "Measured on the built-in drawings, beside the demo's clean twin; other images are "
        "chosen now."
    )
    panel.shell.takes("scan_reference", partial(setattr, session, "scan_reference"))
    with qtbot.waitSignal(panel.shell.failed) as refused:
        panel.context.prompts.open_file = lambda *_: str(poisoned)
        again.inputs.change_reference.click()
    assert "has the weights of the checkpoint itself" in str(refused.args[0])
    panel.context.prompts.open_file = lambda *_: str(parent)
    again.inputs.change_reference.click()
    assert again.measured_on.text().endswith("other images and another reference are chosen now.")
    assert (
        inputs.reference.text() == again.inputs.reference.text() == "Reference: parent.safetensors"
    )
    assert inputs.pictures.text() == f"Images: {session.images.name} · 200"
    again.again.click()
    assert not again.measured_on.isVisible()
    session.images = None
    assert again.measured_on.text() == "Other images are chosen now."
    session.images = images(200, spec=folder, class_names=("cat", "dog"))
    assert not again.measured_on.isVisible()
    spec = panel.examining.spec
    assert (spec.images, spec.reference, spec.templates) == (folder, str(parent), ("a {}",))
    assert Path(spec.label_set).read_text().split() == ["cat", "dog"]
    panel.examining.runner.end(Done("failed", error="It cannot be one.", error_code="usage"))
    assert panel.opened[-1] == ("scan_reference", "")  # else each next examination would fail
    session.scan_reference = ""
    assert examination_of(str(poisoned), None, session).reference is None


def test_the_other_stations_know_what_was_found(qtbot, make, poisoned, tmp_path, monkeypatch):
    window = make(new_runner=FakeRunner)
    panel, scan = window.stations["checkpoint"], window.stations["scan"]
    panel.open(poisoned)
    window.actions_.run("file.examine")
    runner = panel.examining.runner
    assert (runner.kind, runner.spec["checkpoint"]) == ("examine", str(poisoned))
    qtbot.waitUntil(lambda: window.session.images is not None)
    assert panel.pages.currentIndex() == EXAMINATION
    assert window.status.job.text().startswith("The examination is running")
    sha256, folder = panel.inspection.sha256, tmp_path / "examined"
    runner.play(examinations.done(folder, examinations.write_examination(folder, sha256=sha256)))
    assert scan.state()["scans"] == (str(folder / "scan"),)
    assert window.session.jobs["scan"].verdict == "found"
    assert window.session.station == "checkpoint"
    panel.examination.rows["attack"].show_button.click()
    assert (window.session.trigger.name, window.session.station) == ("Demo sticker", "studio")
    failures = []
    window.context.shell.failed.connect(failures.append)
    pictures, window.session.images = window.session.images, None
    assert not window.actions_["file.examine_clean"].isEnabled()
    window.session.images = pictures
    with monkeypatch.context() as patch:
        patch.setattr("cleanclip_gui.checkpoint.station.is_taken", lambda device: True)
        window.actions_.refresh()
        assert window.actions_["file.examine"].isEnabled()  # it was examined: that is shown
        panel.examined = None
        window.actions_.refresh()
        assert not window.actions_["file.examine"].isEnabled()
    window.actions_.refresh()
    window.actions_.run("file.examine_clean")
    assert [error.sentence.split(",")[0] for error in failures] == ["A scan needs 144 pictures"]
    assert not panel.examining.is_running
    window.session.images = images(5000)
    window.actions_.run("file.examine_clean")
    assert failures[-1].sentence.startswith("No training pairs are chosen")
    window.stations["clean"].setup.data.demo.setChecked(True)
    window.actions_.run("file.examine_clean")
    auto = panel.examining.spec.auto
    assert (auto.base.checkpoint, auto.scanned) == (str(poisoned), None)
    assert "clean" in [name for name, line in panel.examination.rows.items() if line.isVisible()]
    run = write_run(folder, "round-1", checkpoint=poisoned)
    write_scan(folder / "scan-1", scan_record("nothing", sha256="c" * 64))
    record = examinations.write_examination(
        folder, sha256=sha256, checkpoint=str(run / "cleaned.safetensors"), advice="report"
    )
    panel.examining.runner.play(examinations.done(folder, record))
    assert window.session.run.output_dir == str(run)
    assert window.context.settings.last_result("scan", "c" * 64).verdict == "nothing"
    assert run in [past.folder for past in window.stations["clean"].runs.runs]
