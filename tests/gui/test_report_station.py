"""The Report station alone: claims, what is missing, bundles written and verified."""

from __future__ import annotations

import shutil
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.commands import Command
from cleanclip_gui.report import drafting
from cleanclip_gui.report.checks_view import LEVEL_TITLES
from cleanclip_gui.report.claims_view import NOT_TESTED, SECTIONS, VERDICT, Place, sections
from cleanclip_gui.report.missing import COMPLETE, missing
from cleanclip_gui.report.parts import (
    OLDER,
    Part,
    known_reference,
    measurements_dir,
    parts_of,
    reference_spec,
    suspect_spec,
    usually_chosen,
)
from cleanclip_gui.report.preview import Preview, rich_text
from cleanclip_gui.report.sentence_tree import Row, SentenceTree
from cleanclip_gui.report.station import CHECKS, DRAFT, EMPTY, ReportStation, bundle_at
from cleanclip_gui.report.verify_dialog import VerifyDialog
from cleanclip_gui.report.write_dialog import BundleChoice, WriteDialog
from cleanclip_gui.session import RunState, Session
from cleanclip_gui.session.settings import PastScan, SettingsStore
from cleanclip_gui.station import Context
from ml_core.events import Done, Finding, Progress
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE
from ml_core.reading.errors import InputError
from ml_core.reports.html.report import render_html
from ml_core.reports.verify.checks import Check
from ml_core.signing import new_key, trusted_keys
from ml_core.triggers import demo_trigger
from tests.bundles import write_bundle, zipped
from tests.evidence_samples import full, hostile, reading
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner
from tests.gui.layout_faults import lasting_faults
from tests.gui.reports import SHA, draft, measured, run_of
from tests.gui.scans import CLASSES, scan, write_scan
from tests.gui.shell_fakes import Answers, FakeInference


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = Session()
    made.images = images(labels=[k % len(CLASSES) for k in range(400)], class_names=CLASSES)
    return made


def open_suspect(session: Session, tmp_path: Path, **fields: object) -> None:
    path = tmp_path / "poisoned.safetensors"
    path.write_bytes(b"weights")
    found = facts(path, sha256=SHA, **fields)
    session.checkpoint = replace(found, inspection=replace(found.inspection, sha256=SHA))


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
        session=session, inference=FakeInference(),
        new_runner=FakeRunner,
        settings=SettingsStore(tmp_path / "config"), prompts=Answers().prompts(),
    )  # fmt: skip
    made = ReportStation(context)
    made.drafts = made.drafting._make = Drafts()
    made.failures, made.stations, made.runs, made.scans = [], [], [], []
    made.shell.failed.connect(made.failures.append)
    made.shell.station_wanted.connect(made.stations.append)
    made.shell.takes("run", made.runs.append)
    made.shell.takes("scan", made.scans.append)
    qtbot.addWidget(made)
    made.resize(900, 620)
    made.show()
    qtbot.waitExposed(made)
    yield made
    made.shell.closing.emit()
    assert threads.close_all()


def drafted(station, qtbot):
    qtbot.waitUntil(lambda: not station.drafting.is_busy)


def with_everything(station, qtbot, tmp_path):
    """A run, a scan and a measurement of the open checkpoint."""
    run, kept = run_of(), measured("evaluation-1")
    folder = write_scan(tmp_path / "a-scan", scan("found", sha256=SHA))
    station.context.settings.add_scan(
        PastScan(folder=str(folder), sha256=SHA, verdict="found", target="banana", made=2.0)
    )
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)
    return run, folder, kept


# The claims


def test_every_claim_stands_in_one_section_in_the_order_of_the_report():
    evidence, _ = full()
    found = sections(evidence)
    titles = [title for title, _ in found]
    assert titles == [title for title in SECTIONS if title in titles]
    rows = {row.id: (title, row) for title, rows in found for row in rows}
    assert sorted(rows) == sorted(claim.id for claim in evidence.claims)
    for claim in evidence.claims:
        title, row = rows[claim.id]
        assert row.holds_by == claim.holds_by
        if claim.kind == "rate":
            facts_ = evidence.measurements[claim.measurement]
            assert title == ("After" if facts_.when == "after" else "Before")
            assert row.value == f"{100 * claim.rate.value:.1f} %"
            wanted = Place("measurement") if facts_.job is None else Place("run", facts_.job)
            assert row.place == wanted
        elif claim.kind == "difference":
            assert row.value.endswith(" points")
            assert row.value[0] == ("+" if claim.difference > 0 else "−")
    places = {row.place.kind for _, row in rows.values()}
    assert {"run", "scan", "checkpoint"} <= places


