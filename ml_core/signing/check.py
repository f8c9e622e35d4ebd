"""Whether a signature fits some files, and whose it is.

A signature says who vouches for which bytes. It says nothing about what is in them, so no sentence
here calls anything safe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ml_core.reading.errors import InputError, plain
from ml_core.reading.inspection import Inspection
from ml_core.reading.json_file import short
from ml_core.reading.regular_file import open_regular
from ml_core.signing.curve import PublicKey, short_id
from ml_core.signing.keys import trusted_keys
from ml_core.signing.manifest import (
    MAX_BYTES,
    ONE_FILE,
    UNSIGNED,
    Envelope,
    Manifest,
    digest_of_file,
    digests_of_folder,
    is_below,
    names_of_folder,
    never,
    pae,
    read_envelope,
    read_statement,
)

MODEL_SIGNATURE = "model.sig"
ENDING = ".sig"
SignatureState = Literal["good", "bad", "unknown key", "damaged", "unsupported"]
_LISTED = 3


@dataclass(frozen=True)
class SignatureFacts:
    """What a signature says.

    Parameters
    ----------
    state
        ``good``: made by a trusted key over exactly these files. ``bad``: the files or the
        signature were changed. ``unknown key``: the files are those that it lists, and the key that
        it names is not trusted, so that nobody knows who signed. ``damaged``: no signature.
        ``unsupported``: this program does not check this kind, or the library is missing.
    sentence
        All of it in a sentence or two.
    key_id
        SHA-256 of the key that it names; empty where it names none.
    who
        Whose key that is, in the user's words; empty if it is not trusted.
    file
        Name of the signature's file.
    own
        Whether it is a key of the user's own.
    """

    state: SignatureState
    sentence: str
    key_id: str = ""
    who: str = ""
    file: str = ""
    own: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for records."""
        return asdict(self)


def check_signature(
    raw: bytes,
    label: str,
    digests: Mapping[str, str],
    trusted: Sequence[PublicKey],
    *,
    what: str = "this file",
) -> SignatureFacts:
    """Check a signature that a stranger may have written; raises nothing.

    Parameters
    ----------
    raw
        The signature's file.
    label
        Its name, for sentences.
    digests
        SHA-256 (64 hex digits) of every file that must be signed, by name relative to the folder,
        with ``/`` between; ``{".": ...}`` for a model in one file. The signature must cover these
        files and no others.
    trusted
        The keys to believe, such as `ml_core.signing.trusted_keys()`.
    what
        What sentences call that which is signed.
    """

    def fit(manifest: Manifest) -> str:
        return _difference(digests, manifest, what)

    return _check(raw, plain(label), trusted, fit)


def check_checkpoint(
    inspection: Inspection,
    trusted: Sequence[PublicKey] | None = None,
    cancelled: Callable[[], bool] = never,
) -> SignatureFacts | None:
    """Check the signature beside an inspected checkpoint; None without a signature.

    That of a folder is ``model.sig`` in it, that of a file ``NAME.sig`` or ``model.sig`` beside it,
    which may be one of the whole folder. What was inspected is not read again.

    Parameters
    ----------
    trusted
        The keys to believe; the user's by default.

    Raises
    ------
    CancelledError
        If ``cancelled`` turned true.
    """
    place = find_signature(inspection.source)
    if place is None:
        return None
    try:
        keys = trusted_keys() if trusted is None else trusted
        raw = read_signature(place)
    except InputError as error:
        return SignatureFacts("damaged", error.sentence, file=place.name)
    is_folder = inspection.source.is_dir()

    def fit(manifest: Manifest) -> str:
        if is_folder:
            return _folder_difference(inspection, place.name, manifest, cancelled)
        return _file_difference(inspection, manifest, cancelled)

    return _check(raw, plain(place.name), keys, fit)


def find_signature(checkpoint: Path) -> Path | None:
    """The signature that lies beside a checkpoint's file, or in its folder."""
    if checkpoint.is_dir():
        places = [checkpoint / MODEL_SIGNATURE]
    else:
        own = checkpoint.with_name(checkpoint.name + ENDING)
        places = [own, checkpoint.with_name(MODEL_SIGNATURE)]
    there = (place for place in places if os.path.isfile(place))  # False for a name too long
    return next((place for place in there if place != checkpoint), None)


def read_signature(path: Path) -> bytes:
    """The bytes of a signature's file; raises `InputError` where it is too large or no file."""
    file, size = open_regular(path, inside=path.parent)
    with file:
        if size > MAX_BYTES:
            limit = f"{MAX_BYTES >> 20} MB"
            raise InputError(
                f"{plain(path.name)} is no model signature: it is too large (over {limit}).",
                "damaged",
            )
        return file.read(MAX_BYTES + 1)


