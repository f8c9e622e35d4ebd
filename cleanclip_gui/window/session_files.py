"""Sessions by name: save, open, leave, and what the user is asked meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui.commands import Command
from cleanclip_gui.jobs import tasks
from cleanclip_gui.session import Session, ShownCheckpoint
from cleanclip_gui.station import Context
from cleanclip_gui.threads import CLOSING_MS
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.controls import Label, text_field
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, frame, primary_button, resize_within
from cleanclip_gui.widgets.name_filters import ALL, CHECKPOINTS
from cleanclip_gui.widgets.prompts import Prompts, failing
from cleanclip_gui.widgets.text import plain
from cleanclip_gui.window.session_keeper import OpenedSession, SessionKeeper
from ml_core.reading.errors import InputError
from ml_core.reading.inspect import is_there, whole_file
from ml_core.reports.measurement_files import LocalData
from ml_core.reports.sessions.folder import (
    OpenedCheckpoint,
    check_same,
    draft,
    facts_of,
    mark_of,
    read_session,
    write_session,
)
from ml_core.reports.sessions.record import JOB_FOLDERS, SESSION_SUFFIX, FileFacts, SavedSession
from ml_core.triggers import Trigger

MOST = 200_000


class NotesDialog(ClosingDialog):
    """A text field; accepted, ``text`` is what stands in it."""

    def __init__(self, notes: str, parent: QWidget | None = None) -> None:
        super().__init__("Notes", parent)
        self.edit = text_field("Notes", notes, read_only=False)
        self.edit.setPlaceholderText("Where the checkpoint is from, what you suspect, what is next")
        says = Label(
            "Plain text or Markdown. The notes are saved with the session; a report holds them "
            "only if you ask for that.",
            "subtle",
            wrap=True,
        )
        frame(self, "Notes", [says, self.edit], primary_button("Keep", self.accept))
        resize_within(self, 620, 420)
        self.edit.setFocus()

    @property
    def text(self) -> str:
        """The text in the field."""
        return self.edit.toPlainText()[:MOST]


Why = Literal["missing", "changed", "unasked"]
_FILES_TITLE = "Files of the session"
_MAY_CHANGE = ("label set", "evaluation images", "training pairs", *JOB_FOLDERS)
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
        elif not is_there(path):
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
        self._ticket = Ticket.closed()

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
                + "\nEach file must have the hash of the file that was open."
            )
            if not self._confirm(question, "Open them", "Leave them out"):
                self._places = {file.path: "" for file in unasked}
        self._settle_next()

    def cancel(self) -> None:
        """Stop asking for files."""
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
        if self._confirm(plain(error.sentence, 1000), "Choose another…", "Leave it out"):
            self._choose(file)
        else:
            self._settle(file, "")

    def _confirm(self, question: str, yes: str, no: str) -> bool:
        return self._prompts.confirm(self._window, _FILES_TITLE, question, yes, no)


_KINDS = f"Session (*{SESSION_SUFFIX})"


class SessionFiles(QObject):
    """The commands of the Session menu.

    Hashes and files are read and written in other threads. ``changed``: the recent sessions, or the
    one in use, have changed.

    Parameters
    ----------
    context
        Session, settings, prompts and shell.
    keeper
        Knows what is open, and opens it.
    layout
        The window's docks in base64, for what is saved.
    restore
        Brings them back.
    """

    changed = Signal()

    def __init__(
        self,
        context: Context,
        keeper: SessionKeeper,
        layout: Callable[[], str],
        restore: Callable[[str], object],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._context, self._keeper, self._parent = context, keeper, parent
        self._session, self._shell = context.session, context.shell
        self._layout, self._restore = layout, restore
        self._then: Callable[[], object] | None = None
        self.paths: SessionPaths | None = None

    def commands(self) -> tuple[Command, ...]:
        """The commands of the menu."""
        menu, needs = "Sessio&n", "Open a checkpoint first."
        return (
            Command(
                "session.open", "&Open session…", menu, self.choose,
                "Go on with a session that was saved.", "folder",
                "Ctrl+Alt+O",
            ),
            Command(
                "session.save", "&Save session", menu, self.save,
                "Keep what is open: files by their hash, triggers, prompts, runs, scans, notes.",
                "save", "Ctrl+Alt+S", 1, self._can_save, needs=needs,
            ),
            Command(
                "session.save_as", "Save session &as…", menu, self.save_as,
                "Keep what is open in another folder, and go on there.", "save", "", 1,
                self._can_save, needs=needs,
            ),
            Command(
                "session.notes", "&Notes…", menu, self.edit_notes,
                "Write down what should be known of this session.", "log", "Ctrl+Alt+N", 2,
                self._can_save, needs=needs,
            ),
            Command(
                "session.leave", "&Leave session", menu, self.leave,
                "Go on with what is open, but without a session: without its name, runs, scans "
                "and notes.", "cancel", "", 2,
                lambda: bool(self._session.folder), needs="No session is open by name.",
            ),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The name of the session; empty before it was saved by name."""
        return Path(self._session.folder).stem

    def _can_save(self) -> bool:
        return self._session.checkpoint is not None

    # Saving

    def save(self) -> None:
        """Save the session where it was saved before, else ask where to."""
        if self._session.folder:
            self._save_in(Path(self._session.folder))
        else:
            self.save_as()

    def save_as(self) -> None:
        """Ask where to, and save the session there."""
        facts = self._session.checkpoint
        if facts is None:
            return
        source = whole_file(facts.path)
        name = self.name or source.stem or "session"
        folder = Path(self._session.folder or source).parent
        chosen = self._context.prompts.save_file(
            self._parent, "Save session", str(folder / f"{name}{SESSION_SUFFIX}"), _KINDS
        )
        if chosen:
            path = Path(chosen).absolute()
            self._save_in(path if path.suffix else path.with_name(path.name + SESSION_SUFFIX))
        else:
            self._then = None

    def _save_in(self, folder: Path) -> None:
        """Hash what was not hashed yet, and write the session."""
        record = self._keeper.record()
        if record is None:
            self._shell.logged.emit("Nothing is open that could be saved as a session.")
            return
        record = record.model_copy(update={"layout": self._layout()})
        work = partial(_write, folder, record, self._keeper.triggers(), *_opened(self._session))
        tasks.run(work, self._on_saved, self._on_not_saved, slot="save", closing_ms=CLOSING_MS)

    def _on_saved(self, written: tuple[str, SavedSession]) -> None:
        folder, saved = written
        self._context.settings.add_session(folder)
        self._keeper.mark_saved(folder, saved)
        self._shell.logged.emit(f"The session was saved in {plain(folder, 300)}.")
        self.changed.emit()
        then, self._then = self._then, None
        if then is not None:
            then()

    def _on_not_saved(self, error: InputError) -> None:
        self._then = None
        self._shell.failed.emit(error.titled("Could not save the session"))

    def may_go(self, then: Callable[[], object]) -> bool:
        """Whether what is open may be closed now; asks if changes would be lost.

        Parameters
        ----------
        then
            Called once the session is saved, if that is what the user wants first.
        """
        self._keeper.compare()
        if not self._keeper.is_modified:
            return True
        answer = self._context.prompts.save_changes(
            self._parent, "Session", f"The session “{plain(self.name, 60)}” has changed. Save it?"
        )
        if answer == "save":
            self._then = then
            self.save()
        elif answer == "discard":
            self._keeper.discard()
        return answer == "discard"

    # Opening

    def choose(self) -> None:
        """Ask for the folder of a session, and open it."""
        recent = self._context.settings.value.sessions
        start = str(Path(recent[0]).parent) if recent else self._context.settings.value.last_folder
        chosen = self._context.prompts.open_folder(self._parent, "Open session", start)
        if chosen:
            self.open(chosen)

    def open(self, path: str, *_: object) -> None:
        """Open a session's folder; ask for files that are not where they were."""
        place = Path(path).absolute()
        if not place.exists():
            self._context.settings.forget_session(path)
            self.changed.emit()
            error = InputError(f"{plain(path, 300)} was moved or deleted; open it from its place.")
            self._shell.failed.emit(error.titled("Could not open the session"))
            return
        if not self.may_go(partial(self.open, path)):
            return
        with failing(self._shell.failed, "Could not open the session"):
            read = read_session(place)
            session, triggers = read.session, self._keeper.triggers_of(place, read.session)
            saved = session if read.is_own else None
            self._ask_for_files(OpenedSession(session, triggers, str(place), saved), read.is_own)

    def go_on(self) -> None:
        """Open what an earlier window had open."""
        opened = self._keeper.offered()
        if opened is not None:
            self._ask_for_files(opened, True)

    def _ask_for_files(self, opened: OpenedSession, is_own: bool) -> None:
        if self.paths is not None:
            self.paths.cancel()
        files = lost_files(opened.session, is_own)
        paths = SessionPaths(opened.session, files, self._context.prompts, self._parent)
        paths.settled.connect(partial(self._begin, opened, is_own))
        self.paths = paths
        paths.start()

    def _begin(self, opened: OpenedSession, is_own: bool, places: Mapping[str, str]) -> None:
        """Open the session with its files in these places."""
        self.paths = None
        session = opened.session.moved(places)
        marked = {
            path: facts.model_copy(update={"mark": mark_of(path)}) if path in places.values()
            else facts for path, facts in session.files.items()
        }  # fmt: skip
        session = session.model_copy(update={"files": marked})
        if not is_own and session.checkpoints:  # their hashes are not known
            session = session.model_copy(update={"checkpoints": ()})
            self._shell.logged.emit(
                "The table of checkpoints is left out: the session was saved on another machine."
            )
        if opened.folder:
            self._context.settings.add_session(opened.folder)
        if is_own and session.layout and opened.folder:
            self._restore(session.layout)
        self._keeper.begin(OpenedSession(session, opened.triggers, opened.folder, opened.saved))
        self.changed.emit()

    # The rest

    def leave(self) -> None:
        """Go on without a name; the saved folder does not change."""
        if self.may_go(self.leave):
            self._keeper.leave()
            self.changed.emit()

    def edit_notes(self) -> None:
        """Show the notes, and keep what is written."""
        dialog = NotesDialog(self._session.notes, self._parent)
        dialog.accepted.connect(partial(self._on_notes_accepted, dialog))
        dialog.open()

    def _on_notes_accepted(self, dialog: NotesDialog) -> None:
        self._session.notes = dialog.text


