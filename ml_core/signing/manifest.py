"""What a signature is over: the files of a model and their SHA-256, as an in-toto Statement.

The layout is that of the OpenSSF Model Signing specification 1.0: predicate type
``https://model_signing/signature/v1.0``, method ``files``. A model in one file has one resource,
called ``.``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import ConfigDict, Field

from ml_core.reading.archive_members import STORED, Member, ZipError, zip_members
from ml_core.reading.errors import CancelledError, InputError, plain
from ml_core.reading.folder import check_link
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.regular_file import open_regular
from ml_core.records import Record

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


class _Strict(Record):
    """A strict record: no type is converted. As version 1.0 demands, unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)


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
    table = _STATEMENT.parse(payload, label)
    kind = table.get("predicateType")
    if table.get("_type") != STATEMENT_TYPE or kind != PREDICATE_TYPE:
        claim = (
            f"it is about {short(kind, 80)!r}" if isinstance(kind, str) else "it does not say so"
        )
        raise InputError(
            f"{label} holds no OpenSSF Model Signing 1.0 statement ({claim}); {_ADVICE}.", "damaged"
        )
    statement = _STATEMENT.check(table, _Statement, label)
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
    """The SHA-256 over all digests in their listed order, which identifies the whole model."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 12 << 20
_LONGEST_SIGNATURE = 72  # a DER sequence of two integers of 33 bytes
SIGNATURE_FILE = JsonFile("a model signature", _ADVICE, MAX_BYTES, max_depth=16)
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_OTHERS = {"certificate": "a certificate", "x509CertificateChain": "a certificate"}


@dataclass(frozen=True)
class Envelope:
    """A statement with its signature.

    Parameters
    ----------
    payload
        The statement, JSON.
    signature
        ECDSA over `pae` of the payload, DER.
    key_id
        SHA-256 of the public key's PEM, as the file claims it; empty where it names none.
    """

    payload: bytes
    signature: bytes
    key_id: str


class _Signature(Record):
    model_config = ConfigDict(strict=True)

    sig: str
    keyid: Annotated[str, Field(max_length=200)] = ""


class _Dsse(Record):
    model_config = ConfigDict(strict=True)

    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: list[_Signature]


def pae(payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding of type and payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def write_envelope(envelope: Envelope) -> bytes:
    """The file, as `read_envelope` reads it."""
    bundle = {
        "mediaType": MEDIA_TYPE,
        # Empty and not left out: model_signing's own models require the list.
        "verificationMaterial": {"publicKey": {"hint": envelope.key_id}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=1).encode() + b"\n"


def read_envelope(raw: bytes, label: str) -> Envelope:
    """Take a stranger's file apart; nothing in it is verified here.

    Parameters
    ----------
    label
        The file's name, for sentences.

    Raises
    ------
    InputError
        ``damaged`` if it is no such file; ``unsupported`` if it is signed in another way.
    """
    envelope = SIGNATURE_FILE.parse(raw, label)
    media = envelope.get("mediaType")
    if media != MEDIA_TYPE:
        media_note = f" but {short(media, 80)!r}" if isinstance(media, str) else ""
        raise InputError(
            f"{label} is no signature in a Sigstore bundle 0.3{media_note}; {_ADVICE}.", "damaged"
        )
    key_id = _key_id(envelope.get("verificationMaterial"), label)
    if "dsseEnvelope" not in envelope:
        raise InputError(
            f"{label} signs a single file's bytes and no list of files, which is no model "
            f"signature; {_ADVICE}.",
            "unsupported" if "messageSignature" in envelope else "damaged",
        )
    dsse = SIGNATURE_FILE.check(envelope["dsseEnvelope"], _Dsse, label)
    if dsse.payload_type != PAYLOAD_TYPE:
        raise InputError(
            f"{label} signs {short(dsse.payload_type, 80)!r} and no in-toto statement; {_ADVICE}.",
            "damaged",
        )
    if len(dsse.signatures) != 1:
        number = len(dsse.signatures)
        held = "no signature" if not number else f"{number} signatures where one belongs"
        raise InputError(f"{label} holds {held}; {_ADVICE}.", "damaged")
    signature = _bytes(dsse.signatures[0].sig, "signature", label)
    if not signature:
        raise InputError(f"{label} holds an empty signature; {_ADVICE}.", "damaged")
    if len(signature) > _LONGEST_SIGNATURE:
        raise InputError(
            f"{label} holds a signature of {len(signature)} bytes, longer than one of a P-256 key; "
            "use the program model_signing for keys of other kinds.",
            "unsupported",
        )
    return Envelope(_bytes(dsse.payload, "statement", label), signature, key_id)


def _key_id(material: Any, label: str) -> str:
    """The id of the key that a file names; refuses signatures without a key."""
    if not isinstance(material, dict):
        raise InputError(f"{label} does not say what it was signed with; {_ADVICE}.", "damaged")
    kinds = [kind for kind in ("publicKey", *_OTHERS) if material.get(kind) is not None]
    if len(kinds) != 1:
        what = "several ways" if kinds else "no key"
        raise InputError(f"{label} names {what} to check it with; {_ADVICE}.", "damaged")
    if kinds[0] in _OTHERS:
        raise InputError(
            f"{label} was signed with {_OTHERS[kinds[0]]}, and this program checks signatures of "
            "keys alone; use the program model_signing.",
            "unsupported",
        )
    key = material["publicKey"]
    hint = key.get("hint", "") if isinstance(key, dict) else None
    if hint == "":
        return ""
    if not isinstance(hint, str) or not _KEY_ID.fullmatch(hint):
        raise InputError(
            f"{label} names a key by something else than its SHA-256; {_ADVICE}.", "damaged"
        )
    return hint


def _bytes(text: str, what: str, label: str) -> bytes:
    """Base64 that can be written in one way only."""
    try:
        raw = base64.b64decode(text.encode("ascii"))  # which passes over what does not belong
    except (binascii.Error, ValueError):
        raw = None
    if raw is None or base64.b64encode(raw).decode() != text:
        raise InputError(f"{label} holds a {what} that is no proper base64; {_ADVICE}.", "damaged")
    return raw


UNSIGNED = (".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface")
"""What git and the Hub's downloader leave in a folder: no part of a model."""
_MAX_DEPTH = 32
_CHUNK = 1 << 20


