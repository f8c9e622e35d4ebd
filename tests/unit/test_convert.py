"""Converted tensors are bit-identical, the result opens, and nothing is left half done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.convert import convert_to_safetensors
from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, inspect
from ml_core.reading.errors import CancelledError

BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "fp32": torch.randn(3, 5, generator=torch.Generator().manual_seed(1)),
    "bf16": torch.arange(7).bfloat16(),
    "fp16": torch.tensor([1.0, float("nan"), -float("inf")]).half(),
    "int64": torch.tensor(7),
    "bool": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "turned": BASE.t(),
    "sliced": BASE[1:3, ::2],
    "repeated": torch.ones(1).expand(4, 3),
}


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.contiguous(), other.contiguous()
    raw = one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8)
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(*raw)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_are_bit_identical(tmp_path: Path, legacy: bool) -> None:
    torch.save(TENSORS, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    told: list[tuple[int, int]] = []
    target = convert_to_safetensors(
        inspect(tmp_path / "m.pt"),
        tmp_path / "m.safetensors",
        progress=lambda done, total: told.append((done, total)),
    )
    assert target is not None
    again = inspect(target)
    assert (again.verdict, again.format) == ("loads", "safetensors")
    loaded = load_file(target)
    assert set(loaded) == set(TENSORS)
    assert all(same_bits(loaded[name], TENSORS[name]) for name in TENSORS)
    source = json.loads(again.metadata["provenance"])["source"]
    assert source["sha256"] == inspect(tmp_path / "m.pt").sha256
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_a_clip_keeps_what_is_known_of_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(tiny_checkpoint)
    state = {f"module.{name}": value for name, value in read_tensors(opened.inspection).items()}
    torch.save({"state_dict": state, "epoch": 2}, tmp_path / "m.pt")
    before = open_checkpoint(tmp_path / "m.pt")
    target = convert_to_safetensors(before.inspection, tmp_path / "m.safetensors")
    assert target is not None
    after = open_checkpoint(target)
    assert after.architecture.source == "metadata"
    assert after.architecture.config == before.architecture.config
    assert set(before.architecture.assumptions) <= set(after.architecture.assumptions)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    size = before.architecture.preprocess.size
    pixels = torch.nn.functional.interpolate(pixels, size)
    one, other = (made.build().module.encode_image(pixels) for made in (before, after))
    assert torch.equal(one, other)


def test_a_safetensors_file_keeps_its_texts(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = inspect(tiny_checkpoint)
    target = convert_to_safetensors(found, tmp_path / "copy.safetensors")
    assert target is not None
    assert inspect(target).metadata.items() >= found.metadata.items()


def _replaced(path: Path) -> None:
    torch.save({"a": torch.ones(3)}, path)


def _cut(path: Path) -> None:
    os.truncate(path, 40)


@pytest.mark.parametrize("change", [_replaced, _cut])
def test_a_source_that_changed_is_not_copied(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    path, target = tmp_path / "m.pt", tmp_path / "m.safetensors"
    torch.save({"a": torch.zeros(3)}, path)
    found = inspect(path)
    target.write_bytes(b"old")
    change(path)
    with pytest.raises(InputError, match="changed since"):
        convert_to_safetensors(found, target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["m.pt", "m.safetensors"]


def test_cancelling_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.pt")
    target = tmp_path / "m.safetensors"
    with pytest.raises(CancelledError):
        convert_to_safetensors(inspect(tmp_path / "m.pt"), target, cancelled=lambda: True)
    assert os.listdir(tmp_path) == ["m.pt"]
