"""Approximate neighbours; from the scores of all pairs to distributions, ranks and the worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.detection.audit import AuditScores, AuditStep, NeighbourSettings
from ml_core.detection.neighbours import Indices, Space
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
from ml_core.ranks import Ranks
from ml_core.reading.errors import CancelledError, InputError

SAMPLE = 1000
"""Pairs whose exact neighbours are looked for too, to say which share was found."""
_SPARE = 8
_BLOCK = 65_536
_LISTS = 4  # times the root of the number of pairs
_FEWEST_OF_A_LIST = 64
_FEWEST_SEARCHED, _SEARCHED = 16, 32  # lists, at least, and one in so many
_FILE = "neighbours.index"


def faiss_or_refusal() -> Any:
    """The library.

    Raises
    ------
    InputError
        Without it.
    """
    try:
        import faiss
    except ImportError:
        raise InputError(
            "Approximate neighbours need faiss; install it with: "
            "pip install 'cleanclip-gui[faiss]'.",
            "unsupported",
        ) from None
    return faiss


@dataclass(frozen=True, eq=False)
class Index:
    """An index of all pairs that can be read; its numbers have half the precision of the files'."""

    index: Any

    def candidates(self, here: Tensor, own: Indices, k: int) -> tuple[Tensor, Tensor]:
        """Positions that are probably near.

        Parameters
        ----------
        here
            [n, D], points that `Space.at` gives.
        own
            int64 [n], their own positions, which are no candidates.
        k
            Neighbours that are wanted.

        Returns
        -------
        tuple of Tensor
            int64 [n, c] with c > k, and bool [n, c], which of them are real candidates.
        """
        asked = here.float().cpu().numpy()
        _, neighbours = self.index.search(np.ascontiguousarray(asked), k + _SPARE + 1)
        usable = (neighbours >= 0) & (neighbours != own[:, None])
        places = torch.from_numpy(
            np.where(neighbours < 0, own[:, None], neighbours).astype(np.int64)
        )
        return places.to(here.device), torch.from_numpy(usable).to(here.device)


@dataclass(frozen=True)
class _Added:
    """Pairs in the index."""

    done: int


def shared_index(
    space: Space, seed: int, folder: Path, ranks: Ranks
) -> Generator[AuditStep, None, Index]:
    """Build an index in the first process; the others map its file.

    It is an inverted file of 4 sqrt(N) lists (k-means of a sample). One list in 32 is searched for
    each point, and the points in it are float16. Memory is D x 2 + 8 bytes a pair.

    Raises
    ------
    InputError
        Without faiss.
    """
    with ranks.as_one(space.middle.device):
        faiss = faiss_or_refusal()
    total = len(space.rows)
    path = folder / _FILE
    work = _built(faiss, space, seed, path) if ranks.first else iter(())
    for _, done in ranks.in_step(work, space.middle.device):
        yield AuditStep("index", done, total)
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    index.nprobe = min(index.nlist, max(_FEWEST_SEARCHED, index.nlist // _SEARCHED))
    return Index(index)


def _built(faiss: Any, space: Space, seed: int, path: Path) -> Iterator[_Added]:
    """Train, add block by block, and write."""
    there = np.flatnonzero(space.read)
    lists = max(1, min(int(_LISTS * math.sqrt(len(there))), len(there) // _FEWEST_OF_A_LIST))
    drawn = np.random.Generator(np.random.PCG64([seed, 2])).permutation(len(there))
    sample = np.sort(there[drawn[: lists * _FEWEST_OF_A_LIST]])
    points = space.at(sample).float().cpu().numpy()
    quantizer = faiss.IndexFlatL2(points.shape[1])
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, points.shape[1], lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2
    )
    index.cp.seed = seed % (1 << 31)
    index.train(points)
    for first in range(0, len(space.rows), _BLOCK):
        if space.cancelled():
            raise CancelledError
        stop = min(first + _BLOCK, len(space.rows))
        at = np.flatnonzero(space.read[first:stop])
        if len(at):
            rows = space.block(first, stop)[torch.from_numpy(at).to(space.middle.device)]
            index.add_with_ids(rows.float().cpu().numpy(), (at + first).astype(np.int64))
        yield _Added(stop)
    faiss.write_index(index, str(path))


_BINS = 60
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_SHOWN_OVERLAP = 200
_FEW_CHUNKS = 1000
_EYES = (
    "The embeddings come from the checkpoint under suspicion. Only a model that has the backdoor "
    "sets poisoned pictures apart; CLIPScore works best when the model is not backdoored."
)
_OTHER_EYES = (
    "The embeddings come from the model that made them. Only if that is the checkpoint under "
    "suspicion do they set poisoned pictures apart; with another model only CLIPScore is "
    "informative, and it works best when that model is not backdoored."
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
    elsewhere: bool = False,
) -> Audit:
    """Make the record of an audit.

    Parameters
    ----------
    scores
        The scores.
    most
        Pairs kept of each score.
    describe
        Position to ``member``, ``name`` and ``caption``.
    evaluated
        Image set to positions of the pairs that stand in it.
    facts, notes
        For the record.
    elsewhere
        Whether the embeddings were made elsewhere, by an unknown model.
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
        notes=(FIVE_POISONS, *_notes(scores, settings, len(where), evaluated, elsewhere), *notes),
        facts=dict(facts),
    )


def _notes(
    scores: AuditScores,
    settings: NeighbourSettings,
    n: int,
    evaluated: Mapping[str, NDArray[np.int64]],
    elsewhere: bool,
) -> list[str]:
    """What the numbers do not tell."""
    k, reference = settings.k, bool(scores.reference)
    notes = [
        "A score ranks; it does not decide. Most sets hold odd pairs that nobody planted, and a "
        "poisoned pair can look ordinary: look at the worst before you exclude them.",
        _OTHER_EYES if elsewhere else _EYES,
    ]
    if reference:
        notes.append(
            f"Neighbours were searched among {scores.neighbours} pairs of the clean reference, and "
            f"the shares are of its other {len(scores.reference['dao'])} pairs."
        )
    elif settings.neighbours != "chunk":
        notes.append(
            f"Neighbours were searched among all {scores.neighbours} pairs. Where more than {k} "
            "planted pairs are in the whole set they are each other's neighbours, and DAO, SLOF "
            "and k-distance fail: they then call the planted pairs ordinary. In chunks, as "
            "published, a set may hold more before that happens. Look at Close group, the "
            "isolation forest and CLIPScore too."
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
    if scores.recall is not None:
        notes.append(
            f"The neighbours are approximate: of the exact ones of {SAMPLE} pairs drawn at random "
            f"{scores.recall:.1%} were found."
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


def facts_of(settings: NeighbourSettings, scores: AuditScores) -> dict[str, Any]:
    """How it was computed, for the record."""
    return {
        "k": settings.k,
        "chunk_size": settings.chunk,
        "chunks": scores.chunks,
        "neighbours": settings.neighbours,
        "neighbours_among": scores.neighbours,
        "recall": scores.recall,
        "captions": "of several captions of a picture the one least like it",
        "features": "unit vectors" if settings.unit else "as the encoder gives them",
        "seed": settings.seed,
        "reference_pairs": len(scores.reference.get("dao", ())),
        "fewest_pairs": FEWEST_FOLDS * settings.k,
        "scores": {name: {"high": s.high, "source": s.source} for name, s in SCORE.items()},
    }
