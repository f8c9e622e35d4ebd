"""What the analyst writes down about a session."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QPlainTextEdit, QWidget

from cleanclip_gui.widgets.dialog_frame import frame, primary_button, resize_within
from cleanclip_gui.widgets.label import Label, named

MOST = 200_000


class NotesDialog(QDialog):
    """A text field; accepted, ``text`` is what stands in it."""

    def __init__(self, notes: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Notes")
        self.edit = named(QPlainTextEdit(notes), "Notes")
        self.edit.setTabChangesFocus(True)
        self.edit.setPlaceholderText("Where the checkpoint is from, what you suspect, what is next")
        says = Label(
            "Plain text or Markdown. The notes are saved with the session; a report holds them "
            "only if you ask for that.",
            "subtle",
            wrap=True,
        )
        ok = primary_button("Keep")
        ok.clicked.connect(self.accept)
        frame(self, "Notes", [says, self.edit], ok)
        resize_within(self, 620, 420)
        self.edit.setFocus()

    @property
    def text(self) -> str:
        """What stands in the field."""
        return self.edit.toPlainText()[:MOST]
