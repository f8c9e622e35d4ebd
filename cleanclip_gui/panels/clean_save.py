"""Copies a run's cleaned checkpoint to a place of the user's choice, beside the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from cleanclip_gui.jobs.background import Background
from cleanclip_gui.jobs.file_copy import copy_whole
from ml_core.reading.errors import InputError


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
    """``saved`` carries the new file's path, ``failed`` an InputError; ``ask`` names the file."""

    saved = Signal(object)
    failed = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self.ask: Callable[[str], str] = self._ask
        self._copy: Background | None = None

    def begin(self, result: Mapping[str, Any]) -> None:
        """Ask where to, and copy."""
        try:
            source = cleaned_file(result)
            if result.get("adapter"):  # the weights beside it are not cleaned
                source = cleaned_file({"checkpoint": result["adapter"]})
        except InputError as error:
            self.failed.emit(error)
            return
        chosen = self.ask(suggested_name(result))
        if not chosen:
            return
        target = Path(chosen)
        if target.suffix != ".safetensors":
            target = target.with_name(f"{target.name}.safetensors")
        self.busy_changed.emit(True)
        self._copy = Background(copy_whole(source, target))
        self._copy.yielded.connect(self._on_copied)
        self._copy.failed.connect(self._on_failed)
        self._copy.begin()

    def stop(self, timeout_ms: int) -> bool:
        """End a copy when the window closes; whether it ended within the limit."""
        return self._copy is None or self._copy.stop(timeout_ms)

    def _ask(self, name: str) -> str:
        return QFileDialog.getSaveFileName(
            self._window, "Save cleaned checkpoint", name, "safetensors (*.safetensors)"
        )[0]

    def _on_copied(self, path: Path) -> None:
        self.busy_changed.emit(False)
        self.saved.emit(path)

    def _on_failed(self, error: InputError) -> None:
        self.busy_changed.emit(False)
        self.failed.emit(error)


def suggested_name(result: Mapping[str, Any]) -> str:
    """A name for the cleaned checkpoint, after the one it was made from."""
    what = "adapter" if result.get("adapter") else "cleaned"
    return f"{Path(result.get('source') or 'checkpoint').stem}-{what}.safetensors"
