"""Read an evidence bundle that a stranger may have made: a folder or a zip, never unpacked.

Names are held inside the bundle, links are not followed, sizes are limited before a byte is read,
and what comes out are bytes: JSON and tables in them are read by an inert reader.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter, ValidationError

from ml_core.reading.archive_members import DEFLATED, Member, ZipError, zip_members
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short
from ml_core.reading.regular_file import LinkOutError, NotRegularError, open_file, open_regular
from ml_core.reports.record import EVIDENCE_FILE, SESSION_FILE, SUMS_FILE, BundlePath

MAX_FILES = 20_000
LARGEST = 256 << 20
"""Bytes of any file but a checkpoint: the answers to 5 000 000 pictures are less."""
LARGEST_TOGETHER = 2 << 30
_LARGEST_PACKED = 64 << 20
_MOST_TIMES = 200  # a packed member, unpacked; a table of answers is packed to a tenth
_SMALL = 1 << 20
_CHUNK = 1 << 20
_DEEPEST = 5
_NAME: TypeAdapter[str] = TypeAdapter(BundlePath)


class BundleReader(ABC):
    """The files of an open bundle.

    Attributes
    ----------
    name
        Name of the folder or zip, for sentences.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}

    def names(self) -> tuple[str, ...]:
        """Every file, sorted."""
        return tuple(self._sizes)

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return path in self._sizes

    def size(self, path: str) -> int:
        """Bytes of a file that is there."""
        return self._sizes[path]

    @abstractmethod
    def chunks(self, path: str) -> Iterator[bytes]:
        """Content of a file that is there, never more than `size`.

        Raises
        ------
        InputError
            ``damaged`` if it is not what the list of files says.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of the file, where one is open."""

    def read(self, path: str, limit: int = LARGEST) -> bytes:
        """A file of at most ``limit`` bytes.

        Raises
        ------
        InputError
            ``damaged`` if it is missing, larger, or has changed since it was hashed.
        """
        self._require(path)
        if self.size(path) > limit:
            raise InputError(
                f"{path} is too large ({self.size(path)} bytes, the limit is {limit}).", "damaged"
            )
        raw = b"".join(self.chunks(path))
        known = self._digests.get(path)
        if known is not None and hashlib.sha256(raw).hexdigest() != known:
            raise InputError(f"{path} changed while the bundle was read; try again.", "damaged")
        return raw

    def hashing(self, path: str) -> Iterator[int]:
        """Hash a file of any size piece by piece; yields the bytes read so far.

        Raises
        ------
        InputError
            ``damaged`` if it is missing, or is not what the list of files says.
        """
        self._require(path)
        digest, done = hashlib.sha256(), 0
        for chunk in self.chunks(path):
            digest.update(chunk)
            done += len(chunk)
            yield done
        self._digests[path] = digest.hexdigest()

    def digest(self, path: str) -> str:
        """SHA-256 of a file in hex; raises as `hashing`."""
        if path not in self._digests:
            for _ in self.hashing(path):
                pass
        return self._digests[path]

    def expect(self, digests: Mapping[str, str]) -> None:
        """Take SHA-256 by file that an earlier reading found: `read` refuses what has changed."""
        self._digests.update(digests)

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of the files that were hashed."""
        return dict(self._digests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _require(self, path: str) -> None:
        if not self.has(path):
            raise InputError(f"{short(path)} is missing in the bundle {self.name}.", "damaged")


def open_bundle(path: Path) -> BundleReader:
    """Open a bundle's folder or zip; nothing of it is believed yet.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path; ``damaged`` if it is no bundle, or holds names
        that lead out of it, links, devices, two names that are one elsewhere, packed members that
        blow up, or too many files.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise InputError(
            f"There is no bundle at {short(str(path))}: give the folder NAME.evidence or its zip."
        ) from None
    reader: BundleReader = _Folder(path) if stat.S_ISDIR(mode) else _Zip(path)
    if not reader.has(EVIDENCE_FILE):
        reader.close()
        raise InputError(
            f"{short(path.name)} is no evidence bundle: it has no {EVIDENCE_FILE} at its top.",
            "damaged",
        )
    if reader.has(SESSION_FILE) and not reader.has(SUMS_FILE):
        reader.close()
        raise InputError(
            f"{short(path.name)} is a session and no finished bundle: write one of it with "
            "`cleanclip report` first."
        )
    return reader


