"""The claims of a report by section, and what each stands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from cleanclip_gui import theme
from cleanclip_gui.report.sentence_tree import SentenceRow, SentenceTree
from cleanclip_gui.widgets.controls import Label, push_button
from cleanclip_gui.widgets.layout import column, row
from cleanclip_gui.widgets.text import plain
from ml_core.reports.record import (
    Claim,
    ContrastClaim,
    Evidence,
    HoldsBy,
    MeasurementFacts,
    QuotedClaim,
)

SECTIONS = ("File safety", "Before", "Scan", "What was done", "After", "Rebound and hold-outs")
_SAFETY, _BEFORE, _SCAN, _DONE, _AFTER, _PROOFS = SECTIONS
_TOPICS: Mapping[str, str] = {
    "safety": _SAFETY, "scan": _SCAN, "training": _DONE, "weights": _DONE, "rebound": _PROOFS,
    "holdout": _PROOFS,
}  # fmt: skip
HOLDS: Mapping[HoldsBy, str] = {
    "exact": "Anybody can check it from the files of the bundle alone, to the last digit.",
    "margin": "Anybody can check it from the files of the bundle, and measure it again with the "
    "checkpoint and the pictures.",
    "interval": "It can be checked by measuring again: the value has to lie in the interval.",
    "recorded": "It is only recorded and cannot be checked.",
}


CHECKED_BY: Mapping[HoldsBy, str] = {
    "exact": "the files",
    "margin": "files, measuring",
    "interval": "measuring again",
    "recorded": "nobody",
}


@dataclass(frozen=True)
class ClaimPlace:
    """Where something was measured: a station, and there the id of a job or scan of the record."""

    kind: Literal["checkpoint", "measurement", "run", "scan"]
    id: str = ""


@dataclass(frozen=True)
class ClaimRow:
    """One claim; texts are safe to show, ``evidence`` are files of the bundle."""

    id: str
    sentence: str
    holds_by: HoldsBy
    evidence: tuple[str, ...]
    place: ClaimPlace


def sections(evidence: Evidence) -> tuple[tuple[str, tuple[ClaimRow, ...]], ...]:
    """Titles with their claims; a section without any is left out."""
    groups: dict[str, list[ClaimRow]] = {title: [] for title in SECTIONS}
    for claim in evidence.claims:
        groups[_section(evidence, claim)].append(_claim_row(evidence, claim))
    return tuple((title, tuple(rows)) for title, rows in groups.items() if rows)


def _section(evidence: Evidence, claim: Claim) -> str:
    if isinstance(claim, QuotedClaim):
        return _TOPICS[claim.topic]
    if isinstance(claim, ContrastClaim):
        return _SCAN
    facts = evidence.measurements[claim.measurement]
    if facts.when == "after":
        return _AFTER
    cleaned = evidence.checkpoints[facts.checkpoint].role == "cleaned"
    return _AFTER if cleaned else _BEFORE


def _claim_row(evidence: Evidence, claim: Claim) -> ClaimRow:
    return ClaimRow(
        id=claim.id,
        sentence=plain(claim.sentence, 900),
        holds_by=claim.holds_by,
        evidence=tuple(claim.evidence),
        place=_place(evidence, claim),
    )


def _place(evidence: Evidence, claim: Claim) -> ClaimPlace:
    if isinstance(claim, ContrastClaim):
        return ClaimPlace("scan", claim.scan)
    if isinstance(claim, QuotedClaim):
        if claim.topic == "safety":
            return ClaimPlace("checkpoint")
        return next(_owners(evidence, claim), ClaimPlace("measurement"))
    facts: MeasurementFacts = evidence.measurements[claim.measurement]
    return ClaimPlace("measurement") if facts.job is None else ClaimPlace("run", facts.job)


def _owners(evidence: Evidence, claim: QuotedClaim) -> Iterator[ClaimPlace]:
    """The jobs and scans that a claim's files are of."""
    for id_, job in evidence.jobs.items():
        if set(claim.evidence) & set(job.files.values()):
            yield ClaimPlace("run", id_)
    for id_, scan in evidence.scans.items():
        if set(claim.evidence) & set(scan.files.values()):
            yield ClaimPlace("scan", id_)


VERDICT, NOT_TESTED = "The report says", "What was not tested"
_TITLES = ("Claim", "Checked by")
_BUTTONS = {
    "checkpoint": "Show the file",
    "measurement": "Show in Studio",
    "run": "Show the run",
    "scan": "Show the scan",
}
_NONE = "Choose a claim to see what it stands on; Return shows where it was measured."


class ClaimsView(QWidget):
    """``place_wanted(Place)`` asks for where a claim was measured."""

    place_wanted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: dict[str, ClaimRow] = {}
        self.tree = SentenceTree("Claims of the report", _TITLES, 0)
        self.basis = Label(_NONE, "subtle", wrap=True, selectable=True)
        self.show_button = push_button("", lambda: self._on_opened(self.tree.key))
        self.show_button.hide()
        column(
            (self.tree, 1),
            row(
                (self.basis, 1), (self.show_button, Qt.AlignmentFlag.AlignTop),
                spacing=theme.SPACE_M,
            ),
            of=self, margins=(0, theme.SPACE_S, 0, 0), spacing=theme.SPACE_S,
        )  # fmt: skip
        self.tree.chosen.connect(self._on_chosen)
        self.tree.opened.connect(self._on_opened)

    @property
    def count(self) -> int:
        """How many claims are shown."""
        return len(self._rows)

    def show_evidence(self, evidence: Evidence | None) -> None:
        """Show the claims of a report; None shows nothing."""
        claims = () if evidence is None else sections(evidence)
        self._rows = {row.id: row for _, rows in claims for row in rows}
        groups = [(title, [_row(row) for row in rows]) for title, rows in claims]
        if evidence is not None:
            groups.insert(0, (VERDICT, _sentences(evidence.verdict)))
            groups.append((NOT_TESTED, _sentences(evidence.not_tested)))
        self.tree.show_groups([(title, rows) for title, rows in groups if rows])
        self._on_chosen(self.tree.key)

    def _on_chosen(self, key: object) -> None:
        row = self._rows.get(str(key))
        self.show_button.setVisible(row is not None)
        if row is None:
            self.basis.setText(_NONE)
            return
        files = ", ".join(plain(file, 200) for file in row.evidence) or "no file"
        self.basis.setText(f"{HOLDS[row.holds_by]} It stands on {files}.")
        self.show_button.setText(_BUTTONS[row.place.kind])

    def _on_opened(self, key: object) -> None:
        row = self._rows.get(str(key))
        if row is not None:
            self.place_wanted.emit(row.place)


def _sentences(sentences: Sequence[str]) -> list[SentenceRow]:
    """Sentences of the report about its claims, without figures."""
    return [SentenceRow(None, (plain(sentence, 900), "")) for sentence in sentences]


def _row(row: ClaimRow) -> SentenceRow:
    return SentenceRow(row.id, (row.sentence, CHECKED_BY[row.holds_by]), ("", "muted"))
