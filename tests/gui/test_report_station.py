"""The Report station alone: claims, what is missing, bundles written and verified."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QFontInfo
from PySide6.QtWidgets import QToolButton, QWidget

from cleanclip_gui import theme, threads
from cleanclip_gui.commands import Command
from cleanclip_gui.jobs.run_names import write_name
from cleanclip_gui.report.checks_view import LEVEL_TITLES
from cleanclip_gui.report.claims_view import CHECKED_BY, NOT_TESTED, VERDICT
from cleanclip_gui.report.dialogs import VerifyDialog, WriteDialog
from cleanclip_gui.report.missing import missing
from cleanclip_gui.report.parts import (
    OLDER,
    ReportPart,
    known_reference,
    measurements_dir,
    parts_of,
    reference_spec,
    runs_dir,
    suspect_spec,
    usually_chosen,
)
from cleanclip_gui.report.preview import Preview, rich_text
from cleanclip_gui.report.station import CHECKS, DRAFT, EMPTY, ReportStation, bundle_at
from cleanclip_gui.session import RunState, Session
from cleanclip_gui.session.records import Answer
from cleanclip_gui.session.settings import PastResult, SettingsStore
from cleanclip_gui.station import Context, Scene
from cleanclip_gui.widgets.text import unbroken
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, Finding, Progress
from ml_core.jobs.auto import AUTO_FILE
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.specs import CLEANED_FILE, RESULT_FILE, SPEC_FILE
from ml_core.reading.errors import InputError
from ml_core.reports.html.report import render_html
from ml_core.reports.measurement_files import (
    MEASUREMENT_FILE,
    LocalCheckpoint,
    LocalData,
    LocalMeasurement,
    json_bytes,
)
from ml_core.reports.record import MeasuredTrigger
from ml_core.reports.verify.checks import Check
from ml_core.signing import new_key, trusted_keys
from ml_core.triggers import demo_trigger
from tests.bundles import write_bundle, zipped
from tests.evidence_samples import full, hostile, reading
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner, columns_out_of_reach
from tests.gui.layout_faults import lasting_faults
from tests.gui.run_folders import write_run
from tests.gui.scans import CLASSES, scan, write_scan
from tests.gui.shell_fakes import Answers, FakeInference

SHA = "a" * 64


@functools.cache
def draft():
    """Everything that can be tested, as a report."""
    evidence, files = full()
    return SimpleNamespace(evidence=evidence, html=render_html(evidence, reading(files)))


def kept_measurement(folder, when="evaluation"):
    """The record of a measurement; its answers are left out, as no list reads them."""
    stamp = MeasuredTrigger(
        digest="d" * 64, name="Demo sticker", kind="patch", convention="as drawn"
    )
    kept = LocalMeasurement(
        when=when,
        checkpoint=LocalCheckpoint(
            path="/elsewhere/poisoned.safetensors", name="poisoned.safetensors", sha256=SHA,
            bytes=7, format="safetensors", architecture="RN50", parameters=9, safety="loads",
        ),
        data=LocalData(
            name="Demo, test split", key="key", known_by="hash", n=400,
            spec=ImageSpec(kind="demo", split="test"),
        ),
        trigger=stamp, target=1, target_name="banana", classes=8,
        label_set="demo", classifier_sha256=hashlib.sha256(b"c").hexdigest(), n=400, n_broken=0,
        seed=0, precision="fp32", device="cpu", threads=1, batch=64, versions={},
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MEASUREMENT_FILE).write_bytes(json_bytes(kept.model_dump(mode="json")))
    return folder


def measured(name):
    """A measurement among those of the open checkpoint."""
    return kept_measurement(measurements_dir(SHA) / name)


def run_of(name="first", *, sha256=SHA, answers=True):
    """A finished run of the open checkpoint; older ones kept no ``answers``."""
    folder = write_run(runs_dir(), name)
    result = json.loads((folder / RESULT_FILE).read_text())
    (folder / RESULT_FILE).write_text(json.dumps(result | {"source_sha256": sha256}))
    spec = json.loads((folder / SPEC_FILE).read_text())
    spec["test_images"] = ImageSpec(kind="demo", split="test", n=123).model_dump(mode="json")
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    if answers:
        kept_measurement(folder / "measurements/before", "before")
        kept_measurement(folder / "measurements/after", "after")
    return folder


PLAIN = False, {"author": ""}, None


@pytest.fixture
def session():
    session = Session()
    session.images = images(labels=[k % len(CLASSES) for k in range(400)], class_names=CLASSES)
    return session


def open_suspect(session, tmp_path, **fields):
    path = tmp_path / "poisoned.safetensors"
    path.write_bytes(b"weights")
    session.checkpoint = facts(path, sha256=SHA, **fields)


class Drafts:
    """Puts reports together at once, and remembers of what."""

    def __init__(self):
        self.specs, self.error = [], None

    def __call__(self, spec, cancelled):
        self.specs.append(spec)
        if self.error is not None:
            raise self.error
        return draft()


@pytest.fixture
def station(qtbot, session, tmp_path):
    context = Context(
        session=session, inference=FakeInference(), new_runner=FakeRunner,
        settings=SettingsStore(tmp_path / "config"), prompts=Answers().prompts(),
    )  # fmt: skip
    station = ReportStation(context)
    station.drafts = station.drafting._make = Drafts()
    station.failures, station.stations, station.runs, station.scans = [], [], [], []
    station.shell.failed.connect(station.failures.append)
    station.shell.station_wanted.connect(station.stations.append)
    station.shell.takes("run", station.runs.append)
    station.shell.takes("scan", station.scans.append)
    qtbot.addWidget(station)
    station.resize(900, 620)
    station.show()
    qtbot.waitExposed(station)
    yield station
    station.shell.closing.emit()
    assert threads.close_all()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "a.evidence")


def drafted(station, qtbot):
    qtbot.waitUntil(lambda: not station.drafting.is_busy)


def add_scan(station, tmp_path):
    folder = write_scan(tmp_path / "a-scan", scan("found", sha256=SHA))
    station.context.settings.add_result(
        "scan",
        PastResult(folder=str(folder), sha256=SHA, verdict="found", target="banana", made=2.0),
    )
    return folder


def with_everything(station, qtbot, tmp_path):
    """A run, a scan and a measurement of the open checkpoint."""
    run, measurement = run_of(), measured("evaluation-1")
    folder = add_scan(station, tmp_path)
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)
    return run, folder, measurement


# The claims


def test_a_claim_is_read_its_place_shown_and_another_checkpoint_takes_it_away(
    station, qtbot, tmp_path, monkeypatch
):
    opened = []
    monkeypatch.setattr(
        "cleanclip_gui.widgets.prompts.QDesktopServices.openUrl", lambda url: not opened.append(url)
    )
    run, folder, _ = with_everything(station, qtbot, tmp_path)
    assert station.pages.currentIndex() == DRAFT
    evidence, _ = full()
    claim = next(c for c in evidence.claims if c.kind == "rate" and c.metric == "asr_excl")
    tree = station.claims.tree
    tree.select(claim.id)
    texts = [tree.currentItem().text(column) for column in range(2)]
    assert texts == [unbroken(claim.sentence), CHECKED_BY[claim.holds_by]]
    assert claim.evidence[0] in station.claims.basis.text()
    groups = {head.text(0): head for head in tree._heads()}
    assert next(iter(groups)) == VERDICT
    assert groups[VERDICT].child(0).text(0) == unbroken(evidence.verdict[0])
    assert groups[NOT_TESTED].childCount() == len(evidence.not_tested)
    assert station.tabs.tabText(1) == f"Claims ({len(evidence.claims)})"
    station.tabs.setCurrentIndex(1)
    assert columns_out_of_reach(tree, 320) == []

    ids = {row.place.kind: row.id for row in station.claims._rows.values()}
    tree.select(ids["scan"])
    qtbot.keyClick(tree, Qt.Key.Key_Return)
    for kind in ("run", "checkpoint"):
        tree.select(ids[kind])
        station.claims.show_button.click()
    assert (station.scans, station.runs) == ([str(folder)], [str(run)])
    assert station.stations == ["clean", "checkpoint"]
    station.context.actions.run("report.browse")
    assert Path(opened[0].toLocalFile()).read_bytes() == draft().html

    station.session.checkpoint = facts(tmp_path / "other.safetensors", sha256="b" * 64)
    drafted(station, qtbot)
    assert (station.pages.currentIndex(), station.claims.count) == (EMPTY, 0)
    assert not station.write_button.isEnabled()


# What goes in


def test_parts_are_those_of_the_open_checkpoint_the_newest_first(tmp_path):
    mine, other = run_of(), run_of("other", sha256="b" * 64)
    older, one_round = run_of("older", answers=False), run_of("chain/round-2")
    write_name(mine, "for the talk")
    (one_round.parent / AUTO_FILE).write_text("{}")
    measurement = measured("evaluation-1")
    folder = write_scan(tmp_path / "one", scan("found", sha256=SHA))
    scans = [
        PastResult(folder=str(folder), sha256=SHA, verdict="found", target="banana"),
        PastResult(folder=str(tmp_path / "gone"), sha256=SHA),
        PastResult(folder=str(folder), sha256="b" * 64),
    ]
    parts = {part.folder: part for part in parts_of(SHA, (), scans)}
    assert set(parts) == {mine, older, one_round, measurement, folder}
    assert [parts[run].title for run in (mine, older, one_round)] == [
        "for the talk", "CleanCLIP, custom", "Clean it, round 2"
    ]  # fmt: skip
    assert other not in parts
    assert parts[folder].title == "Backdoor-like: banana"
    assert parts[older].later == OLDER
    assert not parts[mine].later
    assert parts[measurement].with_trigger
    assert parts_of("", (), scans) == ()


def test_a_saved_copy_comes_with_the_run_that_made_it_and_what_was_cleaned(tmp_path):
    copy, run, before = "c" * 64, run_of(), measured("evaluation-1")
    run_of("other")
    result = json.loads((run / RESULT_FILE).read_text())
    (run / RESULT_FILE).write_text(json.dumps(result | {"checkpoint_sha256": copy}))
    after = kept_measurement(measurements_dir(copy) / "evaluation-1")
    beside = kept_measurement(measurements_dir(copy) / "reference-1", "reference")
    folder = write_scan(tmp_path / "again", scan("nothing", sha256=copy))
    scans = [PastResult(folder=str(folder), sha256=copy, verdict="nothing")]
    parts = {part.folder: part for part in parts_of(copy, (), scans)}
    assert set(parts) == {run, before, after, beside, folder}
    roles = [parts[each].role for each in (run, before, after, beside)]
    assert roles == ["", "suspect", "cleaned", "reference"]
    assert usually_chosen(tuple(parts.values()), ()) == set(parts)
    assert run in {part.folder for part in parts_of(SHA, (), scans)}


def test_what_is_on_show_or_the_newest_of_each_kind_goes_in():
    parts = [
        ReportPart("run", Path("new"), "", 3.0), ReportPart("run", Path("old"), "", 2.0),
        ReportPart("run", Path("older"), "", 4.0, later=OLDER),
        ReportPart("measurement", Path("m"), "", 1.0, "suspect"),
        ReportPart("measurement", Path("r"), "", 1.0, "reference"),
    ]  # fmt: skip
    assert usually_chosen(parts, ()) == {Path("new"), Path("m"), Path("r")}
    assert Path("old") in usually_chosen(parts, ("old", ""))
    assert usually_chosen(parts[2:3], ()) == {Path("older")}
    run = ReportPart("run", Path("cleaned"), "", 5.0, cleaned="c")
    after = ReportPart("scan", Path("scan"), "", 6.0, cleaned="c")  # of what that run made
    assert usually_chosen((after, run, *parts), ()) >= {Path("cleaned"), Path("scan")}
    assert Path("scan") not in usually_chosen((after, run, *parts), ("old", ""))
    again = ReportPart("measurement", Path("again"), "", 6.0, "cleaned", cleaned="c")
    assert usually_chosen((again, run, *parts), ()) >= {Path("again"), Path("m"), Path("r")}
    assert Path("again") not in usually_chosen((again, run, *parts), ("old", ""))


def test_an_audience_sees_the_report_in_larger_type(station, qtbot, tmp_path):
    def size():
        return QFontInfo(page.document().begin().charFormat().font()).pixelSize()

    assert station.scene() == Scene()
    with_everything(station, qtbot, tmp_path)
    page = station.scene().main
    assert page is station.preview.page
    usual = size()
    theme.set_pixels(page, 3 * page.fontInfo().pixelSize())
    assert size() == pytest.approx(3 * usual, abs=2)
    theme.set_pixels(page, 0)
    assert size() == usual


def test_a_part_is_left_out_and_what_cannot_be_read_is_one_sentence(station, qtbot, tmp_path):
    run, folder, measurement = with_everything(station, qtbot, tmp_path)
    (spec,) = station.drafts.specs
    assert (spec.runs, spec.scans) == ((str(run),), (str(folder),))
    assert spec.measurements == (str(measurement),)
    station.drafting.refresh()
    drafted(station, qtbot)
    assert len(station.drafts.specs) == 1  # nothing has changed
    station.drafts.error = InputError("per_image.csv is damaged.")
    station.parts.rows[folder].box.click()
    drafted(station, qtbot)
    assert station.drafts.specs[-1].scans == ()
    assert not station.parts.rows[folder].box.isChecked()
    assert station.draft_error.text() == "per_image.csv is damaged."
    assert station.pages.currentIndex() == DRAFT
    assert station.failures == []
    station.drafts.error = None
    run_of("second")
    station.drafting.refresh()
    drafted(station, qtbot)
    assert not station.draft_error.isVisible()
    left_out = next(row.box for row in station.parts.rows.values() if not row.box.isChecked()
                    and "CleanCLIP" in row.box.text())  # fmt: skip
    left_out.click()
    drafted(station, qtbot)
    listed = [str(part.folder) for part in station.drafting.parts if part.kind == "run"]
    runs = station.drafts.specs[-1].runs  # the draft and what is written, in the order of time
    assert runs == station.drafting.spec("out").runs == tuple(reversed(listed))
    assert str(station.drafting.folder_of("run", "job-2")) == listed[0]


# What is missing


def test_what_is_missing_follows_what_there_is(session, tmp_path):
    def commands(*parts):
        return [gap.command for gap in missing(session, parts)]

    assert commands() == ["file.open"]
    open_suspect(session, tmp_path)
    assert commands() == ["report.measure", "scan.start", "view.clean"]
    bare = ReportPart("measurement", Path("m"), "", 1.0, "suspect")
    assert commands(bare)[0] == "view.studio"
    session.trigger = demo_trigger()
    assert commands(bare)[0] == "report.measure"
    measurement = replace(bare, with_trigger=True)
    reference = ReportPart("measurement", Path("r"), "", 1.0, "reference", with_trigger=True)
    searched = ReportPart("scan", Path("s"), "", 1.0)
    run = ReportPart("run", Path("run"), "", 1.0, with_trigger=True)
    others = measurement, reference, searched
    plain_run = replace(run, folder=tmp_path, with_trigger=False, cleaned="c")
    assert "report.measure" not in commands(*others, plain_run)  # its checkpoint is gone
    (tmp_path / CLEANED_FILE).touch()
    assert commands(*others, plain_run)[0] == "report.measure"
    after = replace(measurement, role="cleaned", cleaned="c")
    assert "report.measure" not in commands(*others, plain_run, after)
    proven = replace(plain_run, with_trigger=True, proofs=(REBOUND_FILE, HOLDOUTS_FILE))
    assert commands(*others, proven) == ["scan.cleaned"]
    twice = missing(session, (*others, proven, replace(proven, title="#2", cleaned="d")))
    assert len({gap.sentence for gap in twice}) == 2
    assert commands(*others, proven, replace(searched, cleaned="c")) == []
    assert commands(*others, run) == ["clean.rebound", "clean.holdouts"]
    assert commands(*others, replace(run, proofs=(REBOUND_FILE, HOLDOUTS_FILE))) == []
    run = replace(run, folder=Path("chain/round-1"))
    session.run = RunState("", "stamped", "running", chain="chain")  # its proofs are on their way
    assert commands(*others, run) == ["view.clean"]
    named = missing(session, (*others, replace(run, title="#3"), proven))
    assert named[0].sentence.startswith("Proofs (#3, ")
    for other in (replace(session.run, chain="elsewhere"), RunState("run", "stamped", "running")):
        session.run = other
        assert commands(*others, run) == ["clean.rebound", "clean.holdouts"]
    session.run, session.answer = None, Answer("Nothing found in this search", "info", "scan")
    assert "view.clean" not in commands(searched)  # there is nothing to clean
    copy = facts(tmp_path / "cleaned.safetensors", sha256="c")
    session.checkpoint, opened = copy, session.checkpoint
    made = replace(plain_run, with_trigger=True)
    assert commands(*others, made) == ["scan.start", "file.open", "file.open"]  # what works there
    session.checkpoint, session.images = opened, None
    assert commands()[0] == "file.images_folder"


def show_run(session, path):
    """What Clean does when it is asked to show a run."""
    session.run = RunState(path, "cleanclip", "finished")


def test_a_button_gets_what_is_missing_and_follows_its_command(station, qtbot, tmp_path):
    begun, able = [], [False]
    station.context.actions.add([
        Command("clean.rebound", "Rebound", "", lambda: begun.append(list(station.runs)), "",
                enabled=lambda: bool(station.runs)),
        Command("scan.start", "Scan", "", lambda: None, "Search.", enabled=lambda: able[0],
                needs="Needs pictures."),
    ])  # fmt: skip

    def button(text):
        return next(row.button for row in station.missing.rows if row.button.text() == text)

    run = run_of()
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)
    assert not button("Scan").isEnabled()
    assert button("Scan").toolTip() == "Needs pictures."
    able[0] = True
    station.shell.commands_changed.emit()
    assert button("Scan").isEnabled()
    button("Rebound test").click()
    assert begun == []  # Clean is busy with another one, say, and shows that
    station.shell.takes("run", functools.partial(show_run, station.session))
    station.runs.clear()
    button("Rebound test").click()
    assert begun == [[str(run)]]  # it was shown first
    station.session.run = RunState(str(run), "cleanclip", "finished")
    drafted(station, qtbot)
    button("Rebound test").click()
    assert station.runs == [str(run)] * 2  # Clean may have shown an earlier one


# Measuring


def test_a_measurement_has_one_folder_and_a_reference_is_measured_as_the_run_was(session, tmp_path):
    open_suspect(session, tmp_path)
    first = suspect_spec(session, "cpu")
    assert not first.targeted  # nobody named a target without a trigger
    assert suspect_spec(session, "cuda:0").output_dir == first.output_dir
    session.trigger = demo_trigger()
    assert suspect_spec(session, "cpu").output_dir != first.output_dir
    run, session.target = run_of(), 1  # which is not the run's
    spec = reference_spec(session, "twin.safetensors", run, "cpu")
    assert (spec.when, spec.images.n, spec.target) == ("reference", 123, 0)
    assert Path(spec.trigger or "").parent == run
    alone = reference_spec(session, "twin.safetensors", None, "cpu")
    assert alone.images == session.images.spec
    assert alone.output_dir != spec.output_dir
    session.checkpoint = None
    with pytest.raises(InputError, match="open one first"):
        suspect_spec(session, "cpu")


def test_the_reference_that_is_known_is_taken_and_else_asked_for(station, session, tmp_path):
    open_suspect(session, tmp_path)
    assert known_reference(session) == str(demo_checkpoint(twin=True))
    open_suspect(session, tmp_path, of_demo=False)
    assert known_reference(session) == ""
    answers = Answers(tmp_path / "clean.pt").take_over(station.context.prompts)
    station.measure_reference()
    assert answers.asked == ["A clean checkpoint to compare with"]
    session.scan_reference = str(demo_checkpoint(twin=True))  # named for the scan
    assert known_reference(session) == session.scan_reference
    spec = station.measuring.runner.spec
    assert (spec["checkpoint"], spec["when"]) == (str(tmp_path / "clean.pt"), "reference")
    station.measuring.runner.ended.emit(Done("failed", error="It has another input size."))
    (failure,) = station.failures
    assert failure.sentence == "It has another input size."
    assert failure.title == "Could not measure"


def test_what_a_run_without_a_trigger_made_is_measured_with_one_too(station, qtbot, tmp_path):
    run, _, _ = with_everything(station, qtbot, tmp_path)
    station.session.trigger = demo_trigger()
    station.measure()
    runner = station.measuring.runner
    assert runner.spec["when"] == "evaluation"
    runner.ended.emit(Done("finished"))
    assert not station.measuring.is_running  # the run had the trigger

    spec = json.loads((run / SPEC_FILE).read_text())
    (run / SPEC_FILE).write_text(json.dumps(spec | {"trigger": None}))
    (run / RESULT_FILE).touch()
    station.drafting.refresh()
    drafted(station, qtbot)
    station.measure()
    station.cancel()
    station.measuring.runner.ended.emit(Done("finished"))  # it ended before it heard of that
    assert not station.measuring.is_running
    station.measure()
    station.session.trigger = None  # both are asked with what was on show at the press
    station.measuring.runner.ended.emit(Done("failed", error="It is damaged."))
    assert [failure.sentence for failure in station.failures] == ["It is damaged."]
    spec = station.measuring.runner.spec
    assert (spec["when"], spec["checkpoint"]) == ("after", str(run / CLEANED_FILE))
    assert spec["trigger"]
    kept = kept_measurement(Path(spec["output_dir"]), "after")
    station.measuring.runner.ended.emit(Done("finished"))
    drafted(station, qtbot)
    (part,) = (part for part in station.drafting.parts if part.folder == kept)
    assert (part.role, part.cleaned) == ("cleaned", SHA)


# The preview


def test_the_preview_keeps_every_word_of_the_page_and_loads_nothing(qtbot):
    preview = Preview(QWidget())
    qtbot.addWidget(preview)

    def shown(evidence, files):
        page = render_html(evidence, reading(files))
        assert not re.search("<(style|svg|img|script)", rich_text(page.decode()))
        preview.show_html(page)
        return " ".join(preview.page.toPlainText().split())

    assert "<script>alert(1)" in shown(*hostile())
    evidence, files = full()
    words = shown(evidence, files)
    for sentence in (*evidence.verdict, *evidence.not_tested, *evidence.limits):
        assert " ".join(sentence.split()) in words
    image = 2
    assert preview.page.loadResource(image, QUrl("http://example.org/a.png")) is None
    preview.resize(400, 300)
    preview.show()
    bar = preview.page.verticalScrollBar()
    shown(*hostile())
    bar.setValue(90)
    shown(*full())
    assert bar.value() == 90  # it is being read
    preview.hide()
    preview.show()
    shown(*hostile())
    assert bar.value() == 0


# Writing


def test_the_report_of_a_bundle_that_was_written_opens(station, tmp_path, monkeypatch):
    opened, bundle = [], tmp_path / "out.evidence"
    monkeypatch.setattr(
        "cleanclip_gui.report.station.show_on_desktop", lambda page, _: opened.append(page.name)
    )
    bundle.mkdir()
    for page, there in (("", False), ("report.html", True), ("report.pdf", True)):
        if page:
            (bundle / page).touch()
        station._on_written(Done("finished", {"path": str(bundle), "bytes": 1, "files": 1}))
        assert station.open_written.isHidden() == (not there)
        station.open_written.click()
    assert opened == ["report.html", "report.pdf"]


def test_a_bundle_is_written_as_it_is_asked_for(station, qtbot, tmp_path):
    run, folder, measurement = with_everything(station, qtbot, tmp_path)
    place = tmp_path / "out.evidence.zip"
    answers = Answers(place).take_over(station.context.prompts)
    station.context.actions.run("report.write")
    dialog = station.write_dialog
    assert dialog.sign.isEnabled()
    dialog.as_zip.click()
    dialog.checkpoints.click()
    dialog.author.setText(" A. Analyst ")
    dialog.ok.click()
    assert answers.asked == ["Write the bundle"]
    runner = station.writing.runner
    asked = {
        "out": str(place), "runs": [str(run)], "scans": [str(folder)],
        "measurements": [str(measurement)], "include_images": False,
        "include_checkpoints": True, "author": "A. Analyst",
        "pdf": find_spec("weasyprint") is not None,
    }  # fmt: skip
    assert asked.items() <= runner.spec.items()
    assert station.at_work()[0].what == "A bundle is being written."
    runner.event_received.emit(Progress("again", 64, 256))
    assert "Measuring pictures again, 64 of 256" in station.busy_words.text()
    station.busy.cancel.setFocus()
    runner.ended.emit(Done("finished", {"path": str(place), "bytes": 2 << 20, "files": 31}))
    assert station.verify_written.hasFocus()
    assert station.written.text() == "Written: out.evidence.zip, 31 files, 2.0 MiB."
    assert station.at_work() == ()
    station.verify_written.click()
    assert station.verifying.runner.spec["bundle"] == str(place)
    station.verifying.runner.ended.emit(Done("finished", {"summary": "", "exit": 0}))
    (run / "cleaned.safetensors").write_bytes(b"weights")
    station.session.scan_reference = str(tmp_path / "clean-twin.safetensors")
    (tmp_path / "clean-twin.safetensors").write_bytes(b"weights")
    station.context.actions.run("report.verify_files")
    suspect, cleaned, reference = (edit.path() for edit in station.verify_dialog.checkpoints)
    assert (suspect, cleaned) == (station.session.checkpoint.path, str(run / "cleaned.safetensors"))
    assert reference == station.session.scan_reference
    station.verify_dialog.reject()
    station.context.actions.run("report.write")
    assert station.write_dialog.author.text() == "A. Analyst"
    station.write_dialog.author.clear()
    station.write_dialog.ok.click()
    assert ReportSpec.model_validate(station.writing.runner.spec).author is None
    station.writing.runner.ended.emit(Done("cancelled"))

    station._on_write_chosen(*PLAIN)
    station.busy.cancel.click()
    assert station.writing.runner.cancelled
    station.writing.runner.ended.emit(Done("cancelled"))
    assert station.failures == []
    assert not station.written_card.isVisible()
    station._on_write_chosen(*PLAIN)
    station.writing.runner.ended.emit(Done("failed", error="out.evidence is there already."))
    assert [failure.sentence for failure in station.failures] == ["out.evidence is there already."]
    answers.path = ""
    station._on_write_chosen(*PLAIN)
    assert not station.writing.is_running  # nobody named a place


@pytest.mark.parametrize("secret", ["right", "wrong"])
def test_a_bundle_is_signed_with_a_key_of_the_user(secret, station, qtbot, tmp_path, bundle):
    key = new_key("Ada", "right")
    with_everything(station, qtbot, tmp_path)
    place = Path(shutil.copytree(bundle, tmp_path / "out.evidence"))
    dialog = WriteDialog([known for known in trusted_keys() if known.own])
    qtbot.addWidget(dialog)
    chosen = []
    dialog.chosen.connect(lambda *choice: chosen.extend(choice))
    dialog.sign.click()
    dialog.passphrase.setText(secret)
    dialog.ok.click()
    assert chosen[2] == (key.key_id, secret)
    Answers(place).take_over(station.context.prompts)
    station._on_write_chosen(*chosen)
    assert secret not in station.writing.runner.spec_path.read_text()
    end = Done("finished", {"path": str(place), "bytes": 9, "files": 3})
    station.writing.runner.ended.emit(end)
    qtbot.waitUntil(lambda: not station._signing)
    right = secret == "right"
    assert (place / "evidence.sig").is_file() is right
    sentence = f"Signed with {key.short} Ada." if right else "It is not signed."
    assert sentence in station.written.text()
    assert len(station.failures) == (not right)


def test_who_has_no_key_makes_one_in_the_dialog(station, qtbot, tmp_path):
    with_everything(station, qtbot, tmp_path)
    dialog = WriteDialog([], "Ada")
    qtbot.addWidget(dialog)
    chosen = []
    dialog.chosen.connect(lambda *choice: chosen.extend(choice))
    dialog.sign.click()
    dialog.passphrase.setText("right")
    dialog.ok.click()
    assert "passphrases differ" in dialog.key_problem.text()
    dialog.again.setText("right")
    dialog.author.clear()
    dialog.ok.click()
    assert "Name the author" in dialog.key_problem.text()
    assert chosen == []
    dialog.author.setText("Grace")
    dialog.ok.click()
    assert chosen[2] == ("", "right")  # made when the bundle has a place
    assert trusted_keys() == ()
    answers = Answers("").take_over(station.context.prompts)
    station._on_write_chosen(*chosen)
    assert trusted_keys() == ()
    answers.path = str(tmp_path / "out.evidence")
    station._on_write_chosen(*chosen)
    (key,) = trusted_keys()
    assert (key.name, key.own) == ("Grace", True)
    assert station._signer == (key.key_id, "right")
    station.writing.runner.ended.emit(Done("cancelled"))
    station._on_write_chosen(*chosen)  # that name has a key now
    assert not station.writing.is_running
    (failure,) = station.failures
    assert failure.title == "Could not make the key"


# Verifying

UNSEEN = ("not checked", "The pictures were not given.", "no images given")
CHECKS_TOLD = (
    Check(0, "SHA256SUMS", "holds", "All 9 files are as listed."),
    Check(1, "ca", "fails", "It says 0.9, and its answers give 0.8."),
    Check(2, "images-1", *UNSEEN), Check(2, "images-2", *UNSEEN),
)  # fmt: skip


def tell_checks(station, *checks):
    for check in checks or CHECKS_TOLD:
        station.verifying.runner.event_received.emit(Finding("check", asdict(check)))


def test_a_dropped_bundle_is_verified_by_itself_and_ends_with_the_window(station, tmp_path, bundle):
    packed = zipped(bundle, tmp_path / "plain-name.zip")
    broken = tmp_path / "b.evidence.zip"
    broken.write_bytes(b"PK")
    for path in (bundle, packed, broken):
        assert bundle_at(path) == path
    for other in ("a.zip", "a.json"):
        (tmp_path / other).write_bytes(b"{}")
        assert bundle_at(tmp_path / other) is None
    assert not station.take_file(tmp_path)
    assert station.take_file(bundle / "evidence.json")
    assert (station.stations, station.pages.currentIndex()) == (["report"], CHECKS)
    spec = station.verifying.runner.spec
    assert (spec["bundle"], spec["checkpoints"], spec["images"]) == (str(bundle), [], {})
    assert station.take_file(bundle)  # while it goes on
    assert "Another bundle is being checked" in station.failures[0].sentence
    assert [work.what for work in station.at_work()] == ["A bundle is being checked."]
    station.shell.closing.emit()
    assert station.verifying.runner.cancelled


def test_checks_arrive_level_by_level_and_are_added_up(station, bundle):
    station.verify(bundle)
    runner, checks = station.verifying.runner, station.checks
    runner.event_received.emit(Progress("arithmetic", 3, 12))
    assert checks.busy.bar.value() == 250
    assert "Computing every figure again, 3 of 12" in checks.words.text()
    tell_checks(station)
    assert [head.text(0) for head in checks.tree._heads()] == list(LEVEL_TITLES[:3])
    words = [item.text(2) for item in checks.tree._items()]
    assert words == ["holds", "does not hold", "not checked", "not checked"]
    line = "Checks: 1 hold, 1 fail, 2 not made (no images given)"
    runner.ended.emit(Done("finished", {"summary": line, "exit": 1, "checks": []}))
    assert checks.summary.text() == line
    assert "does not hold" in checks.title.text()
    station.back.click()
    assert station.pages.currentIndex() == EMPTY

    station.verify(bundle)
    checks.busy.cancel.click()
    assert station.verifying.runner.cancelled
    station.verifying.runner.ended.emit(Done("cancelled"))
    assert checks.title.text() == "Cancelled"
    station.verify(bundle)
    tell_checks(station, Check(0, "<b>x</b>", "fails", "\u202eevil\n<img src=x>"))
    item = next(iter(checks.tree._items()))
    assert item.text(1) == "\\u202eevil\\n<img src=x>"
    assert "<b>" not in item.toolTip(0)
    sentence = "a.evidence is no bundle that can be read\u202e."
    station.verifying.runner.ended.emit(Done("failed", error=sentence, error_code="damaged"))
    assert checks.error.text() == "a.evidence is no bundle that can be read\\u202e."
    assert station.failures == []


def test_a_bundle_is_chosen_by_its_record_and_checked_against_files(
    station, qtbot, session, tmp_path, bundle
):
    open_suspect(session, tmp_path)
    other = tmp_path / "notes.json"
    other.write_text("{}")
    Answers(other).take_over(station.context.prompts)
    station.context.actions.run("report.verify")
    assert "is no evidence bundle" in station.failures[0].sentence
    Answers(bundle / "evidence.json").take_over(station.context.prompts)
    station.context.actions.run("report.verify")
    assert station.verifying.runner.spec["bundle"] == str(bundle)
    tell_checks(station)
    station.verifying.runner.ended.emit(Done("finished", {"summary": "", "exit": 0}))
    station.context.actions.run("report.verify_files")
    dialog = station.verify_dialog
    assert dialog.checkpoints[0].path() == session.checkpoint.path
    assert list(dialog.images) == ["images-1", "images-2"]
    Answers(tmp_path / "pictures").take_over(station.context.prompts)
    buttons = {button.toolTip(): button for button in dialog.findChildren(QToolButton)}
    buttons["Choose Pictures, images-2"].click()
    dialog.full.click()
    dialog.ok.click()
    spec = station.verifying.runner.spec
    assert spec["checkpoints"] == [session.checkpoint.path]
    assert (spec["images"], spec["sample"]) == ({"images-2": str(tmp_path / "pictures")}, None)
    assert station.checks.checks == []  # those of before are gone

    dialog = VerifyDialog("a.evidence", [""] * 3, ["images-1"], Answers().prompts())
    qtbot.addWidget(dialog)
    assert list(dialog.images) == [""]  # a single set of pictures is not named
    seeds = []
    dialog.chosen.connect(lambda spec: seeds.append(spec.seed))
    dialog.ok.click()
    dialog.ok.click()
    assert seeds[0] != seeds[1]  # a forger cannot know the sample


# How it looks


@pytest.mark.usefixtures("styled")
def test_no_part_overlaps_or_is_cut_off(station, qtbot, tmp_path, bundle):
    station.resize(780, 420)
    with_everything(station, qtbot, tmp_path)
    station.claims.tree.select(next(iter(station.claims._rows)))
    faults = lasting_faults(station, qtbot)
    station.tabs.setCurrentIndex(0)
    station._show_written_text("Written: out.evidence, 31 files, 2.0 MiB.")
    faults += lasting_faults(station, qtbot)
    station.verify(bundle)
    tell_checks(station)
    faults += lasting_faults(station, qtbot)
    station.verifying.runner.ended.emit(Done("finished", {"summary": "1 hold", "exit": 0}))
    assert faults + lasting_faults(station, qtbot) == []
