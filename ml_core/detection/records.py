"""What an audit of training pairs found, as records that live in JSON. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from ml_core.reading.errors import InputError, plain
from ml_core.reading.json_file import JsonFile, short

if TYPE_CHECKING:
    from torch import Tensor

FIVE_POISONS = (
    "Even 5 poisoned pairs in 100 000 can undo CleanCLIP "
    "(attack success rate 57 % in a published test)."
)
"""Results published with the code of arXiv 2311.14948 (CC3M, trained from scratch): with 5 poisons
among the 100 000 pairs the best ASR is 56.56 % at a CA of 17.91 %, without them 8.68 %."""
FEWEST_FOLDS = 4
"""Neighbours are looked for among at least so many times as many pairs as they are."""
_FILE = JsonFile("an audit", "run the audit again", max_bytes=128 << 20)
_MAX_PAIRS = 20_000
_PERCENTILES = 7
# A number that a table and a chart can show.
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ShownFacts(BaseModel):
    """The ``facts`` that are shown or go into an exclusions file; others are not checked."""

    pairs: str
    pairs_key: _Sha256
    k: _Count = 0
    chunk_size: _Count = 0
    neighbours_among: _Count = 0


@dataclass(frozen=True)
class Score:
    """One score: ``high`` tells which end is suspicious; ``says`` what it looks for."""

    name: str
    title: str
    high: bool
    says: str
    source: str

    @property
    def sign(self) -> int:
        """What makes high suspicious."""
        return 1 if self.high else -1


SCORES: list[Score] = [
    Score(
        "dao",
        "DAO",
        True,
        "Lies in a sparser region than its neighbours, corrected for their dimension.",
        "Huang et al., ICLR 2025; Anderberg et al., SDM 2024",
    ),
    Score(
        "slof",
        "SLOF",
        True,
        "Lies in a sparser region than its neighbours.",
        "Schubert et al. 2014; Breunig et al., SIGMOD 2000",
    ),
    Score("k_distance", "k-distance", True, "Lies far from others.", "Huang et al., ICLR 2025"),
    Score("lid", "LID", True, "Its neighbours are all about as far.", "Amsaleg et al., KDD 2015"),
    Score(
        "closeness",
        "Close group",
        False,
        "Lies close to k others: where planted pictures are many, and where pictures repeat.",
        "k-distance from its low end",
    ),
    Score(
        "isolation",
        "Isolation forest",
        True,
        "Few random cuts set it apart.",
        "Liu et al., ICDM 2008",
    ),
    Score(
        "clip_score",
        "CLIPScore",
        False,
        "The model sees little of the caption in the picture; of several captions "
        "the worst counts.",
        "Hessel et al., EMNLP 2021",
    ),
]
"""Those of plug-ins come last."""
SCORE: dict[str, Score] = {score.name: score for score in SCORES}
_OWN_SCORES = frozenset(SCORE)


@dataclass(frozen=True, eq=False)
class Detector:
    """A plug-in's score of training pairs.

    Attributes
    ----------
    score
        What an audit and its window say of it.
    compute
        The scores [n] of a chunk's pairs, from the embeddings of their pictures and of their
        captions, both float32 [n, D] on the CPU.
    """

    score: Score
    compute: Callable[[Tensor, Tensor], Tensor]


DETECTORS: list[Detector] = []


def add_detector(detector: object) -> None:
    """Add a plug-in's detector to every audit.

    Raises
    ------
    InputError
        If it is no `Detector`, or its score's name is taken.
    """
    if not isinstance(detector, Detector):
        raise InputError(f"{detector!r:.100} is no Detector.")
    if detector.score.name in SCORE:
        raise InputError(f"There is a score {detector.score.name!r} already.")
    DETECTORS.append(detector)
    SCORES.append(detector.score)
    SCORE[detector.score.name] = detector.score


@dataclass(frozen=True)
class Distribution:
    """How one score is spread over the pairs.

    ``edges`` [bins + 1] and ``counts`` [bins] are its histogram, ``reference_counts`` that of the
    clean reference over the same edges, None without one. ``percentiles`` are the 1st, 5th, 25th,
    50th, 75th, 95th and 99th.
    """

    score: str
    n: _Count
    low: _Finite
    high: _Finite
    mean: _Finite
    percentiles: tuple[_Finite, ...]
    edges: tuple[_Finite, ...]
    counts: tuple[_Count, ...]
    reference_counts: tuple[_Count, ...] | None = None


@dataclass(frozen=True)
class Standing:
    """Where a pair stands by one score.

    ``rank`` is 1 for the most suspicious; ``share`` is (1 + #{compared >= it}) / (1 + n) by
    suspicion, over the clean reference where there is one, else over the other pairs.
    """

    value: _Finite
    rank: _Count
    share: _Finite


@dataclass(frozen=True)
class SuspectPair:
    """One pair that is among the worst by some score.

    ``member`` is its identity in an exclusions file, with the picture's ``size`` in bytes;
    ``name`` is what to call the picture, ``caption`` the worst of its captions by CLIPScore;
    ``evaluated`` means that it is an evaluation picture too.
    """

    index: _Count
    member: _Sha256
    name: str
    caption: str
    standings: Mapping[str, Standing]
    evaluated: bool = False
    size: _Count | None = None


@dataclass(frozen=True)
class Audit:
    """Everything that an audit found, and what is needed to repeat it.

    Attributes
    ----------
    n, unread
        Pairs scored, and pairs whose picture could not be read.
    worst
        Score to positions in the set, most suspicious first.
    pairs
        The pairs of ``worst`` and the first of those that are evaluation pictures too.
    overlap
        How many pairs show a picture that stands in an evaluation set: set to number.
    duplicates
        Pairs whose picture the model embeds exactly as another of the same chunk.
    notes
        Sentences on what the numbers do not tell.
    facts
        Checkpoint, data, settings, versions.
    """

    n: _Count
    unread: _Count
    distributions: tuple[Distribution, ...]
    worst: Mapping[str, tuple[_Count, ...]]
    pairs: tuple[SuspectPair, ...]
    overlap: Mapping[str, _Count] = field(default_factory=dict)
    duplicates: _Count = 0
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> list[Score]:
        """The scores that its pairs have."""
        return [score for score in SCORES if score.name in self.worst]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_audit(path: Path) -> Audit:
    """Read an audit from its file, which may be a stranger's.

    Raises
    ------
    InputError
        ``usage`` if the file is missing, ``damaged`` if it holds no audit.
    """
    fields: dict[str, Any] = {"pairs": None}
    pairs: list[SuspectPair] = []
    label = plain(path.name)
    for entry in _FILE.entries(path, "pairs", fields, path.parent):
        if len(pairs) == _MAX_PAIRS:
            raise InputError(
                f"{label} is not an audit: it holds over {_MAX_PAIRS} pairs; run the audit again.",
                "damaged",
            )
        pairs.append(_FILE.check(entry, SuspectPair, f"Pair {len(pairs) + 1} of {label}"))
    if fields["pairs"] is None:
        fields["pairs"] = pairs
    audit = _FILE.check(fields, Audit, label)
    _FILE.check(audit.facts, _ShownFacts, label)
    if wrong := _contradiction_in(audit):
        raise InputError(f"{label} is not an audit: {wrong}; run the audit again.", "damaged")
    return audit


def _contradiction_in(audit: Audit) -> str:
    """What in a record does not fit together, as half a sentence; empty if it all fits."""
    known = {pair.index for pair in audit.pairs}
    if len(known) != len(audit.pairs):
        return "a pair occurs twice"
    if not audit.worst.keys() >= _OWN_SCORES:
        return "it lacks a score"
    if not all(pair.standings.keys() >= audit.worst.keys() for pair in audit.pairs):
        return "a pair lacks a score"
    named = {*audit.worst, *(spread.score for spread in audit.distributions)}
    if strangers := named - SCORE.keys():
        return f"its score {short(min(strangers), 40)!r} is that of no plug-in that is switched on"
    if not all(known.issuperset(worst) for worst in audit.worst.values()):
        return "it names a pair that it does not hold"
    for spread in audit.distributions:
        counts = (spread.counts, spread.reference_counts or spread.counts)
        bins = {len(row) for row in counts} | {len(spread.edges) - 1}
        if len(bins) != 1 or not spread.counts or len(spread.percentiles) != _PERCENTILES:
            return "a histogram has not as many bins as edges"
    return ""
