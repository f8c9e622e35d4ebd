"""GGUF files whose lengths, counts, names, types and places lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.hostile.archives import torch_zip
from tests.hostile.item import Expected, Item

U8, U32, F32, BOOL, TEXT, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
HUGE = (1 << 64) - 1


def text(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(value) if length is None else length) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def entry(
    name: bytes = b"a",
    shape: tuple[int, ...] = (8,),
    kind: int = 0,
    offset: int = 0,
    rank: int = -1,
) -> bytes:
    sides = struct.pack(f"<{len(shape)}Q", *shape)
    rank = len(shape) if rank < 0 else rank
    return text(name) + struct.pack("<I", rank) + sides + struct.pack("<IQ", kind, offset)


ARCHITECTURE = pair(b"general.architecture", TEXT, text(b"clip"))


def gguf(
    entries: tuple[bytes, ...] = (entry(),),
    pairs: tuple[bytes, ...] = (ARCHITECTURE,),
    data: bytes = bytes(32),
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file with tensors aligned to 32 bytes."""
    count = counts or (len(entries), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *count) + b"".join((*pairs, *entries))
    return head + bytes(-len(head) % 32) + data


BLOCKS = gguf(
    (entry(b"v.blk.0.ln1.weight", (32,), 8), entry(b"v.post_ln.bias", (64, 2), 2, 64)),
    (ARCHITECTURE, pair(b"clip.vision.image_mean", ARRAY, array(F32, 3, bytes(12)))),
    bytes(34 + 30 + 72),
)


def _pairs(*pairs: bytes) -> bytes:
    return gguf(pairs=pairs)


def _align(value: bytes, kind: int = U32) -> bytes:
    return _pairs(pair(b"general.alignment", kind, value))


