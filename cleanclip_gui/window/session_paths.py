"""Asks where the files of a session are, and makes sure that they are the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.name_filters import ALL, CHECKPOINTS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError
from ml_core.reports.sessions.record import JOB_FOLDERS, FileFacts, SavedSession
from ml_core.reports.sessions.same_file import check_same, mark_of

Why = Literal["missing", "changed", "unasked"]
_TITLE = "Files of the session"
_MAY_CHANGE = ("class list", "evaluation images", *JOB_FOLDERS)
_LISTED = 12


@dataclass(frozen=True)
class LostFile:
    """A file that cannot be opened from its place unasked, and why."""

    path: str
    what: str
    facts: FileFacts
    why: Why

    @property
    def name(self) -> str:
        return plain(Path(self.path).name or self.path, 80)


def lost_files(session: SavedSession, is_own: bool) -> tuple[LostFile, ...]:
    """List the files of a session that are not where they were, or not as they were.

    Nothing that a session of another machine names is looked at: all its files are listed.
    """
    lost = []
    for path, what in session.outside.items():
        facts = session.files.get(path, FileFacts())
        why: Why | None = None
        if not is_own:
            why = "unasked"
        elif not Path(path).exists():
            why = "missing"
        elif facts.mark and facts.mark != mark_of(path, facts.inside):
            why = "changed" if facts.digest or what not in _MAY_CHANGE else None
        if why is not None:
            lost.append(LostFile(path, what, facts, why))
    return tuple(lost)


class SessionPaths(QObject):
    """Asks for one lost file after another; each must have the hash that was saved.

    ``settled(dict)`` carries the new place of each path, empty for what is left out. Once one was
    found in another folder, the others are looked for in the same way from there.
    """

    settled = Signal(object)

    def __init__(
        self, session: SavedSession, files: Sequence[LostFile], prompts: Prompts, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._session, self._files, self._prompts, self._window = session, files, prompts, parent
        self._places: dict[str, str] = {}
        self._ticket: Ticket | None = None

    def start(self) -> None:
        """Ask whether a session of another machine may open files, and settle the first one."""
        unasked = [file for file in self._files if file.why == "unasked"]
        if unasked:
            listed = [f"• {file.what}: {plain(file.path, 300)}" for file in unasked[:_LISTED]]
            if len(unasked) > _LISTED:
                listed.append(f"• and {len(unasked) - _LISTED} more")
            question = (
                "The session was saved on another machine, or changed since. It names:\n"
                + "\n".join(listed)
                + "\nEach file must have the hash of the one that was open."
            )
            if not self._confirm(question, "Open them", "Leave them out"):
                self._places = {file.path: "" for file in unasked}
        self._settle_next()

    def cancel(self) -> None:
        """Stop asking for files."""
        if self._ticket is not None:
            self._ticket.cancel()
        self.deleteLater()

    def _settle_next(self) -> None:
        file = next((file for file in self._files if file.path not in self._places), None)
        if file is None:
            self.settled.emit(self._places)
            self.deleteLater()
            return
        place = self._moved_along(file) if file.why == "missing" else file.path
        if place:
            self._check(file, place)
        else:
            self._choose(file)

    def _moved_along(self, file: LostFile) -> str:
        """Where a file is if it moved together with one that was found; empty if it did not."""
        for before, now in self._places.items():
            old, new = Path(before).parts, Path(now).parts
            same = 0
            while same < min(len(old), len(new)) - 1 and old[-1 - same] == new[-1 - same]:
                same += 1
            root = old[: len(old) - same]
            if now and same and Path(file.path).parts[: len(root)] == root:
                place = Path(*new[: len(new) - same], *Path(file.path).parts[len(root) :])
                if place.exists():
                    return str(place)
        return ""

    def _choose(self, file: LostFile) -> None:
        """Ask with a file dialog; backing out leaves the file out."""
        images, by = self._session.images, file.facts.known_by
        title = f"Where is {file.name} ({file.what})? It is no longer in its place."
        is_folder = by in ("inside", "names") or (by == "weights" and "." not in file.name)
        if file.what == "evaluation images" and images is not None:
            is_folder = is_folder or images.kind == "folder"
        if is_folder:
            chosen = self._prompts.open_folder(self._window, title, "")
        else:
            kinds = CHECKPOINTS if by == "weights" else ALL
            chosen = self._prompts.open_file(self._window, title, "", kinds)
        if chosen:
            self._check(file, chosen)
        else:
            self._settle(file, "")

    def _check(self, file: LostFile, place: str) -> None:
        """Compare the hash of a file with the session's."""
        images, label_set = self._session.images, self._session.label_set

        def compare(control: tasks.TaskControl) -> None:
            check_same(Path(place), file.name, file.facts, images, label_set, control.cancelled)

        self._ticket = tasks.run(
            compare, partial(self._settle, file, place), partial(self._on_refused, file)
        )

    def _settle(self, file: LostFile, place: str, *_: object) -> None:
        self._places[file.path] = place
        self._settle_next()

    def _on_refused(self, file: LostFile, error: InputError) -> None:
        sentence = plain(error.sentence, 1000)
        if self._confirm(sentence, "Choose another…", "Leave it out"):
            self._choose(file)
        else:
            self._settle(file, "")

    def _confirm(self, question: str, yes: str, no: str) -> bool:
        return self._prompts.confirm(self._window, _TITLE, question, yes, no)
