"""Has the fastest arithmetic found once the first numbers are there, and tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import EvaluationUpdated, MeasureSpeed
from cleanclip_gui.session import Session
from cleanclip_gui.session.records import is_live
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.studio.live import LiveLoop
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.text import percent

if TYPE_CHECKING:  # it imports torch
    from ml_core.evaluation.speed import Speed

FEWEST = 200  # below, there is little to win, and agreement says little
_IDLE_MS = 1000


class AutoSpeed(QObject):
    """Waits until nobody paints; a stroke ends the measurement, which then begins anew.

    Parameters
    ----------
    session, inference
        Whose ``speed`` is written, and who is asked.
    live
        Tells when numbers come and when the trigger changes; learns its pace anew afterwards.
    settings
        Their precision is kept to.
    """

    def __init__(
        self, session: Session, inference: Inference, live: LiveLoop, settings: SettingsStore
    ) -> None:
        super().__init__(live)
        self._session, self._inference, self._live = session, inference, live
        self._settings = settings
        self._ticket: Ticket | None = None
        self._known: tuple[str | None, str] | None = None  # checkpoint and device
        self._again = False  # the numbers on show are of other settings
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_IDLE_MS)
        self._timer.timeout.connect(self.measure)
        live.evaluated.connect(self._on_evaluated)
        live.became_stale.connect(self._cancel)
        events = session.events
        for event in (events.checkpoint, events.cleaned, events.role, events.device):
            event.connect(self.forget)

    def measure(self) -> None:
        """Ask, unless a run on the same processor would make every rate wrong."""
        session = self._session
        if session.shown is not None and not is_live(session.run):
            self._ticket = self._inference.ask(
                MeasureSpeed(session.role, self._settings.value.precision),
                self._on_measured,
                self._on_failed,
            )

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        found, images = result.evaluation, self._session.images
        many = images is not None and images.n >= FEWEST
        known = self._known == (found.checkpoint_sha256, found.device)
        if not older and not found.partial and many and not known:
            self._timer.start()

    def _on_measured(self, found: Speed) -> None:
        session = self._session
        if self._again:
            self._again = False
            self._live.touch()
        if found.busy:
            return  # the engine has not taken it, and is asked again after the next numbers
        if session.evaluation is not None:
            self._known = session.evaluation.checkpoint_sha256, session.evaluation.device
        self._live.forget_pace()
        session.speed = speed_text(found), found.why

    def _on_failed(self, _: object) -> None:
        """The log has it: nobody asked for a speed, and all goes on without."""

    def _cancel(self) -> None:
        self._timer.stop()
        if self._ticket is not None:
            self._ticket.cancel()

    def choose_again(self) -> None:
        """Threads or precision were changed: find what is fastest now, then measure with it."""
        self.forget()
        if self._session.evaluation is not None:
            self._again = True
            self.measure()

    def forget(self, *_: object) -> None:
        """What is on show is of another model or device."""
        self._cancel()
        self._known = None
        self._session.speed = "", ""


def speed_text(speed: Speed) -> str:
    """The choice in short: ``bf16, channels last, batch 64; agrees on 99.8 %``."""
    text = f"{speed.precision}, {speed.layout.replace('-', ' ')}, batch {speed.batch}"
    return text if speed.agreement is None else f"{text}; agrees on {percent(speed.agreement)}"