GGUFS: dict[str, tuple[bytes, Expected]] = {
    "no counts": (b"GGUF\x03\0\0\0", "damaged"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 0) + bytes(64), "damaged"),
    "version 1": (gguf(version=1), "damaged"),
    "version 4": (gguf(version=4), "damaged"),
    "2^64 tensors": (gguf(counts=(HUGE, 1)), "damaged"),
    "2^63 keys": (gguf(counts=(1, 1 << 63)), "damaged"),
    "one tensor more than there are": (gguf(counts=(2, 1)), "damaged"),
    "no tensors": (gguf(entries=()), "damaged"),
    "a text of 2^64 bytes": (_pairs(pair(b"k", TEXT, text(b"v", HUGE))), "damaged"),
    "a text of 2^63 bytes": (_pairs(pair(b"k", TEXT, text(b"v", 1 << 63))), "damaged"),
    "a key of 2^40 bytes": (_pairs(text(b"k", 1 << 40)), "damaged"),
    "a key that is no UTF-8": (_pairs(pair(b"\xff\xfe", U8, b"\0")), "damaged"),
    "a key of nothing": (_pairs(pair(b"", U8, b"\0")), "damaged"),
    "a key twice": (_pairs(pair(b"k", U8, b"\0"), pair(b"k", U8, b"\1")), "damaged"),
    "a value of an unknown kind": (_pairs(pair(b"k", 13, b"\0" * 8)), "damaged"),
    "a truth value of 2": (_pairs(pair(b"k", BOOL, b"\2")), "damaged"),
    "2^64 texts": (_pairs(pair(b"k", ARRAY, array(TEXT, HUGE))), "damaged"),
    "a list of texts that leads out": (
        _pairs(pair(b"k", ARRAY, array(TEXT, 2, text(b"a") + text(b"", 1 << 62)))), "damaged"),
    "2^61 numbers": (_pairs(pair(b"k", ARRAY, array(U64, 1 << 61))), "damaged"),
    "numbers of an unknown kind": (_pairs(pair(b"k", ARRAY, array(77, 100, bytes(400)))),
        "damaged"),
    "a list of lists": (_pairs(pair(b"k", ARRAY, array(ARRAY, 1, array(U8, 1, b"\0")))),
        "damaged"),
    "a list of lists without end": (
        _pairs(pair(b"k", ARRAY, array(ARRAY, 1) * 100_000)), "damaged"),
    "an alignment of 0": (_align(struct.pack("<I", 0)), "damaged"),
    "an alignment of 24": (_align(struct.pack("<I", 24)), "damaged"),
    "an alignment of 2^31": (_align(struct.pack("<I", 1 << 31)), "damaged"),
    "an alignment that is a text": (_align(text(b"32"), TEXT), "damaged"),
    "a side of 2^63": (gguf((entry(shape=(1 << 63,)),)), "damaged"),
    "sides that overflow to 8": (gguf((entry(shape=((1 << 61) + 1, 8)),)), "damaged"),
    "sides that overflow to nothing": (gguf((entry(shape=(1 << 32, 1 << 32)),)), "damaged"),
    "nothing of huge sides": (gguf((entry(shape=(0, 1 << 62)),)), "damaged"),
    "rank 5": (gguf((entry(shape=(1,) * 5),)), "damaged"),
    "rank 2^32": (gguf((entry(rank=0xFFFFFFFF),)), "damaged"),
    "an offset beyond": (gguf((entry(offset=64),)), "damaged"),
    "an offset of 2^63": (gguf((entry(offset=1 << 63),)), "damaged"),
    "an offset that is not aligned": (gguf((entry(offset=4),), data=bytes(36)), "damaged"),
    "an overlap": (gguf((entry(shape=(16,)), entry(b"b", offset=32)), data=bytes(64)), "damaged"),
    "the same bytes twice": (gguf((entry(), entry(b"b"))), "damaged"),
    "bytes between two tensors": (
        gguf((entry(shape=(1,)), entry(b"b", offset=32)), data=bytes(4) + b"secret" + bytes(54)),
        "damaged"),
    "bytes before the first": (gguf()[:-38] + b"secret" + bytes(32), "damaged"),
    "bytes after the last that fill it up": (
        gguf((entry(shape=(1,)),), data=bytes(4) + b"secret"), "damaged"),
    "an alignment of 8192": (_align(struct.pack("<I", 8192)), "damaged"),
    "a gap": (gguf((entry(), entry(b"b", offset=64)), data=bytes(96)), "damaged"),
    "bytes after the last": (gguf(data=bytes(33)), "damaged"),
    "cut short": (gguf(data=bytes(31)), "damaged"),
    "a name twice": (gguf((entry(), entry(offset=32)), data=bytes(64)), "damaged"),
    "a tensor under two names": (
        gguf((entry(b"v.post_ln.bias"), entry(b"vision_model.post_layernorm.bias", offset=32)),
            data=bytes(64)), "damaged"),
    "a name of nothing": (gguf((entry(b""),)), "damaged"),
    "a name of a million letters": (gguf((entry(b"x" * 1_000_000),)), "damaged"),
    "a name of control characters": (gguf((entry("\x1b[2J\u202e\r\n".encode()),)), "inert"),
    "a type that is not read": (gguf((entry(kind=13),)), "damaged"),
    "a type that does not exist": (gguf((entry(kind=4000),)), "damaged"),
    "half a block": (gguf((entry(shape=(16,), kind=8),)), "damaged"),
    "blocks across rows": (gguf((entry(shape=(16, 2), kind=8),), data=bytes(34)), "damaged"),
    "a zip archive at its end": (gguf((entry(shape=(len(torch_zip()),), kind=24),),
        data=torch_zip()), "dangerous"),
    "a pickle as well": (
        b"GGUF\x03\0\0\0\0" + b"cos\nmkdir\n(S'x'\ntR." + bytes(40), "dangerous"),
    "four thousand long texts": (
        _pairs(*(pair(b"%d" % n, TEXT, text(b"\xff" * 7000)) for n in range(4000))), "inert"),
    "four million empty texts": (
        _pairs(pair(b"k", ARRAY, array(TEXT, 4_000_000, bytes(32_000_000)))), "inert"),
    "more metadata than the limit": (_pairs(pair(b"k", TEXT, text(bytes(33 << 20)))), "damaged"),
    "100 000 tensors": (
        gguf(tuple(entry(b"%d" % n, (0,)) for n in range(100_000)), data=b""), "inert"),
}  # fmt: skip


def gguf_items() -> Iterator[Item]:
    for name, (raw, expect) in GGUFS.items():
        yield Item(f"gguf/{name}", lambda c, r=raw: r, expect, ending=".gguf")
