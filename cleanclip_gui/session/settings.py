"""What the program remembers between runs: settings in JSON, the window's layout beside it."""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from ml_core.atomic import replace_files
from ml_core.paths import config_dir, data_dir, is_shipped
from ml_core.reading.errors import InputError
from ml_core.reading.json_file import JsonFile
from ml_core.reading.regular_file import read_file

_LOG = logging.getLogger(__name__)
_MAX_RECENT, _MAX_SCANS = 8, 24
_COLUMNS = "_columns"
_Widths = Annotated[tuple[int, ...], Field(max_length=2)]


class PastScan(BaseModel):
    """A scan that was made or shown: its folder, its verdict, and the file that was scanned."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    folder: str = Field(max_length=4096)
    sha256: str = Field(default="", max_length=64)
    verdict: str = Field(default="", max_length=20)
    target: str = Field(default="", max_length=200)
    made: float = 0.0


class Settings(BaseModel):
    """Choices of the user. ``device`` empty means the best one found, ``threads`` 0 what suits the
    processor; ``precision`` is Studio's, ``auto`` the fastest one that agrees with float32.
    ``size`` of type is in per cent; ``motion`` says whether what moves by itself may, ``hub``
    whether the Hugging Face Hub is asked.

    ``recent`` are checkpoints and ``sessions`` folders of sessions, the newest first.
    ``last_run`` is the folder of a run that goes on, or went on when the window was killed.
    ``columns`` are the widths of a station's left and right one in pixels, by its id, 0 for a
    closed one; a station without them takes what the window's width allows. In the file they
    stand beside the others, as ``studio_columns``. ``scans`` are the last scans, newest first.
    ``author`` stands in the reports that are written.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

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
    columns: dict[str, _Widths] = {}
    author: str = Field(default="", max_length=200)
    scans: tuple[PastScan, ...] = Field(default=(), max_length=_MAX_SCANS)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, fields: dict[str, Any]) -> dict[str, Any]:
        columns = {name.removesuffix(_COLUMNS): fields[name] for name in _columns_among(fields)}
        return {**fields, "columns": columns}

    @model_serializer(mode="wrap")
    def _spread(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = dump(self)
        columns = fields.pop("columns").items()
        return fields | {f"{name}{_COLUMNS}": widths for name, widths in columns}


def _columns_among(fields: Iterable[str]) -> set[str]:
    return {name for name in fields if name.endswith(_COLUMNS)}


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
        folder = self.value.last_folder if is_shipped(path) else str(Path(path).parent)
        self.update(recent=(path, *others)[:_MAX_RECENT], last_folder=folder)

    def add_session(self, folder: str) -> None:
        """Put a session at the head of the recent ones."""
        others = [known for known in self.value.sessions if known != folder]
        self.update(sessions=(folder, *others)[:_MAX_RECENT])

    def forget_session(self, folder: str) -> None:
        """Drop a session from the recent ones, since it is gone."""
        self.update(sessions=tuple(known for known in self.value.sessions if known != folder))

    def add_scan(self, scan: PastScan) -> None:
        """Put a scan at the head of the last ones."""
        others = [known for known in self.value.scans if known.folder != scan.folder]
        self.update(scans=(scan, *others)[:_MAX_SCANS])

    def last_scan(self, sha256: str | None) -> PastScan | None:
        """The newest scan of a file; None where none was made."""
        of_it = [scan for scan in self.value.scans if sha256 and scan.sha256 == sha256]
        return max(of_it, key=lambda scan: scan.made, default=None)

    def forget_scan(self, folder: str) -> None:
        """Drop a scan from the last ones, since it is gone."""
        self.update(scans=tuple(known for known in self.value.scans if known.folder != folder))

    def forget_recent(self, path: str) -> None:
        """Drop a checkpoint from the recent ones, since it is gone."""
        self.update(recent=tuple(p for p in self.value.recent if p != path))

    def layout(self) -> tuple[bytes, bytes]:
        """Saved geometry and dock state; empty if none was saved."""
        try:
            if not self._layout_file.exists():
                return b"", b""
            read = _LAYOUT.read(self._layout_file)
            saved = _LAYOUT.check(read, _Layout, self._layout_file.name)
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
        fields: dict[str, Any] = {}
        known = Settings.model_fields.keys() & raw.keys() | _columns_among(raw)
        for name in known:
            try:
                Settings.model_validate({name: raw[name]})
                fields[name] = raw[name]
            except ValidationError:
                pass
        wrong = sorted(known - fields.keys())
        if wrong:
            named = ", ".join(wrong)
            self._tell(f"Damaged in {self._file.name}, their defaults are used: {named}.")
        return Settings.model_validate(fields)

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
