"""Where the whole set takes long, the images on screen are asked about by themselves."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import EvaluationUpdated, Failed, Look, Looked
from cleanclip_gui.session import Session
from cleanclip_gui.studio.gallery.gallery import Gallery
from cleanclip_gui.studio.live import LiveLoop
from cleanclip_gui.ticket import Ticket

LOOK_SECONDS = 2.0  # a set that is measured sooner shows what it is without being asked
_PIECE_SECONDS = 0.3
_MOST = 32


def piece(rate: float) -> int:
    """How many images to ask about at a time, at ``rate`` images a second."""
    return max(1, min(_MOST, int(rate * _PIECE_SECONDS)))


class VisibleLabels(QObject):
    """Labels the images on screen, piece by piece between the batches of the estimate.

    The estimate is of the seeded stratified sample alone: what is said of these images goes to the
    gallery and into no figure. One request is out at a time, so that scrolling decides what is
    next. ``failed(str)`` tells why there are none; nothing more is asked before the next change.

    Parameters
    ----------
    session, inference
        What is asked about, and who is asked.
    live
        Tells how fast the model is, and when the question has changed.
    gallery
        Shows the images, and gets their labels.
    """

    failed = Signal(str)

    def __init__(
        self, session: Session, inference: Inference, live: LiveLoop, gallery: Gallery
    ) -> None:
        super().__init__(gallery)
        self._session, self._inference = session, inference
        self._live, self._gallery = live, gallery
        self._ticket: Ticket | None = None  # of the question that is out
        self._tried: set[int] = set()  # of the present question; broken pictures never answer
        live.evaluated.connect(self._on_evaluated)
        live.became_stale.connect(self.forget)
        gallery.view_moved.connect(self.ask)
        session.events.selected_image.connect(self._on_selected_image_change)

    def ask(self) -> None:
        """Ask about the selected image and those on screen that are not known yet."""
        session, live = self._session, self._live
        out = self._ticket is not None and self._ticket.is_open
        if out or live.one_image or live.stale or live.seconds <= LOOK_SECONDS:
            return
        if session.images is None or session.shown is None:
            return
        seen = (session.selected_image, *self._gallery.on_screen())
        unknown = dict.fromkeys(self._gallery.model.unknown(seen))
        wanted = [i for i in unknown if i not in self._tried][: piece(live.rate)]
        if wanted:
            self._tried.update(wanted)
            look = Look(tuple(wanted), session.trigger, session.target, session.role)
            self._ticket = self._inference.ask(look, self._on_looked, self._on_failed)

    def forget(self) -> None:
        """Another question: what is under way answers an older one."""
        if self._ticket is not None:
            self._ticket.cancel()
        self._tried.clear()

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        if not older:
            self.ask()

    def _on_selected_image_change(self, _: int) -> None:
        self.ask()

    def _on_looked(self, result: Looked) -> None:
        self._gallery.update_predictions(result.per_image)
        self.ask()

    def _on_failed(self, failed: Failed) -> None:
        self.failed.emit(failed.sentence)
