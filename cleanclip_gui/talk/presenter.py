"""Presentation mode: the window as an audience should see it, and steered by a remote control."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import QMainWindow, QWidget

from cleanclip_gui.station import Context
from cleanclip_gui.talk.band import Band, facts
from cleanclip_gui.talk.guide import Guide
from cleanclip_gui.talk.keys import KeyFilter

_LINES = 52  # heights of the window in lines of the card, at which its type begins to grow


class _Curtain(QWidget):
    """Black over the whole window."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setAccessibleName("Blank screen; any key shows the window again")
        self.setCursor(Qt.CursorShape.BlankCursor)
        self.hide()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Black, whatever the theme."""
        QPainter(self).fillRect(self.rect(), QColor(0, 0, 0))


class Presenter(QObject):
    """Presents the talk of a guide: full screen, or in the window as it is.

    Whatever it hides is as before once it has ended, also when a step fails. ``changed`` tells
    that it begins, ends, or fills the screen, or no longer.

    Parameters
    ----------
    hidden
        Parts of the window that an audience need not see.
    """

    changed = Signal()

    def __init__(
        self, context: Context, window: QMainWindow, guide: Guide, hidden: Sequence[QWidget]
    ) -> None:
        super().__init__(window)
        self._session = context.session
        self._window, self._guide, self._hidden = window, guide, hidden
        self._shown_before: list[QWidget] = []
        self._state_before = Qt.WindowState.WindowNoState
        self.is_on = False
        self.band = Band()
        self.band.hide()
        self._curtain = _Curtain(window)
        self.keys = KeyFilter(guide.card.next, self)
        self.keys.pressed.connect(self._on_pressed)
        guide.ended.connect(self.leave)
        guide.failed.connect(self.leave)
        guide.changed.connect(self._show_facts)
        events = self._session.events
        for signal in (
            events.evaluation, events.prediction, events.station, events.run, events.run_progress,
            events.scan, events.scan_progress, events.role,
        ):  # fmt: skip
            signal.connect(self._on_session_change)

    @property
    def is_blank(self) -> bool:
        """Whether the screen is black."""
        return self.keys.any_key

    @property
    def fills_screen(self) -> bool:
        """Whether it presents on the full screen."""
        return self.is_on and self._window.isFullScreen()

    def enter(self, *, full_screen: bool) -> None:
        """Begin, or change between full screen and window."""
        if not self.is_on:
            self._state_before = self._window.windowState()
            self._shown_before = [part for part in self._hidden if not part.isHidden()]
            self.is_on = True
            for part in self._shown_before:
                part.hide()
            self.band.show()
            self._window.installEventFilter(self)
            self.keys.set_on(True)
        if full_screen:
            self._window.setWindowState(self._window.windowState() | _FULL)
        else:
            self._leave_full_screen()
        self._fit()
        self._show_facts()
        self._guide.focus()
        self.changed.emit()

    def leave(self) -> None:
        """End it, and show what was hidden."""
        if not self.is_on:
            return
        self.is_on = False
        self.keys.set_on(False)
        self._window.removeEventFilter(self)
        for own in (self._curtain, self.band):
            own.hide()
        self._guide.card.set_pixel_size(0)
        self._leave_full_screen()
        for part in self._shown_before:
            part.show()
        self._shown_before = []
        self.changed.emit()

    def set_blank(self, on: bool) -> None:
        """Make the screen black, or show the window again."""
        self.keys.any_key = on
        self._curtain.setGeometry(self._window.rect())
        self._curtain.setVisible(on)
        self._curtain.raise_()

    def _leave_full_screen(self) -> None:
        state = self._state_before & ~_FULL
        if self._window.windowState() & _FULL:
            self._window.setWindowState(state)

    def _on_pressed(self, act: str) -> None:
        """Do what a key of the remote says."""
        card = self._guide.card
        if act == "blank":
            self.set_blank(not self.is_blank)
        elif act == "next":
            card.next.click()
        elif act == "back":
            card.back.click()
        elif act == "first":
            self._guide.show_step(0)
        elif act == "show":
            self.enter(full_screen=True)
        elif self._window.isFullScreen():
            self._leave_full_screen()
            self.changed.emit()
        else:
            self._guide.end()

    def _on_session_change(self, *_: object) -> None:
        self._show_facts()

    def _show_facts(self) -> None:
        if self.is_on:
            self.band.show_facts(*facts(self._session, self._guide.recorded))

    def _fit(self) -> None:
        """Type of the band and of the card grows with the window."""
        height = self._window.height()
        self.band.fit(height)
        usual = self._window.fontInfo().pixelSize()
        self._guide.card.set_pixel_size(max(usual, height // _LINES))
        self._guide.place()
        self._curtain.setGeometry(self._window.rect())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the size of the window."""
        if event.type() == QEvent.Type.Resize:
            self._fit()
        return False


_FULL = Qt.WindowState.WindowFullScreen
