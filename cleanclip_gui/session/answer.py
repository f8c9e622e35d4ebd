"""The answer about the open checkpoint: the same words in the header and on its card."""

from __future__ import annotations

from cleanclip_gui.session.records import (
    BEING_CLEANED,
    Answer,
    Session,
    ShownCheckpoint,
    Tone,
    is_live,
)
from cleanclip_gui.session.settings import SettingsStore
from ml_core.detection.scan.verdict import NATURAL_RATE
from ml_core.evaluation.records import Evaluation
from ml_core.figures import percent

_MUCH = 0.5  # of the pictures, that a trigger moves
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
        """What a scan says of the file, or a trigger that was tried; beside it, of a cleaned copy.

        The answer about a cleaned copy itself is what its cleaning came to.
        """
        checkpoint = self._session.in_header
        if checkpoint is None:
            return None
        sha256 = checkpoint.inspection.sha256
        scan, rate = self._settings.last_result("scan", sha256), self._rate(sha256)
        measured = "" if rate is None else self._words(rate)
        # A trigger that does nothing, perhaps one of another file, is no answer about this one.
        works = rate is not None and rate > NATURAL_RATE
        words, cleaned_tone = self._cleaned(checkpoint)
        run = self._session.run
        is_copy = run is not None and run.result.get("checkpoint_sha256") == sha256
        is_scanned = scan is not None and bool(scan.answer)
        if words and (is_copy or not (is_scanned or works)):
            return Answer(words, cleaned_tone, "clean", scan)
        if scan is not None and scan.answer:
            tone = _TONES.get(scan.verdict, "")
            return Answer(scan.answer, tone, "scan", scan, measured, words, cleaned_tone)
        if rate is not None and works:
            tone = "caution" if rate >= _MUCH else ""
            return Answer(measured, tone, "studio", None, measured, words, cleaned_tone)
        return Answer("Not tested", "", "checkpoint", None, measured)

    def _cleaned(self, checkpoint: ShownCheckpoint) -> tuple[str, Tone]:
        """What the run on show came to, if it cleaned this file; empty if not."""
        run, sha256 = self._session.run, checkpoint.inspection.sha256
        if run is not None and is_live(run) and run.source == checkpoint.path:
            return BEING_CLEANED, ""
        if run is None or run.status != "finished":
            return "", ""
        result = run.result.get("checkpoint_sha256")
        if sha256 not in (run.result.get("source_sha256"), result):
            return "", ""
        before, after = (
            (run.result.get(side) or {}).get("asr_excl") for side in ("before", "after")
        )
        if not (isinstance(before, float) and isinstance(after, float)):
            return "", ""
        again = self._settings.last_result("scan", result)
        if again is not None and again.verdict in ("found", "suspicious"):
            return f"Cleaned copy: {again.answer}", _TONES[again.verdict]
        words = f"Cleaned copy: ASR {percent(before, unit='')} → {percent(after)}"
        return words, "info" if after <= NATURAL_RATE else "caution"

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
        name = f"the found{name[5:]}" if name.startswith("Found ") else name
        return f"ASR {percent(rate)} with {name or 'a trigger'}"
