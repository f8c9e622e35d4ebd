"""What was inspected is what is used: a stamp tells, and where it cannot, the hash does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import InputError, Inspection, hashing, inspect

VALUE = torch.arange(100.0)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that was just written count as an old one."""
    monkeypatch.setattr(hashing, "_SETTLED", -(10**18))


def saved(folder: Path) -> Inspection:
    save_file({"a": VALUE}, folder / "m.safetensors")
    return inspect(folder / "m.safetensors")


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
