"""Sessions on disk: written whole or not at all, read as foreign, their outer files known again."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ml_core.atomic import Content, replace_files
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.data.digests import hash_file
from ml_core.data.images import open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.paths import cache_dir, config_dir, data_dir
from ml_core.reading import Inspection, examine
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.inspect import is_there, split_part
from ml_core.reading.json_file import JsonFile, short
from ml_core.reading.regular_file import read_file
from ml_core.reports.measurement_files import LocalData, json_bytes, trigger_record
from ml_core.reports.record import (
    EVIDENCE_FILE,
    SUMS_FILE,
    BundlePath,
    CheckpointFacts,
    DataFacts,
    Evidence,
    TriggerFacts,
)
from ml_core.reports.sessions.record import (
    SESSION_FILE,
    TRIGGERS_FOLDER,
    FileFacts,
    Inside,
    SavedSession,
)
from ml_core.reports.without_paths import WithoutPaths
from ml_core.reports.write_bundle import reading
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


Cancelled = Callable[[], bool]
_MOST_NAMES = 5_000_000
_WORDS = {
    "weights": "the SHA-256 of its weights",
    "file": "its SHA-256",
    "inside": "the SHA-256 of its {}",
    "names": "the digest of its files' names and sizes",
    "pictures": "the digest of its pictures",
}


def _never() -> bool:
    return False


def mark_of(path: str | Path, inside: str = "") -> str:
    """Size and time of change of a file, or of one inside a folder; empty if it cannot be read."""
    try:
        stat = Path(split_part(path)[0], inside).stat()
    except (OSError, InputError):
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def facts_of(
    path: Path,
    known_by: Literal["weights", "file", "inside", "names"],
    inside: Inside = "",
    cancelled: Cancelled = _never,
) -> FileFacts:
    """How a file or folder is known again.

    Parameters
    ----------
    path
        The file or folder.
    known_by, inside
        As in `FileFacts`; a folder is known by ``names`` where ``file`` is asked for.

    Raises
    ------
    InputError
        If it is gone, or cannot be read.
    CancelledError
        If it was cancelled.
    """
    if known_by == "file" and path.is_dir():
        known_by = "names"
    mark = mark_of(path, inside)
    if known_by == "weights":
        sha256 = examine(path, cancelled).sha256
    elif known_by == "names":
        sha256 = _names(path, cancelled)
    else:
        sha256 = _hash(path / inside if inside else path, cancelled)
    return FileFacts(digest=sha256, known_by=known_by, inside=inside, mark=mark)


def check_same(
    path: Path,
    name: str,
    facts: FileFacts,
    images: ImageSpec | None = None,
    label_set: str = "",
    cancelled: Cancelled = _never,
) -> None:
    """Make sure that a file is the one that a session was saved with.

    Parameters
    ----------
    path
        What was chosen.
    name
        What the session calls it.
    facts
        What the session knows of it.
    images, label_set
        How it is opened, where it is a set of images, and the name or file of its classes.

    Raises
    ------
    InputError
        If it differs, cannot be compared or cannot be read.
    CancelledError
        If it was cancelled.
    """
    shown, name = short(path.name or str(path), 80), short(name, 80)
    if not is_there(path):
        raise InputError(f"There is nothing at {short(str(path))}; choose an existing file.")
    if not facts.digest:
        raise InputError(
            f"Nobody can tell whether {shown} is the session's {name}: its hash was not kept. "
            "Leave it out, and open it by hand afterwards."
        )
    if facts.known_by == "pictures":
        if images is None:
            raise InputError(f"{name} is no set of images; leave it out.", "damaged")
        current = _pictures(path, images, label_set, cancelled)
    else:
        if facts.known_by == "names" and not path.is_dir():
            raise InputError(f"{shown} is no folder, but the session's {name} is one.")
        current = facts_of(path, facts.known_by, facts.inside, cancelled).digest
    if current != facts.digest:
        words = _WORDS[facts.known_by].format(facts.inside)
        now = f"begins with {current[:12]}" if current else "cannot be computed"
        raise InputError(
            f"{shown} is not the session's {name}: {words} {now}, the session's with "
            f"{facts.digest[:12]}. Choose the right one, or leave it out."
        )


def _hash(path: Path, cancelled: Cancelled) -> str:
    def tell(_: int) -> None:
        if cancelled():
            raise CancelledError

    try:
        return hash_file(path, tell)[1].hex()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "the system refuses it"
        raise InputError(f"{short(str(path))} cannot be read: {why}.") from None


def _names(folder: Path, cancelled: Cancelled) -> str:
    """Digest of relative names and sizes of a folder's files; links are not followed."""
    sizes: list[tuple[str, int]] = []

    def refuse(error: OSError) -> None:
        raise error

    try:
        for place, _, names in os.walk(folder, onerror=refuse):
            if cancelled():
                raise CancelledError
            for name in names:
                path = Path(place, name)
                sizes.append((path.relative_to(folder).as_posix(), path.lstat().st_size))
            if len(sizes) > _MOST_NAMES:
                raise InputError(f"{short(folder.name)} holds too many files.")
    except OSError as error:
        raise InputError(f"{short(str(folder))} cannot be read: {error.strerror}.") from None
    whole = hashlib.sha256(b"names")
    for name, size in sorted(sizes):
        whole.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _pictures(path: Path, images: ImageSpec, label_set: str, cancelled: Cancelled) -> str:
    """Key of an image set in another place."""

    def watch(*_: object) -> None:
        if cancelled():
            raise CancelledError

    spec = images.model_copy(update={"path": str(path)})
    return open_images(spec, load_label_set(label_set) if label_set else None, watch).key


