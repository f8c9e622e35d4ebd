"""Opens a run's cleaned checkpoint beside the one that it was made from, for Studio."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.clean.save_result import cleaned_file
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session import CheckpointFacts, Session
from cleanclip_gui.station import Shell
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError
from ml_core.reading.safetensors_header import read_header
from ml_core.triggers import Trigger


class TryCleaned(QObject):
    """``opened`` tells that Studio can show it, ``failed`` carries an InputError."""

    opened = Signal()
    failed = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, shell: Shell, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session, self._shell = session, shell
        self._inference = inference
        self._asked: tuple[Trigger | None, int] = (None, 0)
        self._newest: OpenCheckpoint | None = None

    def begin(self, result: Mapping[str, Any], asked: tuple[Trigger | None, int]) -> None:
        """Open the cleaned checkpoint, to show it with the trigger and target that were asked."""
        source, facts = str(result.get("source") or ""), self._session.checkpoint
        result = where_open(result, facts)
        try:
            if source and facts is not None and not is_source(facts, result):
                raise InputError(
                    f"This is a result of {plain(Path(source).name, 80)}; open that file, wherever "
                    "it lies now, to compare before and after."
                )
            path = str(cleaned_file(result))
        except InputError as error:
            self.failed.emit(error)
            return
        self._asked = asked
        adapter = str(result.get("adapter") or "")
        question = self._newest = OpenCheckpoint(path, "cleaned", adapter=adapter)
        self._inference.ask(question, partial(self._on_checkpoint_opened, question))

    def _on_checkpoint_opened(self, question: OpenCheckpoint, facts: CheckpointFacts) -> None:
        if question is not self._newest:
            return
        if self._asked[0] is not None:  # without one, what is painted in Studio stays
            self._shell.trigger_wanted.emit(*self._asked)
        self._session.cleaned = facts
        self._shell.role_wanted.emit("cleaned")
        self.opened.emit()


def is_source(facts: CheckpointFacts | None, result: Mapping[str, Any]) -> bool:
    """Whether a result was made from the checkpoint that is open.

    Its SHA-256 decides, since a run of a cluster names the path of there; the path does where a
    result does not tell the SHA-256.
    """
    if facts is None:
        return False
    sha256 = _source_sha256(result)
    if sha256:
        return facts.inspection.sha256 == sha256
    return Path(facts.path) == Path(str(result.get("source") or ""))


def where_open(result: Mapping[str, Any], facts: CheckpointFacts | None) -> dict[str, Any]:
    """A result whose source is named where it is open, if it is."""
    if facts is None or not is_source(facts, result):
        return dict(result)
    found = {**result, "source": facts.path}
    if result.get("adapter"):  # the weights that it goes on are the source's
        found["checkpoint"] = facts.path
    return found


def _source_sha256(result: Mapping[str, Any]) -> str:
    """Of the checkpoint that a result was made from, as it or its file says; empty if neither."""
    if result.get("source_sha256"):
        return str(result["source_sha256"])
    adapter = str(result.get("adapter") or "")
    path = Path(adapter or str(result.get("checkpoint") or ""))
    try:
        facts = json.loads(read_header(path).metadata["facts" if adapter else "provenance"])
        return str(facts["source_sha256"] or "")
    except (InputError, KeyError, TypeError, ValueError):
        return ""
