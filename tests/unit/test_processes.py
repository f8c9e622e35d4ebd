"""One cleaning in two processes gives what it gives in one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.adversaries import Adversaries
from ml_core.cleaning.methods.method import embed_images
from ml_core.cleaning.pictures import shared_rows, step_indices
from ml_core.cli.app import run_command
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, from_json
from ml_core.jobs.processes import together
from ml_core.jobs.specs import STATE_FILE, write_spec
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError
from tests.unit.draining import done_of, events_of, losses_of, metrics_of
from tests.unit.pair_files import table
from tests.unit.small_jobs import small_recipe, small_spec
from tests.unit.tiny_models import tiny_vit

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
    """The events of both processes that torchrun would start, and the worse exit code."""
    path = write_spec(spec, Path(spec.output_dir) / "job.json")
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
    return events, max(abs(child.wait()) for child in started), ""


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


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "lr", "chunk"),
    [("vit", 1e-3, 3), pytest.param("resnet", 3e-6, 0, marks=pytest.mark.slow)],
)
def test_adversaries_are_sharpened_alike_in_two_processes(
    kind, lr, chunk, tiny_model, tmp_path, warm_torch
):
    """Both processes hold the same patterns, each of which acts on pictures of both.

    The two that are tried are of those that do not grow: thirty climbs make much of rounding too.

    A random ResNet makes much of rounding, chunks in one process included, hence its low rate.
    """
    model = tiny_vit() if kind == "vit" else tiny_model
    if kind == "resnet":
        _take_statistics(model)
    source = save_checkpoint(model, tmp_path / "tiny.safetensors", provenance={})
    recipe = small_recipe(
        method="adversarial", batch_norm="frozen", pairs=80, lr=lr, lambda_hold=4.0,
        adversaries=2, adversary_steps=4, save_every=9,
    )  # fmt: skip
    alone, _ = _one_and_two(source, tmp_path, warm_torch, recipe, chunk, test_images=None)
    assert len(losses_of(alone)) == 10
    first, second = (load_file(tmp_path / n / "cleaned.safetensors") for n in ("one", "two"))
    assert _apart(first, second) < 1e-3 * _apart(first, load_file(source))
    # What they have become, beside the same ones that nobody sharpened.
    states = [load_file(tmp_path / name / STATE_FILE) for name in ("one", "two")]
    sharp, again = (
        {key: state[f"opponent/{key}"] for key in ("patterns", "first", "second")}
        for state in states
    )
    drawn = Adversaries(32, 2, 4, recipe.seed, torch.device("cpu"), model.embed_dim)
    steps = int(states[0]["opponent/step"])
    for _ in range(steps):
        drawn.sharpen()
    assert steps == int(states[1]["opponent/step"]) > 8
    for name, tensor in sharp.items():
        moved = {name: drawn.tensors[name]}
        assert _apart({name: tensor}, moved) > 0
        assert _apart({name: tensor}, again) < 1e-3 * _apart({name: tensor}, moved)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_adversaries_grow_alike_in_two_processes(tmp_path, warm_torch):
    """On the pictures of both, before the first step; later on rounding has moved the weights."""
    source = save_checkpoint(tiny_vit(), tmp_path / "tiny.safetensors", provenance={})
    recipe = small_recipe(
        method="adversarial", batch_norm="frozen", pairs=16, adversaries=3, save_every=1
    )
    alone, _ = _one_and_two(source, tmp_path, warm_torch, recipe, test_images=None)
    assert len(losses_of(alone)) == 2
    states = [load_file(tmp_path / name / STATE_FILE) for name in ("one", "two")]
    first, again = (state["opponent/directions"] for state in states)
    assert float((first * again).sum(1).min()) > 0.999
    assert float(states[0]["opponent/effects"].max()) > 0


def _take_statistics(model):
    """Give BatchNorm the statistics of pictures: without, random weights see all of them alike."""
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=32)), 32)
    pictures = torch.from_numpy(cache.get(np.arange(32))).permute(0, 3, 1, 2).float() / 255
    for layer in model.module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    model.module.train()
    with torch.no_grad():
        embed_images(model, pictures)


def _apart(first, second):
    """Squared distance of what is in the first."""
    return sum(float((part - second[name]).pow(2).sum()) for name, part in first.items())


@pytest.mark.timeout(600)
def test_the_whole_batch_is_counted_where_a_share_cannot_be_read_and_one_is_too_few(
    tmp_path, warm_torch
):
    """Of the first batch the first process reads nothing, of the second one picture of two."""
    source = save_checkpoint(tiny_vit(), tmp_path / "tiny.safetensors", provenance={"made": "test"})
    data = table(tmp_path / "pairs", range(24))
    recipe = small_recipe(method="cleanclip", pairs=24, batch_size=4)
    batches = [step_indices(recipe, 24, step).tolist() for step in (0, 1)]
    for value in (*batches[0][:2], batches[1][3]):
        (data.parent / f"{value}.png").write_bytes(b"torn")
    changes = {"pairs": PairSpec(kind="csv", path=str(data)), "test_images": None}
    alone, _ = _one_and_two(source, tmp_path, warm_torch, recipe, **changes)
    assert len(losses_of(alone)) == 6
    (data.parent / f"{batches[0][2]}.png").write_bytes(b"torn")  # one of the first batch is left
    spec = small_spec(source, tmp_path / "out", recipe, **changes)
    events, code, _ = _two_by_hand(spec, warm_torch)
    assert code == 2
    done = events[-1]
    assert done.error == "Fewer than two examples of a batch can be read: choose other data."


def test_batch_norm_in_training_is_refused_in_several_processes(tiny_checkpoint, tmp_path):
    spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe())
    done = done_of(spec, ranks=Ranks(0, 2))
    assert "several processes cannot be exact" in done.error
    assert "frozen" in done.error


def test_a_batch_is_shared_out_whole():
    for count, world in ((8, 2), (9, 2), (10, 4), (3, 1)):
        parts = [shared_rows(np.arange(count), (rank, world)).tolist() for rank in range(world)]
        assert [row for part in parts for row in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert ALONE.any(True, False, device=torch.device("cpu")) == (True, False)


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
