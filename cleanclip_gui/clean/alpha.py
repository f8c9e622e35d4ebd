"""The slider of a result that lies on a line in weight space: any alpha, measured live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSlider, QVBoxLayout, QWidget

from cleanclip_gui import theme, threads
from cleanclip_gui.clean.run import Asked
from cleanclip_gui.clean.save_result import ask_path
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.questions import Evaluate, EvaluationUpdated, Failed
from cleanclip_gui.inference.questions import OpenCheckpoint as Open
from cleanclip_gui.jobs import tasks
from cleanclip_gui.session import CheckpointFacts, Session
from cleanclip_gui.station import Shell
from cleanclip_gui.ticket import Ticket
from cleanclip_gui.widgets.label import Label
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, percent
from ml_core.evaluation.records import Evaluation
from ml_core.reading.errors import InputError

_STEPS = 200
_FURTHEST = 2.0


class AlphaRow(QWidget):
    """``moved(alpha)`` comes while the slider moves; ``save_asked(alpha)`` from its button."""

    moved = Signal(float)
    save_asked = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._top = _FURTHEST
        self._own = (0, 0.0)  # the step that stands for the result's alpha, and that alpha
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setPageStep(_STEPS // 10)
        self.slider.setAccessibleName("Alpha")
        self.slider.setToolTip("0 is the checkpoint before cleaning.")
        self.value = Label("")
        self.value.setFont(theme.figure_font(theme.FONT_POINTS, bold=True))
        self.value.setMinimumWidth(self.value.fontMetrics().horizontalAdvance("0.00000"))
        self.save = QPushButton(theme.icon("save"), "Save at this alpha…")
        self._said = Label("", "caption", wrap=True)
        row = QHBoxLayout()
        row.setSpacing(theme.SPACE_S)
        row.addWidget(Label("Alpha", buddy=self.slider))
        row.addWidget(self.slider, 1)
        row.addWidget(self.value)
        below = QHBoxLayout()
        below.setSpacing(theme.SPACE_S)
        below.addWidget(self._said, 1)
        below.addWidget(self.save, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.SPACE_XS)
        layout.addLayout(row)
        layout.addLayout(below)
        self.slider.valueChanged.connect(self._on_slid)
        self.save.clicked.connect(self._on_save_clicked)
        self.hide()

    @property
    def alpha(self) -> float:
        """Where the slider stands; exactly the result's own at the step nearest to it."""
        step, own = self._own
        at = self.slider.value()
        return own if at == step else round(self._top * at / _STEPS, 3)

    def show_alpha(self, alpha: float) -> None:
        """Show a result's own alpha, without telling anybody; the line goes twice as far, or 2."""
        self._top = max(_FURTHEST, 2 * alpha)
        self._own = (round(_STEPS * alpha / self._top), alpha)
        self.slider.blockSignals(True)
        self.slider.setValue(self._own[0])
        self.slider.blockSignals(False)
        self._write()
        self.say("This is the result's alpha. Move the slider to measure another one in Studio.")
        self.show()

    def say(self, text: str) -> None:
        """Say what was measured, or that it is under way."""
        self._said.setText(text)
        self.slider.setAccessibleDescription(f"{self.alpha:g}. {text}")

    def said(self) -> str:
        """What is said under the slider."""
        return self._said.text()

    def _write(self) -> None:
        self.value.setText(f"{self.alpha:g}")

    def _on_slid(self, _: int) -> None:
        self._write()
        self.moved.emit(self.alpha)

    def _on_save_clicked(self) -> None:
        self.save_asked.emit(self.alpha)


