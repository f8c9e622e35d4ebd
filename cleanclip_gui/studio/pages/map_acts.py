"""Asks for the embedding map of Studio; t-SNE runs beside it in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import Failed, MapEmbeddings, Progress
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.session.records import Role
from cleanclip_gui.studio.exports import save_map
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.name_filters import PICTURE_OR_NUMBERS
from cleanclip_gui.widgets.text import plain
from ml_core.evaluation.embedding_map import EmbeddingMap
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

_TITLES: dict[Role, str] = {
    "suspect": "Before cleaning",
    "cleaned": "After cleaning",
    "reference": "Reference",
}


class StudioMap(QObject):
    """PCA comes with the embeddings; the t-SNE of the same points when it is first chosen."""

    def __init__(self, panel: StudioStation, inference: Inference) -> None:
        super().__init__(panel)
        self._panel, self._inference = panel, inference
        self._view = panel.pages.map
        self._maps: dict[str, EmbeddingMap] = {}
        self._titles: tuple[str, ...] = ()
        self._ticket: Ticket | None = None
        self._work: Background | None = None
        view = self._view
        view.measure_clicked.connect(self.measure)
        view.method_chosen.connect(self._on_method_chosen)
        view.cancel_clicked.connect(self.cancel)
        view.save_clicked.connect(self.save)
        view.chosen.connect(panel.gallery.set_chosen)
        events = panel.session.events
        for event in (events.checkpoint, events.images, events.cleaned):
            event.connect(self._on_model_change)
        for event in (events.trigger, events.role):
            event.connect(self._on_question_change)

    def measure(self) -> None:
        """Embed the images; a cleaned checkpoint is laid into the same plane."""
        session = self._panel.session
        if session.checkpoint is None or session.images is None:
            self._view.says.setText("Open a checkpoint and images first.")
            return
        self._end_tsne()
        roles: tuple[Role, ...] = ("suspect",)
        if session.cleaned is not None:
            roles = ("suspect", "cleaned")
        elif session.reference is not None:
            roles = ("suspect", "reference")
        self._view.set_busy(0.0)
        self._ticket = self._inference.ask(
            MapEmbeddings(session.trigger, roles, round(self._view.count.value())),
            partial(self._on_mapped, roles),
            self._on_failed,
            on_progress=self._on_progress,
        )

    def cancel(self) -> None:
        """End what goes on; the map on show stays."""
        self._cancel_question()
        self._end_tsne()
        self._view.set_busy(None)
        self._show(self._view.found)

    def _cancel_question(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def stop(self, timeout_ms: int) -> bool:
        """End when the window closes; whether it ended in time."""
        work, self._work = self._work, None
        return work is None or work.stop(timeout_ms)

    def save(self) -> None:
        """Write the points, or the picture."""
        found = self._view.found
        if found is None:
            return
        name = f"embedding-map-{found.method.lower()}.png"
        path = self._panel.prompts.save_file(self._panel, "Save the map", name, PICTURE_OR_NUMBERS)
        if not path:
            return
        try:
            if path.lower().endswith(".png"):
                if not self._view.plot.grab().save(path, "PNG"):
                    raise InputError(f"{Path(path).name} could not be written.")
            else:
                save_map(found, Path(path))
        except InputError as error:
            self._panel.failed.emit(error)

    def _show(self, found: EmbeddingMap | None) -> None:
        self._view.show_found(found, self._titles)
        self._view.plot.mark_class(self._panel.session.target)

    def _on_question_change(self, *_: object) -> None:
        """The map is of the trigger that it was measured with, and says so."""
        if self._view.found is not None:
            trigger = self._panel.session.trigger
            digest = None if trigger is None else trigger.digest
            self._view.set_outdated(self._view.found.parts[0].trigger != digest)

    def _on_model_change(self, *_: object) -> None:
        self._cancel_question()
        self._end_tsne()
        self._maps, self._titles = {}, ()
        self._view.set_busy(None)
        self._show(None)
        self._panel.gallery.set_chosen(())

    def _on_mapped(self, roles: tuple[Role, ...], found: EmbeddingMap) -> None:
        self._titles = tuple(_TITLES[role] for role in roles) if len(roles) > 1 else ()
        self._maps = {"PCA": found}
        self._view.set_busy(None)
        self._show(found)
        self._on_question_change()

    def _on_progress(self, progress: Progress) -> None:
        self._view.set_busy(progress.share)

    def _on_method_chosen(self, name: str) -> None:
        self._end_tsne()
        if name in self._maps:
            self._view.set_busy(None)
            self._show(self._maps[name])
        elif "PCA" in self._maps:
            self._begin_tsne(self._maps["PCA"])

    def _begin_tsne(self, flat: EmbeddingMap) -> None:
        parts = flat.parts

        def work(cancelled: Callable[[], bool]) -> Iterator[object]:
            from ml_core.evaluation.tsne import tsne_map

            yield from tsne_map(parts, cancelled=cancelled)

        self._view.set_busy(-1.0)
        self._work = Background(work)
        self._work.yielded.connect(self._on_laid_out)
        self._work.failed.connect(self._on_tsne_failed)
        self._work.begin()

    def _end_tsne(self) -> None:
        if self._work is not None:
            self._work.abandon()
            self._work = None

    @Slot(object)
    def _on_laid_out(self, step: object) -> None:
        if self.sender() is not self._work:
            return
        found = getattr(step, "result", None)
        if isinstance(found, EmbeddingMap):
            self._work = None
            self._maps["t-SNE"] = found
            self._view.set_busy(None)
            self._show(found)
        else:
            share = float(getattr(step, "share", 0.0))
            self._view.set_busy(share if share > 0 else -1.0)

    @Slot(object)
    def _on_tsne_failed(self, error: InputError) -> None:
        if self.sender() is self._work:
            self._work = None
            self._view.set_busy(None)
            self._show(self._maps.get("PCA"))
            self._view.says.setText(plain(error.sentence, 300))

    def _on_failed(self, failed: Failed) -> None:
        self._view.set_busy(None)
        self._view.says.setText(plain(failed.sentence, 300))
