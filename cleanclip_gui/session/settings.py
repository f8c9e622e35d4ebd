"""What the program remembers between runs: settings in JSON, the window's layout beside it."""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ml_core.atomic import replace_files
from ml_core.detection.scan.records import TITLES, Scan, answer
from ml_core.jobs.scan import SCAN_FILE
from ml_core.paths import config_dir, data_dir, is_shipped
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import whole_file
from ml_core.reading.json_file import JsonFile
from ml_core.reading.regular_file import read_file
from ml_core.records import Record

_LOG = logging.getLogger(__name__)
_MAX_RECENT, _MAX_RESULTS = 8, 24
T = TypeVar("T")


class PastResult(Record):
    """A result that was made or shown: its folder, its verdict, and the file that it is about."""

    model_config = ConfigDict(extra="ignore")

    folder: str = Field(max_length=4096)
    sha256: str = Field(default="", max_length=64)
    verdict: str = Field(default="", max_length=20)
    target: str = Field(default="", max_length=200)
    made: float = 0.0

    @property
    def answer(self) -> str:
        """The verdict of a scan with its class; empty where it is none."""
        return answer(self.verdict, self.target) if self.verdict in TITLES else ""

    @property
    def brief(self) -> str:
        """What it came to, for a row of a list."""
        return self.answer.removesuffix(" in this search") or "Scan"


_RESULTS = TypeAdapter(tuple[PastResult, ...])


class Settings(Record):
    """Choices of the user. ``device`` empty means the best one found, ``threads`` 0 what suits the
    processor; ``precision`` is Studio's, ``auto`` the fastest one that agrees with float32.
    ``size`` of type is in per cent; ``motion`` says whether what moves by itself may, ``hub``
    whether the Hugging Face Hub is asked.

    ``recent`` are checkpoints and ``sessions`` folders of sessions, the newest first.
    ``last_run`` is the folder of a run that goes on, or went on when the window was killed.
    ``author`` stands in the reports that are written. All other fields are parts that their owners
    read with :meth:`SettingsStore.part`; they stay while an owner is not there.
    """

    model_config = ConfigDict(extra="allow")

    theme: Literal["light", "dark", "contrast-light", "contrast-dark", "system"] = "system"
    size: int = Field(default=100, ge=100, le=200)
    motion: Literal["system", "full", "reduced"] = "system"
    hub: bool = True
    device: str = ""
    threads: int = Field(default=0, ge=0, le=4096)
    precision: Literal["auto", "fp32"] = "auto"
    last_folder: str = ""
    last_run: str = ""
    recent: tuple[str, ...] = Field(default=(), max_length=_MAX_RECENT)
    sessions: tuple[str, ...] = Field(default=(), max_length=_MAX_RECENT)
    author: str = Field(default="", max_length=200)


class _Layout(BaseModel):
    """The window's geometry and dock state in base64."""

    geometry: str
    state: str


_SETTINGS = JsonFile(
    "a file of settings",
    "the defaults are used",
    max_bytes=1 << 20,
    path_fields=frozenset({"recent", "sessions", "last_folder", "last_run"}),
)
_DAMAGED = "settings.damaged.json"
_LAYOUT = JsonFile("a window's layout", "the default is used", max_bytes=1 << 20)


