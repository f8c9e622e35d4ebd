"""What should be told of an archive besides its checkpoint, although nothing of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from ml_core.reading.side_configs import twin_notes
from ml_core.reading.zip_members import Member, read_head

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
            f"The archive gives 64-bit sizes where none are due ({_listed(wide)}): other programs "
            "may read other bytes.",
        )
    packed = [one.name for one in unread[:_LOOKED_AT] if _is_packed(file, one)]
    if packed:
        notes += (
            f"The archive holds archives that were not looked into ({_listed(packed)}): do not "
            "unpack them elsewhere without looking.",
        )
    return notes


def _is_packed(file: BinaryIO, member: Member) -> bool:
    """Whether a member is an archive, by its first bytes."""
    if not member.size:
        return False
    head = read_head(file, member, _HEAD)
    return head.startswith(_PACKED) or head[257:262] == _TAR


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:3]) + (" and more" if len(names) > 3 else "")
