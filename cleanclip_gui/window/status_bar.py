"""The status bar: what is going on, the running job, the device; and the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QComboBox, QProgressBar, QStatusBar, QWidget

from cleanclip_gui import theme
from cleanclip_gui.widgets.controls import ElidedLabel, Label, named, push_button, text_field
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import device_text, plain

_NEWS_MS = 10_000


class StatusBar(QStatusBar):
    """The status bar; ``device_chosen(str)`` carries the device that the user picked."""

    device_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, sizeGripEnabled=False)
        self.setContentsMargins(theme.SPACE_S, 2, theme.SPACE_S, 2)
        self.busy, self.news = Label("", "subtle"), ElidedLabel("", "subtle")
        self._news_over = QTimer(self, singleShot=True, interval=_NEWS_MS)
        self._news_over.timeout.connect(self.news.clear)
        self.job = Label()
        self.progress = named(QProgressBar(), "Progress of the running job")
        self.progress.setFixedWidth(theme.px(140))
        self.progress.setTextVisible(False)
        self.progress.setRange(0, 1000)
        self.device = named(QComboBox(), "Device")
        self.device.setProperty("quiet", True)
        self._held = self._speed = ""
        self.device.setMinimumContentsLength(4)
        self.device.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.device.activated.connect(self._on_activated)
        self.addWidget(self.busy)
        self.addWidget(self.news, 1)
        for widget in (self.job, self.progress, self.device):
            self.addPermanentWidget(widget)
        self.device.hide()  # until it is known what there is
        self.hold_device("")
        self.set_job("", 0.0)

    def set_job(self, text: str, fraction: float) -> None:
        """Show the running job and how far it is, or the step of *Clean it*; no text is no job."""
        self.job.setText(text)
        self.job.setVisible(bool(text))
        self.progress.setVisible(bool(text))
        self.progress.setValue(round(1000 * min(max(fraction, 0.0), 1.0)))

    def say(self, text: str) -> None:
        """Show for a while what has just happened; the log keeps it."""
        self.news.setText(plain(text, 400))
        self._news_over.start()

    def set_speed(self, speed: str) -> None:
        """Say which arithmetic and layout are used there."""
        self._speed = speed
        self.hold_device(self._held)

    def set_devices(self, names: Sequence[str], current: str) -> None:
        """Offer the devices that were found."""
        self.device.clear()
        for name in names:
            self.device.addItem(theme.icon("device", "muted"), device_text(name), name)
        self.device.setCurrentIndex(max(self.device.findData(current), 0))
        self.hold_device(self._held)
        self.device.show()

    def set_device(self, name: str) -> None:
        """Show which device is in use."""
        index = self.device.findData(name)
        if index >= 0:
            self.device.setCurrentIndex(index)

    def hold_device(self, reason: str) -> None:
        """Forbid changing the device and show why; empty allows it again."""
        self._held = reason
        self.device.setEnabled(self.device.count() > 1 and not reason)
        self.device.setToolTip(reason or f"Where models are run. {self._speed}".strip())
        self.device.setAccessibleDescription(reason)

    def _on_activated(self, index: int) -> None:
        self.device_chosen.emit(self.device.itemData(index))


_MAX_LINES = 5000
_COLOURS = {"warning": "warning", "error": "danger", "critical": "danger"}


class LogPane(theme.Themed, QWidget):
    """Shows what happened; keeps the last 5000 lines."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: deque[tuple[str, str]] = deque(maxlen=_MAX_LINES)
        self.view = text_field("Log")
        self.view.setMaximumBlockCount(_MAX_LINES)
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
        how = f"{level}: " if level in _COLOURS else ""
        line = f"{stamp}  {how}{plain(text, 20_000, lines=True)}"
        self._lines.append((level, line))
        self._write(level, line)

    def dress(self) -> None:
        """Write everything again in the colours of the new theme."""
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
