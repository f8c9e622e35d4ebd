"""Steps that are undone and redone.

Qt has a stack for this, but with PySide6 the program dies where Python's garbage collector takes
the stack and its commands at once (decision 0071).
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal


class UndoStep:
    """One act of the user: what takes it back, and what does it again."""

    def __init__(self, text: str, undo: Callable[[], object], redo: Callable[[], object]) -> None:
        self.text, self.undo, self.redo = text, undo, redo

    def merge(self, _newer: UndoStep) -> bool:
        """Take a newer step into this one; False leaves both as they are."""
        return False


class UndoStack(QObject):
    """Steps in their order, and how many of them are done; ``changed`` after each change.

    Parameters
    ----------
    limit : int, optional
        The oldest step is forgotten where there are more.
    parent : QObject, optional
    """

    changed = Signal()

    def __init__(self, limit: int | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._limit = limit
        self.steps: list[UndoStep] = []
        self.index = 0

    def push(self, step: UndoStep) -> None:
        """Add a step that is done; steps that were undone are forgotten."""
        del self.steps[self.index :]
        if not (self.steps and self.steps[-1].merge(step)):
            self.steps.append(step)
            if self._limit is not None:
                del self.steps[: -self._limit]
        self.index = len(self.steps)
        self.changed.emit()

    def undo(self) -> None:
        """Undo the last step that is done."""
        if self.can_undo():
            self.index -= 1
            self.steps[self.index].undo()
            self.changed.emit()

    def redo(self) -> None:
        """Redo the first step that is undone."""
        if self.can_redo():
            self.index += 1
            self.steps[self.index - 1].redo()
            self.changed.emit()

    def clear(self) -> None:
        """Forget all steps."""
        self.steps, self.index = [], 0
        self.changed.emit()

    def can_undo(self) -> bool:
        """Whether a step is done."""
        return self.index > 0

    def can_redo(self) -> bool:
        """Whether a step is undone."""
        return self.index < len(self.steps)

    def undo_text(self) -> str:
        """The text of the step that `undo` takes back, or nothing."""
        return self.steps[self.index - 1].text if self.can_undo() else ""

    def redo_text(self) -> str:
        """The text of the step that `redo` does again, or nothing."""
        return self.steps[self.index].text if self.can_redo() else ""
