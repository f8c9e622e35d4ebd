"""The members of a zip or a tar archive that can be read in one way only; nothing is unpacked.

Readers of zip files disagree about archives whose central directory, local headers and bytes
tell different things (CVE-2025-1944, CVE-2025-1945). Such an archive is refused: it must begin
with its first member and end with its end record, its members must lie back to back, and both
headers of each must agree.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ml_core.reading.errors import SAFETENSORS_COPY, first_names
from ml_core.reading.folder import twin_notes

MAX_MEMBERS = 20_000
_MAX_DIRECTORY = 8 << 20
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR, _FLAG_UTF8 = 1, 8, 1 << 11
_ALLOWED_FLAGS = _FLAG_DESCRIPTOR | _FLAG_UTF8 | 0b110
STORED, DEFLATED = 0, 8
_TABLES = 1024
_LONGEST_END = 22 + 65535  # an end record and its comment
_NEWEST = 63  # version 6.3 of the format: readers refuse members that ask for more
_UNPACK = "unpack it and open the file inside"
_OTHER_NAME = 0x7075  # an extra field that some readers take for the name


class ZipError(ValueError):
    """The archive is refused; half a sentence says why, and ``advice`` what to do."""

    def __init__(self, why: str, advice: str = "get the file again") -> None:
        super().__init__(why)
        self.advice = advice


class CutShortError(ZipError):
    """The archive, or something in it, is cut off before its end."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member: ``offset`` of its data in the file, packed and unpacked sizes in bytes.

    ``wide`` means that 64-bit sizes are given although 32 bits would do. Readers differ in which
    sizes they take.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    wide: bool = False

    def place(self, at: int = 0) -> int | None:
        """Where byte ``at`` of its content lies in the file; None if it is packed."""
        return self.offset + at if self.method == STORED else None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the central directory says."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int
    wide: bool


def zip_members(file: BinaryIO, size: int) -> tuple[Member, ...]:
    """List the members of an open archive of ``size`` bytes in the order of their bytes.

    Raises
    ------
    ZipError
        If the archive is damaged, too large in its lists, or could be read in two ways.
    """
    start, length, count = _directory(file, size)
    file.seek(start)
    entries = _entries(file.read(length), count)
    entries.sort(key=lambda entry: entry.header)
    members: list[Member] = []
    position = 0
    for entry in entries:
        if entry.header != position:
            raise ZipError("its members do not lie back to back")
        member, position = _member(file, entry, start)
        members.append(member)
    if position != start:
        raise ZipError("it has bytes that belong to no member")
    names = {member.name for member in members}
    if len(names) != len(members):
        raise ZipError("two of its members have the same name")
    return tuple(members)


def read_member(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Read a member of at most ``limit`` bytes.

    Raises
    ------
    ZipError
        If it is larger, or is not what its header says.
    """
    label = member.name[:80]
    if member.size > limit or member.packed > limit:
        raise ZipError(f"its member {label!r} is larger than {limit} bytes", SAFETENSORS_COPY)
    file.seek(member.offset)
    raw = file.read(member.packed)
    if member.method == DEFLATED:
        unpack = zlib.decompressobj(-15)
        try:
            raw = unpack.decompress(raw, limit + 1)
        except zlib.error:
            raise ZipError(f"its member {label!r} cannot be unpacked") from None
        if not unpack.eof or unpack.unused_data:
            raise ZipError(f"its member {label!r} does not end where it should")
    if len(raw) != member.size:
        raise ZipError(f"its member {label!r} has {len(raw)} bytes instead of {member.size}")
    # torch.serialization.set_crc32_options(False) writes no checksum but a zero.
    if member.crc and zlib.crc32(raw) != member.crc:
        raise ZipError(f"its member {label!r} has another checksum than it should")
    return raw


def read_head(file: BinaryIO, member: Member, length: int) -> bytes:
    """Read at most the first ``length`` bytes of a member, unpacked; fewer if it is damaged."""
    file.seek(member.offset)
    if member.method == STORED:
        return file.read(min(member.packed, length))
    # The first packed bytes only say how the others are to be read.
    raw = file.read(min(member.packed, length + _TABLES))
    try:
        return zlib.decompressobj(-15).decompress(raw, length)
    except zlib.error:
        return b""


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Start, length and number of entries of the central directory."""
    if size < _END.size:
        raise CutShortError("it is cut short")
    file.seek(size - _END.size)
    magic, disk, first, here, count, length, start, comment = _END.unpack(file.read(_END.size))
    if magic != b"PK\x05\x06" or comment:
        file.seek(max(0, size - _LONGEST_END))
        tail = file.read(_LONGEST_END)
        if b"PK\x05\x06" in tail[: len(tail) - _END.size + 4]:
            raise ZipError("bytes follow its end record")
        raise CutShortError("it is cut short")
    if disk or first or here != count:
        raise ZipError("it is part of an archive in several files", "put them together first")
    end = size - _END.size
    if 0xFFFF in (count, here) or 0xFFFFFFFF in (length, start) or _has_locator(file, end):
        stated = (start, length, count)
        start, length, count, end = _directory64(file, end)
        # Readers differ in which of the two end records they believe.
        full = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFF)
        if any(
            t not in (f, v) for t, f, v in zip(stated, full, (start, length, count), strict=True)
        ):
            raise ZipError("its two end records differ")
    if start + length != end:
        raise ZipError("its list of members does not lie before its end record")
    if count > MAX_MEMBERS or length > _MAX_DIRECTORY:
        raise ZipError(f"it lists more than {MAX_MEMBERS} members", SAFETENSORS_COPY)
    return start, length, count


