"""*Clean it*: the button, the steps while they run, the answer, and a chain that was cut off."""

import json
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint

from cleanclip_gui.clean.history import read_run
from cleanclip_gui.session.records import Answer, JobState
from cleanclip_gui.session.settings import PastResult
from cleanclip_gui.widgets.text import unbroken
from ml_core.events import Done, Metric, Progress
from ml_core.figures import distinct
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.folder_lock import lock_folder
from ml_core.jobs.proofs import REBOUND_FILE
from ml_core.jobs.scan import SCAN_SPEC, ScanSpec
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, read_spec_file, write_spec, write_spec_file
from ml_core.reading.errors import InputError
from tests.gui.chains import CAME_TO, SENTENCES, STEPS, ended, events, keep, told
from tests.gui.factories import facts, images
from tests.gui.fakes import FakeRunner, clean_panel, heard, open_session, runner_of
from tests.gui.run_folders import rebound_record, write_run
from tests.gui.scans import scan, write_scan

session = pytest.fixture(open_session)
panel = pytest.fixture(clean_panel)


def shown(panel):
    """Titles, states and words of the steps, as they can be read."""
    rows = (line for line in panel.chain.rows if line.isVisible())
    return [(line.title.text(), line.state.text(), line.words.text()) for line in rows]


def asked(runner):
    return read_spec_file(runner.spec_path, AutoSpec)


def run_to_the_end(panel):
    """A chain of one round, with a run in its folder."""
    panel.setup.clean_it.click()
    runner = runner_of(panel)
    folder = runner.spec_path.parent
    shutil.copytree(write_run(folder.parent / "elsewhere", "round-1"), folder / "round-1")
    (folder / "round-1" / REBOUND_FILE).write_text(json.dumps(rebound_record()))
    write_scan(folder / "scan-0", scan("found"))
    steps = [ended(number) for number in range(len(STEPS))]
    for step, end in zip(STEPS, steps, strict=True):
        runner.play([told(step), told(end)])
    runner.end(Done("finished", keep(folder, asked(runner), steps, "round-1")))
    return folder


def test_the_button_takes_what_is_open_and_says_what_is_missing(panel, session, tmp_path):
    setup = panel.setup
    session.scan_reference = str(tmp_path / "parent.safetensors")
    assert setup.clean_it_does.text().startswith("Scans, cleans, scans again")
    assert not setup.clean_it_lacks.isVisible()
    setup.clean_it.click()
    assert panel.run_bar.pause.hasFocus()
    runner = runner_of(panel)
    spec = asked(runner)
    assert runner.kind == "auto"
    assert (spec.base.checkpoint, spec.base.target) == (session.checkpoint.path, 1)
    assert Path(spec.base.trigger).is_file()
    assert spec.base.reference == session.scan_reference
    assert (spec.base.pairs.kind, spec.scan_images) == ("demo", session.images.spec)
    assert Path(spec.base.output_dir) == runner.spec_path.parent
    assert not setup.clean_it.isEnabled()
    assert "A job is running" in setup.clean_it_lacks.text()
    runner.end(Done("cancelled"))
    setup.data.table.setChecked(True)
    assert "Choose pairs of your own" in setup.clean_it_lacks.text()
    setup.clean_it.click()
    assert setup.data.table.hasFocus()
    assert panel.run.runner is None
    panel.form.set_method("supervised")
    setup.data.folder.setChecked(True)
    assert "Choose labelled images of your own" in setup.clean_it_lacks.text()
    for button in (setup.clean_it, panel.start_button):
        setup.output.setFocus()
        button.click()
        assert setup.data.folder.hasFocus()
        assert panel.run.runner is None
    setup.data.demo.setChecked(True)
    assert setup.clean_it_lacks.text() == ""
    assert setup.clean_it.isEnabled()
    session.images = images(40)
    assert "A scan needs 144 pictures" in setup.clean_it_lacks.text()
    session.images = None
    assert "Choose evaluation images" in setup.clean_it_lacks.text()
    session.checkpoint = None
    assert "Open a checkpoint first" in setup.clean_it_lacks.text()
    assert not setup.clean_it.isEnabled()


def test_the_demo_is_cleaned_in_one_short_round_that_does_not_know_the_sticker(panel, session):
    session.checkpoint = facts(str(demo_checkpoint()))
    panel.setup.clean_it.click()
    spec = asked(runner_of(panel))
    assert (spec.preset, spec.rounds, spec.measure_only) == ("talk", 1, True)
    assert Path(spec.base.trigger).is_file()


