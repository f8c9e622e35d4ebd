"""Pairs that an audit condemned, listed in a file so that later runs leave them out.

A pair is known by its content, not by its place: its identity is the SHA-256 over the bytes of the
picture and its captions. Rows may be sorted anew, files renamed and shards written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ml_core.atomic import replace_files
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError, plain, printable
from ml_core.reading.json_file import JsonFile
from ml_core.records import Record

FORMAT = "cleanclip-exclusions"
VERSION = 1
_FILE = JsonFile("an exclusions file", "make it again with an audit", max_bytes=128 << 20)
MAX_PAIRS = 150_000
_AT_ONCE = 256
_LONGEST_NAME, _LONGEST_REASON = 300, 500


class Excluded(Record):
    """One pair that is left out.

    Attributes
    ----------
    identity
        SHA-256 of the pair, see `identity_of`.
    size
        Bytes of the picture, so that only pictures of this size are hashed to find it; None in
        files of older versions.
    captions
        SHA-256 of the captions alone, which are cheaper to read than pictures.
    name
        Where it stood: file, row or sample; for the reader alone.
    reason
        Why, in words: the score and the limit.
    """

    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)
    captions: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    name: str = Field(default="", max_length=_LONGEST_NAME)
    reason: str = Field(default="", max_length=_LONGEST_REASON)


class Exclusions(Record):
    """What an exclusions file says.

    Attributes
    ----------
    set_name, set_key
        The set that was audited. The file may be used with another set.
    pairs
        What is left out.
    """

    format: Literal["cleanclip-exclusions"] = "cleanclip-exclusions"
    version: Literal[1] = 1
    set_name: str = Field(max_length=_LONGEST_NAME)
    set_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    pairs: tuple[Excluded, ...]


class Identified(Protocol):
    """Pairs that know what each is: a `ml_core.data.pairs.PairSet`."""

    @property
    def name(self) -> str:
        """Its name to show on screen."""

    @property
    def key(self) -> str:
        """SHA-256 of the set."""

    def excluded(self, index: int, reason: str) -> Excluded:
        """What to write of a pair that is to be left out."""


def identity_of(picture: bytes, captions: Sequence[str]) -> str:
    """What a pair is.

    Parameters
    ----------
    picture
        The bytes that decide the picture: its file or member as stored.
    captions
        All captions of the picture, in order.

    Returns
    -------
    str
        SHA-256 as 64 hexadecimal digits.
    """
    total = hashlib.sha256(hashlib.sha256(picture).digest())
    for caption in captions:
        total.update(hashlib.sha256(caption.encode("utf-8", "surrogatepass")).digest())
    return total.hexdigest()


def excluded(picture: bytes, captions: Sequence[str], name: str, reason: str) -> Excluded:
    """The entry of a pair."""
    return Excluded(
        identity=identity_of(picture, captions),
        size=len(picture),
        captions=identity_of(b"", captions),
        name=printable(name)[:_LONGEST_NAME],
        reason=reason[:_LONGEST_REASON],
    )


class _Whole(Protocol):
    """Pictures with captions, by number."""

    def __len__(self) -> int: ...

    def sizes(self) -> NDArray[np.int64] | None:
        """Bytes of each picture; None if not known cheaply."""

    def texts(self, indices: NDArray[np.int64], /) -> list[tuple[str, ...]]:
        """Captions of pictures."""

    def raw(self, index: int) -> bytes:
        """Bytes of a picture."""


def excluded_numbers(
    whole: _Whole, listed: Exclusions, watch: Watch = unwatched
) -> tuple[NDArray[np.int64], int]:
    """Which pairs of a set are listed, and how many of the listed ones that is.

    Size, captions and picture are compared in this order; the first difference ends it.

    Returns
    -------
    numpy.ndarray
        int64 [n], ascending. A pair that is in the set twice is there twice.
    int
        Distinct pairs of the list that were found.
    """
    identities = {pair.identity for pair in listed.pairs}
    captions = {pair.captions for pair in listed.pairs}
    named = {pair.size for pair in listed.pairs}
    own = whole.sizes()
    numbers = np.arange(len(whole), dtype=np.int64)
    if own is not None and None not in named:
        numbers = np.flatnonzero(np.isin(own, np.array([*named], np.int64)))
    present: set[str] = set()
    out: list[int] = []
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        watch("Searching for excluded pairs", start, len(numbers))
        for number, texts in zip(part.tolist(), whole.texts(part), strict=True):
            if None not in captions and identity_of(b"", texts) not in captions:
                continue
            with suppress(InputError):
                identity = identity_of(whole.raw(number), texts)
                if identity in identities:
                    present.add(identity)
                    out.append(number)
    return np.array(out, np.int64), len(present)


def write_exclusions(
    path: Path, pairs: Identified, reasons: Mapping[int, str], *, earlier: Exclusions | None = None
) -> Exclusions:
    """Write which pairs of a set are to be left out, whole or not at all.

    Parameters
    ----------
    path
        The file; one of that name is replaced.
    pairs
        The audited set.
    reasons
        Number of each pair to leave out (0..N-1 in ``pairs``), and why.
    earlier
        What an audit before found; it stays excluded. The set that was opened without these pairs
        does not hold them any more.

    Raises
    ------
    InputError
        If a picture cannot be read, or the file cannot be written.
    """
    listed = {pair.identity: pair for pair in (earlier.pairs if earlier else ())}
    for index, reason in reasons.items():
        pair = pairs.excluded(index, reason)
        listed[pair.identity] = pair
    if len(listed) > MAX_PAIRS:
        raise _too_many(plain(path.name))
    exclusions = Exclusions(
        set_name=printable(pairs.name)[:_LONGEST_NAME], set_key=pairs.key, pairs=(*listed.values(),)
    )
    try:
        replace_files({path: exclusions.model_dump_json(indent=1).encode()})
    except OSError as error:
        raise InputError(
            f"The exclusions could not be written to {path.name}: {error.strerror}; choose another "
            "place.",
            "usage",
        ) from error
    return exclusions


def read_exclusions(path: Path) -> Exclusions:
    """Read an exclusions file, which may be hostile.

    Raises
    ------
    InputError
        ``usage`` if it is missing, ``damaged`` if it is no such file or too large, ``unsupported``
        if it is of a newer version.
    """
    fields: dict[str, Any] = {"pairs": None}  # where the list is no list, it is refused below
    name = plain(path.name)
    pairs: list[Excluded] = []
    for entry in _FILE.entries(path, "pairs", fields):
        if len(pairs) == MAX_PAIRS:
            raise _too_many(name)
        pairs.append(_FILE.check(entry, Excluded, f"Entry {len(pairs) + 1} of {name}"))
    version = fields.get("version")
    if fields.get("format") == FORMAT and isinstance(version, int) and version > VERSION:
        raise InputError(
            f"{name} was written by a newer version of this program; update it.", "unsupported"
        )
    if fields["pairs"] is None:
        fields["pairs"] = pairs
    return _FILE.check(fields, Exclusions, name)


def _too_many(name: str) -> InputError:
    return InputError(
        f"{name} leaves out over {MAX_PAIRS:,} pairs; take them out of the set itself.",
        "unsupported",
    )
