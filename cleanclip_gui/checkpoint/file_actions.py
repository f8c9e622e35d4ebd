"""What can be done with an inspected file: convert, compare, export, and what fits it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.name_filters import CHECKPOINTS, SAFETENSORS
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain
from ml_core.reading import InputError, Inspection

_EXPORTS = "Web page (*.html);;JSON (*.json);;SARIF 2.1.0 (*.sarif)"
_STEPS = 1000


class _Progress(QObject):
    """Carries how far the thread is into the window, a thousandth at a time."""

    moved = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._last = -1

    def tell(self, done: int, total: int) -> None:
        step = _STEPS * done // max(total, 1)
        if step != self._last:
            self._last = step
            self.moved.emit(step)


class CheckpointActions(QWidget):
    """Buttons; while a file is written, a bar and Cancel. One thing at a time.

    ``failed`` carries an InputError, ``saved`` the path of the file, ``compare_requested`` and
    ``donor_chosen`` the path of another checkpoint; ``doctor_requested`` and ``known_requested``
    ask for their dialogs; ``offered`` tells that other things can be done than before.
    """

    compare_requested = Signal(str)
    donor_chosen = Signal(str)
    doctor_requested = Signal()
    known_requested = Signal()
    offered = Signal()
    failed = Signal(object)
    saved = Signal(object)

    def __init__(self, prompts: Prompts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prompts = prompts
        self._inspection: Inspection | None = None
        self._has_head = self._loaded = False
        self._work: Background | None = None
        self._progress: _Progress | None = None
        self.convert_button = self._button(
            "Convert to safetensors…",
            "Copy the tensors, bit for bit, into a file without pickles",
            self.convert,
        )
        self.export_button = self._button(
            "Export inspection…", "Write what was found as a web page, JSON or SARIF", self.export
        )
        self.compare_button = self._button(
            "Compare with…", "Show tensor by tensor where another checkpoint differs", self.compare
        )
        self.doctor_button = self._button(
            "Loader doctor…",
            "Try on labelled images what the file does not say (Ctrl+Shift+L)",
            self.ask_doctor,
        )
        self.head_button = self._button(
            "Save head…",
            "Write the linear head that the file holds beside its CLIP",
            self.save_head,
        )
        self.known_button = self._button(
            "Add to known files…", "Keep what you know of it, by its SHA-256", self.add_known
        )
        self.donor_button = self._button("Choose a donor…", "", self.choose_donor)
        self.donor_button.setProperty("primary", True)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(theme.SPACE_S)
        for column in (0, 1):
            self._grid.setColumnStretch(column, 1)
        self.busy = BusyRow("Progress of writing")
        self.busy.bar.setRange(0, _STEPS)
        self.busy.cancel_clicked.connect(self.cancel)
        self.words = Label("", "subtle", wrap=True)
        self.words.setMinimumWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_S)
        layout.addWidget(self.donor_button)
        layout.addLayout(self._grid)
        layout.addWidget(self.busy)
        layout.addWidget(self.words)
        self.set_inspection(None)
        self.busy.setVisible(False)

    def _button(self, text: str, tip: str, act: Callable[[], object]) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        button.clicked.connect(act)
        return button

    def set_inspection(self, found: Inspection | None) -> None:
        """Offer what can be done with a file; None while it is being read."""
        self._inspection = found
        self._has_head = self._loaded = False
        self.donor_button.hide()
        self._say("")
        self._refresh()

    def offer_head(self) -> None:
        """The file holds a linear head, which can be saved."""
        self._has_head = True
        self._refresh()

    def offer_doctor(self) -> None:
        """The model is loaded: its settings can be tried."""
        self._loaded = True
        self.donor_button.hide()
        self._refresh()

    def offer_donor(self, encoder: str) -> None:
        """Let the user name a whole CLIP for the encoder, image or text, that is not there."""
        self.donor_button.setText(f"Choose a donor of the {encoder} encoder…")
        self.donor_button.show()
        self.offered.emit()

    @property
    def can_convert(self) -> bool:
        """Whether there are tensors to write, and nothing is being written."""
        found = self._inspection
        return found is not None and not found.refused and self._work is None

    @property
    def can_compare(self) -> bool:
        """Whether there are tensors to compare."""
        return self._inspection is not None and not self._inspection.refused

    @property
    def can_ask_doctor(self) -> bool:
        """Whether there is a model whose settings can be tried."""
        return self._loaded

    @property
    def can_choose_donor(self) -> bool:
        """Whether the file lacks an encoder."""
        return not self.donor_button.isHidden()

    @property
    def can_save_head(self) -> bool:
        """Whether there is a linear head to write, and nothing is being written."""
        return self._has_head and self._work is None

    @property
    def can_add_known(self) -> bool:
        """Whether there is a file that can be told by its SHA-256."""
        return self._inspection is not None and bool(self._inspection.sha256)

    @property
    def can_export(self) -> bool:
        """Whether there is an inspection to write, and nothing is being written."""
        return self._inspection is not None and self._work is None

    @Slot()
    def convert(self) -> None:
        """Ask where to, and write the tensors there."""
        found = self._inspection
        if found is None or not self.can_convert:
            return
        name = str(found.path.with_name(f"{_stem(found)}-converted.safetensors"))
        chosen = self._prompts.save_file(self, "Convert to safetensors", name, SAFETENSORS)
        if not chosen:
            return
        target = _ending(Path(chosen))
        progress = self._progress = _Progress()
        progress.moved.connect(self._on_moved)

        def work(cancelled: Callable[[], bool]) -> Iterator[Path]:
            from ml_core.checkpoints.convert import convert_to_safetensors

            yield convert_to_safetensors(found, target, cancelled=cancelled, progress=progress.tell)

        self._begin(work, f"Writing {plain(target.name, 80)}…")

    @Slot()
    def export(self) -> None:
        """Ask where to, and write the inspection there; the name's ending is the format."""
        found = self._inspection
        if found is None or not self.can_export:
            return
        name = str(found.path.with_name(f"{_stem(found)}-inspection.html"))
        chosen = self._prompts.save_file(self, "Export inspection", name, _EXPORTS)
        if not chosen:
            return

        def work(cancelled: Callable[[], bool]) -> Iterator[Path]:
            from ml_core.checkpoints.export_inspection import export_inspection
            from ml_core.checkpoints.inspection_record import (
                ask_for_second_opinion,
                assess,
                inspection_record,
            )

            opinion = ask_for_second_opinion(found, cancelled)
            if not cancelled():
                yield export_inspection(inspection_record(assess(found), opinion), chosen)

        self._begin(work, f"Writing {plain(Path(chosen).name, 80)}…")

    @Slot()
    def save_head(self) -> None:
        """Ask where to, and write the linear head there."""
        found = self._inspection
        if found is None or not self.can_save_head:
            return
        name = str(found.path.with_name(f"{_stem(found)}-head.safetensors"))
        chosen = self._prompts.save_file(self, "Save head", name, SAFETENSORS)
        if not chosen:
            return
        target = _ending(Path(chosen))

        def work(cancelled: Callable[[], bool]) -> Iterator[Path]:
            from ml_core.checkpoints.save_head import save_head

            yield save_head(found, target)

        self._begin(work, f"Writing {plain(target.name, 80)}…")

    @Slot()
    def ask_doctor(self) -> None:
        """Ask for the dialog."""
        if self.can_ask_doctor:
            self.doctor_requested.emit()

    @Slot()
    def add_known(self) -> None:
        """Ask for the dialog."""
        if self.can_add_known:
            self.known_requested.emit()

    @Slot()
    def choose_donor(self) -> None:
        """Ask for the donor."""
        folder = str(self._inspection.path.parent) if self._inspection is not None else ""
        chosen = self._prompts.open_file(self, "Choose a donor", folder, CHECKPOINTS)
        if chosen:
            self.donor_chosen.emit(chosen)

    @Slot()
    def compare(self) -> None:
        """Ask for the other checkpoint."""
        if self._inspection is None or not self.can_compare:
            return
        folder = str(self._inspection.path.parent)
        chosen = self._prompts.open_file(self, "Compare with", folder, CHECKPOINTS)
        if chosen:
            self.compare_requested.emit(chosen)

    @Slot()
    def cancel(self) -> None:
        """Stop writing; nothing is left of it."""
        if self._work is not None:
            self._work.abandon()
            self._end("Cancelled; nothing was written.")

    def stop(self, timeout_ms: int) -> bool:
        """End what is being written when the window closes; whether it ended in time."""
        work, self._work = self._work, None
        return work is None or work.stop(timeout_ms)

    def _begin(self, work: Callable[[Callable[[], bool]], Iterator[object]], words: str) -> None:
        self._work = Background(work)
        self._work.yielded.connect(self._on_written)
        self._work.failed.connect(self._on_failed)
        self.busy.bar.setValue(0)
        self.busy.setVisible(True)
        self._say(words)
        self._refresh()
        self._work.begin()

    def _end(self, words: str) -> None:
        self._work = None
        self.busy.setVisible(False)
        self._say(words)
        self._refresh()

    @Slot(object)
    def _on_written(self, path: Path) -> None:
        if self.sender() is self._work:
            self._end(f"Saved {plain(path.name, 80)}.")
            self.saved.emit(path)

    @Slot(object)
    def _on_failed(self, error: InputError) -> None:
        if self.sender() is self._work:
            self._end("")
            self.failed.emit(error)

    @Slot(object)
    def _on_moved(self, step: int) -> None:
        if self.sender() is self._progress:
            self.busy.bar.setValue(step)

    def _say(self, words: str) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def _refresh(self) -> None:
        """Show only what can be done."""
        refused = self._inspection is not None and self._inspection.refused
        offered = (
            (self.convert_button, not refused, self.can_convert),
            (self.export_button, True, self.can_export),
            (self.compare_button, not refused, self.can_compare),
            (self.doctor_button, not refused, self.can_ask_doctor),
            (self.known_button, True, self.can_add_known),
            (self.head_button, self._has_head, self.can_save_head),
        )
        place = 0
        for button, there, enabled in offered:
            self._grid.removeWidget(button)
            button.setVisible(there)
            button.setEnabled(enabled)
            if there:
                self._grid.addWidget(button, place // 2, place % 2)
                place += 1
        self.offered.emit()


def _ending(path: Path) -> Path:
    """The path with the ending of what is written there."""
    if path.suffix.lower() == ".safetensors":
        return path
    return path.with_name(f"{path.name}.safetensors")


def _stem(found: Inspection) -> str:
    """The file's name without its ending, a folder's whole name."""
    return (
        found.path.stem if found.weights_path == found.path else found.path.name
    ) or "checkpoint"
