"""Counts what was left out and keeps the first few for the sentence."""

from __future__ import annotations

from ml_core.data.pictures import summary

_SHOWN = 20


class SkipCount:
    """Items of one kind; a million of them cost as much as twenty."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.count = 0
        self.first: list[str] = []

    def add(self, item: str) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(item)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence, or none."""
        return (summary(self._what, self.first, total=self.count),) if self.count else ()
