"""Pickles in an archive that is refused: what they name says whether it is broken or an attack.

The lists of such an archive are not believed; its bytes are searched for headers of members.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from ml_core.reading.errors import InputError, TruncatedError
from ml_core.reading.pickles.budget import MAX_WORK
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.sniff import looks_pickle
from ml_core.reading.torch_file import check_pickles
from ml_core.reading.zip_members import CutShortError, ZipError

_MARK = b"PK\x03\x04"
_HEADER = struct.Struct("<4s5H3L2H")
_CHUNK = 1 << 20
_MAX_HEADERS = 2000
_MAX_TOTAL = 64 << 20
_HEAD = 4096


def doctored(file: BinaryIO, size: int, name: str, what: ZipError | str) -> InputError:
    """Make the error of an archive of ``size`` bytes that is refused because of ``what``.

    Raises
    ------
    UnknownCodeError
        Instead, if a pickle in it names code that is not on the list.
    """
    check_pickles(pickles_of_doctored_zip(file, size), name)
    advice = what.advice if isinstance(what, ZipError) else "get the file again"
    sentence = f"{name} is a damaged or doctored archive: {what}; {advice}."
    return zip_refusal(sentence, what)


def zip_refusal(sentence: str, what: ZipError | str) -> InputError:
    """Make the error of a damaged archive, of a truncated one if that is what is wrong."""
    if isinstance(what, CutShortError):
        return TruncatedError(sentence)
    return InputError(sentence, "damaged")


def pickles_of_doctored_zip(file: BinaryIO, size: int) -> Iterator[tuple[str, Reading]]:
    """Where pickles that name or misuse code begin in ``size`` bytes, and what they name.

    At most 64 MiB and a quarter of a file's budget are read: this only finds a better word for a
    refusal.
    """
    # The members may have been read before, as far as they could.
    budget, left = Budget(MAX_WORK // 4, MAX_WORK // 16), _MAX_TOTAL
    for start, deflated in _members(file, size):
        if not looks_pickle(_content(file, start, deflated, _HEAD)):
            continue
        raw = _content(file, start, deflated, min(MAX_BYTES, left))
        origin = None if deflated else start
        reading = read_pickle(raw, ends=False, script=True, budget=budget, origin=origin)
        left -= len(raw)
        if reading.unknown or reading.misuse:
            yield f"the bytes from {start} on", reading
        if budget.steps < 0 or left <= 0:
            return


def _members(file: BinaryIO, size: int) -> Iterator[tuple[int, bool]]:
    """Where the contents of members may begin, and whether they may be packed."""
    position = headers = 0
    while position < size and headers < _MAX_HEADERS:
        file.seek(position)
        chunk = file.read(_CHUNK + len(_MARK) - 1)
        at = chunk.find(_MARK)
        while at >= 0:
            headers += 1
            file.seek(position + at)
            raw = file.read(_HEADER.size)
            if len(raw) == _HEADER.size:
                fields = _HEADER.unpack(raw)
                start = position + at + _HEADER.size + fields[9] + fields[10]
                # The method may be a lie as well.
                yield start, False
                yield start, True
            at = chunk.find(_MARK, at + 1)
        position += _CHUNK


def _content(file: BinaryIO, start: int, deflated: bool, limit: int) -> bytes:
    """At most ``limit`` bytes from a place on, unpacked if wished; empty if they are not packed."""
    file.seek(start)
    raw = file.read(limit)
    if not deflated:
        return raw
    try:
        return zlib.decompressobj(-15).decompress(raw, limit)
    except zlib.error:
        return b""
