"""From an audit to an exclusions file, without opening the pairs again. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ml_core.data.exclusions import Excluded, Exclusions, read_exclusions, write_exclusions
from ml_core.detection.records import SCORE, Audit, SuspectPair


class AuditedSet:
    """The pairs that an audit holds, as `write_exclusions` wants them."""

    def __init__(self, audit: Audit) -> None:
        self._pairs = {pair.index: pair for pair in audit.pairs}
        self.name = str(audit.facts["pairs"])
        self.key = str(audit.facts["pairs_key"])

    def excluded(self, index: int, reason: str) -> Excluded:
        """What to write of a pair that is to be left out."""
        pair = self._pairs[index]
        return Excluded(
            identity=pair.member, size=pair.size, name=pair.name[:300], reason=reason[:500]
        )


def _reason(pair: SuspectPair, score: str) -> str:
    """Why a pair is left out, e.g. ``audit: DAO 2.31, rank 4``."""
    at = pair.standings[score]
    also = "; also an evaluation picture" if pair.evaluated else ""
    return f"audit: {SCORE[score].title} {at.value:.4g}, rank {at.rank}{also}"


def exclude(
    path: Path, audit: Audit, indices: Iterable[int], score: str, earlier: Path | None = None
) -> Exclusions:
    """Write which pairs of an audit are to be left out, besides those that the file names already.

    Parameters
    ----------
    path
        An exclusions file. If it exists, its entries for pairs outside this audit stay; the others
        are replaced.
    indices
        Positions of pairs that the audit holds.
    score
        The score that they were judged by; it goes into the reason.
    earlier
        The exclusions file that the audited set was opened with; what it says stays too.

    Raises
    ------
    InputError
        If a file that is there is no exclusions file, or cannot be written.
    """
    known = {pair.index: pair for pair in audit.pairs}
    reasons = {index: _reason(known[index], score) for index in indices}
    there = [file for file in (earlier, path) if file is not None and file.exists()]
    before = _others([read_exclusions(file) for file in there], audit) if there else None
    return write_exclusions(path, AuditedSet(audit), reasons, earlier=before)


def _others(earlier: Sequence[Exclusions], audit: Audit) -> Exclusions:
    """The entries in files for pairs that the audit does not hold."""
    held = {pair.member for pair in audit.pairs}
    others = tuple(
        listed for file in earlier for listed in file.pairs if listed.identity not in held
    )
    return earlier[0].model_copy(update={"pairs": others})
