"""What was inspected is what is used: a stamp tells, and where it cannot, the hash does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, Inspection, hashing, inspect, inspection

VALUE = torch.arange(100.0)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that was just written count as an old one."""
    monkeypatch.setattr(hashing, "_SETTLED", -(10**18))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Descriptors that are hashed once more."""
    calls: list[int] = []
    hash_again = inspection._hash

    def count(descriptor: int) -> str:
        calls.append(descriptor)
        return hash_again(descriptor)

    monkeypatch.setattr(inspection, "_hash", count)
    return calls


def saved(folder: Path) -> Inspection:
    save_file({"a": VALUE}, folder / "m.safetensors")
    return inspect(folder / "m.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of change")
def test_an_old_file_is_hashed_once(tmp_path: Path, settled: None, hashed: list[int]) -> None:
    assert torch.equal(read_tensors(saved(tmp_path))["a"], VALUE)
    assert not hashed


def test_a_young_file_is_hashed_again(tmp_path: Path, hashed: list[int]) -> None:
    assert torch.equal(read_tensors(saved(tmp_path))["a"], VALUE)
    assert len(hashed) == 1


def test_a_file_of_another_date_is_hashed_again(tmp_path, settled, hashed):
    found = saved(tmp_path)
    os.utime(found.path, (1, 1))
    assert torch.equal(read_tensors(found)["a"], VALUE)
    copy = tmp_path / "copy"
    shutil.copy(found.path, copy)
    os.replace(copy, found.path)
    assert torch.equal(read_tensors(found)["a"], VALUE)
    assert len(hashed) == 2


def test_another_content_of_the_same_size_and_date_is_not_used(tmp_path, settled):
    found = saved(tmp_path)
    before = found.path.stat()
    raw = bytearray(found.path.read_bytes())
    raw[-1] ^= 1
    with open(found.path, "r+b") as file:
        file.write(raw)
    os.utime(found.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="changed since"):
        read_tensors(found)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    found = saved(tmp_path)
    check = hashing._Comparison.add

    def add(self: hashing._Comparison, piece: memoryview) -> None:
        with open(found.path, "ab") as file:
            file.write(b"more")
        check(self, piece)

    monkeypatch.setattr(hashing._Comparison, "add", add)
    assert "changed while it was read" in inspect(found.path).reasons[0]
