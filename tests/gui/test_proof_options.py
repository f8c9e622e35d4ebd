"""Which pairs and which rate the tests of a result take: chosen, kept, shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cleanclip_gui.clean.history import read_run
from cleanclip_gui.clean.proof import ProofChoice, ProofDialog
from cleanclip_gui.clean.station import CleanStation
from cleanclip_gui.widgets.prompts import Prompts
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.jobs.specs import SPEC_FILE, read_spec, read_spec_file, write_spec
from tests.gui.run_folders import write_run
from tests.gui.test_clean_bench import click, panel, session  # noqa: F401
from tests.gui.test_clean_proof import holdouts_record, rebound_record, shown  # noqa: F401


def own_images(panel: CleanStation, folder: Path, **changes: Any) -> None:  # noqa: F811
    """Show a run that trained on the user's labelled images."""
    spec = read_spec(folder / SPEC_FILE)
    mine = ImageSpec(kind="folder", path=str(folder.parent))
    test = ImageSpec(kind="demo", split="test", n=100)
    changes = {"pairs": None, "training_images": mine, "images": test, **changes}
    write_spec(spec.model_copy(update={"test_images": test} | changes), folder / SPEC_FILE)
    panel.runs.note_run(folder)
    panel.runs.open_run(read_run(folder))


def options(panel: CleanStation) -> ProofDialog:  # noqa: F811
    click(panel.proof.options_button)
    return panel.window().findChildren(ProofDialog)[-1]


def chosen_pairs(folder: Path) -> Path:
    table = folder.parent / "mine.csv"
    table.write_text("image,caption\na.png,an apple\n")
    return table


def test_a_run_without_pairs_is_proven_with_those_that_are_chosen(panel, tmp_path) -> None:  # noqa: F811
    folder = write_run(tmp_path / "runs", "bare", method="supervised")
    table = str(chosen_pairs(folder))
    own_images(panel, folder)
    section = panel.proof
    assert section.uses.text() == (
        "The rebound test and retrieval need image-caption pairs, and this run had none: choose "
        "some under “Options…”."
    )
    click(section.rebound_button)
    assert not panel.proving.is_running
    assert "under “Options…”" in section.sentence()
    dialog = options(panel)
    assert not dialog.data.demo.isEnabled()
    assert not dialog.rate.isEnabled()
    assert dialog.rate.value() == UNKNOWN.assumed
    click(dialog.ok)
    assert "choose a file or a folder" in dialog.state.text()
    dialog.data.path.setText(table)
    dialog.own_rate.click()
    dialog.rate.setValue(1e-3)
    click(dialog.ok)
    assert section.uses.text() == "Chosen for the tests: pairs of mine.csv and a peak rate of 1e-3."
    click(section.rebound_button)
    asked = read_spec_file(panel.proving.task.runner.spec_path, ReboundSpec)
    assert (asked.pairs.kind, asked.pairs.path, asked.peak_lr) == ("csv", table, 1e-3)
    assert not section.options_button.isEnabled()
    record = rebound_record() | {"peak_lr": 1e-3, "spec": asked.model_dump(mode="json")}
    record["pretraining"] = UNKNOWN.sentence
    panel.proving.task.runner.end(Done("finished", record))
    assert "64 pairs of mine.csv at each rate, up to 1e-3" in section.rebound.facts.text()
    assert UNKNOWN.sentence.removesuffix(".") in section.rebound.facts.text()
    click(section.holdouts_button)
    held = read_spec_file(panel.proving.task.runner.spec_path, HoldoutSpec)
    assert held.pairs == asked.pairs
    record = holdouts_record() | {"spec": held.model_dump(mode="json")}
    panel.proving.task.runner.end(Done("finished", record))
    assert section.holdouts.notes.text().startswith("retrieval among pairs of mine.csv")


def test_what_was_chosen_holds_for_the_checkpoint(panel, shown: Path) -> None:  # noqa: F811
    assert not panel.proof.uses.isVisibleTo(panel.proof)
    dialog = options(panel)
    assert dialog.data.demo.isChecked()
    assert dialog.data.demo.text() == "Other compositions of the demo"
    dialog.own_rate.click()
    dialog.rate.setValue(2e-3)
    click(dialog.ok)
    assert options(panel).rate.value() == 2e-3
    panel.window().findChildren(ProofDialog)[-1].reject()
    other = write_run(shown.parent, "other", checkpoint=shown.parent / "another.safetensors")
    own_images(panel, other)
    assert "2e-3" not in panel.proof.uses.text()
    own_images(panel, write_run(shown.parent, "alike"))
    assert panel.proof.uses.text().endswith("Chosen for the tests: a peak rate of 2e-3.")


def test_an_adapter_needs_pairs_for_retrieval_alone(panel, tmp_path: Path) -> None:  # noqa: F811
    folder = write_run(tmp_path / "runs", "adapted", method="supervised")
    (folder / "adapter.safetensors").write_bytes(b"")
    own_images(panel, folder)
    assert panel.proof.uses.text().startswith("Retrieval, a hold-out, needs image-caption pairs")


@pytest.mark.usefixtures("styled")
def test_options_go_back_to_those_of_the_run(qtbot, tmp_path: Path) -> None:
    table = chosen_pairs(tmp_path / "run")
    own = PairSpec(kind="csv", path=str(table))
    run = PairSpec(kind="csv", path="/data/pairs.csv")
    dialog = ProofDialog(run, ProofChoice(own, 1e-3), Prompts())
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.data.demo.text() == "Those of the run: pairs.csv"
    assert dialog.data.exclude.isVisible()
    chosen: list[ProofChoice] = []
    dialog.chosen.connect(chosen.append)
    click(dialog.ok)
    dialog.show()
    tall = dialog.height()
    click(dialog.defaults)
    assert not dialog.data.exclude.isVisible()
    qtbot.waitUntil(lambda: dialog.height() < tall)
    click(dialog.ok)
    assert chosen == [ProofChoice(own, 1e-3), ProofChoice()]
