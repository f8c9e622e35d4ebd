"""PyTorch files of every layout: tensors equal torch's, code is never run, lies are refused."""

from __future__ import annotations

import argparse
import collections
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml_core.checkpoints.tensor_stats import tensor_stats
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import Inspection, inspect

LEGACY = {"_use_new_zipfile_serialization": False}
TENSORS = {
    "fp32": torch.linspace(-1, 1, 12).reshape(3, 4),
    "fp16": torch.arange(6).half(),
    "bf16": torch.arange(5).bfloat16(),
    "int64": torch.tensor(7),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "turned": torch.arange(12.0).reshape(3, 4).t(),
    "strided": torch.arange(24.0).reshape(4, 6)[::2, 1::2],
    "expanded": torch.arange(3.0).expand(5, 3),
    "overlapping": torch.arange(9.0).as_strided((3, 3), (2, 2)),
}


def saved(folder: Path, value: Any, name: str = "m.pt", **options: Any) -> Inspection:
    torch.save(value, folder / name, **options)
    return inspect(folder / name)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_tensors_are_bit_identical(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = torch.arange(10.0)
    shared = {"left": whole[:6], "right": whole[4:]}
    found = saved(tmp_path, {"state_dict": TENSORS | shared}, **options)
    assert (found.verdict, found.reasons) == ("loads", ())
    tensors = read_tensors(found)
    for name, value in (TENSORS | shared).items():
        got = tensors[f"state_dict.{name}"]
        assert got.dtype == value.dtype
        assert torch.equal(got, value), name
        assert got.is_contiguous()
    tensors["state_dict.left"][5] = 99.0
    assert tensors["state_dict.right"][1] == 5.0  # they no longer share bytes


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_statistics_of_tensors_that_lie_apart(tmp_path: Path, options: dict[str, Any]) -> None:
    found = saved(tmp_path, TENSORS, **options)
    assert found.weights_path is not None
    stats = {row.name: row for row in tensor_stats(found)}
    for name in ("fp32", "turned", "strided", "expanded", "overlapping"):
        value = TENSORS[name].double()
        assert stats[name].mean == pytest.approx(value.mean().item())
        assert stats[name].std == pytest.approx(value.std(correction=0).item())
        assert (stats[name].min, stats[name].max) == (value.min().item(), value.max().item())


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_training_checkpoints_load_and_tell_their_facts(tmp_path, options):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 7,
        "name": "run",
        "best": np.float64(0.5),
        "args": argparse.Namespace(lr=1e-5),
        "state_dict": {f"module.{k}": v for k, v in layer.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "history": collections.defaultdict(list, loss=[1.0]),
    }
    found = saved(tmp_path, value, **options)
    assert (found.verdict, found.reason_code) == ("loads", "ok")
    assert {"epoch": "7", "name": "run", "args.lr": "1e-05"}.items() <= found.facts.items()
    names = {tensor.name for tensor in found.tensors}
    assert {"state_dict.module.weight", "optimizer.state.0.exp_avg"} <= names
    assert set(found.globals) == {"data", "tensors"}


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_a_whole_pickled_module_gives_its_tensors(tmp_path: Path, options: dict[str, Any]) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = saved(tmp_path, module, **options)
    assert found.verdict == "caution"
    assert "pickled modules" in found.reasons[0]
    assert "torch.nn.modules.conv.Conv2d" in found.globals["code"]
    tensors = read_tensors(found)
    for name, value in module.state_dict().items():
        assert torch.equal(tensors[name], value)


def test_torchscript_gives_tensors_and_its_code_as_text(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    torch.jit.script(module).save(str(tmp_path / "m.pt"))
    found = inspect(tmp_path / "m.pt")
    assert (found.verdict, found.format) == ("caution", "TorchScript archive")
    assert "not run" in found.reasons[0]
    assert any("forward" in text for _, text in found.embedded_code)
    assert torch.equal(read_tensors(found)["0.weight"], module[0].weight)


def rezipped(path: Path, change: Callable[[dict[str, bytes]], None]) -> Inspection:
    """Write an archive again with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return inspect(path)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    torch.save({"a": torch.zeros(4), "b": torch.ones(2)}, tmp_path / "m.pt")
    return tmp_path / "m.pt"


def test_harmless_program_code_is_a_caution(plain: Path) -> None:
    code = b"def forward(self):\n  return torch.add(ops.prim.data(x), ops.aten.relu(y))"
    members = {"m/code/__torch__/x.py": code, "m/constants.pkl": pickle.dumps((), 2)}
    found = rezipped(plain, lambda inside: inside.update(members))
    assert (found.verdict, found.embedded_code[0][0]) == ("caution", "code/__torch__/x.py")


def test_unknown_members_are_listed_as_not_read(plain: Path) -> None:
    found = rezipped(plain, lambda members: members.update({"m/notes.bin": b"\0" * 9}))
    assert "notes.bin" in found.unread
