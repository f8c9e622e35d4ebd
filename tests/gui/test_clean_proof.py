"""Proof under a result: begun, watched, cancelled, shown again, and its options."""

import json

import pytest
from PySide6.QtCore import QRect, Qt

from cleanclip_gui import theme
from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.proof import ProofDialog
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, Metric, Progress
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.jobs.specs import SPEC_FILE, read_spec, read_spec_file, write_spec
from tests.gui.fakes import columns_out_of_reach, heard
from tests.gui.run_folders import (
    CLEANED_SHA256,
    LIMIT,
    holdouts_record,
    rebound_record,
    write_run,
)
from tests.gui.shell_fakes import Answers
from tests.gui.test_clean_bench import click, panel, session  # noqa: F401


@pytest.fixture
def shown(panel, tmp_path):  # noqa: F811
    """A finished run, shown on the first page."""
    return show_finished(panel, tmp_path / "runs")


def show_finished(made, runs):
    folder = write_run(runs, "done")
    spec = read_spec(folder / SPEC_FILE)
    images = ImageSpec(kind="demo", split="test", n=100)
    write_spec(
        spec.model_copy(update={"images": images, "test_images": images}), folder / SPEC_FILE
    )
    made.runs.note_run(folder)
    made.runs.open_run(read_run(folder))
    return folder


def test_the_rebound_test_from_start_to_verdict(panel, shown):  # noqa: F811
    section = panel.proof
    click(section.rebound_button)
    runner = panel.proof.task.runner
    assert (runner.kind, runner.told) == ("rebound", ["launch"])
    spec = read_spec_file(runner.spec_path, ReboundSpec)
    assert spec.checkpoint == str(shown / "cleaned.safetensors")
    assert not section.holdouts_button.isEnabled()
    assert panel.start_button.text() == "Add to the queue"
    now = 100.0
    panel.proof.task.overall._clock = lambda: now
    for done in (0, 75, 150):
        runner.event_received.emit(Progress("rebound", done, 900))
        now += 10
    assert section.state.text() == "The rebound test is running, 2 min left."
    assert panel.session.job_progress["rebound test"].seconds_left == pytest.approx(100)
    values = {"factor": 0.1, "rebound_step": 25, "asr_excl": 0.02, "asr_low": 0.01,
              "asr_high": 0.03, "ca": 0.95}  # fmt: skip
    runner.event_received.emit(Metric(25, 900, values))
    chart, verdict = section.rebound.chart, section.rebound.verdict
    assert chart.series("0.1").point(0) == (25, 0.02)
    assert not verdict.isVisibleTo(section)
    runner.end(Done("finished", rebound_record()))
    assert not panel.session.jobs
    assert chart.keys() == ("0.1", "0.3", "1")
    assert verdict.text() == "Rebound test: Stays clean in this test."
    assert verdict.property("tone") == "ok"
    assert chart.level == (LIMIT, "limit 5 %")
    small = section.rebound.facts.text()
    assert "40\u2009000 pairs that the cleaning saw, 640 of the target class" in small
    assert "measured on 3\u202f900 images" in small
    assert panel.start_button.text() == "Start cleaning"
    for record, tone in (
        (rebound_record(0.4), "danger"),
        (rebound_record(0.01) | {"stays_clean": False, "verdict": "Not decided."}, "caution"),
    ):
        click(section.rebound_button)
        panel.proof.task.runner.end(Done("finished", record))
        assert verdict.text() == f"Rebound test: {record['verdict']}"
        assert verdict.property("tone") == tone


def test_a_test_that_is_asked_for_elsewhere_is_gone_to(qtbot, panel, shown):  # noqa: F811
    panel.resize(1000, 480)
    stations = heard(panel.shell.station_wanted)
    panel.show_page(1)
    panel.context.actions.run("clean.rebound")
    assert stations == ["clean"]
    cancel = panel.proof.busy.cancel
    qtbot.waitUntil(cancel.hasFocus)
    assert not cancel.visibleRegion().isEmpty()  # scrolled to
    panel.proof.task.runner.end(Done("finished", rebound_record()))


def test_hold_outs_are_one_table(panel, shown):  # noqa: F811
    section = panel.proof
    click(section.holdouts_button)
    runner = panel.proof.task.runner
    spec = read_spec_file(runner.spec_path, HoldoutSpec)
    assert (runner.kind, spec.after) == ("holdouts", str(shown / "cleaned.safetensors"))
    runner.end(Done("finished", holdouts_record()))
    model = section.holdouts.table.model()
    texts = [[model.index(row, n).data() for n in range(7)] for row in range(model.rowCount())]
    assert [row[0] for row in texts] == [
        "Itself: as it was", "Moved: centre  (worst)", "Moved: corner",
        "Retrieval: own answer first",
    ]  # fmt: skip
    assert texts[1][1:] == ["Attack success", "95.0 %", "11.0 %", "10.0 – 12.0", "1.4 %",
                            "1\u2009000"]  # fmt: skip
    assert "&lt;8&gt;" in model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert section.holdouts.sentence.text().replace("\xa0", " ") == (
        "Among other forms of the trigger and other triggers, the highest success rate is 11.0 % "
        "(moved: centre). The largest loss among these hold-outs: retrieval, own answer first "
        "(recall@1), from 40.0 to 36.0 %."
    )
    assert section.holdouts.sentence.property("tone") == "caution"
    table = section.holdouts.table
    assert columns_out_of_reach(table, 420) == []
    for width in range(90, 200, 5):  # every name is whole, at any width
        table.setColumnWidth(0, width)
        for row, (title, *_) in enumerate(texts):
            room = QRect(0, 0, width - theme.px(16) - 6, 999)
            needs = table.fontMetrics().boundingRect(room, Qt.TextFlag.TextWordWrap, title)
            assert table.rowHeight(row) >= needs.height(), (width, title)


