"""A job goes to a cluster: for how many GPUs and machines, and into which folder."""

from __future__ import annotations

from pathlib import Path

from cleanclip_gui.clean.runs.export_dialog import ExportDialog
from cleanclip_gui.clean.setup import BATCH_NORM
from cleanclip_gui.clean.station import CleanStation
from ml_core.cleaning.presets import preset
from ml_core.jobs.specs import read_spec
from tests.gui.run_folders import write_run
from tests.gui.test_clean_bench import click, history, panel, session  # noqa: F401


def export(panel: CleanStation) -> ExportDialog:  # noqa: F811
    """Ask to export the chosen run."""
    click(panel.runs.export)
    return panel.window().findChildren(ExportDialog)[-1]


def test_a_job_is_exported_for_a_cluster(qtbot, panel, tmp_path: Path) -> None:  # noqa: F811
    folder = write_run(tmp_path / "runs", "here")
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    panel.context.prompts.open_folder = lambda *_: str(tmp_path / "out")
    dialog = export(panel)
    assert (dialog.gpus.value(), dialog.machines.value()) == (1, 1)
    dialog.gpus.lineEdit().setText("4")
    dialog.machines.setValue(2)
    click(dialog.ok)
    made = tmp_path / "out" / "job-here"
    assert {path.name for path in made.iterdir()} >= {"job.json", "job.slurm", "run.sh"}
    assert "submit job.slurm" in panel.runs.said.text()
    job = read_spec(made / "job.json")
    assert job.output_dir == str(made / "results")
    assert job.device == "auto"  # not the CPU, as here
    script = (made / "job.slurm").read_text()
    assert "--nodes=2" in script
    assert "--gpus-per-node=4" in script
    assert "--nproc_per_node=4" in (made / "run.sh").read_text()


def test_an_export_that_is_cancelled_leaves_nothing(qtbot, panel, tmp_path: Path) -> None:  # noqa: F811
    folder = write_run(tmp_path / "runs", "here")
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    asked: list[str] = []
    panel.context.prompts.open_folder = lambda *_: asked.append("") or ""
    before = sorted(tmp_path.rglob("*"))
    export(panel).reject()
    assert asked == []
    click(export(panel).ok)
    assert asked == [""]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_says_what_would_be_refused(qtbot) -> None:
    recipe = preset("cleanclip", "talk").changed(batch_size=64, batch_norm="train")
    dialog = ExportDialog(recipe, 2)
    qtbot.addWidget(dialog)
    assert dialog.state.text() == BATCH_NORM
    dialog.gpus.setValue(1)
    assert dialog.state.isHidden()
    dialog.machines.setValue(33)
    assert dialog.state.text().startswith("A batch of 64 cannot be divided among 33 GPUs")
    dialog = ExportDialog(recipe.changed(batch_norm="frozen"), 4)
    qtbot.addWidget(dialog)
    assert dialog.state.isHidden()


def test_an_export_names_the_trigger_that_is_gone(qtbot, panel, tmp_path: Path) -> None:  # noqa: F811
    folder = write_run(tmp_path / "runs", "here")
    for path in folder.glob("trigger.*"):
        path.unlink()
    history(qtbot, panel)
    panel.runs.table.choose(folder)
    panel.context.prompts.open_folder = lambda *_: str(tmp_path / "out")
    dialog = export(panel)
    with qtbot.waitSignal(panel.shell.failed) as blocker:
        click(dialog.ok)
    assert "trigger.json cannot be read; put it back" in blocker.args[0].sentence
    assert not (tmp_path / "out").exists()
