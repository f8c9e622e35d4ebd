"""Containers put together by hand: PyTorch's zip, the legacy stream, zips that lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace

from tests.hostile.ops import checkpoint, pickled, plain

NUMBERS = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
MAGIC = pickled(b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little"), 2)
PROTOCOL = pickled(b"M\xe9\x03", 2)
MACHINE = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}


def records(payload: bytes = b"N", place: str = "args") -> dict[str, bytes]:
    """Members of a harmless checkpoint, and a payload in its object."""
    return {
        "data.pkl": pickled(checkpoint(payload, place)),
        "byteorder": b"little",
        "data/0": NUMBERS,
        "version": b"3\n",
    }


def archive(members: dict[str, bytes], root: str = "m", method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip; ``root`` goes before each name, empty for none."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(f"{root}/{name}" if root else name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = method
            made.writestr(info, data)
    return out.getvalue()


def torch_zip(payload: bytes = b"N", place: str = "args", **more: bytes) -> bytes:
    return archive(records(payload, place) | {k.replace("__", "/"): v for k, v in more.items()})


def legacy(value=None, *, magic=MAGIC, protocol=PROTOCOL, machine=None, keys=None, data=None):
    """A stream of the old layout; each part can be another one.

    Its marks of storages have one more part, which is always None.
    """
    parts = (
        magic,
        protocol,
        pickled(plain(MACHINE), 2) if machine is None else machine,
        (pickled(checkpoint(), 2) if value is None else value).replace(b"tQ", b"NtQ"),
        pickled(plain(["0"]), 2) if keys is None else keys,
        struct.pack("<q", 4) + NUMBERS if data is None else data,
    )
    return b"".join(parts)


@dataclass(frozen=True)
class Entry:
    """A member as its two headers describe it; None in a ``local_`` field: the same as listed."""

    name: bytes
    data: bytes = b""
    flags: int = 0
    method: int = 0
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    mode: int = 0
    extra: bytes = b""
    comment: bytes = b""
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_crc: int | None = None
    local_size: int | None = None
    local_extra: bytes = b""
    needed: int = 20
    local_needed: int = 20
    descriptor: bytes = b""
    listed: bool = True
    header: int | None = None


def entries(payload: bytes = b"N") -> list[Entry]:
    """Members of a checkpoint, to be lied about."""
    return [Entry(b"m/" + name.encode(), data) for name, data in records(payload).items()]


def with_pickle(payload: bytes, **changes: object) -> list[Entry]:
    """The same, with lies about the first member, the pickle."""
    first, *rest = entries(payload)
    return [replace(first, **changes), *rest]  # type: ignore[arg-type]


def raw_zip(members, *, before=b"", after=b"", comment=b"", gap=b"", end=None):
    """Write an archive exactly as told."""
    out = bytearray(before)
    listed: list[bytes] = []
    for entry in members:
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        packed = len(entry.data) if entry.packed is None else entry.packed
        size = packed if entry.size is None else entry.size
        position = len(out) if entry.header is None else entry.header
        if entry.header is None:
            name = entry.name if entry.local_name is None else entry.local_name
            out += struct.pack(
                "<4s5H3L2H",
                b"PK\x03\x04",
                entry.local_needed,
                entry.flags if entry.local_flags is None else entry.local_flags,
                entry.method if entry.local_method is None else entry.local_method,
                0,
                0x5C21,
                crc if entry.local_crc is None else entry.local_crc,
                packed if entry.local_size is None else entry.local_size,
                size if entry.local_size is None else entry.local_size,
                len(name),
                len(entry.local_extra),
            )
            out += name + entry.local_extra + entry.data + entry.descriptor
        if entry.listed:
            head = struct.pack(
                "<4s6H3L5H2L",
                *(b"PK\x01\x02", 0x0314, entry.needed, entry.flags, entry.method, 0, 0x5C21),
                *(crc, packed, size, len(entry.name), len(entry.extra), len(entry.comment)),
                *(0, 0, entry.mode << 16, position),
            )
            listed.append(head + entry.name + entry.extra + entry.comment)
    out += gap
    start = len(out)
    directory = b"".join(listed)
    facts = {"count": len(listed), "length": len(directory), "start": start} | (end or {})
    out += directory
    out += struct.pack(
        "<4s4H2LH",
        *(b"PK\x05\x06", 0, 0, facts["count"], facts["count"], facts["length"], facts["start"]),
        len(comment),
    )
    return bytes(out) + comment + after
