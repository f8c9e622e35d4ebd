"""Places where a payload hides in a pickle, and opcodes that mislead those who look for it."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.archives import archive, legacy, records, torch_zip
from tests.hostile.gadgets import shell, statement
from tests.hostile.item import Item
from tests.hostile.ops import (
    Raw,
    call,
    checkpoint,
    named,
    pickled,
    plain,
    short,
    stacked,
    storage,
    tensor,
    text,
)
from tests.hostile.pickle_misuse import MISUSE

Make = Callable[[Path], bytes]


def mkdir(canary: Path) -> bytes:
    return call("os", "mkdir", str(canary))


def _framed(ops: bytes, length: int | None = None) -> bytes:
    size = len(ops) + 1 if length is None else length
    return b"\x80\x04\x95" + struct.pack("<Q", size) + ops + b"."


def _mapped(canary: str, new: bytes) -> bytes:
    """A tuple made of what a function gives for each path, without REDUCE."""
    lazy = named("builtins", "map") + plain((Raw(named("os", "mkdir")), [canary])) + new
    return named("builtins", "tuple") + plain((Raw(lazy),)) + new


PLACES: dict[str, Make] = {
    "in the state dict": lambda c: plain({"state_dict": {"a": Raw(tensor()), "b": Raw(mkdir(c))}}),
    "in the optimizer": lambda c: checkpoint(plain({"state": {0: Raw(mkdir(c))}}), "optimizer"),
    "in the args": lambda c: checkpoint(mkdir(c)),
    "at the top": mkdir,
    "in a list": lambda c: checkpoint(plain([[[Raw(mkdir(c))]]])),
    "in a tuple": lambda c: checkpoint(plain((1, (2, (Raw(mkdir(c)),))))),
    "as a dict key": lambda c: b"}" + mkdir(c) + b"Ns",
    "as a key of many": lambda c: b"}(" + mkdir(c) + b"N" + text("a") + tensor() + b"u",
    "as a storage key": lambda c: tensor().replace(text("0"), mkdir(c)),
    "as a storage class": lambda c: tensor().replace(named("torch", "FloatStorage"), mkdir(c)),
    "as a device": lambda c: tensor().replace(text("cpu"), mkdir(c)),
    "as a size": lambda c: tensor().replace(plain((4,)), mkdir(c)),
    "as hooks": lambda c: tensor().replace(named("collections", "OrderedDict") + b")R", mkdir(c)),
    "instead of a storage": lambda c: tensor().replace(storage(), mkdir(c)),
    "as an attribute of the state dict": lambda c: (
        named("collections", "OrderedDict")
        + b")R"
        + plain({"_metadata": Raw(mkdir(c))})
        + b"b"
    ),
    "in a namespace": lambda c: (
        named("argparse", "Namespace") + b")\x81" + plain({"lr": Raw(mkdir(c))}) + b"b"
    ),
    "in the state of a module": lambda c: (
        named("torch.nn.modules.linear", "Linear")
        + b")\x81"
        + plain({"_parameters": {"weight": Raw(tensor())}, "_hooks": Raw(mkdir(c))})
        + b"b"
    ),
    "as the state of a dtype": lambda c: (
        call("numpy", "dtype", "f8", False, True) + mkdir(c) + b"b"
    ),
    "in an object array": lambda c: (
        named("numpy.core.multiarray", "_reconstruct")
        + b"("
        + named("numpy", "ndarray")
        + plain((0,))
        + plain(b"b")
        + b"tR"
        + plain((1, (1,), Raw(call("numpy", "dtype", "O8", False, True)), False, [Raw(mkdir(c))]))
        + b"b"
    ),
    "in a numpy scalar": lambda c: call(
        "numpy.core.multiarray", "scalar", Raw(call("numpy", "dtype", "f8", 0, 1)), Raw(mkdir(c))
    ),
    "as a default factory": lambda c: call(
        "collections", "defaultdict", Raw(call("functools", "partial", Raw(named("os", "mkdir"))))
    )
    + b"0"
    + mkdir(c),
    "as the items of an OrderedDict": lambda c: call(
        "collections", "OrderedDict", [("a", Raw(mkdir(c)))]
    ),
    "in a set": lambda c: b"\x8f(" + mkdir(c) + b"\x90",
    "in a frozenset": lambda c: b"(" + mkdir(c) + b"\x91",
    "taken off the stack": lambda c: mkdir(c) + b"0" + checkpoint(),
    "taken off with its mark": lambda c: b"(" + mkdir(c) + b"1" + checkpoint(),
    "in the memo only": lambda c: mkdir(c) + b"\x940" + checkpoint(),
    "after a million harmless objects": lambda c: (
        b"](" + b"K\x01" * 100_000 + b"e0" + mkdir(c) + b"0" + checkpoint()
    ),
    "as a parameter": lambda c: call(
        "torch._utils", "_rebuild_parameter", Raw(mkdir(c)), True, None
    ),
    "in a rebuilt type": lambda c: call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        Raw(named("os", "mkdir")),
        Raw(named("torch", "Tensor")),
        (str(c),),
        {},
    ),
}  # fmt: skip

OPCODES: dict[str, Make] = {
    "INST": lambda c: b"(" + text(str(c)) + b"ios\nmkdir\n",
    "OBJ": lambda c: b"(" + named("os", "mkdir") + text(str(c)) + b"o",
    "OBJ after other things": lambda c: (
        b"(" + named("os", "mkdir") + text("x") + b"0" + text(str(c)) + b"o"
    ),
    "NEWOBJ": lambda c: _mapped(str(c), b"\x81"),
    "NEWOBJ_EX": lambda c: _mapped(str(c), b"}\x92"),
    "STACK_GLOBAL": lambda c: stacked("os", "mkdir") + plain((str(c),)) + b"R",
    "STACK_GLOBAL by the memo": lambda c: (
        short("mkdir") + b"\x940" + short("os") + b"\x940h\x01h\x00\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL by PUT and GET": lambda c: (
        text("mkdir") + b"p77\n0" + text("os") + b"p78\n0g78\ng77\n\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL by a changed memo": lambda c: (
        short("collections") + b"q\x050" + short("os") + b"q\x050h\x05" + short("mkdir") + b"\x93"
        + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL with a string between": lambda c: (
        short("os") + short("mkdir") + short("OrderedDict") + b"0\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL of STRING": lambda c: (
        b"S'os'\nS'mkdir'\n\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL of an escaped STRING": lambda c: (
        b"S'\\x6fs'\nS'mk\\x64ir'\n\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL of an escaped UNICODE": lambda c: (
        b"V\\u006fs\nVmk\\u0064ir\n\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL of BINSTRING": lambda c: (
        b"U\x02osT\x05\x00\x00\x00mkdir\x93" + plain((str(c),)) + b"R"
    ),
    "STACK_GLOBAL of BINUNICODE8": lambda c: (
        b"\x8d" + struct.pack("<Q", 2) + b"os" + short("mkdir") + b"\x93" + plain((str(c),)) + b"R"
    ),
    "dotted names": lambda c: stacked("os", "path.os.mkdir") + plain((str(c),)) + b"R",
    "dotted names of a listed module": lambda c: (
        stacked("collections", "_sys.modules.get") + plain(("os",)) + b"R0" + mkdir(c)
    ),
    "DUP": lambda c: text("x") + b"20" + mkdir(c),
    "a mark taken off": lambda c: b"(0" + mkdir(c),
    "two marks": lambda c: b"((1" + mkdir(c) + b"l",
    "many protocol marks": lambda c: b"\x80\x02\x80\x03\x80\x04" + mkdir(c),
    "a protocol mark of none": lambda c: b"\x80\x05" + mkdir(c),
    "a frame with the payload in it": lambda c: _framed(mkdir(c))[2:-1],
    "a call and no end": lambda c: mkdir(c) + b"\xff",
    "a call and an empty stack": lambda c: mkdir(c) + b"00000",
    "a call and a broken string": lambda c: mkdir(c) + b"S'abc\n",
    "a call and a text that is none": lambda c: mkdir(c) + b"X\x02\x00\x00\x00\xff\xff",
    "a call and a memo that is empty": lambda c: mkdir(c) + b"h\x99",
    "a call after DUP": lambda c: b"N20" + stacked("os", "mkdir") + plain((str(c),)) + b"R",
    "a call by the memo after DUP": lambda c: (
        b"N20" + short("os") + b"\x940" + short("mkdir") + b"\x940h\x00h\x01\x93"
        + plain((str(c),)) + b"R"
    ),
    "a call by the memo before and after DUP": lambda c: (
        short("os") + b"\x940" + short("mkdir") + b"\x940N20h\x00h\x01\x93"
        + plain((str(c),)) + b"R"
    ),
    "APPEND calls a method": lambda c: mkdir(c) + b"0]K\x01a",
    "SETITEM on a module": lambda c: (
        named("os", "environ") + text("X") + text("1") + b"s0" + mkdir(c)
    ),
    "BUILD on a function": lambda c: (
        named("os", "makedirs") + plain({"x": 1}) + b"b0" + mkdir(c)
    ),
    "carriage returns": lambda c: b"cos\nmkdir\n" + plain((str(c),)) + b"R",
    "protocol 0": lambda c: b"cos\nmkdir\n(V" + str(c).encode() + b"\ntR",
    "protocol 0 with a long text first": lambda c: (
        b"V" + b"x" * 100_000 + b"\n0cos\nmkdir\n(V" + str(c).encode() + b"\ntR"
    ),
    "LONG as 0x": lambda c: b"I01\n0I00\n0L5L\n0" + mkdir(c),
}  # fmt: skip
"""Each with a payload that Python's own loader runs."""

