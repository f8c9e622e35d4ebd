"""The log, as lines that can be selected and copied."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from PySide6.QtCore import QEvent
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.label import named
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain

_MAX_LINES = 5000
_COLOURS = {"warning": "warning", "error": "danger", "critical": "danger"}


class LogPane(QWidget):
    """Shows what happened; keeps the last 5000 lines."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: deque[tuple[str, str]] = deque(maxlen=_MAX_LINES)
        self.view = named(QPlainTextEdit(), "Log")
        self.view.setReadOnly(True)
        self.view.setMaximumBlockCount(_MAX_LINES)
        self.view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.view.setTabChangesFocus(True)
        copy = push_button("Copy all", self.copy_all, look="quiet")
        clear = push_button("Clear", self.clear, name="Clear the log", look="quiet")
        row(
            (self.view, 1), column(copy, clear, None),
            of=self, margins=(theme.SPACE_M, theme.SPACE_S, theme.SPACE_S, theme.SPACE_S),
        )  # fmt: skip
        self.setMinimumHeight(theme.px(110))

    def add(self, level: str, text: str) -> None:
        """Append one message; stays at the end unless the reader scrolled up."""
        stamp = datetime.now().strftime("%H:%M:%S")
        line = f"{stamp}  {plain(text, 20_000, lines=True)}"
        self._lines.append((level, line))
        self._write(level, line)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Write everything again in the colours of the new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.view.clear()
            for level, line in self._lines:
                self._write(level, line)

    def _write(self, level: str, line: str) -> None:
        bar = self.view.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        form = QTextCharFormat()
        form.setForeground(theme.colour(_COLOURS.get(level, "text")))
        cursor = QTextCursor(self.view.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        if not self.view.document().isEmpty():
            cursor.insertBlock()
        cursor.insertText(line, form)
        if at_end:
            bar.setValue(bar.maximum())

    def clear(self) -> None:
        """Forget every line."""
        self._lines.clear()
        self.view.clear()

    def copy_all(self) -> None:
        """Put the whole log on the clipboard."""
        cursor = self.view.textCursor()
        self.view.selectAll()
        self.view.copy()
        self.view.setTextCursor(cursor)

    def text(self) -> str:
        """Return the whole log."""
        return self.view.toPlainText()
