"""P-256 keys and their signatures (ECDSA with SHA-256), by the library cryptography."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

MAX_KEY_BYTES = 16_384
MISSING = "Signatures need the library cryptography: pip install 'cleanclip-gui[sign]'."


class PassphraseError(InputError):
    """A private key needs a passphrase, or the given one is wrong."""


@dataclass(frozen=True)
class PublicKey:
    """Checks signatures.

    Parameters
    ----------
    pem
        The key as PEM (SubjectPublicKeyInfo), as OpenSSL writes it.
    name
        Whose it is, in the user's words; empty where nobody said.
    own
        Whether the user has its private half.
    """

    pem: str
    name: str = ""
    own: bool = False

    @property
    def key_id(self) -> str:
        """SHA-256 of the PEM, 64 hex digits: what ``sha256sum`` says of the exported file."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    @property
    def short(self) -> str:
        """Its id, cut for a sentence."""
        return short_id(self.key_id)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed a message.

        Raises
        ------
        InputError
            Without the library, or if the PEM is no P-256 key.
        """
        crypto = _library()
        key = crypto.serialization.load_pem_public_key(_checked(crypto, self.pem, "This key"))
        try:
            key.verify(signature, message, crypto.ec.ECDSA(crypto.hashes.SHA256()))
        except crypto.InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """Makes signatures; ``public`` checks them. Its secret shows in no ``repr``."""

    public: PublicKey
    secret: EllipticCurvePrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 over a message, DER; the same each time where OpenSSL can (3.2)."""
        crypto = _library()
        sha256 = crypto.hashes.SHA256()
        try:  # RFC 6979: a bundle that is made again has the same bytes
            how = crypto.ec.ECDSA(sha256, deterministic_signing=True)
        except crypto.UnsupportedAlgorithm:
            how = crypto.ec.ECDSA(sha256)
        signature: bytes = self.secret.sign(message, how)
        return signature

    def to_pem(self, passphrase: str = "") -> bytes:
        """PKCS #8, encrypted if there is a passphrase."""
        how = _library().serialization
        locked = how.BestAvailableEncryption(_as_bytes(passphrase)) if passphrase else None
        pem: bytes = self.secret.private_bytes(
            how.Encoding.PEM, how.PrivateFormat.PKCS8, locked or how.NoEncryption()
        )
        return pem


def short_id(key_id: str) -> str:
    """A key's id for a sentence: 16 of its digits, which nobody finds by trying."""
    return f"{key_id[:16]}…"


def new_private_key(name: str = "") -> PrivateKey:
    """A new key; raises `InputError` without the library."""
    crypto = _library()
    return _private(crypto, crypto.ec.generate_private_key(crypto.ec.SECP256R1()), name)


def read_private_key(raw: bytes, label: str, passphrase: str = "", name: str = "") -> PrivateKey:
    """A private key from its PEM.

    Raises
    ------
    PassphraseError
        If it is locked and the passphrase is missing or wrong.
    InputError
        If it is no private P-256 key, or without the library.
    """
    crypto = _library()
    locked = b"ENCRYPTED" in raw[:MAX_KEY_BYTES]
    if len(raw) > MAX_KEY_BYTES or not raw.lstrip().startswith(b"-----BEGIN "):
        raise InputError(f"{label} is no private key in PEM form; choose another file.", "damaged")
    if locked and not passphrase:
        raise PassphraseError(f"{label} is locked: give its passphrase.")
    try:
        secret = crypto.serialization.load_pem_private_key(
            raw, _as_bytes(passphrase) if locked else None
        )
    except (ValueError, TypeError, crypto.UnsupportedAlgorithm):
        if locked:
            raise PassphraseError(
                f"{label} cannot be unlocked: the passphrase is another one."
            ) from None
        raise InputError(
            f"{label} is no private key in PEM form; choose another file.", "damaged"
        ) from None
    if not isinstance(secret, crypto.ec.EllipticCurvePrivateKey):
        raise InputError(_other_kind(label), "unsupported")
    _check_curve(secret.curve.name, label)
    return _private(crypto, secret, name)


def read_public_key(raw: bytes, label: str, name: str = "") -> PublicKey:
    """A public key from its PEM.

    Raises
    ------
    InputError
        If it is no public P-256 key, or without the library.
    """
    if b"PRIVATE KEY" in raw[:MAX_KEY_BYTES]:
        raise InputError(
            f"{label} is a private key, which nobody should hand out; ask for the public one."
        )
    if b"BEGIN CERTIFICATE" in raw[:MAX_KEY_BYTES]:
        raise InputError(f"{label} is a certificate; ask for the public key alone.", "unsupported")
    if len(raw) > MAX_KEY_BYTES or not raw.lstrip().startswith(b"-----BEGIN PUBLIC KEY-----"):
        raise InputError(
            f"{label} is no public key in PEM form (-----BEGIN PUBLIC KEY-----); choose another "
            "file.",
            "damaged",
        )
    if (count := raw.count(b"-----BEGIN ")) > 1:
        raise InputError(f"{label} holds {count} keys; give a file with one key alone.", "damaged")
    crypto = _library()
    return PublicKey(_checked(crypto, raw, label).decode(), name)


def _checked(crypto: _Library, raw: bytes | str, label: str) -> bytes:
    """The PEM of a P-256 key as OpenSSL writes it, whatever surrounds it."""
    try:
        given = raw if isinstance(raw, bytes) else raw.encode()
        key = crypto.serialization.load_pem_public_key(given)
    except (ValueError, TypeError, crypto.UnsupportedAlgorithm):
        raise InputError(
            f"{label} is no public key that can be read; get it again.", "damaged"
        ) from None
    if not isinstance(key, crypto.ec.EllipticCurvePublicKey):
        raise InputError(_other_kind(label), "unsupported")
    _check_curve(key.curve.name, label)
    return _pem(crypto, key)


def _check_curve(name: str, label: str) -> None:
    if name != "secp256r1":
        raise InputError(
            f"{label} is a key on the curve {short(name, 40)}; only P-256 is used here: ask for "
            "such a key.",
            "unsupported",
        )


def _other_kind(label: str) -> str:
    return f"{label} is a key of another kind than P-256; ask for a P-256 key."


def _as_bytes(passphrase: str) -> bytes:
    return passphrase.encode("utf-8", "surrogateescape")  # a file may hold any bytes


def _private(crypto: _Library, secret: Any, name: str) -> PrivateKey:
    public = PublicKey(_pem(crypto, secret.public_key()).decode(), name, own=True)
    return PrivateKey(public, secret)


def _pem(crypto: _Library, key: Any) -> bytes:
    how = crypto.serialization
    pem: bytes = key.public_bytes(how.Encoding.PEM, how.PublicFormat.SubjectPublicKeyInfo)
    return pem


@dataclass(frozen=True)
class _Library:
    """What is used of cryptography."""

    serialization: Any
    ec: Any
    hashes: Any
    InvalidSignature: type[Exception]
    UnsupportedAlgorithm: type[Exception]


def _library() -> _Library:
    """cryptography, imported where it is needed, or a sentence."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise InputError(MISSING, "unsupported") from None
    return _Library(serialization, ec, hashes, InvalidSignature, UnsupportedAlgorithm)