def test_a_scan_of_this_checkpoint_that_is_on_show_is_not_made_again(panel, session, tmp_path):
    session.checkpoint = facts(session.checkpoint.path, sha256="a" * 64)
    does_not = "; “Start cleaning” does not measure it."
    found = f"with the trigger that the scan found, for “banana”{does_not}"
    finds = f"with a trigger that its scan finds{does_not}"
    nothing = "No trigger is set in Studio: attack success will not be measured."
    rows = (
        ("a", "", "found", True, found), ("b", "", "found", False, finds),
        ("a", "p.pt", "found", False, finds), ("a", "", "nothing", True, nothing),
    )  # fmt: skip
    session.trigger = None
    for number, (digest, reference, verdict, taken, measures) in enumerate(rows):
        folder = tmp_path / str(number)
        classes = tuple(distinct(session.images.class_names))
        write_scan(folder, scan(verdict, sha256=digest * 64, classes=classes))
        made = ScanSpec(
            checkpoint="m.pt", images=session.images.spec, reference=reference or None,
            output_dir=str(folder),
        )  # fmt: skip
        write_spec_file(made, folder / SCAN_SPEC)
        session.show_job("scan", JobState(str(folder), "finished", verdict))
        assert panel.hint.text().endswith(measures)
        assert panel.setup.clean_it_does.text().startswith("Takes the scan") == taken
        assert ("One round with the proofs takes" in panel.setup.clean_it_does.text()) == taken
        panel.setup.clean_it.click()
        assert asked(runner_of(panel)).scanned == (str(folder) if taken else None)
        runner_of(panel).end(Done("cancelled"))
    # The scan after cleaning is on show, which is of another checkpoint.
    session.show_job("scan", JobState(str(tmp_path / "1"), "finished", "found"))
    session.answer = Answer("", "", "scan", PastResult(folder=str(tmp_path / "0")))
    assert panel.setup.clean_it_does.text().startswith("Takes the scan of this checkpoint, cleans")
    panel.setup.clean_it.click()
    assert asked(runner_of(panel)).scanned == str(tmp_path / "0")


def test_the_steps_while_they_run(qtbot, panel, session):
    panel.setup.clean_it.click()
    runner = runner_of(panel)
    assert panel.run_bar.title.text() == "#1 Clean it: running"
    runner.play([told(STEPS[0]), Progress("patches", 3, 6)])
    assert shown(panel) == [("Scan", "running", STEPS[0].why)]
    assert panel.run_bar.details.text() == "Step 1 of at least 5: Patches · 3 of 6"
    runner.play([Progress("patches", 4, 6)])
    words = panel.run_bar.details.text()
    assert words.startswith("Step 1 of at least 5: Patches · 4 of 6 · ")
    assert words.endswith(" left if no further round follows")
    share, left = session.run_progress.fraction, session.run_progress.seconds_left
    assert 0 < share < 0.5  # of the whole chain
    assert left > 0
    assert panel.run_bar.bar.value() == round(1000 * share)
    assert [work.kept for work in panel.at_work()] == [
        "Finished steps are kept; this one begins again."
    ]
    assert not panel.charts.isVisible()
    runner.play(events(0)[1:4])
    assert shown(panel) == [
        ("Scan", "done, 1 min 1 s", f"{STEPS[0].why} {CAME_TO[0]}"),
        ("Clean, round 1", "running", STEPS[1].why),
    ]
    qtbot.waitUntil(lambda: not panel.run.is_reading)  # what the round measured before a break
    assert panel.charts.rates.series("asr_excl").point(0) == (0, 0.98)
    assert panel.charts.isVisible()
    runner.play([Progress("open", 0, 1)])
    guessed = session.run_progress.seconds_left
    job = asked(runner).base
    longer = job.recipe.changed(epochs=100 * job.recipe.epochs)
    write_spec(
        job.model_copy(update={"recipe": longer}),
        runner.spec_path.parent / STEPS[1].folder / SPEC_FILE,
    )
    runner.play([Progress("open", 1, 1)])
    assert session.run_progress.seconds_left > 5 * guessed  # this is what the round trains
    bar, train = panel.run_bar, Progress("train", 30, 240)
    runner.play([train])
    assert bar.bar.value() / bar.bar.maximum() > share
    share = session.run_progress.fraction
    assert bar.details.text().startswith("Step 2 of at least 5: Training · 30 of 240 · ")
    runner.play([told(ended(1)), told(STEPS[3])])
    runner.play([Progress("rebound", 5, 900)])
    words = bar.details.text()
    assert words.startswith("Step 4 of 5: Finetuning again · 5 of 900 · ")
    assert words.endswith(" left")
    assert 1 > session.run_progress.fraction >= share  # without a second between, as much
    runner.play([Metric(25, 900, {"factor": 0.1, "rebound_step": 25, "asr_excl": 0.02})])
    assert panel.chain.rebound.chart.series("0.1").point(0) == (25, 0.02)
    assert panel.scene().main is panel.chain.rebound.chart
    assert len(panel.charts.rates.series("asr_excl")) == 1
    assert panel.chain.rebound.isVisible()
    assert not panel.charts.isVisible()
    for button in bar.buttons:
        button.click()
    assert runner.told == ["launch", "pause", "stop", "cancel"]
    runner.end(Done("cancelled"))
    assert shown(panel)[-1][1] == "stopped"


