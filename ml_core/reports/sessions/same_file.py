"""How files outside of a session are known again, wherever they lie by now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ml_core.data.digests import hash_file
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.reading import examine
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.inspect import is_there, split_part
from ml_core.reading.json_file import short
from ml_core.reports.sessions.record import FileFacts, Inside

Cancelled = Callable[[], bool]
_MOST_NAMES = 5_000_000
_WORDS = {
    "weights": "the SHA-256 of its weights",
    "file": "its SHA-256",
    "inside": "the SHA-256 of its {}",
    "names": "the digest of its files' names and sizes",
    "pictures": "the digest of its pictures",
}


def _never() -> bool:
    return False


def mark_of(path: str | Path, inside: str = "") -> str:
    """Size and time of change of a file, or of one inside a folder; empty if it cannot be read."""
    try:
        stat = Path(split_part(path)[0], inside).stat()
    except (OSError, InputError):
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def facts_of(
    path: Path,
    known_by: Literal["weights", "file", "inside", "names"],
    inside: Inside = "",
    cancelled: Cancelled = _never,
) -> FileFacts:
    """How a file or folder is known again.

    Parameters
    ----------
    path
        The file or folder.
    known_by, inside
        As in `FileFacts`; a folder is known by ``names`` where ``file`` is asked for.

    Raises
    ------
    InputError
        If it is gone, or cannot be read.
    CancelledError
        If it was cancelled.
    """
    if known_by == "file" and path.is_dir():
        known_by = "names"
    mark = mark_of(path, inside)
    if known_by == "weights":
        sha256 = examine(path, cancelled).sha256
    elif known_by == "names":
        sha256 = _names(path, cancelled)
    else:
        sha256 = _hash(path / inside if inside else path, cancelled)
    return FileFacts(digest=sha256, known_by=known_by, inside=inside, mark=mark)


def check_same(
    path: Path,
    name: str,
    facts: FileFacts,
    images: ImageSpec | None = None,
    label_set: str = "",
    cancelled: Cancelled = _never,
) -> None:
    """Make sure that a file is the one that a session was saved with.

    Parameters
    ----------
    path
        What was chosen.
    name
        What the session calls it.
    facts
        What the session knows of it.
    images, label_set
        How it is opened, where it is a set of images, and the name or file of its classes.

    Raises
    ------
    InputError
        If it differs, cannot be compared or cannot be read.
    CancelledError
        If it was cancelled.
    """
    shown, name = short(path.name or str(path), 80), short(name, 80)
    if not is_there(path):
        raise InputError(f"There is nothing at {short(str(path))}; choose an existing file.")
    if not facts.digest:
        raise InputError(
            f"Nobody can tell whether {shown} is the session's {name}: its hash was not kept. "
            "Leave it out, and open it by hand afterwards."
        )
    if facts.known_by == "pictures":
        if images is None:
            raise InputError(f"{name} is no set of images; leave it out.", "damaged")
        current = _pictures(path, images, label_set, cancelled)
    else:
        if facts.known_by == "names" and not path.is_dir():
            raise InputError(f"{shown} is no folder, but the session's {name} is one.")
        current = facts_of(path, facts.known_by, facts.inside, cancelled).digest
    if current != facts.digest:
        words = _WORDS[facts.known_by].format(facts.inside)
        now = f"begins with {current[:12]}" if current else "cannot be computed"
        raise InputError(
            f"{shown} is not the session's {name}: {words} {now}, the session's with "
            f"{facts.digest[:12]}. Choose the right one, or leave it out."
        )


def _hash(path: Path, cancelled: Cancelled) -> str:
    def tell(_: int) -> None:
        if cancelled():
            raise CancelledError

    try:
        return hash_file(path, tell)[1].hex()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "the system refuses it"
        raise InputError(f"{short(str(path))} cannot be read: {why}.") from None


def _names(folder: Path, cancelled: Cancelled) -> str:
    """Digest of relative names and sizes of a folder's files; links are not followed."""
    sizes: list[tuple[str, int]] = []

    def refuse(error: OSError) -> None:
        raise error

    try:
        for place, _, names in os.walk(folder, onerror=refuse):
            if cancelled():
                raise CancelledError
            for name in names:
                path = Path(place, name)
                sizes.append((path.relative_to(folder).as_posix(), path.lstat().st_size))
            if len(sizes) > _MOST_NAMES:
                raise InputError(f"{short(folder.name)} holds too many files.")
    except OSError as error:
        raise InputError(f"{short(str(folder))} cannot be read: {error.strerror}.") from None
    whole = hashlib.sha256(b"names")
    for name, size in sorted(sizes):
        whole.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _pictures(path: Path, images: ImageSpec, label_set: str, cancelled: Cancelled) -> str:
    """Key of an image set in another place."""

    def watch(*_: object) -> None:
        if cancelled():
            raise CancelledError

    spec = images.model_copy(update={"path": str(path)})
    return open_images(spec, load_label_set(label_set) if label_set else None, watch).key
