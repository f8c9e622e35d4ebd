"""The user's own keys, and the public keys of people that he trusts.

They lie in ``keys`` of the configuration folder: ``keys.json`` with names and public keys, and a
file ``ID.pem`` for each private one, which only the user may read.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from ml_core.atomic import replace_files
from ml_core.paths import config_dir
from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.regular_file import open_regular
from ml_core.records import Record
from ml_core.signing.curve import (
    MAX_KEY_BYTES,
    PassphraseError,
    PrivateKey,
    PublicKey,
    new_private_key,
    read_private_key,
    read_public_key,
)

# Lower-case letters of Cyrillic and Greek (of which some look so as capitals alone), and digits.
_LATIN = str.maketrans(
    "авекмнорстухіјѕԁһԛԝ" "αβεζηικμνορτυχ" "01|",
    "abekmhopctyxijsdhqw" "abezhikmvoptyx" "oll",
)  # fmt: skip


def look_alike(key: PublicKey, others: Iterable[PublicKey]) -> PublicKey | None:
    """The first other key whose name a reader could take this one's for."""
    shape = _shape(key.name)
    return next(
        (
            similar
            for similar in others
            if similar.key_id != key.key_id and _shape(similar.name) == shape
        ),
        None,
    )


def _shape(name: str) -> str:
    """What is seen of a name: letters and digits alone, as Latin ones where they look so."""
    parts = unicodedata.normalize("NFKD", name).casefold()
    return "".join(char for char in parts.translate(_LATIN) if char.isalnum()).replace("i", "l")


KEYS_FILE = "keys.json"
LONGEST_NAME = 100
_MAX_KEYS = 1000
_FILE = JsonFile("a list of keys", "correct it or remove it", max_bytes=4 << 20)


class _KeyEntry(Record):
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    pem: Annotated[str, Field(max_length=MAX_KEY_BYTES)]
    own: bool = False


class _KeyFile(Record):
    format: Literal["cleanclip-keys"]
    version: Literal[1]
    keys: tuple[_KeyEntry, ...] = Field(default=(), max_length=_MAX_KEYS)


def keys_dir() -> Path:
    """The folder of the keys, whether it is there or not."""
    return config_dir() / "keys"


def trusted_keys() -> tuple[PublicKey, ...]:
    """The user's own keys and those that he trusts, in the order in which they came.

    Raises
    ------
    InputError
        If the list is damaged.
    """
    path = keys_dir() / KEYS_FILE
    if not os.path.lexists(path):
        return ()
    saved = _FILE.check(_FILE.read(path), _KeyFile, plain(path.name))
    return tuple(PublicKey(entry.pem, entry.name, entry.own) for entry in saved.keys)


def new_key(name: str, passphrase: str = "") -> PublicKey:
    """Make a key pair of the user's; raises `InputError` if the name is taken or no name."""
    keys = trusted_keys()
    name = _checked_name(name, keys)
    key = new_private_key(name)
    path = private_file(key.public)
    _write_secret(path, key.to_pem(passphrase))
    try:
        _save((*keys, key.public))
    except InputError:
        path.unlink()  # nothing names it
        raise
    return key.public


def trust_key(raw: bytes, label: str, name: str) -> PublicKey:
    """Trust the key in a public PEM as somebody's.

    Parameters
    ----------
    raw
        The PEM.
    label
        What sentences call it, such as its file's name.
    name
        Whose it is.

    Raises
    ------
    InputError
        If it is no public P-256 key, or it or the name is in the list already.
    """
    keys = trusted_keys()
    key = read_public_key(raw, label)
    for other in keys:
        if other.key_id == key.key_id:
            owner = "your own key" if other.own else "trusted already, as the key of"
            raise InputError(f"{label} is {owner} {other.name!r}.")
    key = PublicKey(key.pem, _checked_name(name, keys))
    _save((*keys, key))
    return key


def caution_of_name(key: PublicKey) -> str:
    """A sentence if the key's name looks like another key's, else empty."""
    other = look_alike(key, trusted_keys())
    if other is None:
        return ""
    whose = "your own key" if other.own else "the trusted key"
    return (
        f"{key.name!r} looks like {other.name!r}, the name of {whose} {other.short}: tell them "
        "apart by their ids, or choose another name."
    )


def forget_key(key: PublicKey) -> None:
    """Stop trusting a key; if it is the user's own, its private half is deleted."""
    _save(tuple(other for other in trusted_keys() if other.key_id != key.key_id))
    if key.own:
        with suppress(FileNotFoundError):
            private_file(key).unlink()


