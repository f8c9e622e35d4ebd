"""One pass over a file: its SHA-256, the checksums inside it, and whether it changed meanwhile."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ml_core.reading.container import Checksum

_CHUNK = 1 << 20
# Coarser clocks of file systems than FAT's, of two seconds, are not known.
_SETTLED = 3_000_000_000


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Which file was read, and the facts that show whether it is still the same.

    Parameters
    ----------
    file
        The shard, "" where there is one file.
    size, sha256
        Number and SHA-256 of all its bytes.
    device, inode, modified, changed
        What the system reports about it; times in nanoseconds.
    settled
        Whether the times were old enough, when its reading began, to differ after any later
        change. Only then, and only where the system keeps the time of the last change, do they
        stand for the content.
    """

    file: str
    size: int
    sha256: str
    device: int
    inode: int
    modified: int
    changed: int
    settled: bool

    def still_holds(self, descriptor: int) -> bool:
        """Whether an open file is certainly this one, unchanged; False if it must be hashed."""
        return self.settled and self.matches(os.fstat(descriptor))

    def matches(self, stat: os.stat_result) -> bool:
        """Whether the system reports the same facts; for an unsettled file that proves little."""
        return self.facts == _facts(stat)

    @property
    def facts(self) -> tuple[int, int, int, int, int]:
        """All but the content."""
        return self.size, self.device, self.inode, self.modified, self.changed


def _facts(stat: os.stat_result) -> tuple[int, int, int, int, int]:
    return (stat.st_size, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


def has_settled(stat: os.stat_result, now: int) -> bool:
    """Whether a later change would show in the times; ``now`` in nanoseconds.

    Windows keeps the time of creation where others keep that of the last change, and any program
    may set the other one back.
    """
    if sys.platform == "win32":
        return False
    return now - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED


class ChangedError(Exception):
    """The file changed while it was read."""


def check_unchanged(file: BinaryIO, before: os.stat_result) -> None:
    """Compare what the system reports of an open file with what it reported before.

    Raises
    ------
    ChangedError
        If it is not the same.
    """
    if _facts(before) != _facts(os.fstat(file.fileno())):
        raise ChangedError


def pass_over(
    file: BinaryIO, before: os.stat_result, began: int, sums: Sequence[Checksum] = ()
) -> tuple[FileStamp, str]:
    """Hash an open file and compare checksums.

    Parameters
    ----------
    before, began
        ``os.fstat`` of it before anything was read of it, and the time then.
    sums
        Checksums of ranges that do not overlap, in their order.

    Returns
    -------
    FileStamp
        The stamp of the file.
    str
        Name of the first range with another checksum; empty if there is none.

    Raises
    ------
    ChangedError
        If the file has changed since then.
    """
    file.seek(0)
    digest, length = hashlib.sha256(), 0
    buffer = memoryview(bytearray(_CHUNK))
    compare = _Comparison(sums)
    # One that grows as fast as it is read would never end.
    while length <= before.st_size and (count := file.readinto(buffer)):  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        compare.add(buffer[:count])
        length += count
    if _facts(before) != _facts(os.fstat(file.fileno())) or length != before.st_size:
        raise ChangedError
    stamp = FileStamp(
        "",
        length,
        digest.hexdigest(),
        before.st_dev,
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
        has_settled(before, began),
    )
    return stamp, compare.wrong


def started() -> int:
    """The time, as `pass_over` wants it."""
    return time.time_ns()


def compare_checksums(file: BinaryIO, sums: Sequence[Checksum]) -> str:
    """Read ranges of an open file; the name of the first with another checksum, or empty."""
    for check in sums:
        file.seek(check.offset)
        crc, left = 0, check.nbytes
        while left and (chunk := file.read(min(left, _CHUNK))):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
        if left or crc != check.crc:
            return check.name
    return ""


class _Comparison:
    """Checksums of ranges of a file that comes in pieces, from its start."""

    def __init__(self, sums: Sequence[Checksum]) -> None:
        self._sums, self._next = sums, 0
        self._position = self._crc = 0
        self.wrong = ""

    def add(self, piece: memoryview) -> None:
        """Take in the next piece."""
        start, self._position = self._position, self._position + len(piece)
        while self._next < len(self._sums) and not self.wrong:
            check = self._sums[self._next]
            end = check.offset + check.nbytes
            inside = piece[max(0, check.offset - start) : max(0, end - start)]
            self._crc = zlib.crc32(inside, self._crc)
            if end > self._position:
                return
            if self._crc != check.crc:
                self.wrong = check.name
            self._next, self._crc = self._next + 1, 0