def test_tests_made_before_are_shown(panel, shown):  # noqa: F811
    broken = {"rows": 3, "after": {"sha256": CLEANED_SHA256}}
    moved_on = rebound_record() | {"checkpoint_sha256": "d" * 64}  # the run went on since
    for rebound, holdouts, is_shown in (
        (rebound_record(), "[1", True),
        (moved_on, "[1", False),
        (rebound_record(), json.dumps(broken), True),
    ):
        (shown / "rebound.json").write_text(json.dumps(rebound))
        (shown / "holdouts.json").write_text(holdouts)
        panel.runs.open_run(read_run(shown))
        assert panel.proof.rebound.isHidden() != is_shown
        assert panel.proof.holdouts.isHidden()
    assert "holdouts.json of this run cannot be read" in panel.proof.state.text()
    spec = read_spec(shown / SPEC_FILE)
    write_spec(spec.model_copy(update={"trigger": None}), shown / SPEC_FILE)
    click(panel.proof.rebound_button)
    assert not panel.proof.is_running
    assert "had no trigger" in panel.proof.state.text()


def test_cancelling_a_test_asks_before_minutes_are_lost(panel, shown):  # noqa: F811
    answers = Answers(yes=False).take_over(panel.context.prompts)
    click(panel.proof.holdouts_button)
    panel.proof.task.runner.end(Done("failed", {}, "There are no pairs.", "usage"))
    assert panel.proof.state.text() == "The hold-outs test failed: There are no pairs."
    click(panel.proof.rebound_button)
    runner = panel.proof.task.runner
    panel.start()
    assert len(panel.queue) == 1  # a run waits for the test
    panel.proof._begun -= 300
    click(panel.proof.busy.cancel)
    assert answers.asked == ["About 5 minutes of work would be lost: a test cannot be resumed."]
    assert runner.told == ["launch"]
    answers.yes = True
    click(panel.proof.busy.cancel)
    assert runner.told == ["launch", "cancel"]
    runner.end(Done("cancelled"))
    assert panel.proof.state.text() == "The rebound test was cancelled."
    assert panel.run.is_running
    panel.run.runner.end(Done("cancelled"))


def own_images(panel, folder, **changes):  # noqa: F811
    """Show a run that trained on the user's labelled images."""
    spec = read_spec(folder / SPEC_FILE)
    mine = ImageSpec(kind="folder", path=str(folder.parent))
    test = ImageSpec(kind="demo", split="test", n=100)
    changes = {"pairs": None, "training_images": mine, "images": test, **changes}
    write_spec(spec.model_copy(update={"test_images": test} | changes), folder / SPEC_FILE)
    panel.runs.note_run(folder)
    panel.runs.open_run(read_run(folder))


def options(panel):  # noqa: F811
    click(panel.proof.options_button)
    return panel.window().findChildren(ProofDialog)[-1]


def chosen_pairs(folder):
    table = folder.parent / "mine.csv"
    table.write_text("image,caption\na.png,an apple\n")
    return table


def test_a_run_without_pairs_is_proven_with_those_that_are_chosen(panel, tmp_path):  # noqa: F811
    folder = write_run(tmp_path / "runs", "bare", method="supervised")
    table = str(chosen_pairs(folder))
    own_images(panel, folder)
    section = panel.proof
    assert section.uses.text() == (
        "The rebound test and retrieval need image-caption pairs, and this run had none: choose "
        "some under “Options…”."
    )
    click(section.rebound_button)
    assert not panel.proof.is_running
    assert "under “Options…”" in section.state.text()
    dialog = options(panel)
    assert not dialog.data.demo.isEnabled()
    assert not dialog.rate.isEnabled()
    assert dialog.rate.value() == UNKNOWN.assumed
    click(dialog.ok)
    assert "take a file, folder or the demo" in dialog.state.text()
    dialog.data.path.setText(table)
    dialog.own_rate.click()
    dialog.rate.setValue(1e-3)
    click(dialog.ok)
    assert section.uses.text() == "Chosen for the tests: pairs of mine.csv and a peak rate of 1e-3."
    click(section.rebound_button)
    asked = read_spec_file(panel.proof.task.runner.spec_path, ReboundSpec)
    assert (asked.pairs.kind, asked.pairs.path, asked.peak_lr) == ("csv", table, 1e-3)
    assert not section.options_button.isEnabled()
    record = rebound_record() | {"peak_lr": 1e-3, "spec": asked.model_dump(mode="json")}
    record["pretraining"] = UNKNOWN.sentence
    panel.proof.task.runner.end(Done("finished", record))
    assert "64 pairs of mine.csv at each rate, up to 1e-3" in section.rebound.facts.text()
    assert UNKNOWN.sentence.removesuffix(".") in section.rebound.facts.text()
    click(section.holdouts_button)
    held = read_spec_file(panel.proof.task.runner.spec_path, HoldoutSpec)
    assert held.pairs == asked.pairs
    record = holdouts_record() | {"spec": held.model_dump(mode="json")}
    panel.proof.task.runner.end(Done("finished", record))
    assert section.holdouts.notes.text().startswith("retrieval among pairs of mine.csv")
