"""SHA-256 of picture files, kept between sessions, so that a large set is hashed only once.

A digest stands for a path only while size, times and inode are those of the moment it was taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ml_core.paths import cache_dir
from ml_core.reading.regular_file import open_file

_MOST = 2_000_000  # files, some 150 bytes each
_CHUNK = 4 * 1024**2
_ASKED = 500  # at a time, below SQLite's limit of variables
_RACY_NS = 2_000_000_000
_NAME = "digests-1.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS files
    (path BLOB PRIMARY KEY, facts BLOB NOT NULL, sha256 BLOB NOT NULL)"""


def file_facts(fact: os.stat_result) -> bytes:
    """Size, times and inode: what changes with a file's content."""
    seen = fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns, fact.st_dev, fact.st_ino
    return hashlib.blake2b(repr(seen).encode(), digest_size=16).digest()


def known_digests(paths: Sequence[Path]) -> dict[int, bytes]:
    """SHA-256 of the files that were hashed before and look unchanged, by their number.

    Raises
    ------
    OSError
        If one vanished.
    """
    digests: dict[int, bytes] = {}
    with _index() as index, contextlib.suppress(sqlite3.Error):
        if index is None:
            return digests
        for start in range(0, len(paths), _ASKED):
            names = [_name(path) for path in paths[start : start + _ASKED]]
            marks = ",".join("?" * len(names))
            rows = index.execute(
                "SELECT path, facts, sha256 FROM files WHERE typeof(sha256) = 'blob' AND "
                f"length(sha256) = 32 AND path IN ({marks})",
                names,
            )
            known = {name: (seen, digest) for name, seen, digest in rows}
            for number, name in enumerate(names, start=start):
                seen, digest = known.get(name, (b"", b""))
                if seen and seen == file_facts(paths[number].stat()):
                    digests[number] = digest
    return digests


class Learner:
    """Takes digests for the index. Serves several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: dict[bytes, tuple[bytes, bytes]] = {}

    def learn(self, path: Path, fact: os.stat_result, digest: bytes) -> None:
        """Take a digest, unless the file is so young that a change could keep its times."""
        if time.time_ns() - max(fact.st_mtime_ns, fact.st_ctime_ns) < _RACY_NS:
            return
        with self._lock:
            self._new[_name(path)] = file_facts(fact), digest

    def save(self) -> None:
        """Write the new digests; a cache that cannot be written is no error."""
        with self._lock:
            rows = [(name, *row) for name, row in self._new.items()]
            self._new.clear()
        if not rows:
            return
        with _index() as index, contextlib.suppress(sqlite3.Error):
            if index is not None:
                index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
                index.execute(
                    "DELETE FROM files WHERE rowid <= (SELECT max(rowid) FROM files) - ?", [_MOST]
                )
                index.commit()


def hash_file(
    path: Path, tell: Callable[[int], None] = lambda read: None
) -> tuple[os.stat_result | None, bytes]:
    """Facts and SHA-256 of a file; no facts where it changed meanwhile.

    ``tell`` is given the bytes read so far, and may end it by raising.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open_file(path) as file:
        before = os.fstat(file.fileno())
        content, read = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            content.update(chunk)
            read += len(chunk)
            tell(read)
        after = os.fstat(file.fileno())
    return before if file_facts(before) == file_facts(after) else None, content.digest()


def _name(path: Path) -> bytes:
    """A path as a key of fixed length."""
    return hashlib.blake2b(os.fsencode(os.path.abspath(path)), digest_size=16).digest()


def _own_file(path: Path) -> Path:
    """The index's path; a link or a pipe there, which SQLite would follow or wait for, is removed.

    Raises
    ------
    OSError
        If a folder lies there, or the folder cannot be used.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    return path


@contextlib.contextmanager
def _index() -> Iterator[sqlite3.Connection | None]:
    """The index, or None where it cannot be used; a damaged one begins anew."""
    index = None
    try:
        path = _own_file(cache_dir() / _NAME)
    except OSError:
        yield None
        return
    try:
        index = sqlite3.connect(path, timeout=5)
        index.execute("PRAGMA synchronous=OFF")  # what a power cut destroys begins anew
        index.execute(_TABLE)
    except sqlite3.DatabaseError as error:
        if index is not None:
            index.close()
        index = None
        if not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                path.unlink()
    try:
        yield index
    finally:
        if index is not None:
            index.close()
