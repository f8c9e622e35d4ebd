"""Opens a run's cleaned checkpoint beside the one that it was made from, for Studio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.jobs.requests import CheckpointOpened, OpenCheckpoint
from cleanclip_gui.panels.clean_save import cleaned_file
from cleanclip_gui.session import Session
from cleanclip_gui.text import plain
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger


class TryCleaned(QObject):
    """``opened`` tells that Studio can show it, ``failed`` carries an InputError."""

    opened = Signal()
    failed = Signal(object)

    def __init__(self, session: Session, inference: Inference, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._inference = inference
        self._awaited = ""
        self._asked: tuple[Trigger | None, int] = (None, 0)
        inference.checkpoint_opened.connect(self._on_checkpoint_opened)

    def begin(self, result: Mapping[str, Any], asked: tuple[Trigger | None, int]) -> None:
        """Open the cleaned checkpoint, to show it with the trigger and target that were asked."""
        source, facts = str(result.get("source") or ""), self._session.checkpoint
        try:
            if source and facts is not None and facts.path != source:
                raise InputError(
                    f"This is a result of {plain(Path(source).name, 80)}; open that file again "
                    "to compare before and after."
                )
            self._awaited = str(cleaned_file(result))
        except InputError as error:
            self.failed.emit(error)
            return
        self._asked = asked
        adapter = str(result.get("adapter") or "")
        self._inference.submit(OpenCheckpoint(self._awaited, "cleaned", adapter=adapter))

    def _on_checkpoint_opened(self, opened: CheckpointOpened) -> None:
        if opened.role != "cleaned" or opened.checkpoint.path != self._awaited:
            return
        self._awaited = ""
        session = self._session
        session.trigger, session.target = self._asked
        session.cleaned = opened.checkpoint
        session.role = "cleaned"
        self.opened.emit()
