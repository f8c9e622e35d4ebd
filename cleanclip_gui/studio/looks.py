"""Where the whole set takes long, the images on screen are asked about by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import EvaluationUpdated, Failed, Look, Looked
from cleanclip_gui.ticket import Ticket

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation

LOOK_SECONDS = 2.0  # a set that is measured sooner shows what it is without being asked
_PIECE_SECONDS = 0.3
_MOST = 32


def piece(rate: float) -> int:
    """How many images to ask about at a time, at ``rate`` images a second."""
    return max(1, min(_MOST, int(rate * _PIECE_SECONDS)))


class StudioLooks(QObject):
    """Labels the images on screen, piece by piece between the batches of the estimate.

    The estimate is of the seeded stratified sample alone: what is said of these images goes to the
    gallery and into no figure. One request is out at a time, so that scrolling decides what is
    next.
    """

    def __init__(self, panel: StudioStation, inference: Inference) -> None:
        super().__init__(panel)
        self._panel, self._inference = panel, inference
        self._ticket: Ticket | None = None  # of the question that is out
        self._tried: set[int] = set()  # of the present question; broken pictures never answer
        panel.live.evaluated.connect(self._on_evaluated)
        panel.live.became_stale.connect(self._on_became_stale)
        panel.gallery.view_moved.connect(self.ask)
        panel.session.events.selected_image.connect(self._on_selected_image_change)

    @Slot()
    def ask(self) -> None:
        """Ask about the selected image and those on screen that are not known yet."""
        panel, live = self._panel, self._panel.live
        session = panel.session
        out = self._ticket is not None and self._ticket.is_open
        if out or live.one_image or live.stale or live.seconds <= LOOK_SECONDS:
            return
        if session.images is None or session.shown is None:
            return
        seen = (session.selected_image, *panel.gallery.on_screen())
        unknown = dict.fromkeys(panel.gallery.model.unknown(seen))
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

    @Slot(object, bool)
    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        if not older:
            self.ask()

    @Slot()
    def _on_became_stale(self) -> None:
        self.forget()

    def _on_selected_image_change(self, _: int) -> None:
        self.ask()

    def _on_looked(self, result: Looked) -> None:
        self._panel.gallery.update_predictions(result.per_image)
        self.ask()

    def _on_failed(self, failed: Failed) -> None:
        """The figure's note says it; nothing more is asked before the next change."""
        self._panel.figure.set_note(failed.sentence)
