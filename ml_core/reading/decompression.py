"""Compressed pieces of a file read as one decompressed stream, a block at a time.

Deflated data can only be unpacked from its start. On the way, copies of the unpacker are kept at
some places, so that a later look at the middle begins at the nearest one. Nothing that a header
says of a size is believed: the bytes that come out are counted, against those that went in.
"""

from __future__ import annotations

import io
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, BinaryIO

from ml_core.reading.archive_members import DEFLATED, STORED, CutShortError, ZipError

_UNPACK = "unpack it and open the file inside"
GZIP = 31  # zlib's own number for a stream with gzip's header and checksum
_WINDOW = {DEFLATED: -15, GZIP: GZIP}
METHODS = (STORED, *_WINDOW)
BLOCK = 1 << 18
_INPUT = 1 << 16
_KEPT_BLOCKS = 8
_KEPT_PLACES = 256  # of about 40 KB each
# Weights hardly shrink when they are packed; a few zeros of a small file may shrink a lot.
FREE = 64 << 20
MAX_RATIO = 16
_UNKNOWN = 1 << 60
_AGAIN, _AGAIN_FREE = 4, 256 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, packed by ``method`` or stored, and what they are unpacked.

    ``file`` is the shard that they lie in, "" where there is one file; ``crc`` is 0 where the
    file gives no checksum.
    """

    method: int
    offset: int
    packed: int
    size: int
    crc: int
    file: str = ""


class Unpacked(io.RawIOBase):
    """Pieces of an open file one after the other, unpacked where they are read.

    Raises `ZipError` from any reading where the bytes are not what they should be. The file stays
    the caller's.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file, self._pieces = file, tuple(pieces)
        self._starts = [0, *accumulate(piece.size for piece in pieces)]
        self._position = 0
        self._blocks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._running: _Unpacker | None = None
        self._places: list[_Unpacker] = []
        self._step = 1
        self._left: int | None = None

    @classmethod
    def gzip(cls, file: BinaryIO, size: int) -> Unpacked:
        """Unpack an open gzip file of ``size`` bytes once, since only that shows its length.

        zlib compares its checksum.
        """
        image = cls(file, [Piece(GZIP, 0, size, _UNKNOWN, 0)])
        length = number = 0
        while raw := image._block(0, number):
            length, number = length + len(raw), number + 1
        image._pieces = (replace(image._pieces[0], size=length),)
        image._starts = [0, length]
        image._finish(0)
        return image

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The given pieces; that of a gzip file with its length."""
        return self._pieces

    @property
    def size(self) -> int:
        return self._starts[-1]

    def fileno(self) -> int:
        return self._file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place among the unpacked bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read unpacked bytes, at most to the end of a piece or of a block."""
        if self._position >= self.size or not len(buffer):
            return 0
        index = bisect_right(self._starts, self._position) - 1
        piece = self._pieces[index]
        inside = self._position - self._starts[index]
        count = min(len(buffer), piece.size - inside)
        if piece.method == STORED:
            self._file.seek(piece.offset + inside)
            raw = self._file.read(count)
            if not raw:
                raise CutShortError("it is cut short")
        else:
            number, begin = divmod(inside, BLOCK)
            raw = self._block(index, number)[begin : begin + count]
            if not raw:
                raise ZipError("a packed member is shorter than it says")
        buffer[: len(raw)] = raw
        self._position += len(raw)
        return len(raw)

    def verify(self) -> None:
        """Read all pieces once, compare sizes and checksums."""
        for index, piece in enumerate(self._pieces):
            crc = done = 0
            while done < piece.size:
                self.seek(self._starts[index] + done)
                raw = self.read(min(BLOCK, piece.size - done))
                done, crc = done + len(raw), zlib.crc32(raw, crc)
            if piece.method != STORED:
                self._finish(index)
            # A checksum of zero is none: torch.serialization.set_crc32_options(False).
            if piece.crc and crc != piece.crc:
                raise ZipError("a packed member has another checksum than it should")

    def bound(self) -> None:
        """Limit what may be unpacked from now on, in whatever order it is read."""
        self._left = _AGAIN * self.size + _AGAIN_FREE

    def _finish(self, index: int) -> None:
        """Refuse a piece that holds more than it says."""
        piece, running = self._pieces[index], self._running
        if running is None or running.index != index:
            running = _Unpacker(self._file, index, piece)
            while running.made < piece.size and running.block():
                pass
        running.end(piece.size)
        self._running = None

    def _block(self, index: int, number: int) -> bytes:
        """One block of a packed piece; short only at its end."""
        key = (index, number)
        if key in self._blocks:
            self._blocks.move_to_end(key)
            return self._blocks[key]
        unpacker = self._nearest(index, number)
        raw = b""
        while unpacker.made <= number * BLOCK:
            here = unpacker.made // BLOCK
            raw = unpacker.block()
            self._count(len(raw))
            if not raw:
                return b""
            self._blocks[index, here] = raw
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
            if (here + 1) % (4 * self._step) == 0:
                self._keep(unpacker)
        self._running = unpacker
        return raw

    def _nearest(self, index: int, number: int) -> _Unpacker:
        """An unpacker that stands at a block or before it, as near as possible."""
        best: _Unpacker | None = self._running
        if best is not None and (best.index != index or best.made > number * BLOCK):
            best = None
        for place in self._places:
            near = place.index == index and place.made <= number * BLOCK
            if near and (best is None or place.made > best.made):
                best = place
        if best is None:
            return _Unpacker(self._file, index, self._pieces[index])
        return best if best is self._running else best.copy()

    def _keep(self, unpacker: _Unpacker) -> None:
        """Keep a point to resume from; if there are many, drop every other one."""
        if any((p.index, p.made) == (unpacker.index, unpacker.made) for p in self._places):
            return
        self._places.append(unpacker.copy())
        if len(self._places) > _KEPT_PLACES:
            del self._places[::2]
            self._step *= 2

    def _count(self, count: int) -> None:
        """Limit how often the same bytes are decompressed again."""
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise ZipError("its packed members are read back and forth without end")