FRAMES: dict[str, Make] = {
    "a frame that ends in an opcode": lambda c: b"\x80\x04" + _cut_frame(mkdir(c)),
    "a frame that is too long": lambda c: _framed(checkpoint(), 1 << 20),
    "a frame of 2^63": lambda c: _framed(checkpoint(), 1 << 63),
    "a frame in a frame": lambda c: _framed(_framed(checkpoint())[2:]),
    "a frame that is too short": lambda c: _framed(checkpoint(), 10),
    "an empty frame": lambda c: b"\x80\x04\x95" + bytes(8) + checkpoint() + b"x.",
}


def _cut_frame(ops: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(ops) - 3) + ops + b"."


class Called:
    """Python's own pickles of a call, in every protocol."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.reduced = (name, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        import builtins
        import os

        name, arguments = self.reduced
        return getattr(os, name, None) or getattr(builtins, name), arguments


def pickle_items() -> Iterator[Item]:
    for name, ops in PLACES.items():
        # A plain loader has no persistent objects, so those are loaded by torch only.
        yield Item(f"place-zip/{name}", lambda c, ops=ops: archive(_with(ops(c))), live="torch")
        yield Item(
            f"place-legacy/{name}", lambda c, ops=ops: legacy(pickled(ops(c), 4)), live="torch"
        )
    for name, ops in OPCODES.items():
        yield Item(
            f"opcode/{name}", lambda c, ops=ops: pickled(ops(c)), live="pickle", ending=".pkl"
        )
        yield Item(f"opcode-zip/{name}", lambda c, ops=ops: archive(_with(ops(c))), live="torch")
        yield Item(
            f"opcode-legacy/{name}", lambda c, ops=ops: legacy(pickled(ops(c))), live="torch"
        )
    for name, (misuse, expect) in MISUSE.items():
        yield Item(f"misuse/{name}", lambda c, ops=misuse: torch_zip(ops), expect)
    for name, raw in FRAMES.items():
        yield Item(
            f"frame/{name}", lambda c, raw=raw: archive(records() | {"data.pkl": raw(c)}), "refused"
        )
    for protocol in range(6):
        for name in ("mkdir", "system"):
            yield Item(
                f"protocol/{name} in protocol {protocol}",
                lambda c, p=protocol, n=name: pickle.dumps(
                    {"a": Called(n, str(c) if n == "mkdir" else shell(c))}, p
                ),
                live="pickle",
                ending=".pkl",
            )
            yield Item(
                f"protocol/{name} in a zip in protocol {protocol}",
                lambda c, p=protocol, n=name: archive(
                    records()
                    | {
                        "data.pkl": pickle.dumps(
                            {"a": Called(n, str(c) if n == "mkdir" else shell(c))}, p
                        )
                    }
                ),
                live="torch",
            )
        yield Item(
            f"protocol/exec in protocol {protocol}",
            lambda c, p=protocol: pickle.dumps([Called("exec", statement(c))], p),
            live="pickle",
            ending=".bin",
        )


def _with(ops: bytes) -> dict[str, bytes]:
    return records() | {"data.pkl": pickled(ops)}