def test_the_list_shows_value_interval_and_what_a_claim_stands_on(station, qtbot, tmp_path):
    with_everything(station, qtbot, tmp_path)
    assert station.pages.currentIndex() == DRAFT
    evidence, _ = full()
    claim = next(one for one in evidence.claims if one.kind == "rate" and one.metric == "asr_excl")
    tree = station.claims.tree
    tree.select(claim.id)
    item = tree.currentItem()
    texts = [item.text(column) for column in range(4)]
    assert texts[0] == claim.sentence
    assert texts[1] == f"{100 * claim.rate.value:.1f} %"
    assert " to " in texts[2]
    assert texts[3] == claim.holds_by
    assert claim.evidence[0] in station.claims.basis.text()
    groups = {head.text(0): head for head in tree._heads()}
    assert next(iter(groups)) == VERDICT
    assert groups[VERDICT].child(0).text(0) == evidence.verdict[0]
    assert groups[NOT_TESTED].childCount() == len(evidence.not_tested)
    assert station.tabs.tabText(0) == f"Claims ({len(evidence.claims)})"


@pytest.mark.usefixtures("styled")
def test_a_sentence_takes_the_lines_that_it_needs(station, qtbot, tmp_path):
    with_everything(station, qtbot, tmp_path)
    tree = station.claims.tree
    line = tree.fontMetrics().height()
    item = max(tree._items(), key=lambda one: len(one.text(0)))
    tree.scrollToItem(item)
    qtbot.waitUntil(lambda: tree.visualItemRect(item).height() > 2 * line)
    high = tree.visualItemRect(item).height()
    station.resize(1500, 620)
    qtbot.waitUntil(lambda: 0 < tree.visualItemRect(item).height() < high)


def test_return_and_the_button_show_where_a_claim_was_measured(station, qtbot, tmp_path):
    run, folder, _ = with_everything(station, qtbot, tmp_path)
    rows = station.claims._rows.values()
    of = {row.place.kind: row for row in rows}
    station.claims.tree.select(of["scan"].id)
    qtbot.keyClick(station.claims.tree, Qt.Key.Key_Return)
    assert station.scans == [str(folder)]
    station.claims.tree.select(of["run"].id)
    station.claims.show_button.click()
    assert station.runs == [str(run)]
    station.claims.tree.select(of["checkpoint"].id)
    station.claims.show_button.click()
    assert station.stations == ["clean", "checkpoint"]


def test_nothing_is_said_of_a_run_while_it_is_added_up(station, qtbot, tmp_path, monkeypatch):
    folder = write_scan(tmp_path / "a-scan", scan("found", sha256=SHA))
    station.context.settings.add_scan(
        PastScan(folder=str(folder), sha256=SHA, verdict="found", target="banana", made=2.0)
    )
    may_go, look = threading.Event(), drafting.parts_of
    monkeypatch.setattr(drafting, "parts_of", lambda *rest: may_go.wait(30) and look(*rest))
    open_suspect(station.session, tmp_path)
    qtbot.wait(50)
    assert not station.drafting.is_known  # not even the files were looked at
    assert not [row for row in station.missing.rows if row.isVisible()]
    for part in (station.nothing, station.missing._complete, station.parts._none):
        assert not part.isVisibleTo(station)
    may_go.set()
    drafted(station, qtbot)
    assert station.claims.isEnabled()
    old = station.claims.count
    assert old
    may_draft, made = threading.Event(), station.drafts
    station.drafting._make = lambda *rest: may_draft.wait(30) and made(*rest)
    run = run_of()
    station.drafting.refresh()
    qtbot.waitUntil(lambda: run in station.drafting.chosen)
    assert station.drafting.is_stale
    assert station.claims.count == old  # of the scan alone, greyed
    assert not station.claims.isEnabled()
    assert not station.preview.isEnabled()
    assert station.tabs.tabText(0) == "Claims"
    may_draft.set()
    drafted(station, qtbot)
    assert station.claims.isEnabled()
    assert station.tabs.tabText(0) == f"Claims ({station.claims.count})"