class _Unpacker:
    """A piece that is being unpacked from its start on; ``made`` bytes came out so far."""

    def __init__(self, file: BinaryIO, index: int, piece: Piece) -> None:
        self.index, self.made = index, 0
        self._file, self._piece, self._taken = file, piece, 0
        self._zlib = zlib.decompressobj(_WINDOW[piece.method])

    def copy(self) -> _Unpacker:
        """An unpacker that goes on from the same place."""
        other = _Unpacker.__new__(_Unpacker)
        other.index, other.made = self.index, self.made
        other._file, other._piece, other._taken = self._file, self._piece, self._taken
        other._zlib = self._zlib.copy()
        return other

    def block(self) -> bytes:
        """The next 256 KiB, or what is left."""
        parts: list[bytes] = []
        left = BLOCK
        while left and not self._zlib.eof:
            raw = self._unpack(left)
            left -= len(raw)
            parts.append(raw)
        return b"".join(parts)

    def end(self, size: int) -> None:
        """Refuse another size, and bytes that follow."""
        if self.made != size or (not self._zlib.eof and self._unpack(1)):
            raise ZipError("a packed member has another size than it says")
        left = self._piece.packed - self._taken + len(self._zlib.unused_data)
        if not self._zlib.eof or left:
            raise ZipError(
                "bytes follow the end of a packed member, or it has several parts", _UNPACK
            )

    def _unpack(self, most: int) -> bytes:
        """At most so many bytes; none at the end only."""
        while True:
            raw = self._zlib.unconsumed_tail
            if not raw:
                self._file.seek(self._piece.offset + self._taken)
                raw = self._file.read(min(_INPUT, self._piece.packed - self._taken))
                self._taken += len(raw)
            ends = not raw
            try:
                unpacked = self._zlib.decompress(raw, most)
            except zlib.error:
                raise ZipError("a packed member cannot be unpacked") from None
            self.made += len(unpacked)
            consumed = self._taken - len(self._zlib.unconsumed_tail)
            if self.made > FREE + MAX_RATIO * consumed:
                raise ZipError(
                    f"it unpacks to more than {MAX_RATIO} times its size, as no checkpoint does",
                    "if you know where it comes from, unpack it and open the file inside",
                )
            if unpacked or self._zlib.eof:
                return unpacked
            if ends:
                raise CutShortError("a packed member is cut short")
