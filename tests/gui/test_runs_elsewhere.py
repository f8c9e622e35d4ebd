"""Runs that were made elsewhere and brought back, and jobs that are copied or exported."""

# ruff: noqa: F811

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cleanclip_gui.clean.history import read_run, run_points
from cleanclip_gui.clean.job import copy_job
from ml_core.jobs.cluster import JOB_FILE
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch, save_trigger
from tests.gui.factories import facts
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import write_safetensors
from tests.gui.test_clean_bench import (  # noqa: F401
    all_read,
    click,
    history,
    panel,
    session,
)


def made_elsewhere(parent: Path, sha256: str, **options: object) -> Path:
    """Results that were brought back: the checkpoint's path and the trigger's are of there."""
    there = parent / "there"
    folder = write_run(parent, "results", checkpoint=there / "m.safetensors", **options)
    facts = {"provenance": json.dumps({"source_sha256": sha256})}
    write_safetensors(folder / "cleaned.safetensors", {"a": [1.0]}, facts)
    for path in folder.glob("steps/*"):
        write_safetensors(path, {"a": [1.0]}, facts)
    spec = json.loads((folder / "spec.json").read_text())
    spec["trigger"] = str(there / "trigger.json")
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def opened_here(session, sha256: str) -> str:
    path = session.checkpoint.path
    session.checkpoint = facts(path, sha256=sha256)
    return path


def test_a_result_of_elsewhere_is_tried_on_the_same_file_here(
    qtbot, panel, session, tmp_path: Path
) -> None:
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    assert Path(read_run(folder).spec.trigger) == folder / "trigger.json"
    source = opened_here(session, "ab" * 32)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    failures: list[InputError] = []
    panel.shell.failed.connect(failures.append)
    panel.try_cleaned()
    assert failures == []
    assert panel.context.inference.questions[-1].path == str(folder / "cleaned.safetensors")
    assert panel.run.result["source"] == source
    all_read(qtbot, panel)
    point = run_points(folder)["zero-shot"][1]
    panel.runs.open_point(read_run(folder), point)
    assert panel.context.inference.questions[-1].path == point.checkpoint
    with qtbot.waitSignal(panel.runs.repeated) as blocker:
        click(panel.runs.repeat)
    assert blocker.args[0].checkpoint == source
    assert failures == []
    opened_here(session, "cd" * 32)
    assert not panel.before_after.isVisible()  # of another checkpoint
    click(panel.runs.open_)
    panel.try_cleaned()
    assert "open that file first" in failures[0].sentence
    assert panel.run.result["source"].endswith("/there/m.safetensors")
    session.checkpoint = None
    click(panel.runs.open_)
    all_read(qtbot, panel)


def test_the_checkpoint_may_be_opened_after_the_result(panel, session, tmp_path: Path) -> None:
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    session.checkpoint = None
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    path = str(tmp_path / "runs" / "poisoned.safetensors")
    session.checkpoint = facts(path, sha256="ab" * 32)
    assert panel.before_after.isVisible()
    assert panel.run.result["source"] == path


def test_an_adapter_of_elsewhere_goes_on_the_file_here(qtbot, panel, session, tmp_path) -> None:
    folder = made_elsewhere(tmp_path / "back", "")
    facts = {"facts": json.dumps({"source_sha256": "ab" * 32})}
    write_safetensors(folder / "adapter.safetensors", {"prompts": [1.0]}, facts)
    result = json.loads((folder / "result.json").read_text())
    result |= {"checkpoint": result["source"], "adapter": "/there/adapter.safetensors"}
    (folder / "result.json").write_text(json.dumps(result))
    source = opened_here(session, "ab" * 32)
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    panel.try_cleaned()
    request = panel.context.inference.questions[-1]
    assert (request.path, request.adapter) == (source, str(folder / "adapter.safetensors"))
    all_read(qtbot, panel)


def test_a_missing_trigger_is_said_and_studio_keeps_its_own(
    qtbot, panel, session, tmp_path: Path
) -> None:
    folder = made_elsewhere(tmp_path / "back", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.unlink()
    opened_here(session, "ab" * 32)
    mine, session.target = session.trigger, 0
    panel.runs.open_folder(folder)
    click(panel.runs.open_)
    assert panel.run_bar.notice.isVisible()
    assert "Studio keeps the current one" in panel.run_bar.notice.text()
    panel.try_cleaned()
    request = panel.context.inference.questions[-1]
    opened = facts(request.path)
    with qtbot.waitSignal(panel.shell.station_wanted):
        panel.context.inference.answer(opened)
    assert session.trigger is mine
    assert session.target == 0
    assert session.cleaned is opened
    all_read(qtbot, panel)


def test_the_trigger_beside_the_results_of_a_job_is_found(tmp_path: Path) -> None:
    folder = made_elsewhere(tmp_path / "job", "ab" * 32)
    for path in folder.glob("trigger.*"):
        path.rename(folder.parent / path.name)
    assert read_run(folder).spec.trigger == str(tmp_path / "job" / "there" / "trigger.json")
    (folder.parent / JOB_FILE).write_text("{}")
    assert read_run(folder).spec.trigger == str(folder.parent / "trigger.json")


# ---- copies ----


@pytest.mark.parametrize("lost", ["trigger", "class list"])
def test_a_copy_names_what_is_gone_and_leaves_no_folder(tmp_path: Path, lost: str) -> None:
    folder = write_run(tmp_path / "runs", "run")
    spec = read_spec(folder / "spec.json")
    if lost == "trigger":
        spec = spec.model_copy(update={"trigger": str(tmp_path / "gone.json")})
    else:
        spec = spec.model_copy(update={"label_set": str(tmp_path / "gone.txt")})
    with pytest.raises(InputError, match=r"gone\.(json|txt)") as caught:
        copy_job(spec, tmp_path / "runs")
    assert "choose another output folder" not in caught.value.sentence
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_copy_that_cannot_be_written_leaves_no_folder(tmp_path: Path, monkeypatch) -> None:
    folder = write_run(tmp_path / "runs", "run")
    spec = read_spec(folder / "spec.json")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cleanclip_gui.clean.job.write_spec", full)
    with pytest.raises(InputError, match="choose another output folder"):
        copy_job(spec, tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_trigger_of_another_name_is_found_where_the_run_lies(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "run")
    save_trigger(badnets_patch(), folder / "mine")
    spec = json.loads((folder / "spec.json").read_text()) | {"trigger": "/there/mine.json"}
    (folder / "spec.json").write_text(json.dumps(spec))
    assert read_run(folder).spec.trigger == str(folder / "mine.json")
