"""Asks why on behalf of Studio: attribution of the selected image, and two checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import (
    Attribute,
    ComparePair,
    Failed,
    OpenCheckpoint,
    Pair,
    PredictionReady,
    Progress,
)
from cleanclip_gui.session.records import CheckpointFacts, Role
from cleanclip_gui.studio.exports import save_pair
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, NUMBERS, PICTURE_OR_NUMBERS
from cleanclip_gui.widgets.text import plain
from ml_core.evaluation.attribution_files import save_attribution
from ml_core.evaluation.attribution_records import Attribution
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_SETTLE_MS = 200
_ROLE_TITLES = {"suspect": "Before cleaning", "cleaned": "After cleaning"}


class StudioWhy(QObject):
    """Follows the session; asks only for the page that is on show."""

    def __init__(self, panel: StudioStation, inference: Inference) -> None:
        super().__init__(panel)
        self._panel, self._inference = panel, inference
        self._view, self._pair = panel.pages.attribution, panel.pages.pair
        self._top1: dict[str, int] = {}
        self._attribution: Ticket | None = None
        self._comparison: Ticket | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._ask)
        view, pair = self._view, self._pair
        view.asked.connect(self.touch)
        view.measure_clicked.connect(self.measure)
        view.cancel_clicked.connect(self._on_attribution_cancelled)
        view.save_clicked.connect(self.save_attribution)
        pair.open_clicked.connect(self.open_reference)
        pair.measure_clicked.connect(self.compare)
        pair.cancel_clicked.connect(self._on_pair_cancelled)
        pair.other_chosen.connect(self._forget_pair)
        pair.differing_clicked.connect(self._on_differing_clicked)
        pair.save_clicked.connect(self.save_pair)
        panel.pages.currentChanged.connect(self.touch)
        panel.live.predicted.connect(self._on_predicted)
        events = panel.session.events
        for event in (events.trigger, events.target):
            event.connect(self._on_question_change)
        events.selected_image.connect(self._on_image_change)
        for event in (events.checkpoint, events.images, events.role, events.cleaned):
            event.connect(self._on_model_change)
        self._offer_others()

    def touch(self, *_: object) -> None:
        """What is explained has changed: ask again soon, if the page is on show."""
        if self._panel.pages.page != "attribution" or not self._can_ask():
            return
        self._view.set_stale(True)
        if self._view.asks_by_itself:
            self._timer.start()

    def stop(self) -> None:
        """Ask nothing more."""
        self._timer.stop()

    def measure(self) -> None:
        """Ask now, as an occlusion needs."""
        self._timer.stop()
        self._ask()

    def _can_ask(self) -> bool:
        session = self._panel.session
        return session.shown is not None and session.images is not None and session.images.n > 0

    def _ask(self) -> None:
        session, view = self._panel.session, self._view
        wanted = self._class_index()
        if not self._can_ask() or wanted is None:
            return
        view.set_busy(0.0 if not view.asks_by_itself else None)
        self._attribution = self._inference.ask(
            Attribute(
                session.selected_image,
                wanted,
                session.trigger,
                session.role,
                view.method.currentData(),
                view.stage.currentData(),
            ),
            self._on_attributed,
            self._on_not_attributed,
            on_progress=self._on_attribution_progress,
        )

    def _class_index(self) -> int | None:
        """The class that the user wants explained; the target where that is not known."""
        session, name = self._panel.session, self._view.explained.currentData()
        images = session.images
        if images is None or not images.class_names:
            return None
        if name == "label" and images.labels[session.selected_image] >= 0:
            return int(images.labels[session.selected_image])
        return self._top1.get(name, session.target)

    def save_attribution(self) -> None:
        """Write the maps on show."""
        found = self._view.found
        if found is not None:
            name = f"why-image-{found.index + 1}.png"
            path = self._panel.prompts.save_file(
                self._panel, "Save the maps", name, PICTURE_OR_NUMBERS
            )
            self._write(path, lambda: save_attribution(found, Path(path)))

    def save_pair(self) -> None:
        """Write the comparison on show."""
        found, images = self._pair.found, self._panel.session.images
        if found is not None and images is not None:
            name = "comparison.csv"
            path = self._panel.prompts.save_file(self._panel, "Save the comparison", name, NUMBERS)
            self._write(path, lambda: save_pair(found, images, Path(path)))

    def _write(self, path: str, act: Callable[[], None]) -> None:
        if path:
            try:
                act()
            except InputError as error:
                self._panel.failed.emit(error)

    def open_reference(self) -> None:
        """Ask for a checkpoint to compare with."""
        facts = self._panel.session.checkpoint
        folder = "" if facts is None else str(Path(facts.path).parent)
        title = "Open a reference checkpoint"
        path = self._panel.prompts.open_file(self._panel, title, folder, CHECKPOINTS)
        if path:
            self._inference.ask(OpenCheckpoint(path, "reference"), self._on_reference_opened)

    def compare(self) -> None:
        """Ask both checkpoints."""
        session, other = self._panel.session, self._pair.other.currentData()
        if other and self._can_ask():
            self._pair.set_busy(0.0)
            roles: tuple[Role, Role] = (session.role, other)
            limit = self._panel.live.limit
            self._comparison = self._inference.ask(
                ComparePair(session.trigger, session.target, roles, limit),
                self._show_pair,
                self._on_not_compared,
                on_progress=self._on_pair_progress,
            )

    def _offer_others(self) -> None:
        session = self._panel.session
        others: list[tuple[str, str]] = []
        for role, facts in (("suspect", session.checkpoint), ("cleaned", session.cleaned)):
            if facts is not None and role != session.role:
                others.append((role, _ROLE_TITLES[role]))
        if session.reference is not None:
            name = plain(Path(session.reference.path).name, 60)
            others.append(("reference", f"Reference: {name}"))
        self._pair.set_others(tuple(others))

    def _forget_pair(self, *_: object) -> None:
        """What was compared is of another question."""
        _cancel(self._comparison)
        self._pair.set_busy(None)
        self._pair.show_found(None)
        self._panel.gallery.set_other(None)

    def _on_question_change(self, *_: object) -> None:
        self._top1.pop("triggered", None)
        if self._pair.found is not None or not self._pair.busy.isHidden():
            self._forget_pair()
        self.touch()

    def _on_image_change(self, *_: object) -> None:
        self._top1 = {}
        self.touch()

    def _on_model_change(self, *_: object) -> None:
        """Nothing on show is of this model and these images any more."""
        self._timer.stop()
        self._top1 = {}
        _cancel(self._attribution)
        self._view.set_busy(None)
        self._view.show_found(None)
        self._forget_pair()
        self._offer_others()
        self.touch()

    def _on_predicted(self, result: PredictionReady, older: bool) -> None:
        if older:
            return
        before = self._class_index()
        self._top1 = {"clean": int(result.clean_probs.argmax())}
        if result.triggered_probs is not None:
            self._top1["triggered"] = int(result.triggered_probs.argmax())
        if self._class_index() != before:
            self.touch()

    def _on_attribution_progress(self, progress: Progress) -> None:
        if progress.methods:
            self._view.set_methods(progress.methods)
        else:
            self._view.set_busy(progress.share)

    def _on_attributed(self, found: Attribution) -> None:
        self._view.set_busy(None)
        self._view.show_found(found)
        self._view.set_stale(self._timer.isActive())

    def _on_pair_progress(self, progress: Progress) -> None:
        self._pair.set_busy(progress.share)

    def _show_pair(self, found: Pair) -> None:
        gallery = self._panel.gallery
        self._pair.set_busy(None)
        gallery.update_predictions(found.per_image[0])
        gallery.set_other(found.per_image[1])
        differing = gallery.model.counts()["differ"]
        self._pair.show_found(found, differing)
        if differing and gallery.filter.currentData() == "all":
            gallery.show_filter("differ")

    def _on_differing_clicked(self) -> None:
        self._panel.gallery.show_filter("differ")

    def _on_attribution_cancelled(self) -> None:
        _cancel(self._attribution)
        self._view.set_busy(None)

    def _on_pair_cancelled(self) -> None:
        _cancel(self._comparison)
        self._pair.set_busy(None)

    def _on_not_attributed(self, failed: Failed) -> None:
        self._view.set_busy(None)
        self._view.show_found(None)
        self._view.says.setText(plain(failed.sentence, 300))

    def _on_not_compared(self, failed: Failed) -> None:
        self._pair.set_busy(None)
        self._pair.says.setText(plain(failed.sentence, 300))

    def _on_reference_opened(self, facts: CheckpointFacts) -> None:
        self._panel.session.reference = facts
        self._offer_others()
        other = self._pair.other
        other.setCurrentIndex(other.findData("reference"))
        self._forget_pair()


def _cancel(ticket: Ticket | None) -> None:
    if ticket is not None:
        ticket.cancel()