def test_the_answer_and_its_round(panel, session):
    folder = run_to_the_end(panel)
    assert panel.chain.sentences.text().split("\n") == list(map(unbroken, SENTENCES))
    assert session.run.output_dir == str(folder / "round-1")
    assert panel.run_bar.title.text() == "#1 Clean it: finished"
    assert panel.run_bar.details.text() == "In 5 min 0 s."
    assert panel.before_after.isVisible()
    assert panel.proof.rebound.isVisible()
    assert panel.try_button.isEnabled()
    assert [line.state.text() for line in panel.chain.rows] == ["done, 1 min 1 s"] * 5
    assert not panel.chain.steps.isVisible()  # the answer comes first
    panel.chain.more.click()
    assert panel.chain.steps.isVisible()
    assert panel.chain.mapToGlobal(QPoint()).y() < panel.before_after.mapToGlobal(QPoint()).y()
    known = panel.context.settings.results("scan")  # to Scan and Report
    assert [(past.folder, past.verdict) for past in known] == [(str(folder / "scan-0"), "found")]
    scans = []
    panel.shell.takes("scan", scans.append)
    panel.chain.rows[2].show_button.click()
    assert scans == [str(folder / "scan-1")]
    panel.chain.rows[1].show_button.click()
    assert panel.run.on_show.folder == folder / "round-1"
    assert not panel.chain.rows[3].show_button.isVisible()  # the tests stand below the result
    assert panel.chain.save.isVisible()
    assert panel.save_button.isHidden()  # once on a page
    stations = heard(panel.shell.station_wanted)
    panel.chain.report.click()
    assert stations == ["report"]


def test_the_answer_goes_with_its_checkpoint(panel, session):
    run_to_the_end(panel)
    result = panel.run.on_show.result
    mine = facts(result["source"])
    for checkpoint, seen in ((mine, True), (facts("another.safetensors"), False), (mine, True)):
        session.checkpoint = checkpoint
        shown_parts = panel.chain, panel.charts, panel.result_card
        assert [part.isVisible() for part in shown_parts] == [seen] * 3
        assert panel.earlier_card.isVisible() is not seen  # the page is not empty
    session.checkpoint = facts("another.safetensors")
    name = Path(result["source"]).name
    assert (
        panel.earlier_text.text() == f"This run cleaned {name}. Open that file to see its result."
    )


def test_of_several_rounds_the_one_that_is_kept_is_named(panel):
    run_to_the_end(panel)
    chain = panel.run.on_show.chain
    again = ended(1, round=2, title="Clean, round 2", folder="round-2")
    for best, titles in (
        ("round-1", ["Clean, round 1, kept", "Clean, round 2"]),
        ("round-2", ["Clean, round 1", "Clean, round 2, kept"]),
    ):
        chain.result = chain.result.model_copy(update={"best": best})
        chain.take(again)
        panel.chain.show_chain(chain, at_work=False)
        panel.chain.more.setChecked(True)
        assert [title for title, _, _ in shown(panel) if title.startswith("Clean")] == titles


