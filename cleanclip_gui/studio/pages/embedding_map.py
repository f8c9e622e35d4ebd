"""The embedding map with its controls: what is drawn, PCA or t-SNE, before or after."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.studio.pages.embedding_plot import EmbeddingPlot
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.number_box import NumberBox
from cleanclip_gui.widgets.text import plain, plural
from ml_core.evaluation.embedding_map import KINDS, EmbeddingMap

_HINT = "Draw a loop around points to see their images in the gallery; Escape lets them go."
_KIND_TEXTS = ("● Clean", "▲ Triggered", "★ Class texts")


class EmbeddingMapView(QWidget):
    """``chosen(images)`` has the images inside a loop; ``method_chosen`` asks for PCA or t-SNE."""

    chosen = Signal(object)
    measure_clicked = Signal()
    cancel_clicked = Signal()
    save_clicked = Signal()
    method_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: EmbeddingMap | None = None
        self._titles: tuple[str, ...] = ()
        self.plot = EmbeddingPlot()
        self.method = QComboBox()
        self.method.setAccessibleName("Projection")
        self.method.addItem("PCA", "PCA")
        self.method.addItem("t-SNE", "t-SNE")
        self.part = QComboBox()
        self.part.setAccessibleName("Checkpoint on the map")
        self.kinds = tuple(QCheckBox(text) for text in _KIND_TEXTS)
        for box in self.kinds:
            box.setChecked(True)
            box.toggled.connect(self._on_kinds_changed)
        self.count = NumberBox("int", 20, 4000, "images")
        self.count.setValue(600)
        self.count.setAccessibleName("Images to embed")
        self.measure = QPushButton("Measure")
        self.measure.setToolTip("Embed the images, without and with the trigger")
        self.save = QPushButton(theme.icon("save"), "")
        self.save.setAccessibleName("Save the points")
        self.save.setToolTip("Save the points as CSV or JSON, or the picture as PNG")
        self.says = Label("", "caption", wrap=True)
        self.readout = Label(_HINT, "caption")
        self.busy = BusyRow("Embedding map")
        self._lay_out()
        self.method.currentIndexChanged.connect(self._on_method_changed)
        self.part.currentIndexChanged.connect(self._on_part_changed)
        self.measure.clicked.connect(self.measure_clicked)
        self.save.clicked.connect(self.save_clicked)
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.plot.lassoed.connect(self._on_lassoed)
        self.plot.pointed.connect(self._on_pointed)
        self.set_busy(None)
        self.show_found(None)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(theme.SPACE_S)
        head.addWidget(self.count)
        head.addWidget(self.measure)
        head.addStretch(1)
        head.addWidget(self.part)
        head.addWidget(self.method)
        head.addWidget(self.save)
        legend = QHBoxLayout()
        legend.setSpacing(theme.SPACE_M)
        for box in self.kinds:
            legend.addWidget(box)
        legend.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SPACE_S, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addLayout(head)
        layout.addLayout(legend)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.says)
        layout.addWidget(self.readout)
        layout.addWidget(self.busy)

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

    def set_busy(self, share: float | None) -> None:
        """Show how far a measurement is, 0 to 1, below 0 unknown; None when there is none."""
        self.busy.setVisible(share is not None)
        self.readout.setVisible(share is None)
        self.measure.setEnabled(share is None)
        self.busy.bar.setRange(0, 0 if share is not None and share < 0 else 100)
        self.busy.bar.setValue(round(100 * max(0.0, share or 0.0)))

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
        self.plot.show_part(found.parts[number], found.places[number], fit=fit)
        self.says.setText(sentence(found, number))

    def _on_part_changed(self) -> None:
        self._show_part(fit=False)  # what has moved is seen only where the view stands still

    def _on_kinds_changed(self) -> None:
        clean, triggered, texts = (box.isChecked() for box in self.kinds)
        self.plot.set_visible_kinds(clean, triggered, texts)

    def _on_method_changed(self) -> None:
        self.method_chosen.emit(self.method.currentData())

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
        self.readout.setText(_HINT if part is None or row < 0 else point_text(self.plot, row))


def point_text(plot: EmbeddingPlot, row: int) -> str:
    """One point in words."""
    part = plot.part
    assert part is not None
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
        text += (
            f"; the axes hold {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % of the variance"
        )
    else:
        text += "; distances between groups mean nothing in a t-SNE"
    if len(found.parts) > 1:
        text += ", one projection for both checkpoints"
    return f"{text}. Class texts are moved over the modality gap of {part.gap:.2f}."
