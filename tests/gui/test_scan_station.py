"""The Scan station alone: what the job tells is shown, and what it found is handed over."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QImage
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication, QWidget

from cleanclip_gui import threads
from cleanclip_gui.inference.questions import Look, Looked, Thumbnails, ThumbnailsReady
from cleanclip_gui.scan.result_view import LOOKS, ink
from cleanclip_gui.scan.scanning import LiveScan, estimate_folder, folder_of, stages_done
from cleanclip_gui.scan.setup import NONE, OWN, PARENT, TWIN, ScanReference, parent_of
from cleanclip_gui.scan.stamping import pictures_of
from cleanclip_gui.scan.station import READY, RESULT, ScanStation
from cleanclip_gui.session import RunState, Session
from cleanclip_gui.session.settings import PastResult, SettingsStore
from cleanclip_gui.station import Context
from cleanclip_gui.window.main_window import FocusKeeper
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import TITLES, Weights
from ml_core.events import Done, Finding, Progress
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.scan import SCAN_FILE, ScanSpec
from ml_core.jobs.specs import read_spec_file
from tests.gui.factories import evaluation, facts, images
from tests.gui.fakes import FakeRunner
from tests.gui.layout_faults import lasting_faults
from tests.gui.scans import CLASSES, coded, events, picture_of, scan, stages, write_scan
from tests.gui.shell_fakes import Answers, FakeInference, StudioStandIn, write_safetensors

SHA = "a" * 64


class FakeChild:
    """A process that waits for a scan, and is none."""

    def __init__(self) -> None:
        self.is_waiting = True

    def end(self) -> None:
        self.is_waiting = False


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = Session()
    path = tmp_path / "poisoned.safetensors"
    path.write_bytes(b"weights")
    session.checkpoint = facts(path, sha256=SHA)
    session.images = images(labels=[k % len(CLASSES) for k in range(400)], class_names=CLASSES)
    return session


@pytest.fixture
def station(qtbot, session, tmp_path):
    context = Context(
        session=session, inference=FakeInference(),
        new_runner=FakeRunner, waiting_child=lambda kind: FakeChild(),
        settings=SettingsStore(tmp_path / "config"), prompts=Answers().prompts(),
    )  # fmt: skip
    station = ScanStation(context)
    station.studio = StudioStandIn(context)
    station.failures, station.stations = [], []
    station.shell.failed.connect(station.failures.append)
    station.shell.station_wanted.connect(station.stations.append)
    qtbot.addWidget(station)
    station.resize(900, 620)
    station.show()
    qtbot.waitExposed(station)
    yield station
    station.shell.closing.emit()
    assert threads.close_all()


def begin(station):
    station.start_button.click()
    return station.scanning.runner


def tell(station, *told):
    for event in told:
        station.scanning.runner.event_received.emit(event)


def result(station, tmp_path, verdict="found", **fields):
    folder = write_scan(tmp_path / f"of-{verdict}", scan(verdict, **fields))
    station.open_folder(folder)
    return folder


# Starting


def test_a_known_file_becomes_the_reference(station, tmp_path):
    parent = write_safetensors(tmp_path / "parent.safetensors", {"a": [1.0]})
    station.shell.open("scan_reference", str(parent))
    assert station.setup.reference.path() == str(parent)
    assert read_spec_file(begin(station).spec_path, ScanSpec).reference == str(parent)


def test_one_click_scans_what_is_open_against_the_twin(station):
    station.setup.form.set_values(seed=7)
    station.setup.stages["thorough"].click()
    runner = begin(station)
    spec = read_spec_file(runner.spec_path, ScanSpec)
    assert spec.checkpoint == station.session.checkpoint.path
    assert spec.reference == str(demo_checkpoint(twin=True))
    assert (spec.images, spec.seed) == (station.session.images.spec, 7)
    assert spec.stages == station.setup.chosen_stages()
    assert Path(spec.label_set).read_text().split() == list(CLASSES)
    assert Path(spec.output_dir) == runner.spec_path.parent
    assert not station.start_button.isEnabled()
    runner.ended.emit(Done("failed", {}, "The pictures are noise.", "usage"))
    assert station.pages.currentIndex() == READY
    assert station.ended.text() == "The pictures are noise."
    assert station.session.jobs["scan"].status == "failed"

    runner = begin(station)
    stages = runner.spec_path.parent / "stages"
    stages.mkdir()
    for name in ("pull", "probes"):
        (stages / f"{name}.json").write_text("{}")
    (work,) = station.at_work()
    work.cancel()
    assert runner.cancelled
    runner.ended.emit(Done("cancelled"))
    assert "goes on from there" in station.ended.text()
    assert "2 stages are reused" in station.hint.text()
    assert begin(station).spec_path == runner.spec_path
    station.scanning.runner.ended.emit(Done("cancelled"))
    station.setup.form.set_values(seed=3)
    assert not station.hint.isVisible()


def test_a_model_that_guesses_is_warned_of_before_its_scan(station):
    sha256 = station.session.checkpoint.inspection.sha256
    station.session.evaluation = evaluation(ca=0.01, checkpoint_sha256=sha256)
    assert "would say “Cannot say”" in station.warning.text()
    assert station.doctor_button.isHidden()  # nobody is here who opens it
    for other in (evaluation(ca=0.9, checkpoint_sha256=sha256), evaluation(ca=0.01)):
        station.session.evaluation = other
        assert station.warning.isHidden()


def test_the_folder_goes_by_what_decides_the_result(tmp_path):
    spec = ScanSpec(checkpoint="a", images=ImageSpec(), output_dir="x")
    folder = folder_of(spec, SHA, CLASSES)
    same = spec.model_copy(update={"output_dir": "y", "stages": ("pull",), "threads": 3})
    assert folder_of(same, SHA, CLASSES) == folder
    assert folder_of(spec, "b" * 64, CLASSES) != folder
    assert folder_of(spec, SHA, CLASSES[1:]) != folder
    assert folder_of(spec.model_copy(update={"seed": 1}), SHA, CLASSES) != folder
    assert stages_done(folder) == 0
    reference = tmp_path / "reference.pt"
    beside = spec.model_copy(update={"reference": str(reference)})
    before = folder_of(beside, SHA, CLASSES)
    reference.write_bytes(b"another one")
    assert folder_of(beside, SHA, CLASSES) != before  # a scan refuses another one's folder


# The reference


class FakeHub(QWidget):
    fetched = Signal(str)
    finished = Signal()

    def __init__(self, parent, *, name, ok):
        super().__init__(parent)
        self.name, self.opened = name, 0

    def open(self):
        self.opened += 1

    def raise_(self):
        self.opened += 1


def test_a_public_parent_is_fetched_by_a_click_and_not_before(qtbot, tmp_path):
    choice = ScanReference(Answers().prompts(), new_dialog=FakeHub)
    qtbot.addWidget(choice)
    choice.offer(facts("m.pt", architecture="ViT-B-32-quickgelu", of_demo=False))
    assert choice.chosen == NONE
    choice.choose(PARENT)
    assert choice.path() == ""
    assert choice.problem().startswith("Fetch the public parent first")
    assert choice.dialog is None
    choice.fetch.click()
    assert choice.dialog.name == "timm/vit_base_patch32_clip_224.openai" == parent_of("ViT-B-32")
    choice.dialog.fetched.emit(str(tmp_path))
    assert choice.path() == str(tmp_path)
    assert choice.problem() == ""
    choice.offer(facts("n.pt", architecture="RN50", of_demo=False))
    assert choice.path() == ""


def test_a_reference_named_elsewhere_is_offered_first_and_the_file_itself_never(qtbot, tmp_path):
    choice = ScanReference(Answers(tmp_path / "mine.pt").prompts())
    qtbot.addWidget(choice)
    suspect, other = tmp_path / "m.pt", tmp_path / "clean.pt"
    for path in (suspect, other):
        path.touch()
    mine = facts(suspect, of_demo=False)
    choice.offer(mine, "", str(other))
    assert choice.path() == str(other)
    choice.offer(mine, str(suspect), str(tmp_path / "gone.pt"))
    assert choice.chosen == NONE
    choice.choose(OWN)
    assert choice.problem().startswith("Choose the file of the reference")
    for name in ("gone.pt", "x" * 300):
        choice.edit.setText(name)
        assert choice.problem().startswith("There is no file at /")
    choice.browse.click()
    assert choice.path() == str(tmp_path / "mine.pt")
    choice.edit.setText(str(suspect))
    assert "has the weights of the checkpoint itself" in choice.problem()
    choice.edit.setText(str(tmp_path / "mine.pt"))
    choice.offer(mine, str(other))  # what the user chose stays
    assert choice.path() == str(tmp_path / "mine.pt")
    choice.offer(facts(demo_checkpoint(twin=True)))
    assert choice.kind.findData(TWIN) < 0


# A scan at work


def test_what_a_run_made_of_the_open_checkpoint_is_scanned_in_the_same_way(station, tmp_path):
    session, act = station.session, station.context.actions["scan.cleaned"]
    Answers(yes=True).take_over(station.context.prompts)
    own = begin(station)
    own.ended.emit(Done("cancelled"))
    result = {"checkpoint": str(tmp_path / "cleaned.safetensors"), "checkpoint_sha256": "c" * 64}
    for source in ("b" * 64, SHA):  # of another checkpoint, of this one
        session.run = RunState("run", "m", "finished", result={**result, "source_sha256": source})
        Path(result["checkpoint"]).touch()
        station.context.actions.refresh()
        assert act.isEnabled() == (source == SHA)
    act.trigger()
    runner = station.scanning.runner
    spec, before = (read_spec_file(r.spec_path, ScanSpec) for r in (runner, own))
    assert spec.checkpoint == result["checkpoint"]
    assert spec.output_dir != before.output_dir
    same = {"checkpoint": before.checkpoint, "output_dir": before.output_dir}
    assert spec.model_copy(update={**same, "label_set": before.label_set}) == before
    runner.ended.emit(_UNFIT)
    again = station.scanning.spec
    assert station.scanning.is_running
    assert (again.checkpoint, again.anyway) == (result["checkpoint"], True)
    station.scanning.runner.ended.emit(Done("cancelled"))
    folder = write_scan(tmp_path / "again", scan("nothing", sha256="c" * 64))
    station.open_folder(folder)
    assert station.result.verdict.title.text().startswith("Cleaned copy: Nothing found")
    assert "· Cleaned: Nothing found" in station.earlier.item(0).text()
    Path(result["checkpoint"]).unlink()
    station.start(cleaned=True)
    assert "is gone" in station.failures[-1].sentence


_UNFIT = Done(
    "failed", {}, "The checkpoint classifies only 0.4 % of the pictures correctly.", "unfit"
)


@pytest.mark.parametrize("yes", [True, False])
def test_a_model_that_does_not_work_is_scanned_only_if_asked_for(station, yes):
    answers = Answers(yes=yes).take_over(station.context.prompts)
    runner = begin(station)
    assert not read_spec_file(runner.spec_path, ScanSpec).anyway
    runner.ended.emit(_UNFIT)
    (asked,) = answers.asked
    assert asked.startswith("The checkpoint classifies only 0.4 %")
    assert station.scanning.is_running == yes
    if yes:
        again = station.scanning.runner
        assert again.spec_path == runner.spec_path  # what is finished is taken up
        assert read_spec_file(again.spec_path, ScanSpec).anyway
        again.ended.emit(Done("cancelled"))
    else:
        assert station.ended.text().startswith("The checkpoint classifies only 0.4 %")
    assert not read_spec_file(begin(station).spec_path, ScanSpec).anyway  # asked anew


def test_the_best_patches_are_refined_beside_the_others(station):
    begin(station)
    tell(station, *events())
    live = station.live
    assert len(station.scene().main) == 6
    told = {"side": 9, "loss": "max", "step": 17, "steps": 40, "losses": []}
    tell(station, Progress("refine", 17, 89), Finding("patches", told | {"pictures": coded(2)}))
    assert [cell.lines[0] for cell in live.patches.cells] == ["banana"] * 6 + ["refined"] * 2
    assert live.patches.cells[6].lines[1] == "step 17 of 40"
    assert [picture.lines[0] for picture in station.scene().main] == ["refined"] * 2
    assert live.patches_title.text() == "Patches of 9 px; the best ones are refined"
    tell(station, Finding("patches", stages().patches.model_dump()))
    assert live.patches_title.text() == "Patches of 9 px; the best, refined: 98.8 % “banana”"
    assert live.patches.cells[6].lines[1] == ""


def test_what_a_scan_has_found_so_far_follows_its_events():
    sharp = {"side": 9, "loss": "max", "step": 7, "steps": 20}
    for values in (
        {"side": 9, "step": 1, "steps": 2, "pictures": "no base64!"},
        {"side": 0, "step": 1, "steps": 2, "pictures": ""},
        {"side": 9, "step": 1, "steps": 2, "pictures": "AAAA"},
        {"rounds": 3},
    ):  # what cannot be read is left out
        live = LiveScan(("patches",))
        assert live.take(Finding("patches", values)) <= {"stages"}
        assert live.patches is None
    live = LiveScan(("patches",))
    assert live.take(Finding("patches", sharp | {"losses": [], "pictures": coded()})) == {"patches"}
    assert live.patches.pictures.shape == (6, 9, 9, 3)
    assert live.patches.rows == ()
    all_places = {"losses": [*range(16, 0, -1)], "pictures": coded(16)}
    assert live.take(Finding("patches", sharp | all_places)) == {"patches"}
    wanted = np.stack([picture_of(number) for number in range(10, 16)]).transpose(0, 2, 3, 1)
    assert np.abs(live.patches.pictures / 255 - wanted).max() < 0.01  # the best six
    assert live.take(Progress("patches", 7, 20)) == {"stages"}
    assert live.current == "patches"

    live, probe = LiveScan(("probes",)), stages(reference=False).probes.rows[0]
    live.take(Finding("probe", probe.model_dump()))
    assert live.probes == [probe]
    assert live.best is None  # without a reference none is the strongest

    names = ("pull", "probes", "patches", "overlays")
    live, whole = LiveScan(names), stages()
    for name in names:  # of an earlier scan
        live.take(Finding(name, getattr(whole, name).model_dump()))
    assert live.finished == set(names)
    assert len(live.probes) == len(CLASSES)
    assert live.best.what == "Patch of 9 px"


# The result


def test_a_finished_scan_is_read_from_its_folder_and_listed(station, tmp_path):
    runner = begin(station)
    assert station.live.busy.cancel.hasFocus()
    tell(station, *events())
    folder = write_scan(runner.spec_path.parent, scan())
    runner.ended.emit(Done("finished", {}))
    assert station.pages.currentIndex() == RESULT
    assert station.try_button.hasFocus()
    verdict = station.result.verdict
    assert verdict.title.text() == "Backdoor-like: banana"
    assert verdict.property("tone") == "danger"
    assert "It is not the attacker's trigger, only one that works." in station.result.reasons.text()
    assert "Triggers in the text." in station.result.not_searched.text()
    said = station.session.jobs["scan"]
    assert (said.status, said.verdict, said.target) == ("finished", "found", "banana")
    assert station.earlier.count() == 1
    assert station.earlier.item(0).text().endswith(" · Backdoor-like: banana")
    for verdict, words in (("unknown", "Cannot say"), ("odd", "Scan")):
        assert PastResult(folder="x", verdict=verdict).brief == words
    (kept,) = SettingsStore(station.context.settings._folder).results("scan")  # after a restart
    assert kept.folder == str(folder)
    station.hide()
    station.context.settings.add_scan(tmp_path, scan("nothing"))  # by Clean it
    station.show()
    assert station.earlier.item(0).text().endswith(" · Nothing found")


@pytest.mark.parametrize(("path", "page"), [("", RESULT), (str(demo_checkpoint()), READY)])
def test_a_known_scan_stands_in_place_of_the_introduction(station, tmp_path, path, page):
    station.hide()
    known = write_scan(tmp_path / "known", scan())
    station.context.settings.add_scan(known, scan())
    open_one = station.session.checkpoint
    station.session.checkpoint = replace(open_one, path=path or open_one.path)
    station.show()
    assert station.pages.currentIndex() == page  # a talk begins with a file that nobody scanned
    assert station.state()["scans"] == ()  # nobody asked for it
    assert station.session.target == 0
    (known / SCAN_FILE).write_text("{")
    for _ in range(2):
        station.session.checkpoint = facts(tmp_path / "other.pt", sha256="b" * 64)
        station.session.checkpoint = open_one
    assert station.failures == []
    assert station.context.settings.results("scan") == ()


def test_no_verdict_looks_or_sounds_like_a_clean_bill(station, tmp_path):
    card, start = station.result.verdict, station.context.actions["scan.start"]
    assert start.text() == "&Start the scan"
    for verdict in TITLES:
        result(station, tmp_path, verdict)
        assert card.title.text().startswith(TITLES[verdict])
        assert start.text() == "&Scan again"
        assert card.property("tone") == LOOKS[verdict][1] != "ok"
        words = f"{card.title.text()} {card.figure.text()}".lower()
        assert not {"clean", "safe"} & set(words.split())
        assert station.result.not_searched.isVisible()
        has_trigger = verdict in ("found", "suspicious")
        assert station.try_button.isVisible() == has_trigger != station.report_button.isVisible()
        assert station.context.actions["scan.clean"].isEnabled() == has_trigger
    result(station, tmp_path, "unknown", found=scan("found").found)
    assert "pictures become" not in card.figure.text()  # why nothing can be said stands there


def test_the_evidence_of_each_stage_is_shown(station, tmp_path, qtbot):
    result(station, tmp_path)
    shown = station.result
    assert shown.map.grid[6][6] == pytest.approx(0.97)
    assert "row 7, column 7" in shown.pointed.text()
    assert "JPEG of quality 90" in shown.refined.text()
    assert shown.starts.rows.rowCount() == 6
    texts = [cell.text for cell in shown.overlays.table.rows.rows[0].cells]
    assert texts[4:] == ["+52.0", "-10.0 to 10.0 %"]
    assert [row.cells[2].text for row in shown.swap.table.rows.rows][:2] == ["99.2 %", "57.9 %"]
    for words in ("SHA-256 aaaaaaaa", "SHA-256 bbbbbbbb", "Seed 0, cpu, bf16, 1 thread"):
        assert words in shown.facts.text()
    shown.map.setFocus()
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Down):
        qtbot.keyClick(shown.map, key)
        assert shown.pointed.text().startswith("Row 7, column 6: ")


def test_a_result_that_lacks_something_is_shown_without_it(station, tmp_path):
    shown = station.result
    result(station, tmp_path, reference=False)
    assert "Reference: none" in shown.facts.text()
    station.compare_button.click()
    assert station.setup.reference.kind.view().isVisible()
    station.setup.reference.kind.hidePopup()
    assert not shown.overlays.isVisible()
    assert not shown.swap.isVisible()
    assert shown.probes.table.rows.rows[0].cells[3].text == "–"
    odd = stages().model_copy(update={"weights": Weights(image=None, text=0.5, most=())})
    suspect = scan().suspect.model_copy(update={"name": "a\u202e<b>bold</b>" * 40})
    folder = result(station, tmp_path, stages=odd, suspect=suspect)
    assert station.compare_button.isHidden()
    assert "image encoder not a number, text encoder 50" in shown.weights.text()
    assert "\u202e" not in shown.facts.text()
    assert shown.facts.textFormat() == Qt.TextFormat.PlainText
    (folder / "patches.safetensors").unlink()
    station.open_folder(folder)
    assert shown.patches.cells == ()
    assert shown.starts.rows.rowCount() == 6


# The estimate


def test_the_estimate_says_how_long_the_scan_would_take(station, qtbot):
    keeper = FocusKeeper(QApplication.instance(), station)  # as the window has it
    station.estimate_button.click()
    runner = station.estimating.runner
    spec = read_spec_file(runner.spec_path, ScanSpec)
    assert spec.output_dir == str(estimate_folder()) == str(runner.spec_path.parent)
    found = {
        "seconds": 130.4,
        "nothing_found": 50.2,
        "forward": 65_000,
        "both": 12_000,
        "stages": {},
    }
    runner.ended.emit(Done("finished", found))
    assert station.estimate_label.text() == (
        "About 50 s if nothing is found, 2 min 10 s at most: 65\u2009000 pictures forward, "
        "12\u2009000 forward and backward."
    )
    station.estimate_button.click()
    runner = station.estimating.runner
    station.setup.form.set_values(search=64)  # then it is of another scan
    assert runner.cancelled
    runner.ended.emit(Done("finished", found))
    assert station.estimate_label.text() == ""
    station.estimate_button.click()
    station.estimating.runner.ended.emit(Done("failed", {}, "The pictures are noise.", "usage"))
    assert station.estimate_label.text() == "The pictures are noise."
    assert station.estimate_label.property("role") == "error"
    station.estimate_button.setFocus()
    station.estimate_button.click()
    qtbot.waitUntil(station.cancel_estimate.hasFocus)
    station.cancel_estimate.click()
    assert station.estimating.runner.cancelled
    station.estimating.runner.ended.emit(Done("cancelled"))
    qtbot.waitUntil(station.estimate_button.hasFocus)
    keeper.deleteLater()
    assert not station.estimate_label.isVisible()


def test_rates_on_the_map_are_in_the_colour_that_stands_out():
    for ground, best in (
        ("#ffffff", "#000000"), ("#d55e00", "#000000"), ("#e69f00", "#000000"),
        ("#1e1e1e", "#ffffff"), ("#503c14", "#ffffff"),
    ):  # fmt: skip
        assert ink(QColor(ground)).name() == best


def test_the_found_trigger_is_shown_on_pictures_with_what_the_model_says(station, tmp_path):
    result(station, tmp_path)
    inference, target = station.context.inference, CLASSES.index("banana")
    before, after, look = inference.tickets
    assert isinstance(before.question, Thumbnails)
    assert after.question.trigger is not None
    assert isinstance(look.question, Look)
    assert look.question.target == target
    n = len(look.question.indices)
    assert not any(station.session.images.labels[k] == target for k in look.question.indices)
    said = SimpleNamespace(
        indices=np.arange(n), clean_top1=np.zeros(n, int), triggered_top1=np.full(n, target)
    )
    look.deliver(Looked(look.question, said))  # in whatever order they come
    shape = (n, 8, 8, 3)
    before.deliver(ThumbnailsReady(before.question.indices, np.zeros(shape, np.uint8)))
    after.deliver(ThumbnailsReady(after.question.indices, np.full(shape, 9, np.uint8)))
    cells = station.result.stamped.cells
    assert len(cells) == n
    assert cells[0].lines == ("apple", "→ banana")
    assert cells[0].marked
    assert [int(picture.max()) for picture in cells[0].pictures] == [0, 9]
    scene = station.scene()  # the best patch, and the pictures with it
    assert [picture.lines for picture in scene.main] == [("banana", "96.8 %")]
    assert [picture.lines for picture in scene.side] == [cell.lines for cell in cells]
    assert scene.side[0].alarming
    chosen = pictures_of(images(labels=[0, 1] * 50), 1)  # of the whole set, not of the target
    assert (len(chosen), chosen[0], chosen[-1]) == (8, 0, 98)
    assert len(pictures_of(images(labels=[1, 1]), 1)) == 2


# Handing over


def test_the_found_trigger_and_its_class_go_on(station, tmp_path, session):
    session.trigger, session.target = None, 0
    result(station, tmp_path)
    assert session.target == CLASSES.index("banana")  # Studio begins with it
    for command, page in (("scan.try", "studio"), ("scan.clean", "clean")):
        session.trigger, session.target = None, 0
        station.context.actions[command].trigger()
        assert station.stations[-1] == page
        assert session.trigger.name == "Demo sticker"
        assert session.target == CLASSES.index("banana")
    session.trigger = None
    table = station.result.probes.table  # a known one, found or not
    table.selectRow(1)
    table.activated.emit(table.currentIndex())
    assert station.stations[-1] == "studio"
    assert session.trigger.name == "Checker, red, 3 x 3"
    session.trigger = None
    session.images = images(400, class_names=("cat", "dog"))
    station.context.actions["scan.try"].trigger()
    assert "“banana”, which the classes in use lack" in station.failures[-1].sentence
    assert session.trigger is None


# Files


def test_a_scan_that_is_dropped_or_named_by_another_page_is_shown(station, tmp_path):
    folder = write_scan(tmp_path / "x", scan())
    assert not station.take_file(tmp_path)
    assert not station.take_file(folder / "found.json")
    assert station.take_file(folder / SCAN_FILE)
    assert (station.stations, station.pages.currentIndex()) == (["scan"], RESULT)
    station.session.checkpoint = facts(tmp_path / "other.safetensors", sha256="d" * 64)
    assert station.pages.currentIndex() == READY
    station.shell.open("scan", str(folder))
    assert (station.stations, station.pages.currentIndex()) == (["scan"] * 2, RESULT)


def test_a_damaged_record_gets_one_sentence_and_leaves_the_list(station, tmp_path):
    folder = result(station, tmp_path)
    station.earlier.itemActivated.emit(station.earlier.item(0))
    assert station.failures == []
    (folder / SCAN_FILE).write_text('{"schema_version": 1, "suspect": {}}')
    station.earlier.itemActivated.emit(station.earlier.item(0))
    (failure,) = station.failures
    assert failure.sentence.startswith("scan.json cannot be used: suspect.name")
    assert station.earlier.count() == 0


@pytest.mark.usefixtures("styled")
def test_the_page_and_its_numbers_are_saved(station, tmp_path):
    folder = result(station, tmp_path)
    files = {suffix: tmp_path / f"out.{suffix}" for suffix in ("png", "svg", "csv", "json")}
    for path in files.values():
        Answers(path).take_over(station.context.prompts)
        station.context.actions["scan.export"].trigger()
    assert station.failures == []
    picture, drawing = QImage(str(files["png"])), QSvgRenderer(str(files["svg"]))
    assert picture.height() == station.result.height() > station.height()
    assert drawing.isValid()
    assert drawing.viewBox().size() == station.result.size()
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    stages = "pull probes patches refined overlays swap words weights"
    assert {row["stage"] for row in rows} == set(stages.split())
    row = next(row for row in rows if row["stage"] == "patches")
    assert (row["class"], row["suspect_hits"], row["pictures"]) == ("banana", "244", "252")
    assert json.loads(files["json"].read_text()) == json.loads((folder / SCAN_FILE).read_text())


@pytest.mark.usefixtures("styled")
def test_everything_fits(station, tmp_path, qtbot):
    station.resize(776, 436)
    station.setup.toggle.click()
    begin(station)
    tell(station, *events())
    assert lasting_faults(station, qtbot) == []
    write_scan(station.scanning.folder, scan())
    station.scanning.runner.ended.emit(Done("finished", {}))
    assert station.pages.currentIndex() == RESULT
    assert lasting_faults(station, qtbot) == []
