"""Jobs that wait for the one at work: their folders, in order."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal


class RunQueue(QObject):
    """Holds folders with a job in each. ``held`` keeps the next one from starting."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._folders: list[Path] = []
        self._held = False

    def __len__(self) -> int:
        return len(self._folders)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Who waits, the next one first."""
        return tuple(self._folders)

    @property
    def held(self) -> bool:
        """Whether the queue waits for the user."""
        return self._held

    def hold(self, held: bool) -> None:
        """Keep the next job from starting when the one at work has ended, or let it."""
        if held != self._held:
            self._held = held
            self.changed.emit()

    def add(self, folder: Path) -> None:
        """Put a job at the end; one that waits already stays where it is."""
        if folder not in self._folders:
            self._folders.append(folder)
            self.changed.emit()

    def remove(self, folder: Path) -> None:
        """Take a job out; its folder stays on disk."""
        if folder in self._folders:
            self._folders.remove(folder)
            self.changed.emit()

    def move(self, folder: Path, by: int) -> None:
        """Move a job towards the front (-1) or the end (1)."""
        if folder not in self._folders:
            return
        at = self._folders.index(folder)
        to = min(max(at + by, 0), len(self._folders) - 1)
        if to != at:
            self._folders.insert(to, self._folders.pop(at))
            self.changed.emit()

    def take(self) -> Path | None:
        """The next job, taken out; None if nobody waits or the queue is held.

        Nothing is told: who takes it tells, with ``changed``, once it is at work.
        """
        if self._held or not self._folders:
            return None
        return self._folders.pop(0)

    def put_back(self, folder: Path) -> None:
        """Let a job that was taken and could not start wait in front again, untold as well."""
        self._folders.insert(0, folder)
