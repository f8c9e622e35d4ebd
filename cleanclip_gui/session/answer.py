"""The answer about the open checkpoint: the same words in the header and on its card."""

from __future__ import annotations

from cleanclip_gui.session.records import Answer, Session, Tone
from cleanclip_gui.session.settings import SettingsStore
from ml_core.detection.scan.verdict import NATURAL_RATE
from ml_core.evaluation.records import Evaluation
from ml_core.figures import percent

_TONES: dict[str, Tone] = {"found": "danger", "suspicious": "caution", "nothing": "info"}


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
        scan, measured = self._settings.last_result("scan", sha256), self._measured(sha256)
        cleaned = self._cleaned(sha256)
        tone: Tone
        if cleaned is not None:
            before, after = cleaned
            words = f"Cleaned copy: ASR {percent(before)} → {percent(after)}"
            tone = "info" if after <= NATURAL_RATE else "caution"
            return Answer(words, tone, "clean", scan, measured)
        if scan is not None and scan.answer:
            tone = _TONES.get(scan.verdict, "")
            return Answer(scan.answer, tone, "scan", scan, measured)
        if measured:
            return Answer(measured, "", "studio", None, measured)
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

    def _measured(self, sha256: str) -> str:
        evaluation = self._session.evaluation
        if evaluation is None or evaluation.partial or evaluation.checkpoint_sha256 != sha256:
            return ""
        rate = evaluation.asr_all if evaluation.asr_excl is None else evaluation.asr_excl
        if evaluation.trigger is None or rate is None:
            return ""
        return f"ASR {percent(rate)} with {evaluation.trigger_name or 'a trigger'}"
