"""A checkpoint that is cut short is called truncated, wherever it is cut and whatever wraps it."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from ml_core.reading import inspect

TENSORS = {"a": torch.arange(500.0).reshape(20, 25), "b": torch.ones(7)}


def _torch(legacy: bool) -> bytes:
    file = io.BytesIO()
    torch.save(TENSORS, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", safetensors_bytes(TENSORS))
    return file.getvalue()


def _tar() -> bytes:
    file, raw = io.BytesIO(), safetensors_bytes(TENSORS)
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("model.safetensors")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return file.getvalue()[: 512 + -(-len(raw) // 512) * 512]


WHOLE = {
    "safetensors": lambda: safetensors_bytes(TENSORS),
    "torch zip": lambda: _torch(False),
    "legacy stream": lambda: _torch(True),
    "npz": _npz,
    "zip": _zip,
    "tar": _tar,
    "gzip": lambda: gzip.compress(safetensors_bytes(TENSORS)),
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