def test_its_rounds_are_in_the_history_and_bring_the_chain_back(qtbot, panel, tmp_path):
    folder = run_to_the_end(panel)
    write_run(folder.parent, "single")
    panel.show_page(1)
    qtbot.waitUntil(lambda: len(panel.runs.runs) == 2)
    assert {past.title for past in panel.runs.runs} == {
        "#1 Clean it, round 1", "CleanCLIP, talk, 3 changes",
    }  # fmt: skip
    for past in panel.runs.runs:
        panel.runs.open_run(past)
        assert panel.chain.isVisible() == (past.folder.parent == folder)
    panel.shell.open("run", str(folder / "round-1"))  # what a session opens again
    assert panel.chain.sentences.text().startswith(SENTENCES[0])


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (Done("cancelled"), "“Clean it” was cancelled."),
        (Done("failed", {}, "The disk is full.", "usage"), "The disk is full."),
    ],
)
def test_a_chain_that_was_cut_off_goes_on(panel, session, last, sentence):
    panel.setup.clean_it.click()
    runner = runner_of(panel)
    runner.play([told(STEPS[0]), told(ended(0)), told(STEPS[1])])
    keep(runner.spec_path.parent, asked(runner), [ended(0)])
    runner.end(last)
    assert panel.resume_button.hasFocus()
    assert not panel.keep_button.isVisible()
    assert [title for title, *_ in shown(panel)] == ["Scan", "Clean, round 1"]
    assert panel.trouble_text.text() == (
        f"{sentence} Its finished steps are kept. “Resume” goes on with the one at work."
    )
    assert shown(panel)[0][0] == "Scan"
    panel.resume_button.click()
    again = runner_of(panel)
    assert (again.kind, again.spec_path) == ("auto", runner.spec_path)
    assert asked(again).base.checkpoint == session.checkpoint.path
    assert shown(panel)[0][0] == "Scan"
    again.play(events(8))
    assert [title for title, *_ in shown(panel)] == ["Scan", "Clean, round 1"]


def test_a_round_that_was_stopped_is_kept_or_gone_on_with(panel):
    panel.setup.clean_it.click()
    runner = runner_of(panel)
    folder, half = runner.spec_path.parent, ended(1, status="stopped", sentence="")
    runner.play([told(STEPS[0]), told(ended(0)), told(STEPS[1])])
    shutil.copytree(write_run(folder.parent / "elsewhere", "round-1"), folder / "round-1")
    result = folder / "round-1" / RESULT_FILE
    result.write_text(json.dumps({**json.loads(result.read_text()), "status": "stopped"}))
    keep(folder, asked(runner), [ended(0), half], "round-1")
    runner.end(Done("stopped"))
    for again in (False, True):
        if again:  # in another window
            panel.resuming.offer(folder)
        assert panel.result_card.isVisible()
        assert panel.keep_button.isVisible()
    panel.resume_button.click()
    assert not asked(runner_of(panel)).keep_stopped
    runner_of(panel).play([told(ended(0)), told(STEPS[1])])
    keep(folder, asked(runner), [ended(0)])
    runner_of(panel).end(Done("cancelled"))
    assert panel.result_card.isVisible()  # what the stop saved is still there
    panel.keep_button.click()
    runner = runner_of(panel)
    assert asked(runner).keep_stopped
    # And of a second round, though the first is the best so far.
    shutil.copytree(folder / "round-1", folder / "round-2")
    kept = json.loads(result.read_text())
    ended_so = {"status": "finished", "stopped_because": "It was stopped by hand."}
    result.write_text(json.dumps({**kept, **ended_so}))
    second = half.model_copy(update={"round": 2, "folder": "round-2"})
    keep(folder, asked(runner), [ended(0), ended(1), ended(2), second], "round-1")
    runner.end(Done("stopped"))
    assert panel.run.on_show.folder == folder / "round-2"
    assert panel.keep_button.isVisible()
    # The first one has its own page, with all that can be done with it.
    panel.chain.rows[1].show_clicked.emit()
    assert panel.run.on_show.folder == folder / "round-1"
    assert "round 1" in panel.run_bar.title.text()
    assert panel.save_button.isVisible()
    assert panel.proof.about.text() == "Scan after round 1: Nothing found in this search."


def test_a_chain_that_cannot_go_on_says_why(qtbot, panel, session, tmp_path):
    """It is whole, was moved, lacks its checkpoint, or another process is at work on it."""
    folder, troubles = run_to_the_end(panel), heard(panel.shell.failed)
    panel.context.prompts.open_folder = lambda *_: str(folder)
    panel.resuming.choose()
    assert panel.run.runner is None
    assert panel.run.on_show.folder == folder / "round-1"
    spec = read_spec_file(folder / "auto-spec.json", AutoSpec)
    keep(folder, spec, [ended(0)])
    moved = folder.rename(tmp_path / "elsewhere")
    assert not panel.resuming.offer(moved)
    moved.rename(folder)
    with lock_folder(folder):
        assert not panel.resuming.offer(folder)
    Path(session.checkpoint.path).unlink()
    assert not panel.resuming.offer(folder)
    for trouble, words in zip(
        troubles, ("was started in", "still working", "is gone"), strict=True
    ):
        assert words in trouble.sentence


