"""Names of the members of a zip archive, from its central directory; nothing is unpacked."""

from __future__ import annotations

import struct
from typing import BinaryIO

_MAX_DIRECTORY = 8 << 20
_MAX_MEMBERS = 20_000
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")


def zip_names(file: BinaryIO, size: int) -> tuple[str, ...] | None:
    """List the members of an open archive of ``size`` bytes.

    Returns None where the directory is damaged or larger than an honest checkpoint's, which has
    a few thousand members.
    """
    tail_size = min(size, 65536 + _END.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return None
    _, _, _, _, _, length, _, _ = _END.unpack_from(tail, at)
    end = size - tail_size + at
    # A 64-bit archive has another end record and its locator before this one.
    if tail[max(at - 20, 0) : at].startswith(b"PK\x06\x07") and at >= 76:
        end -= 76
        (length,) = struct.unpack_from("<Q", tail, at - 76 + 40)
    if length > min(_MAX_DIRECTORY, end):
        return None
    file.seek(end - length)
    return _entries(file.read(length))


def _entries(directory: bytes) -> tuple[str, ...] | None:
    names: list[str] = []
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\x01\x02":
            return None
        fields = _ENTRY.unpack_from(directory, at)
        name, extra, comment = fields[10], fields[11], fields[12]
        start = at + _ENTRY.size
        names.append(directory[start : start + name].decode("utf-8", "backslashreplace"))
        at = start + name + extra + comment
        if len(names) > _MAX_MEMBERS:
            return None
    return tuple(names)
