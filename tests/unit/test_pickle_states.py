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
from tests.hostile.ops import Raw, call, named, pickled, plain

NAMESPACE = named("argparse", "Namespace") + b")\x81"
MODULE = named("torch.nn.modules.linear", "Linear") + b")\x81"
ORDERED = named("collections", "OrderedDict") + b")R"


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


@pytest.mark.parametrize("name", ["__class__", "__reduce__", "__setstate__", "__getattr__"])
@pytest.mark.parametrize("onto", [NAMESPACE, MODULE, ORDERED], ids=["options", "module", "table"])
def test_special_attributes_are_dangerous(onto: bytes, name: str) -> None:
    table = {"a": 1, name: Raw(named("torch.nn.modules.linear", "Identity"))}
    for state in (table, (None, table), (table, None)):
        found = read(onto + plain(state) + b"b")
        assert [name in line for line in found.misuse] == [True], found


@pytest.mark.parametrize(
    ("onto", "state"),
    [
        (b"}", {"a": 1}),
        (b"]", {"a": 1}),
        (b"K\x01", {"a": 1}),
        (NAMESPACE, [1]),
        (NAMESPACE, "text"),
        (NAMESPACE, ({"a": 1}, [1])),
        (NAMESPACE, {1: 2}),
        (MODULE, (1, 2)),
        (call("numpy", "dtype", "f8", False, True), {"a": 1}),
        (call("numpy", "dtype", "f8", False, True), (3, "<", None)),
    ],
)
def test_other_states_are_refused(onto: bytes, state: Any) -> None:
    assert read(onto + plain(state) + b"b").problem


def test_objects_that_take_no_state_are_told() -> None:
    found = read(call("pathlib", "PosixPath", "x") + plain({"a": 1}) + b"b")
    assert found.misuse == ["an object of pathlib PosixPath has its state set"]


def test_a_state_is_given_once_and_stays() -> None:
    twice = read(NAMESPACE + plain({"a": 1}) + b"b" + plain({"b": 1}) + b"b")
    assert "twice" in twice.problem
    later = NAMESPACE + b"q\x00}q\x01bh\x01" + plain("__class__") + b"Ns"
    assert "after it was given" in read(later).problem


def array(kind: bytes, held: Any) -> bytes:
    made = named("numpy.core.multiarray", "_reconstruct") + plain(
        (Raw(named("numpy", "ndarray")), (0,), b"b")
    )
    return made + b"R" + plain((1, (1,), Raw(kind), False, held)) + b"b"


def test_bytes_are_not_taken_for_objects() -> None:
    objects = call("numpy", "dtype", "O8", False, True)
    number = call("numpy", "dtype", "f8", False, True)
    field = plain({"a": (Raw(objects), 0)})
    inside = (
        call("numpy", "dtype", "V8", False, True)
        + plain((3, "|", None, ("a",), Raw(field), 8, 1, 0))
        + b"b"
    )
    base = (
        call("numpy", "dtype", "V16", False, True)
        + plain((3, "|", (Raw(objects), (2,)), None, None, 16, 1, 0))
        + b"b"
    )
    assert read(array(number, bytes(8))).problem == ""
    assert read(array(objects, [None])).problem == ""
    for kind in (objects, inside, base):
        assert "objects" in read(array(kind, bytes(8))).problem
        scalar = call("numpy.core.multiarray", "scalar", Raw(kind), bytes(8))
        assert "object" in read(scalar).problem
    assert "objects" in read(array(number, [None])).problem
    assert "no valid type" in read(array(b"N", bytes(8))).problem
    assert "checkpoints do not need" in read(call("numpy", "ndarray", (1,))).problem


def test_a_type_inside_itself_ends() -> None:
    itself = (
        call("numpy", "dtype", "V8", False, True)
        + b"q\x00"
        + plain((3, "|", (Raw(b"h\x00"), (2,)), None, None, 8, 1, 0))
        + b"b"
    )
    assert read(array(itself, bytes(8))).misuse


def test_numpy_types_stay_what_they_were_when_they_were_used() -> None:
    kind = call("numpy", "dtype", "V8", False, True) + b"q\x00"
    state = plain((3, "|", None, None, None, 8, 1, 0)) + b"b"
    assert read(array(kind + state, bytes(8))).problem == ""
    late = b"](" + array(kind, bytes(8)) + b"h\x00" + state + b"e"
    assert read(late).misuse == ["a type of numpy is changed after it may have been used"]


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