# What goes in


def test_parts_are_those_of_the_open_checkpoint_the_newest_first(tmp_path):
    mine, other = run_of(), run_of("other", sha256="b" * 64)
    older = run_of("older", answers=False)
    kept = measured("evaluation-1")
    folder = write_scan(tmp_path / "one", scan("found", sha256=SHA))
    scans = [
        PastScan(folder=str(folder), sha256=SHA, verdict="found", target="banana"),
        PastScan(folder=str(tmp_path / "gone"), sha256=SHA),
        PastScan(folder=str(folder), sha256="b" * 64),
    ]
    found = {part.folder: part for part in parts_of(SHA, (), scans)}
    assert set(found) == {mine, older, kept, folder}
    assert other not in found
    assert found[folder].title == "Backdoor-like trigger found: banana"
    assert found[older].later == OLDER
    assert not found[mine].later
    assert found[kept].with_trigger
    assert parts_of("", (), scans) == ()


def test_what_is_on_show_or_the_newest_of_each_kind_goes_in():
    parts = [
        Part("run", Path("new"), "", 3.0), Part("run", Path("old"), "", 2.0),
        Part("run", Path("older"), "", 4.0, later=OLDER),
        Part("measurement", Path("m"), "", 1.0, "suspect"),
        Part("measurement", Path("r"), "", 1.0, "reference"),
    ]  # fmt: skip
    assert usually_chosen(parts, ()) == {Path("new"), Path("m"), Path("r")}
    assert Path("old") in usually_chosen(parts, ("old", ""))
    assert usually_chosen(parts[2:3], ()) == {Path("older")}


def test_unticking_leaves_a_part_out_and_drafts_anew(station, qtbot, tmp_path):
    run, folder, kept = with_everything(station, qtbot, tmp_path)
    spec = station.drafts.specs[-1]
    assert (spec.runs, spec.scans, spec.measurements) == ((str(run),), (str(folder),), (str(kept),))
    count = len(station.drafts.specs)
    station.drafting.refresh()
    drafted(station, qtbot)
    assert len(station.drafts.specs) == count  # nothing is another one
    station.parts.rows[folder].box.click()
    drafted(station, qtbot)
    assert station.drafts.specs[-1].scans == ()
    assert not station.parts.rows[folder].box.isChecked()


def test_a_run_of_an_older_version_is_left_to_the_writing(station, qtbot, tmp_path):
    run = run_of(answers=False)
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)
    assert station.drafts.specs == []
    assert OLDER in station.parts.rows[run].detail.text()
    assert station.drafting.spec("x.evidence").runs == (str(run),)
    assert station.write_button.isEnabled()


def test_what_cannot_be_read_is_one_sentence_in_its_place(station, qtbot, tmp_path):
    station.drafts.error = InputError("per_image.csv is damaged.")
    run_of()
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)
    assert station.draft_error.text() == "per_image.csv is damaged."
    assert station.pages.currentIndex() == DRAFT
    assert station.failures == []
    station.drafts.error = None
    station.drafting.refresh()
    drafted(station, qtbot)
    assert not station.draft_error.isVisible()


def test_another_checkpoint_takes_the_claims_away(station, qtbot, tmp_path):
    with_everything(station, qtbot, tmp_path)
    found = facts(tmp_path / "other.safetensors", sha256="b" * 64)
    station.session.checkpoint = found
    drafted(station, qtbot)
    assert station.pages.currentIndex() == EMPTY
    assert station.claims.count == 0
    assert not station.write_button.isEnabled()


# What is missing


