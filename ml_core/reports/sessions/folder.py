"""Sessions on disk: written whole or not at all, read as foreign."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_core.atomic import Content, replace_files
from ml_core.paths import config_dir
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.regular_file import read_file
from ml_core.reports.measurement_files import json_bytes
from ml_core.reports.record import EVIDENCE_FILE, SUMS_FILE, BundlePath, Evidence
from ml_core.reports.sessions.record import SESSION_FILE, TRIGGERS_FOLDER, SavedSession
from ml_core.triggers import Trigger, save_trigger
from ml_core.triggers.files import load_trigger

_LOG = logging.getLogger(__name__)
_SECRET_FILE = "sessions.secret"
_BYTES = 32


def is_sealed_here(fields: Mapping[str, Any]) -> bool:
    """Whether a session's fields are as this machine saved them; writes nothing."""
    seal = fields.get("seal")
    try:
        expected = _seal(fields, _read(config_dir() / _SECRET_FILE))
    except OSError as error:
        _LOG.warning("seals of sessions cannot be checked: %s", error.strerror or error)
        return False
    if not expected or not isinstance(seal, str):
        return False
    return hmac.compare_digest(seal.encode("utf-8", "replace"), expected.encode())


def _seal(fields: Mapping[str, Any], secret: bytes) -> str:
    if not secret:
        return ""
    counted = {name: value for name, value in fields.items() if name != "seal"}
    message = json.dumps(counted, sort_keys=True, ensure_ascii=True).encode("ascii")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def _secret() -> bytes:
    """This machine's secret, made when it is first needed; empty if it cannot be kept."""
    try:
        path = config_dir() / _SECRET_FILE
        for _ in range(2):
            secret = _read(path)
            if secret:
                return secret
            _make(path)
    except OSError as error:
        _LOG.warning("sessions cannot be sealed: %s", error.strerror or error)
    return b""


def _read(path: Path) -> bytes:
    try:
        content = read_file(path, _BYTES + 1)
    except FileNotFoundError:
        return b""
    return content if len(content) == _BYTES else b""


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


_FILE = JsonFile(
    "a session", "open its checkpoint and images by hand instead", 8 << 20, max_depth=6
)
_TRIGGER_FILE = re.compile(r"[0-9a-f]{64}\.(json|png|safetensors)")


@dataclass(frozen=True)
class ReadSession:
    """A session as it was read.

    Attributes
    ----------
    session
        The record.
    is_own
        Whether this machine saved this content: only then its paths are opened unasked.
    """

    session: SavedSession
    is_own: bool


def is_session(path: Path) -> bool:
    """Whether a folder holds a session."""
    return (path / SESSION_FILE).is_file()


def read_session(folder: Path) -> ReadSession:
    """Read a session's folder, which somebody else may have filled.

    Raises
    ------
    InputError
        ``usage`` if the folder holds no session, ``damaged`` with the reason.
    """
    path = folder / SESSION_FILE
    if not path.exists():
        raise InputError(
            f"{short(folder.name or str(folder))} is no session: it has no {SESSION_FILE}. Choose "
            "the folder that was saved as a session."
        )
    fields = _FILE.read(path, inside=folder)
    return ReadSession(_FILE.check(fields, SavedSession, path.name), is_sealed_here(fields))


def session_trigger(folder: Path, digest: str) -> Trigger | None:
    """A trigger of a session; None for an empty digest.

    Raises
    ------
    InputError
        If it is gone, damaged or replaced.
    """
    if not digest:
        return None
    trigger = load_trigger(folder / TRIGGERS_FOLDER / f"{digest}.json")
    if trigger.digest != digest:
        raise InputError(
            f"The trigger {digest[:12]}… of the session is another one by now; it is left out.",
            "damaged",
        )
    return trigger


def write_session(
    folder: Path,
    session: SavedSession,
    triggers: Sequence[Trigger],
    evidence: Evidence | None = None,
    files: Mapping[BundlePath, bytes] | None = None,
) -> SavedSession:
    """Save a session into its folder; `SESSION_FILE` comes last, and makes it one.

    Parameters
    ----------
    folder
        A new or empty folder, or one that holds a session.
    session
        What is open; time and seal are added.
    triggers
        The triggers that it names; files of triggers that it no longer names are removed.
    evidence
        The record as far as things are known; None leaves out `EVIDENCE_FILE`.
    files
        What the record names.

    Returns
    -------
    SavedSession
        As it was written.

    Raises
    ------
    InputError
        ``usage`` if something else lies in the folder, or it cannot be written.
    """
    _refuse_others(folder)
    digests = {trigger.digest for trigger in triggers}
    try:
        (folder / TRIGGERS_FOLDER).mkdir(parents=True, exist_ok=True)
        for trigger in triggers:
            _save_trigger(folder, trigger)
        fields = session.model_copy(update={"saved": time.time()}).model_dump(mode="json")
        fields["seal"] = _seal(fields, _secret())
        contents: dict[Path, Content] = {}
        for name, content in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            contents[folder / name] = content
        if evidence is not None:
            contents[folder / EVIDENCE_FILE] = json_bytes(evidence.model_dump(mode="json"))
        contents[folder / SESSION_FILE] = _json(fields)
        replace_files(contents)
    except OSError as error:
        raise InputError(
            f"The session {short(folder.name)} could not be saved: "
            f"{error.strerror or error}. What was saved before is still there.",
            details=str(error),
        ) from error
    for path in (folder / TRIGGERS_FOLDER).iterdir():  # the new record is whole by now
        if _TRIGGER_FILE.fullmatch(path.name) and path.stem not in digests:
            with suppress(OSError):
                path.unlink()
    return SavedSession.model_validate(fields)


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False).encode("ascii") + b"\n"


def _save_trigger(folder: Path, trigger: Trigger) -> None:
    """Keep a trigger, unless its files are there and whole."""
    with suppress(InputError):
        if session_trigger(folder, trigger.digest) is not None:
            return
    save_trigger(trigger, folder / TRIGGERS_FOLDER / trigger.digest)


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds something else, or that leads elsewhere."""
    name = short(folder.name or str(folder))
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{name} is a file; save the session under another name.")
    if (folder / SUMS_FILE).exists():
        raise InputError(
            f"{name} is a finished bundle, which a session would change; save the session under "
            "another name."
        )
    if not is_session(folder) and any(folder.iterdir()):
        raise InputError(f"{name} holds other files and no session; save it in a new folder.")
    for inside in folder.iterdir():
        if inside.is_symlink():
            raise InputError(
                f"{name} holds a link ({short(inside.name)}), through which nothing is written; "
                "save the session under another name."
            )
