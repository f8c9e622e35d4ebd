"""picklescan's words stand beside ours, whatever the file."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from ml_core.reading.second_opinion import second_opinion


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def test_it_names_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Attack()))
    assert "system (dangerous)" in second_opinion(tmp_path / "m.pkl")
    torch.save({"a": torch.zeros(2)}, tmp_path / "m.pt")
    assert "no name that it knows as dangerous" in second_opinion(tmp_path / "m.pt")


@pytest.mark.parametrize("raw", [b"", b"\x80\x02", b"PK\x03\x04" + bytes(50), b"text"])
def test_bad_files_are_a_sentence(tmp_path: Path, raw: bytes) -> None:
    for name in ("m.pt", "m.pkl", "m.npz", "m.safetensors", "m"):
        (tmp_path / name).write_bytes(raw)
        said = second_opinion(tmp_path / name)
        assert said.startswith("picklescan ")
        assert said.endswith(".")
