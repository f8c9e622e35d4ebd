"""Copies a run's cleaned checkpoint or adapter to a place of the user's choice, in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.file_copy import copy_whole
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.widgets.name_filters import SAFETENSORS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError

_ENDING = ".safetensors"


def cleaned_file(result: Mapping[str, Any]) -> Path:
    """Return where a run's cleaned checkpoint lies.

    Raises
    ------
    InputError
        If it is no longer there.
    """
    path = Path(result.get("checkpoint", ""))
    if not path.is_file():
        raise InputError("The cleaned checkpoint is gone; run the cleaning again.")
    return path


class SaveCleaned(QObject):
    """``saved`` carries the new path and whether it is an adapter, ``failed`` an InputError."""

    saved = Signal(object, bool)
    failed = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self.prompts = Prompts()
        self._copy: Background | None = None
        self._is_adapter = False

    @property
    def is_busy(self) -> bool:
        """Whether a file is being written."""
        return self._copy is not None

    def begin(self, result: Mapping[str, Any]) -> None:
        """Ask where to, and copy."""
        try:
            if self.is_busy:
                raise InputError("A file is being saved; save again when that has ended.")
            source = cleaned_file(result)
            if result.get("adapter"):  # the weights beside it are not cleaned
                source = cleaned_file({"checkpoint": result["adapter"]})
        except InputError as error:
            self.failed.emit(error)
            return
        self._is_adapter = bool(result.get("adapter"))
        title = "Save adapter" if self._is_adapter else "Save cleaned checkpoint"
        target = ask_path(self.prompts, self._window, title, suggested_name(result))
        if target is None:
            return
        self.busy_changed.emit(True)
        self._copy = Background(copy_whole(source, target))
        self._copy.yielded.connect(self._on_copied)
        self._copy.failed.connect(self.failed)
        self._copy.finished.connect(self._on_finished)
        self._copy.begin()

    def stop(self, timeout_ms: int) -> bool:
        """End a copy when the window closes; whether it ended within the limit."""
        return self._copy is None or self._copy.stop(timeout_ms)

    def _on_copied(self, path: Path) -> None:
        self.saved.emit(path, self._is_adapter)

    def _on_finished(self) -> None:
        self._copy = None
        self.busy_changed.emit(False)


def ask_path(prompts: Prompts, parent: QWidget, title: str, name: str) -> Path | None:
    """Where to write; what the dialog did not ask about, since it got no ending, is asked."""
    chosen = prompts.save_file(parent, title, name, SAFETENSORS)
    if not chosen or chosen.endswith(_ENDING):
        return Path(chosen) if chosen else None
    target = Path(f"{chosen}{_ENDING}")
    question = f"{plain(target.name, 80)} exists already. Write over it?"
    if target.exists() and not prompts.confirm(parent, title, question, "Write over it", "Cancel"):
        return None
    return target


def suggested_name(result: Mapping[str, Any]) -> str:
    """A name for the cleaned checkpoint, after the one it was made from."""
    what = "adapter" if result.get("adapter") else "cleaned"
    return f"{Path(result.get('source') or 'checkpoint').stem}-{what}.safetensors"
