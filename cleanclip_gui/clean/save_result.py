"""Copies a run's cleaned checkpoint or adapter to a place of the user's choice, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.clean.result import cleaned_file, suggested_name
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.widgets.name_filters import SAFETENSORS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.atomic import replace_files
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reading.regular_file import open_regular

_ENDING = ".safetensors"


class SaveCleaned(QObject):
    """``saved`` carries the new path and whether it is an adapter, ``failed`` an InputError."""

    saved = Signal(object, bool)
    failed = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, prompts: Prompts, parent: QWidget) -> None:
        super().__init__(parent)
        self._prompts, self._parent = prompts, parent
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
        target = ask_path(self._prompts, self._parent, title, suggested_name(result))
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


def copy_whole(source: Path, target: Path) -> Callable[[Callable[[], bool]], Iterator[object]]:
    """Work for a :class:`Background` thread: copy, then yield the path.

    Neither a full disk nor a crash spoils what was there before. Raises InputError if it
    cannot be read or written.
    """

    def work(cancelled: Callable[[], bool]) -> Iterator[object]:
        def copy(write: BinaryIO) -> None:
            read, _ = open_regular(source)
            with read:
                while piece := read.read(1 << 22):
                    if cancelled():
                        raise CancelledError
                    write.write(piece)

        try:
            replace_files({target: copy})
        except OSError as error:
            raise InputError(
                f"{target.name} could not be written; free some space or choose another folder.",
                "usage",
                str(error),
            ) from error
        yield target

    return work
