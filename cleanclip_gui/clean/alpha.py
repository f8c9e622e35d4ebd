"""The slider of a result that lies on a line in weight space: any alpha, measured live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from cleanclip_gui.clean.alpha_row import AlphaRow
from cleanclip_gui.clean.save_result import ask_path
from cleanclip_gui.inference.inference import Inference
from cleanclip_gui.inference.requests import CheckpointOpened, Evaluate, EvaluationUpdated, Failed
from cleanclip_gui.inference.requests import OpenCheckpoint as Open
from cleanclip_gui.jobs.background import Background
from cleanclip_gui.session import Session
from cleanclip_gui.widgets.prompts import Prompts
from cleanclip_gui.widgets.text import count_text, percent
from ml_core.reading.errors import InputError

Asked = tuple[Any, int]


class AlphaActs(QObject):
    """Opens the newest alpha as the cleaned checkpoint, one at a time, and shows its numbers.

    ``saved`` carries the path of a checkpoint that was written, ``failed`` an InputError.
    """

    saved = Signal(object)
    failed = Signal(object)

    def __init__(
        self, row: AlphaRow, session: Session, inference: Inference, parent: QObject
    ) -> None:
        super().__init__(parent)
        self.prompts = Prompts()
        self._row, self._session, self._inference = row, session, inference
        self._source = self._vector = ""
        self._donor = ""
        self._asked: Asked = (None, 0)
        self._in_flight: float | None = None
        self._wanted: float | None = None
        self._is_open = self._awaited = False
        self._writer: Background | None = None
        row.moved.connect(self._on_moved)
        row.save_asked.connect(self._on_save_asked)
        inference.checkpoint_opened.connect(self._on_opened)
        inference.evaluation_updated.connect(self._on_evaluation)
        inference.failed.connect(self._on_failed)

    def show_result(self, result: Mapping[str, Any], asked: Asked) -> None:
        """Offer the slider if the result has a vector; hide it if not."""
        vector, alpha = str(result.get("vector") or ""), result.get("alpha")
        there = bool(vector) and isinstance(alpha, (int, float)) and Path(vector).is_file()
        self._row.setVisible(there)
        self._vector = vector if there else ""
        self._source, self._asked = str(result.get("source") or ""), asked
        self._donor = str(result.get("donor") or "")
        self._in_flight = self._wanted = None
        self._is_open = self._awaited = False
        if there:
            self._row.show_alpha(float(alpha))  # type: ignore[arg-type]

    @property
    def is_busy(self) -> bool:
        """Whether an alpha is being opened, measured or saved."""
        measured = self._awaited and self._asked_now() is not None
        return self._in_flight is not None or measured or self._writer is not None

    def stop(self, timeout_ms: int) -> bool:
        """End a save when the window closes."""
        return self._writer is None or self._writer.stop(timeout_ms)

    def _on_moved(self, alpha: float) -> None:
        if not self._vector:
            return
        self._wanted = alpha
        self._row.say(f"Alpha {alpha:g} is being measured…")
        if self._in_flight is None:
            self._send()

    def _send(self) -> None:
        alpha, self._wanted = self._wanted, None
        if alpha is None:
            return
        self._in_flight = alpha
        self._inference.submit(
            Open(self._source, "cleaned", self._donor, vector=self._vector, alpha=alpha)
        )

    def _on_opened(self, opened: CheckpointOpened) -> None:
        if opened.role != "cleaned":
            return
        self._is_open = False
        if self._in_flight is None or opened.checkpoint.path != self._source:
            return
        self._in_flight = None
        if self._wanted is not None:
            self._send()
            return
        session = self._session
        self._is_open = True
        facts = session.checkpoint
        if facts is not None and facts.path == self._source:
            if self._asked[0] is not None:
                session.trigger, session.target = self._asked
            session.cleaned = opened.checkpoint
            session.role = "cleaned"
        else:  # what Studio called cleaned has made way for this
            session.role, session.cleaned = "suspect", None
        self._awaited = session.images is not None
        if self._awaited:  # Studio may look at another file, or at one image, and not ask
            self._inference.submit(Evaluate(*self._asked, None, "cleaned"))

    def _asked_now(self) -> int | None:
        """Generation of the evaluation that is asked for; None if it is not this row's."""
        newest = self._inference.evaluating
        if newest is None or not self._is_open:
            return None
        generation, question = newest
        mine = question.role == "cleaned" and (question.trigger, question.target) == self._asked
        return generation if mine else None

    def _on_evaluation(self, result: EvaluationUpdated) -> None:
        """Show the numbers of this alpha, whoever asked for them; no other model's or trigger's."""
        asked = self._asked_now()
        if asked is None and self._awaited:
            self._awaited = False
            self._row.say(
                f"Alpha {self._row.alpha:g} is not measured to its end: Studio measures something "
                "else. Move the slider to measure again."
            )
        if self._in_flight is not None or result.generation != asked:
            return
        found = result.evaluation
        self._awaited = found.partial
        parts = [f"Alpha {self._row.alpha:g}"]
        if found.ca is not None:
            parts.append(f"clean accuracy {percent(found.ca)}")
        if found.asr_excl is not None:
            parts.append(f"attack success {percent(found.asr_excl)}")
        of = f"{count_text(found.n)} of {count_text(found.n_total)} images"
        self._row.say(" · ".join([*parts, of]))

    def _on_failed(self, failed: Failed) -> None:
        request = failed.request
        if isinstance(request, Open) and request.vector == self._vector and self._vector:
            self._in_flight = None
            self._row.say(failed.sentence)
        elif isinstance(request, Evaluate) and request.role == "cleaned" and self._awaited:
            self._awaited = False
            self._row.say(failed.sentence)

    def _on_save_asked(self, alpha: float) -> None:
        name = f"{Path(self._source).stem}-alpha-{alpha:g}.safetensors"
        chosen = ask_path(self.prompts, self._row, "Save at this alpha", name)
        if chosen is None or self._writer is not None:
            return
        source, vector, donor = Path(self._source), Path(self._vector), self._donor

        def work(_: Callable[[], bool]) -> Iterator[object]:
            from ml_core.jobs.weight_line import save_at_alpha  # imports torch

            yield save_at_alpha(source, vector, alpha, chosen, donor=donor or None)

        self._row.save.setEnabled(False)
        self._writer = Background(work)
        self._writer.yielded.connect(self.saved)
        self._writer.failed.connect(self._on_save_failed)
        self._writer.finished.connect(self._on_written)
        self._writer.begin()

    def _on_save_failed(self, error: InputError) -> None:
        self.failed.emit(error)

    def _on_written(self) -> None:
        self._writer = None
        self._row.save.setEnabled(True)
