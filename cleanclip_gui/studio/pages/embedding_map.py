"""The embedding map with its controls: what is drawn, PCA or t-SNE, before or after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QWidget

from cleanclip_gui import theme
from cleanclip_gui.inference.questions import MapEmbeddings
from cleanclip_gui.jobs import tasks
from cleanclip_gui.session.records import Role
from cleanclip_gui.station import Context
from cleanclip_gui.studio.exports import ask_and_save, save_map
from cleanclip_gui.studio.pages.asking import AskingPage
from cleanclip_gui.studio.pages.embedding_plot import EmbeddingPlot
from cleanclip_gui.ticket import Progress, Ticket
from cleanclip_gui.widgets.label import named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.name_filters import PICTURE_OR_NUMBERS
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.text import percent, plain, plural
from ml_core.evaluation.embedding_map import KINDS, EmbeddingMap, Embeddings
from ml_core.evaluation.tsne import tsne_map
from ml_core.reading.errors import CancelledError, InputError

_HINT = "Draw a lasso around points to show those images; Esc clears it."
_QUICK_S = 2.0
_TITLES: dict[Role, str] = {
    "suspect": "Before cleaning",
    "cleaned": "After cleaning",
    "reference": "Reference",
}
_KIND_TEXTS = ("● Clean", "▲ Triggered", "★ Class texts")


class EmbeddingMapPage(AskingPage):
    """Measures on request; ``chosen(images)`` has the images inside a loop, none for all.

    PCA comes with the embeddings; the t-SNE of the same points is made beside the window, when it
    is first chosen.
    """

    chosen = Signal(object)
    what = "Embedding map"
    measures = "Measure", "Embed the images, without and with the trigger"
    saves = "Save the points", "Save the points as CSV or JSON, or the picture as PNG"
    hint = _HINT

    def __init__(
        self, context: Context, rate: Callable[[], float], parent: QWidget | None = None
    ) -> None:
        super().__init__(context, parent)
        self._rate = rate
        self._maps: dict[str, EmbeddingMap] = {}  # by method
        self._roles: tuple[str, ...] = ()  # titles of the parts of these maps
        self._tsne: Ticket | None = None
        self.found: EmbeddingMap | None = None
        self._titles: tuple[str, ...] = ()
        self.plot = EmbeddingPlot()
        self.method = named(QComboBox(), "Projection")
        for name in ("PCA", "t-SNE"):
            self.method.addItem(name, name)
        self.part = named(QComboBox(), "Checkpoint on the map")
        self.kinds = tuple(QCheckBox(text) for text in _KIND_TEXTS)
        for box in self.kinds:
            box.setChecked(True)
            box.toggled.connect(self._on_kinds_changed)
        self.count = named(NumberBox("int", 20, 4000, "images"), "Images to embed")
        self.count.setValue(600)
        self.says.setProperty("role", "caption")
        self._lay_out()
        self.method.currentIndexChanged.connect(self._on_method_changed)
        self.part.currentIndexChanged.connect(self._on_part_changed)
        self.plot.lassoed.connect(self._on_lassoed)
        self.plot.pointed.connect(self._on_pointed)
        self.set_busy(None)
        self.show_found(None)
        self._follow(self._on_model_change, "checkpoint", "images", "cleaned")
        self._follow(self._on_question_change, "trigger", "role")

    def _lay_out(self) -> None:
        column(
            row(
                self.count, self.measure, None, self.part, self.method, self.save,
                spacing=theme.SPACE_S,
            ),
            row(*self.kinds, None, spacing=theme.SPACE_M), (self.plot, 1), self.says, self.readout,
            self.busy, of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip

    # What is asked

    def touch(self, *_: object) -> None:
        """Measure a first map as soon as the page is shown, where that is quick."""
        rate, waits = self._rate(), self._ticket is not None and self._ticket.is_open
        if self.isHidden() or waits or self.found is not None or not self._session.can_measure:
            return
        if rate > 0 and self.count.value() / rate < _QUICK_S:
            self._ask()

    def _ask(self) -> None:
        """Embed the images; a cleaned checkpoint is laid into the same plane."""
        session = self._session
        if session.checkpoint is None or session.images is None:
            self.says.setText("Open a checkpoint and images first.")
            return
        self._end_tsne()
        roles: tuple[Role, ...] = ("suspect",)
        if session.cleaned is not None:
            roles = ("suspect", "cleaned")
        elif session.reference is not None:
            roles = ("suspect", "reference")
        self.set_busy(0.0)
        question = MapEmbeddings(session.trigger, roles, round(self.count.value()))
        self._ask_models(question, partial(self._on_mapped, roles))

    def _on_cancelled(self) -> None:
        """End what goes on; the map on show stays."""
        self._end_tsne()
        super()._on_cancelled()
        self._show_map(self.found)

    def _on_save_clicked(self) -> None:
        if self.found is not None:
            name = f"embedding-map-{self.found.method.lower()}.png"
            ask_and_save(
                self._context,
                self,
                "Save the map",
                name,
                PICTURE_OR_NUMBERS,
                partial(self._save, self.found),
            )

    def _save(self, found: EmbeddingMap, path: Path) -> None:
        """Write the points, or the picture."""
        if path.suffix.lower() != ".png":
            save_map(found, path)
        elif not self.plot.grab().save(str(path), "PNG"):
            raise InputError(f"{path.name} could not be written.")

    def _show_map(self, found: EmbeddingMap | None) -> None:
        self.show_found(found, self._roles)
        self.plot.mark_class(self._session.target)

    def _on_question_change(self, *_: object) -> None:
        """The map is of the trigger that it was measured with, and says so."""
        if self.found is not None:
            trigger = self._session.trigger
            digest = None if trigger is None else trigger.digest
            self.set_outdated(self.found.parts[0].trigger != digest)

    def _on_model_change(self, *_: object) -> None:
        self._cancel_question()
        self._end_tsne()
        self._maps, self._roles = {}, ()
        self.set_busy(None)
        self._show_map(None)
        self.chosen.emit(())

    def _on_mapped(self, roles: tuple[Role, ...], found: EmbeddingMap) -> None:
        self._roles = tuple(_TITLES[role] for role in roles) if len(roles) > 1 else ()
        self._maps = {"PCA": found}
        self.set_busy(None)
        self._show_map(found)
        self._on_question_change()

    def _on_method_changed(self) -> None:
        self._end_tsne()
        name = self.method.currentData()
        if name in self._maps:
            self.set_busy(None)
            self._show_map(self._maps[name])
        elif "PCA" in self._maps:
            self._begin_tsne(self._maps["PCA"])

    def _begin_tsne(self, flat: EmbeddingMap) -> None:
        self.set_busy(-1.0)
        self._tsne = tasks.run(
            partial(tsne_of, flat.parts),
            self._on_laid_out,
            self._on_tsne_failed,
            on_progress=self._on_tsne_progress,
        )

    def _end_tsne(self) -> None:
        if self._tsne is not None:
            self._tsne.cancel()

    def _on_tsne_progress(self, progress: Progress) -> None:
        self.set_busy(progress.share if progress.done else -1.0)

    def _on_laid_out(self, found: EmbeddingMap) -> None:
        self._maps["t-SNE"] = found
        self.set_busy(None)
        self._show_map(found)

    def _on_tsne_failed(self, error: InputError) -> None:
        self._show_map(self._maps.get("PCA"))
        self._on_failed(error)

    # What is shown

    def show_found(self, found: EmbeddingMap | None, titles: tuple[str, ...] = ()) -> None:
        """Show a map; ``titles`` name its parts, e.g. before and after cleaning."""
        new = found is not None and (self.found is None or found.parts != self.found.parts)
        other = found is not None and (self.found is None or found.method != self.found.method)
        self.found = found
        self.save.setEnabled(found is not None)
        with QSignalBlocker(self.method):
            if found is not None:
                self.method.setCurrentIndex(self.method.findData(found.method))
            elif self.method.currentIndex() > 0:
                self.method.setCurrentIndex(0)
        self.method.setEnabled(found is not None)
        if titles != self._titles:
            self._titles = titles
            with QSignalBlocker(self.part):
                self.part.clear()
                self.part.addItems(list(titles))
        self.part.setVisible(len(titles) > 1)
        if new:
            self.plot.set_chosen(np.empty(0, np.int64))
        self._show_part(fit=new or other)

    def set_outdated(self, outdated: bool) -> None:
        """Say that the map was measured with another trigger."""
        found = self.found
        if found is not None:
            words = sentence(found, max(0, self.part.currentIndex()))
            older = "Measured with another trigger; press Measure. " if outdated else ""
            self.says.setText(older + words)

    def _show_part(self, *, fit: bool) -> None:
        found = self.found
        number = max(0, self.part.currentIndex())
        if found is None or number >= len(found.parts):
            self.plot.show_part(None, None, fit=False)
            self.says.setText("Nothing is measured yet: press Measure.")
            return
        self.plot.show_part(found.parts[number], found.places[number], fit=fit, others=found.places)
        self.says.setText(sentence(found, number))

    def _on_part_changed(self) -> None:
        self._show_part(fit=False)  # what has moved is seen only where the view stands still

    def _on_kinds_changed(self) -> None:
        clean, triggered, texts = (box.isChecked() for box in self.kinds)
        self.plot.set_visible_kinds(clean, triggered, texts)

    def _on_lassoed(self, rows: object) -> None:
        part = self.plot.part
        if part is None:
            return
        chosen = np.asarray(rows, np.int64)
        self.plot.set_chosen(chosen)
        images = chosen[part.kinds()[chosen] < 2]
        self.chosen.emit(np.unique(part.numbers()[images]))

    def _on_pointed(self, row: int) -> None:
        part = self.plot.part
        self.readout.setText(_HINT if part is None or row < 0 else point_text(part, row))


def tsne_of(parts: Sequence[Embeddings], control: tasks.Control) -> EmbeddingMap:
    """Lay out the points of a map by t-SNE; ends early, in a `CancelledError`, if cancelled."""
    for step in tsne_map(parts, cancelled=control.cancelled):
        if step.result is not None:
            return step.result
        control.tell(Progress(round(1000 * step.share), 1000))
    raise CancelledError


def point_text(part: Embeddings, row: int) -> str:
    """One point in words."""
    kind, number = int(part.kinds()[row]), int(part.numbers()[row])
    if kind == 2:
        return f"Class text: {plain(part.class_names[number], 60)}"
    at = row if kind == 0 else row - len(part.clean)
    seen = part.clean_top1 if kind == 0 else part.triggered_top1
    label = int(part.labels[at])
    text = f"Image {number + 1}, {KINDS[kind]}"
    if label >= 0:
        text += f", label {plain(part.class_names[label], 40)}"
    return text if seen is None else f"{text}, seen as {plain(part.class_names[int(seen[at])], 40)}"


def sentence(found: EmbeddingMap, number: int) -> str:
    """How to read the map."""
    part = found.parts[number]
    text = plural(len(part.indices), "image")
    shares = found.settings.get("variance_shares")
    if found.method == "PCA" and shares:
        first, second = (percent(share, digits=0) for share in shares)
        text += f"; the axes hold {first} and {second} of the variance"
    else:
        text += "; distances between groups mean nothing in a t-SNE"
    if len(found.parts) > 1:
        text += ", one projection for both checkpoints"
    return f"{text}. Text points are shifted by {part.gap:.2f} so that they overlap the images."
