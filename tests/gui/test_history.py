"""From what is open to a job on disk; runs on disk; the queue's order."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from cleanclip_gui.clean.history import (
    list_runs,
    read_name,
    read_run,
    run_metrics,
    run_points,
    write_name,
)
from cleanclip_gui.clean.job import write_job
from cleanclip_gui.clean.queue import RunQueue
from cleanclip_gui.session import Session
from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from tests.gui.factories import facts, images
from tests.gui.run_folders import write_run

KILLED = Done("failed", {}, "It was killed.", "killed")


def test_the_newest_comes_first_and_other_folders_are_left_out(tmp_path):
    write_run(tmp_path, "old", begun=1000.0)
    write_run(tmp_path, "new", begun=3000.0)
    write_run(tmp_path, "middle", begun=2000.0)
    (tmp_path / "pictures").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    assert [run.folder.name for run in list_runs(tmp_path)] == ["new", "middle", "old"]
    assert list_runs(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("end", "status", "ran_out"),
    [
        (Done("cancelled"), "cancelled", False),
        (Done("failed", {}, "Too little memory.", "memory"), "failed", True),
        (KILLED, "interrupted", False),
    ],
)
def test_how_a_run_stands(tmp_path, end, status, ran_out):
    run = read_run(write_run(tmp_path, "run", end=end))
    assert (run.status, run.ran_out) == (status, ran_out)
    assert run.error == (end.error if status == "failed" else "")


def test_a_folder_that_was_moved_and_cut_is_read_where_it_is(tmp_path):
    moved = tmp_path / "elsewhere"
    write_run(tmp_path, "run").rename(moved)
    run = read_run(moved)
    assert run.result["checkpoint"] == run.checkpoint == str(moved / "cleaned.safetensors")
    steps = moved / "steps"
    (steps / "step-000040.safetensors").unlink()
    points = run_points(moved)["zero-shot"]
    assert [point.step for point in points] == [0, 20, 40, 60, 80, 100]
    assert [bool(point.checkpoint) for point in points] == [True, True, False, True, True, True]
    assert points[1].checkpoint == str(steps / "step-000020.safetensors")
    with open(moved / "events.jsonl", "a") as file:
        file.write('{"event": "metric", "step": 7, "va')  # by a kill
    assert len(run_metrics(moved)) == 100 + 6


def test_a_name_stays_with_the_run(tmp_path):
    folder = write_run(tmp_path, "run")
    assert read_name(folder) == ""
    write_name(folder, "  best so far, ±1\n")
    assert read_run(folder).name == "best so far, ±1"
    with pytest.raises(InputError, match="is its folder still there"):
        write_name(tmp_path / "gone", "x")


def test_the_queue_keeps_its_order(qapp):
    queue = RunQueue(SimpleNamespace(ended=Mock(), freed=Mock()), lambda: True)
    told: list[int] = []
    queue.changed.connect(lambda: told.append(len(queue)))
    a, b, c = map(Path, "abc")
    for folder in (a, b, c, a):
        queue.add(folder)
    assert (queue.folders, told) == ((a, b, c), [1, 2, 3])
    queue.move(c, -1)
    queue.move(a, -1)  # at the front already
    assert queue.folders == (a, c, b)
    queue.move(a, 5)
    assert queue.folders == (c, b, a)
    queue.remove(b)
    assert queue.folders == (c, a)


def _job(spec, n, folder):
    session = Session()
    session.checkpoint = facts(folder / "a.safetensors", donor="donor.pt")
    session.images = images(n, spec=spec, name="own")
    recipe = preset("cleanclip", "talk")
    path = write_job(session, recipe, folder, pairs=PairSpec(), training_images=None)
    return read_spec(path)


def test_images_are_watched_and_tested_in_two_parts(tmp_path):
    own = ImageSpec(kind="folder", path=str(tmp_path), seed=4)
    spec = _job(own, 9000, tmp_path)
    assert spec.images == own.model_copy(update={"part": "validation", "n": 500})
    assert spec.test_images == own.model_copy(update={"part": "test", "n": 4000})
    assert spec.heldout_images is None
    spec = _job(ImageSpec(split="heldout"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", n=500)
    assert spec.test_images == ImageSpec(split="heldout", n=1000)
    spec = _job(ImageSpec(split="val"), 1000, tmp_path)
    assert spec.images == ImageSpec(split="val", part="validation", n=500)
    assert spec.test_images == ImageSpec(split="val", part="test", n=1000)
    assert spec.donor == str(Path(spec.output_dir) / "donor.pt")  # a borrowed encoder
