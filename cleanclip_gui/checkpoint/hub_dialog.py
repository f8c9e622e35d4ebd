"""Ask for a repository of the Hugging Face Hub, and show how far its download is."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QDialog, QLineEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.dialog_frame import field_form, frame, primary_button
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.text import bytes_text, plain

_LEAD = (
    "Config and weights go into the Hugging Face cache of this account; what is there already is "
    "not fetched again. Then the folder is examined as any other: nothing in it is run."
)
_PREFIX = "hf-hub:"


class HubDialog(QDialog):
    """``fetch_clicked(str)`` carries ``owner/name`` with ``@revision`` behind it if one is given;
    ``cancel_clicked`` and ``closed`` are the user's too."""

    fetch_clicked = Signal(str)
    cancel_clicked = Signal()
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Open from the Hugging Face Hub")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.name = QLineEdit()
        self.name.setPlaceholderText("owner/name")
        self.name.setAccessibleName("Repository, owner/name")
        self.name.textChanged.connect(self._refresh)
        self.revision = QLineEdit()
        self.revision.setPlaceholderText("main, a tag or a commit; empty for the newest")
        self.revision.setAccessibleName("Revision")
        form = field_form()
        form.addRow(Label("Repository", "field", buddy=self.name), self.name)
        form.addRow(Label("Revision", "field", buddy=self.revision), self.revision)
        self.busy = BusyRow("Progress of the download")
        self.busy.cancel_clicked.connect(self.cancel_clicked)
        self.state = Label("", "subtle", wrap=True)
        self.ok = primary_button("Download and open")
        self.ok.clicked.connect(self._on_accepted)
        lead = Label(_LEAD, "subtle", wrap=True)
        parts = (lead, form, self.busy, self.state, None)
        frame(self, "Open from the Hugging Face Hub", parts, self.ok, "Close")
        self.setFixedWidth(560)
        self.setMinimumHeight(330)
        self.busy.hide()
        self.state.hide()
        self._refresh()

    def show_running(self) -> None:
        """The download begins."""
        self._set_busy(True)
        self.busy.bar.setRange(0, 0)
        self._say("Asking the Hub…")

    def show_progress(self, done: int, total: int) -> None:
        """Bytes that arrived, of how many; 0 if that is unknown."""
        if self.busy.isHidden():
            return
        self.busy.bar.setRange(0, 1000 if total else 0)
        if total:
            self.busy.bar.setValue(min(1000, 1000 * done // total))
        of = f" of {bytes_text(total)}" if total else ""
        self._say(f"{bytes_text(done)}{of}")

    def show_ended(self, words: str, *, error: bool = False) -> None:
        """It ended without a folder: cancelled, or failed."""
        self._set_busy(False)
        self._say(words, "error" if error else "subtle")
        self.name.setFocus()

    def done(self, result: int) -> None:
        """Closed, by whatever way."""
        self.closed.emit()
        super().done(result)

    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 600))
        self.state.setVisible(bool(words))

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        for field in (self.name, self.revision):
            field.setEnabled(not busy)
        self._refresh()

    @Slot()
    def _refresh(self) -> None:
        owner, _, name = self.name.text().strip().removeprefix(_PREFIX).partition("/")
        self.ok.setEnabled(self.busy.isHidden() and bool(owner and name))

    @Slot()
    def _on_accepted(self) -> None:
        name = self.name.text().strip().removeprefix(_PREFIX)
        revision = self.revision.text().strip()
        self.fetch_clicked.emit(f"{name}@{revision}" if revision else name)