@dataclass(frozen=True, eq=False)
class OpenedCheckpoint:
    """A checkpoint that is open; fields as in `CheckpointFacts`, ``donor`` by its
    SHA-256, None where it is not known.
    """

    role: Literal["suspect", "cleaned", "reference"]
    inspection: Inspection
    architecture: str
    parameters: int
    assumptions: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    choice: str = ""
    donor: str | None = None


def draft(
    name: str,
    checkpoints: Sequence[OpenedCheckpoint],
    images: LocalData | None,
    triggers: Sequence[Trigger],
) -> tuple[Evidence, dict[BundlePath, bytes]]:
    """The record of what is open, and the files that it names; it has no path of this machine.

    Runs and scans are not in it, nor are rates: their folders hold them, and the writer of a
    bundle takes them from there.

    Parameters
    ----------
    name
        Name of the session.
    checkpoints
        At most one of each role.
    images
        In use.
    triggers
        On the canvas and beside it; a session keeps their exact bytes.
    """
    from ml_core.reports.derive import evidence_from  # the window starts without it

    paths = [checkpoint.inspection.path for checkpoint in checkpoints]
    known = [cache_dir(), config_dir(), data_dir(), *paths]
    clean = WithoutPaths([*known, *(path.parent for path in known)])
    files: dict[BundlePath, bytes] = {}
    facts: dict[str, CheckpointFacts] = {}
    for checkpoint in checkpoints:
        inspection, assessed = checkpoint.inspection, assess(checkpoint.inspection)
        file = f"inspections/{checkpoint.role}.json"
        files[file] = json_bytes(clean.json(inspection_record(assessed)))
        own = ("role", "architecture", "parameters", "donor")
        facts[checkpoint.role] = CheckpointFacts(
            **{name: getattr(checkpoint, name) for name in own},
            name=inspection.name, sha256=inspection.sha256 or None, bytes=inspection.size,
            format=inspection.format, choice=clean.json(checkpoint.choice) or None,
            assumptions=clean.json(checkpoint.assumptions),
            cautions=clean.json(checkpoint.cautions), safety=assessed.verdict,
            safety_reasons=clean.json(assessed.reasons), inspection=file,
        )  # fmt: skip
    evidence = evidence_from(
        reading(files),
        name=name,
        checkpoints=facts,
        data={} if images is None else {"images-1": _data(images, clean)},
        triggers={trigger.digest: _trigger(trigger, clean) for trigger in triggers},
    )
    return evidence, files


def _data(images: LocalData, clean: WithoutPaths) -> DataFacts:
    spec = clean.json(images.spec.model_dump(mode="json", exclude={"path"}))
    return images.to(DataFacts, name=clean.text(images.name), spec=spec, rows=None)


def _trigger(trigger: Trigger, clean: WithoutPaths) -> TriggerFacts:
    stem = f"{TRIGGERS_FOLDER}/{trigger.digest}"
    suffixes = [".json"]
    suffixes += [".png"] if trigger.pixels is not None else []
    parts = (file for part in trigger.parts for file in (part.array, part.pixels))
    has_arrays = any(file is not None for file in (trigger.array, *parts))
    suffixes += [".safetensors"] if has_arrays else []
    files = tuple(f"{stem}{suffix}" for suffix in suffixes)
    return trigger_record(trigger).to(TriggerFacts, name=clean.text(trigger.name), files=files)
