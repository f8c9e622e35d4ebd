"""Arrays of an .npz come through in place; pickles inside are told and not run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import inspect

ARRAYS = {
    "f4": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "f2": np.arange(5, dtype=np.float16),
    "i8": np.array(7),
    "flags": np.array([True, False]),
    "columns": np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize(("save", "packed"), [(np.savez, 0), (np.savez_compressed, len(ARRAYS))])
def test_arrays_come_through(tmp_path: Path, save: Any, packed: int) -> None:
    save(tmp_path / "m.npz", **ARRAYS)
    found = inspect(tmp_path / "m.npz")
    assert (found.verdict, found.format) == ("loads", "NumPy archive (.npz)")
    assert (found.container.members, found.container.compressed) == (len(ARRAYS), packed)
    tensors = read_tensors(found)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name].numpy(), value)


def header(text: str, data: bytes = b"") -> bytes:
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00\x10\x00" + bytes(16),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(7)),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(9)),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", bytes(8)),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)),
        header("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
        header("{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}", bytes(8)),
        header("{'descr': '<f4', 'shape': (2,)}", bytes(8)),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", bytes(8)),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 900 + "}"),
        header("__import__('os')"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} " * 3, bytes(8)),
    ],
)
def test_damaged_arrays_are_refused(tmp_path: Path, raw: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", raw)
    found = inspect(tmp_path / "m.npz")
    assert found.verdict in ("damaged", "unsupported")
    assert found.reasons[0].endswith(".")
