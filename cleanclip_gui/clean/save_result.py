"""Copies a run's cleaned checkpoint to a place of the user's choice, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import threads
from cleanclip_gui.clean.result import cleaned_file, suggested_name
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.prompts import Prompts, ask_safetensors
from ml_core.atomic import replace_files
from ml_core.jobs.specs import note_saved
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.regular_file import open_regular
from ml_core.reading.tokenizer_file import name_beside


class SaveCleaned(QObject):
    """``saved`` carries the new path, ``failed`` an InputError."""

    saved = Signal(object)
    failed = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, prompts: Prompts, parent: QWidget) -> None:
        super().__init__(parent)
        self._prompts, self._parent = prompts, parent
        self._writing = Ticket.closed()

    @property
    def is_busy(self) -> bool:
        """Whether a file is being written."""
        return self._writing.is_open

    def begin(self, result: Mapping[str, Any]) -> None:
        """Ask where to, and copy."""
        try:
            if self.is_busy:
                raise InputError("A file is being saved; save again when that has finished.")
            source = cleaned_file(result)
        except InputError as error:
            self.failed.emit(error.titled("Could not save the cleaned checkpoint"))
            return
        title = "Save cleaned checkpoint"
        target = ask_safetensors(self._prompts, self._parent, title, suggested_name(result))
        if target is None:
            return

        def save(control: tasks.TaskControl) -> Path:
            copy_whole(source, target, control.cancelled)
            note_saved(source.parent, target.name)
            return target

        self._writing = tasks.run(
            save,
            self._on_saved,
            self._on_failed,
            closing_ms=threads.CLOSING_MS,
        )
        self.busy_changed.emit(True)

    def _on_saved(self, path: Path) -> None:
        self.busy_changed.emit(False)
        self.saved.emit(path)

    def _on_failed(self, error: InputError) -> None:
        self.busy_changed.emit(False)
        self.failed.emit(error.titled("Could not save the cleaned checkpoint"))


def copy_whole(source: Path, target: Path, cancelled: Callable[[], bool]) -> Path:
    """Copy a file and return its new path; a full disk or a crash leaves the old file whole.

    A tokenizer that lies beside the weights under their name goes with them.

    Raises
    ------
    InputError
        If it cannot be read or written.
    CancelledError
        If nobody waits for it any more; the old file is whole then, too.
    """

    def copy(source: Path, write: BinaryIO) -> None:
        read, _ = open_regular(source)
        with read:
            while piece := read.read(1 << 22):
                if cancelled():
                    raise CancelledError
                write.write(piece)

    files = {target: source}
    if name_beside(source).is_file():
        files[name_beside(target)] = name_beside(source)
    try:
        replace_files({new: partial(copy, old) for new, old in files.items()})
    except OSError as error:
        raise InputError(
            f"{target.name} could not be written; free some space or choose another folder.",
            "usage",
            str(error),
        ) from error
    return target
