"""Change bytes as a fuzzer does; the same random generator makes the same changes."""

from __future__ import annotations

import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Sequence

PIECES = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"\x8c\x02os", b"\x8c\x06system", b"\x93", b"R",
    b"\x81", b"b", b"s", b"a", b"e", b"u", b"t", b"(", b"0", b"1", b"2", b"\x85", b"\x86", b"\x87",
    b"\x94", b"h\x00", b"h\x01", b"q\x00", b"p0\n", b"g0\n", b"N", b")", b"}", b"]", b"K\x01", b"Q",
    b"P0\n", b"ccollections\nOrderedDict\n", b"cargparse\nNamespace\n", b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"\x80\x02", b"\x80\x04", b".", b"\x92", b"\x82\x01",
    b"\x95\x00\x00\x00\x00\x00\x00\x00\x00", b"\x95\x05\x00\x00\x00\x00\x00\x00\x00", b"I01\n",
    b"L1L\n", b"F1\n", b"S'a'\n", b"V\\u0061\n", b"\x8a\x01\x05", b"\x8b\x01\x00\x00\x00\x05",
    b"X\x01\x00\x00\x00a", b"C\x01x", b"U\x01x", b"\x88", b"\x8f", b"\x90", b"\x91", b"d", b"l",
    b"ios\nsystem\n", b"o", b"r\x00\x00\x01\x00", b"\x97", b"\x98", b"j\x00\x00\x00\x00",
    b"M\x00\x01", b"J\xff\xff\xff\xff", b"G\x00\x00\x00\x00\x00\x00\x00\x00", b"T\x01\x00\x00\x00x",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08",
    b"\x01\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", b"/",
    b"..", b"data.pkl", b"{", b"[", b'"', b",", b":", b"null", b'"__metadata__":{}', b'"F32"',
    b'"shape":[', b"-1", b"1e9", b"18446744073709551615", b"\\u0000",
)  # fmt: skip
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)


def mutated(raw: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """Some changes, one to six: of bits, bytes, numbers, pieces, slices."""
    made = bytearray(raw)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        if not made:
            made += draw.choice(PIECES)
        at = draw.randrange(len(made))
        kind = draw.randrange(9)
        if kind == 0:
            made[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            made[at] = draw.randrange(256)
        elif kind == 2:
            made[at:at] = draw.choice(PIECES)
        elif kind == 3:
            piece = draw.choice(PIECES)
            made[at : at + len(piece)] = piece
        elif kind == 4:
            del made[at : at + draw.choice((1, 1, 2, 4, 8, 30))]
        elif kind == 5:
            length = draw.choice((1, 2, 4, 8, 40))
            to = draw.randrange(len(made))
            made[to:to] = made[at : at + length]
        elif kind == 6:
            form = draw.choice(("<B", "<H", "<I", "<Q", ">I", ">Q"))
            size = struct.calcsize(form)
            number = draw.choice(NUMBERS) & ((1 << 8 * size) - 1)
            made[at : at + size] = struct.pack(form, number)
        elif kind == 7:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            made[at:at] = other[start : start + draw.randrange(60)]
        else:
            del made[at:]
    return bytes(made[: 1 << 20])


def reordered(raw: bytes, draw: random.Random) -> bytes:
    """A pickle with whole opcodes left out, doubled, moved or put in."""
    try:
        starts = [position or 0 for _, _, position in pickletools.genops(raw)]
    except (ValueError, IndexError, OverflowError, AttributeError):
        return raw
    ends = [*starts[1:], len(raw)]
    opcodes = [raw[start:end] for start, end in zip(starts, ends, strict=True)]
    for _ in range(draw.choice((1, 1, 2, 3, 5))):
        at = draw.randrange(len(opcodes))
        kind = draw.randrange(4)
        if kind == 0 and len(opcodes) > 1:
            del opcodes[at]
        elif kind == 1:
            opcodes.insert(draw.randrange(len(opcodes)), opcodes[at])
        elif kind == 2:
            opcodes.insert(at, draw.choice(PIECES))
        else:
            opcodes[at] = draw.choice(PIECES)
    return b"".join(opcodes)


def repacked(raw: bytes, draw: random.Random, others: Sequence[bytes]) -> bytes:
    """A zip in which one member is changed and the archive is in order again."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:
        return raw
    if not members or sum(map(len, members.values())) > 1 << 20:
        return raw
    name = draw.choice(list(members))
    data = members[name]
    members[name] = (
        reordered(data, draw) if draw.random() < 0.5 else mutated(data, draw, others or [raw])
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for key, value in members.items():
            archive.writestr(zipfile.ZipInfo(key), value)
    return out.getvalue()
