"""Pickles are followed without running them; what they name is told, whatever they try."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import types
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from ml_core.reading.errors import InputError
from ml_core.reading.pickles.machine import Budget, Reading, read_pickle
from ml_core.reading.pickles.names import MODEL_CLASSES
from ml_core.reading.pickles.reading import Table
from ml_core.reading.pickles.walk import contents
from ml_core.reading.torch_file import check_pickles
from tests.hostile.benign import TINY
from tests.hostile.ops import call, pickled, plain


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
        ((), ""),
        (("a\x1b[31m\u202egnp\n\u05d0",), "'a\\x1b[31m\\u202egnp\\n\\u05d0'"),
        ((1 << 80, -2, True, None, 0.5), "a number of 81 bits, -2, True, None, 0.5"),
        ((["sh", ("-c",)], {"cwd": "/"}), "['sh', ('-c',)], {'cwd': '/'}"),
        (([[[["deep"]]]], list(range(20))), "[[...]], [0, 1, 2, 3, 4, 5, 6, 7, ...]"),
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


NAMED = b"cos\nmkdir\n(U\x01xtR"


@pytest.mark.parametrize(
    "raw",
    [
        b"N0" * 100 + NAMED + b".",  # behind the limit
        b"N0" * 5000 + NAMED + b".",  # far behind the limit
        b"N0" * 5000 + b"\x8c\x02os\x94\x8c\x05mkdir\x94\x93.",  # from the stack, far behind
        NAMED + b"0" + b"N0" * 5000 + b".",  # before the limit
        b"\x8c\x02os\x94\x8c\x05mkdir\x94" + b"N0" * 100 + b"h\x00h\x01\x93.",  # by the memo
        b"(N0N2" + b"\x8c\x02os\x8c\x05mkdir\x93.",  # the opcode is refused
        b"Nr\xff\xff\xff\x7f" + NAMED + b".",  # the memo is refused
    ],
    ids=range(7),
)
def test_a_refused_pickle_is_called_dangerous_for_what_it_names(raw: bytes) -> None:
    budget = Budget(steps=100, beyond=300)
    found = read_pickle(b"\x80\x04" + raw, budget=budget)
    assert found.problem
    assert found.unknown == ["os mkdir"]


def test_programs_of_a_torchscript_archive_are_code_there_alone() -> None:
    for module, known in (
        ("__torch__.multimodal.___torch_mangle_9", True), ("__torch__.a b", False),
        ("__torch__x", False), ("torch", False),
    ):  # fmt: skip
        raw = b"c" + module.encode() + b"\nModel\n)\x81."
        assert bool(read_pickle(raw, script=True).unknown) is not known
        assert read_pickle(raw).unknown


# States


def follow(ops: bytes) -> Reading:
    return read_pickle(pickled(ops, 2))


def ordered() -> Any:
    made = collections.OrderedDict(a=1)
    made._metadata = {"version": 2}  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    "value",
    [
        types.SimpleNamespace(lr=1.0),
        ordered(),
        np.dtype("f4"),
        np.dtype([("x", "f4"), ("y", "i8", (2,))]),
        np.arange(3.0),
        np.zeros(2, dtype=[("x", "f4")]),
        np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
        np.float32(2),
        np.datetime64("2026-01-02"),
        nn.GELU(),
        (collections.defaultdict(list, y=2), Path("/x"), datetime.datetime(2026, 1, 2)),
        (frozenset({1}), {2}, -(1 << 70)),
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
        {1: "x"}, {2: 1}, {3: ("a",)}, {4: 1}, {5: 9}, {5: -1}, {6: 0}, {6: 1 << 20}, {7: 1},
        {7: "a"},
    ],
)  # fmt: skip
def test_states_of_numpy_types_must_fit(changed: dict[int, Any]) -> None:
    state = [3, "|", None, None, None, 8, 1, 0]
    kind = call("numpy", "dtype", "V8", False, True)
    assert follow(kind + plain(tuple(state)) + b"b").problem == ""
    for place, value in changed.items():
        state[place] = value
    assert "numpy" in follow(kind + plain(tuple(state)) + b"b").problem


@pytest.mark.parametrize("text", ["f4,O", "object", "i3", "V8\n", "", "float32", "(2,)f4", "f4 "])
def test_types_of_numpy_are_spelled_in_one_way(text: str) -> None:
    assert "none that holds numbers" in follow(call("numpy", "dtype", text, False, True)).problem


def test_one_long_key_before_very_many_others_is_refused() -> None:
    inside = Table([(str(number), 0) for number in range(100_000)])
    assert contents(Table([("history", inside)])).facts[0] == ("history.0", "0")
    with pytest.raises(ValueError, match="names in it are longer"):
        contents(Table([("x" * 1000, Table([("y", inside)]))]))


def custom_text() -> nn.Module:
    return open_clip.model.CustomTextCLIP(**TINY)


def transformers_clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    small["intermediate_size"] = 8
    return CLIPModel(CLIPConfig(text_config=small, vision_config=small))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "custom text": custom_text,
    "transformers": transformers_clip,
}


def test_the_list_holds_classes_only() -> None:
    checked = 0
    for full in MODEL_CLASSES:
        module, _, name = full.partition(" ")
        try:
            found: Any = getattr(import_module(module), name, None)
        except ModuleNotFoundError:
            continue
        if found is not None:  # some are there in other versions only
            checked += 1
            assert isinstance(found, type), full
    assert checked > 150


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_whole_models_name_nothing_unknown(name: str) -> None:
    raw = io.BytesIO()
    torch.save(MODELS[name](), raw)
    with zipfile.ZipFile(raw) as archive:
        (record,) = [label for label in archive.namelist() if label.endswith("data.pkl")]
        found = read_pickle(archive.read(record))
    assert (found.problem, found.unknown, found.misuse) == ("", [], [])
