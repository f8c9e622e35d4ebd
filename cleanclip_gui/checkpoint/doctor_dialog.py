"""The loader doctor: tries settings of a checkpoint in a process of its own; the user decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QPushButton, QWidget

from cleanclip_gui import theme
from cleanclip_gui.checkpoint.image_choice import ImageChoice
from cleanclip_gui.checkpoint.trials_table import TrialsTable
from cleanclip_gui.jobs.launching import launch
from cleanclip_gui.jobs.runner import JobRunner, doctor_runner
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.action_button import push_button
from cleanclip_gui.widgets.busy_row import BusyRow
from cleanclip_gui.widgets.dialog_frame import resize_within
from cleanclip_gui.widgets.label import Label, named
from cleanclip_gui.widgets.layout import card, column, row
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import plain, plural
from ml_core.checkpoints.choice import Choice
from ml_core.checkpoints.saved_choices import forget, remember, remembered
from ml_core.events import Done, Finding
from ml_core.jobs.doctor_spec import DoctorSpec
from ml_core.paths import cache_dir
from ml_core.reading import InputError, Inspection

_LEAD = (
    "Settings that the file does not state, or may state wrongly, are tried on labelled images: "
    "activation, mean and std, attention heads, resolution, logit scale. Nothing changes until "
    "you choose."
)
_AS_IT_IS = "No setting is significantly better than the current one: there is nothing to choose."


class DoctorDialog(QDialog):
    """Closing it ends the process.

    ``changed(str)`` carries the path of the file whose settings were chosen or forgotten: it is
    to be opened again. ``failed`` carries an InputError.

    Parameters
    ----------
    session
        Tells the device, and the images in use.
    prompts
        Ask for images of one's own.
    found
        The file.
    donor
        As it was opened with.
    new_runner
        Makes the runner of a spec.
    """

    changed = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        session: Session,
        prompts: Prompts,
        found: Inspection,
        donor: str = "",
        parent: QWidget | None = None,
        *,
        new_runner: Callable[..., JobRunner] = doctor_runner,
    ) -> None:
        super().__init__(parent)
        self.found = found
        self._session, self._donor = session, donor
        self._new_runner = new_runner
        self.runner: JobRunner | None = None
        self._result: Mapping[str, Any] = {}
        self.setWindowTitle(plain(f"Loader doctor: {found.name}", 120))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.images = ImageChoice(prompts)
        self.images.failed.connect(self.failed)
        self.trials = TrialsTable()
        self.start = push_button("Try the settings", self.try_settings, look="primary")
        self.busy = BusyRow("Progress of the doctor")
        self.busy.cancel_clicked.connect(self.cancel)
        self.state = Label("", "subtle", wrap=True)
        self.verdict = Label("", "heading", wrap=True)
        self.words = Label("", wrap=True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = push_button("Use this", self.use_proposal, look="primary")
        self.forget = push_button("Forget the choice", self.forget_choice)
        close = push_button("Close", self.reject)

        proposal = card(
            self.verdict, self.words, margins=theme.SPACE_L, spacing=theme.SPACE_S
        )  # fmt: skip
        self.card = named(proposal, "What the doctor proposes")
        column(
            Label(plain(found.name, 100), "title"), Label(_LEAD, "subtle", wrap=True),
            row((self.images, 1), self.start, spacing=theme.SPACE_M), self.busy, self.state,
            (self.trials, 1), self.card,
            row(self.forget, None, close, self.use, spacing=theme.SPACE_S),
            of=self, margins=theme.SPACE_XL, spacing=theme.SPACE_M,
        )  # fmt: skip
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button in (self.start, self.use))
        resize_within(self, 1080, 700)
        self.busy.hide()
        self.card.hide()
        self.use.setEnabled(False)
        self._offer_images()
        try:
            before = remembered(found.sha256)
            self._show_remembered("" if before is None else before.sentence)
        except InputError as error:
            self._show_remembered("")
            self._end(error.sentence, error=True)

    def _offer_images(self) -> None:
        """Labelled images that are in use are those to try first."""
        images = self._session.images
        own = images is not None and images.spec.kind != "demo"
        if images is not None and own and (images.labels >= 0).any():
            self.images.offer(images.spec, self._session.label_set, images.name)

    def try_settings(self) -> None:
        """Start the process."""
        if self.runner is not None:
            return
        images, label_set = self.images.chosen()
        device = self._session.device
        spec = DoctorSpec(
            checkpoint=str(self.found.path),
            donor=self._donor or None,
            images=images,
            label_set=label_set,
            device=device,
        )
        try:
            path = cache_dir() / "doctor" / f"{os.getpid()}.json"
            self.runner = launch(
                self._new_runner, spec, path, self._on_event, self._on_ended, device=device
            )
        except InputError as error:
            self._end(error.sentence, error=True)
            return
        self.trials.clear_trials()
        self.card.hide()
        self.use.setEnabled(False)
        self._set_busy(True)
        self.busy.bar.setRange(0, 0)
        self._say("Opening the checkpoint and the images…")

    def cancel(self) -> None:
        """End the process at once."""
        if self.runner is not None:
            self.runner.cancel()
            self.busy.cancel.setEnabled(False)
            self._say("Cancelling…")

    def use_proposal(self) -> None:
        """Remember the proposed settings for this file and open it with them."""
        values = self._result.get("choice")
        if values is None:
            return
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            made = remember(str(self._result["sha256"]), self.found.name, Choice(**lists))
        except InputError as error:
            self._end(error.sentence, error=True)
            return
        self.use.setEnabled(False)
        self._show_remembered(made.sentence)
        self.changed.emit(str(self.found.path))

    def forget_choice(self) -> None:
        """Open the file as it says again."""
        try:
            forget(self.found.sha256)
        except InputError as error:
            self._end(error.sentence, error=True)
            return
        self._show_remembered("")
        self._end("The choice is forgotten: the settings in the file apply again.")
        self.use.setEnabled(bool(self._result.get("choice")))
        self.changed.emit(str(self.found.path))

    def done(self, result: int) -> None:
        """Cancel what is going on when the dialog closes, by a button, a key or its frame."""
        self.cancel()
        super().done(result)

    def _on_event(self, event: object) -> None:
        if self.runner is None:
            return
        self.runner.mark_running()
        if isinstance(event, Finding) and event.kind == "trial":
            self.trials.add(event.values)
            if self.busy.cancel.isEnabled():
                tried = plural(self.trials.rowCount(), "setting")
                self._say(f"{tried} tried on {plural(event.values['n'], 'image')}…")

    def _on_ended(self, done: Done) -> None:
        self.runner = None
        if done.status == "finished":
            self._result = done.result
            self._show_result(done.result)
        elif done.status == "cancelled":
            self._end("Cancelled; the settings tried so far stay listed.")
        else:
            self._end(done.error, error=True)

    def _end(self, words: str, *, error: bool = False) -> None:
        """Say why there is no proposal, or that there is no choice any more."""
        self._set_busy(False)
        self._say(words, "error" if error else "subtle")

    def _show_remembered(self, sentence: str) -> None:
        """Say what was chosen before; empty if nothing was."""
        self.forget.setVisible(bool(sentence))
        self._say(sentence)

    def _show_result(self, result: Mapping[str, Any]) -> None:
        """What it proposes and why, warnings first."""
        self._set_busy(False)
        warnings: Sequence[str] = result["warnings"]
        choice = result["choice"]
        self.trials.mark(result["best"], proposed=choice is not None)
        tried = plural(len(result["trials"]), "setting")
        self._say(f"{tried} tried on {plain(result['images'], 80)}.")
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

    def _say(self, words: str, role: str = "subtle") -> None:
        theme.set_property(self.state, "role", role)
        self.state.setText(plain(words, 1000))
        self.state.setVisible(bool(words))

    def _set_busy(self, busy: bool) -> None:
        self.busy.setVisible(busy)
        self.busy.cancel.setEnabled(True)
        self.images.setEnabled(not busy)
        self.start.setEnabled(not busy)
