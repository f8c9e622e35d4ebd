"""Keeps what is open on disk, and opens it again when the user asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from cleanclip_gui.inference.questions import OpenCheckpoint
from cleanclip_gui.session import CheckpointFacts, ImagesState
from cleanclip_gui.session.records import OtherSnapshot
from cleanclip_gui.session.saved_work import (
    SavedCleaned,
    SavedWork,
    changed_since,
    mark_of,
    moved_away,
    read_work,
    save_work,
    saved_trigger,
)
from cleanclip_gui.station import Context
from cleanclip_gui.widgets.text import plain
from ml_core.reading.errors import InputError
from ml_core.triggers import Trigger

_LOG = logging.getLogger(__name__)
_SAVE_AFTER_MS = 2000  # of quiet: a stroke changes the trigger many times a second


class KeptWork(QObject):
    """Writes a record of what is open a moment after it has changed, and when the window closes.

    What an earlier window left stands in :attr:`offer` until something is opened; nothing of it is
    opened before :meth:`go_on`. ``offer_changed`` tells that it has gone.
    """

    offer_changed = Signal()

    def __init__(self, context: Context, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session, self._shell = context.session, context.shell
        self._folder = context.settings.work_folder
        self.offer: SavedWork | None = read_work(self._folder)
        self._wanted: SavedWork | None = None  # is being opened
        self._trigger: Trigger | None = None
        self._other: OtherSnapshot | None = None
        self._cleaned: SavedCleaned | None = None  # is being opened
        self._marks: dict[str, str] = {}  # of files, as they were when they were opened
        self._last: SavedWork | None = None
        self._closed = False
        self._timer = QTimer(self, singleShot=True, interval=_SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        events = self._session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.images.connect(self._on_images_change)
        events.cleaned.connect(self._on_cleaned_change)
        for signal in (
            events.trigger, events.other_snapshot, events.target, events.station, events.run,
            events.role,
        ):  # fmt: skip
            signal.connect(self._on_changed)
        self._shell.closing.connect(self._on_closing)

    @property
    def awaits_images(self) -> bool:
        """Whether images of the earlier window are being opened."""
        return self._wanted is not None and self._wanted.images is not None

    def summary(self) -> str:
        """What the earlier window had open, in a line."""
        work = self.offer
        if work is None:
            return ""
        parts = [plain(Path(work.checkpoint).name, 60)]
        if work.images is not None:
            path = work.images.path
            parts.append("the demo's images" if path is None else plain(Path(path).name, 40))
        if work.trigger:
            aim = f" for “{plain(work.target, 40)}”" if work.target else ""
            parts.append(f"a trigger{aim}")
        return f"{', '.join(parts)} · {_when(work.saved)}"

    @Slot()
    def go_on(self) -> None:
        """Open what the earlier window had open; say in one sentence what is no longer there."""
        work, self.offer = self.offer, None
        if work is None:
            return
        gone, changed = list(moved_away(work)), changed_since(work)
        lost = {*gone, *changed}
        self._trigger = self._kept_trigger(work.trigger, "the trigger", gone)
        self._other = None
        if work.other_slot:
            aside = self._kept_trigger(work.other_trigger, "the other snapshot", gone)
            self._other = OtherSnapshot(work.other_slot, aside)
        donor = "" if work.donor in lost else work.donor
        cleaned = work.cleaned
        if cleaned is not None and not lost.isdisjoint(cleaned.files):
            cleaned = None
        images = work.images
        if images is not None and images.path in gone:
            images = None
        labels = "demo" if work.label_set in gone else work.label_set
        run = "" if work.run in gone else work.run
        kept = {"images": images, "label_set": labels, "run": run, "cleaned": cleaned}
        self._wanted = work.model_copy(update=kept)
        if images is not None:
            own = work.templates if work.label_set not in gone else None
            self._shell.images_wanted.emit(images, labels, own or None)
        if work.checkpoint not in gone:
            if donor:
                self._shell.donor_known.emit(work.checkpoint, donor)
            self._shell.checkpoint_wanted.emit(work.checkpoint)
        else:
            self._wanted = None
        self._tell_of(gone, changed)
        self.offer_changed.emit()

    def _kept_trigger(self, stem: str, what: str, gone: list[str]) -> Trigger | None:
        """A trigger beside the record; ``what`` it is goes to ``gone`` if it cannot be read."""
        try:
            return saved_trigger(self._folder, stem)
        except InputError as error:
            gone.append(what)
            _LOG.info("%s of the last time is left out: %s", what, error.sentence)
            return None

    def _tell_of(self, gone: Sequence[str], changed: Sequence[str]) -> None:
        """Say what is not opened again, if that is anything."""
        told = []
        if gone:
            are = "is" if len(gone) == 1 else "are"
            told.append(f"{_names(gone)} {are} no longer there; open it again from its new place.")
        if changed:
            have, it = ("has", "it") if len(changed) == 1 else ("have", "them")
            told.append(
                f"{_names(changed)} {have} changed since; choose {it} again if that was meant."
            )
        if told:
            details = "\n".join([*gone, *changed])
            failure = InputError(" ".join(told), "usage", details)
            self._shell.failed.emit(failure.titled("Could not open everything again"))

    @Slot()
    def save(self) -> None:
        """Write what is open now, if that is anything."""
        self._timer.stop()
        work = self._record()
        if work is None:
            return
        trigger = self._session.trigger
        if self._wanted is not None and trigger is None:
            trigger = self._trigger
        other = self._session.other_snapshot
        same = self._last is not None and work == self._last
        if same and (trigger, other) == (self._trigger, self._other):
            return
        try:
            save_work(self._folder, work, trigger, None if other is None else other.trigger)
        except (OSError, InputError) as error:
            _LOG.warning("what is open could not be kept: %s", error)
            return
        self._last, self._trigger, self._other = work, trigger, other

    def _record(self) -> SavedWork | None:
        """What is open; what is being opened again counts as open."""
        session, wanted = self._session, self._wanted
        facts, images, run = session.checkpoint, session.images, session.run
        if facts is None:
            return None
        other, cleaned = session.other_snapshot, self._cleaned
        if session.cleaned is not None:
            cleaned = _saved_cleaned(session.cleaned, shown=session.role == "cleaned")
        files = (facts.donor, *(() if cleaned is None else cleaned.files))
        work = SavedWork(
            checkpoint=facts.path,
            donor=facts.donor,
            label_set=session.label_set,
            station=session.station if session.station != "welcome" else "studio",
            run="" if run is None else run.output_dir,
            other_slot="" if other is None else other.slot,
            cleaned=cleaned,
            marks={path: self._marks[path] for path in files if path in self._marks},
        )
        if images is not None:
            names = images.class_names
            target = names[session.target] if session.target < len(names) else ""
            shown = {"images": images.spec, "templates": images.templates, "target": target}
            return work.model_copy(update=shown)
        if wanted is None:
            return work
        waited_for = ("images", "label_set", "templates", "target")
        return work.model_copy(update={name: getattr(wanted, name) for name in waited_for})

    def _on_changed(self, *_: object) -> None:
        if self._session.checkpoint is not None and not self._closed:
            self._timer.start()

    def _on_checkpoint_change(self, facts: CheckpointFacts | None) -> None:
        wanted = self._wanted
        self._cleaned = None  # of another checkpoint
        if facts is not None and facts.donor:
            self._marks[facts.donor] = mark_of(facts.donor)
        if facts is not None and self.offer is not None:
            self.offer = None
            self.offer_changed.emit()
        if wanted is not None and facts is not None:
            if facts.path == wanted.checkpoint:
                self._finish(wanted)
            else:
                self._wanted = None  # the user has opened something else meanwhile
        self._on_changed()

    def _finish(self, wanted: SavedWork) -> None:
        """The checkpoint is there: have its trigger on the canvas, its run and its page."""
        if self._trigger is not None:
            self._shell.trigger_wanted.emit(self._trigger, self._session.target)
        if self._other is not None:
            self._shell.snapshot_wanted.emit(self._other)
        self._aim(wanted)
        if wanted.run:
            self._shell.run_wanted.emit(wanted.run)
        self._shell.station_wanted.emit(wanted.station)
        if wanted.cleaned is not None:
            self._open_cleaned(wanted.cleaned)
        if wanted.images is None or self._session.images is not None:
            self._wanted = None

    def _open_cleaned(self, wanted: SavedCleaned) -> None:
        self._cleaned = wanted
        self._marks |= {path: mark_of(path) for path in wanted.files}
        question = OpenCheckpoint(
            wanted.checkpoint, "cleaned", wanted.donor, wanted.adapter, wanted.vector, wanted.alpha
        )
        self._shell.cleaned_wanted.emit(question, wanted.shown)

    def _on_cleaned_change(self, facts: CheckpointFacts | None) -> None:
        if facts is not None:
            self._cleaned = None
            files = _saved_cleaned(facts, shown=False).files
            self._marks |= {path: mark_of(path) for path in files}
        self._on_changed()

    def _on_images_change(self, images: ImagesState | None) -> None:
        wanted = self._wanted
        if wanted is not None and images is not None:
            self._aim(wanted)
            if self._session.checkpoint is not None:
                self._wanted = None
        self._on_changed()

    def _aim(self, wanted: SavedWork) -> None:
        """Choose the class of the target's name, once there are classes."""
        images = self._session.images
        if images is not None and wanted.target in images.class_names:
            self._shell.target_wanted.emit(images.class_names.index(wanted.target))

    @Slot()
    def _on_closing(self) -> None:
        self._closed = True
        self.save()


def _saved_cleaned(facts: CheckpointFacts, *, shown: bool) -> SavedCleaned:
    return SavedCleaned(
        checkpoint=facts.path, donor=facts.donor, adapter=facts.adapter, vector=facts.vector,
        alpha=facts.alpha, shown=shown,
    )  # fmt: skip


def _names(paths: Sequence[str]) -> str:
    return ", ".join(plain(Path(path).name, 60) for path in paths)


def _when(saved: float) -> str:
    """How long ago, in words."""
    hours = (time.time() - saved) / 3600
    if hours < 1:
        return "less than an hour ago"
    if hours < 24:
        whole = round(hours)
        return f"{whole} hour{'s' if whole > 1 else ''} ago"
    return time.strftime("%d %b %Y", time.localtime(saved))
