"""Watching memory must not slow what is timed meanwhile."""

from __future__ import annotations

import psutil
import pytest
import torch

from ml_core.jobs.clean import estimate as estimate
from ml_core.jobs.clean.estimate import PeakMemory


def test_children_are_looked_for_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads every process of the machine, which took half a core from the steps."""
    looked: list[psutil.Process] = []
    sampled: list[int] = []
    resident = estimate.resident

    def children(process: psutil.Process) -> list[psutil.Process]:
        looked.append(process)
        return []

    def counted(process: psutil.Process, found: list[psutil.Process]) -> int:
        sampled.append(1)
        return resident(process, found)

    monkeypatch.setattr(psutil.Process, "children", children)
    monkeypatch.setattr(estimate, "resident", counted)
    monkeypatch.setattr(estimate, "_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "_LOOK_SECONDS", 1e9)
    with PeakMemory(torch.device("cpu")) as peak:
        while len(sampled) < 20:
            pass
    assert len(looked) == 1
    assert peak.bytes > 0
