"""What a signature is over: the files of a model and their SHA-256, as an in-toto Statement.

The layout is that of the OpenSSF Model Signing specification 1.0: predicate type
``https://model_signing/signature/v1.0``, method ``files``. A model in one file has one resource,
called ``.``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, short

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
ONE_FILE = "."
"""Name of the only resource of a model in one file."""
MAX_FILES = 20_000
MAX_PAYLOAD = 8 << 20
_LONGEST_NAME = 1024
_ADVICE = "get it again from who signed it"
_STATEMENT = JsonFile("a model signature", _ADVICE, MAX_PAYLOAD)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Manifest:
    """The files that a signature covers.

    Parameters
    ----------
    name
        What the signer called the model: information, no proof.
    digests
        SHA-256 by file name, relative to the model's folder with ``/`` between; or `ONE_FILE`.
    ignored
        Files and folders that the signer left out.
    """

    name: str
    digests: Mapping[str, str]
    ignored: tuple[str, ...] = ()


class _Strict(BaseModel):
    """No type is taken for another; what version 1.0 does not know is passed over, as it asks."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Digest(_Strict):
    sha256: Sha256


class _Subject(_Strict):
    name: str = Field(max_length=_LONGEST_NAME)
    digest: _Digest


class _Resource(_Strict):
    name: str = Field(min_length=1, max_length=_LONGEST_NAME)
    algorithm: str = Field(max_length=40)
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){1,64}$")]


class _Serialization(_Strict):
    method: str = Field(max_length=40)
    hash_type: str = Field(max_length=40)
    allow_symlinks: bool = False
    ignore_paths: list[Annotated[str, Field(max_length=_LONGEST_NAME)]] = Field(
        default=[], max_length=1000
    )


class _Predicate(_Strict):
    serialization: _Serialization
    resources: list[_Resource] = Field(min_length=1, max_length=MAX_FILES)


class _Statement(_Strict):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=1)
    predicate: _Predicate


def write_statement(manifest: Manifest) -> bytes:
    """The statement that is signed, as JSON.

    Raises
    ------
    InputError
        If there is no file, there are too many, or one has a name that no verifier should take.
    """
    if not manifest.digests:
        raise InputError(f"{manifest.name} holds no file to sign.")
    if len(manifest.digests) > MAX_FILES:
        raise InputError(
            f"{manifest.name} holds more than {MAX_FILES} files; sign the folder of one checkpoint."
        )
    for name in (manifest.name, *manifest.digests):
        if not is_utf8(name):
            raise InputError(
                f"{short(manifest.name, 80)} cannot be signed: the name {short(name, 80)!r} is no "
                "UTF-8 text; rename it."
            )
    for name in manifest.digests:
        if not is_inside(name):
            raise InputError(
                f"{manifest.name} cannot be signed: it holds a file called {short(name)!r}, which "
                "verifiers refuse; rename it."
            )
    names = sorted(manifest.digests, key=lambda name: name.split("/"))
    serialization: dict[str, Any] = {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
    }
    if manifest.ignored:
        serialization["ignore_paths"] = sorted(manifest.ignored)
    digests = [manifest.digests[name] for name in names]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.name, "digest": {"sha256": _root(digests)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": serialization,
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest}
                for name, digest in zip(names, digests, strict=True)
            ],
        },
    }
    return json.dumps(statement, indent=1, ensure_ascii=False).encode()


def read_statement(payload: bytes, label: str) -> Manifest:
    """What a signature is over, from a stranger's bytes.

    Parameters
    ----------
    label
        Name of the signature's file, for sentences.

    Raises
    ------
    InputError
        ``damaged`` if it is no such statement or contradicts itself; ``unsupported`` if it is one
        that this program does not check.
    """
    found = _STATEMENT.parse(payload, label)
    kind = found.get("predicateType")
    if found.get("_type") != STATEMENT_TYPE or kind != PREDICATE_TYPE:
        told = f"it is about {short(kind, 80)!r}" if isinstance(kind, str) else "it does not say so"
        raise InputError(
            f"{label} holds no OpenSSF Model Signing 1.0 statement ({told}); {_ADVICE}.", "damaged"
        )
    statement = _STATEMENT.check(found, _Statement, label)
    how, resources = statement.predicate.serialization, statement.predicate.resources
    if how.method != "files":
        raise InputError(
            f"{label} signs pieces of files (method {short(how.method)!r}), which this program "
            "does not check; use the program model_signing.",
            "unsupported",
        )
    for algorithm in (how.hash_type, *(resource.algorithm for resource in resources)):
        if algorithm != "sha256":
            raise InputError(
                f"{label} uses the hash {short(algorithm)!r}, and this program checks sha256 "
                "alone; use the program model_signing.",
                "unsupported",
            )
    digests: dict[str, str] = {}
    for resource in resources:
        if not is_inside(resource.name):
            raise InputError(
                f"{label} names a file {short(resource.name)!r}, which leads out of the model's "
                "folder; do not trust it.",
                "damaged",
            )
        if resource.name in digests:
            raise InputError(f"{label} names {short(resource.name)} twice; {_ADVICE}.", "damaged")
        if len(resource.digest) != 64:
            raise InputError(
                f"{label} gives {short(resource.name)} a SHA-256 of another length; {_ADVICE}.",
                "damaged",
            )
        digests[resource.name] = resource.digest
    if ONE_FILE in digests and len(digests) > 1:
        raise InputError(
            f"{label} speaks of one file and of a folder at once; {_ADVICE}.", "damaged"
        )
    subject = statement.subject[0]
    if _root(digests.values()) != subject.digest.sha256:
        raise InputError(
            f"{label} contradicts itself: its digest of all files is not that of the files it "
            f"lists; {_ADVICE}.",
            "damaged",
        )
    return Manifest(subject.name, digests, tuple(how.ignore_paths))


def is_utf8(name: str) -> bool:
    """Whether a file's name is text; Unix takes any bytes, and Python half characters for them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_inside(name: str) -> bool:
    """Whether a name is `ONE_FILE` or leads to a place below a folder, on every system."""
    if name == ONE_FILE:
        return True
    parts = name.split("/")
    return (
        0 < len(name) <= _LONGEST_NAME
        and not {"", ".", ".."} & set(parts)
        and "\\" not in name
        and ":" not in parts[0]
        and all(char >= " " and char != "\x7f" for char in name)
    )


def _root(digests: Iterable[str]) -> str:
    """The SHA-256 over all digests as they are listed: what names the model as a whole."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()
