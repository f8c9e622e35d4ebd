"""Harmless objects that training programs save."""

from __future__ import annotations

import argparse
import collections
import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


def state_dict() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "visual.conv1.weight": torch.rand(4, 3, 2, 2),
        "token_embedding.weight": torch.rand(6, 4),
        "logit_scale": torch.tensor(2.6),
        "positional_embedding": torch.rand(3, 4),
    }


def _trained(value: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The state of an optimizer after three steps."""
    parameters = [nn.Parameter(tensor.clone()) for tensor in value.values()]
    optimizer = torch.optim.AdamW(
        [{"params": parameters[:2], "weight_decay": 0.1}, {"params": parameters[2:]}], lr=1e-5
    )
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = np.float64(1e-5)
    return state


def _module(prefix: str) -> collections.OrderedDict[str, torch.Tensor]:
    made = collections.OrderedDict((f"{prefix}{k}", v) for k, v in state_dict().items())
    made._metadata = collections.OrderedDict(version=1)  # type: ignore[attr-defined]
    return made


def _with_attributes() -> dict[str, torch.Tensor]:
    tensor, parameter = torch.ones(2), nn.Parameter(torch.ones(3))
    tensor.note = "kept"  # type: ignore[attr-defined]
    parameter.weight_decay = 0.1  # type: ignore[attr-defined]
    return {"t": tensor, "p": parameter}


@cache
def values() -> dict[str, Any]:
    """Objects that training programs save."""
    state = state_dict()
    base = torch.arange(24.0).reshape(4, 6)
    buffer = torch.arange(10.0)
    args = argparse.Namespace(lr=1e-5, name="par", layers=[1, 2], path=Path("/x"), device="cuda")
    return {
        "plain state dict": state,
        "OrderedDict with metadata": nn.Linear(3, 2).state_dict(),
        "CleanCLIP epoch": {
            "epoch": 3,
            "name": "poison",
            "state_dict": _module("module."),
            "optimizer": _trained(state),
        },
        "CleanCLIP finetune": {
            "state_dict": {**_module("model."), "linear.weight": torch.rand(3, 4)}
        },
        "PAR": {
            "epoch": 1,
            "state_dict": _module("module."),
            "optimizer": _trained(state),
            "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
            "best_acc1": np.float64(61.2),
            "args": args,
        },
        "TeCoA": {"vision_encoder_state_dict": state, "step": 5},
        "InverTune": {
            "state_dict": state,
            "critical_neurons": {"layer": np.arange(5), "mask": np.array([True, False])},
        },
        "open_clip training": {
            "epoch": 1,
            "name": "x",
            "state_dict": _module("module."),
            "optimizer": _trained(state),
            "scaler": {"scale": torch.tensor(1.0)},
        },
        "numpy scalars": {
            "w": torch.ones(2),
            **{kind: np.dtype(kind).type(1) for kind in ("f2", "f4", "f8", "i1", "i8", "u4", "?")},
            "complex": np.complex128(1j),
            "when": np.datetime64("2026-01-02"),
        },
        "numpy arrays": {
            "w": torch.ones(2),
            "a": np.arange(6.0).reshape(2, 3),
            "f": np.asfortranarray(np.ones((2, 3))),
            "text": np.array(["a", "b"]),
            "record": np.zeros(2, dtype=[("x", "f4"), ("y", "i8")]),
            "objects": np.array([None, "x", 1], dtype=object),
            "dtype": np.dtype("float16"),
            "turned": np.arange(4, dtype=">f4"),
            "inner": np.zeros(2, dtype=[("x", "U2"), ("z", "f4", (2,)), ("o", "O")]),
            "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
            "titled": np.zeros(1, dtype=[(("T", "a"), "f4")]),
            "when": np.array(["2026-01-02"], dtype="M8[D]"),
            "same type": [np.ones(2, "V8"), np.zeros(1, "V8"), np.zeros((0, 3)), np.array(1.0)],
            "noted": np.zeros(1, np.dtype("f4", metadata={"a": 1})),
            "nothing": np.zeros(2, dtype=[]),
            "texts": np.array([b"ab", b""], dtype="S3"),
            "empty text": np.str_(""),
        },
        "plain facts": {
            "w": torch.ones(2),
            "none": None,
            "big": 1 << 200,
            "float": float("inf"),
            "bytes": b"\x00\xff",
            "complex": 1 + 2j,
            "set": {1, "a"},
            "frozen": frozenset({2}),
            "slice": slice(1, 2),
            "range": range(3),
            "array": bytearray(b"xy"),
            "text": "ü🎉\u202e",
            "keys": {1: "a", (1, 2): "b", None: "c", 2.5: "d", frozenset({1}): "f"},
        },
        "data classes": {
            "w": torch.ones(2),
            "default": collections.defaultdict(list, a=[1]),
            "nested": collections.defaultdict(dict),
            "counter": collections.Counter("hello"),
            "path": Path("/x/y"),
            "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
            "day": datetime.date(2026, 1, 2),
            "long": datetime.timedelta(seconds=5),
            "options": args,
        },
        "torch facts": {
            "w": torch.ones(2),
            "dtype": torch.float16,
            "dtypes": [torch.bfloat16, torch.int64, torch.bool, torch.complex64],
            "size": torch.Size([2, 3]),
            "device": torch.device("cuda:1"),
            "layout": torch.strided,
        },
        "types": {
            str(kind).partition(".")[2]: torch.arange(5).to(kind)
            for kind in (
                *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8),
                *(torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
            )
        },
        "views": {
            "turned": base.t(),
            "strided": base[::2, 1::2],
            "offset": base[2:],
            "expanded": torch.arange(3.0).expand(5, 3),
            "scalar expanded": torch.tensor(2.0).expand(7, 7),
            "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "diagonal": base.diagonal(),
            "windows": buffer.unfold(0, 4, 1),
        },
        "shared": {"a": buffer[:6], "b": buffer[4:], "c": buffer, "d": buffer},
        "tied": {"embed": base, "head": base, "ema": {"embed": base.clone()}},
        "empty tensors": {
            "none": torch.zeros(0),
            "rows": torch.zeros(0, 3),
            "columns": torch.zeros(3, 0),
            "scalar": torch.tensor(1.0),
            "rank 16": torch.zeros((1,) * 16),
        },
        "empty containers": {
            "w": torch.ones(1),
            "a": collections.OrderedDict(),
            "b": [],
            "c": (),
            "d": {},
            "e": set(),
        },
        "parameters": {"p": nn.Parameter(torch.rand(3)), "b": nn.Buffer(torch.rand(2))},
        "a list of tensors": [torch.ones(2), torch.zeros(3)],
        "a tuple": (torch.ones(2), {"a": torch.zeros(1)}),
        "one tensor": torch.arange(4.0),
        "one parameter": nn.Parameter(torch.arange(4.0)),
        "deep": {"a": {"b": [{"c": ({"d": torch.ones(2)},)}]}},
        "int keys": {0: torch.ones(1), 1: {2: torch.zeros(1)}},
        "odd names": {"a b/c": torch.ones(1), "日本": torch.ones(2), "x" * 300: torch.ones(3)},
        "not finite": {"w": torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0])},
        "three thousand tensors": {f"l{n}.weight": torch.full((2,), n) for n in range(3000)},
        "ten thousand numbers": {"w": torch.ones(1), "loss": [n / 7 for n in range(10_000)]},
        "tensors with attributes": _with_attributes(),
        "gradient kept": {"w": torch.rand(2, requires_grad=True)},
        "strings of code": {"w": torch.ones(1), "note": "import os; os.system('ls')"},
    }
