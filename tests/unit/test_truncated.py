"""A checkpoint that is cut short is called truncated, wherever it is cut and whatever wraps it."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from ml_core.reading import inspect
from tests.unit.file_bytes import npz_bytes, tarred, torch_bytes, zipped

TENSORS = {"a": torch.arange(500.0).reshape(20, 25), "b": torch.ones(7)}


RAW = safetensors_bytes(TENSORS)
WHOLE = {
    "safetensors": lambda: RAW,
    "torch zip": lambda: torch_bytes(TENSORS),
    "legacy stream": lambda: torch_bytes(TENSORS, legacy=True),
    "npz": lambda: npz_bytes(TENSORS),
    "zip": lambda: zipped({"model.safetensors": RAW}, zipfile.ZIP_DEFLATED),
    "tar": lambda: tarred({"model.safetensors": RAW})[: 512 + -(-len(RAW) // 512) * 512],
    "gzip": lambda: gzip.compress(RAW),
}


@pytest.mark.parametrize("share", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_short_is_truncated(tmp_path: Path, kind: str, share: float) -> None:
    whole = WHOLE[kind]()
    path = tmp_path / "model.bin"
    path.write_bytes(whole[: int(len(whole) * share)])
    found = inspect(path)
    assert (found.verdict, found.reason_code) == ("damaged", "truncated"), found.reasons
    assert "get the file again" in found.reasons[0]


@pytest.mark.parametrize("kind", ["safetensors", "torch zip", "legacy stream", "npz", "zip"])
def test_bytes_that_follow_are_damage_but_nothing_is_missing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(WHOLE[kind]() + b"more")
    found = inspect(path)
    assert (found.verdict, found.reason_code) == ("damaged", "damaged"), found.reasons
