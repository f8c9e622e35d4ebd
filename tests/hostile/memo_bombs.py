"""Short pickles that give long things out again and again, and pickles at the limits."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.hostile.archives import archive, legacy, records
from tests.hostile.item import Expected, Item
from tests.hostile.ops import call, named, pickled, plain, storage, tensor, text

LONG, MANY = 100_000, 30_000
_TUPLE = b"(" + b"K\x01" * MANY + b"t\x94"
_LIST = b"](" + b"K\x01K\x02\x86" * MANY + b"e\x94"
_TABLE = b"}(" + b"".join(text(f"k{number}") + b"N" for number in range(MANY)) + b"u\x94"
_HUGE = text("x" * (4 << 20)) + b"\x94"

BOMBS: dict[str, tuple[bytes, Expected]] = {
    "a memo place of 810 710 137": (b"Nr" + struct.pack("<I", 810_710_137), "damaged"),
    "a memo place in digits": (b"Np99999999\n", "damaged"),
    "a name of 4 megabytes given out 100 000 times": (
        _HUGE + b"0](" + b"h\x00h\x00\x93" * LONG + b"e",
        "dangerous",
    ),
    "a name of 900 letters given out 150 000 times": (
        text("x" * 450) + b"\x940](" + b"h\x00h\x00\x93" * 150_000 + b"e",
        "dangerous",
    ),
    "a shape of 30 000 sides given out 2 000 times": (
        _TUPLE
        + b"0"
        + storage()
        + b"\x940"
        + named("torch._utils", "_rebuild_tensor_v2")
        + b"\x940"
        + b"h\x02(h\x01K\x00h\x00h\x00\x89NtR0" * 2_000
        + b"N",
        "damaged",
    ),
    "a list copied to 2 000 tables": (
        _LIST
        + b"0"
        + named("collections", "OrderedDict")
        + b"\x940]("
        + b"h\x01h\x00\x85R" * 2_000
        + b"e",
        "damaged",
    ),
    "a table copied to 2 000 tables": (
        _TABLE
        + b"0"
        + named("collections", "OrderedDict")
        + b"\x940]("
        + b"h\x01h\x00\x85R" * 2_000
        + b"e",
        "damaged",
    ),
    "4 megabytes encoded 2 000 times": (
        _HUGE
        + b"0"
        + named("_codecs", "encode")
        + b"\x940"
        + text("latin1")
        + b"\x940]("
        + b"h\x01h\x00h\x02\x86R" * 2_000
        + b"e",
        "damaged",
    ),
    "arguments that 2 000 objects share": (
        _TUPLE + b"0" + named("builtins", "slice") + b"\x940](" + b"h\x01h\x00R" * 2_000 + b"e",
        "damaged",
    ),
    "a state that 2 000 objects share": (
        _TABLE
        + b"0"
        + named("argparse", "Namespace")
        + b"\x940]("
        + b"h\x01)\x81h\x00b" * 2_000
        + b"e",
        "damaged",
    ),
    "a type of numpy in itself, in 2 000 arrays": (
        call("numpy", "dtype", "V8", False, True)
        + b"\x94("
        + plain(3)
        + plain("|")
        + b"(h\x00"
        + plain((2,))
        + b"tNN"
        + plain(8)
        + plain(1)
        + plain(0)
        + b"tb0"
        + named("numpy.core.multiarray", "_reconstruct")
        + b"("
        + named("numpy", "ndarray")
        + plain((0,))
        + plain(b"b")
        + b"tR\x940"
        + (b"h\x01(K\x01)h\x00\x89C\x00tb0") * 2_000
        + b"N",
        "damaged",
    ),
    "a long text for a storage's key": (
        b"X" + struct.pack("<I", 4 << 20) + b"1" * (4 << 20) + b"\x940"
        + storage().replace(text("0"), b"h\x00") * 10_000,
        "damaged",
    ),
    "a module that is misused 100 000 times": (
        named("argparse", "Namespace") + b"\x94" + b"Nb" * LONG,
        "dangerous",
    ),
    "740 000 steps": ((b"](" + b"N" * 246_000 + b"e0") * 3 + b"]", "inert"),
    "a table of 290 000 texts": (
        b"}"
        + b"".join(
            b"(" + b"".join(text(f"{part}.{number}") + b"K\x01" for number in range(1000)) + b"u"
            for part in range(290)
        ),
        "inert",
    ),
    "30 megabytes of wide letters": (plain("x" * (30 << 20) + "\U0001f600"), "inert"),
    "a float of 20 000 000 digits": (b"F" + b"1" * 20_000_000 + b"\n", "damaged"),
    "99 000 tensors": (
        tensor()
        + b"\x940}"
        + b"".join(
            b"(" + b"".join(text(f"{part}.{number}") + b"h\x00" for number in range(1000)) + b"u"
            for part in range(99)
        ),
        "inert",
    ),
    "50 000 tensors of one storage": (
        storage()
        + b"\x940"
        + named("torch._utils", "_rebuild_tensor_v2")
        + b"\x940]("
        + b"h\x01(h\x00K\x00K\x04\x85K\x01\x85\x89NtR" * 50_000
        + b"e",
        "inert",
    ),
}  # fmt: skip


HEAVY = {
    "740 000 steps",
    "a table of 290 000 texts",
    "50 000 tensors of one storage",
    "99 000 tensors",
}
"""Near a limit that they keep; one of their kind is always looked at."""


def memo_items() -> Iterator[Item]:
    for name, (ops, expect) in BOMBS.items():
        yield Item(
            f"memo-zip/{name}",
            lambda c, ops=ops: archive(records() | {"data.pkl": pickled(ops)}),
            expect,
            heavy=name in HEAVY,
        )
        yield Item(
            f"memo-legacy/{name}", lambda c, ops=ops: legacy(pickled(ops)), expect, heavy=True
        )
