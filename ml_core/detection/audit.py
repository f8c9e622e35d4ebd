"""Every score of every pair, one chunk in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.detection.embed_pairs import Chunk, Embedded, EmbeddingSource, Indices, chunks_of
from ml_core.detection.neighbours import (
    Density,
    Forest,
    clip_score,
    dao,
    density,
    lid,
    nearest,
    slof,
)
from ml_core.detection.records import FEWEST_FOLDS, SCORE, SCORES, Neighbourhood
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import InputError

Values = NDArray[np.float32]
_REFERENCE_CHUNKS = 20


@dataclass(frozen=True)
class NeighbourSettings:
    """How neighbours are looked for; see `AuditSpec`.

    Raises
    ------
    InputError
        If k neighbours are a large part of a chunk.
    """

    k: int = 16
    chunk: int = 1024
    unit: bool = False
    seed: int = 0
    neighbours: Neighbourhood = "chunk"

    def __post_init__(self) -> None:
        if self.chunk < FEWEST_FOLDS * self.k:
            raise InputError(
                f"{self.k} neighbours cannot be searched among {self.chunk} pairs; at least "
                f"{FEWEST_FOLDS * self.k} are needed. Give a larger chunk, or lower k."
            )


@dataclass(frozen=True)
class AuditStep:
    """How many pairs of the set, or of the reference, are done."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class AuditScores:
    """Scores of all pairs.

    Attributes
    ----------
    values
        Score to float32 [N]; NaN where the picture cannot be read.
    reference
        Score to float32 [m] of the clean reference's pairs; empty without one.
    captions
        int64 [N], which of a picture's captions was scored, from 0: the one least like it.
    duplicates
        Pairs that have an exact duplicate among their neighbours.
    chunks, neighbours
        How many chunks there were, and among how many pairs neighbours were looked for.
    recall
        The share of the exact neighbours that was found, measured on a sample; None if all were.
    """

    values: Mapping[str, Values]
    reference: Mapping[str, Values]
    captions: NDArray[np.int64]
    duplicates: int
    chunks: int
    neighbours: int
    recall: float | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which pairs have scores, bool [N]."""
        return np.isfinite(self.values["dao"])

    def suspicion(self, name: str) -> Values:
        """A score turned so that high is suspicious."""
        return self.values[name] * np.float32(SCORE[name].sign)


@dataclass(frozen=True, eq=False)
class _Reference:
    """Clean pairs to find neighbours among."""

    points: Tensor
    among: Density
    forest: Forest


def score_pairs(
    pairs: EmbeddingSource,
    settings: NeighbourSettings,
    *,
    reference: EmbeddingSource | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[AuditStep | AuditScores]:
    """Score every pair with the suspect model's own embeddings.

    Neighbours are looked for within random chunks of the set, as published (Huang et al., ICLR
    2025, within training batches), or among up to a chunk of a clean reference, whose other pairs
    are then scored the same way and give the distribution to compare with.

    CLIPScore is the one score that sees captions. It takes the worst (lowest) of a picture's
    captions, in the set and in the reference alike, so that one planted caption among honest ones
    counts. The more captions a picture has, the lower its worst score is by chance.

    Parameters
    ----------
    pairs
        The set, embedded by the suspect checkpoint, since only a backdoored model sets poisoned
        pictures apart.
    reference
        Pairs known to be clean, embedded by the same.
    ranks
        The processes that do it together. The chunks are shared out among them; each is embedded
        and scored as one process alone would, so that the scores are the same, bit by bit.

    Yields
    ------
    Step or Found
        The last one is Found.

    Raises
    ------
    InputError
        If there are too few pairs, or the model's outputs are not numbers.
    """
    check_enough(len(pairs), settings.k, "pairs")
    device = pairs.device
    known: _Reference | None = None
    beside: dict[str, Values] = {}
    if reference is not None:
        check_enough(len(reference), 2 * settings.k, "pairs of the clean reference")
        parts, total = _halves(len(reference), settings)
        share = _Share(reference.embed(parts[ranks.rank :: ranks.world]), holds=ranks.first)
        for _, done in ranks.in_step(share.to_first(), device):
            yield AuditStep("reference", done, total)
        known = _reference(share.first, settings, ranks, device)
        rest = np.concatenate(parts[1:])
        table = _Table(rest, settings, known, known.forest, device)
        for _, done in ranks.in_step(share.each(table.score), device, share.done):
            yield AuditStep("reference", done, total)
        table.put_together(ranks, reference)
        beside = {name: row[table.scored] for name, row in table.values.items()}
    parts = chunks_of(pairs, settings.chunk, settings.seed)
    share = _Share(pairs.embed(parts[ranks.rank :: ranks.world]))
    for _, done in ranks.in_step(share.to_first(), device):
        yield AuditStep("embed", done, len(pairs))
    forest = known.forest if known is not None else _forest(share.first, settings, ranks, device)
    table = _Table(np.arange(len(pairs)), settings, known, forest, device)
    for _, done in ranks.in_step(share.each(table.score), device, share.done):
        yield AuditStep("embed", done, len(pairs))
    table.put_together(ranks, pairs)
    yield AuditScores(
        table.values,
        beside,
        table.captions,
        table.duplicates,
        len(parts),
        len(known.points) if known is not None else len(parts[0]),
    )


def check_enough(n: int, k: int, what: str) -> None:
    """Refuse a set in which k neighbours are a large part of all."""
    if n < FEWEST_FOLDS * k:
        raise InputError(
            f"There are {n} {what}; at least {FEWEST_FOLDS * k} are needed to look at the "
            "neighbours of each. Add more, or lower k."
        )


class _Share:
    """The chunks that this process embeds: first one, then the others, each handed on once.

    ``holds`` means that the first one is kept for `first` alone.
    """

    def __init__(self, embedded: Iterator[Embedded], *, holds: bool = False) -> None:
        self._embedded, self._holds = embedded, holds
        self.first: Chunk | None = None
        self.done = 0

    def to_first(self) -> Iterator[Embedded]:
        """Embed the first chunk."""
        for step in self._embedded:
            self.first, self.done = step.chunk, step.done
            yield step
            if self.first is not None:
                return

    def each(self, use: Callable[[Chunk], None]) -> Iterator[Embedded]:
        """Hand on the first chunk, and embed and hand on the others."""
        if self.first is not None and not self._holds:
            use(self.first)
        self.first = None
        for step in self._embedded:
            if step.chunk is not None:
                use(step.chunk)
            yield step


class _Table:
    """The scores of some pairs, ``members`` by position, as this process finds them."""

    def __init__(
        self,
        members: Indices,
        settings: NeighbourSettings,
        known: _Reference | None,
        forest: Forest,
        device: torch.device,
    ) -> None:
        self._members = members
        self._place = np.zeros(int(members.max(initial=-1)) + 1, np.int64)
        self._place[members] = np.arange(len(members))
        self._settings, self._known, self._forest, self._device = settings, known, forest, device
        self.values: dict[str, Values] = {
            s.name: np.zeros(len(members), np.float32) for s in SCORES
        }
        self.captions = np.zeros(len(members), np.int64)
        self.duplicates = 0
        self._read = np.zeros(len(members), np.int32)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which of them have scores."""
        return self._read > 0

    def score(self, chunk: Chunk) -> None:
        """Score the pairs of a chunk."""
        if self._known is None:
            check_read(chunk, self._settings.k)
        if not len(chunk.indices):
            return
        points = points_of(chunk.images, self._settings, self._device)
        scores, same = _score(chunk, points, self._settings.k, self._known, self._forest)
        at = self._place[chunk.indices]
        for name, row in scores.items():
            self.values[name][at] = row
        self.captions[at] = chunk.captions
        self._read[at] = 1
        self.duplicates += same

    def put_together(self, ranks: Ranks, source: EmbeddingSource) -> None:
        """Take in what the other processes found."""
        rows: list[NDArray[Any]] = [self._read, self.captions, *self.values.values()]
        for row in rows:
            ranks.merged(row, self._device)
        self.duplicates = ranks.total(self.duplicates, self._device)
        for row in self.values.values():
            row[~self.scored] = np.nan
        if ranks.first and ranks.world > 1:
            source.note_unread(self._members[~self.scored])


