"""One job in two processes gives what it gives in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ml_core.checkpoints.save import save_checkpoint
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, from_json
from ml_core.jobs.specs import write_spec
from ml_core.ranks import Ranks
from tests.unit.draining import done_of, events_of, losses_of, metrics_of
from tests.unit.small_jobs import small_recipe, small_spec
from tests.unit.tiny_models import tiny_vit
from tests.unit.two_processes import two_processes

ROOT = Path(__file__).parents[2]


def _torchrun(spec, *options):
    path = write_spec(spec, Path(spec.output_dir) / "job.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", "-m", "ml_core.jobs.worker", str(path), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=480,
        stdin=subprocess.DEVNULL,
    )
    events = [from_json(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return events, done.returncode, done.stderr


def _two_by_hand(spec, warm):
    path = write_spec(spec, Path(spec.output_dir) / "job.json")
    events, codes = two_processes(warm, path)
    return [event for own in events for event in own], max(map(abs, codes)), ""


def _one_and_two(
    source, folder, warm, recipe, chunk = 0,
    run_two = _two_by_hand, **changes,
):  # fmt: skip
    """The events of a run in one process and of the same one in two, with the same losses."""
    one = small_spec(source, folder / "one", recipe, **changes)
    alone, done = events_of(one)
    assert done.status == "finished", done.error
    divided = {"output_dir": str(folder / "two"), "recipe": recipe.changed(cache_chunk=chunk)}
    options = [warm] if run_two is _two_by_hand else []
    events, code, errors = run_two(one.model_copy(update=divided), *options)
    assert code == 0, (errors, events[-1])
    assert losses_of(events) == pytest.approx(losses_of(alone), abs=1e-5)
    return alone, events


@pytest.mark.timeout(600)  # three interpreters with torch, on a machine that may be busy
@pytest.mark.parametrize(
    ("kind", "chunk", "launcher"),
    [
        ("vit", 0, "by hand"),
        ("resnet", 3, "by hand"),
        pytest.param("vit", 0, "torchrun", marks=pytest.mark.slow),
    ],
)
def test_two_processes_give_the_losses_of_one(
    kind, chunk, launcher, tiny_model, tmp_path, warm_torch
):
    model = tiny_model if kind == "resnet" else tiny_vit()
    source = save_checkpoint(model, tmp_path / "tiny.safetensors", provenance={"made": "test"})
    every = 5 if kind == "vit" else 0
    recipe = small_recipe(
        method="cleanclip", batch_norm="frozen", pairs=80, save_every=4, eval_every=every
    )
    watched = ImageSpec(kind="demo", split="val", n=36) if every else None
    by = _torchrun if launcher == "torchrun" else _two_by_hand
    alone, events = _one_and_two(
        source, tmp_path, warm_torch, recipe, chunk, by, images=watched, test_images=None
    )
    done = events[-1]
    assert done.result["processes"] == 2
    assert sum(isinstance(e, Done) for e in events) == 1  # the second process is silent
    assert len(losses_of(alone)) == 10
    assert losses_of(alone)[0] != losses_of(alone)[-1]
    assert sum("ca" in m.values for m in metrics_of(events)) == (3 if every else 0)
    first, second = (load_file(tmp_path / n / "cleaned.safetensors") for n in ("one", "two"))
    # Not each number: AdamW turns a gradient that is zero but for rounding into a whole step.
    moved = _apart(first, load_file(source))
    assert moved > 1e-3
    assert _apart(first, second) < 1e-3 * moved


def _apart(first, second):
    """Squared distance of what is in the first."""
    return sum(float((part - second[name]).pow(2).sum()) for name, part in first.items())


def test_batch_norm_in_training_is_refused_in_several_processes(tiny_checkpoint, tmp_path):
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe())
    done = done_of(spec, ranks=Ranks(0, 2))
    assert "several processes cannot be exact" in done.error
    assert "frozen" in done.error
