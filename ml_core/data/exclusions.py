"""Pairs that an audit found wanting: a file of what they are, so that a later run leaves them out.

A pair is known by what it is, not by where it stands: its identity is the SHA-256 over the bytes of
the picture and its captions. Rows may be sorted anew, files renamed and shards written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_core.atomic import replace_files
from ml_core.data.pictures import printable
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.strict_json import JsonError, parse_object

FORMAT = "cleanclip-exclusions"
VERSION = 1
MAX_BYTES = 512 << 20
_MAX_PARTS = 20_000_000
_LONGEST_NAME, _LONGEST_REASON = 300, 500


class Excluded(BaseModel):
    """One pair that is left out.

    Attributes
    ----------
    identity
        SHA-256 of the pair, see `identity_of`.
    size
        Bytes of the picture, so that only pictures of this size are hashed to find it; None where
        it is not known without reading it.
    name
        Where it stood: file, row or sample; for the reader alone.
    reason
        Why, in words: the score and the limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)
    name: str = Field(default="", max_length=_LONGEST_NAME)
    reason: str = Field(default="", max_length=_LONGEST_REASON)


class Exclusions(BaseModel):
    """What an exclusions file says.

    Attributes
    ----------
    set_name, set_key
        The set that was audited; another one may be opened with the same file.
    pairs
        What is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cleanclip-exclusions"] = "cleanclip-exclusions"
    version: Literal[1] = 1
    set_name: str = Field(max_length=_LONGEST_NAME)
    set_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    pairs: tuple[Excluded, ...]


class Identified(Protocol):
    """Pairs that know what each is: a `ml_core.data.pairs.PairSet`."""

    @property
    def name(self) -> str:
        """For the screen."""

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
        The bytes that decide the picture: its file or member as it is stored.
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


def excluded(
    picture: bytes, captions: Sequence[str], name: str, reason: str, *, sized: bool
) -> Excluded:
    """The entry of a pair; ``sized`` where the size of a picture is known without reading it."""
    return Excluded(
        identity=identity_of(picture, captions),
        size=len(picture) if sized else None,
        name=printable(name)[:_LONGEST_NAME],
        reason=reason[:_LONGEST_REASON],
    )


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
    found = {one.identity: one for one in (earlier.pairs if earlier else ())}
    for index, reason in reasons.items():
        one = pairs.excluded(index, reason)
        found[one.identity] = one
    made = Exclusions(
        set_name=printable(pairs.name)[:_LONGEST_NAME], set_key=pairs.key, pairs=(*found.values(),)
    )
    try:
        replace_files({path: made.model_dump_json(indent=1).encode()})
    except OSError as error:
        raise InputError(
            f"The exclusions could not be written to {path.name}: {error.strerror}; choose another "
            "place.",
            "usage",
        ) from error
    return made


def read_exclusions(path: Path) -> Exclusions:
    """Read an exclusions file, which may be hostile.

    Raises
    ------
    InputError
        ``usage`` if it is missing, ``damaged`` if it is no such file, ``unsupported`` if it is of a
        newer version or too large.
    """
    if not path.exists():
        raise InputError(f"There is no exclusions file at {path}; choose an existing one.", "usage")
    if not path.is_file():
        raise InputError(f"{path.name} is no regular file; choose an exclusions file.", "usage")
    file, size = open_regular(path)
    with file:
        if size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MB.", "unsupported")
        raw = file.read(MAX_BYTES + 1)
    try:
        fields = parse_object(raw, max_bytes=MAX_BYTES, max_depth=3, max_parts=_MAX_PARTS)
    except JsonError as error:
        raise InputError(
            f"{path.name} is no exclusions file: {error}; write it anew by an audit.", "damaged"
        ) from None
    version = fields.get("version")
    if fields.get("format") == FORMAT and isinstance(version, int) and version > VERSION:
        raise InputError(
            f"{path.name} was written by a newer version of this program; update it.", "unsupported"
        )
    try:
        return Exclusions.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path.name} is no exclusions file: {where or 'it'} is not as it must be "
            f"({first['msg']}); write it anew by an audit.",
            "damaged",
        ) from None