def never() -> bool:
    """Work that nobody cancels."""
    return False


def digest_of_file(path: Path, cancelled: Callable[[], bool] = never) -> str:
    """SHA-256 of a regular file, in hex.

    Raises
    ------
    InputError
        If it cannot be read, or changed meanwhile.
    CancelledError
        If ``cancelled`` turned true.
    """
    file, size = open_regular(path)
    with file:
        before = os.fstat(file.fileno())
        digest = _digest(file, size + 1, cancelled)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError(f"{plain(path.name)} changed while it was read; try again.", "damaged")
    return digest


def names_of_folder(
    folder: Path, left_out: Collection[str] = UNSIGNED, *, links: bool = False
) -> tuple[str, ...]:
    """Names of all files below a folder, with ``/`` between.

    Parameters
    ----------
    left_out
        Files, and folders with all that is in them, that are not listed.
    links
        Whether links to files of the folder, or of the same repository in a Hugging Face cache,
        are taken for files. The specification has none.

    Raises
    ------
    InputError
        If there is a link that may not be, something that is no file, or too much.
    """
    names: list[str] = []
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as entries:
                listed = list(entries)
        except OSError as error:
            raise InputError(f"{folder / inside} cannot be read: {error.strerror}.") from None
        for entry in listed:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if is_below(name, left_out):
                continue
            if entry.is_symlink():
                if not links or entry.is_dir():
                    raise InputError(
                        f"{folder.name}/{short(name)} is a link, which a signature does not cover; "
                        "put the file itself there."
                    )
                check_link(folder, folder / name)
            elif entry.is_dir():
                if name.count("/") >= _MAX_DEPTH:
                    raise InputError(f"{folder.name} has folders nested too deeply.", "unsupported")
                waiting.append(name)
                continue
            names.append(name)
            if len(names) + len(waiting) > MAX_FILES:
                raise InputError(
                    f"{folder.name} holds more than {MAX_FILES} files; choose the folder of one "
                    "checkpoint.",
                    "unsupported",
                )
    return tuple(sorted(names))


def digests_of_folder(
    folder: Path,
    names: Collection[str],
    known: Mapping[str, str] | None = None,
    cancelled: Callable[[], bool] = never,
) -> dict[str, str]:
    """SHA-256 of files of a folder by name; ``known`` ones are not read again."""
    known = known or {}
    return {name: known.get(name) or digest_of_file(folder / name, cancelled) for name in names}


def is_below(name: str, places: Collection[str]) -> bool:
    """Whether a name is one of some files, or lies in one of some folders."""
    return any(name == place or name.startswith(f"{place.rstrip('/')}/") for place in places)


def stored_members(file: BinaryIO, size: int, label: str) -> dict[str, Member]:
    """The files in an open zip whose members are stored, by name.

    Raises
    ------
    InputError
        ``damaged`` if it is no zip that can be read in one way only.
    """
    try:
        members = zip_members(file, size)
    except ZipError as error:
        raise InputError(f"{label} is a damaged zip: {error}; {error.advice}.", "damaged") from None
    files = {member.name: member for member in members if not member.name.endswith("/")}
    for name, member in files.items():
        if member.method != STORED:
            raise InputError(
                f"{label} packs its member {short(name)!r}; a bundle stores its files as they are.",
                "unsupported",
            )
    return files


def digest_of_member(file: BinaryIO, member: Member, cancelled: Callable[[], bool] = never) -> str:
    """SHA-256 of a stored member, in hex."""
    file.seek(member.offset)
    return _digest(file, member.size, cancelled)


def _digest(file: BinaryIO, most: int, cancelled: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    while most > 0 and (chunk := file.read(min(most, _CHUNK))):
        if cancelled():
            raise CancelledError
        digest.update(chunk)
        most -= len(chunk)
    return digest.hexdigest()