def _check(
    raw: bytes, label: str, trusted: Sequence[PublicKey], fit: Callable[[Manifest], str]
) -> SignatureFacts:
    """Check whose it is, then what it lists, then whether the files are those it lists."""
    facts = SignatureFacts("damaged", "", file=label)
    try:
        envelope = read_envelope(raw, label)
        facts = replace(facts, key_id=envelope.key_id)
        named = [key for key in trusted if envelope.key_id in ("", key.key_id)]
        signer = _signer(envelope, named)
        if signer is None and envelope.key_id and named:
            return replace(
                facts,
                state="bad",
                who=named[0].name,
                own=named[0].own,
                sentence=f"The signature does not hold: {label} names the key {named[0].short} "
                f"({named[0].name}), which did not sign what is in it.",
            )
        if signer is not None:
            facts = replace(facts, key_id=signer.key_id, who=signer.name, own=signer.own)
        manifest = read_statement(envelope.payload, label)
    except InputError as error:
        state: SignatureState = "unsupported" if error.code == "unsupported" else "damaged"
        return replace(facts, state=state, sentence=error.sentence)
    try:
        difference = fit(manifest)
    except InputError as error:  # of the files, of which the signature is innocent
        return replace(facts, state="unsupported", sentence=error.sentence)
    if difference:
        return replace(facts, state="bad", sentence=difference)
    if signer is None:
        return replace(facts, state="unknown key", sentence=_unknown_key(envelope.key_id))
    whose = f"your own key ({signer.name})" if signer.own else f"whom you trust ({signer.name})"
    return replace(facts, state="good", sentence=f"Signed by {signer.short}, {whose}.")


def _signer(envelope: Envelope, keys: Sequence[PublicKey]) -> PublicKey | None:
    """The first of some keys that made the signature."""
    message = pae(envelope.payload)
    return next((key for key in keys if key.verifies(envelope.signature, message)), None)


def _unknown_key(key_id: str) -> str:
    if not key_id:
        return "Signed by a key that it does not name, and by none that you know."
    return (
        f"Signed by {short_id(key_id)}, a key you do not know. Ask the signer for the key: without "
        "it the signature cannot be checked."
    )


def _difference(digests: Mapping[str, str], manifest: Manifest, what: str) -> str:
    """What has changed since it was signed, as a sentence; empty if nothing has."""
    signed = manifest.digests
    if (ONE_FILE in signed) != (ONE_FILE in digests):
        kind = "a folder" if ONE_FILE in digests else "a single file"
        return f"The signature does not fit {what}: it is one of {kind}."
    changed = [name for name in sorted(digests) if signed.get(name, digests[name]) != digests[name]]
    missing = sorted(set(signed) - set(digests))
    strange = sorted(set(digests) - set(signed))
    if ONE_FILE in changed:
        return f"The signature does not fit {what}: it was made for other bytes."
    for names, singular, plural in (
        (changed, "was changed", "were changed"),
        (missing, "is missing", "are missing"),
        (strange, "is not signed", "are not signed"),
    ):
        if names:
            sentence = singular if len(names) == 1 else plural
            return f"The signature does not fit {what}: {_listed(names)} {sentence}."
    return ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(short(name, 80) for name in names[:_LISTED]) + more


def _file_difference(
    inspection: Inspection, manifest: Manifest, cancelled: Callable[[], bool]
) -> str:
    """How a file differs from its signature, or from its folder's."""
    name = inspection.source.name
    if ONE_FILE not in manifest.digests and name not in manifest.digests:
        return f"The signature does not fit this file: it is one of {short(manifest.name, 80)!r}."
    digests = _inspected_digests(inspection)
    digest = digests.pop(name, "") or digest_of_file(inspection.source, cancelled)
    for beside, sha256 in digests.items():  # tensors of an ONNX model
        if manifest.digests.get(beside) != sha256:
            return (
                f"The signature does not fit this file: {short(beside, 80)!r}, which holds tensors "
                "of it, is not signed or was changed."
            )
    if manifest.digests.get(name, manifest.digests.get(ONE_FILE)) != digest:
        return "The signature does not fit this file: it was made for other bytes."
    return ""


def _folder_difference(
    inspection: Inspection, signature: str, manifest: Manifest, cancelled: Callable[[], bool]
) -> str:
    """How a folder differs from its manifest; empty if not.

    Files that the signer left out are skipped if nothing reads them.
    """
    there = names_of_folder(inspection.source, (*UNSIGNED, signature), links=True)
    unread = {
        name for name in inspection.unread if not name.endswith(".json")
    }  # tokenizers are read
    names = [name for name in there if name not in unread or not is_below(name, manifest.ignored)]
    if set(names) == set(manifest.digests):
        digests = digests_of_folder(
            inspection.source, names, _inspected_digests(inspection), cancelled
        )
    else:  # they differ, whatever is in them
        digests = {name: manifest.digests.get(name, "") for name in names}
    return _difference(digests, manifest, "this folder")


def _inspected_digests(inspection: Inspection) -> dict[str, str]:
    """SHA-256 of the files that were inspected, by name: it is these bytes that are used."""
    weights = (inspection.weights_path or inspection.source).name
    return {stamp.file or weights: stamp.sha256 for stamp in inspection.files}
