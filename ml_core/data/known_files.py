"""What a set's files are known by, and which links of its folder are followed."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_core.data.digests import Learner, hash_file, known_digests
from ml_core.data.watch import Watch, unwatched, watched
from ml_core.reading.errors import InputError

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
        self.paths = paths
        self.known_by = CONTENT
        self.lasting_key = ""
        self._learner: Learner | None = None
        self._waiting: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "known_by": self.known_by, "lasting_key": self.lasting_key}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process nothing is hashed for later sessions: the first one does that."""
        self.paths, self.known_by = state["paths"], state["known_by"]
        self.lasting_key = state["lasting_key"]
        self._learner, self._waiting = None, set()

    def key(self, watch: Watch = unwatched) -> str:
        """Hash of all; ``watch`` counts bytes, and may end it.

        Raises
        ------
        OSError
            If a file vanished.
        """
        looked = watched(self.paths, watch, "Looking at files", len(self.paths))
        sizes, times = array("q"), array("q")  # of millions of files: a record each is too much
        for path in looked:
            fact = path.stat()
            sizes.append(fact.st_size)
            times.append(fact.st_mtime_ns)
        total = sum(sizes)
        large = total > CONTENT_LIMIT
        digests = known_digests(self.paths) if large else {}
        self.known_by = EARLIER if digests else CONTENT
        if large:
            self._learner = Learner()
        left, done, most = CONTENT_LIMIT, 0, min(total, CONTENT_LIMIT)

        def tell(read: int) -> None:
            watch("Hashing", min(done + read, most), most)

        whole, missing = hashlib.sha256(b"content"), set[int]()
        before: tuple[Path | None, bytes | None] = None, None
        for number, path in enumerate(self.paths):
            digest = digests.pop(number, None)
            if digest is None and path == before[0]:  # rows of a table that name one picture
                digest = before[1]
            if digest is None and sizes[number] <= left:
                left -= sizes[number]
                digest = self._hashed(path, tell)
                done += sizes[number]
            if digest is None:
                missing.add(number)
            else:
                whole.update(digest)
            before = path, digest
        self.save()
        listing = _listing(self.paths, sizes, times) if large else ""
        if not missing:
            key = whole.hexdigest()
        else:
            self.known_by, self._waiting = LISTING, missing
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


def _listing(paths: Sequence[Path], sizes: Sequence[int], times: Sequence[int]) -> str:
    """Hash of names, sizes and times."""
    whole = hashlib.sha256(b"listing")
    for path, size, time in zip(paths, sizes, times, strict=True):
        whole.update(f"{path}\0{size}\0{time}\0".encode(errors="replace"))
    return whole.hexdigest()


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a file below a folder is there itself, also through links.

    A link may lead within the folder, or, in a Hugging Face cache (``snapshots/REVISION/...``), to
    the ``blobs`` of the same repository.
    """
    try:
        root, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))
    except OSError:  # a link that leads to itself
        return False
    allowed = [root]
    for below in (root, *root.parents):
        if below.parent.name == "snapshots":
            allowed.append(below.parent.parent / "blobs")
    return any(real.is_relative_to(folder_allowed) for folder_allowed in allowed)


def own_file(folder: Path, name: str) -> Path:
    """The path of one of a set's files, such as a list of its labels.

    Raises
    ------
    InputError
        ``unsupported`` if it is a link that leads out of the folder.
    """
    path = folder / name
    if path.is_symlink() and not stays_inside(folder, path):
        raise InputError(
            f"{folder.name}/{name} is a link to a file outside the folder, which is not followed; "
            "put the file itself there.",
            "unsupported",
        )
    return path
