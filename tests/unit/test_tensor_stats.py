"""Statistics and histograms count every value of a tensor, as odd as a file's author likes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import ml_core.checkpoints.tensor_stats as stats
from ml_core.checkpoints.tensor_stats import (
    _FLOAT8,
    Histogram,
    TensorStats,
    tensor_histogram,
    tensor_stats,
)
from ml_core.reading import InputError, Inspection, inspect
from ml_core.reading.safetensors_header import DTYPE_BYTES
from tests.unit.draining import until_cancelled


def _stats(path: Path, dtype: str, raw: bytes, shape: tuple[int, ...]) -> TensorStats:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(raw)]}
    header = json.dumps({"x": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw)
    (found,) = tensor_stats(inspect(path))
    return found


@pytest.mark.parametrize("dtype", ["BF16", "I8", "F8_E5M2", "BOOL"])
def test_counting_codes_gives_what_going_through_the_values_does(tmp_path, monkeypatch, dtype):
    raw = np.arange(1 << 16, dtype="<u2").tobytes() * 3
    size = len(raw) // DTYPE_BYTES[dtype]
    counted = _stats(tmp_path / "x", dtype, raw, (size,))
    monkeypatch.setattr(stats, "_COUNTED", {})
    walked = _stats(tmp_path / "x", dtype, raw, (size,))
    assert (counted.min, counted.max) == (walked.min, walked.max)
    assert (counted.nan, counted.inf, counted.zeros) == (walked.nan, walked.inf, walked.zeros)
    assert counted.mean == pytest.approx(walked.mean, rel=1e-9, abs=1e-9)
    assert counted.std == pytest.approx(walked.std, rel=1e-9)


def test_stats_by_hand(tmp_path: Path) -> None:
    values = torch.tensor([0.0, 1.0, 2.0, 5.0, math.nan, -math.inf])
    tensors = {
        "f32": values, "bf16": values.to(torch.bfloat16), "f16": values.to(torch.float16),
        "ints": torch.tensor([[3, -1]]), "flags": torch.tensor([True, False]),
        "nothing": torch.zeros(0), "lost": torch.full((2,), math.nan),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "s.pt")
    opened = inspect(tmp_path / "s.pt")
    infos = {tensor.name: tensor for tensor in opened.tensors}
    names = sorted(tensors)
    rows = tensor_stats(opened, [infos[name] for name in names])
    found = {row.name: row for row in rows}
    assert list(found) == names
    for name in ("f32", "bf16", "f16"):
        s = found[name]
        assert (s.min, s.max, s.mean, s.nan, s.inf, s.zeros) == (0, 5, 2, 1, 1, 1)
        assert s.std == pytest.approx(math.sqrt(14 / 4))
    assert (found["ints"].min, found["ints"].max, found["ints"].std) == (-1, 3, 2)
    assert (found["flags"].mean, found["flags"].zeros) == (0.5, 1)
    assert math.isnan(found["nothing"].mean)
    assert (math.isnan(found["lost"].min), found["lost"].nan) == (True, 2)


def test_eight_bit_floats_are_torchs() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    for name, dtype in (("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)):
        np.testing.assert_array_equal(_FLOAT8[name], codes.view(dtype).to(torch.float64).numpy())


# Histograms

NAN, INF = math.nan, math.inf


def saved(folder: Path, value: torch.Tensor) -> Inspection:
    torch.save({"x": value}, folder / "m.pt")
    return inspect(folder / "m.pt")


def last(found: Inspection, bins: int = 64) -> Histogram:
    return list(tensor_histogram(found, found.tensors[0], bins=bins))[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_equals_numpys(tmp_path: Path, dtype: torch.dtype) -> None:
    value = (torch.randn(50, 41, generator=torch.Generator().manual_seed(0)) * 30).to(dtype)
    got = last(saved(tmp_path, value), 16)
    numbers = value.double().numpy().ravel()
    wanted, edges = np.histogram(numbers, 16)
    assert (got.low, got.high) == (edges[0], edges[-1])
    assert sum(got.counts) == got.seen == got.total == numbers.size
    # A value on an edge may fall to either side by rounding.
    assert np.abs(np.cumsum(got.counts) - np.cumsum(wanted)).max() <= 3


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
        (torch.zeros(0, 3), (0,)),
        (torch.tensor([True, False, True]), (1, 2)),
        (torch.arange(4.0).reshape(2, 2).t(), (2, 2)),
        (torch.tensor([1.0, 5.0]).expand(3, 2), (3, 3)),
        (torch.tensor([0.0, 5e-324], dtype=torch.float64), (2,)),
    ],
)
def test_odd_tensors(tmp_path: Path, value: torch.Tensor, counts: tuple[int, ...]) -> None:
    got = last(saved(tmp_path, value), 2)
    assert got.counts == counts
    assert got.seen == value.numel()


def test_cancelling_and_a_file_cut_short(tmp_path: Path) -> None:
    found = saved(tmp_path, torch.zeros(100))
    info = found.tensors[0]
    assert until_cancelled(tensor_histogram(found, info, cancelled=lambda: True)) == []
    assert until_cancelled(tensor_stats(found, None, lambda: True)) == []
    os.truncate(tmp_path / "m.pt", info.offset + 8)
    for read in (lambda: tensor_histogram(found, info), lambda: tensor_stats(found)):
        with pytest.raises(InputError, match="changed while it was read"):
            list(read())
