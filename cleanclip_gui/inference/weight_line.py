"""What is done to weights once they are opened: an adapter, or a place on a line through them.

Imported in the inference thread only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cleanclip_gui.inference.requests import CheckpointOpened, OpenCheckpoint
from ml_core.checkpoints.adapter import apply_adapter, read_adapter
from ml_core.jobs.weight_line import Line, move_to, read_line
from ml_core.model import ClipModel


class AlongLine:
    """Remembers the line of the checkpoint opened last, so that a slider need not open it anew."""

    def __init__(self) -> None:
        self._asked: OpenCheckpoint | None = None
        self._line: Line | None = None
        self._model: ClipModel | None = None
        self._opened: CheckpointOpened | None = None

    def moved(self, request: OpenCheckpoint, model: ClipModel | None) -> CheckpointOpened | None:
        """Move the model that is open to another alpha; None if it is of another file or line."""
        asked = self._asked
        if (
            asked is None or self._line is None or self._opened is None
            or model is None or model is not self._model or not request.vector
            or _place(asked) != _place(request)
        ):  # fmt: skip
            return None
        move_to(model, self._line, request.alpha)
        facts = replace(self._opened.checkpoint, notes=_notes(request))
        return CheckpointOpened(request.role, facts)

    def finish(self, request: OpenCheckpoint, model: ClipModel) -> tuple[str, ...]:
        """Put on what the request names; what a reader must know about it.

        Raises
        ------
        InputError
            If adapter or vector cannot be read or do not fit.
        """
        if request.adapter:
            apply_adapter(model, read_adapter(Path(request.adapter)))
        if request.vector:
            self._line = read_line(model, Path(request.vector))
            move_to(model, self._line, request.alpha)
            self._asked, self._model = request, model
        elif request.role == "cleaned":
            self._asked = self._line = self._model = self._opened = None
        return _notes(request)

    def keep(self, opened: CheckpointOpened) -> CheckpointOpened:
        """Remember what was said about the checkpoint on the line."""
        if self._asked is not None and opened.role == self._asked.role:
            self._opened = opened
        return opened


def _place(request: OpenCheckpoint) -> tuple[str, ...]:
    """What of a request names the line."""
    return (request.path, request.role, request.donor, request.adapter, request.vector)


def _notes(request: OpenCheckpoint) -> tuple[str, ...]:
    notes = []
    if request.adapter:
        notes.append(f"With the adapter {Path(request.adapter).name}; the weights alone are not.")
    if request.vector:
        notes.append(f"At alpha {request.alpha:g} of the run's vector.")
    return tuple(notes)
