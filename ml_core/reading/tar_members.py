"""The members of a plain tar archive, by their headers; nothing is unpacked."""

from __future__ import annotations

import re
from typing import BinaryIO

from ml_core.reading.errors import SAFETENSORS_COPY
from ml_core.reading.zip_members import (
    MAX_MEMBERS,
    STORED,
    CutShortError,
    Member,
    ZipError,
    safe_name,
)

_BLOCK = 512
_FILES = (b"0", b"\0", b"7")
_FOLDERS = b"5"
_LONG_NAME, _EXTRA = b"L", (b"x", b"g", b"K")
_CHANGES = re.compile(rb"\d+ (size|path|linkpath|hdrcharset|GNU\.\w[^=]*)=([^\n]*)\n")
_MAX_EXTRA = 1 << 16


def tar_members(
    file: BinaryIO, size: int, *, most: int = MAX_MEMBERS, advice: str = SAFETENSORS_COPY
) -> tuple[Member, ...]:
    """List the regular files of an open archive of ``size`` bytes in order, up to ``most``.

    ``advice`` says what to do if there are more.

    Raises
    ------
    ZipError
        If the archive is damaged, or holds links, devices, sparse files or unsafe names.
    """
    members: list[Member] = []
    position, long_name = 0, ""
    while True:
        file.seek(position)
        head = file.read(_BLOCK)
        if len(head) < _BLOCK:
            raise CutShortError("it is cut short")
        if head == bytes(_BLOCK):
            break
        kind, length = head[156:157], _number(head[124:136])
        _check_sum(head)
        start = position + _BLOCK
        position = start + -(-length // _BLOCK) * _BLOCK
        if position > size:
            raise CutShortError("a member is cut short")
        if kind == _LONG_NAME:
            if length > _MAX_EXTRA:
                raise ZipError("a member's name is too long")
            long_name = _text(file.read(length).rstrip(b"\0"))
        elif kind in _FILES:
            prefix = _text(_until_zero(head[345:500])) if head[257:263] == b"ustar\0" else ""
            short = _text(_until_zero(head[:100]))
            name = long_name or (f"{prefix}/{short}" if prefix else short)
            name = safe_name(name.removeprefix("./"))
            members.append(Member(name, STORED, 0, length, length, start))
            long_name = ""
        elif kind in _EXTRA:
            if length > _MAX_EXTRA:
                raise ZipError("a member's header is too long")
            for key, value in _CHANGES.findall(file.read(length)):
                if key != b"path" or kind != b"x":
                    raise ZipError("a member has a second size or name")
                long_name = _text(value)
        elif kind != _FOLDERS:
            raise ZipError("it holds links, devices or sparse files")
        if len(members) > most:
            raise ZipError(f"it lists more than {most:,} members", advice)
    if len({member.name for member in members}) != len(members):
        raise ZipError("two of its members have the same name")
    return tuple(members)


def _number(field: bytes) -> int:
    """An octal number, or a binary one where its first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        if field[0] != 0x80 or value >= 1 << 62:
            raise ZipError("a member has no valid size")
        return value
    text = field.strip(b" \0")
    if not text.isdigit() or b"8" in text or b"9" in text:
        raise ZipError("a member has no valid size")
    return int(text, 8)


def _check_sum(head: bytes) -> None:
    """Compare the header's sum with its bytes, the sum itself counted as blanks."""
    if _number(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * 32:
        raise ZipError("a member's header is damaged")


def _until_zero(field: bytes) -> bytes:
    """A field up to its first zero."""
    return field.partition(b"\0")[0]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ZipError("a member's name is not valid text") from None
