"""What is done to weights once they are opened: an adapter, or a place on a line through them.

Imported in the inference thread only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session.records import CheckpointFacts
from ml_core.checkpoints.adapter import apply_adapter, read_adapter
from ml_core.jobs.weight_line import Line, move_to, read_line
from ml_core.model import ClipModel


class WeightLine:
    """Remembers the line of the checkpoint opened last, so that a slider need not open it anew."""

    def __init__(self) -> None:
        self._asked: OpenCheckpoint | None = None
        self._line: Line | None = None
        self._model: ClipModel | None = None
        self._opened: CheckpointFacts | None = None

    def moved(self, question: OpenCheckpoint, model: ClipModel | None) -> CheckpointFacts | None:
        """Move the model that is open to another alpha; None if it is of another file or line."""
        asked = self._asked
        if (
            asked is None or self._line is None or self._opened is None
            or model is None or model is not self._model or not question.vector
            or _place(asked) != _place(question)
        ):  # fmt: skip
            return None
        move_to(model, self._line, question.alpha)
        return replace(self._opened, notes=_notes(question), alpha=question.alpha)

    def finish(self, question: OpenCheckpoint, model: ClipModel) -> tuple[str, ...]:
        """Put on what the question names; what a reader must know about it.

        Raises
        ------
        InputError
            If adapter or vector cannot be read or do not fit.
        """
        if question.adapter:
            apply_adapter(model, read_adapter(Path(question.adapter)))
        if question.vector:
            self._line = read_line(model, Path(question.vector))
            move_to(model, self._line, question.alpha)
            self._asked, self._model = question, model
        elif question.role == "cleaned":
            self._asked = self._line = self._model = self._opened = None
        return _notes(question)

    def keep(self, question: OpenCheckpoint, facts: CheckpointFacts) -> CheckpointFacts:
        """Remember what was said about the checkpoint on the line."""
        if self._asked is not None and question.role == self._asked.role:
            self._opened = facts
        return facts


def _place(question: OpenCheckpoint) -> tuple[str, ...]:
    """What of a question names the line."""
    return (question.path, question.role, question.donor, question.adapter, question.vector)


def _notes(question: OpenCheckpoint) -> tuple[str, ...]:
    notes = []
    if question.adapter:
        notes.append(f"Cleaned only together with the adapter {Path(question.adapter).name}.")
    if question.vector:
        notes.append(f"At alpha {question.alpha:g} of the run's vector.")
    return tuple(notes)
