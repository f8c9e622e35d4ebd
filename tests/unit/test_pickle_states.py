"""A state is taken by few kinds of objects, and holds nothing that changes how they act."""

from __future__ import annotations

import argparse
import collections
import pickle
import types
from typing import Any

import numpy as np
import pytest
from torch import nn

from ml_core.reading.pickles.machine import Reading, read_pickle
from tests.hostile.ops import call, pickled, plain


def read(ops: bytes) -> Reading:
    return read_pickle(pickled(ops, 2))


def ordered() -> Any:
    made = collections.OrderedDict(a=1)
    made._metadata = {"version": 2}  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    "value",
    [
        argparse.Namespace(lr=1.0),
        types.SimpleNamespace(lr=1.0),
        ordered(),
        np.dtype("f4"),
        np.dtype([("x", "f4"), ("y", "i8", (2,))]),
        np.arange(3.0),
        np.zeros(2, dtype=[("x", "f4")]),
        np.array([None, "x"], dtype=object),
        np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
        np.float32(2),
        np.datetime64("2026-01-02"),
        nn.GELU(),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("protocol", range(6))
def test_states_that_programs_write_are_taken(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol))
    assert (found.problem, found.misuse, found.unknown) == ("", [], [])


@pytest.mark.parametrize(
    "changed",
    [
        {1: "x"},
        {2: 1},
        {3: ("a",)},
        {4: 1},
        {5: 9},
        {5: -1},
        {6: 0},
        {6: 1 << 20},
        {7: 1},
        {7: "a"},
    ],
)
def test_states_of_numpy_types_must_fit(changed: dict[int, Any]) -> None:
    state = [3, "|", None, None, None, 8, 1, 0]
    kind = call("numpy", "dtype", "V8", False, True)
    assert read(kind + plain(tuple(state)) + b"b").problem == ""
    for place, value in changed.items():
        state[place] = value
    assert "numpy" in read(kind + plain(tuple(state)) + b"b").problem


@pytest.mark.parametrize("text", ["f4,O", "object", "i3", "V8\n", "", "float32", "(2,)f4", "f4 "])
def test_types_of_numpy_are_spelled_in_one_way(text: str) -> None:
    assert "none that holds numbers" in read(call("numpy", "dtype", text, False, True)).problem
