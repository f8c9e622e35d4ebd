"""The window's layout, and closing it while something runs: ask, cancel, close when it ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QDeadlineTimer, QObject, QSize, Qt, QTimer, Slot

from cleanclip_gui.session import RunState
from cleanclip_gui.session.records import is_live

if TYPE_CHECKING:
    from cleanclip_gui.window.main_window import MainWindow

_LOG = logging.getLogger(__name__)
_LIMIT_MS = 5000
# Readers beside the window hold nothing that could be lost, and hashing cannot be interrupted:
# the program ends without them.
_READERS_MS = 300
_FIRST_SIZE, _FRAME = (1366, 768), 48
_RUN = ("A cleaning run is going on.", "Its last save is kept.")
_AUDIT = ("An audit of training pairs is going on.", "The next audit finds what was embedded.")
_ALPHA = ("An alpha is being measured or saved.", "The run's result stays as it is.")
_SAVING = ("A file is being saved.", "What it would write over, and the run's own file, stay.")
_TEST_KEEPS = "It begins anew the next time."


def has_room(screen: QSize) -> bool:
    """Whether the window at its first size fits on a screen together with its frame."""
    return screen.width() >= _FIRST_SIZE[0] + _FRAME and screen.height() >= _FIRST_SIZE[1] + _FRAME


class Closing(QObject):
    """Knows whether the window may go; at most five seconds after it was told to."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._on = False
        self._limit = QTimer(self)
        self._limit.setSingleShot(True)
        self._limit.setInterval(_LIMIT_MS)
        self._limit.timeout.connect(self._on_limit)
        window.session.events.run.connect(self._on_run_change)

    def restore(self) -> None:
        """Bring back the geometry and the docks of the last time."""
        window = self._window
        geometry, state = window.settings.layout()
        if not geometry or not window.restoreGeometry(QByteArray(geometry)):
            window.resize(*_FIRST_SIZE)
            if not has_room(window.screen().availableSize()):
                window.setWindowState(Qt.WindowState.WindowMaximized)
        if state:
            window.restoreState(QByteArray(state))

    def may_close(self) -> bool:
        """Whether nothing runs; asks, and cancels it, if something does.

        A run is waited for with the window on screen; what else runs ends within its limit.
        """
        window, clean = self._window, self._window.clean
        live = is_live(window.session.run)
        if self._on:
            return not live or not window.isVisible()
        if not clean.auditing.may_lose_marks("Quit", "Quit"):
            return False
        going_on = self._going_on()
        if not going_on:
            return True
        it = "it" if len(going_on) == 1 else "them"
        said, kept = (" ".join(parts) for parts in zip(*going_on, strict=True))
        question = f"{said} Cancel {it} and quit? {kept}"
        if not window.prompts.confirm(window, "Quit", question, f"Cancel {it} and quit", "Stay"):
            return False
        self._on = True
        clean.queue.hold(True)  # or the next run would start
        clean.proving.cancel()
        clean.auditing.cancel()
        if live:
            self._limit.start()
            clean.cancel()
        return not live

    def _going_on(self) -> list[tuple[str, str]]:
        """What would be cut off, each as a sentence and what is kept of it."""
        clean, found = self._window.clean, []
        if is_live(self._window.session.run):
            found.append(_RUN)
        if clean.proving.is_running:
            found.append((f"{clean.proving.title} is going on.", _TEST_KEEPS))
        if clean.auditing.is_running:
            found.append(_AUDIT)
        if clean.alpha_acts.is_busy:
            found.append(_ALPHA)
        if clean.saving.is_busy:
            found.append(_SAVING)
        return found

    def finish(self) -> None:
        """Keep the layout and end the threads; all of them together have five seconds."""
        window = self._window
        self._limit.stop()
        geometry, state = window.saveGeometry(), window.saveState()
        window.settings.save_layout(geometry.data(), state.data())
        window.hide()
        window.status.stop()
        window.studio.live.stop()
        window.studio.why.stop()
        window.studio.speed.stop()
        window.studio.text.stop()
        deadline = QDeadlineTimer(_LIMIT_MS)
        window.studio.map.stop(min(_READERS_MS, deadline.remainingTime()))
        window.clean.stop(deadline.remainingTime())
        window.checkpoint.stop(min(_READERS_MS, deadline.remainingTime()))
        window.inference.close(deadline.remainingTime())

    def _on_run_change(self, run: RunState | None) -> None:
        if self._on and not is_live(run):
            QTimer.singleShot(0, self._window, self._window.close)

    @Slot()
    def _on_limit(self) -> None:
        """The job did not end in time: go without it."""
        if self._window.isVisible():
            _LOG.warning("the cleaning run did not end within five seconds")
            self._window.hide()
            self._window.close()
