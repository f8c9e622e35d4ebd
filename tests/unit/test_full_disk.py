"""A disk that is full ends a job with a sentence, and what was saved before is intact."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest

from ml_core.atomic import replace_files
from ml_core.cleaning.state import read_facts
from ml_core.data.specs import ImageSpec
from ml_core.events import from_json
from ml_core.jobs.specs import write_spec
from tests.unit.draining import done_of, finished
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 7 MB: a state of weights fits, one with moments does not."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(place)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the right to mount; the limit on files is tested beside")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _check_full(warm, spec, *limits):
    path = write_spec(spec, Path(spec.output_dir) / "spec.json")
    with warm.start(
        "ml_core.jobs.worker", str(path), stdin=subprocess.DEVNULL, text=True, limits=limits
    ) as child:
        done = from_json(child.stdout.read().splitlines()[-1])
        assert child.wait(240) == 3
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error.startswith("The disk is full")
    assert done.error.endswith("What was saved before is intact.")
    state = Path(spec.output_dir) / "state" / "state.safetensors"
    assert read_facts(state)["step"] == 0
    assert [path.name for path in state.parent.iterdir()] == [state.name]


def test_a_limit_on_files_ends_the_job_and_the_save_goes_on(tiny_checkpoint, tmp_path, warm_torch):
    recipe = small_recipe(method="mmcl", pairs=32, save_every=2)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    limit = resource.RLIMIT_FSIZE, 2 * tiny_checkpoint.stat().st_size
    _check_full(warm_torch, spec, limit)
    finished(spec, resume=True)


def test_a_full_disk_ends_the_job_with_its_save_intact(tiny_checkpoint, small_disk, warm_torch):
    recipe = small_recipe(method="mmcl", pairs=32, save_every=2)
    _check_full(warm_torch, small_spec(tiny_checkpoint, small_disk, recipe, test_images=None))


@pytest.mark.parametrize("name", ["step-000001.safetensors", "cleaned.safetensors"])
def test_a_disk_that_fills_with_a_checkpoint_leaves_a_run_to_resume(
    tiny_checkpoint, tmp_path, monkeypatch, name
):
    recipe = small_recipe(method="mmcl", pairs=16, save_every=1, eval_every=1)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", recipe, images=ImageSpec(split="val", n=12),
        test_images=None, keep_steps=True,
    )  # fmt: skip

    def full(files):
        if name in {path.name for path in files}:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_files(files)

    with monkeypatch.context() as patch:
        patch.setattr("ml_core.checkpoints.save.replace_files", full)
        done = done_of(spec)
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error == (
        "The disk is full: free some space and resume. What was saved before is intact."
    )
    finished(spec, resume=True)
