"""Back to the first step: what runs is cancelled, and the demo is as it was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QObject, QTimer

from cleanclip_gui.session.records import is_live
from cleanclip_gui.station import AtWork, Context
from ml_core.jobs.demo import demo_checkpoint, demo_target


class Reset(QObject):
    """Sets the stage again; the checkpoint stays open, and its clean pictures stay measured.

    Parameters
    ----------
    at_work
        What goes on in the stations.
    open_demo
        Opens the built-in demo, where something else is open.
    """

    def __init__(
        self,
        context: Context,
        at_work: Callable[[], Iterable[AtWork]],
        open_demo: Callable[[], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._context, self._session, self._shell = context, context.session, context.shell
        self._at_work, self._open_demo = at_work, open_demo
        self._awaits_end = False
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._forget_ended)
        for signal in (self._session.events.run, self._session.events.scan):
            signal.connect(self._on_session_change)

    def run(self) -> None:
        """Cancel, forget and take the trigger away; all that takes a while ends later, unseen."""
        for work in list(self._at_work()):
            work.cancel()
        shell, session = self._shell, self._session
        self._awaits_end = self._is_at_work()
        facts = session.checkpoint
        if facts is None or facts.path != str(demo_checkpoint()):
            self._open_demo()
            return
        shell.demo_opening.emit()
        shell.suspect_changing.emit()
        shell.open("role", "suspect")
        shell.open("trigger", None, demo_target())
        images = session.images
        if images is not None:
            shell.open("image", images.first_to_flip(demo_target()))
        self._context.actions.run("view.trigger")

    def _is_at_work(self) -> bool:
        scan = self._session.scan
        return is_live(self._session.run) or (scan is not None and scan.status == "running")

    def _on_session_change(self, *_: object) -> None:
        if self._awaits_end and not self._is_at_work():
            self._awaits_end = False
            self._soon.start()  # all hear of the end first

    def _forget_ended(self) -> None:
        """Show nothing of a run or a scan that was cancelled for the reset."""
        self._shell.demo_opening.emit()
