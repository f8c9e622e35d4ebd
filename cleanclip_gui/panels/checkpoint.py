"""The Checkpoint station: what is this file?"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QDeadlineTimer, Qt, QTimer, Signal, Slot
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
from cleanclip_gui.panels.checkpoint_actions import CheckpointActions
from cleanclip_gui.panels.checkpoint_compare import Comparing
from cleanclip_gui.session import CheckpointFacts, Session
from cleanclip_gui.text import bytes_text, count_text, device_text, plain
from cleanclip_gui.widgets.code_view import CodeView
from cleanclip_gui.widgets.comparison_view import ComparisonView
from cleanclip_gui.widgets.fact_list import FactList
from cleanclip_gui.widgets.histogram import HistogramCard
from cleanclip_gui.widgets.names_view import NamesView
from cleanclip_gui.widgets.note_card import NoteCard
from cleanclip_gui.widgets.tensor_table import TensorTable
from cleanclip_gui.widgets.verdict_card import VerdictCard
from ml_core.reading import InputError, Inspection, TensorInfo, ask_picklescan, examine
from ml_core.reading.elsewhere import elsewhere
from ml_core.reading.sandbox import is_complete

_STATS_SECONDS = 0.1
_FACTS = 12
_COMPARISON = 4


class CheckpointPanel(QWidget):
    """Examines a file beside the window, then asks the inference thread to load it.

    Call :meth:`open`. ``opening(path)`` tells that a file is being read, ``inspected(Inspection)``
    that it was, ``refused(Inspection)`` that it will not be opened. ``complete`` turns true when
    every tensor has its statistics.
    """

    opening = Signal(str)
    inspected = Signal(object)
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
        self._counting: Background | None = None
        self._asking: Background | None = None
        self.inspection: Inspection | None = None
        self.complete = False

        self.verdict = VerdictCard()
        self.actions_ = CheckpointActions()
        self.identity = FactList("File")
        self.architecture = FactList("Architecture")
        self.notes = FactList("Notes")
        self.elsewhere = NoteCard("What torch.load would do with it elsewhere")
        self.known = NoteCard("What is known of it")
        self.opinion = NoteCard("Second opinion")
        self.values = FactList("Values in the file")
        scroll = self._facts_column()

        self.tensors = TensorTable()
        self.histogram = HistogramCard()
        self.names = NamesView()
        self.code = CodeView()
        self.metadata = QPlainTextEdit()
        self.metadata.setReadOnly(True)
        self.metadata.setAccessibleName("Metadata and values")
        self.metadata.setTabChangesFocus(True)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.addTab(_page(self.tensors, self.histogram, above=0), "Tensors")
        self.tabs.addTab(self.names, "Names")
        self.tabs.addTab(self.code, "Program code")
        self.tabs.addTab(_page(self.metadata), "Metadata")
        self.comparison = ComparisonView()
        self.comparing = Comparing(self.comparison, self)
        self.tabs.addTab(self.comparison, "Comparison")
        self.tabs.tabBar().setAccessibleName("What to look at")
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

        self.tensors.selected.connect(self._on_tensor_selected)
        self.actions_.compare_requested.connect(self._on_compare_requested)
        self.actions_.donor_chosen.connect(self._on_donor_chosen)
        inference.checkpoint_opened.connect(self._on_checkpoint_opened)
        inference.failed.connect(self._on_failed)

    def _facts_column(self) -> QScrollArea:
        """The cards on the left."""
        left = QWidget()
        left.setObjectName("page")
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, theme.SPACE_S, 0)
        column.setSpacing(theme.SPACE_M)
        for card in (
            *(self.verdict, self.actions_, self.known, self.notes, self.architecture),
            self.elsewhere,
            *(self.opinion, self.identity, self.values),
        ):
            column.addWidget(card)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(left)
        scroll.setAccessibleName("Facts of the checkpoint")
        scroll.setMinimumWidth(360)
        return scroll

    def open(self, path: str | Path) -> None:
        """Examine a file or folder and load it if nothing speaks against it."""
        for thread in self._threads():
            thread.abandon()
        self.comparing.abandon()
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
        self._show_tabs(None)
        self.opinion.say("")
        self.known.say("")
        self.opening.emit(self._path)

        def work(cancelled: Callable[[], bool]) -> Iterator[Inspection | tuple[str, ...]]:
            found = examine(target, cancelled)
            yield found
            from ml_core.checkpoints.inspection_record import assess, known_sentences

            yield known_sentences(assess(found))

        self._inspecting = Background(work)
        self._inspecting.yielded.connect(self._on_inspected)
        self._inspecting.failed.connect(self._on_inspection_failed)
        self._inspecting.begin()

    def stop(self, timeout_ms: int = 5000) -> bool:
        """End the threads that read beside the window; whether they ended within the limit."""
        deadline = QDeadlineTimer(timeout_ms)
        threads = self._threads()
        self._inspecting = self._statistics = self._counting = self._asking = None
        for thread in threads:
            thread.abandon()
        ended = [thread.stop(deadline.remainingTime()) for thread in threads]
        ended.append(self.actions_.stop(deadline.remainingTime()))
        ended.append(self.comparing.stop(deadline.remainingTime()))
        return all(ended)

    def _threads(self) -> list[Background]:
        """Those that read beside the window."""
        mine = (self._inspecting, self._statistics, self._counting, self._asking)
        return [thread for thread in mine if thread is not None]

    @Slot(object)
    def _on_inspected(self, found: Inspection | tuple[str, ...]) -> None:
        if self.sender() is not self._inspecting:
            return
        if isinstance(found, tuple):
            self.known.say(" ".join(found))
            return
        self.inspection = found
        self.verdict.show_inspection(found)
        self._show_facts(None)
        self._show_tabs(found)
        self.inspected.emit(found)
        if found.globals or found.verdict == "dangerous":
            self._ask_for_second_opinion(found)
        if found.refused:
            self.refused.emit(found)
            return
        self._inference.submit(OpenCheckpoint(self._path, "suspect"))

    @Slot(object)
    def _on_inspection_failed(self, error: InputError) -> None:
        if self.sender() is self._inspecting:
            self.verdict.show_problem(Path(self._path).name, error.sentence, error.code)

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
            if self.inspection is not None and failed.lacks:
                self.verdict.show_donor_needed(self.inspection, failed.sentence)
                self.actions_.offer_donor(failed.lacks)
            else:
                self.verdict.show_problem(Path(self._path).name, failed.sentence, failed.code)
            if self.inspection is not None:
                self._begin_statistics(self.inspection)

    @Slot(str)
    def _on_donor_chosen(self, donor: str) -> None:
        if self.inspection is not None and not self.inspection.refused:
            self.verdict.show_inspection(self.inspection)
            self._inference.submit(OpenCheckpoint(self._path, "suspect", donor))

    def _ask_for_second_opinion(self, found: Inspection) -> None:
        """Let picklescan say its words; they change no verdict."""
        target = found.weights_path or found.path

        def work(cancelled: Callable[[], bool]) -> Iterator[str]:
            yield ask_picklescan(target, cancelled)

        self._asking = Background(work)
        self._asking.yielded.connect(self._on_second_opinion)
        self._asking.begin()

    @Slot(object)
    def _on_second_opinion(self, words: str) -> None:
        if self.sender() is self._asking:
            self.opinion.say(words)

    def _begin_statistics(self, found: Inspection) -> None:
        """Fill in min, max, mean and the like, tensor by tensor."""
        if found.weights_path is None:
            return
        if self._statistics is not None:
            self._statistics.abandon()
        self.complete = False

        def work(cancelled: Callable[[], bool]) -> Iterator[list[Any]]:
            from ml_core.checkpoints.tensor_stats import tensor_stats

            batch: list[Any] = []
            told = time.monotonic()
            for stats in tensor_stats(found, None, cancelled):
                batch.append(stats)
                if time.monotonic() - told > _STATS_SECONDS:
                    yield batch
                    batch, told = [], time.monotonic()
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
        if self.sender() is self._statistics:
            self.complete = True

    @Slot(str)
    def _on_compare_requested(self, path: str) -> None:
        if self.inspection is not None and not self.inspection.refused:
            self.comparing.begin(self.inspection, Path(path))
            self.tabs.setTabVisible(_COMPARISON, True)
            self.tabs.setCurrentIndex(_COMPARISON)

    @Slot(object)
    def _on_tensor_selected(self, info: TensorInfo) -> None:
        """Count the values of the chosen tensor beside the window."""
        found = self.inspection
        if found is None or found.weights_path is None:
            return
        if self._counting is not None:
            self._counting.abandon()
        self.histogram.begin(info.name)
        QTimer.singleShot(0, self.tensors, self.tensors.show_selected)  # once there is less room

        def work(cancelled: Callable[[], bool]) -> Iterator[Any]:
            from ml_core.checkpoints.tensor_histogram import tensor_histogram

            yield from tensor_histogram(found, info, cancelled=cancelled)

        self._counting = Background(work)
        self._counting.yielded.connect(self._on_counted)
        self._counting.failed.connect(self._on_counting_failed)
        self._counting.begin()

    @Slot(object)
    def _on_counted(self, counted: Any) -> None:
        if self.sender() is self._counting:
            self.histogram.show_counts(counted)

    @Slot(object)
    def _on_counting_failed(self, error: InputError) -> None:
        if self.sender() is self._counting:
            self.histogram.show_problem(error.sentence)

    def _show_facts(self, facts: CheckpointFacts | None) -> None:
        """Fill the cards on the left with what is known so far."""
        found = self.inspection
        self.actions_.set_inspection(found)
        for card in (self.identity, self.architecture, self.notes, self.values):
            card.clear()
            card.hide()
        self.elsewhere.say("" if found is None else _elsewhere(found))
        self.architecture.setVisible(facts is not None)
        if facts is not None:
            self.architecture.add("Model", facts.architecture)
            self.architecture.add("Told by", _SOURCES.get(facts.architecture_source, "shapes"))
            self.architecture.add("Input", f"{facts.image_size} × {facts.image_size} pixels")
            self.architecture.add("Parameters", count_text(facts.parameters))
            if facts.donor:
                self.architecture.add("Donor", facts.donor)
            for assumption in facts.assumptions:
                self.architecture.add("Assumed", assumption, role="warning")
            for note in facts.notes:
                self.architecture.add("Also in it", note)
        if found is not None:
            self._show_identity(found)
            self._show_notes(found)
            self._show_values(found)

    def _show_identity(self, found: Inspection) -> None:
        """Where it lies, what it is, how it was read."""
        self.identity.add("Path", found.path, copy=str(found.path))
        self.identity.add("Format", found.format)
        size = f"{bytes_text(found.size)} ({count_text(found.size)} bytes)"
        self.identity.add("Size", size)
        if found.sha256:
            self.identity.add("SHA-256", _grouped(found.sha256), copy=found.sha256)
        if found.unread:
            self.identity.add("Not read", _listed(found.unread))
        if is_complete(found.sandbox):
            self.identity.add("Sandbox", "on: read in a process that could not write or connect")
        elif found.sandbox:
            for wall, state in found.sandbox.items():
                role = "" if state.startswith("on") else "warning"
                self.identity.add(f"Sandbox, {wall}", state, role=role)
        self.identity.show()

    def _show_notes(self, found: Inspection) -> None:
        """The reasons that do not stand on the verdict's card."""
        rest = found.reasons if found.verdict == "loads" else found.reasons[1:]
        for number, reason in enumerate(rest, start=1):
            self.notes.add(f"{number}.", reason)
        self.notes.setVisible(bool(rest))

    def _show_values(self, found: Inspection) -> None:
        """Epoch, name, options: what the file says of itself."""
        for name, value in list(found.facts.items())[:_FACTS]:
            self.values.add(plain(name, 60), plain(value, 200))
        if len(found.facts) > _FACTS:
            left = count_text(len(found.facts) - _FACTS)
            self.values.add("", f"and {left} more, under Metadata")
        self.values.setVisible(bool(found.facts))

    def _show_tabs(self, found: Inspection | None) -> None:
        """Fill the pages on the right, and show those that have something to show."""
        self.histogram.hide()
        if found is None:
            self.tabs.setCurrentIndex(0)
        self.tensors.set_tensors(() if found is None else found.tensors)
        self.names.set_names({} if found is None else found.globals)
        self.code.set_code(() if found is None else found.embedded_code)
        self.metadata.setPlainText("" if found is None else _metadata_text(found))
        shown = found is not None and (
            bool(found.tensors),
            any(found.globals.values()),
            bool(found.embedded_code),
            bool(found.tensors or found.facts),
            False,  # until another one is chosen
        )
        for number, there in enumerate(shown or ()):
            self.tabs.setTabVisible(number, there)
        self.tabs.setVisible(any(shown or ()))


def _page(*widgets: QWidget, above: int = theme.SPACE_M) -> QWidget:
    """Widgets one above the other as the page of a tab."""
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, above, 0, 0)
    layout.setSpacing(theme.SPACE_M)
    for widget in widgets:
        layout.addWidget(widget)
    return page


def _elsewhere(found: Inspection) -> str:
    return elsewhere(
        found.format, found.verdict, found.globals, bool(found.embedded_code), found.unread
    )


def _listed(names: Sequence[str]) -> str:
    """The first names of a list."""
    more = f" and {count_text(len(names) - _FACTS)} more" if len(names) > _FACTS else ""
    return ", ".join(plain(name, 80) for name in names[:_FACTS]) + more


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
    if found.facts:
        values = "\n".join(
            f"{plain(name, 200)}: {plain(value, 400)}" for name, value in found.facts.items()
        )
        parts.append(f"Values in the file\n{values}")
    return "\n\n".join(parts) or "The file carries no metadata."