def test_resume_beside_a_round_that_was_cut_off_goes_on_with_the_chain(panel):
    folder = run_to_the_end(panel)
    keep(folder, read_spec_file(folder / "auto-spec.json", AutoSpec), [ended(0)])
    shutil.rmtree(folder / "round-1")
    killed = Done("failed", {}, "It was killed.", "killed")
    panel.shell.open("run", str(write_run(folder, "round-1", end=killed)))
    assert panel.trouble_text.text().endswith("“Resume” goes on with the one at work.")
    panel.resume_button.click()
    assert (runner_of(panel).kind, runner_of(panel).spec_path.parent) == ("auto", folder)


def test_what_is_left_of_a_chain_is_shown(panel):
    """The kept round was deleted, or the chain's record is damaged."""
    folder = run_to_the_end(panel)
    rounds = folder / "round-1"
    hidden = rounds.rename(folder.parent / "hidden")
    panel.resuming.offer(folder)
    assert panel.run_bar.title.text() == "#1 Clean it: finished"
    assert panel.chain.sentences.text().startswith(SENTENCES[0])
    hidden.rename(rounds)
    for name in ("auto.json", "auto-spec.json"):
        (folder / name).write_text("{")
    panel.shell.open("run", str(rounds))
    assert panel.before_after.isVisible()
    assert not panel.chain.isVisible()


def test_an_earlier_round_is_looked_at_while_the_chain_goes_on(panel):
    panel.setup.clean_it.click()
    runner = runner_of(panel)
    folder = runner.spec_path.parent
    shutil.copytree(write_run(folder.parent / "elsewhere", "round-1"), folder / "round-1")
    runner.play([told(ended(0)), told(STEPS[1])])
    panel.chain.rows[1].show_button.click()
    assert panel.run.on_show is panel.run.newest  # it is the round at work
    runner.play([told(ended(1)), told(STEPS[2])])
    panel.chain.rows[1].show_button.click()
    assert panel.run.on_show.folder == folder / "round-1"
    runner.play([told(ended(2))])
    assert shown(panel)[2][1] == "done, 1 min 1 s"
    runner.play([told(STEPS[0])])  # a chain that goes on tells the earlier ones again
    assert [title for title, *_ in shown(panel)][-1] == "Scan"


def test_a_start_that_is_refused_leaves_no_folder(panel, monkeypatch):
    def refuse(*_, **__):
        raise InputError("Another job runs on this device.")

    monkeypatch.setattr(panel.run.task, "launch", refuse)
    panel.clean_it()
    assert list(panel.setup.folder().iterdir()) == []


def test_a_model_that_needed_no_cleaning(panel):
    run_to_the_end(panel)
    chain = panel.run.on_show.chain
    chain.result = chain.result.model_copy(update={"called_for": False})
    panel.show_run()
    assert panel.chain.answer.text() == "Clean it: nothing called for cleaning"
    assert panel.chain.sheet.property("tone") == ""


def test_an_answer_says_whether_the_backdoor_comes_back(panel):
    run_to_the_end(panel)
    chain = panel.run.on_show.chain
    assert f"Clean it: {panel.session.run.outcome}" == panel.chain.answer.text()  # for a talk
    for comes_back, words, tone in (
        (False, "the same scan finds nothing", "ok"), (True, "but the backdoor comes", "danger"),
        (None, "is not tested", "caution"),
    ):  # fmt: skip
        chain.result = chain.result.model_copy(update={"comes_back": comes_back})
        panel.show_run()
        assert words in panel.chain.answer.text()
        assert panel.chain.sheet.property("tone") == tone


def test_only_runs_of_the_runs_folder_are_moved_to_the_trash(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # the trash
    folder = run_to_the_end(panel)
    other = write_run(folder.parent / "of another tool", "run")
    for run in (other, folder / "round-1"):
        panel.runs.delete_run(read_run(run))
    assert other.is_dir()
    assert not (folder / "round-1").exists()
    assert panel.run.on_show.folder == Path()


def test_a_chain_whose_window_was_killed_is_offered(qtbot, make, answers, tmp_path):
    window = make(new_runner=FakeRunner)
    clean = window.stations["clean"]
    session = open_session(tmp_path)
    window.session.checkpoint, window.session.images = session.checkpoint, session.images
    clean.output.setText(str(tmp_path / "runs"))
    clean.clean_it()
    runner = runner_of(clean)
    keep(runner.spec_path.parent, asked(runner), [ended(0)])
    assert window.settings.value.last_run == str(runner.spec_path.parent)
    assert window.session.runs == ()  # it is no run: a session would miss its job
    again = make(new_runner=FakeRunner).stations["clean"]
    assert again.run_bar.title.text() == "#1 Clean it: interrupted"
    assert "“Resume” goes on with the one at work" in again.trouble_text.text()
    again.resume_button.click()
    assert runner_of(again).spec_path == runner.spec_path
