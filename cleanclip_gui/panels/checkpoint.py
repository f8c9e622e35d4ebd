"""The Checkpoint station: what is this file?"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDeadlineTimer, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from cleanclip_gui import theme
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.jobs.inference import Inference
from cleanclip_gui.jobs.requests import Failed, OpenCheckpoint
from cleanclip_gui.session import CheckpointFacts, Session
from cleanclip_gui.text import bytes_text, count_text, device_text, plain
from cleanclip_gui.widgets.fact_list import FactList
from cleanclip_gui.widgets.tensor_table import TensorTable
from cleanclip_gui.widgets.verdict_card import VerdictCard
from ml_core.reading import InputError, Inspection, examine

_STATS_BATCH = 16


class CheckpointPanel(QWidget):
    """Examines a file beside the window, then asks the inference thread to load it.

    Call :meth:`open`. ``opening(path)`` tells that a file is being read, ``refused(Inspection)``
    that it will not be opened. ``complete`` turns true when every tensor has its statistics.
    """

    opening = Signal(str)
    refused = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._inference = inference
        self._path = ""
        self._inspecting: Background | None = None
        self._statistics: Background | None = None
        self.inspection: Inspection | None = None
        self.complete = False

        self.verdict = VerdictCard()
        self.identity = FactList("File")
        self.architecture = FactList("Architecture")
        self.notes = FactList("Notes")
        left = QWidget()
        left.setObjectName("page")
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, theme.SPACE_S, 0)
        column.setSpacing(theme.SPACE_M)
        for card in (self.verdict, self.architecture, self.identity, self.notes):
            column.addWidget(card)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(left)
        scroll.setAccessibleName("Facts of the checkpoint")
        scroll.setMinimumWidth(360)

        self.tensors = TensorTable()
        self.metadata = QPlainTextEdit()
        self.metadata.setReadOnly(True)
        self.metadata.setAccessibleName("Metadata and provenance")
        self.metadata.setTabChangesFocus(True)
        metadata_page = QWidget()
        inner = QVBoxLayout(metadata_page)
        inner.setContentsMargins(0, theme.SPACE_M, 0, 0)
        inner.addWidget(self.metadata)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(self.tensors, "Tensors")
        self.tabs.addTab(metadata_page, "Metadata")
        self.tabs.tabBar().setAccessibleName("Tensors or metadata")
        self.tabs.tabBar().setDrawBase(False)

        split = QSplitter(Qt.Orientation.Horizontal)
        split.setChildrenCollapsible(False)
        split.setHandleWidth(theme.SPACE_M)
        split.addWidget(scroll)
        split.addWidget(self.tabs)
        split.setStretchFactor(0, 2)
        split.setStretchFactor(1, 5)
        split.setSizes([430, 900])
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_L, theme.SPACE_L, theme.SPACE_L, theme.SPACE_L)
        layout.addWidget(split)

        inference.checkpoint_opened.connect(self._on_checkpoint_opened)
        inference.failed.connect(self._on_failed)

    def open(self, path: str | Path) -> None:
        """Examine a file or folder and load it if nothing speaks against it."""
        for thread in (self._inspecting, self._statistics):
            if thread is not None:
                thread.abandon()
        self._path = str(path)
        target = Path(path)
        try:
            size = target.stat().st_size if target.is_file() else None
        except OSError:
            size = None
        self.inspection = None
        self.complete = False
        self.verdict.show_reading(target.name or self._path, size)
        self._show_facts(None)
        self._show_tensors(())
        self.metadata.clear()
        self.opening.emit(self._path)

        def work(cancelled: Callable[[], bool]) -> Iterator[Inspection]:
            yield examine(target, cancelled)

        self._inspecting = Background(work)
        self._inspecting.yielded.connect(self._on_inspected)
        self._inspecting.failed.connect(self._on_inspection_failed)
        self._inspecting.begin()

    def stop(self, timeout_ms: int = 5000) -> bool:
        """End the threads that read beside the window; whether they ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        threads = [t for t in (self._inspecting, self._statistics) if t is not None]
        self._inspecting = self._statistics = None
        for thread in threads:
            thread.abandon()
        ended = [thread.stop(deadline.remainingTime()) for thread in threads]
        return all(ended)

    @Slot(object)
    def _on_inspected(self, found: Inspection) -> None:
        if self.sender() is not self._inspecting:
            return
        self.inspection = found
        self.verdict.show_inspection(found)
        self._show_facts(None)
        self._show_tensors(found.tensors)
        self.metadata.setPlainText(_metadata_text(found))
        if found.refused:
            self.refused.emit(found)
            return
        self._inference.submit(OpenCheckpoint(self._path, "suspect"))

    @Slot(object)
    def _on_inspection_failed(self, error: InputError) -> None:
        if self.sender() is self._inspecting:
            self.verdict.show_problem(Path(self._path).name, error.sentence)

    @Slot(object)
    def _on_checkpoint_opened(self, opened: Any) -> None:
        if opened.role != "suspect":
            return
        facts: CheckpointFacts = opened.checkpoint
        # The inference thread holds this model now, whatever the cards are about since.
        self._session.role, self._session.cleaned = "suspect", None
        self._session.checkpoint = facts
        if facts.path != self._path:
            return
        self.inspection = facts.inspection
        self.verdict.set_state(f"Loaded on {device_text(self._session.device)}.")
        self._show_facts(facts)
        self._begin_statistics(facts.inspection)

    @Slot(object)
    def _on_failed(self, failed: Failed) -> None:
        request = failed.request
        if isinstance(request, OpenCheckpoint) and request.path == self._path:
            self.verdict.show_problem(Path(self._path).name, failed.sentence)

    def _begin_statistics(self, found: Inspection) -> None:
        """Fill in min, max, mean and the like, tensor by tensor."""
        if found.weights_path is None:
            return
        weights, tensors = found.weights_path, found.tensors

        def work(cancelled: Callable[[], bool]) -> Iterator[list[Any]]:
            from ml_core.checkpoints.tensor_stats import tensor_stats

            batch: list[Any] = []
            for stats in tensor_stats(weights, tensors, cancelled):
                batch.append(stats)
                if len(batch) == _STATS_BATCH:
                    yield batch
                    batch = []
            yield batch

        self._statistics = Background(work)
        self._statistics.yielded.connect(self._on_statistics)
        self._statistics.finished.connect(self._on_statistics_finished)
        self._statistics.begin()

    @Slot(object)
    def _on_statistics(self, batch: list[Any]) -> None:
        if self.sender() is self._statistics:
            self.tensors.model.add_stats(batch)

    @Slot()
    def _on_statistics_finished(self) -> None:
        self.complete = True

    def _show_facts(self, facts: CheckpointFacts | None) -> None:
        """Fill the cards on the left with what is known so far."""
        found = self.inspection
        for card in (self.identity, self.architecture, self.notes):
            card.clear()
        self.identity.setVisible(found is not None)
        self.architecture.setVisible(facts is not None)
        if facts is not None:
            self.architecture.add("Model", facts.architecture)
            self.architecture.add("Told by", _SOURCES.get(facts.architecture_source, "shapes"))
            self.architecture.add("Input", f"{facts.image_size} × {facts.image_size} pixels")
            self.architecture.add("Parameters", count_text(facts.parameters))
            for assumption in facts.assumptions:
                self.architecture.add("Assumed", assumption, role="warning")
        if found is not None:
            self.identity.add("Path", found.path, copy=str(found.path))
            self.identity.add("Format", found.format)
            size = f"{bytes_text(found.size)} ({count_text(found.size)} bytes)"
            self.identity.add("Size", size)
            if found.sha256:
                self.identity.add("SHA-256", _grouped(found.sha256), copy=found.sha256)
        reasons = found.reasons if found is not None else ()
        rest = reasons if found is not None and found.verdict == "loads" else reasons[1:]
        unread = found.unread if found is not None else ()
        self.notes.setVisible(bool(rest or unread))
        for number, reason in enumerate(rest, start=1):
            self.notes.add(f"{number}.", reason)
        if unread:
            self.notes.add("Not read", ", ".join(plain(name, 80) for name in unread))

    def _show_tensors(self, tensors: Sequence[Any]) -> None:
        self.tensors.set_tensors(tensors)
        self.tabs.setVisible(bool(tensors))


_SOURCES = {
    "config": "its open_clip_config.json",
    "metadata": "the file's metadata",
    "shapes": "the shapes of its tensors",
}


def _grouped(digest: str) -> str:
    """Hex digits in groups of eight, so that the label can break the line."""
    return " ".join(digest[i : i + 8] for i in range(0, len(digest), 8))


def _metadata_text(found: Inspection) -> str:
    """Metadata as indented JSON where it is JSON; every character made harmless."""
    parts = []
    for key, value in found.metadata.items():
        with contextlib.suppress(ValueError, RecursionError):
            value = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
        parts.append(f"{plain(key, 200)}\n{plain(value, 20_000, lines=True)}")
    if found.config is not None:
        config = json.dumps(found.config, indent=2, ensure_ascii=False)
        parts.append(f"open_clip_config.json\n{plain(config, 20_000, lines=True)}")
    return "\n\n".join(parts) or "The file carries no metadata."