class _Folder(BundleReader):
    """A bundle as a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(short(path.name or str(path)))
        self._root = path
        self._list(path, "", 1)
        _check_names(self.name, self._sizes)

    def _list(self, folder: Path, prefix: str, depth: int) -> None:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    inside = prefix + entry.name
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(facts.st_mode) and depth < _DEEPEST:
                        self._list(Path(entry.path), f"{inside}/", depth + 1)
                    elif stat.S_ISLNK(facts.st_mode):
                        raise _damaged(self.name, f"{short(inside)} is a link")
                    elif not stat.S_ISREG(facts.st_mode):
                        raise _damaged(self.name, f"{short(inside)} is no regular file")
                    else:
                        self._sizes[inside] = facts.st_size
                    if len(self._sizes) > MAX_FILES:
                        raise _damaged(self.name, f"it holds more than {MAX_FILES} files")
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}.") from None

    def chunks(self, path: str) -> Iterator[bytes]:
        size = self._sizes[path]
        try:
            with open_file(self._root / path, self._root) as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise InputError(f"{path} changed while the bundle was read; try again.")
                yield from _read(file, size, path)
        except (NotRegularError, LinkOutError, OSError) as error:
            why = error.strerror or "the system refuses it"
            raise InputError(f"{path} cannot be read: {why}.", "damaged") from None


class _Zip(BundleReader):
    """A bundle as a zip archive, which can be read in one way only (`zip_members`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(short(path.name))
        self._file, size = open_regular(path)
        try:
            listed = zip_members(self._file, size)
        except ZipError as error:
            self._file.close()
            raise _damaged(self.name, str(error)) from None
        self._members = {member.name: member for member in listed if not member.name.endswith("/")}
        try:
            if len(self._members) > MAX_FILES:
                raise _damaged(self.name, f"it holds more than {MAX_FILES} files")
            self._sizes = {name: member.size for name, member in self._members.items()}
            _check_names(self.name, self._sizes)
            for member in self._members.values():
                _check_packing(self.name, member)
        except InputError:
            self._file.close()
            raise

    def chunks(self, path: str) -> Iterator[bytes]:
        member = self._members[path]
        self._file.seek(member.offset)
        crc = done = 0
        for chunk in (
            _unpacked(self._file, member)
            if member.method == DEFLATED
            else _read(self._file, member.size, path)
        ):
            crc, done = zlib.crc32(chunk, crc), done + len(chunk)
            yield chunk
        if done != member.size or crc != member.crc:
            raise InputError(f"{path} is not what the zip's list says of it.", "damaged")

    def close(self) -> None:
        self._file.close()


def _damaged(name: str, why: str) -> InputError:
    return InputError(f"{name} is no bundle that can be read: {why}.", "damaged")


def _check_names(bundle: str, sizes: dict[str, int]) -> None:
    """Refuse names that a bundle cannot have, or that are the same file on another system."""
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for name in sizes:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise _damaged(bundle, f"it holds a file called {short(name, 80)!r}") from None
        folded = name.casefold()
        if folded in seen:
            raise _damaged(bundle, f"{seen[folded]} and {name} are one file on some systems")
        seen[folded] = name
        parts = folded.split("/")
        folders |= {"/".join(parts[:count]) for count in range(1, len(parts))}
    both = sorted(folders & set(seen))
    if both:
        raise _damaged(bundle, f"{seen[both[0]]} is a file and a folder")
    ordered = dict(sorted(sizes.items()))
    sizes.clear()
    sizes.update(ordered)


def _check_packing(bundle: str, member: Member) -> None:
    """Refuse a packed member that is large, or becomes many times what it is."""
    if member.wide and member.size < 1 << 32:
        raise _damaged(bundle, f"{member.name} gives its size twice")
    if member.method != DEFLATED:
        return
    if member.size > _LARGEST_PACKED:
        raise _damaged(
            bundle, f"{member.name} is packed and over {_LARGEST_PACKED >> 20} MB; store it instead"
        )
    if member.size > _SMALL and member.size > member.packed * _MOST_TIMES:
        raise _damaged(bundle, f"{member.name} becomes {member.size} bytes of {member.packed}")


def _read(file: BufferedReader, size: int, name: str) -> Iterator[bytes]:
    """This many bytes from the file's present position."""
    left = size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise InputError(f"{name} is cut short.", "damaged")
        left -= len(chunk)
        yield chunk


def _unpacked(file: BufferedReader, member: Member) -> Iterator[bytes]:
    """A packed member piece by piece, never more than its size."""
    unpack, done = zlib.decompressobj(-15), 0
    try:
        for packed in _read(file, member.packed, member.name):
            full = True
            while packed or full:  # what was taken in may not all have come out yet
                chunk = unpack.decompress(packed, _CHUNK)
                packed, full, done = unpack.unconsumed_tail, len(chunk) == _CHUNK, done + len(chunk)
                if done > member.size or unpack.unused_data:
                    raise zlib.error
                yield chunk
    except zlib.error:
        raise InputError(f"{member.name} cannot be unpacked as it is listed.", "damaged") from None
    if not unpack.eof:
        raise InputError(f"{member.name} does not end where it should.", "damaged")
