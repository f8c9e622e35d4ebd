"""What a checkpoint file or folder is, told without running or believing any of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ml_core.reading.errors import ErrorCode, InputError
from ml_core.reading.folder import FolderFiles, list_folder
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import TensorInfo, parse_header
from ml_core.reading.sniff import SAFETENSORS, sniff
from ml_core.reading.strict_json import JsonError, parse_object

Verdict = Literal["loads", "caution", "dangerous", "damaged"]
ReasonCode = Literal["ok", "note", "dangerous", "damaged", "unsupported"]


@dataclass(frozen=True)
class Inspection:
    """What was found; the same for the window, the command line and JSON.

    Parameters
    ----------
    path, name
        What was opened.
    size
        Bytes of the weights file (of the file itself if it was refused).
    sha256
        Of the same bytes; empty if nothing could be read.
    format
        ``safetensors``, ``open_clip folder``, or the name of a refused format.
    verdict
        ``loads``, ``caution`` (loads, see reasons), ``dangerous`` (refused: the format can run
        code when it is loaded) or ``damaged`` (refused: damaged or not supported).
    reason_code
        ``ok``, ``note``, or the kind of refusal.
    reasons
        Whole sentences, the most important first.
    tensors, metadata
        From the safetensors header.
    config
        The JSON of ``open_clip_config.json``, unchecked beyond being JSON; None for a file.
    weights_path
        The safetensors file; None if refused.
    unread
        Names of files of the folder that were not read.
    """

    path: Path
    name: str
    size: int
    sha256: str
    format: str
    verdict: Verdict
    reason_code: ReasonCode
    reasons: tuple[str, ...] = ()
    tensors: tuple[TensorInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights_path: Path | None = None
    unread: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers the tensors hold together."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def refused(self) -> bool:
        """Whether it cannot be opened."""
        return self.verdict in ("dangerous", "damaged")

    def refusal(self) -> InputError:
        """Make the error of a refused file: its first reason, the others as details."""
        code: ErrorCode = "damaged"
        if self.reason_code in ("dangerous", "unsupported"):
            code = self.reason_code
        return InputError(self.reasons[0], code, "\n".join(self.reasons[1:]))


def inspect(path: str | Path) -> Inspection:
    """Examine a checkpoint; see `Inspection`.

    Raises
    ------
    InputError
        ``usage`` if there is nothing at the path or it may not be read; a bad file never raises.
    """
    path = Path(os.path.expanduser(path))  # Path.expanduser raises for an unknown user
    try:
        path.lstat()
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name is not valid"
        raise InputError(f"{path} cannot be opened: {reason}.", "usage") from None
    return _inspect_folder(path) if is_folder else _inspect_file(path)


def _refuse(
    path: Path, error: InputError, form: str, size: int = 0, sha256: str = "", **facts: Any
) -> Inspection:
    """Make the record of a refused file."""
    verdict: Verdict = "dangerous" if error.code == "dangerous" else "damaged"
    code: ReasonCode = "unsupported" if error.code == "usage" else error.code
    return Inspection(
        path, path.name, size, sha256, form, verdict, code, (error.sentence,), **facts
    )


def _inspect_file(path: Path, label: str = "") -> Inspection:
    """Examine one file through one descriptor; ``label`` names it in sentences."""
    name = label or path.name
    try:
        file, size = open_regular(path)
    except InputError as error:
        if error.code == "usage":
            raise
        return _refuse(path, error, "not a regular file")
    with file:
        kind = sniff(file, size)
        problem = InputError(f"{name} {kind.why}.", kind.code) if kind.code else None
        tensors: tuple[TensorInfo, ...] = ()
        metadata: Mapping[str, str] = {}
        if kind is SAFETENSORS:
            try:
                file.seek(0)
                header = parse_header(file, size, name)
                tensors, metadata = header.tensors, header.metadata
                if not tensors:
                    raise InputError(f"{name} holds no tensors; get the file again.", "damaged")
            except InputError as error:
                problem = error
        sha256, hashed = _hash(file)
        if hashed != size:
            problem = InputError(f"{name} changed while it was read; open it again.", "damaged")
    if problem:
        return _refuse(path, problem, kind.format, size, sha256)
    notes: tuple[str, ...] = ()
    if path.suffix.lower() != ".safetensors":
        notes = (f"{name} is a safetensors file although its name does not end in .safetensors.",)
    return Inspection(
        path,
        path.name,
        size,
        sha256,
        kind.format,
        "caution" if notes else "loads",
        "note" if notes else "ok",
        notes,
        tensors,
        metadata,
        weights_path=path,
    )


def _hash(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 and the length of an open file."""
    file.seek(0)
    digest, length = hashlib.sha256(), 0
    while chunk := file.read(1 << 20):
        digest.update(chunk)
        length += len(chunk)
    return digest.hexdigest(), length


def _inspect_folder(path: Path) -> Inspection:
    """Examine an open_clip folder: the config, then the weights beside it."""
    form = "open_clip folder"
    try:
        files = list_folder(path)
    except InputError as error:
        return _refuse(path, error, "folder")
    weights = _inspect_file(files.weights, f"{path.name}/{files.weights.name}")
    facts = {"unread": files.unread}
    if weights.refused:
        form = f"{form}, {weights.format}"
        return _refuse(path, weights.refusal(), form, weights.size, weights.sha256, **facts)
    try:
        config = _read_config(files)
    except InputError as error:
        return _refuse(path, error, form, weights.size, weights.sha256, **facts)
    notes = weights.reasons + _folder_notes(files)
    return Inspection(
        path,
        path.name,
        weights.size,
        weights.sha256,
        form,
        "caution" if notes else "loads",
        "note" if notes else "ok",
        notes,
        weights.tensors,
        weights.metadata,
        config,
        files.weights,
        files.unread,
    )


def _read_config(files: FolderFiles) -> dict[str, Any]:
    """Read ``open_clip_config.json``."""
    label = f"{files.config.parent.name}/{files.config.name}"
    limit = 1 << 20
    file, _ = open_regular(files.config)
    with file:
        raw = file.read(limit + 1)
    try:
        return parse_object(raw, max_bytes=limit)
    except JsonError as error:
        raise InputError(
            f"{label} cannot be used: {error}; correct it or get it again.", "damaged"
        ) from None


def _folder_notes(files: FolderFiles) -> tuple[str, ...]:
    """Say what else lies there that other programs may run or load."""
    if not files.risky:
        return ()
    shown = ", ".join(files.risky[:5]) + (" and more" if len(files.risky) > 5 else "")
    return (
        f"The folder also holds files that were not read and that other programs may run when "
        f"they load it: {shown}.",
    )
