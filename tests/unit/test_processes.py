"""One cleaning in two processes gives what it gives in one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec
from ml_core.events import Done, from_json
from ml_core.jobs.processes import together
from ml_core.jobs.specs import write_spec
from ml_core.ranks import Ranks
from ml_core.reading.errors import InputError
from tests.unit.draining import done_of, events_of, losses_of, metrics_of
from tests.unit.small_jobs import small_recipe, small_spec

ROOT = Path(__file__).parents[2]


def _two_by_hand(path, warm):
    """The events of both processes that torchrun would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    started = [
        warm.start(
            "ml_core.jobs.worker",
            str(path),
            text=True,
            environment=common | {"MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    events = []
    for child in started:
        with child:
            events += [from_json(line) for line in child.stdout.read().splitlines()]
        assert child.wait() == 0, events[-1]
    return events


def _by_torchrun(path, _):
    """The events of both processes that torchrun itself starts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ran = subprocess.run(
        [*command, "-m", "ml_core.jobs.worker", str(path)], cwd=ROOT, capture_output=True,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=480, check=True,
    )  # fmt: skip
    return [from_json(line) for line in ran.stdout.splitlines() if line.startswith("{")]


@pytest.mark.timeout(600)  # three interpreters with torch, on a machine that may be busy
@pytest.mark.parametrize(
    "launch", [_two_by_hand, pytest.param(_by_torchrun, marks=pytest.mark.slow)]
)
def test_two_processes_give_the_losses_of_one(launch, tiny_model, tmp_path, warm_torch):
    source = save_checkpoint(tiny_model, tmp_path / "tiny.safetensors", provenance={})
    recipe = small_recipe(
        method="cleanclip", batch_norm="frozen", pairs=40, save_every=4, eval_every=2
    )
    watched = ImageSpec(kind="demo", split="val", n=36)
    spec = small_spec(source, tmp_path / "one", recipe, images=watched, test_images=None)
    alone, done = events_of(spec)
    assert done.status == "finished", done.error
    divided = {"output_dir": str(tmp_path / "two"), "recipe": recipe.changed(cache_chunk=3)}
    path = write_spec(spec.model_copy(update=divided), tmp_path / "two" / "job.json")
    events = launch(path, warm_torch)
    assert sum(isinstance(event, Done) for event in events) == 1  # the second process is silent
    assert losses_of(events) == pytest.approx(losses_of(alone), abs=1e-5)
    assert len(losses_of(alone)) == 5
    assert events[-1].result["processes"] == 2
    assert sum("ca" in m.values for m in metrics_of(events)) == 4
    first, second = (load_file(tmp_path / n / "cleaned.safetensors") for n in ("one", "two"))
    # Not each number: AdamW turns a gradient that is zero but for rounding into a whole step.
    moved = _apart(first, load_file(source))
    assert moved > 1e-3
    assert _apart(first, second) < 1e-3 * moved


def _apart(first, second):
    """Squared distance of what is in the first."""
    return sum(float((part - second[name]).pow(2).sum()) for name, part in first.items())


@pytest.mark.parametrize(
    ("method", "world", "what"),
    [("cleanclip", 2, "several processes"), ("unlearning", 1, "Trigger unlearning")],
)
def test_batch_norm_in_training_is_refused_where_a_batch_is_divided(
    tiny_checkpoint, tmp_path, method, world, what
):
    spec = small_spec(
        tiny_checkpoint, tmp_path / "out", small_recipe(method=method, batch_norm="train")
    )
    done = done_of(spec, ranks=Ranks(0, world))
    assert f"{what} cannot be exact" in done.error
    assert "frozen" in done.error


def test_a_command_in_several_processes_is_refused(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert run_command(["inspect", str(tiny_checkpoint)]) == 3
    assert "one of 4 processes" in capsys.readouterr().err


def test_more_processes_than_gpus_are_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(InputError, match="2 processes and this machine has 1 GPU:"),
        together("auto"),
    ):
        pass