def test_what_is_missing_follows_what_there_is(session, tmp_path):
    assert [one.command for one in missing(session, ())] == ["file.open"]
    open_suspect(session, tmp_path)
    wanted = ["report.measure", "scan.start", "view.clean"]
    assert [one.command for one in missing(session, ())] == wanted
    bare = Part("measurement", Path("m"), "", 1.0, "suspect")
    assert missing(session, (bare,))[0].command == "view.studio"
    session.trigger = demo_trigger()
    assert missing(session, (bare,))[0].command == "report.measure"
    done = replace(bare, with_trigger=True)
    clean = Part("measurement", Path("r"), "", 1.0, "reference", with_trigger=True)
    found = Part("scan", Path("s"), "", 1.0)
    run = Part("run", Path("run"), "", 1.0)
    assert [one.command for one in missing(session, (done, clean, found, run))] == [
        "clean.rebound", "clean.holdouts",
    ]  # fmt: skip
    proved = replace(run, proofs=(REBOUND_FILE, HOLDOUTS_FILE))
    assert missing(session, (done, clean, found, proved)) == ()
    session.images = None
    assert missing(session, ())[0].command == "file.images_folder"


def test_a_full_report_says_so(station, qtbot, tmp_path):
    station.missing.show_missing(())
    assert [row for row in station.missing.rows if not row.isHidden()] == []
    assert COMPLETE in [label.text() for label in station.missing.findChildren(QWidget)
                        if hasattr(label, "text") and label.isVisible()]  # fmt: skip


def test_a_proof_is_made_of_the_run_that_goes_in(station, qtbot, tmp_path):
    begun = []
    station.context.actions.add([
        Command("clean.rebound", "Rebound", "", lambda: begun.append(list(station.runs)), "",
                enabled=lambda: bool(station.runs))
    ])  # fmt: skip
    run, *_ = with_everything(station, qtbot, tmp_path)
    row = next(row for row in station.missing.rows if row.button.text() == "Rebound test")
    row.button.click()
    assert begun == [[str(run)]]  # it was shown first
    station.session.run = RunState(str(run), "cleanclip", "finished")
    drafted(station, qtbot)
    row.button.click()
    assert station.runs == [str(run)]  # and not again


def test_a_button_follows_its_command(station, qtbot, tmp_path):
    able = [False]
    station.context.actions.add([
        Command("scan.start", "Scan", "", lambda: None, "Search.", enabled=lambda: able[0],
                needs="Needs pictures.")
    ])  # fmt: skip
    open_suspect(station.session, tmp_path)
    drafted(station, qtbot)

    def button():
        return next(row.button for row in station.missing.rows if row.button.text() == "Scan")

    assert not button().isEnabled()
    assert button().toolTip() == "Needs pictures."
    able[0] = True
    station.shell.commands_changed.emit()
    assert button().isEnabled()


# Measuring


def test_the_suspect_is_measured_with_trigger_and_target_in_use(station, qtbot, tmp_path):
    open_suspect(station.session, tmp_path)
    station.session.trigger, station.session.target = demo_trigger(), 2
    station.context.actions.run("report.measure")
    spec = station.measuring.runner.spec
    assert spec["checkpoint"] == str(tmp_path / "poisoned.safetensors")
    assert spec["target"] == 2
    assert spec["targeted"]
    assert Path(spec["trigger"]).is_file()
    assert Path(spec["output_dir"]).parent == measurements_dir(SHA)
    assert not station.context.actions["report.measure"].isEnabled()
    station.measuring.runner.event_received.emit(Progress("measure", 64, 256))
    assert station.busy.bar.value() == 250
    assert "Measuring, 64 of 256" in station.busy_words.text()
    measured(Path(spec["output_dir"]).name)
    station.measuring.runner.ended.emit(Done("finished"))
    drafted(station, qtbot)
    assert station.drafts.specs[-1].measurements == (spec["output_dir"],)
    assert not station.busy.isVisible()


def test_the_same_measurement_has_the_same_folder_and_another_one_another(session, tmp_path):
    open_suspect(session, tmp_path)
    first = suspect_spec(session, "cpu")
    assert not first.targeted  # nobody named a target without a trigger
    assert suspect_spec(session, "cuda:0").output_dir == first.output_dir
    session.trigger = demo_trigger()
    assert suspect_spec(session, "cpu").output_dir != first.output_dir
    session.checkpoint = None
    with pytest.raises(InputError, match="open one first"):
        suspect_spec(session, "cpu")