class SettingsStore:
    """Reads settings once and writes every change at once, whole or not at all.

    ``trouble`` is a sentence where the file was damaged; a copy of it is kept beside it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._is_usual = folder or config_dir(), folder is None
        self._file = self._folder / "settings.json"
        self._layout_file = self._folder / "layout.json"
        self.trouble = ""
        self.value = self._read()

    @property
    def folder(self) -> Path:
        """Where the settings lie."""
        return self._folder

    @property
    def session_folder(self) -> Path:
        """Where what is open is kept unasked: among the data, or in the folder that was given."""
        return (data_dir() if self._is_usual else self._folder) / "unsaved.session"

    def update(self, **changes: Any) -> None:
        """Change some settings and save; a full disk is logged, the change still applies."""
        new = Settings.model_validate({**self.value.model_dump(), **changes})
        if new == self.value:
            return
        self.value = new
        # Escapes hold the names of files that are no UTF-8, which pydantic cannot write.
        self._write(self._file, json.dumps(new.model_dump(mode="json"), indent=2).encode())

    def add_recent(self, path: str) -> None:
        """Put a checkpoint at the head of the recent ones."""
        others = [p for p in self.value.recent if p != path]
        folder = self.value.last_folder if is_shipped(path) else str(whole_file(path).parent)
        self.update(recent=(path, *others)[:_MAX_RECENT], last_folder=folder)

    def add_session(self, folder: str) -> None:
        """Put a session at the head of the recent ones."""
        others = [known for known in self.value.sessions if known != folder]
        self.update(sessions=(folder, *others)[:_MAX_RECENT])

    def forget_session(self, folder: str) -> None:
        """Drop a session from the recent ones, since it is gone."""
        self.update(sessions=tuple(known for known in self.value.sessions if known != folder))

    def part(self, name: str, kind: TypeAdapter[T], default: T) -> T:
        """A part of the settings that only its owner knows; the default if it is damaged."""
        saved = (self.value.model_extra or {}).get(name)
        if saved is None:
            return default
        try:
            return kind.validate_python(saved)
        except ValidationError:
            self._tell(f"Damaged in {self._file.name}, the default is used: {name}.")
            self.value = self.value.model_copy(update={name: None})
            return default

    def results(self, kind: str) -> tuple[PastResult, ...]:
        """The last results of a kind of job, those shown last first."""
        return self.part(f"{kind}s", _RESULTS, ())

    def last_result(self, kind: str, sha256: str | None) -> PastResult | None:
        """The newest result of a kind about a file; None where there is none."""
        about = [past for past in self.results(kind) if sha256 and past.sha256 == sha256]
        return max(about, key=lambda past: past.made, default=None)

    def add_result(self, kind: str, result: PastResult) -> None:
        """Put a result at the head of the last ones of its kind."""
        others = [past for past in self.results(kind) if past.folder != result.folder]
        self._set_results(kind, (result, *others)[:_MAX_RESULTS])

    def add_scan(self, folder: Path, scan: Scan) -> None:
        """Put a scan at the head of the last ones."""
        try:
            made = (folder / SCAN_FILE).stat().st_mtime
        except OSError:
            made = time.time()
        judged, sha256 = scan.judgement, (scan.suspect.sha256 or "")[:64]
        past = PastResult(
            folder=str(folder), sha256=sha256, verdict=judged.verdict,
            target=judged.target[:200], made=made,
        )  # fmt: skip
        self.add_result("scan", past)

    def forget_result(self, kind: str, folder: str) -> None:
        """Drop a result from the last ones, since it is gone."""
        self._set_results(kind, tuple(p for p in self.results(kind) if p.folder != folder))

    def _set_results(self, kind: str, results: tuple[PastResult, ...]) -> None:
        self.update(**{f"{kind}s": _RESULTS.dump_python(results)})

    def forget_recent(self, path: str) -> None:
        """Drop a checkpoint from the recent ones, since it is gone."""
        self.update(recent=tuple(p for p in self.value.recent if p != path))

    def layout(self) -> tuple[bytes, bytes]:
        """Saved geometry and dock state; empty if none was saved."""
        try:
            if not self._layout_file.exists():
                return b"", b""
            saved = _LAYOUT.check(_LAYOUT.read(self._layout_file), _Layout, self._layout_file.name)
            return (
                base64.b64decode(saved.geometry, validate=True),
                base64.b64decode(saved.state, validate=True),
            )
        except (OSError, InputError, ValueError):  # no base64 among them
            _LOG.warning("The saved window layout is damaged; the default is used.")
            return b"", b""

    def save_layout(self, geometry: bytes, state: bytes) -> None:
        """Keep the window's geometry and dock state."""
        encoded = {
            "geometry": base64.b64encode(geometry).decode("ascii"),
            "state": base64.b64encode(state).decode("ascii"),
        }
        self._write(self._layout_file, json.dumps(encoded).encode())

    def _read(self) -> Settings:
        """The settings on disk; if they are damaged, those that can be used."""
        if not os.path.exists(self._file):
            return Settings()
        try:
            raw = _SETTINGS.read(self._file)
        except InputError as error:
            self._tell(error.sentence)
            return Settings()
        wrong = []
        for name in sorted(Settings.model_fields.keys() & raw.keys()):
            try:
                Settings.model_validate({name: raw[name]})
            except ValidationError:
                wrong.append(name)
                del raw[name]
        if wrong:
            named = ", ".join(wrong)
            self._tell(f"Damaged in {self._file.name}, their defaults are used: {named}.")
        return Settings.model_validate(raw)

    def _tell(self, what: str) -> None:
        """Say that the file is damaged, and copy it: the next change writes over it."""
        copied = False
        with suppress(OSError):
            content = read_file(self._file, _SETTINGS.max_bytes)
            copied = self._write(self._folder / _DAMAGED, content)
        note = f" The file is kept as {_DAMAGED}." if copied else ""
        self.trouble = what + note
        _LOG.warning("%s", self.trouble)

    def _write(self, target: Path, content: bytes) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_files({target: content})
        except OSError as error:
            _LOG.warning("%s could not be saved: %s", target.name, error.strerror or error)
            return False
        return True
