"""The loader doctor: tries settings of a checkpoint in a process of its own; the user decides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.image_choice import ImageChoice
from cleanclip_gui.checkpoint.trials_table import TrialsTable
from cleanclip_gui.jobs.job_dialog import JobDialog
from cleanclip_gui.jobs.job_task import JobTask
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.saved_choices import forget, remember, remembered
from ml_core.events import Event, Finding, Progress
from ml_core.jobs.doctor_spec import DoctorSpec
from ml_core.paths import cache_dir
from ml_core.reading import InputError, Inspection

_LEAD = (
    "Settings that the file does not state, or may state wrongly, are tried on labelled images: "
    "activation, mean and std, attention heads, resolution, logit scale. Nothing changes until "
    "you choose."
)
_AS_IT_IS = "No setting is significantly better than the current one: there is nothing to choose."


class DoctorDialog(JobDialog):
    """Tries settings of one file.

    ``changed(str)`` carries the path of the file whose settings were chosen or forgotten: it is
    to be opened again.

    Parameters
    ----------
    task
        Runs the doctor.
    session
        Tells the device, and the images in use.
    prompts
        Ask for images of one's own.
    inspection
        The file.
    donor
        As it was opened with.
    """

    changed = Signal(str)
    cancelled_words = "Cancelled; the settings tried so far stay listed."

    def __init__(
        self,
        task: JobTask,
        session: Session,
        prompts: Prompts,
        inspection: Inspection,
        donor: str = "",
        parent: QWidget | None = None,
    ) -> None:
        title = plain(f"Loader doctor: {inspection.name}", 120)
        super().__init__(task, title, "Try the settings", "Progress of the doctor", parent)
        self.inspection = inspection
        self._session, self._donor = session, donor
        self._result: Mapping[str, Any] = {}
        self.images = ImageChoice(prompts)
        self.images.failed.connect(self.failed)
        self.trials = TrialsTable()
        self.locked.append(self.images)
        self.verdict = Label("", "heading", wrap=True)
        self.words = Label("", wrap=True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use this")
        self.use.setProperty("primary", True)
        self.use.clicked.connect(self.use_proposal)
        self.forget = QPushButton("Forget the choice")
        self.forget.clicked.connect(self.forget_choice)
        self.card = card(self.verdict, self.words, margins=theme.SPACE_L, spacing=theme.SPACE_S)
        self.card.setAccessibleName("What the doctor proposes")
        column(
            Label(plain(inspection.name, 100), "title"), Label(_LEAD, "subtle", wrap=True),
            row((self.images, 1), self.start, spacing=theme.SPACE_M), self.busy, self.state,
            (self.trials, 1), self.card,
            row(self.forget, None, self.close_button, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        self.card.hide()
        self.use.setEnabled(False)
        self.finish(1080, 700, self.use)
        self._offer_images()
        try:
            before = remembered(inspection.sha256)
            self._show_remembered("" if before is None else before.sentence)
        except InputError as error:
            self._show_remembered("")
            self.show_ended(error.sentence, error=True)

    def _offer_images(self) -> None:
        """Labelled images that are in use are those to try first."""
        images = self._session.images
        own = images is not None and images.spec.kind != "demo"
        if images is not None and own and (images.labels >= 0).any():
            self.images.offer(images.spec, self._session.label_set, images.name)

    def launch(self, *, estimate: bool = False) -> None:
        """Try the settings on the chosen images."""
        images, label_set = self.images.chosen()
        device = self._session.device
        spec = DoctorSpec(
            checkpoint=str(self.inspection.path),
            donor=self._donor or None,
            images=images,
            label_set=label_set,
            device=device,
        )
        self.task.start(spec, cache_dir() / "doctor" / f"{os.getpid()}.json", device)
        self.trials.clear_trials()
        self.card.hide()
        self.use.setEnabled(False)

    def stage_words(self, progress: Progress) -> str:
        """Name the only stage."""
        return "Opening the checkpoint and the images…"

    def show_running(self) -> None:
        """Show that the doctor works; how long is not known."""
        super().show_running()
        self.busy.bar.setRange(0, 0)

    def take(self, event: Event) -> None:
        """List a setting that was tried."""
        if isinstance(event, Finding) and event.kind == "trial":
            self.trials.add(event.values)
            tried = plural(self.trials.rowCount(), "setting")
            self.show_doing(f"{tried} tried on {plural(event.values['n'], 'image')}…")

    def use_proposal(self) -> None:
        """Remember the proposed settings for this file and open it with them."""
        values = self._result.get("choice")
        if values is None:
            return
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            choice = remember(str(self._result["sha256"]), self.inspection.name, Choice(**lists))
        except InputError as error:
            self.show_ended(error.sentence, error=True)
            return
        self.use.setEnabled(False)
        self._show_remembered(choice.sentence)
        self.changed.emit(str(self.inspection.path))

    def forget_choice(self) -> None:
        """Open the file as it says again."""
        try:
            forget(self.inspection.sha256)
        except InputError as error:
            self.show_ended(error.sentence, error=True)
            return
        self._show_remembered("")
        self.show_ended("The choice is forgotten: the settings in the file apply again.")
        self.use.setEnabled(bool(self._result.get("choice")))
        self.changed.emit(str(self.inspection.path))

    def _show_remembered(self, sentence: str) -> None:
        """Say what was chosen before; empty if nothing was."""
        self.forget.setVisible(bool(sentence))
        self.show_state(sentence)

    def show_result(self, result: Mapping[str, Any]) -> None:
        """Show what the doctor proposes and why, warnings first."""
        self._result = result
        warnings: Sequence[str] = result["warnings"]
        choice = result["choice"]
        self.trials.mark(result["best"], proposed=choice is not None)
        tried = plural(len(result["trials"]), "setting")
        self.show_state(f"{tried} tried on {plain(result['images'], 80)}.")
        title = (
            "File and behaviour disagree" if warnings else "The file does not state every setting"
        )
        self.verdict.setText(title if choice else _AS_IT_IS)
        proposal = (choice or {}).get("evidence", "").replace("Chosen with", "Proposed by", 1)
        sentences = (*warnings, *result["findings"], *([proposal] if proposal else []))
        self.words.setText("\n".join(plain(sentence, 600) for sentence in sentences))
        self.words.setVisible(bool(sentences))
        theme.set_property(self.card, "tone", "caution" if warnings else "" if choice else "ok")
        self.card.show()
        self.use.setEnabled(choice is not None)
        (self.use if choice else self.start).setFocus()
