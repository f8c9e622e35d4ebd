"""Pieces of pickles, put together by hand so that a corpus does not depend on who runs it."""

from __future__ import annotations

import struct
from typing import Any


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def short(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def plain(value: Any) -> bytes:
    """Text, numbers, bytes, lists, tuples, dictionaries; bytes in a ``Raw`` are opcodes."""
    if isinstance(value, Raw):
        return value.ops
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return b"](" + b"".join(map(plain, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(plain, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(plain(k) + plain(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value))


class Raw:
    """Opcodes that leave one object."""

    def __init__(self, ops: bytes) -> None:
        self.ops = ops


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def stacked(module: str, name: str) -> bytes:
    """A name from the stack (protocol 4), which may have dots."""
    return short(module) + short(name) + b"\x93"


def call(module: str, name: str, *arguments: Any) -> bytes:
    return named(module, name) + plain(tuple(arguments)) + b"R"


def call_dotted(module: str, name: str, *arguments: Any) -> bytes:
    return stacked(module, name) + plain(tuple(arguments)) + b"R"


def pickled(ops: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + ops + b"."


def storage(key="0", elements=4, kind="FloatStorage", device="cpu"):
    return (
        b"("
        + text("storage")
        + named("torch", kind)
        + text(key)
        + text(device)
        + plain(elements)
        + b"tQ"
    )


def tensor(key="0", elements=4, offset=0, shape=(4,), stride=(1,), kind="FloatStorage"):
    parts = storage(key, elements, kind) + plain(offset) + plain(shape) + plain(stride)
    hooks = named("collections", "OrderedDict") + b")R"
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + parts + b"\x89" + hooks + b"tR"


def checkpoint(payload: bytes = b"N", place: str = "args") -> bytes:
    """A state dict of one tensor, and a payload at another key."""
    return plain({"state_dict": {"a.weight": Raw(tensor())}, place: Raw(payload)})
