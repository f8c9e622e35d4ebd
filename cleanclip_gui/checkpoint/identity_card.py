"""Which CLIP is this? The file on show beside the files whose tensors this machine knows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QPushButton, QWidget

from cleanclip_gui import theme, threads
from cleanclip_gui.commands import Actions
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Callback, Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, bind, push_button
from cleanclip_gui.widgets.folding_row import FoldingRow
from cleanclip_gui.widgets.layout import column
from cleanclip_gui.widgets.text import fitting, plain
from ml_core.checkpoints.known import KnownFile
from ml_core.reading import InputError, Inspection

if TYPE_CHECKING:
    from ml_core.checkpoints.identity import Identity
    from ml_core.checkpoints.tensor_hashes import TensorHash

_HINT = (
    "Compare every tensor with those of the files that this machine knows. The whole file is read."
)


class IdentityCard(QFrame):
    """Hidden while there are no tensors to look at.

    ``compare_clicked(str)`` carries the path of the known file that the one on show differs from;
    ``failed`` carries an InputError; ``changed``: it can identify, or not; ``added``: the file on
    show is known from now on.

    Parameters
    ----------
    actions
        With that of ``file.identify``.
    """

    compare_clicked = Signal(str)
    failed = Signal(object)
    changed = Signal()
    added = Signal()

    def __init__(self, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAccessibleName("Which CLIP is this?")
        self._inspection: Inspection | None = None
        self._reference = ""
        self._hashes: tuple[TensorHash, ...] = ()
        self._ticket = Ticket.closed()
        self.text = Label(_HINT, wrap=True, selectable=True)
        self.busy = BusyRow("Progress of reading the tensors", self.cancel)
        self.progress = Label("", "caption", wrap=True)
        self.progress.setMinimumWidth(1)
        self.identify_button = bind(QPushButton(), actions["file.identify"])
        self.identify_button.setText("Identify")
        self.compare = push_button(
            "Compare with it", lambda: self.compare_clicked.emit(self._reference),
            tip="Show tensor by tensor where the known file differs.",
        )  # fmt: skip
        known = bind(QPushButton(), actions["file.known"], text=True)
        column(
            Label("Which CLIP is this?", "heading"), self.text, self.progress, self.busy,
            FoldingRow(self.identify_button, self.compare, known),
            of=self, margins=theme.SPACE_L, spacing=theme.SPACE_S,
        )  # fmt: skip
        self.set_file(None)

    def set_file(self, inspection: Inspection | None) -> None:
        """Take another file; nothing of the one before is shown any more."""
        self._ticket.cancel()
        has_tensors = inspection is not None and not inspection.refused
        self._inspection = inspection if has_tensors else None
        self._reference, self._hashes = "", ()
        self._say(_HINT)
        self.setVisible(has_tensors)

    def can_identify(self) -> bool:
        """Whether there are tensors, and they are not being read."""
        return self._inspection is not None and not self._ticket.is_open

    def identify(self) -> None:
        """Read the tensors, and say which known files hold them."""
        inspection = self._inspection
        if inspection is None or not self.can_identify():
            return

        def work(control: tasks.TaskControl) -> Iterator[Identity]:
            from ml_core.checkpoints.identity import identify

            yield from identify(inspection, partial(_tell, control), control.cancelled)

        self._begin(work, self._on_identified, threads.READING_MS)

    def add(self, entry: KnownFile) -> None:
        """Add an entry to the user's list, and the tensors of the file on show under it."""
        inspection, hashes = self._inspection, self._hashes
        if inspection is None or not self.can_identify():
            return

        def work(control: tasks.TaskControl) -> str:
            from ml_core.checkpoints.known_tensors import add_known_file
            from ml_core.checkpoints.tensor_hashes import hash_tensors

            read = hashes or hash_tensors(inspection, partial(_tell, control), control.cancelled)
            title = add_known_file(entry, inspection, read).title
            return f"Its {len(read)} tensors are known from now on, as {title}."

        self._begin(work, self._on_added, threads.CLOSING_MS)

    def _begin(self, work: tasks.Work, on_result: Callback, closing_ms: int) -> None:
        """Do work that reads the tensors."""
        self._reference = ""
        self._ticket = tasks.run(
            work, on_result, self._on_failed,
            on_progress=self._on_progress, on_done=self._follow, closing_ms=closing_ms,
        )  # fmt: skip
        self.progress.setText("Reading the tensors…")
        self._follow()

    def cancel(self) -> None:
        """Stop reading."""
        self._ticket.cancel()
        self._follow()

    def _on_identified(self, identity: Identity) -> None:
        self._hashes = identity.hashes
        self._reference = "" if identity.reference is None else identity.reference.path
        self._say("\n".join(identity.sentences))

    def _on_added(self, words: str) -> None:
        self._say(words)
        self.added.emit()

    def _on_failed(self, error: InputError) -> None:
        self._follow()
        self.failed.emit(error.titled("Could not look at the tensors"))

    def _on_progress(self, progress: TicketProgress) -> None:
        self.busy.show_share(progress.share if progress.total else None)
        self.progress.setText(fitting(f"{plain(progress.what, 200)}…"))

    def _say(self, words: str) -> None:
        shown = plain(words, 4000, lines=True)
        self.text.setText("\n".join(map(fitting, shown.split("\n"))))
        self.setAccessibleDescription(shown)
        self._follow()

    def _follow(self) -> None:
        """Show the buttons for what is on show."""
        for widget in (self.progress, self.busy):
            widget.setVisible(self._ticket.is_open)
        self.compare.setVisible(bool(self._reference))
        self.changed.emit()


def _tell(control: tasks.TaskControl, what: str, done: int, total: int) -> None:
    control.tell(TicketProgress(done, total, what))
