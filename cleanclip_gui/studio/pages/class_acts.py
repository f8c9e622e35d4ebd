"""Splits Studio's numbers by class, as long as somebody looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from cleanclip_gui.inference.questions import EvaluationUpdated
from cleanclip_gui.studio.exports import save_classes
from cleanclip_gui.widgets.name_filters import NUMBERS
from ml_core.evaluation.breakdown import becomes, break_down
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation


class StudioClasses(QObject):
    """Shows the newest result on its page."""

    def __init__(self, panel: StudioStation) -> None:
        super().__init__(panel)
        self._panel, self._view = panel, panel.pages.classes
        self._found: EvaluationUpdated | None = None
        self._shown: EvaluationUpdated | None = None
        self._view.class_chosen.connect(self._on_class_chosen)
        self._view.save_clicked.connect(self.save)
        panel.live.evaluated.connect(self._on_evaluated)
        panel.live.became_stale.connect(self._on_became_stale)
        panel.pages.currentChanged.connect(self._show)
        events = panel.session.events
        for event in (events.checkpoint, events.images, events.role):
            event.connect(self._forget)

    def save(self) -> None:
        """Write the numbers on show."""
        panel, found, images = self._panel, self._shown, self._panel.session.images
        if found is None or images is None:
            return
        name = "numbers-by-class.csv"
        path = panel.prompts.save_file(panel, "Save the numbers by class", name, NUMBERS)
        if path:
            target, names = found.evaluation.target, images.class_names
            split = break_down(found.per_image, images.labels, target, names)
            try:
                save_classes(found.evaluation, split, Path(path))
            except InputError as error:
                panel.failed.emit(error)

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        self._found = result
        self._show()
        self._view.set_stale(older)

    def _on_became_stale(self) -> None:
        self._view.set_stale(True)

    def _forget(self, *_: object) -> None:
        self._found = self._shown = None
        self._view.show_found(None, None)

    def _show(self, *_: object) -> None:
        found, images = self._found, self._panel.session.images
        if found is None or images is None or self._panel.pages.page != "classes":
            return
        if found is self._shown:
            return
        self._shown = found
        split = break_down(
            found.per_image, images.labels, found.evaluation.target, images.class_names
        )
        self._view.show_found(found.evaluation, split)
        self._on_class_chosen(self._view.classes.chosen)

    def _on_class_chosen(self, index: int) -> None:
        found, images = self._shown, self._panel.session.images
        if found is None or images is None:
            return
        names, labels = images.class_names, images.labels
        if index >= 0:
            self._view.show_becomes(becomes(found.per_image, labels, index, names), names[index])
        else:
            split = break_down(found.per_image, labels, found.evaluation.target, names)
            self._view.show_becomes(split.confusion, "")
