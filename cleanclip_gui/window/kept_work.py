"""Keeps what is open on disk, and opens it again when the user asks for it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from cleanclip_gui.session import CheckpointFacts, ImagesState
from cleanclip_gui.session.saved_work import (
    SavedWork,
    moved_away,
    read_work,
    save_work,
    trigger_of_work,
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
        self._last: SavedWork | None = None
        self._closed = False
        self._timer = QTimer(self, singleShot=True, interval=_SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        events = self._session.events
        events.checkpoint.connect(self._on_checkpoint_change)
        events.images.connect(self._on_images_change)
        for signal in (events.trigger, events.target, events.station, events.run):
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
        gone = list(moved_away(work))
        try:
            self._trigger = trigger_of_work(self._folder, work)
        except InputError as error:
            self._trigger = None
            gone.append("the trigger")
            _LOG.info("the trigger of the last time is left out: %s", error.sentence)
        images = work.images
        if images is not None and images.path in gone:
            images = None
        labels = "demo" if work.label_set in gone else work.label_set
        run = "" if work.run in gone else work.run
        self._wanted = work.model_copy(update={"images": images, "label_set": labels, "run": run})
        if images is not None:
            own = work.templates if work.label_set not in gone else None
            self._shell.images_wanted.emit(images, labels, own or None)
        if work.checkpoint not in gone:
            self._shell.checkpoint_wanted.emit(work.checkpoint)
        else:
            self._wanted = None
        if gone:
            names = ", ".join(plain(Path(path).name, 60) for path in gone)
            what = "is no longer there" if len(gone) == 1 else "are no longer there"
            self._shell.failed.emit(
                InputError(
                    f"{names} {what}; open it again from its new place.", "usage", "\n".join(gone)
                ).titled("Could not open everything again")
            )
        self.offer_changed.emit()

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
        same = self._last is not None and work == self._last
        if same and trigger == self._trigger:
            return
        try:
            save_work(self._folder, work, trigger)
        except (OSError, InputError) as error:
            _LOG.warning("what is open could not be kept: %s", error)
            return
        self._last, self._trigger = work, trigger

    def _record(self) -> SavedWork | None:
        """What is open; what is being opened again counts as open."""
        session, wanted = self._session, self._wanted
        facts, images, run = session.checkpoint, session.images, session.run
        if facts is None:
            return None
        work = SavedWork(
            checkpoint=facts.path,
            donor=facts.donor,
            label_set=session.label_set,
            station=session.station if session.station != "welcome" else "studio",
            run="" if run is None else run.output_dir,
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
        self._aim(wanted)
        if wanted.run:
            self._shell.run_wanted.emit(wanted.run)
        self._shell.station_wanted.emit(wanted.station)
        if wanted.images is None or self._session.images is not None:
            self._wanted = None

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


def _when(saved: float) -> str:
    """How long ago, in words."""
    hours = (time.time() - saved) / 3600
    if hours < 1:
        return "less than an hour ago"
    if hours < 24:
        whole = round(hours)
        return f"{whole} hour{'s' if whole > 1 else ''} ago"
    return time.strftime("%d %b %Y", time.localtime(saved))
