"""Level 0: who vouches for the bundle, if anybody does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ml_core.reading.errors import InputError
from ml_core.reports.open_bundle import BundleReader
from ml_core.reports.record import SIGNATURE_FILE
from ml_core.reports.verify.checks import Check, State
from ml_core.signing import PublicKey, check_signature

_LARGEST = 4 << 20
_STATES: Mapping[str, State] = {"good": "holds", "bad": "fails", "damaged": "fails"}


def signature_of(
    reader: BundleReader, keys: Sequence[PublicKey], *, required: bool = False
) -> Check:
    """Check the signature over every other file.

    Parameters
    ----------
    reader
        Files that were hashed are not hashed again.
    keys
        Keys to believe.
    required
        Whether it must be signed, by one of these keys: who names a key asks for it.
    """
    if not reader.has(SIGNATURE_FILE):
        if required:
            return Check(0, SIGNATURE_FILE, "fails", "The bundle is not signed at all.")
        return Check(0, SIGNATURE_FILE, "not checked", "The bundle is not signed.", "not signed")
    try:
        raw = reader.read(SIGNATURE_FILE, _LARGEST)
        digests = {name: reader.digest(name) for name in reader.names() if name != SIGNATURE_FILE}
    except InputError as error:
        return Check(0, SIGNATURE_FILE, "fails", error.sentence)
    result = check_signature(raw, SIGNATURE_FILE, digests, keys, what="this bundle")
    state = _STATES.get(result.state, "not checked")
    if state == "not checked" and required:
        state = "fails"
    reason = "signed by a key that is not known" if state == "not checked" else ""
    return Check(0, SIGNATURE_FILE, state, result.sentence, reason)
