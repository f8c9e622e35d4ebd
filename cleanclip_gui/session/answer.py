"""The answer about the open checkpoint: the same words in the header and on its card."""

from __future__ import annotations

from cleanclip_gui.session.records import Answer, Session, Tone
from cleanclip_gui.session.settings import SettingsStore
from ml_core.detection.scan.verdict import NATURAL_RATE
from ml_core.evaluation.records import Evaluation
from ml_core.figures import percent

_MUCH = 0.5  # of the pictures, that a trigger moves
_TONES: dict[str, Tone] = {"found": "danger", "suspicious": "caution", "nothing": "info"}


CLEANED = "Cleaned copy"
"""How answers about what a run made begin."""


class AnswerKeeper:
    """Writes ``session.answer`` whenever something that it stands on changes."""

    def __init__(self, session: Session, settings: SettingsStore) -> None:
        self._session, self._settings = session, settings
        events = session.events
        for event in (
            events.checkpoint, events.jobs, events.run, events.station, events.role, events.cleaned
        ):  # fmt: skip
            event.connect(self._refresh)
        events.evaluation.connect(self._on_evaluation_change)

    def _refresh(self, *_: object) -> None:
        self._session.answer = self._answer()

    def _on_evaluation_change(self, evaluation: Evaluation | None) -> None:
        """Wait for all pictures: estimates follow each other while the brush moves."""
        if evaluation is None or not evaluation.partial:
            self._refresh()

    def _answer(self) -> Answer | None:
        """The strongest statement: after cleaning, by a scan, by a trigger that was tried."""
        checkpoint = self._session.in_header
        if checkpoint is None:
            return None
        sha256 = checkpoint.inspection.sha256
        scan, rate = self._settings.last_result("scan", sha256), self._rate(sha256)
        measured = "" if rate is None else self._words(rate)
        cleaned = self._cleaned(sha256)
        tone: Tone
        if cleaned is not None:
            before, after = cleaned
            run = self._session.run
            result = None if run is None else run.result.get("checkpoint_sha256")
            again = self._settings.last_result("scan", result)
            if again is not None and again.verdict in ("found", "suspicious"):
                words, tone = f"{CLEANED}: {again.answer}", _TONES[again.verdict]
                return Answer(words, tone, "scan", scan, measured)
            words = f"{CLEANED}: ASR {percent(before, unit='')} → {percent(after)}"
            tone = "info" if after <= NATURAL_RATE else "caution"
            return Answer(words, tone, "clean", scan, measured)
        if scan is not None and scan.answer:
            tone = _TONES.get(scan.verdict, "")
            return Answer(scan.answer, tone, "scan", scan, measured)
        if rate is not None:
            return Answer(measured, "caution" if rate >= _MUCH else "", "studio", None, measured)
        return Answer("Not tested", "", "checkpoint")

    def _cleaned(self, sha256: str) -> tuple[float, float] | None:
        """Attack success rate before and after the run on show, if it cleaned this file."""
        run = self._session.run
        if run is None or run.status != "finished":
            return None
        if sha256 not in (run.result.get("source_sha256"), run.result.get("checkpoint_sha256")):
            return None
        before, after = (
            (run.result.get(side) or {}).get("asr_excl") for side in ("before", "after")
        )
        if isinstance(before, float) and isinstance(after, float):
            return before, after
        return None

    def _rate(self, sha256: str) -> float | None:
        """Attack success rate of the trigger in Studio, if it was measured on this file."""
        evaluation = self._session.evaluation
        if evaluation is None or evaluation.partial or evaluation.checkpoint_sha256 != sha256:
            return None
        if evaluation.trigger is None:
            return None
        return evaluation.asr_all if evaluation.asr_excl is None else evaluation.asr_excl

    def _words(self, rate: float) -> str:
        evaluation = self._session.evaluation
        name = evaluation.trigger_name if evaluation is not None else ""
        return f"ASR {percent(rate)} with {name or 'a trigger'}"
