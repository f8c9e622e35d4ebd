"""The speaker's own window: notes, clock, time since the beginning, and what comes next."""

from __future__ import annotations

import time

from PySide6.QtCore import QDateTime, QElapsedTimer, QLocale, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QMainWindow, QPushButton, QScrollArea, QWidget

from cleanclip_gui import theme
from cleanclip_gui.talk.guide import Guide
from cleanclip_gui.widgets.controls import Label, named, push_button
from cleanclip_gui.widgets.layout import column

_TICK_MS = 500


class SpeakerWindow(QWidget):
    """A plain window, on another screen if there is one. ``guide`` is what it follows."""

    def __init__(self, guide: Guide, window: QMainWindow) -> None:
        super().__init__(window, Qt.WindowType.Window)
        self.setWindowTitle("Speaker's notes \N{EN DASH} CleanCLIP GUI")
        self.setObjectName("talk.speaker")
        self._guide, self._of = guide, window
        self._since = QElapsedTimer()
        self.clock, self.elapsed = Label("", "title"), Label("", "title")
        self.step, self.next = Label("", "title", wrap=True), Label("", "heading", wrap=True)
        self.says = Label("", "subtle", wrap=True)
        self.notes = Label("", wrap=True)
        self.notes.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        font = self.notes.font()
        font.setPointSizeF(1.4 * font.pointSizeF())
        self.notes.setFont(font)
        self.back, self.forward = QPushButton("Back"), QPushButton("Next")
        self.forward.setProperty("primary", True)
        self.restart = push_button("Restart the time", self._on_restart_clicked)
        self.back.clicked.connect(guide.card.back.click)
        self.forward.clicked.connect(guide.card.next.click)
        self._tick = QTimer(self, interval=_TICK_MS)
        self._tick.timeout.connect(self._show_time)
        self._lay_out()
        guide.changed.connect(self._follow)
        guide.ended.connect(self._follow)
        self._follow()

    def _lay_out(self) -> None:
        scroll = named(QScrollArea(), "Notes")
        scroll.setWidgetResizable(True)
        page = QWidget()
        page.setObjectName("page")
        column((self.notes, 1), of=page, margins=None)
        scroll.setWidget(page)
        head, foot = QHBoxLayout(), QHBoxLayout()
        head.addWidget(self.step, 1)
        head.addWidget(self.clock)
        head.addSpacing(theme.SPACE_L)
        head.addWidget(self.elapsed)
        foot.addWidget(self.next, 1)
        for button in (self.restart, self.back, self.forward):
            foot.addWidget(button)
        column(head, self.says, (scroll, 1), foot, of=self, margins=theme.SPACE_L)
        self.resize(40 * self.fontMetrics().height(), 26 * self.fontMetrics().height())

    def start_time(self) -> None:
        """Count from now."""
        self._since.start()
        self._show_time()

    def place(self) -> None:
        """Stand on a screen where the main window is not, if there is one."""
        mine = self._of.screen()
        others = [screen for screen in QGuiApplication.screens() if screen is not mine]
        if others:
            area = others[0].availableGeometry()
            self.move(area.center() - self.rect().center())

    def _on_restart_clicked(self) -> None:
        self.start_time()

    def _follow(self) -> None:
        """Show the step's notes, and whether Next can be pressed."""
        guide, step, ahead = self._guide, self._guide.step, self._guide.next_step
        card = guide.card
        if step is None:
            self.step.setText("No talk is on")
            for label in (self.says, self.notes, self.next):
                label.setText("")
        else:
            self.step.setText(f"{guide.position + 1} of {len(guide.steps)}: {step.title}")
            self.says.setText(card.accessibleDescription())
            self.notes.setText(step.notes or "No notes for this step.")
            self.next.setText(f"Next: {ahead.title}" if ahead else "Next: the end")
        self.forward.setText(card.next.text())
        self.forward.setEnabled(step is not None and card.next.isEnabled())
        self.back.setEnabled(step is not None and card.back.isEnabled())

    def _show_time(self) -> None:
        now = QDateTime.currentDateTime().time()
        self.clock.setText(QLocale().toString(now, QLocale.FormatType.ShortFormat))
        seconds = self._since.elapsed() // 1000 if self._since.isValid() else 0
        self.elapsed.setText(time.strftime("%H:%M:%S", time.gmtime(seconds)))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """The time runs while it is seen."""
        if not self._since.isValid():
            self.start_time()
        self._show_time()
        self._tick.start()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """A hidden clock need not tick."""
        self._tick.stop()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """It can be shown again."""
        self._tick.stop()
        event.accept()
