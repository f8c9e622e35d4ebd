"""Small files that want much time or memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.hostile.archives import Entry, archive, entries, legacy, raw_zip, records
from tests.hostile.item import Expected, Item
from tests.hostile.ops import call, checkpoint, named, pickled, plain, tensor, text
from tests.hostile.pickle_tricks import mkdir

Make = Callable[[Path], bytes]


def _pickle(ops: bytes) -> Make:
    return lambda c: archive(records() | {"data.pkl": pickled(ops)})


def _laughs(open_with: bytes, close_with: bytes) -> bytes:
    """Ten references in each of forty levels."""
    ops = text("lol") + b"\x94"
    for level in range(40):
        ops += (
            open_with + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + close_with + b"\x94"
        )
    return ops


def _hashes() -> bytes:
    """Keys with one hash."""
    modulus = (1 << 61) - 1
    return (
        b"}("
        + b"".join(
            b"\x8a\x10" + (number * modulus).to_bytes(16, "little") + b"N"
            for number in range(100_000)
        )
        + b"u"
    )


@cache
def _zeros(size: int) -> bytes:
    """Deflated zeros."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = [pack.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*out, pack.flush()])


def _packed(name: str, content: bytes, copies: int = 1) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for key, data in records().items():
            made.writestr(zipfile.ZipInfo(f"m/{key}"), data)
        for number in range(copies):
            info = zipfile.ZipInfo(f"m/{name}".replace("#", str(number)))
            made.writestr(info, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _deflated_zeros(name: bytes, size: int, claimed: int) -> bytes:
    entry = Entry(name, _zeros(size), method=8, size=claimed)
    return raw_zip([*entries(), entry])


def _one_mega(ops: bytes, count: int) -> bytes:
    return b"\x80\x02N" + ops * count + b"."


BOMBS: dict[str, tuple[Make, Expected]] = {
    "laughing tuples": (_pickle(_laughs(b"(", b"t")), "damaged"),
    "laughing lists": (_pickle(_laughs(b"](", b"e")), "damaged"),
    "laughing dicts": (
        _pickle(
            text("lol")
            + b"\x94"
            + b"".join(
                b"}("
                + b"".join(plain(str(n)) + b"h" + bytes([level]) for n in range(10))
                + b"u\x94"
                for level in range(40)
            )
        ),
        "damaged",
    ),
    "a list of itself": (_pickle(b"]\x94h\x00a"), "damaged"),
    "a dict of itself": (_pickle(b"}\x94" + text("a") + b"h\x00s"), "damaged"),
    "equal hashes": (_pickle(_hashes()), "damaged"),
    "lists 100 000 deep": (_pickle(b"]" * 100_000 + b"a" * 99_999), "damaged"),
    "tuples 100 000 deep": (_pickle(b")" + b"\x85" * 100_000), "damaged"),
    "dicts 150 000 deep": (_pickle(b"}" + b"N}" * 150_000 + b"s" * 150_000), "damaged"),
    "objects 100 000 deep": (
        _pickle(named("argparse", "Namespace") + b"\x94" + b"h\x00)\x81" * 100_000 + b"b" * 99_999),
        "damaged",
    ),
    "marks": (_pickle(b"(" * 500_000), "damaged"),
    "five million opcodes": (
        lambda c: archive(records() | {"data.pkl": _one_mega(b"0N", 2_500_000)}),
        "damaged",
    ),
    "thirty million opcodes": (
        lambda c: archive(records() | {"data.pkl": _one_mega(b"0N", 15_000_000)}),
        "damaged",
    ),
    "thirty million opcodes, then a call": (
        lambda c: archive(
            records() | {"data.pkl": b"\x80\x02" + b"N0" * 15_000_000 + mkdir(c) + b"."}
        ),
        "refused",
    ),
    "thirty million opcodes in a bare pickle": (lambda c: _one_mega(b"0N", 15_000_000), "damaged"),
    "thirty million opcodes of protocol 0": (lambda c: b"N" + b"0N" * 15_000_000 + b".", "damaged"),
    "thirty million opcodes in a legacy stream": (
        lambda c: legacy(_one_mega(b"0N", 15_000_000)),
        "damaged",
    ),
    "a hundred pickles of a million opcodes": (
        lambda c: _packed("#.pkl", b"\x80\x02N" + b"0N" * 450_000 + b".", 100),
        "damaged",
    ),
    "a packed pickle of 20 megabytes": (
        lambda c: _packed("#.pkl", pickled(plain("x" * (20 << 20))), 1),
        "inert",
    ),
    "4 000 packed pickles of 4 megabytes": (
        lambda c: _many_packed(
            4_000, pickled(b"C\x01xB" + struct.pack("<I", 4 << 20) + bytes(4 << 20) + b"0")
        ),
        "damaged",
    ),
    "4 000 packed programs of 4 megabytes": (
        lambda c: _many_packed(4_000, b" " * (4 << 20), b"m/code/%d.py"),
        "damaged",
    ),
    "4 000 packed notes of 4 megabytes": (
        lambda c: _many_packed(4_000, b"c" + b" " * (4 << 20), b"m/extra/%d"),
        "inert",
    ),
    "200 megabytes of zeros as data.pkl": (
        lambda c: raw_zip(
            [Entry(b"m/data.pkl", _zeros(200 << 20), method=8, size=200 << 20), *entries()[1:]]
        ),
        "damaged",
    ),
    "200 megabytes of zeros that claims 100 bytes": (
        lambda c: _deflated_zeros(b"m/x.pkl", 200 << 20, 100),
        "damaged",
    ),
    "200 megabytes of zeros as code": (
        lambda c: _deflated_zeros(b"m/code/x.py", 200 << 20, 200 << 20),
        "damaged",
    ),
    "200 megabytes of zeros as the byte order": (
        lambda c: raw_zip(
            [
                *[entry for entry in entries() if entry.name != b"m/byteorder"],
                Entry(b"m/byteorder", _zeros(200 << 20), method=8, size=200 << 20),
            ]
        ),
        "damaged",
    ),
    "a number of 30 megabytes": (
        _pickle(b"\x8b" + struct.pack("<i", 30 << 20) + b"\x7f" * (30 << 20)),
        "damaged",
    ),
    "a number of 20 000 000 digits": (_pickle(b"L" + b"9" * 20_000_000 + b"L\n"), "damaged"),
    "a number of 4 000 digits 5 000 times": (
        _pickle(b"](" + (b"L" + b"9" * 4000 + b"L\n") * 5_000 + b"e"),
        "damaged",
    ),
    "a text of 100 megabytes": (
        lambda c: archive(records() | {"data.pkl": pickled(plain("x" * (100 << 20)))}),
        "damaged",
    ),
    "a text of 30 megabytes of escapes": (
        _pickle(b"V" + b"\\u0041" * 5_000_000 + b"\n"),
        "damaged",
    ),
    "a memo of a million places": (_pickle(b"N" + b"\x94" * 900_000), "damaged"),
    "a memo place of 2^31": (_pickle(b"Nr\xff\xff\xff\x7f"), "damaged"),
    "200 000 names": (
        _pickle(b"".join(named("os", f"n{number}") + b"0" for number in range(200_000)) + b"N"),
        "dangerous",
    ),
    "300 000 tensors": (
        _pickle(
            tensor() + b"\x940}(" + b"".join(text(str(n)) + b"h\x00" for n in range(300_000)) + b"u"
        ),
        "damaged",
    ),
    "100 000 tensors with names of a thousand letters": (
        _pickle(
            tensor()
            + b"\x940"
            + plain({})
            + b"0}"
            + text("x" * 1000)
            + b"}("
            + b"".join(text(str(n)) + b"h\x00" for n in range(100_000))
            + b"us"
        ),
        "inert",
    ),
    "a dtype called 300 000 times": (
        _pickle(b"](" + call("numpy", "dtype", "f8", False, True) * 30_000 + b"e"),
        "damaged",
    ),
    "a pickle that is all marks and pops": (_pickle(b"(1" * 400_000 + b"N"), "damaged"),
    "a pickle of growing tuples": (_pickle(b")" + b"\x94h\x00\x86" * 200 + b"0N"), "refused"),
    "a checkpoint that is one long line": (lambda c: b"c" + b"x" * (30 << 20), "damaged"),
    "names of a megabyte": (
        _pickle((named("os", "x" * 1_000_000) + b"0") * 20 + b"N"),
        "dangerous",
    ),
    "code that is slow to search": (
        lambda c: archive(
            records()
            | {
                "code/__torch__.py": b"torch" + b" \\\n" * 500_000 + b"ops" + b"# #\n" * 300_000,
                "constants.pkl": b"\x80\x02).",
            }
        ),
        "inert",
    ),
    "code of quotes": (
        lambda c: archive(
            records() | {"code/__torch__.py": b"\"'\\" * 1_000_000, "constants.pkl": b"\x80\x02)."}
        ),
        "inert",
    ),
    "code of torch": (
        lambda c: archive(
            records() | {"code/__torch__.py": b"torch#" * 600_000, "constants.pkl": b"\x80\x02)."}
        ),
        "inert",
    ),
    "bare pickle of nested lists": (lambda c: pickled(b"]" * 200_000 + checkpoint()), "damaged"),
}


def _many_packed(count: int, content: bytes, name: bytes = b"m/%d.pkl") -> bytes:
    """The same packed member again and again."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = pack.compress(content) + pack.flush()
    crc = zlib.crc32(content)
    more = [
        Entry(name % number, packed, method=8, crc=crc, size=len(content))
        for number in range(count)
    ]
    return raw_zip([*entries(), *more])


HEAVY = {
    "a hundred pickles of a million opcodes",
    "thirty million opcodes of protocol 0",
    "thirty million opcodes, then a call",
    "a dtype called 300 000 times",
    "300 000 tensors",
    "thirty million opcodes in a legacy stream",
    "thirty million opcodes in a bare pickle",
    "five million opcodes",
    "objects 100 000 deep",
    "4 000 packed programs of 4 megabytes",
    "code of quotes",
    "a memo of a million places",
    "a pickle that is all marks and pops",
    "a text of 100 megabytes",
    "a number of 4 000 digits 5 000 times",
    "dicts 150 000 deep",
    "marks",
}


def bomb_items() -> Iterator[Item]:
    for name, (make, expect) in BOMBS.items():
        yield Item(f"bomb/{name}", make, expect, heavy=name in HEAVY)
