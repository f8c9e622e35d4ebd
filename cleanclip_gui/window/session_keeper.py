"""Keeps what is open on disk, and opens it again when the user asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ValidationError
from PySide6.QtCore import QObject, QTimer, Signal

from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session import ImagesState, ShownCheckpoint
from cleanclip_gui.session.records import OtherSnapshot, RunState, is_live
from cleanclip_gui.station import Context, Keeps
from cleanclip_gui.widgets.text import plain, plural
from ml_core.data.labels import is_built_in
from ml_core.reading.errors import InputError
from ml_core.reports.sessions.folder import mark_of, read_session, session_trigger, write_session
from ml_core.reports.sessions.record import JOB_FOLDERS, FileFacts, SavedCleaned, SavedSession
from ml_core.triggers import Trigger

_LOG = logging.getLogger(__name__)
_SAVE_AFTER_MS = 2000  # of quiet: a stroke changes the trigger many times a second
_LOOK_AFTER_MS = 200
_DIGEST = 64


@dataclass(frozen=True, eq=False)
class OpenedSession:
    """A session that is to be opened, each of its files in a place where it is.

    Attributes
    ----------
    session
        What to open.
    triggers
        Triggers of the canvas and the snapshot beside it, by their digests.
    folder
        The session's own; empty if it has none.
    saved
        The session as it stands in ``folder``; if what is open differs, it is modified. None: it is
        not kept there.
    """

    session: SavedSession
    triggers: Mapping[str, Trigger] = field(default_factory=dict)
    folder: str = ""
    saved: SavedSession | None = None


class SessionKeeper(QObject):
    """Writes a record of what is open a moment after it has changed, and when the window closes.

    What an earlier window left stands in :attr:`offer` until something is opened; nothing of it is
    opened before :meth:`begin`. ``offer_changed``: the offer is gone. ``modified_changed``: what is
    open now differs from what was saved, or no longer does. Writes ``folder``, ``runs`` and
    ``notes`` of the session.

    Parameters
    ----------
    context
        What is open.
    parts
        Each keeps its own part of a session.
    """

    offer_changed = Signal()
    modified_changed = Signal()

    def __init__(
        self, context: Context, parts: Iterable[object], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._shell = context.session, context.shell
        self._parts = [part for part in parts if isinstance(part, Keeps)]
        self.own_folder = context.settings.session_folder
        self.offer: SavedSession | None = self._left_behind()
        self.is_modified = False
        self._opening: SavedSession | None = None  # until all of it is there
        self._began_at = ""
        self._opening_triggers: Mapping[str, Trigger] = {}
        self._cleaned: SavedCleaned | None = None  # until all of it is there
        self._files: dict[str, FileFacts] = {}  # as they were when they were opened
        self._saved: SavedSession | None = None  # as it stands in its own folder
        self._last: SavedSession | None = None
        self._closed = self._discarded = False
        self._timer = QTimer(self, singleShot=True, interval=_SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        self._comparing = QTimer(self, singleShot=True, interval=_LOOK_AFTER_MS)
        self._comparing.timeout.connect(self.compare)
        events = self._session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.reference.connect(self._on_other_checkpoint)
        events.images.connect(self._on_images_change)
        events.cleaned.connect(self._on_other_checkpoint)
        events.run.connect(self._on_run_change)
        for signal in (
            events.trigger, events.other_snapshot, events.target, events.station, events.role,
            events.trusted, events.notes, events.folder, events.label_set,
        ):  # fmt: skip
            signal.connect(self._on_changed)
        self._shell.state_changed.connect(self._on_changed)
        self._shell.closing.connect(self._on_closing)

    # What an earlier window left

    def _left_behind(self) -> SavedSession | None:
        try:
            if not self.own_folder.exists():
                return None
            left = read_session(self.own_folder).session
        except InputError as error:
            _LOG.info("what was open last cannot be read: %s", error.sentence)
            return None
        return left if left.checkpoint or left.checkpoints else None

    @property
    def awaits_images(self) -> bool:
        """Whether images of a session are being opened."""
        return self._opening is not None and self._opening.images is not None

    def summary(self) -> str:
        """What the earlier window had open, in a line."""
        work = self.offer
        if work is None:
            return ""
        parts = [plain(Path(work.checkpoint).name, 60)] if work.checkpoint else []
        if work.checkpoints:
            first = plain(Path(work.checkpoints[0]).name, 40)
            more = f" and {len(work.checkpoints) - 1} more" if len(work.checkpoints) > 1 else ""
            parts.append(f"a table of {first}{more}")
        if work.images is not None:
            path = work.images.path
            parts.append("the demo's images" if path is None else plain(Path(path).name, 40))
        if work.trigger:
            aim = f" for “{plain(work.target, 40)}”" if work.target else ""
            parts.append(f"a trigger{aim}")
        counts = ((len(work.scans), "scan"), (len(work.runs), "run"))
        parts += [plural(count, what) for count, what in counts if count]
        name = ""
        if work.folder:
            unsaved = ", with changes that were not saved" if work.modified else ""
            name = f"Session {plain(Path(work.folder).stem, 60)}{unsaved}: "
        return f"{name}{', '.join(parts)} · {_when(work.saved)}"

    def offered(self) -> OpenedSession | None:
        """What the earlier window left, with its triggers."""
        work = self.offer
        if work is None:
            return None
        if not work.folder:  # nobody asked to keep these: they may have been deleted since
            folders = [path for path, what in work.outside.items() if what in JOB_FOLDERS]
            work = work.moved({path: "" for path in folders if not Path(path).exists()})
        triggers = self.triggers_of(self.own_folder, work)
        folder, saved = work.folder, None
        if folder and not Path(folder).is_dir():
            folder = ""
        if folder and not work.modified:
            saved = work
        return OpenedSession(work, triggers, folder, saved)

    def triggers_of(self, folder: Path, session: SavedSession) -> dict[str, Trigger]:
        """Triggers of a session's folder; one that cannot be read is left out, and logged."""
        triggers: dict[str, Trigger] = {}
        for digest in (session.trigger, session.other_trigger):
            try:
                trigger = session_trigger(folder, digest)
            except InputError as error:
                self._shell.logged.emit(f"A trigger is left out: {error.sentence}")
                continue
            if trigger is not None:
                triggers[digest] = trigger
        return triggers

    # Opening

    def begin(self, opened: OpenedSession) -> None:
        """Open a session whose files are where it says."""
        saved, triggers, session = opened.session, opened.triggers, self._session
        self._forget_offer()
        self._opening, self._opening_triggers = saved, triggers
        self._began_at = session.station
        self._files = dict(saved.files)
        self._saved = opened.saved
        session.folder, session.notes = opened.folder, saved.notes
        session.runs = saved.runs
        self._restore_parts(saved)
        if not saved.trigger:
            self._shell.open("trigger", None, session.target)
        if saved.images is not None:
            self._shell.open("images", saved.images, saved.label_set, saved.templates or None)
        if saved.checkpoint:
            if saved.donor:
                self._shell.open("donor", saved.checkpoint, saved.donor)
            self._shell.open("checkpoint", saved.checkpoint)
        else:
            self._opening = None
            self._show_canvas(saved)
        self.compare()

    def _forget_offer(self) -> None:
        """What an earlier window left is not offered any more."""
        if self.offer is not None:
            self.offer = None
            self.offer_changed.emit()

    def _show_canvas(self, saved: SavedSession) -> None:
        """Put the triggers on the canvas and beside it."""
        trigger = self._opening_triggers.get(saved.trigger)
        if trigger is not None:
            self._shell.open("trigger", trigger, self._session.target)
        if saved.other_slot:
            aside = self._opening_triggers.get(saved.other_trigger)
            self._shell.open("snapshot", OtherSnapshot(saved.other_slot, aside))

    def _finish(self, saved: SavedSession) -> None:
        """Show the trigger, run and page, now that the checkpoint is open."""
        self._show_canvas(saved)
        self._choose_target(saved)
        if saved.run:
            self._shell.open("run", saved.run)
        if saved.trusted:
            self._shell.open("trusted", saved.trusted)
        if saved.reference:
            self._shell.open("reference", saved.reference)
        if self._session.station in (self._began_at, "checkpoint"):  # nobody has gone elsewhere
            self._shell.station_wanted.emit(saved.station)
        if saved.cleaned is not None:
            self._open_cleaned(saved.cleaned)
        if saved.images is None or self._session.images is not None:
            self._opening = None

    def _open_cleaned(self, saved: SavedCleaned) -> None:
        self._cleaned = saved
        question = OpenCheckpoint(saved.checkpoint, "cleaned", saved.donor)
        self._shell.open("cleaned", question, saved.shown)

    def _restore_parts(self, saved: SavedSession) -> None:
        for part in self._parts:
            part.restore(dict(saved))

    # Saving

    def save(self) -> None:
        """Keep what is open now, if that is anything, where no session was saved by name."""
        self._timer.stop()
        self.compare()
        record = self.record()
        if record is None:
            return
        self._forget_offer()
        record = record.model_copy(
            update={"folder": self._session.folder, "modified": self.is_modified}
        )
        if record != self._last and self._write(record, self.triggers()):
            self._last = record

    def _write(self, record: SavedSession, triggers: Iterable[Trigger]) -> bool:
        try:
            write_session(self.own_folder, record, tuple(triggers))
        except (OSError, InputError) as error:
            _LOG.warning("what is open could not be kept: %s", error)
            return False
        return True

    def discard(self) -> None:
        """Drop what has changed since the session was saved."""
        self._timer.stop()
        self._discarded = True
        folder = Path(self._session.folder)
        try:
            saved = read_session(folder).session
        except InputError as error:
            _LOG.warning("the saved session cannot be read: %s", error.sentence)
            return
        named = saved.model_copy(update={"folder": str(folder), "modified": False})
        self._write(named, self.triggers_of(folder, saved).values())

    def mark_saved(self, folder: str, saved: SavedSession) -> None:
        """What is open was written into its own folder."""
        self._files |= saved.files
        self._saved = saved
        self._session.folder = folder
        self.save()

    def leave(self) -> None:
        """Go on with what is open in a session without a name, notes and parts of its own."""
        session = self._session
        self._saved = None
        session.folder, session.notes = "", ""
        self._restore_parts(SavedSession())
        session.runs = ()
        self._on_run_change(session.run if is_live(session.run) else None)
        self.save()

    def compare(self) -> None:
        """Look whether what is open differs from what was saved by name."""
        self._comparing.stop()
        record, modified = self.record() if self._session.folder else None, False
        if record is not None:
            modified = self._saved is None or record.content() != self._saved.content()
        if modified != self.is_modified:
            self.is_modified = modified
            self.modified_changed.emit()

    def triggers(self) -> tuple[Trigger, ...]:
        """The triggers of the canvas and of the snapshot beside it."""
        session = self._session
        other = session.other_snapshot
        triggers = [session.trigger, None if other is None else other.trigger]
        if self._opening is not None:
            triggers += self._opening_triggers.values()
        return tuple(
            {trigger.digest: trigger for trigger in triggers if trigger is not None}.values()
        )

    def put_aside(self) -> Callable[[], None] | None:
        """A function that opens again all that is open now; None if that is nothing."""
        if (record := self.record()) is None:
            return None
        triggers = {trigger.digest: trigger for trigger in self.triggers()}
        opened = OpenedSession(record, triggers, self._session.folder, self._saved)
        return partial(self.begin, opened)

    def record(self) -> SavedSession | None:
        """A record of what is open, or None; what is being opened again counts as open."""
        session, saved = self._session, self._opening
        facts, images = session.checkpoint, session.images
        if saved is not None and (facts is None or facts.path != saved.checkpoint):
            return None
        other, cleaned, trigger = session.other_snapshot, self._cleaned, session.trigger
        if session.cleaned is not None:
            cleaned = SavedCleaned(
                checkpoint=session.cleaned.path, donor=session.cleaned.donor,
                shown=session.role == "cleaned",
            )  # fmt: skip
        fields: dict[str, object] = {
            "checkpoint": "" if facts is None else facts.path,
            "donor": "" if facts is None else facts.donor,
            "reference": "" if session.reference is None else session.reference.path,
            "trusted": session.trusted,
            "label_set": session.label_set,
            "trigger": "" if trigger is None else trigger.digest,
            "station": session.station if session.station != "welcome" else "studio",
            "run": "" if session.run is None else session.run.output_dir,
            "runs": session.runs[-_MOST_FOLDERS:],
            "cleaned": cleaned,
            "notes": session.notes,
        }
        for part in self._parts:
            fields |= part.state()
        if facts is None and not fields.get("checkpoints"):
            return None
        if other is not None:
            named = "" if other.trigger is None else other.trigger.digest
            fields |= {"other_slot": other.slot, "other_trigger": named}
        if images is not None:
            names = images.class_names
            target = names[session.target] if session.target < len(names) else ""
            fields |= {"images": images.spec, "templates": images.templates, "target": target}
        if saved is not None:
            waited_for = ["reference", "trusted", "run"]
            if images is None:
                waited_for += ["images", "label_set", "templates", "target"]
            waited_for += ["trigger"] if trigger is None else []
            waited_for += ["other_slot", "other_trigger"] if other is None else []
            fields |= {name: getattr(saved, name) for name in waited_for}
        try:
            record = SavedSession.model_validate(fields)
        except ValidationError as error:  # a path that is no text, or too long
            _LOG.warning("what is open cannot be kept: %s", error)
            return None
        there = {path: self._known(path, what) for path, what in record.outside.items()}
        return record.model_copy(update={"files": there})

    def _known(self, path: str, what: str) -> FileFacts:
        """The facts that identify a file, as far as they are known now."""
        facts = self._files.get(path)
        if facts is None:
            inside = JOB_FOLDERS.get(what, "")
            known_by = "inside" if inside else "weights" if what == "clean reference" else "file"
            named = {"known_by": known_by, "inside": inside, "mark": mark_of(path, inside)}
            facts = self._files[path] = FileFacts.model_validate(named)
        return facts

    # What happens

    def _on_changed(self, *_: object) -> None:
        self._discarded = False  # the window was not closed after all
        if not self._closed:
            self._timer.start()
            self._comparing.start()

    def _note_checkpoint(self, facts: ShownCheckpoint) -> None:
        """Note how the files of a checkpoint were when they were opened."""
        sha256 = facts.inspection.sha256
        digest = sha256 if len(sha256) == _DIGEST else ""
        self._files[facts.path] = FileFacts(
            digest=digest, known_by="weights", mark=mark_of(facts.path)
        )
        known = self._files.get(facts.donor)
        if facts.donor and (known is None or known.mark != mark_of(facts.donor)):
            self._files[facts.donor] = FileFacts(known_by="weights", mark=mark_of(facts.donor))

    def _on_checkpoint_change(self, facts: ShownCheckpoint | None) -> None:
        saved = self._opening
        self._cleaned = None  # of another checkpoint
        if facts is not None:
            self._note_checkpoint(facts)
            self._begin_anew(facts)
            self._forget_offer()
        if saved is not None and facts is not None:
            if facts.path == saved.checkpoint:
                self._finish(saved)
            else:
                self._opening = None  # the user has opened something else meanwhile
        self._on_changed()

    def _begin_anew(self, facts: ShownCheckpoint) -> None:
        """Forget what belongs to an unnamed session when another suspect is opened."""
        session, before = self._session, self._last
        if self._opening is not None or session.folder or before is None:
            return
        if before.checkpoint != facts.path:
            session.runs = ()
            self._restore_parts(SavedSession())
            self._on_run_change(session.run if is_live(session.run) else None)

    def _on_other_checkpoint(self, facts: ShownCheckpoint | None) -> None:
        """The reference, or the cleaned one."""
        if facts is not None:
            self._note_checkpoint(facts)
            if facts is self._session.cleaned:
                self._cleaned = None
        self._on_changed()

    def _on_run_change(self, run: RunState | None) -> None:
        session = self._session
        if run is not None and run.output_dir not in ("", *session.runs):
            session.runs = (*session.runs, run.output_dir)
        self._on_changed()

    def _on_images_change(self, images: ImagesState | None) -> None:
        saved, session = self._opening, self._session
        if images is not None and images.spec.path:
            self._note_images(images, images.spec.path)
        if images is not None and not is_built_in(session.label_set):
            labels = FileFacts(mark=mark_of(session.label_set))
            known = self._files.get(session.label_set)
            if known is None or known.mark != labels.mark:
                self._files[session.label_set] = labels
        if saved is not None and images is not None:
            self._choose_target(saved)
            if session.checkpoint is not None and session.checkpoint.path == saved.checkpoint:
                self._opening = None
        self._on_changed()

    def _note_images(self, images: ImagesState, path: str) -> None:
        """Note how pictures were when they were opened; a very large set is known by less."""
        if images.known_by.startswith("content") and len(images.key) == _DIGEST:
            facts = FileFacts(digest=images.key, known_by="pictures", mark=mark_of(path))
        else:
            facts = FileFacts(mark=mark_of(path))
        known = self._files.get(path)
        if known is None or facts.digest or known.mark != facts.mark:
            self._files[path] = facts

    def _choose_target(self, saved: SavedSession) -> None:
        """Choose the class of the target's name, once there are classes."""
        images = self._session.images
        if images is not None and saved.target in images.class_names:
            self._shell.open("target", images.class_names.index(saved.target))

    def _on_closing(self) -> None:
        if not self._discarded:
            self.save()
        self._closed = True


_MOST_FOLDERS = 1000


def _when(saved: float) -> str:
    """How long ago, in words."""
    hours = (time.time() - saved) / 3600
    if hours < 1:
        return "less than an hour ago"
    if hours < 24:
        whole = round(hours)
        return f"{whole} hour{'s' if whole > 1 else ''} ago"
    return time.strftime("%d %b %Y", time.localtime(saved))
