"""Whether another reader could take a file for a tar archive, a zip archive or a pickle as well.

Each check is as lenient as the most lenient reader, since a file of two kinds is made for that one.
"""

from __future__ import annotations

import errno
import io
import os
import re
import struct
from contextlib import suppress
from typing import Any, BinaryIO, cast
from warnings import catch_warnings

from ml_core.reading.pickles.search import SkippedError, lenient_opcodes

_LONG = 1 << 20
_MAX_OPCODES = 100_000
# Readers look for the end record in the last 65 557 bytes; those that read in blocks look further.
_TAIL = 1 << 17
CALLS = ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")
_START, _LEADING = b"PK\x01\x02", re.compile(rb"[\s\x1c-\x1f\0]*[+-]?(?:0o)?([0-7][0-7_]*)")


def fits_tar(head: bytes) -> bool:
    """Tell by the sum of a tar header; old ones have no other mark, and torch.load tries tar first.

    Python's tarfile takes a number as ``int`` does (signs, underscores, ``0o``, blanks of all
    kinds, nothing for 0) or as bytes, and signed sums; other readers stop at an odd character.
    """
    if len(head) < 512:
        return False
    rest = head[:148] + head[156:512]
    unsigned = 256 + sum(rest)
    sums = (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest))
    return any(number in sums for number in _stated_sums(head[148:156]))


def _stated_sums(field: bytes) -> list[int]:
    """What readers may take for the sum."""
    sums = []
    if field[0] & 0x80:
        sums = [int.from_bytes(field, "big") & ~(1 << 63), int.from_bytes(field[1:], "big")]
        sums.append(sums[-1] - (1 << 56))
    else:
        with suppress(ValueError):
            sums.append(int(field.split(b"\0")[0].decode("ascii").strip() or "0", 8))
    if leading := _LEADING.match(field):
        sums.append(int(leading[1].replace(b"_", b""), 8))
    return sums


def ends_as_zip(file: BinaryIO, size: int, *, shifted: bool = True) -> bool:
    """Tell whether the list of members of a zip archive can be found from the end of a file.

    Parameters
    ----------
    file, size
        An open file of ``size`` bytes that begins as something else.
    shifted
        Whether the archive's offsets may count from a place inside the file, as in an archive that
        was embedded whole in another.
    """
    begin = max(0, size - _TAIL)
    file.seek(begin)
    tail = file.read(size - begin)
    for match in re.finditer(rb"PK(?:\x05\x06|\x06[\x06\x07])", tail):
        at, mark = begin + match.start(), match[0]
        if mark == b"PK\x05\x06":
            places = _from_end(file, at, shifted)
        elif mark == b"PK\x06\x06":
            places = _from_end64(file, at, shifted)
        else:
            file.seek(at + 8)
            raw = file.read(8)
            places = _from_end64(file, int.from_bytes(raw, "little"), shifted)
        if any(_is_at(file, size, place, _START) for place in places):
            return True
    return False


def _from_end(file: BinaryIO, at: int, shifted: bool) -> list[int]:
    """Where the list may begin according to the end record at ``at``."""
    file.seek(at)
    raw = file.read(22)
    if len(raw) < 22:
        return []
    length, start = struct.unpack_from("<2L", raw, 12)
    # Of a 64-bit archive, 76 more bytes lie between the list and this record.
    return [start, at - length, at - length - 76] if shifted else [start]


def _from_end64(file: BinaryIO, at: int, shifted: bool) -> list[int]:
    """The same for a 64-bit end record."""
    if at >= 1 << 62:
        return []
    file.seek(at)
    raw = file.read(56)
    if len(raw) < 56 or raw[:4] != b"PK\x06\x06":
        return []
    length, start = struct.unpack_from("<2Q", raw, 40)
    return [start, at - length] if shifted else [start]


def _is_at(file: BinaryIO, size: int, place: int, mark: bytes) -> bool:
    if not 0 <= place <= size - len(mark):
        return False
    file.seek(place)
    return file.read(len(mark)) == mark


class _Forward(io.RawIOBase):
    """A file that is read from its start and gives no long text: only its length matters."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        file.seek(0)
        self._file, self._size, self._at = file, size, 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> Any:
        if not 0 <= size <= self._size - self._at:
            return b""  # it is cut short, for every reader
        if size > _LONG:
            self._at += size
            self._file.seek(self._at)
            raise SkippedError
        raw = self._file.read(size)
        self._at += len(raw)
        return raw

    def readline(self, size: int | None = -1) -> bytes:
        raw = part = self._file.readline(_LONG)
        while part and part[-1:] != b"\n":
            self._at = _next_data(self._file, self._at + len(part), self._size)
            self._file.seek(self._at)
            part = self._file.readline(_LONG)
        self._at += len(part)
        return raw if raw is part else raw + part[-1:]


def _next_data(file: BinaryIO, at: int, size: int) -> int:
    """The first place from ``at`` on outside the holes of a sparse file, which have no line end."""
    try:
        descriptor, seek_data = file.fileno(), os.SEEK_DATA
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            return os.lseek(descriptor, at, seek_data)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)  # the file has read ahead up to here
    except (AttributeError, OSError) as error:
        return size if getattr(error, "errno", None) == errno.ENXIO else at


def names_code(file: BinaryIO, size: int, *, calls: bool = False) -> bool:
    """Tell whether a file of ``size`` bytes is also a pickle that names something.

    With ``calls``, only if something is called afterwards: lines of text can look like a name.
    """
    texts = names = 0
    opcodes = lenient_opcodes(cast(BinaryIO, _Forward(file, size)))
    with catch_warnings(action="ignore"):  # of escapes that Python no longer likes
        try:
            for count, (name, argument, _) in enumerate(opcodes):
                if name in ("GLOBAL", "INST"):
                    names += is_name(argument)
                elif name == "STACK_GLOBAL":
                    if not texts:
                        return False  # every unpickler stops
                    names += 1
                if count > _MAX_OPCODES or (names and (not calls or name in CALLS)):
                    return True
                texts += isinstance(argument, str)
        except OSError:  # of the file, not of what it holds; one kind is a ValueError too
            raise
        except (ValueError, IndexError, OverflowError):
            return False
    return False


def is_name(argument: Any) -> bool:
    """Tell whether an opcode names an object as Python can."""
    return all(part.isidentifier() for part in re.split(r"[. ]", str(argument)))
