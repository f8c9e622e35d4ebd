"""The file of a signature: a Sigstore bundle 0.3 that holds a DSSE envelope, key method.

Everything around the payload is unauthenticated, so little of it is taken: one signature, one way
to write each thing, and a hint that names the key.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, short

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 12 << 20
_LONGEST_SIGNATURE = 72  # a DER sequence of two integers of 33 bytes
_ADVICE = "get it again from who signed it"
SIGNATURE_FILE = JsonFile("a model signature", _ADVICE, MAX_BYTES, max_depth=16)
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_OTHERS = {
    "certificate": "a certificate",
    "x509CertificateChain": "a certificate",
}


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


class _Signature(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sig: str
    keyid: Annotated[str, Field(max_length=200)] = ""


class _Dsse(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

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
    found = SIGNATURE_FILE.parse(raw, label)
    media = found.get("mediaType")
    if media != MEDIA_TYPE:
        told = f" but {short(media, 80)!r}" if isinstance(media, str) else ""
        raise InputError(
            f"{label} is no signature in a Sigstore bundle 0.3{told}; {_ADVICE}.", "damaged"
        )
    key_id = _key_id(found.get("verificationMaterial"), label)
    if "dsseEnvelope" not in found:
        raise InputError(
            f"{label} signs a single file's bytes and no list of files, which is no model "
            f"signature; {_ADVICE}.",
            "unsupported" if "messageSignature" in found else "damaged",
        )
    dsse = SIGNATURE_FILE.check(found["dsseEnvelope"], _Dsse, label)
    if dsse.payload_type != PAYLOAD_TYPE:
        raise InputError(
            f"{label} signs {short(dsse.payload_type, 80)!r} and no in-toto statement; {_ADVICE}.",
            "damaged",
        )
    if len(dsse.signatures) != 1:
        number = len(dsse.signatures)
        said = "no signature" if not number else f"{number} signatures where one belongs"
        raise InputError(f"{label} holds {said}; {_ADVICE}.", "damaged")
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
    """The key that a file names; others than keys are told by their kind."""
    if not isinstance(material, dict):
        raise InputError(f"{label} does not say what it was signed with; {_ADVICE}.", "damaged")
    kinds = [kind for kind in ("publicKey", *_OTHERS) if material.get(kind) is not None]
    if len(kinds) != 1:
        said = "several ways" if kinds else "no key"
        raise InputError(f"{label} names {said} to check it with; {_ADVICE}.", "damaged")
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
