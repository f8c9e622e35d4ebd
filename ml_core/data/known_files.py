"""What a set's files are known by: their content; of a large set not read yet, less."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_core.data.digests import Learner, hash_file, known_digests
from ml_core.data.watch import Watch, unwatched, watched

CONTENT_LIMIT = 512 * 1024**2
CONTENT = "content"
EARLIER = "content, of files that were hashed when first read and look unchanged"
LISTING = "names, sizes and times"


class KnownFiles:
    """The files of a set, whose key never takes longer than hashing `CONTENT_LIMIT` bytes.

    A larger set is known by digests of earlier sessions. Where some are missing, and more than can
    be hashed at once, the key is of names, sizes and times, and `seen` hashes file after file as
    its picture is read anyway: after a full pass the set is known by content when opened again.

    Attributes
    ----------
    known_by
        What `key` was made of, for records.
    lasting_key
        The same at every opening: `key` of a set that is always hashed, else a hash of names, sizes
        and times, even where `key` knows the content meanwhile. Empty before `key`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.known_by = CONTENT
        self.lasting_key = ""
        self._learner: Learner | None = None
        self._waiting: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "paths": self.paths,
            "known_by": self.known_by,
            "lasting_key": self.lasting_key,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process nothing is hashed for later sessions: the first one does that."""
        self.paths, self.known_by = state["paths"], state["known_by"]
        self.lasting_key = state["lasting_key"]
        self._learner, self._waiting = None, set()

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of all; ``watch`` is told bytes, and may end it.

        Raises
        ------
        OSError
            If a file vanished.
        """
        looked = watched(self.paths, watch, "Looking at files", len(self.paths))
        facts = [path.stat() for path in looked]
        total = sum(fact.st_size for fact in facts)
        large = total > CONTENT_LIMIT
        digests = known_digests(self.paths, facts) if large else {}
        self.known_by = EARLIER if digests else CONTENT
        if large:
            self._learner = Learner()
        left, done, most = CONTENT_LIMIT, 0, min(total, CONTENT_LIMIT)

        def tell(read: int) -> None:
            watch("Hashing", min(done + read, most), most)

        for number, path in enumerate(self.paths):
            if number in digests or facts[number].st_size > left:
                continue
            left -= facts[number].st_size
            digests[number] = self._hashed(path, tell)
            done += facts[number].st_size
        self.save()
        listing = _listing(self.paths, facts) if large else ""
        if len(digests) == len(self.paths):
            whole = hashlib.sha256(b"content")
            for number in range(len(self.paths)):
                whole.update(digests[number])
            key = whole.hexdigest()
        else:
            self.known_by = LISTING
            self._waiting = set(range(len(self.paths))) - digests.keys()
            key = listing
        self.lasting_key = listing or key
        return key

    def seen(self, number: int) -> None:
        """Hash a file that was read just now, if its content is not known yet."""
        if self._learner is None or number not in self._waiting:
            return
        self._waiting.discard(number)
        with suppress(OSError):
            self._hashed(self.paths[number])

    def save(self) -> None:
        """Keep what was hashed for later sessions."""
        if self._learner is not None:
            self._learner.save()

    def _hashed(self, path: Path, tell: Callable[[int], None] = lambda read: None) -> bytes:
        """SHA-256 of a file, kept where there is a learner."""
        fact, digest = hash_file(path, tell)
        if self._learner is not None and fact is not None:
            self._learner.learn(path, fact, digest)
        return digest


def _listing(paths: Sequence[Path], facts: Sequence[os.stat_result]) -> str:
    """Hash of names, sizes and times."""
    whole = hashlib.sha256(b"listing")
    for path, fact in zip(paths, facts, strict=True):
        whole.update(f"{path}\0{fact.st_size}\0{fact.st_mtime_ns}\0".encode(errors="replace"))
    return whole.hexdigest()
