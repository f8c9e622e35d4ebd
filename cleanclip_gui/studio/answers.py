"""What Studio shows of the model's answers: the figure, the bars, the labels under pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject

from cleanclip_gui.inference.questions import EvaluationUpdated, Failed, PredictionReady
from cleanclip_gui.widgets.text import plain

_ASKED = "The model is being asked…"

if TYPE_CHECKING:
    from cleanclip_gui.studio.station import StudioStation


class StudioAnswers(QObject):
    """Passes answers on to the panel's widgets; a number of an older question looks stale."""

    def __init__(self, panel: StudioStation) -> None:
        super().__init__(panel)
        self._panel = panel
        panel.live.evaluated.connect(self._on_evaluated)
        panel.live.predicted.connect(self._on_predicted)
        panel.live.unanswered.connect(self._on_unanswered)
        panel.live.became_stale.connect(self._on_became_stale)
        panel.session.events.run.connect(self._on_run_change)

    def forget(self) -> None:
        """Take away what an earlier model or set gave."""
        panel = self._panel
        panel.gallery.clear_predictions(clean=True)
        panel.figure.set_evaluation(None)
        panel.figure.set_note("")
        panel.bars.set_probabilities((), None, None)
        panel.canvas.set_images(None, None)
        asked = panel.session.shown is not None and panel.session.images is not None
        self._say_instead(_ASKED if asked else "")

    def _say_instead(self, words: str) -> None:
        """What stands where an answer will be; empty: what to do to get one."""
        self._panel.canvas.set_empty_text(words)
        self._panel.bars.set_empty_text(words)

    def show_title(self) -> None:
        """Say which image the bars are about, and its true label."""
        panel = self._panel
        images, at = panel.session.images, panel.session.selected_image
        if images is None or not 0 <= at < images.n:
            panel.image_title.setText("Selected image")
            return
        label = int(images.labels[at])
        name = plain(images.class_names[label], 40) if label >= 0 else "unlabelled"
        panel.image_title.setText(f"Image {at + 1}: {name}")

    def _on_became_stale(self) -> None:
        self._panel.figure.set_stale(True)
        self._panel.bars.set_stale(True)
        self._panel.gallery.set_stale()

    def _on_run_change(self, _: object) -> None:
        self._panel.figure.set_note(self._panel.live.note)

    def _on_evaluated(self, result: EvaluationUpdated, older: bool) -> None:
        note = self._panel.live.note
        if not note and result.evaluation.same_names:
            note = "Other classes have the target's name; see By class."
        self._panel.figure.set_note(note)
        images = self._panel.session.images
        whole = images is None or result.evaluation.n_total >= images.n
        self._panel.figure.set_evaluation(result.evaluation, stale=older, whole=whole)
        last = not older and not result.evaluation.partial
        self._panel.gallery.update_predictions(result.per_image, older=older, last=last)

    def _on_predicted(self, result: PredictionReady, older: bool) -> None:
        panel, images = self._panel, self._panel.session.images
        if images is None:
            return
        panel.bars.set_probabilities(
            images.class_names, result.clean_probs, result.triggered_probs, panel.session.target
        )
        panel.bars.set_stale(older)
        panel.canvas.set_images(result.clean_image, None if older else result.triggered_image)

    def _on_unanswered(self, failed: Failed) -> None:
        self._panel.figure.set_note(failed.sentence)
        self._say_instead(plain(failed.sentence, 200))