def _has_locator(file: BinaryIO, end: int) -> bool:
    """Whether the record that points at a 64-bit end record lies before the end record."""
    if end < _LOCATOR64.size:
        return False
    file.seek(end - _LOCATOR64.size)
    return file.read(4) == b"PK\x06\x07"


def _directory64(file: BinaryIO, end: int) -> tuple[int, int, int, int]:
    """The same from the 64-bit end record, and where that begins."""
    at = end - _LOCATOR64.size - _END64.size
    if at < 0 or not _has_locator(file, end):
        raise ZipError("its 64-bit end record is missing")
    file.seek(at)
    fields = _END64.unpack(file.read(_END64.size))
    _, disk, where, disks = _LOCATOR64.unpack(file.read(_LOCATOR64.size))
    magic, length, _, _, this, first, here, count, directory, start = fields
    if magic != b"PK\x06\x06" or length != _END64.size - 12 or where != at:
        raise ZipError("its 64-bit end record is damaged")
    if disk or disks > 1 or this or first or here != count:
        raise ZipError("it is part of an archive in several files", "put them together first")
    return start, directory, count, at


def _entries(raw: bytes, count: int) -> list[_Entry]:
    entries: list[_Entry] = []
    at = 0
    for _ in range(count):
        if len(raw) - at < _ENTRY.size:
            raise CutShortError("its list of members is cut short")
        fields = _ENTRY.unpack_from(raw, at)
        magic, _, needed, flags, method, _, _, crc, packed, size = fields[:10]
        name_length, extra_length, comment, disk, _, mode, header = fields[10:]
        if magic != b"PK\x01\x02" or disk:
            raise ZipError("its list of members is damaged")
        if needed & 0xFF > _NEWEST or needed >> 8:
            raise ZipError("one of its members asks for a newer kind of archive")
        at += _ENTRY.size
        name = raw[at : at + name_length]
        extra = raw[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment
        if at > len(raw):
            raise CutShortError("its list of members is cut short")
        kind = stat.S_IFMT(mode >> 16)
        if kind == stat.S_IFLNK:
            raise ZipError("one of its members is a link")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ZipError("one of its members is a device or a pipe")
        if name.endswith(b"/") and size:
            raise ZipError("one of its folders has content")
        (size, packed, header), undue = _widen(extra, size, packed, header)
        entries.append(_Entry(name, flags, method, crc, packed, size, header, undue))
    if at != len(raw):
        raise ZipError("bytes follow its list of members")
    return entries


def _widen(extra: bytes, *values: int) -> tuple[tuple[int, ...], bool]:
    """Replace values of all ones by those of the 64-bit field; whether none asks for that field."""
    fields: list[bytes] = []
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if at + 4 + length > len(extra):
            raise ZipError("an extra field of a member is damaged")
        if kind == 1:
            fields.append(extra[at + 4 : at + 4 + length])
        if kind == _OTHER_NAME:
            raise ZipError("a member has a second name")
        at += 4 + length
    if len(fields) > 1:
        raise ZipError("a member gives its size twice")
    field, taken = (fields[0] if fields else b""), 0
    wide = []
    for value in values:
        if value == 0xFFFFFFFF and fields:
            if taken + 8 > len(field):
                raise ZipError("a member's size is missing")
            (value,) = struct.unpack_from("<Q", field, taken)
            taken += 8
        wide.append(value)
    return tuple(wide), bool(field) and 0xFFFFFFFF not in values


def _member(file: BinaryIO, entry: _Entry, limit: int) -> tuple[Member, int]:
    """Compare the local header with the directory; the member and where the next one begins."""
    file.seek(entry.header)
    raw = file.read(_LOCAL.size)
    if len(raw) != _LOCAL.size:
        raise CutShortError("a member is cut short")
    magic, needed, flags, method = _LOCAL.unpack(raw)[:4]
    crc, packed, size, name_length, extra_length = _LOCAL.unpack(raw)[6:]
    name, extra = file.read(name_length), file.read(extra_length)
    if magic != b"PK\x03\x04" or name != entry.name:
        raise ZipError("a member is called differently in its header and in the list")
    if flags != entry.flags or method != entry.method or needed > _NEWEST:
        raise ZipError("a member is described differently in its header and in the list")
    if flags & ~_ALLOWED_FLAGS:
        raise ZipError("a member is encrypted or packed in an unusual way", _UNPACK)
    if method not in (STORED, DEFLATED):
        raise ZipError("a member is packed in an unusual way", _UNPACK)
    (size, packed), undue = _widen(extra, size, packed)
    stated = (crc, packed, size)
    listed = (entry.crc, entry.packed, entry.size)
    later = bool(flags & _FLAG_DESCRIPTOR)
    if stated != listed and not (later and stated == (0, 0, 0)):
        raise ZipError("a member's size differs in its header and in the list")
    if method == STORED and entry.packed != entry.size:
        raise ZipError("a stored member has two sizes")
    offset = entry.header + _LOCAL.size + name_length + extra_length
    end = offset + entry.packed
    if end > limit:
        raise CutShortError("a member is cut short")
    if later:
        end = _after_descriptor(file, end, entry)
    label, wide = _name(entry), entry.wide or undue
    return Member(label, entry.method, entry.crc, entry.packed, entry.size, offset, wide), end


def _after_descriptor(file: BinaryIO, at: int, entry: _Entry) -> int:
    """Skip the record of sizes that follows a member's data."""
    file.seek(at)
    raw = file.read(24)
    values = (entry.crc, entry.packed, entry.size)
    for layout in ("<4s3L", "<4sL2Q")[max(values) >= 1 << 32 :]:
        descriptor = struct.pack(layout, b"PK\x07\x08", *values)
        if raw.startswith(descriptor):
            return at + len(descriptor)
    raise ZipError("a member's sizes after its data differ from the list")


def _name(entry: _Entry) -> str:
    """A member's name as text."""
    try:
        return safe_name(entry.name.decode("utf-8" if entry.flags & _FLAG_UTF8 else "ascii"))
    except UnicodeDecodeError:
        raise ZipError("a member's name is not valid text") from None


def safe_name(name: str) -> str:
    """A member's name, refused where it could lead somewhere else when unpacked.

    Raises
    ------
    ZipError
        If it is empty, very long, absolute, has a drive, or leads up.
    """
    parts = name.split("/")
    if (
        not name
        or len(name) > 1024
        or "\\" in name
        or "\0" in name
        or ":" in parts[0]
        or parts[0] == ""
        or {".", ".."} & set(parts)
        or "" in parts[:-1]
    ):
        raise ZipError(f"a member is called {name[:80]!r}, which leads out of the archive")
    return name


_LOOKED_AT = 5000
_HEAD = 264
_PACKED = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf\x27\x1c",
           b"\x28\xb5\x2f\xfd", b"Rar!")  # fmt: skip
_TAR = b"ustar"


def odd_members(
    file: BinaryIO, members: Sequence[Member], unread: Sequence[Member]
) -> tuple[str, ...]:
    """Sentences on names that differ in case, sizes that readers may differ about, and archives.

    Parameters
    ----------
    members
        All of the archive.
    unread
        Those that nothing was read of.
    """
    notes = twin_notes((member.name for member in members), "The archive")
    wide = [member.name for member in members if member.wide]
    if wide:
        notes += (
            f"The archive gives 64-bit sizes where none are due ({first_names(wide)}): other "
            "programs may read other bytes.",
        )
    packed = [entry.name for entry in unread[:_LOOKED_AT] if _is_packed(file, entry)]
    if packed:
        notes += (
            f"The archive holds archives that were not looked into ({first_names(packed)}): do not "
            "unpack them elsewhere without looking.",
        )
    return notes


def _is_packed(file: BinaryIO, member: Member) -> bool:
    """Whether a member is an archive, by its first bytes."""
    if not member.size:
        return False
    head = read_head(file, member, _HEAD)
    return head.startswith(_PACKED) or head[257:262] == _TAR


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
