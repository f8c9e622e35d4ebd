"""The log, as lines that can be selected and copied."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Slot
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from cleanclip_gui import theme
from cleanclip_gui.text import plain

_MAX_LINES = 5000
_COLOURS = {"warning": "warning", "error": "danger", "critical": "danger"}


class LogPane(QWidget):
    """Shows what happened; keeps the last 5000 lines."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.view = QPlainTextEdit()
        self.view.setReadOnly(True)
        self.view.setAccessibleName("Log")
        self.view.setMaximumBlockCount(_MAX_LINES)
        self.view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.view.setTabChangesFocus(True)
        copy = QPushButton("Copy all")
        copy.setProperty("quiet", True)
        copy.clicked.connect(self.copy_all)
        clear = QPushButton("Clear")
        clear.setAccessibleName("Clear the log")
        clear.setProperty("quiet", True)
        clear.clicked.connect(self.view.clear)
        side = QVBoxLayout()
        side.addWidget(copy)
        side.addWidget(clear)
        side.addStretch()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.SPACE_M, theme.SPACE_S, theme.SPACE_S, theme.SPACE_S)
        layout.addWidget(self.view, 1)
        layout.addLayout(side)
        self.setMinimumHeight(110)

    @Slot(str, str)
    def add(self, level: str, text: str) -> None:
        """Append one message; stays at the end unless the reader scrolled up."""
        bar = self.view.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        form = QTextCharFormat()
        form.setForeground(theme.colour(_COLOURS.get(level, "text")))
        cursor = QTextCursor(self.view.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        if not self.view.document().isEmpty():
            cursor.insertBlock()
        stamp = datetime.now().strftime("%H:%M:%S")
        cursor.insertText(f"{stamp}  {plain(text, 20_000, lines=True)}", form)
        if at_end:
            bar.setValue(bar.maximum())

    @Slot()
    def copy_all(self) -> None:
        """Put the whole log on the clipboard."""
        cursor = self.view.textCursor()
        self.view.selectAll()
        self.view.copy()
        self.view.setTextCursor(cursor)

    def text(self) -> str:
        """Return the whole log."""
        return self.view.toPlainText()