def test_a_reference_is_measured_as_the_run_was(session, tmp_path):
    open_suspect(session, tmp_path)
    run = run_of()
    spec = reference_spec(session, "twin.safetensors", run, "cpu")
    assert (spec.when, spec.images.n, spec.target) == ("reference", 123, 1)
    assert Path(spec.trigger or "").parent == run
    alone = reference_spec(session, "twin.safetensors", None, "cpu")
    assert alone.images == session.images.spec
    assert alone.output_dir != spec.output_dir


def test_the_reference_that_is_known_is_taken_and_else_asked_for(station, session, tmp_path):
    open_suspect(session, tmp_path)
    twin = demo_checkpoint(twin=True)
    assert known_reference(session) == str(twin)
    open_suspect(session, tmp_path, of_demo=False)
    assert known_reference(session) == ""
    answers = Answers(tmp_path / "clean.pt").take_over(station.context.prompts)
    station.measure_reference()
    assert answers.asked == ["A clean checkpoint to compare with"]
    assert station.measuring.runner.spec["checkpoint"] == str(tmp_path / "clean.pt")
    assert station.measuring.runner.spec["when"] == "reference"
    station.measuring.runner.ended.emit(Done("failed", error="It has another input size."))
    assert [one.sentence for one in station.failures] == ["It has another input size."]
    assert station.failures[0].title == "Could not measure"


# The preview


def test_the_preview_keeps_every_word_of_the_page_and_loads_nothing(qtbot):
    evidence, files = full()
    page = render_html(evidence, reading(files)).decode()
    made = rich_text(page)
    assert "<style" not in made
    assert "<svg" not in made
    assert "<img" not in made
    assert '<div class="small">' in made
    preview = Preview(QWidget())
    qtbot.addWidget(preview)
    preview.show_html(page.encode())
    shown = " ".join(preview.page.toPlainText().split())
    for sentence in (*evidence.verdict, *evidence.not_tested, *evidence.limits):
        assert " ".join(sentence.split()) in shown
    kind = 2  # an image
    assert preview.page.loadResource(kind, QUrl("http://example.org/a.png")) is None


def test_hostile_words_stay_words_in_the_preview(qtbot):
    evidence, files = hostile()
    made = rich_text(render_html(evidence, reading(files)).decode())
    assert "<script" not in made
    assert "&lt;script&gt;alert(1)" in made
    preview = Preview(QWidget())
    qtbot.addWidget(preview)
    preview.show_html(render_html(evidence, reading(files)))
    assert "<script>alert(1)" in preview.page.toPlainText()


def test_the_browser_gets_the_page_itself(station, qtbot, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "cleanclip_gui.report.station.QDesktopServices.openUrl", lambda url: opened.append(url)
    )
    with_everything(station, qtbot, tmp_path)
    station.context.actions.run("report.browse")
    assert Path(opened[0].toLocalFile()).read_bytes() == draft().html


# Writing


def test_a_bundle_is_written_as_it_is_asked_for(station, qtbot, tmp_path):
    run, folder, kept = with_everything(station, qtbot, tmp_path)
    place = tmp_path / "out.evidence.zip"
    answers = Answers(place).take_over(station.context.prompts)
    station.context.actions.run("report.write")
    dialog = station.write_dialog
    dialog.as_zip.click()
    dialog.checkpoints.click()
    dialog.author.setText(" A. Analyst ")
    dialog.ok.click()
    assert answers.asked == ["Write the bundle"]
    spec = station.writing.runner.spec
    assert spec["out"] == str(place)
    assert (spec["runs"], spec["scans"]) == ([str(run)], [str(folder)])
    assert spec["measurements"] == [str(kept)]
    assert (spec["include_images"], spec["include_checkpoints"]) == (False, True)
    assert spec["author"] == "A. Analyst"
    assert SettingsStore(station.context.settings.folder).value.author == "A. Analyst"
    assert station.at_work()[0].what == "A bundle is being written."
    station.writing.runner.event_received.emit(Progress("again", 64, 256))
    assert "Measuring pictures again, 64 of 256" in station.busy_words.text()
    station.writing.runner.ended.emit(
        Done("finished", {"path": str(place), "bytes": 2 << 20, "files": 31})
    )
    assert station.written.text() == "Written: out.evidence.zip, 31 files, 2.0 MiB."
    assert station.at_work() == ()
    station.verify_written.click()
    assert station.verifying.runner.spec["bundle"] == str(place)
    station.context.actions.run("report.write")
    assert station.write_dialog.author.text() == "A. Analyst"