class AlphaLine(QObject):
    """Opens the newest alpha as the cleaned checkpoint, one at a time, and shows its numbers.

    Studio may ask the same question, which then takes the place of this one: its numbers are
    shown too.
    ``saved`` carries the path of a checkpoint that was written, ``failed`` what the window is to
    show: an InputError, or a failed question.
    """

    saved = Signal(object)
    failed = Signal(object)

    def __init__(
        self,
        row: AlphaRow,
        session: Session,
        inference: Inference,
        shell: Shell,
        prompts: Prompts,
        hold: Callable[[CheckpointFacts | None], None],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._hold = hold
        self._row, self._session, self._inference = row, session, inference
        self._shell, self._prompts = shell, prompts
        self._source = self._vector = ""
        self._donor = ""
        self._asked: Asked = (None, 0)
        self._opening: Open | None = None  # one at a time
        self._wanted: float | None = None
        self._opened: CheckpointFacts | None = None  # while no other cleaned one is open
        self._measuring: Ticket | None = None
        self._awaited = self._studio_measures = False
        self._writing: Ticket | None = None
        row.moved.connect(self._on_moved)
        row.save_asked.connect(self._on_save_asked)
        session.events.cleaned.connect(self._on_cleaned_change)
        session.events.evaluation.connect(self._on_studio_evaluation)

    def show_result(self, result: Mapping[str, Any], asked: Asked) -> None:
        """Offer the slider if the result has a vector; hide it if not."""
        vector, alpha = str(result.get("vector") or ""), result.get("alpha")
        there = bool(vector) and isinstance(alpha, (int, float)) and Path(vector).is_file()
        self._row.setVisible(there)
        self._vector = vector if there else ""
        self._source, self._asked = str(result.get("source") or ""), asked
        self._donor = str(result.get("donor") or "")
        self._opening = self._wanted = self._opened = None
        self._awaited = self._studio_measures = False
        if there:
            self._row.show_alpha(float(alpha))  # type: ignore[arg-type]

    @property
    def is_busy(self) -> bool:
        """Whether an alpha is being opened, measured or saved."""
        asked = self._measuring is not None and self._measuring.is_open
        measured = self._awaited and (asked or self._studio_measures)
        return self._opening is not None or measured or self._is_writing

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and self._writing.is_open

    def _on_moved(self, alpha: float) -> None:
        if not self._vector:
            return
        self._wanted = alpha
        self._row.say(f"Alpha {alpha:g} is being measured…")
        if self._opening is None:
            self._send()

    def _send(self) -> None:
        alpha, self._wanted = self._wanted, None
        if alpha is None:
            return
        opening = self._opening = Open(
            self._source, "cleaned", self._donor, vector=self._vector, alpha=alpha
        )
        self._inference.ask(
            opening, partial(self._on_opened, opening), partial(self._on_not_opened, opening)
        )

    def _on_opened(self, opening: Open, facts: CheckpointFacts) -> None:
        session = self._session
        newest = opening is self._opening and self._wanted is None
        self._opened = facts if newest else None
        source = session.checkpoint
        here = source is not None and source.path == opening.path
        if newest and here and self._asked[0] is not None:
            self._shell.trigger_wanted.emit(*self._asked)
        # The inference thread holds this model now, in the place of what was cleaned before.
        self._hold(facts if here else None)
        if opening is not self._opening:
            return
        self._opening = None
        if not newest:
            self._send()
            return
        if here:
            self._shell.role_wanted.emit("cleaned")
        self._awaited = session.images is not None
        if self._awaited:  # Studio may look at another file, or at one image, and not ask
            self._measuring = self._inference.ask(
                Evaluate(*self._asked, None, "cleaned"), self._on_evaluated, self._on_not_evaluated
            )

    def _on_not_opened(self, opening: Open, failed: Failed) -> None:
        self.failed.emit(failed)
        if opening is self._opening:
            self._opening = None
            self._row.say(failed.sentence)

    def _on_cleaned_change(self, facts: CheckpointFacts | None) -> None:
        if facts is not None and facts is not self._opened:
            self._opened = None

    def _on_evaluated(self, result: EvaluationUpdated) -> None:
        if self._opening is None and self._opened is not None:
            self._show_numbers(result.evaluation)

    def _on_not_evaluated(self, failed: Failed) -> None:
        self._awaited = False
        self._row.say(failed.sentence)

    def _on_studio_evaluation(self, found: Evaluation | None) -> None:
        """Show Studio's numbers of this alpha, of no other model or trigger."""
        session = self._session
        asked = self._measuring is not None and self._measuring.is_open
        if self._opening is not None or asked:
            return
        mine = session.role == "cleaned" and (session.trigger, session.target) == self._asked
        self._studio_measures = self._opened is not None and mine and found is not None
        if found is None:
            return
        if self._studio_measures:
            self._show_numbers(found)
        elif self._awaited:
            self._awaited = False
            self._row.say(
                f"The measurement of alpha {self._row.alpha:g} was interrupted: Studio is "
                "measuring something else. Move the slider to measure again."
            )

    def _show_numbers(self, found: Evaluation) -> None:
        self._awaited = found.partial
        parts = [f"Alpha {self._row.alpha:g}"]
        if found.ca is not None:
            parts.append(f"clean accuracy {percent(found.ca)}")
        if found.asr_excl is not None:
            parts.append(f"attack success {percent(found.asr_excl)}")
        of = f"{count_text(found.n)} of {count_text(found.n_total)} images"
        self._row.say(" · ".join([*parts, of]))

    def _on_save_asked(self, alpha: float) -> None:
        name = f"{Path(self._source).stem}-alpha-{alpha:g}.safetensors"
        chosen = ask_path(self._prompts, self._row, "Save at this alpha", name)
        if chosen is None or self._is_writing:
            return
        source, vector, donor = Path(self._source), Path(self._vector), self._donor

        def write(_: tasks.Control) -> Path:
            from ml_core.jobs.weight_line import save_at_alpha  # imports torch

            return save_at_alpha(source, vector, alpha, chosen, donor=donor or None)

        self._row.save.setEnabled(False)
        self._writing = tasks.run(
            write, self._on_saved, self._on_save_failed, closing_ms=threads.CLOSING_MS
        )

    def _on_saved(self, path: Path) -> None:
        self._row.save.setEnabled(True)
        self.saved.emit(path)

    def _on_save_failed(self, error: InputError) -> None:
        self._row.save.setEnabled(True)
        self.failed.emit(error.titled("Could not save at this alpha"))
