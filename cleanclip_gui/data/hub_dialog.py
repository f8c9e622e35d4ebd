"""Fetch a repository of the Hugging Face Hub: which one, and how far its download is."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.jobs import tasks
from cleanclip_gui.ticket import Ticket, TicketProgress
from cleanclip_gui.widgets.controls import BusyRow, Label, Note, named
from cleanclip_gui.widgets.dialog_frame import ClosingDialog, field_form, frame, primary_button
from cleanclip_gui.widgets.text import bytes_text, plain

_LEAD = (
    "Config and weights are downloaded into your Hugging Face cache; files already there are not "
    "downloaded again. Then the folder is checked like any other: nothing in it is run."
)
_OFF = "The Hugging Face Hub is switched off; switch it on under Edit, Preferences."
_PREFIX = "hf-hub:"


class HubDialog(ClosingDialog):
    """``fetched(str)`` carries the folder, which is then examined. Closing ends the download.

    Parameters
    ----------
    name
        The repository that is proposed.
    ok
        What the button is called that fetches it.
    allowed
        Whether the Hub may be asked; if not, the dialog says where to switch it on.
    """

    fetched = Signal(str)

    def __init__(
        self,
        parent: QWidget | None = None,
        *,
        name: str = "",
        ok: str = "Download and open",
        allowed: bool = True,
    ) -> None:
        super().__init__("Open from the Hugging Face Hub", parent)
        self._ticket = Ticket.closed()
        self._allowed = allowed
        self.name = named(QLineEdit(name), "Repository, owner/name")
        self.name.setPlaceholderText("owner/name")
        self.name.textChanged.connect(self._refresh)
        self.revision = named(QLineEdit(), "Revision")
        self.revision.setPlaceholderText("main, a tag or a commit; empty for the newest")
        form = field_form()
        form.addRow(Label("Repository", "field", buddy=self.name), self.name)
        form.addRow(Label("Revision", "field", buddy=self.revision), self.revision)
        self.busy = BusyRow("Progress of the download", self.cancel)
        self.state = Note("subtle")
        self.ok = primary_button(ok, self.fetch)
        parts = (Label(_LEAD, "subtle", wrap=True), form, self.busy, self.state, None)
        frame(self, "Open from the Hugging Face Hub", parts, self.ok, "Close")
        self.setFixedWidth(theme.px(560))
        self.setMinimumHeight(theme.px(330))
        self.busy.hide()
        self._say("" if allowed else _OFF, "error")
        self._refresh()

    def fetch(self) -> None:
        """Bring the repository into the cache."""
        name = self.name.text().strip().removeprefix(_PREFIX)
        revision = self.revision.text().strip()
        source = f"{_PREFIX}{name}@{revision}" if revision else f"{_PREFIX}{name}"

        def work(control: tasks.TaskControl) -> str:
            from ml_core.checkpoints.hub import fetch

            def tell(done: int, total: int) -> None:
                control.tell(TicketProgress(done, total))

            return str(fetch(source, tell, control.cancelled).path)

        self._set_busy(True)
        self.busy.show_share(None)
        self._say("Asking the Hub…")
        self._ticket = tasks.run(
            work, self._on_fetched, lambda error: self._end(error.sentence, error=True),
            on_progress=self._on_progress,
        )  # fmt: skip

    def cancel(self) -> None:
        """Let it go; what has arrived stays in the cache and is not fetched again."""
        self._ticket.cancel()
        self._end("Cancelled; the next download continues where this one stopped.")

    def done(self, result: int) -> None:
        """Cancel what is going on when the dialog closes, by a button, a key or its frame."""
        self._ticket.cancel()
        super().done(result)

    def _on_fetched(self, path: str) -> None:
        self.accept()
        self.fetched.emit(path)

    def _on_progress(self, progress: TicketProgress) -> None:
        """Bytes that arrived, of how many; 0 if that is unknown."""
        done, total = progress.done, progress.total
        self.busy.show_share(min(1.0, progress.share) if total else None)
        of = f" of {bytes_text(total)}" if total else ""
        self._say(f"{bytes_text(done)}{of}")

    def _end(self, words: str, *, error: bool = False) -> None:
        """It ended without a folder: cancelled, or failed."""
        self._set_busy(False)
        self._say(words, "error" if error else "subtle")
        self.name.setFocus()

    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 600))

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        for field in (self.name, self.revision):
            field.setEnabled(not busy)
        self._refresh()

    def _refresh(self) -> None:
        owner, _, name = self.name.text().strip().removeprefix(_PREFIX).partition("/")
        self.ok.setEnabled(self._allowed and self.busy.isHidden() and bool(owner and name))