def find_key(text: str, *, own: bool = False) -> PublicKey:
    """A key by its name or the first digits of its id, at least 8.

    Parameters
    ----------
    own
        Look only among keys whose private half is here; an empty ``text`` then means the only one.

    Raises
    ------
    InputError
        If no key fits, or several do.
    """
    keys = [key for key in trusted_keys() if key.own or not own]
    if not keys:
        raise InputError(
            "You have no key yet; make one with: cleanclip key new."
            if own
            else "There are no keys yet; see cleanclip key --help."
        )
    if not text and own and len(keys) == 1:
        return keys[0]
    sought = text.strip().removesuffix("…")
    matches = [key for key in keys if key.name.casefold() == sought.casefold()]
    if not matches and len(sought) >= 8:
        matches = [key for key in keys if key.key_id.startswith(sought.lower())]
    names = ", ".join(f"{key.name} ({key.short})" for key in keys[:10])
    if len(matches) != 1:
        if not text:
            raise InputError(f"You have several keys; choose one with --key: {names}.")
        what = "several keys" if matches else "no key"
        raise InputError(f"There is {what} {short(text, 80)!r} here; there are {names}.")
    return matches[0]


def key_to_believe(text: str) -> PublicKey:
    """The public key in a file, or a trusted one by its name or id; raises as `find_key`."""
    path = Path(text)
    if not path.is_file():
        return find_key(text)
    return read_public_key(read_key_file(path), plain(path.name), plain(path.name))


def load_key(text: str = "", passphrase: Callable[[str], str] = lambda name: "") -> PrivateKey:
    """A private key to sign with.

    Parameters
    ----------
    text
        Name or id of an own key, or the path of a PEM file; empty for the only own key.
    passphrase
        Asked once, with the key's name, if the key is locked.

    Raises
    ------
    InputError
        If there is no such key, it cannot be unlocked, or others may read its file.
    """
    path = Path(text)
    if text and path.suffix.lower() in (".pem", ".key"):
        key, label, name = None, plain(path.name), ""
    else:
        key = find_key(text, own=True)
        path, label, name = private_file(key), f"The private key {key.name!r}", key.name
    raw = _read_secret(path, label)
    try:
        private = read_private_key(raw, label, name=name)
    except PassphraseError:
        phrase = passphrase(label)
        if not phrase:
            raise
        private = read_private_key(raw, label, phrase, name)
    if key is not None and private.public.key_id != key.key_id:
        raise InputError(f"{label} belongs to another public key; make a new one.", "damaged")
    return private


def private_file(key: PublicKey) -> Path:
    """Where the private half of an own key lies."""
    return keys_dir() / f"{key.key_id}.pem"


def read_key_file(path: Path) -> bytes:
    """The bytes of a key's file; raises `InputError` if it is missing or too large."""
    file, size = open_regular(path)
    with file:
        if size > MAX_KEY_BYTES:
            raise InputError(f"{plain(path.name)} is no key: it is too large.", "damaged")
        return file.read(MAX_KEY_BYTES + 1)


def _read_secret(path: Path, label: str) -> bytes:
    if os.name == "posix":
        with suppress(OSError):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise InputError(
                    f"{label} may be read by others; take their rights away first: "
                    f"chmod 600 {path}."
                )
    return read_key_file(path)


def _checked_name(name: str, keys: tuple[PublicKey, ...]) -> str:
    """A name that can be shown, and that no other key has."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or plain(name) != name:
        raise InputError(
            f"A key needs a name of 1 to {LONGEST_NAME} visible characters, such as a person's."
        )
    if any(other.name.casefold() == name.casefold() for other in keys):
        raise InputError(f"Another key is called {name!r} already; choose another name.")
    return name


def _save(keys: tuple[PublicKey, ...]) -> None:
    record = _KeyFile(
        format="cleanclip-keys",
        version=1,
        keys=tuple(_KeyEntry(name=key.name, pem=key.pem, own=key.own) for key in keys),
    )
    path = keys_dir() / KEYS_FILE

    def write(file: BinaryIO) -> None:
        if hasattr(os, "fchmod"):  # whom the user trusts is nobody else's business
            os.fchmod(file.fileno(), 0o600)
        file.write((json.dumps(record.model_dump(), indent=1) + "\n").encode())

    _make_folder()
    try:
        replace_files({path: write})
    except OSError as error:
        raise InputError(f"{path} cannot be saved: {error.strerror}; free some space.") from error


def _write_secret(path: Path, raw: bytes) -> None:
    """Write a file that nobody else could read at any time."""
    _make_folder()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink()
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be saved: {error.strerror}; free some space.") from error


def _make_folder() -> None:
    folder = keys_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}.") from error
