"""Archives that tell one reader one thing and another reader another."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.hostile.archives import Entry, archive, entries, raw_zip, records, torch_zip, with_pickle
from tests.hostile.item import Expected, Item
from tests.hostile.ops import checkpoint, pickled
from tests.hostile.pickle_tricks import mkdir

Make = Callable[[Path], bytes]

GOOD = pickled(checkpoint())


def _deflated(data: bytes) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    return pack.compress(data) + pack.flush()


def _extra(kind: int, data: bytes) -> bytes:
    return struct.pack("<2H", kind, len(data)) + data


def _unicode_path(name: bytes, other: bytes) -> bytes:
    return _extra(0x7075, b"\x01" + struct.pack("<L", zlib.crc32(name)) + other)


def _descriptor(data: bytes, crc: int | None = None) -> bytes:
    size = len(data)
    return struct.pack("<4s3L", b"PK\x07\x08", zlib.crc32(data) if crc is None else crc, size, size)


def _end64(raw: bytes, *, start: int | None = None, end_fields: bool = True) -> bytes:
    """Put a 64-bit end record before the end record, perhaps with another place of the list."""
    body, end = raw[:-22], raw[-22:]
    _, _, _, here, count, length, begin, _ = struct.unpack("<4s4H2LH", end)
    begin64 = begin if start is None else start
    made = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, here, count, length, begin64)
    made += struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body), 1)
    if end_fields:
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, *[0xFFFFFFFF] * 2, 0)
    return body + made + end


def _two_lists(canary: Path) -> bytes:
    """The 64-bit end record shows a harmless list, the plain one another."""
    good = raw_zip(entries())
    evil = raw_zip(with_pickle(b"N", data=pickled(mkdir(canary))))
    body = good[:-22]
    _, _, _, here, count, length, start, _ = struct.unpack("<4s4H2LH", good[-22:])
    made = body + evil[:-22]
    at = len(made)
    made += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, here, count, length, start)
    made += struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return made + evil[-22:]


def _first(**changes: object) -> Make:
    return lambda c: raw_zip(with_pickle(b"N", **changes))


def _twice(first: bytes, second: bytes, name: bytes = b"m/data.pkl") -> list[Entry]:
    return [Entry(b"m/data.pkl", first), *entries()[1:], Entry(name, second)]


DOCTORED: dict[str, tuple[Make, Expected]] = {
    "another name in the header": (_first(local_name=b"m/data.pkx"), "damaged"),
    "another case in the header": (_first(local_name=b"m/DATA.pkl"), "damaged"),
    "flags in the list only": (_first(flags=1), "damaged"),
    "flags in the header only": (_first(local_flags=1), "damaged"),
    "encrypted": (_first(flags=1, local_flags=1), "damaged"),
    "strongly encrypted": (_first(flags=0x41), "damaged"),
    "masked header": (_first(flags=0x2000), "damaged"),
    "patched data": (_first(flags=0x20), "damaged"),
    "AES method": (_first(method=99, extra=_extra(0x9901, b"\x02\x00AE\x03\x00\x00")), "damaged"),
    "bzip2": (_first(method=12), "damaged"),
    "LZMA": (_first(method=14), "damaged"),
    "Zstandard": (_first(method=93), "damaged"),
    "another method in the header": (_first(local_method=8), "damaged"),
    "another checksum in the header": (_first(local_crc=1), "damaged"),
    "another checksum in both": (_first(crc=1), "damaged"),
    "another size in the header": (_first(local_size=5), "damaged"),
    "a larger size": (_first(size=len(GOOD) + 5), "damaged"),
    "a smaller size": (_first(packed=len(GOOD) - 5), "damaged"),
    "a size beyond the file": (_first(packed=1 << 30), "damaged"),
    "a descriptor that lies": (
        _first(flags=8, local_crc=0, local_size=0, descriptor=_descriptor(GOOD, 7)),
        "damaged",
    ),
    "a descriptor that is missing": (_first(flags=8, local_crc=0, local_size=0), "damaged"),
    "a descriptor without its flag": (_first(descriptor=_descriptor(GOOD)), "damaged"),
    "a 64-bit size that is missing": (_first(size=0xFFFFFFFF, packed=0xFFFFFFFF), "damaged"),
    "a 64-bit size twice": (_first(extra=_extra(1, bytes(8)) + _extra(1, bytes(16))), "damaged"),
    "a 64-bit size that is huge": (
        _first(packed=0xFFFFFFFF, extra=_extra(1, struct.pack("<Q", 1 << 60))),
        "damaged",
    ),
    "an extra field that is cut": (_first(extra=b"\x01\x00\xff\x00"), "damaged"),
    "another name in an extra field": (
        _first(extra=_unicode_path(b"m/data.pkl", b"m/other.pkl")),
        "damaged",
    ),
    "another name in the header's extra field": (
        _first(local_extra=_unicode_path(b"m/data.pkl", b"m/other.pkl")),
        "damaged",
    ),
    "a link": (_first(mode=0o120777), "damaged"),
    "a device": (_first(mode=0o020666), "damaged"),
    "a pipe": (_first(mode=0o010666), "damaged"),
    "deflate that does not end": (
        _first(data=_deflated(GOOD)[:-2], method=8, size=len(GOOD)),
        "damaged",
    ),
    "deflate with more after its end": (
        _first(data=_deflated(GOOD) + b"more", method=8, size=len(GOOD)),
        "damaged",
    ),
    "deflate of more than it says": (
        _first(data=_deflated(GOOD), method=8, size=len(GOOD) - 1),
        "damaged",
    ),
    "deflate that is none": (_first(data=b"\xff" * 50, method=8, size=400), "damaged"),
    "the same name twice": (lambda c: raw_zip(_twice(GOOD, pickled(mkdir(c)))), "refused"),
    "the same name twice, the other order": (
        lambda c: raw_zip(_twice(pickled(mkdir(c)), GOOD)),
        "refused",
    ),
    "the same name in another case": (
        lambda c: raw_zip(_twice(GOOD, pickled(mkdir(c)), b"m/DATA.PKL")),
        "refused",
    ),
    "the same name with a stop": (
        lambda c: raw_zip(_twice(GOOD, pickled(mkdir(c)), b"m/./data.pkl")),
        "refused",
    ),
    "the same name with two strokes": (
        lambda c: raw_zip(_twice(GOOD, pickled(mkdir(c)), b"m//data.pkl")),
        "refused",
    ),
    "the same name after a NUL": (
        lambda c: raw_zip(_twice(GOOD, pickled(mkdir(c)), b"m/data.pkl\0x")),
        "refused",
    ),
    "a member that is not listed": (
        lambda c: raw_zip(
            [replace(Entry(b"m/data.pkl", pickled(mkdir(c))), listed=False), *entries()]
        ),
        "refused",
    ),
    "a member listed twice": (
        lambda c: raw_zip([*entries(), replace(entries()[0], header=0)]),
        "damaged",
    ),
    "members that overlap": (
        lambda c: raw_zip([*entries(), replace(entries()[0], name=b"m/x", header=4)]),
        "damaged",
    ),
    "bytes before": (lambda c: b"x" * 7 + raw_zip(entries()), "damaged"),
    "a program before": (
        lambda c: raw_zip(entries(), before=b"#!/bin/sh\ntouch " + bytes(c) + b"\nexit\n"),
        "damaged",
    ),
    "bytes before, counted": (lambda c: raw_zip(entries(), before=b"PK\x03\x04junk"), "damaged"),
    "bytes after": (lambda c: raw_zip(entries(), after=b"x"), "damaged"),
    "a pickle after": (lambda c: raw_zip(entries(), after=pickled(mkdir(c))), "refused"),
    "a zip after": (lambda c: raw_zip(entries()) + torch_zip(mkdir(c)), "refused"),
    "a comment": (lambda c: raw_zip(entries(), comment=b"hello"), "damaged"),
    "a comment with another end in it": (
        lambda c: raw_zip(entries(), comment=raw_zip([])),
        "damaged",
    ),
    "a gap before the list": (lambda c: raw_zip(entries(), gap=b"gap"), "damaged"),
    "a payload in the gap": (lambda c: raw_zip(entries(), gap=pickled(mkdir(c))), "refused"),
    "a list that begins elsewhere": (lambda c: raw_zip(entries(), end={"start": 10}), "damaged"),
    "a list that is shorter": (lambda c: raw_zip(entries(), end={"length": 50}), "damaged"),
    "fewer members counted": (lambda c: raw_zip(entries(), end={"count": 2}), "damaged"),
    "more members counted": (lambda c: raw_zip(entries(), end={"count": 9}), "damaged"),
    "no members": (lambda c: raw_zip([]), "damaged"),
    "a 64-bit end that lies": (lambda c: _end64(raw_zip(entries()), start=7), "damaged"),
    "two lists": (_two_lists, "refused"),
    "a 64-bit end that differs": (
        lambda c: _end64(raw_zip(entries(), end={"count": 3}), end_fields=False),
        "damaged",
    ),
    "a name that is no text": (
        lambda c: raw_zip([*entries(), Entry(b"m/\xff\xfe", b"x")]),
        "damaged",
    ),
    "a name that claims to be text": (
        lambda c: raw_zip([*entries(), Entry(b"m/\xff\xfe", b"x", flags=1 << 11)]),
        "damaged",
    ),
    "cut short": (lambda c: raw_zip(entries())[:-40], "damaged"),
    "cut in the middle": (lambda c: raw_zip(entries())[:150], "damaged"),
    "two roots": (
        lambda c: archive({**_rooted("m"), "n/data.pkl": pickled(mkdir(c))}, ""),
        "refused",
    ),
    "two roots, the other first": (
        lambda c: archive({"n/data.pkl": pickled(mkdir(c)), **_rooted("m")}, ""),
        "refused",
    ),
    "no root": (lambda c: archive(records(), ""), "damaged"),
    "a member called as the root": (
        lambda c: archive({**_rooted("m"), "m": pickled(mkdir(c))}, ""),
        "refused",
    ),
    "a folder with content": (
        lambda c: archive({**_rooted("m"), "m/x/": pickled(mkdir(c))}, ""),
        "refused",
    ),
    "two pickles in folders": (
        lambda c: archive({**_rooted("m"), "m/m/data.pkl": pickled(mkdir(c))}, ""),
        "dangerous",
    ),
    "a packed storage": (lambda c: archive(records(), method=zipfile.ZIP_DEFLATED), "inert"),
    "60 000 members": (
        lambda c: archive(records() | {f"data/{n}": b"" for n in range(1, 60_000)}),
        "damaged",
    ),
    "60 000 pickles": (
        lambda c: archive(records() | {f"{n}.pkl": b"N." for n in range(1, 60_000)}),
        "damaged",
    ),
}

NAMES = (
    "../../evil.pt",
    "m/../../evil.pt",
    "/etc/cron.d/evil",
    "//server/share/evil",
    "C:/evil.pt",
    "c:evil.pt",
    "..\\evil.pt",
    "m\\..\\evil",
    "\\\\server\\share",
    "m/a\0b",
    "m/" + "x" * 3000,
    "m/..",
    "..",
    ".",
    "",
    "m/a/../data.pkl",
)


def _rooted(root: str) -> dict[str, bytes]:
    return {f"{root}/{name}": data for name, data in records().items()}


def zip_items() -> Iterator[Item]:
    for name, (make, expect) in DOCTORED.items():
        live = "torch" if name == "the same name twice, the other order" else ""
        yield Item(f"zip/{name}", make, expect, live)
    for number, name in enumerate(NAMES):
        yield Item(
            f"zip/a member called no {number}",
            lambda c, n=name: raw_zip([*entries(), Entry(n.encode(), b"x", flags=1 << 11)]),
            "damaged",
        )
        yield Item(
            f"zip/only a member called no {number}",
            lambda c, n=name: raw_zip([Entry(n.encode(), pickled(mkdir(c)), flags=1 << 11)]),
            "refused",
        )
    for changes in (
        {"local_name": b"m/data.pkx"},
        {"flags": 1, "local_flags": 0},
        {"flags": 0, "local_flags": 1},
        {"crc": 7},
        {"needed": 100},
        {"local_needed": 100},
        {"local_crc": 7},
        {"local_size": 3},
        {"local_method": 8},
        {"extra": _unicode_path(b"m/data.pkl", b"m/other")},
    ):
        # The tricks of CVE-2025-1944, -1945 and -10156: a scanner stumbles, torch.load does not.
        yield Item(
            f"zip/a payload behind {' and '.join(f'{k} {v!r}' for k, v in changes.items())[:60]}",
            lambda c, changes=changes: raw_zip(_payload(c, changes)),
            live="" if changes.get("flags") else "torch",
        )


def _payload(canary: Path, changes: dict[str, object]) -> list[Entry]:
    return with_pickle(b"N", data=pickled(mkdir(canary)), **changes)
