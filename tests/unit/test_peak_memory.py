"""Watching memory must not slow what is timed meanwhile."""

from __future__ import annotations

import psutil
import pytest
import torch

from ml_core.jobs import peak_memory
from ml_core.jobs.peak_memory import PeakMemory


def test_children_are_looked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads every process of the machine, which took half a core from the steps."""
    looked: list[psutil.Process] = []
    sampled: list[int] = []
    resident = peak_memory.resident

    def children(process: psutil.Process) -> list[psutil.Process]:
        looked.append(process)
        return []

    def counted(process: psutil.Process, found: list[psutil.Process]) -> int:
        sampled.append(1)
        return resident(process, found)

    monkeypatch.setattr(psutil.Process, "children", children)
    monkeypatch.setattr(peak_memory, "resident", counted)
    monkeypatch.setattr(peak_memory, "_SECONDS", 0.0)
    monkeypatch.setattr(peak_memory, "_LOOK_SECONDS", 1e9)
    with PeakMemory(torch.device("cpu")) as peak:
        while len(sampled) < 20:
            pass
    assert len(looked) == 1
    assert peak.bytes > 0
