"""A tensor's values are all counted, whatever its type, its layout and its damage."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import ml_core.checkpoints.tensor_stats as histogram
import ml_core.checkpoints.tensor_stats as stats
from ml_core.checkpoints.tensor_stats import Histogram, tensor_histogram
from ml_core.reading import InputError, Inspection, inspect
from tests.unit.draining import until_cancelled

NAN, INF = math.nan, math.inf


def saved(folder: Path, value: torch.Tensor) -> Inspection:
    torch.save({"x": value}, folder / "m.pt")
    return inspect(folder / "m.pt")


def last(found: Inspection, bins: int = 64) -> Histogram:
    assert found.weights_path is not None
    return list(tensor_histogram(found, found.tensors[0], bins=bins))[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_it_equals_numpys(tmp_path: Path, dtype: torch.dtype) -> None:
    value = (torch.randn(50, 41, generator=torch.Generator().manual_seed(0)) * 30).to(dtype)
    got = last(saved(tmp_path, value), 16)
    numbers = value.double().numpy().ravel()
    wanted, edges = np.histogram(numbers, 16)
    assert (got.low, got.high) == (edges[0], edges[-1])
    assert sum(got.counts) == got.seen == got.total == numbers.size
    # A value on an edge may fall to either side by rounding.
    assert np.abs(np.cumsum(got.counts) - np.cumsum(wanted)).max() <= 3


def test_pieces_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    found = saved(tmp_path, value)
    whole = last(found)
    monkeypatch.setattr(stats, "_CHUNK", 128)
    monkeypatch.setattr(histogram, "_TOLD", 128)
    assert found.weights_path is not None
    parts = list(tensor_histogram(found, found.tensors[0]))
    assert [part.seen for part in parts] == [*range(128, 1000, 128), 1000]
    assert parts[-1] == whole


def test_what_is_no_number_is_counted_apart(tmp_path: Path) -> None:
    got = last(saved(tmp_path, torch.tensor([1.0, NAN, 2.0, INF, -INF, 2.0])), 2)
    assert (got.nan, got.inf, got.counts) == (1, 2, (1, 2))
    nothing = last(saved(tmp_path, torch.tensor([NAN, INF])))
    assert (nothing.nan, nothing.inf, nothing.counts) == (1, 1, (0,))
    assert math.isnan(nothing.low)


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (torch.full((4,), 3.0), (4,)),
        (torch.tensor(7), (1,)),
        (torch.zeros(0, 3), (0,)),
        (torch.tensor([True, False, True]), (1, 2)),
        (torch.arange(4.0).reshape(2, 2).t(), (2, 2)),
        (torch.tensor([1.0, 5.0]).expand(3, 2), (3, 3)),
        (torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64), (1, 1)),
        (torch.tensor([0.0, 5e-324], dtype=torch.float64), (2,)),
    ],
)
def test_odd_tensors(tmp_path: Path, value: torch.Tensor, counts: tuple[int, ...]) -> None:
    got = last(saved(tmp_path, value), 2)
    assert got.counts == counts
    assert got.seen == value.numel()


def test_cancelling_and_a_file_cut_short(tmp_path: Path) -> None:
    found = saved(tmp_path, torch.zeros(100))
    assert found.weights_path is not None
    info = found.tensors[0]
    assert until_cancelled(tensor_histogram(found, info, cancelled=lambda: True)) == []
    os.truncate(found.weights_path, info.offset + 8)
    with pytest.raises(InputError, match="changed while it was read"):
        list(tensor_histogram(found, info))
