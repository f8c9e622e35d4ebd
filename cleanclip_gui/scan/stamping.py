"""Asks the open model what it says of a few pictures with the found trigger on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import Failed, Look, Looked, Thumbnails, ThumbnailsReady
from cleanclip_gui.session import ImagesState, Session
from cleanclip_gui.ticket import Ticket
from ml_core.evaluation.records import PerImage
from ml_core.triggers import Trigger

MOST = 8
_SLOT = "scan"


@dataclass(frozen=True, eq=False)
class Stamped:
    """Pictures uint8 [n, s, s, 3] before and after, and names of what the model says of them.

    ``hits`` says which became the target. The names are empty until they are known.
    """

    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    said_before: tuple[str, ...] = ()
    said_after: tuple[str, ...] = ()
    hits: tuple[bool, ...] = ()


class Stamping(QObject):
    """Stamps a few pictures; ``shown(Stamped or None)`` carries what to show now."""

    shown = Signal(object)

    def __init__(
        self, session: Session, inference: Inference, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._inference = session, inference
        self._tickets: list[Ticket] = []
        self._before: NDArray[np.uint8] | None = None
        self._after: NDArray[np.uint8] | None = None
        self._looked: PerImage | None = None
        self._target = 0

    def ask(self, trigger: Trigger, target: int) -> None:
        """Ask for a few pictures that are not of the target class."""
        self.forget()
        images, model = self._session.images, self._session.checkpoint
        if images is None or model is None or not images.n:
            return
        indices, side = pictures_of(images, target), model.image_size  # that of the stamped ones
        ask = self._inference.ask
        self._tickets = [
            ask(Thumbnails(indices, side), self._on_before, self._on_failed),
            ask(Thumbnails(indices, side, trigger), self._on_after, self._on_failed),
            ask(
                Look(indices, trigger, target), partial(self._on_looked, target), self._on_failed,
                slot=_SLOT,
            ),
        ]  # fmt: skip

    def forget(self) -> None:
        """Ignore late answers, and show nothing."""
        for ticket in self._tickets:
            ticket.cancel()
        self._tickets = []
        self._before = self._after = self._looked = None
        self.shown.emit(None)

    def _on_before(self, ready: ThumbnailsReady) -> None:
        self._before = ready.images
        self._emit_shown()

    def _on_after(self, ready: ThumbnailsReady) -> None:
        self._after = ready.images
        self._emit_shown()

    def _on_looked(self, target: int, looked: Looked) -> None:
        self._looked, self._target = looked.per_image, target
        self._emit_shown()

    def _emit_shown(self) -> None:
        """Show what is there by now: both pictures first, the names when they come."""
        if self._before is None or self._after is None:
            return
        stamped = Stamped(self._before, self._after)
        images, looked = self._session.images, self._looked
        if images is not None and looked is not None and len(looked.indices) == len(self._before):
            names = images.class_names
            after = looked.clean_top1 if looked.triggered_top1 is None else looked.triggered_top1
            stamped = replace(
                stamped,
                said_before=tuple(names[k] for k in looked.clean_top1),
                said_after=tuple(names[k] for k in after),
                hits=tuple(bool(k == self._target) for k in after),
            )
        self.shown.emit(stamped)

    def _on_failed(self, _: Failed) -> None:
        """The pictures are left out; what failed is in the log."""


def pictures_of(images: ImagesState, target: int) -> tuple[int, ...]:
    """Numbers of a few pictures over the whole set that are not labelled as the target."""
    others = np.flatnonzero(images.labels != target)
    if not len(others):
        others = np.arange(images.n)
    places = np.linspace(0, len(others) - 1, min(MOST, len(others))).round().astype(int)
    return tuple(int(others[place]) for place in np.unique(places))
