"""Convert, export and save an inspected file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QRadioButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.threads import CLOSING_MS
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import TICK, BusyRow, Label
from cleanclip_gui.widgets.dialog_frame import FittedDialog, frame, primary_button
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.prompts import Prompts, ask_safetensors
from cleanclip_gui.widgets.text import plain
from ml_core.reading import InputError, Inspection
from ml_core.reading.errors import CancelledError

_LEAD = (
    "Neither kind of file contains a pickle. The original is not changed, and nothing in it is run."
)
_OPEN_CLIP = (
    "The model alone, with the names that open_clip loads. Optimizer state and everything else "
    "in the file are left out."
)
_AS_IS = "Every tensor under its own name, bit for bit. Other programs may not know the names."


class ConvertDialog(FittedDialog):
    """Two choices; ``chosen(bool)`` is true for an exact copy.

    Parameters
    ----------
    name
        Name of the checkpoint.
    problem
        Why no model can be made of it, as a sentence; empty if one can.
    """

    chosen = Signal(bool)

    def __init__(self, name: str, problem: str = "", parent: QWidget | None = None) -> None:
        super().__init__("Convert to safetensors", parent)
        self.open_clip = QRadioButton("For open_clip (recommended)")
        self.as_is = QRadioButton("Exact copy of all tensors")
        self.open_clip.setEnabled(not problem)
        (self.as_is if problem else self.open_clip).setChecked(True)
        why = f"Not possible for this file: {problem}" if problem else _OPEN_CLIP
        self.why = Label(plain(why, 600), "subtle", wrap=True)
        copied = Label(_AS_IS, "subtle", wrap=True)
        for button, words in ((self.open_clip, self.why), (self.as_is, copied)):
            button.setAccessibleDescription(words.text())
            words.setIndent(theme.px(TICK))
        self.ok = primary_button("Choose where to save…", self._on_accepted)
        parts = (Label(_LEAD, wrap=True), self.open_clip, self.why, self.as_is, copied)
        frame(self, f"Convert {plain(name, 80)}", parts, self.ok)
        self.resize(560, 0)

    def _on_accepted(self) -> None:
        self.accept()
        self.chosen.emit(self.as_is.isChecked())


_EXPORTS = "Web page (*.html);;JSON (*.json);;SARIF 2.1.0 (*.sarif)"


class FileWriter(QObject):
    """Writes the contents of an inspected file to a new file in a thread, one at a time.

    ``state_changed(str)`` says in a sentence what goes on or has come of it, ``progressed`` how
    far it is, from 0 to 1. ``failed`` carries an InputError, ``saved`` the path of the file.

    Parameters
    ----------
    prompts
        Ask where to.
    parent
        Their dialogs stand above it.
    """

    state_changed = Signal(str)
    progressed = Signal(float)
    failed = Signal(object)
    saved = Signal(object)

    def __init__(self, prompts: Prompts, parent: QWidget) -> None:
        super().__init__(parent)
        self._prompts, self._parent = prompts, parent
        self._inspection: Inspection | None = None
        self._has_head = False
        self._problem = self._donor = ""
        self._ticket = Ticket.closed()
        self.dialog: ConvertDialog | None = None

    def set_file(self, inspection: Inspection | None, *, has_head: bool = False) -> None:
        """Take the file; ``has_head`` if it holds a linear head beside its CLIP."""
        self._inspection, self._has_head = inspection, has_head
        self._problem = self._donor = ""
        if self.dialog is not None:
            self.dialog.reject()
        if not self.is_busy:
            self.state_changed.emit("")

    def set_model(self, problem: str, donor: str = "") -> None:
        """Take why no model is made of the file (empty if one is), and its donor's path."""
        self._problem, self._donor = problem, donor

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return self._ticket.is_open

    def can_convert(self) -> bool:
        """Whether there are tensors to write, and nothing is being written."""
        return self._inspection is not None and not self._inspection.refused and not self.is_busy

    def can_export(self) -> bool:
        """Whether there is an inspection to write, and nothing is being written."""
        return self._inspection is not None and not self.is_busy

    def can_save_head(self) -> bool:
        """Whether there is a linear head to write, and nothing is being written."""
        return self._has_head and not self.is_busy

    def convert(self) -> None:
        """Ask for the model or an exact copy, and where to; then write it."""
        inspection = self._inspection
        if inspection is None or not self.can_convert():
            return
        self.dialog = ConvertDialog(inspection.name, self._problem, self._parent)
        self.dialog.chosen.connect(self._convert)
        self.dialog.finished.connect(self._on_dialog_finished)
        self.dialog.open()

    def _on_dialog_finished(self) -> None:
        self.dialog = None

    def _convert(self, as_is: bool) -> None:
        """Ask where to, and write the model for open_clip or every tensor there."""
        donor = self._donor

        def write(inspection: Inspection, target: Path, control: tasks.TaskControl) -> Path:
            from ml_core.checkpoints.convert import convert_to_open_clip, convert_to_safetensors

            def tell(done: int, total: int) -> None:
                control.tell(TicketProgress(done, total))

            if as_is:
                return convert_to_safetensors(
                    inspection, target, cancelled=control.cancelled, progress=tell
                )
            converted = convert_to_open_clip(
                inspection, target, donor=donor or None, cancelled=control.cancelled, progress=tell
            )
            return converted.path

        self._write("Convert to safetensors", "converted.safetensors", write)

    def export(self) -> None:
        """Ask where to, and write the inspection there; the name's ending is the format."""

        def write(inspection: Inspection, target: Path, control: tasks.TaskControl) -> Path:
            from ml_core.checkpoints.inspection_record import (
                ask_for_second_opinion,
                assess,
                inspection_record,
            )
            from ml_core.reports.inspection_exports import export_inspection
            from ml_core.signing import check_checkpoint

            opinion = ask_for_second_opinion(inspection, control.cancelled)
            if control.cancelled():
                raise CancelledError
            signature = check_checkpoint(inspection, cancelled=control.cancelled)
            signed = None if signature is None else signature.to_dict()
            record = inspection_record(assess(inspection), opinion, signed)
            return export_inspection(record, str(target))

        self._write("Export inspection", "inspection.html", write)

    def save_head(self) -> None:
        """Ask where to, and write the linear head there."""

        def write(inspection: Inspection, target: Path, _: tasks.TaskControl) -> Path:
            from ml_core.checkpoints.write_safetensors import save_head

            return save_head(inspection, target)

        self._write("Save head", "head.safetensors", write)

    def cancel(self) -> None:
        """Stop writing; nothing is left of it."""
        if self.is_busy:
            self._ticket.cancel()
            self.state_changed.emit("Cancelled; nothing was written.")

    def _write(
        self, title: str, name: str, write: Callable[[Inspection, Path, tasks.TaskControl], Path]
    ) -> None:
        """Ask where to, proposing the file's own name with ``name`` behind it, and write there."""
        inspection = self._inspection
        if inspection is None or self.is_busy:
            return
        proposed = str(inspection.source.with_name(f"{_stem(inspection)}-{name}"))
        if name.endswith(".html"):
            chosen = self._prompts.save_file(self._parent, title, proposed, _EXPORTS)
            target = Path(chosen) if chosen else None
        else:
            target = ask_safetensors(self._prompts, self._parent, title, proposed)
        if target is None:
            return
        self._ticket = tasks.run(
            partial(write, inspection, target), self._on_written, self._on_failed,
            on_progress=self._on_progress, closing_ms=CLOSING_MS,
        )  # fmt: skip
        self.progressed.emit(0.0)
        self.state_changed.emit(f"Writing {plain(target.name, 80)}…")

    def _on_written(self, path: Path) -> None:
        self.state_changed.emit(f"Saved {plain(path.name, 80)}.")
        self.saved.emit(path)

    def _on_failed(self, error: InputError) -> None:
        self.state_changed.emit("")
        self.failed.emit(error.titled("Could not write the file"))

    def _on_progress(self, progress: TicketProgress) -> None:
        self.progressed.emit(progress.share)


class WritingRow(QWidget):
    """What the writer does or did; while a file is written, a bar and Cancel."""

    def __init__(self, writer: FileWriter, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._writer = writer
        self.busy = BusyRow("Progress of writing", writer.cancel)
        self.words = Label("", "subtle", wrap=True)
        self.words.setMinimumWidth(1)
        column(self.busy, self.words, of=self, spacing=theme.SPACE_S)
        writer.state_changed.connect(self._on_state_changed)
        writer.progressed.connect(self.busy.show_share)
        self._on_state_changed("")

    def _on_state_changed(self, words: str) -> None:
        self.busy.setVisible(self._writer.is_busy)
        self.words.setText(words)
        self.setVisible(bool(words))


def _stem(inspection: Inspection) -> str:
    """The file's name without its ending, a folder's whole name, and the part's."""
    source = inspection.source
    name = source.stem if inspection.weights_path == source else source.name
    part = Path(inspection.part).stem
    return (f"{name}-{part}" if part else name) or "checkpoint"
