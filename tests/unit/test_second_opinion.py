"""picklescan's words stand beside ours, whatever the file."""

from __future__ import annotations

import gc
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch

from ml_core.reading import ask_picklescan
from ml_core.reading import second_opinion as opinion
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


@pytest.mark.skipif(os.name != "posix", reason="this system has no limits")
def test_its_process_ends_what_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "time.pkl").write_bytes(b"\x80\x02N" + b"0N" * 20_000_000 + b".")
    assert "gave up" in ask_picklescan(tmp_path / "time.pkl")
    text = b"\x80\x02X" + (400 << 20).to_bytes(4, "little")
    with open(tmp_path / "memory.pkl", "wb") as file:
        file.write(text)
        file.seek(len(text) + (400 << 20))
        file.write(b".")
    assert "gave up: it wanted more" in ask_picklescan(tmp_path / "memory.pkl")
