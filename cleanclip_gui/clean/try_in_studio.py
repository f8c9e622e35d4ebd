"""Opens a run's cleaned checkpoint beside the one that it was made from, for Studio."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.clean.result import cleaned_file, is_source, where_open
from cleanclip_gui.clean.run import Asked
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.station import Shell
from cleanclip_gui.widgets.prompts import failing
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError


class TryCleaned(QObject):
    """Has Studio show a cleaned checkpoint, or the suspect one; ``failed`` carries an InputError.

    A run without a trigger leaves in Studio what is painted there.
    """

    failed = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, shell: Shell, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._inference, self._shell = session, inference, shell
        self._newest: OpenCheckpoint | None = None
        shell.suspect_changing.connect(partial(self.hold, None))
        shell.takes("cleaned", self.open_again)

    def hold(self, facts: ShownCheckpoint | None) -> None:
        """Tell the rest of the window which cleaned model the inference thread holds."""
        self._session.cleaned = facts

    def begin(self, result: Mapping[str, Any], asked: Asked) -> None:
        """Open the cleaned checkpoint, to show it with the trigger and target that were asked."""
        source, facts = str(result.get("source") or ""), self._session.checkpoint
        result = where_open(result, facts)
        with failing(self.failed, "Could not show the result in Studio"):
            if source and facts is not None and not is_source(facts, result):
                raise InputError(
                    f"This result was cleaned from {plain(Path(source).name, 80)}; open that file "
                    "first to compare before and after."
                )
            question = self._newest = OpenCheckpoint(str(cleaned_file(result)), "cleaned")
            self._inference.ask(question, partial(self._on_opened, question, asked))

    def open_again(self, question: OpenCheckpoint, shown: bool) -> None:
        """Open what an earlier window had as the cleaned checkpoint, on the page that shows."""
        self._newest = question
        self._inference.ask(question, partial(self._on_opened_again, question, shown))

    def _on_opened_again(
        self, question: OpenCheckpoint, shown: bool, facts: ShownCheckpoint
    ) -> None:
        self.hold(facts)
        if shown and question is self._newest:
            self._shell.open("role", "cleaned")

    def show_suspect(self, asked: Asked) -> None:
        """Show the checkpoint as it was before cleaning, with trigger and target of a run."""
        self._want_trigger(asked)
        self._shell.open("role", "suspect")
        self._shell.station_wanted.emit("studio")

    def _on_opened(self, question: OpenCheckpoint, asked: Asked, facts: ShownCheckpoint) -> None:
        # The inference thread holds this model now, even if a newer one was requested.
        newest = question is self._newest
        if newest:
            self._want_trigger(asked)
        self.hold(facts)
        if not newest:
            return
        self._shell.open("role", "cleaned")
        self._shell.station_wanted.emit("studio")

    def _want_trigger(self, asked: Asked) -> None:
        if asked[0] is not None:
            self._shell.open("trigger", *asked)