def test_what_goes_wrong_while_writing_is_said_once(station, qtbot, tmp_path):
    with_everything(station, qtbot, tmp_path)
    Answers(tmp_path / "out.evidence").take_over(station.context.prompts)
    station._on_write_chosen(BundleChoice(False, False, False, False))
    station.busy.cancel.click()
    assert station.writing.runner.cancelled
    station.writing.runner.ended.emit(Done("cancelled"))
    assert station.failures == []
    assert not station.written_card.isVisible()
    station._on_write_chosen(BundleChoice(False, False, False, False))
    station.writing.runner.ended.emit(Done("failed", error="out.evidence is there already."))
    assert [one.sentence for one in station.failures] == ["out.evidence is there already."]
    Answers("").take_over(station.context.prompts)
    station._on_write_chosen(BundleChoice(False, False, False, False))
    assert not station.writing.is_running  # nobody named a place


@pytest.mark.parametrize("secret", ["right", "wrong"])
def test_a_bundle_is_signed_with_a_key_of_the_user(secret, station, qtbot, tmp_path):
    key = new_key("Ada", "right")
    with_everything(station, qtbot, tmp_path)
    place = write_bundle(tmp_path / "out.evidence")
    dialog = WriteDialog([one for one in trusted_keys() if one.own])
    qtbot.addWidget(dialog)
    chosen = []
    dialog.chosen.connect(chosen.append)
    dialog.sign.click()
    dialog.passphrase.setText(secret)
    dialog.ok.click()
    assert chosen[0].key == key.key_id
    Answers(place).take_over(station.context.prompts)
    station._on_write_chosen(chosen[0])
    assert secret not in station.writing.runner.spec_path.read_text()
    station.writing.runner.ended.emit(
        Done("finished", {"path": str(place), "bytes": 9, "files": 3})
    )
    qtbot.waitUntil(lambda: not station._signing)
    assert (place / "evidence.sig").is_file() is (secret == "right")
    said = station.written.text()
    assert (f"Signed with {key.short} Ada." in said) is (secret == "right")
    assert ("It is not signed." in said) is (secret == "wrong")
    assert len(station.failures) == (secret == "wrong")


def test_without_a_key_the_dialog_says_how_to_make_one(qtbot):
    dialog = WriteDialog(())
    qtbot.addWidget(dialog)
    assert not dialog.sign.isEnabled()
    assert "cleanclip key new" in dialog.sign.toolTip()


# Verifying

CHECKS_TOLD = (
    Check(0, "SHA256SUMS", "holds", "All 9 files are as listed."),
    Check(1, "ca", "fails", "It says 0.9, and its answers give 0.8."),
    Check(2, "images-1", "not checked", "The pictures of images-1 were not given.",
          "no images given"),
    Check(2, "images-2", "not checked", "The pictures of images-2 were not given.",
          "no images given"),
)  # fmt: skip


def tell_checks(station, checks=CHECKS_TOLD):
    for one in checks:
        station.verifying.runner.event_received.emit(Finding("check", asdict(one)))


def test_a_dropped_bundle_is_verified_by_itself(station, qtbot, tmp_path):
    bundle = write_bundle(tmp_path / "a.evidence")
    packed = zipped(bundle, tmp_path / "plain-name.zip")
    assert bundle_at(bundle) == bundle
    assert bundle_at(bundle / "evidence.json") == bundle
    assert bundle_at(packed) == packed
    broken = tmp_path / "b.evidence.zip"
    broken.write_bytes(b"PK")
    assert bundle_at(broken) == broken
    for other in ("a.zip", "a.json"):
        (tmp_path / other).write_bytes(b"{}")
        assert bundle_at(tmp_path / other) is None
    (tmp_path / "folder").mkdir()
    assert not station.take_file(tmp_path / "folder")
    assert station.take_file(bundle / "evidence.json")
    assert station.stations == ["report"]
    assert station.pages.currentIndex() == CHECKS
    spec = station.verifying.runner.spec
    assert spec["bundle"] == str(bundle)
    assert (spec["checkpoints"], spec["images"]) == ([], {})
    assert station.take_file(bundle)  # while it goes on
    assert "Another bundle is being checked" in station.failures[0].sentence