def _halves(count: int, settings: NeighbourSettings) -> tuple[list[Indices], int]:
    """The reference's first chunk, in which neighbours are found, its others, and their number."""
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(count).astype(np.int64)
    most = min(settings.chunk, count // 2)
    first = np.sort(order[:most])
    rest = order[most : most + _REFERENCE_CHUNKS * settings.chunk]
    parts = [first, *(np.sort(p) for p in np.array_split(rest, -(-len(rest) // settings.chunk)))]
    return parts, len(first) + len(rest)


def _reference(
    first: Chunk | None, settings: NeighbourSettings, ranks: Ranks, device: torch.device
) -> _Reference:
    """What the first process embedded, in all of them."""
    with ranks.as_one(device):
        if ranks.first and (first is None or len(first.indices) <= settings.k):
            raise InputError(
                "Too few pictures of the clean reference can be read; choose another.", "damaged"
            )
    images = ranks.rows_of_first(None if first is None else first.images, device)
    points = points_of(images, settings, device)
    return _Reference(points, density(nearest(points, settings.k)), Forest(points, settings.seed))


def _forest(
    first: Chunk | None, settings: NeighbourSettings, ranks: Ranks, device: torch.device
) -> Forest:
    """The forest of the set's first chunk, which the first process embedded."""
    with ranks.as_one(device):
        if ranks.first and first is not None:
            check_read(first, settings.k)
    images = ranks.rows_of_first(None if first is None else first.images, device)
    return Forest(points_of(images, settings, device), settings.seed)


def check_read(chunk: Chunk, k: int) -> None:
    """Refuse a chunk if too few of its pairs can be read."""
    if len(chunk.indices) <= k:
        raise InputError(
            f"Of {chunk.asked} pairs that were to be compared only {len(chunk.indices)} have "
            "a picture that can be read; choose other pairs.",
            "damaged",
        )


def points_of(images: Tensor, settings: NeighbourSettings, device: torch.device) -> Tensor:
    """The pictures' points, [n, D] on the device."""
    images = images.to(device)
    return F.normalize(images, dim=-1) if settings.unit else images


def _score(
    chunk: Chunk, points: Tensor, k: int, known: _Reference | None, forest: Forest
) -> tuple[dict[str, Values], int]:
    """All scores of a chunk, and how many of its pairs have an exact duplicate."""
    own = nearest(points, k, None if known is None else known.points)
    among = density(own) if known is None else known.among
    radius = own.radius
    scores = {
        "dao": dao(radius, own.places, among),
        "slof": slof(radius, own.places, among),
        "k_distance": radius,
        "lid": lid(own),
        "closeness": radius,
        "isolation": forest.score(points),
        "clip_score": clip_score(chunk.images, chunk.texts),
    }
    duplicates = int((own.distances[:, 0] == 0).sum())
    return {name: v.numpy().astype(np.float32) for name, v in scores.items()}, duplicates
