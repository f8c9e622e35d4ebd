"""Whether a session was saved on this machine, by whoever has its settings.

A session names paths. One that came from elsewhere may name what its author likes, a share of the
network among them, so its paths are only opened when the user says so. Each machine has a secret
in its folder of settings; the seal of a session is an HMAC of all that it says with that secret.
It is no signature: it proves nothing to anybody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_core.paths import config_dir
from ml_core.reading.regular_file import read_file

_LOG = logging.getLogger(__name__)
_SECRET_FILE = "sessions.secret"
_BYTES = 32


def seal_of(fields: Mapping[str, Any]) -> str:
    """The seal of a session's fields, in hex; empty where this machine has no secret.

    Parameters
    ----------
    fields
        What is in the file; ``seal`` itself does not count.
    """
    return _seal(fields, _secret())


def is_sealed_here(fields: Mapping[str, Any]) -> bool:
    """Whether a session's fields are as this machine saved them; writes nothing."""
    seal = fields.get("seal")
    try:
        made = _seal(fields, _read(config_dir() / _SECRET_FILE))
    except OSError as error:
        _LOG.warning("seals of sessions cannot be checked: %s", error.strerror or error)
        return False
    if not made or not isinstance(seal, str):
        return False
    return hmac.compare_digest(seal.encode("utf-8", "replace"), made.encode())


def _seal(fields: Mapping[str, Any], secret: bytes) -> str:
    if not secret:
        return ""
    counted = {name: value for name, value in fields.items() if name != "seal"}
    said = json.dumps(counted, sort_keys=True, ensure_ascii=True).encode("ascii")
    return hmac.new(secret, said, hashlib.sha256).hexdigest()


def _secret() -> bytes:
    """This machine's secret, made when it is first needed; empty if it cannot be kept."""
    try:
        path = config_dir() / _SECRET_FILE
        for _ in range(2):
            found = _read(path)
            if found:
                return found
            _make(path)
    except OSError as error:
        _LOG.warning("sessions cannot be sealed: %s", error.strerror or error)
    return b""


def _read(path: Path) -> bytes:
    try:
        found = read_file(path, _BYTES + 1)
    except FileNotFoundError:
        return b""
    return found if len(found) == _BYTES else b""


def _make(path: Path) -> None:
    """Write a secret that only its owner reads; another window may have been first."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
    if path.exists() and not _read(path):
        path.unlink()  # cut short by a full disk
    try:
        os.link(part, path)  # unlike a rename it does not replace another's
    except FileExistsError:
        pass
    except OSError:  # a disk without links
        if not path.exists():
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