def test_checks_arrive_level_by_level_and_are_added_up(station, qtbot, tmp_path):
    station.verify(write_bundle(tmp_path / "a.evidence"))
    runner = station.verifying.runner
    runner.event_received.emit(Progress("arithmetic", 3, 12))
    assert station.checks.busy.bar.value() == 250
    assert "Computing every figure again, 3 of 12" in station.checks.words.text()
    runner.event_received.emit(Progress("open", 0, 1))
    assert station.checks.words.text() == "Opening"
    assert station.checks.busy.bar.maximum() == 0  # one thing has no share
    assert not station.back.isEnabled()
    tell_checks(station)
    tree = station.checks.tree
    heads = [head.text(0) for head in tree._heads()]
    assert heads == list(LEVEL_TITLES[:3])
    words = [item.text(2) for item in tree._items()]
    assert words == ["holds", "does not hold", "not checked", "not checked"]
    line = "1 hold, 1 do not, 2 not checked (no images given)"
    runner.ended.emit(Done("finished", {"summary": line, "exit": 1, "checks": []}))
    assert station.checks.summary.text() == line
    assert "does not hold" in station.checks.title.text()
    station.back.click()
    assert station.pages.currentIndex() == EMPTY
    station.pages.setCurrentIndex(CHECKS)
    assert tree.currentItem().text(0) == "ca"  # what fails is shown
    assert not station.checks.busy.isVisible()


def test_a_verification_is_cancelled_or_fails_with_one_sentence(station, tmp_path):
    bundle = write_bundle(tmp_path / "a.evidence")
    station.verify(bundle)
    station.checks.busy.cancel.click()
    runner = station.verifying.runner
    assert runner.cancelled
    runner.ended.emit(Done("cancelled"))
    assert station.checks.title.text() == "Cancelled"
    station.verify(bundle)
    sentence = "a.evidence is no bundle that can be read\u202e."
    station.verifying.runner.ended.emit(Done("failed", error=sentence, error_code="damaged"))
    assert station.checks.error.text() == "a.evidence is no bundle that can be read\\u202e."
    assert station.failures == []


def test_hostile_words_of_a_bundle_are_shown_as_words(station, tmp_path):
    station.verify(write_bundle(tmp_path / "a.evidence"))
    tell_checks(station, [Check(0, "<b>x</b>", "fails", "\u202eevil\n<img src=x>")])
    item = next(iter(station.checks.tree._items()))
    assert item.text(1) == "\\u202eevil\\n<img src=x>"
    assert "<b>" not in item.toolTip(0)


def test_the_same_bundle_is_checked_against_files(station, qtbot, session, tmp_path):
    open_suspect(session, tmp_path)
    bundle = write_bundle(tmp_path / "a.evidence")
    station.verify(bundle)
    tell_checks(station)
    station.verifying.runner.ended.emit(Done("finished", {"summary": "", "exit": 0}))
    station.context.actions.run("report.verify_files")
    dialog = station.verify_dialog
    assert dialog.checkpoints[0].path == session.checkpoint.path
    assert list(dialog.images) == ["images-1", "images-2"]
    Answers(tmp_path / "pictures").take_over(station.context.prompts)
    dialog.images["images-2"].button.click()
    dialog.full.click()
    dialog.ok.click()
    spec = station.verifying.runner.spec
    assert spec["checkpoints"] == [session.checkpoint.path]
    assert spec["images"] == {"images-2": str(tmp_path / "pictures")}
    assert spec["sample"] is None
    assert station.checks.checks == []  # those of before are gone


