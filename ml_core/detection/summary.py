"""From the scores of all pairs to distributions, ranks and the worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.detection.audit import AuditScores, NeighbourSettings
from ml_core.detection.records import (
    FEWEST_FOLDS,
    FIVE_POISONS,
    SCORE,
    SCORES,
    Audit,
    Distribution,
    Standing,
    SuspectPair,
)

_BINS = 60
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_SHOWN_OVERLAP = 200
_FEW_CHUNKS = 1000
_EYES = (
    "The embeddings come from the checkpoint under suspicion. Only a model that has the backdoor "
    "sets poisoned pictures apart; CLIPScore works best when the model is not backdoored."
)
Describe = Callable[[int], Mapping[str, Any]]


def worst_of(scores: AuditScores, name: str, most: int) -> NDArray[np.int64]:
    """Positions of the most suspicious pairs by a score, the worst first; ties as in the set."""
    scored = np.flatnonzero(scores.scored)
    order = np.argsort(-scores.suspicion(name)[scored], kind="stable")[:most]
    worst: NDArray[np.int64] = scored[order]
    return worst


def standing(
    values: NDArray[np.float32], compared: NDArray[np.float32] | None, at: NDArray[np.int64]
) -> list[tuple[int, float]]:
    """Rank and share of some pairs by suspicion.

    Parameters
    ----------
    values
        float [n], high is suspicious.
    compared
        The clean reference's, float [m]; None compares with the other pairs.
    at
        Positions in ``values``.

    Returns
    -------
    list of (int, float)
        1 + #{pairs above}, and (1 + #{compared >= it}) / (1 + how many are compared).
    """
    ordered = np.sort(values)
    above = len(ordered) - np.searchsorted(ordered, values[at], side="right")
    if compared is None:  # the pair itself is among those that reach it: it is the 1 +
        reached = len(ordered) - np.searchsorted(ordered, values[at], side="left")
        shares = reached / len(ordered)
    else:
        others = np.sort(compared)
        reached = len(others) - np.searchsorted(others, values[at], side="left")
        shares = (1 + reached) / (1 + len(others))
    return [(1 + int(a), float(s)) for a, s in zip(above, shares, strict=True)]


def distribution(
    name: str, values: NDArray[np.float32], reference: NDArray[np.float32] | None
) -> Distribution:
    """How a score is spread; the histogram covers both sets, without 0.1 % at either end."""
    both = values if reference is None else np.concatenate([values, reference])
    low, high = np.quantile(both, [0.001, 0.999]).astype(float)
    low, high = min(low, float(values.min())) if len(values) < 1000 else low, high
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-6
    edges = np.linspace(low, high, _BINS + 1)

    def counted(which: NDArray[np.float32]) -> tuple[int, ...]:
        return tuple(np.histogram(np.clip(which, low, high), edges)[0].tolist())

    return Distribution(
        name,
        len(values),
        float(values.min()),
        float(values.max()),
        float(values.mean(dtype=np.float64)),
        tuple(float(v) for v in np.percentile(values, _PERCENTILES)),
        tuple(float(e) for e in edges),
        counted(values),
        None if reference is None else counted(reference),
    )


def summarise(
    scores: AuditScores,
    settings: NeighbourSettings,
    *,
    most: int,
    describe: Describe,
    evaluated: Mapping[str, NDArray[np.int64]],
    facts: Mapping[str, Any],
    notes: Iterable[str] = (),
) -> Audit:
    """Make the record of an audit.

    Parameters
    ----------
    scores, settings
        The scores, and how they were computed.
    most
        Pairs kept of each score.
    describe
        Position to ``member``, ``name`` and ``caption``.
    evaluated
        Image set to positions of the pairs that stand in it.
    facts, notes
        More for the record.
    """
    scored = scores.scored
    where = np.flatnonzero(scored)
    place = np.cumsum(scored) - 1  # position in the set to position among the scored
    worst = {score.name: worst_of(scores, score.name, most) for score in SCORES}
    both = np.unique(np.concatenate([np.empty(0, np.int64), *evaluated.values()]))
    shown = both[scored[both]][:_SHOWN_OVERLAP]
    members = np.unique(np.concatenate([*worst.values(), shown]))
    standings: list[dict[str, Standing]] = [{} for _ in members]
    for score in SCORES:
        values = scores.values[score.name][where]
        compared = scores.reference.get(score.name)
        ranks = standing(
            values * score.sign, None if compared is None else compared * score.sign, place[members]
        )
        for row, member, (rank, share) in zip(standings, members, ranks, strict=True):
            row[score.name] = Standing(float(scores.values[score.name][member]), rank, share)
    again = set(both.tolist())
    return Audit(
        n=len(where),
        unread=int((~scored).sum()),
        distributions=tuple(
            distribution(s.name, scores.values[s.name][where], scores.reference.get(s.name))
            for s in SCORES
        ),
        worst={name: tuple(at.tolist()) for name, at in worst.items()},
        pairs=tuple(
            SuspectPair(
                index=int(member),
                standings=row,
                evaluated=int(member) in again,
                **describe(int(member)),
            )
            for row, member in zip(standings, members, strict=True)
        ),
        overlap={name: len(at) for name, at in evaluated.items()},
        duplicates=scores.duplicates,
        notes=(FIVE_POISONS, *_notes(scores, settings.k, len(where), evaluated), *notes),
        facts={**facts, **_facts_of(settings, scores)},
    )


def _notes(
    scores: AuditScores,
    k: int,
    n: int,
    evaluated: Mapping[str, NDArray[np.int64]],
) -> list[str]:
    """What the numbers do not tell."""
    notes = [
        "A score ranks; it does not decide. Most sets hold odd pairs that nobody planted, and a "
        "poisoned pair can look ordinary: look at the worst before you exclude them.",
        _EYES,
    ]
    if scores.reference:
        notes.append(
            f"Neighbours were searched among {scores.neighbours} pairs of the clean reference, and "
            f"the shares are of its other {len(scores.reference['dao'])} pairs."
        )
    else:
        notes.append(
            f"Neighbours were searched within random chunks of about {scores.neighbours} pairs, as "
            f"published. Where more than {k} planted pairs are in one chunk they are each other's "
            "neighbours, and DAO, SLOF and k-distance fail: they then call the planted pairs "
            "ordinary. LID may still find them, but misses smaller groups. Look at Close group, "
            "the isolation forest and CLIPScore too, or name pairs known to be clean as a "
            "reference: they have no planted neighbours."
        )
        if n < _FEW_CHUNKS:
            notes.append(
                f"With only {n} pairs and no clean reference, a few planted pairs are a large "
                "share: the scores say little. Add pairs that are known to be clean."
            )
    if scores.duplicates:
        notes.append(
            f"{scores.duplicates} pairs have a neighbour with exactly the same embedding, such as "
            "a repeated picture: it counts as a neighbour at distance 0."
        )
    for name, at in evaluated.items():
        if len(at):
            notes.append(
                f"{len(at)} pairs show a picture of {name} (the same bytes): numbers after "
                "cleaning would look too good. Leave them out, or evaluate on other images."
            )
    return notes


def _facts_of(settings: NeighbourSettings, scores: AuditScores) -> dict[str, Any]:
    """How it was computed, for the record."""
    return {
        "k": settings.k,
        "chunk_size": settings.chunk,
        "chunks": scores.chunks,
        "neighbours_among": scores.neighbours,
        "captions": "of several captions of a picture the one least like it",
        "features": "unit vectors" if settings.unit else "as the encoder gives them",
        "seed": settings.seed,
        "reference_pairs": len(scores.reference.get("dao", ())),
        "fewest_pairs": FEWEST_FOLDS * settings.k,
        "scores": {name: {"high": s.high, "source": s.source} for name, s in SCORE.items()},
    }
