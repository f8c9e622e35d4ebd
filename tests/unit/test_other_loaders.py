"""What other loaders and picklescan would do is told from names, and agrees with what they do."""

from __future__ import annotations

import argparse
import collections
import gc
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml_core.reading import Inspection, inspect
from ml_core.reading import second_opinion as opinion
from ml_core.reading.other_loaders import what_loaders_do
from ml_core.reading.second_opinion import second_opinion

TENSORS = {"a": torch.zeros(2), "b": torch.nn.Parameter(torch.ones(3).half())}


def told(found: Inspection) -> str:
    return what_loaders_do(
        found.format, found.verdict, found.globals, bool(found.embedded_code), found.unread
    )


@pytest.mark.parametrize(
    ("value", "loads"),
    [
        ({"state_dict": collections.OrderedDict(TENSORS), "epoch": 3, "name": "x"}, True),
        ({"state_dict": TENSORS, "type": torch.float16, "size": torch.Size([2])}, True),
        ({"state_dict": TENSORS, "raw": b"abc", "names": {"a", "b"}}, True),
        ({"state_dict": TENSORS, "options": argparse.Namespace(lr=1e-3)}, False),
        ({"state_dict": TENSORS, "best": np.float64(0.5)}, False),
        ({"model": torch.nn.Linear(2, 2)}, False),
    ],
)
def test_it_agrees_with_torch(tmp_path: Path, value: Any, loads: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(value, path)
    found = inspect(path)
    assert not found.refused, found.reasons
    said = told(found)
    assert ("should load it" in said) == loads
    assert ("refuses it, because it names" in said) != loads
    if loads:
        torch.load(path, weights_only=True)
    else:
        with pytest.raises(Exception, match="Weights only load failed"):
            torch.load(path, weights_only=True)


def test_what_would_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    assert "would import posix.system" in told(inspect(tmp_path / "m.pkl"))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "m.pt")
    said = told(inspect(tmp_path / "m.pt"))
    assert "refuses TorchScript" in said
    assert "torch.jit.load compiles" in said
    assert "nothing in it to run" in what_loaders_do("safetensors", "loads", {})
    folder = what_loaders_do("open_clip folder", "caution", {}, unread=("README.md", "modeling.py"))
    assert "trust_remote_code=True would run modeling.py" in folder
    assert "README" not in folder
    assert what_loaders_do("PyTorch file (zip)", "damaged", {}).startswith("Not known")
    assert "could be made to run code" in what_loaders_do("tar archive", "dangerous", {})


# picklescan


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def test_it_names_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Attack()))
    assert "system (dangerous)" in second_opinion(tmp_path / "m.pkl")
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    assert "no name that it knows as dangerous" in second_opinion(tmp_path / "m.pt")


def test_bad_files_are_a_sentence(tmp_path: Path) -> None:
    for raw in (b"", b"\x80\x02", b"PK\x03\x04" + bytes(50), b"text"):
        for name in ("m.pt", "m.pkl", "m.npz", "m.safetensors", "m"):
            (tmp_path / name).write_bytes(raw)
            said = second_opinion(tmp_path / name)
            assert said.startswith("picklescan ")
            assert said.endswith(".")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such alarm")
def test_it_gives_up_when_it_takes_too_long(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGPROF)
    monkeypatch.setattr(opinion, "SECONDS", 0.05)
    (tmp_path / "m.pkl").write_bytes(b"\x80\x02N" + b"0N" * 2_000_000 + b".")
    gc.disable()  # hypothesis listens to the collector, and what is raised there is a warning
    try:
        assert "gave up after 0 seconds" in second_opinion(tmp_path / "m.pkl")
    finally:
        gc.enable()
    assert signal.getsignal(signal.SIGPROF) is before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
