"""What an audit of training pairs found, as records that live in JSON. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ml_core.reading.errors import InputError
from ml_core.reading.strict_json import JsonError, parse_object

ScoreName = Literal["dao", "slof", "k_distance", "lid", "closeness", "isolation", "clip_score"]
Neighbourhood = Literal["chunk", "all", "approximate"]
"""Where neighbours are looked for: in random chunks, as published, or in the whole set."""

FIVE_POISONS = (
    "Five poisons left in 100 000 pairs are enough to undo CleanCLIP "
    "(attack success rate 57 % in a published test)."
)
"""Results published with the code of arXiv 2311.14948 (CC3M, trained from scratch): with 5 poisons
among the 100 000 pairs the best ASR is 56.56 % at a CA of 17.91 %, without them 8.68 %."""
FEWEST_FOLDS = 4
"""Neighbours are looked for among at least so many times as many pairs as they are."""
_MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Score:
    """One score: ``high`` tells which end is suspicious; ``says`` what it looks for."""

    name: ScoreName
    title: str
    high: bool
    says: str
    source: str

    @property
    def sign(self) -> int:
        """What makes high suspicious."""
        return 1 if self.high else -1


SCORES: tuple[Score, ...] = (
    Score(
        "dao",
        "DAO",
        True,
        "Lies less densely than its neighbours, weighted with their dimension.",
        "Huang et al., ICLR 2025; Anderberg et al., SDM 2024",
    ),
    Score(
        "slof",
        "SLOF",
        True,
        "Lies less densely than its neighbours.",
        "Schubert et al. 2014; Breunig et al., SIGMOD 2000",
    ),
    Score("k_distance", "k-distance", True, "Lies far from others.", "Huang et al., ICLR 2025"),
    Score(
        "lid",
        "LID",
        True,
        "Its neighbours are all about as far.",
        "Amsaleg et al., KDD 2015",
    ),
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
        "The model sees little of the caption in the picture; of several the worst counts.",
        "Hessel et al., EMNLP 2021",
    ),
)
SCORE: Mapping[str, Score] = {score.name: score for score in SCORES}


@dataclass(frozen=True)
class Distribution:
    """How one score is spread over the pairs.

    ``edges`` [bins + 1] and ``counts`` [bins] are its histogram, ``reference_counts`` that of the
    clean reference over the same edges, None without one. ``percentiles`` are the 1st, 5th, 25th,
    50th, 75th, 95th and 99th.
    """

    score: str
    n: int
    low: float
    high: float
    mean: float
    percentiles: tuple[float, ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    reference_counts: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Distribution:
        """The record of ``asdict``; raises as `Audit.from_dict`."""
        reference = row["reference_counts"]
        return cls(
            str(row["score"]),
            int(row["n"]),
            float(row["low"]),
            float(row["high"]),
            float(row["mean"]),
            tuple(map(float, row["percentiles"])),
            tuple(map(float, row["edges"])),
            tuple(map(int, row["counts"])),
            None if reference is None else tuple(map(int, reference)),
        )


@dataclass(frozen=True)
class Standing:
    """Where a pair stands by one score.

    ``rank`` is 1 for the most suspicious; ``share`` is (1 + #{compared >= it}) / (1 + n) by
    suspicion, over the clean reference where there is one, else over the other pairs.
    """

    value: float
    rank: int
    share: float


@dataclass(frozen=True)
class SuspectPair:
    """One pair that is among the worst by some score.

    ``member`` is its identity in an exclusions file, with the picture's ``size`` in bytes;
    ``name`` is what to call the picture, ``caption`` the worst of its captions by CLIPScore;
    ``evaluated`` tells that it is an evaluation picture too.
    """

    index: int
    member: str
    name: str
    caption: str
    standings: Mapping[str, Standing]
    evaluated: bool = False
    size: int | None = None


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

    n: int
    unread: int
    distributions: tuple[Distribution, ...]
    worst: Mapping[str, tuple[int, ...]]
    pairs: tuple[SuspectPair, ...]
    overlap: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Audit:
        """The record of :meth:`to_dict`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is not one.
        """
        pairs = tuple(
            SuspectPair(
                int(row["index"]),
                str(row["member"]),
                str(row["name"]),
                str(row["caption"]),
                {
                    str(name): Standing(float(s["value"]), int(s["rank"]), float(s["share"]))
                    for name, s in row["standings"].items()
                },
                bool(row["evaluated"]),
                None if row["size"] is None else int(row["size"]),
            )
            for row in values["pairs"]
        )
        distributions = tuple(map(Distribution.from_dict, values["distributions"]))
        return cls(
            int(values["n"]),
            int(values["unread"]),
            distributions,
            {str(key): tuple(map(int, found)) for key, found in values["worst"].items()},
            pairs,
            {str(key): int(found) for key, found in values["overlap"].items()},
            int(values["duplicates"]),
            tuple(map(str, values["notes"])),
            dict(values["facts"]),
        )


def read_audit(data: bytes, name: str) -> Audit:
    """Read an audit from the bytes of its file.

    Raises
    ------
    InputError
        ``damaged`` if it is not one.
    """
    try:
        return Audit.from_dict(parse_object(data, max_bytes=_MAX_BYTES))
    except (JsonError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{name} is not an audit, or it is damaged: run the audit again.",
            "damaged",
            str(error),
        ) from error
