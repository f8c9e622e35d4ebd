"""A disk that is full ends a job with a sentence, and what was saved before is intact."""

from __future__ import annotations

import errno

import pytest

from ml_core.atomic import replace_files
from ml_core.data.specs import ImageSpec
from tests.unit.draining import done_of, finished
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("cleaning.state", "state.safetensors"),
        ("checkpoints.save", "step-000001.safetensors"),
        ("checkpoints.save", "cleaned.safetensors"),
    ],
)
def test_a_disk_that_fills_leaves_a_run_to_resume(
    tiny_checkpoint, tmp_path, monkeypatch, module, name
):
    recipe = small_recipe(method="mmcl", pairs=16, save_every=1, eval_every=1)
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", recipe, images=ImageSpec(split="val", n=12),
        test_images=None, keep_steps=True,
    )  # fmt: skip

    def full(files, **options):
        if any(
            path.name == name and (module != "cleaning.state" or path.exists()) for path in files
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace_files(files, **options)

    with monkeypatch.context() as patch:
        patch.setattr(f"ml_core.{module}.replace_files", full)
        done = done_of(spec)
    assert (done.status, done.error_code) == ("failed", "disk")
    assert done.error == (
        "The disk is full: free some space and resume. What was saved before is intact."
    )
    finished(spec, resume=True)
