"""Every label of the window: text from a file is never taken for markup."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget


class Label(QLabel):
    """Shows text as it is; ``role`` is the style sheet's, ``buddy`` what the label names."""

    def __init__(
        self, text: str = "", role: str = "", *, wrap: bool = False, buddy: QWidget | None = None
    ) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(text)
        self.setWordWrap(wrap)
        if role:
            self.setProperty("role", role)
        if buddy is not None:
            self.setBuddy(buddy)
