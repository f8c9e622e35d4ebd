"""One evaluation in two processes prints, number by number, what it prints in one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.events import Done
from ml_core.jobs import worker
from ml_core.jobs.processes import together
from ml_core.reading.errors import InputError
from tests.unit.two_processes import start_two
from tests.warm import Warm

CLASSES = ("apple", "banana", "cherry")
N = 150  # three batches: the first process has two of them
TORN = (3, 70, 90, 149)


@pytest.fixture
def base(tiny_checkpoint: Path, tmp_path: Path) -> list[str]:
    """An evaluation of noise with labels, of which some pictures cannot be read."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "noise"
    folder.mkdir()
    lines = ["image,label"]
    for i in range(N):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)).save(path)
        lines.append(f"{i}.png,{CLASSES[i % 3]}")
        if i in TORN:
            path.write_bytes(path.read_bytes()[:200])
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    names, templates = tmp_path / "names.txt", tmp_path / "templates.txt"
    names.write_text("\n".join(CLASSES) + "\n")
    templates.write_text("a {}\nthe {}\n")
    return [
        "evaluate", str(tiny_checkpoint), "--images", str(folder), "--labels", str(names),
        "--templates", str(templates), "--threads", "1", "--device", "cpu", "--json",
    ]  # fmt: skip


def _in_two(
    warm: Warm, first: Sequence[str], second: Sequence[str] | None = None
) -> tuple[list[str], list[str], list[int]]:
    """What two processes print, what they say, and their exit codes."""
    started = start_two(
        warm, "ml_core", first, first if second is None else second, stderr=subprocess.PIPE
    )
    printed, said = [], []
    for child in started:
        with child:
            printed.append(child.stdout.read())
            said.append(child.stderr.read())
    return printed, said, [child.wait() for child in started]


def _kept(home: Path) -> dict[str, bytes]:
    """The embeddings on disk."""
    return {path.name: path.read_bytes() for path in (home / "cache" / "embeddings").iterdir()}


@pytest.mark.parametrize("trigger", ["T4", pytest.param(None, marks=pytest.mark.slow)])
def test_two_processes_print_the_numbers_of_one(
    base, tiny_model, tmp_path, warm_torch, trigger, monkeypatch, capsys
):
    command = list(base)
    if trigger is not None:
        command += ["--trigger", trigger, "--target", "banana"]
    if trigger == "T4":  # on a canvas of its own, which has a control
        for value in tiny_model.module.parameters():
            value.data += 0.05 * value.data.sign() * value.data.abs().mean()
        other = save_checkpoint(tiny_model, tmp_path / "other.safetensors", provenance={})
        command += ["--reference", str(other)]
    homes = [tmp_path / "home of one", tmp_path / "home of two"]
    monkeypatch.setenv("CLEANCLIP_HOME", str(homes[0]))
    assert run_command(command) == 0
    wanted = json.loads(capsys.readouterr().out)
    assert (wanted["n"], wanted["n_broken"]) == (N - len(TORN), len(TORN))
    assert len({row["n"] for row in wanted["breakdown"]["classes"]}) > 1
    monkeypatch.setenv("CLEANCLIP_HOME", str(homes[1]))
    printed, said, codes = _in_two(warm_torch, command)
    assert codes == [0, 0], said
    assert (printed[1], said[1]) == ("", "")
    found = json.loads(printed[0])
    for record in filter(None, (found, found.get("reference"))):
        assert record["details"].pop("processes") == 2
    for record in filter(None, (wanted, wanted.get("reference"))):
        assert record["details"].pop("processes") == 1
    assert found == wanted  # rates, margins, cells, paired differences, and what was not read
    assert _kept(homes[1]) == _kept(homes[0])  # the first process keeps what both embedded


def test_what_is_not_divided_is_not_done_twice(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert run_command(["inspect", str(tiny_checkpoint)]) == 3
    assert "one of 4 processes" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_command(["inspect", str(tiny_checkpoint), "--json"]) == 3
    assert capsys.readouterr() == ("", "")


def test_more_processes_than_gpus_are_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def begin():  # type: ignore[no-untyped-def]
        with together("auto"):
            yield Done("finished")

    with pytest.raises(InputError, match="2 processes and this machine has 1 GPU:"):
        next(begin())
    (done,) = worker.guarded(begin())  # a job ends so too
    assert (done.status, done.error_code) == ("failed", "usage")
