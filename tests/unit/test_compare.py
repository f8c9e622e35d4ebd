"""Where two checkpoints differ is told tensor by tensor and layer by layer."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

import ml_core.checkpoints.tensor_stats as stats
from ml_core.checkpoints.compare import compare_checkpoints
from ml_core.reading import InputError, Inspection, inspect
from tests.unit.draining import until_cancelled


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Inspection:
    torch.save(tensors, path)
    return inspect(path)


def compared(folder, one, two):
    found = saved(folder / "a.pt", one), saved(folder / "b.pt", two)
    return {change.name: change for change in compare_checkpoints(*found)}


def test_every_state_is_told(tmp_path: Path) -> None:
    base = torch.arange(1.0, 7.0).reshape(2, 3)
    one = {"same": base, "new": base, "moved": base, "shape": base, "count": torch.tensor(1)}
    two = {"same": base, "old": base, "moved": base * 1.5, "shape": base.t()}
    got = compared(tmp_path, one, two | {"count": torch.tensor(2)})
    assert {name: change.state for name, change in got.items()} == {
        "same": "equal", "new": "only first", "moved": "changed", "shape": "other shape",
        "count": "changed", "old": "only second",
    }  # fmt: skip
    assert got["moved"].relative == pytest.approx(0.5)
    assert got["same"].relative == 0
    assert got["count"].relative == 0  # a counter is no weight
    assert math.isnan(got["new"].relative)


def test_layout_and_type_do_not_matter(tmp_path: Path) -> None:
    base = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).half()
    one = {"turned": base, "wide": base, "whole": torch.ones(2, 3)}
    two = {"turned": base.t().contiguous().t(), "wide": base.double()}
    got = compared(tmp_path, one, two | {"whole": torch.ones(1).expand(2, 3)})
    assert {change.state for change in got.values()} == {"equal"}


def test_cancelling_a_short_file_and_one_too_far_apart(tmp_path, monkeypatch):
    one = saved(tmp_path / "a.pt", {"w": torch.ones(4, 4), "v": torch.ones(4, 4)})
    two = saved(tmp_path / "b.pt", {"w": torch.ones(4, 4).t(), "v": torch.rand(4, 4).t()})
    assert until_cancelled(compare_checkpoints(one, two, cancelled=lambda: True)) == []
    monkeypatch.setattr(stats, "_MAX_APART", 60)
    with pytest.raises(InputError, match="convert the file to safetensors first"):
        list(compare_checkpoints(one, two))
    os.truncate(tmp_path / "a.pt", 200)
    with pytest.raises(InputError, match="changed while it was read"):
        list(compare_checkpoints(one, one))