def _opened(session: Session) -> tuple[tuple[tuple[str, ShownCheckpoint], ...], LocalData | None]:
    """The opened things that a session's record describes."""
    facts = (
        ("suspect", session.checkpoint), ("cleaned", session.cleaned),
        ("reference", session.reference),
    )  # fmt: skip
    images = session.images
    checkpoints = tuple((role, item) for role, item in facts if item is not None)
    if images is None:
        return checkpoints, None
    data = LocalData(
        spec=images.spec, name=images.name, key=images.key, known_by=images.known_by, n=images.n
    )
    return checkpoints, data


def _write(
    folder: Path,
    record: SavedSession,
    triggers: Sequence[Trigger],
    checkpoints: Sequence[tuple[str, ShownCheckpoint]],
    images: LocalData | None,
    control: tasks.TaskControl,
) -> tuple[str, SavedSession]:
    """Hash what was not hashed yet, and write a session with its record."""
    files = {path: _hashed(path, facts, control) for path, facts in record.files.items()}
    record = record.model_copy(update={"files": files})
    opened = [
        OpenedCheckpoint(
            role=role,  # type: ignore[arg-type]
            inspection=checkpoint.inspection,
            architecture=checkpoint.architecture,
            parameters=checkpoint.parameters,
            assumptions=checkpoint.assumptions,
            cautions=checkpoint.notes,
            choice=checkpoint.choice,
            donor=_digest(files, checkpoint.donor),
        )
        for role, checkpoint in checkpoints
    ]
    evidence, drafted = draft(folder.stem, opened, images, triggers)
    return str(folder), write_session(folder, record, triggers, evidence, drafted)


def _hashed(path: str, facts: FileFacts, control: tasks.TaskControl) -> FileFacts:
    """Facts with a digest; the digest is empty if the file has changed since it was opened."""
    if facts.digest or facts.known_by == "pictures" or facts.mark != mark_of(path, facts.inside):
        return facts
    try:
        return facts_of(Path(path), facts.known_by, facts.inside, control.cancelled)
    except InputError:  # gone, or not readable any more
        return facts


def _digest(files: Mapping[str, FileFacts], path: str) -> str | None:
    return files[path].digest or None if path in files else None
