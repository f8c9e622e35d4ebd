"""Numbers about tensors whose values are as odd as a file's author likes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import ml_core.checkpoints.tensor_stats as stats_module
from ml_core.checkpoints.tensor_stats import TensorStats, tensor_stats
from ml_core.reading import inspect
from ml_core.reading.safetensors_header import DTYPE_BYTES


def _stats(path: Path, dtype: str, raw: bytes, shape: tuple[int, ...]) -> TensorStats:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(raw)]}
    header = json.dumps({"x": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw)
    (found,) = tensor_stats(inspect(path))
    return found


def test_numbers_near_the_end_of_the_range_are_no_error(tmp_path: Path) -> None:
    values = np.array([1.7e308, 1.7e308, -1.0], "<f8")
    found = _stats(tmp_path / "x", "F64", values.tobytes(), (3,))
    assert (found.min, found.max, found.nan, found.inf) == (-1.0, 1.7e308, 0, 0)
    assert not math.isfinite(found.std)


def test_odd_values_in_one_piece_are_counted_and_left_out_of_the_others(tmp_path: Path) -> None:
    values = np.ones((1 << 20) + 4, "<f4")
    values[[0, 7]] = math.nan, -math.inf
    values[-3:] = math.inf, math.nan, 0
    found = _stats(tmp_path / "x", "F32", values.tobytes(), values.shape)
    assert (found.nan, found.inf, found.zeros) == (2, 2, 1)
    assert (found.min, found.max) == (0.0, 1.0)
    kept = values[np.isfinite(values)].astype(np.float64)
    assert abs(found.mean - kept.mean()) < 1e-12
    assert abs(found.std - kept.std()) < 1e-12


def test_negative_zero_is_zero_and_tiny_is_not(tmp_path: Path) -> None:
    values = np.array([0.0, -0.0, 1e-45, -1e-45], "<f4")
    assert _stats(tmp_path / "x", "F32", values.tobytes(), (4,)).zeros == 2


def test_every_code_of_an_eight_bit_float_is_looked_up(tmp_path: Path) -> None:
    found = _stats(tmp_path / "x", "F8_E4M3", bytes(range(256)), (256,))
    assert (found.min, found.max, found.nan, found.zeros) == (-448.0, 448.0, 2, 2)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "I16", "U16", "I8", "U8", "F8_E5M2", "BOOL"])
def test_counting_codes_gives_what_going_through_the_values_does(tmp_path, monkeypatch, dtype):
    raw = np.arange(1 << 16, dtype="<u2").tobytes() * 3
    size = len(raw) // DTYPE_BYTES[dtype]
    counted = _stats(tmp_path / "x", dtype, raw, (size,))
    monkeypatch.setattr(stats_module, "_COUNTED", {})
    walked = _stats(tmp_path / "x", dtype, raw, (size,))
    assert (counted.min, counted.max) == (walked.min, walked.max)
    assert (counted.nan, counted.inf, counted.zeros) == (walked.nan, walked.inf, walked.zeros)
    assert counted.mean == pytest.approx(walked.mean, rel=1e-9, abs=1e-9)
    assert counted.std == pytest.approx(walked.std, rel=1e-9)
