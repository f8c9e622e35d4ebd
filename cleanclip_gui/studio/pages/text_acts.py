"""Asks about the text side on behalf of Studio: captions ranked, and templates one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import (
    Failed,
    Progress,
    RetrieveCaptions,
    SpreadTemplates,
)
from cleanclip_gui.studio.exports import save_table
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.name_filters import NUMBERS
from ml_core.data.labels import fill
from ml_core.data.specs import PairSpec
from ml_core.evaluation.retrieval import Retrieval
from ml_core.evaluation.template_spread import TemplateSpread
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_SETTLE_MS = 200
_FILES = "Captions (*.csv *.tsv *.txt);;All files (*)"
_TABLES = (".csv", ".tsv")
# What is asked after every stroke must be answered soon; more is measured on request.
_LIVE_PROMPTS, _LIVE_SIDE = 2000, 128


class StudioText(QObject):
    """Follows trigger and target while its page is on show."""

    def __init__(self, panel: StudioStation, inference: Inference) -> None:
        super().__init__(panel)
        self._panel, self._inference, self._view = panel, inference, panel.pages.text
        self._sources: list[tuple[str, PairSpec | Path]] = [("Demo captions", PairSpec())]
        self._own_target = ""
        self._tickets: tuple[Ticket, ...] = ()  # captions and templates wait beside each other
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._ask_live)
        view = self._view
        view.set_sources(tuple(self._sources), 0)
        view.asked.connect(self.touch)
        view.measure_clicked.connect(self.measure)
        view.cancel_clicked.connect(self.cancel)
        view.file_clicked.connect(self.choose_file)
        view.save_clicked.connect(self.save)
        panel.pages.currentChanged.connect(self.touch)
        events = panel.session.events
        events.trigger.connect(self.touch)
        events.target.connect(self._on_target_change)
        for event in (events.checkpoint, events.images, events.role, events.cleaned):
            event.connect(self._on_model_change)

    def touch(self, *_: object) -> None:
        """What is asked has changed: ask again soon, if the page is on show."""
        if self._panel.pages.page == "text" and self._can_ask():
            self._view.set_stale(True)
            self._timer.start()

    def stop(self) -> None:
        """Ask nothing more."""
        self._timer.stop()

    def cancel(self) -> None:
        """End what goes on; the numbers on show stay."""
        self._timer.stop()
        for ticket in self._tickets:
            ticket.cancel()
        self._view.set_busy(None)

    def measure(self) -> None:
        """Ask, however long it takes."""
        session, view = self._panel.session, self._view
        if not self._can_ask():
            view.say("Open a checkpoint and images first.")
            return
        self._timer.stop()
        n = round(view.count.value())
        view.set_busy(0.0)
        if view.side == "captions":
            captions = self._sources[view.source.currentIndex()][1]
            if isinstance(captions, PairSpec):
                captions = captions.model_copy(update={"n": n})
            target = view.target.text()
            ticket = self._inference.ask(
                RetrieveCaptions(session.trigger, captions, target, session.role, n),
                self._on_retrieved,
                self._on_not_retrieved,
                on_progress=self._on_progress,
            )
        else:
            ticket = self._inference.ask(
                SpreadTemplates(session.trigger, session.target, session.role, n),
                self._on_spread,
                self._on_not_spread,
                on_progress=self._on_progress,
            )
        self._tickets = (*(other for other in self._tickets if other.is_open), ticket)

    def choose_file(self) -> None:
        """Ask for captions of one's own."""
        panel, view = self._panel, self._view
        path = panel.prompts.open_file(panel, "Captions", "", _FILES)
        if path:
            self.use_file(Path(path))
            view.set_sources(tuple(self._sources), len(self._sources) - 1)
            self.measure()

    def use_file(self, path: Path) -> None:
        """Offer the captions of a table, or of a text file with one a line."""
        spec: PairSpec | Path = path
        if path.suffix.lower() in _TABLES:
            spec = PairSpec(kind="csv", path=str(path))
        self._sources = [one for one in self._sources if one[1] != spec]
        self._sources.append((path.name, spec))

    def save(self) -> None:
        """Write the numbers on show."""
        panel, view = self._panel, self._view
        found: Any = view.retrieval if view.side == "captions" else view.spread
        if found is None:
            return
        path = panel.prompts.save_file(panel, "Save the numbers", f"{view.side}.csv", NUMBERS)
        if not path:
            return
        record = found.to_dict()
        lines = record["first"] if view.side == "captions" else record["rows"]
        rows = [list(lines[0]), *(list(line.values()) for line in lines)] if lines else []
        try:
            save_table(Path(path), rows, record)
        except InputError as error:
            panel.failed.emit(error)

    def _ask_live(self) -> None:
        if self._can_ask() and self._is_quick():
            self.measure()

    def _can_ask(self) -> bool:
        session = self._panel.session
        return session.shown is not None and session.images is not None and session.images.n > 0

    def _is_quick(self) -> bool:
        """Whether it may be asked after every change; a GPU is quick."""
        session = self._panel.session
        images, facts = session.images, session.shown
        if images is None or facts is None:
            return False
        small = facts.image_size <= _LIVE_SIDE or session.device != "cpu"
        prompts = len(images.templates) * len(images.class_names)
        return small and (self._view.side == "captions" or prompts <= _LIVE_PROMPTS)

    def _on_target_change(self, *_: object) -> None:
        """Propose a caption of the target, unless the user has written one."""
        images, target = self._panel.session.images, self._panel.session.target
        if images is not None and target < len(images.class_names) and images.templates:
            text = self._view.target.text()
            if not text or text == self._own_target:
                self._own_target = fill(images.templates[0], images.class_names[target])
                self._view.target.setText(self._own_target)
        self.touch()

    def _on_model_change(self, *_: object) -> None:
        """Nothing on show is of this model and these images any more."""
        self.cancel()
        self._view.show_retrieval(None)
        self._view.show_spread(None)
        self._on_target_change()

    def _on_progress(self, progress: Progress) -> None:
        self._view.set_busy(progress.share)

    def _on_retrieved(self, found: Retrieval) -> None:
        self._view.show_retrieval(found)
        self._on_answered()

    def _on_spread(self, found: TemplateSpread) -> None:
        self._view.show_spread(found)
        self._on_answered()

    def _on_answered(self) -> None:
        self._view.set_busy(None)
        self._view.set_stale(self._timer.isActive())

    def _on_not_retrieved(self, failed: Failed) -> None:
        self._view.set_busy(None)
        self._view.show_retrieval(None)
        self._view.say(failed.sentence)

    def _on_not_spread(self, failed: Failed) -> None:
        self._view.set_busy(None)
        self._view.show_spread(None)
        self._view.say(failed.sentence)