def test_one_set_of_pictures_is_not_named(qtbot):
    dialog = VerifyDialog("a.evidence", [], ["images-1"], Answers().prompts())
    qtbot.addWidget(dialog)
    assert list(dialog.images) == [""]
    seeds = []
    dialog.chosen.connect(lambda spec: seeds.append(spec.seed))
    dialog.ok.click()
    dialog.ok.click()
    assert seeds[0] != seeds[1]  # a forger cannot know the sample


def test_a_bundle_is_chosen_by_its_record_or_zip(station, tmp_path):
    bundle = write_bundle(tmp_path / "a.evidence")
    other = tmp_path / "notes.json"
    other.write_text("{}")
    Answers(other).take_over(station.context.prompts)
    station.context.actions.run("report.verify")
    assert "is no evidence bundle" in station.failures[0].sentence
    Answers(bundle / "evidence.json").take_over(station.context.prompts)
    station.context.actions.run("report.verify")
    assert station.verifying.runner.spec["bundle"] == str(bundle)


def test_closing_ends_what_is_at_work(station, tmp_path):
    station.verify(write_bundle(tmp_path / "a.evidence"))
    assert [one.what for one in station.at_work()] == ["A bundle is being checked."]
    station.shell.closing.emit()
    assert station.verifying.runner.cancelled


# How it looks


@pytest.mark.usefixtures("styled")
@pytest.mark.parametrize("size", [(780, 420), (1260, 640)])
def test_no_part_overlaps_or_is_cut_off(size, station, qtbot, tmp_path):
    station.resize(*size)
    qtbot.waitUntil(lambda: station.pages.currentIndex() == EMPTY)
    assert lasting_faults(station, qtbot) == []
    with_everything(station, qtbot, tmp_path)
    assert station.pages.currentIndex() == DRAFT
    station.claims.tree.select(next(iter(station.claims._rows)))
    assert lasting_faults(station, qtbot) == []
    station.tabs.setCurrentIndex(1)
    station._say_written("Written: out.evidence, 31 files, 2.0 MiB.")
    assert lasting_faults(station, qtbot) == []
    bundle = write_bundle(tmp_path / "a.evidence")
    station.verify(bundle)
    tell_checks(station)
    assert lasting_faults(station, qtbot) == []
    station.verifying.runner.ended.emit(Done("finished", {"summary": "1 hold", "exit": 0}))
    assert lasting_faults(station, qtbot) == []
    shutil.rmtree(bundle)


@pytest.mark.usefixtures("styled")
def test_no_dialog_is_cut_off(qtbot, tmp_path):
    new_key("Ada")
    for dialog in (
        WriteDialog(trusted_keys()), VerifyDialog("a.evidence", [], ["a", "b"], Answers().prompts())
    ):  # fmt: skip
        qtbot.addWidget(dialog)
        dialog.show()
        for box in (getattr(dialog, "sign", None), getattr(dialog, "retrain", None)):
            if box is not None:
                box.click()
        assert lasting_faults(dialog, qtbot) == []


@pytest.mark.usefixtures("styled")
def test_where_it_is_narrow_sentences_keep_their_room_and_the_last_columns_go(qtbot):
    tree = SentenceTree("Claims", ("Claim", "Value", "95 % interval", "Holds by"), 0, spare=(2, 3))
    qtbot.addWidget(tree)
    long = "A sentence that says something of a checkpoint and of what was measured on it. " * 2
    rows = [Row(None, (long, "", "", "")), Row("ca", (long, "99.6 %", "99.3 to 99.7 %", "sum"))]
    tree.show_groups([("The report says", rows)])
    tree.resize(900, 400)
    tree.show()
    alone, claim = tree._items()
    assert not any(map(tree.isColumnHidden, range(4)))
    assert alone.isFirstColumnSpanned()
    assert not claim.isFirstColumnSpanned()
    qtbot.waitUntil(lambda: tree.visualItemRect(alone).height() > 0)
    line = tree.fontMetrics().height()
    assert tree.visualItemRect(alone).height() < 3 * line  # over the whole width
    tree.resize(330, 400)
    qtbot.waitUntil(lambda: tree.isColumnHidden(3))
    assert not tree.isColumnHidden(1)
    assert tree.columnWidth(0) >= 150
    tree.resize(900, 400)
    qtbot.waitUntil(lambda: not tree.isColumnHidden(3))
