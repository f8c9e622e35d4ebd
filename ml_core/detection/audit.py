"""Every score of every pair, one chunk in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.detection.embed_pairs import Chunk, Pairs, chunks_of, embed_chunks
from ml_core.detection.neighbours import Neighbours, nearest
from ml_core.detection.records import FEWEST_FOLDS, SCORE, SCORES
from ml_core.detection.scores import Forest, clip_score, dao, k_distance, lid, slof
from ml_core.evaluation.embedding_store import EmbeddingStore
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel

Values = NDArray[np.float32]
_REFERENCE_CHUNKS = 20


@dataclass(frozen=True)
class Settings:
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
    batch: int = 128

    def __post_init__(self) -> None:
        if self.chunk < FEWEST_FOLDS * self.k:
            raise InputError(
                f"{self.k} neighbours cannot be looked for among {self.chunk} pairs; at least "
                f"{FEWEST_FOLDS * self.k} are needed. Give a larger chunk, or lower k."
            )


@dataclass(frozen=True)
class Step:
    """Pairs done of all, of the set or of the reference."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Found:
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
    """

    values: Mapping[str, Values]
    reference: Mapping[str, Values]
    captions: NDArray[np.int64]
    duplicates: int
    chunks: int
    neighbours: int

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Which pairs have scores, bool [N]."""
        return np.isfinite(self.values["dao"])

    def suspicion(self, name: str) -> Values:
        """A score turned so that high is suspicious."""
        return self.values[name] * np.float32(SCORE[name].sign)


@dataclass(eq=False)
class _Reference:
    """Clean pairs to find neighbours among."""

    points: Tensor
    among: Neighbours
    forest: Forest
    values: dict[str, Values] = field(default_factory=dict)


def score_pairs(
    model: ClipModel,
    pairs: Pairs,
    settings: Settings,
    *,
    data_key: str = "",
    reference: Pairs | None = None,
    reference_key: str = "",
    store: EmbeddingStore | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Step | Found]:
    """Score every pair with the suspect model's own embeddings.

    Neighbours are looked for within random chunks of the set, as published (Huang et al., ICLR
    2025, within training batches), or among up to a chunk of a clean reference, whose other pairs
    are then scored the same way and give the distribution to compare with.

    CLIPScore, the one score that sees captions, takes of several captions of a picture the worst
    (the lowest), in the set and in the reference alike: one planted caption among honest ones
    counts. The more captions a picture has, the lower its worst lies by chance.

    Parameters
    ----------
    model
        The suspect checkpoint: it is a backdoored model that lays poisoned pictures apart.
    pairs, data_key
        The set, and its identity for the store.
    reference, reference_key
        Pairs known to be clean.
    store
        Keeps the embeddings.
    cancelled
        Asked before each batch.

    Yields
    ------
    Step or Found
        The last one is Found.

    Raises
    ------
    InputError
        If there are too few pairs, or the model's outputs are not numbers.
    """
    _check(len(pairs), settings.k, "pairs")
    known: _Reference | None = None
    if reference is not None:
        _check(len(reference), 2 * settings.k, "pairs of the clean reference")
        for step in _prepare(model, reference, settings, reference_key, store, cancelled):
            if isinstance(step, Step):
                yield step
            else:
                known = step
    values: dict[str, Values] = {s.name: np.full(len(pairs), np.nan, np.float32) for s in SCORES}
    captions = np.zeros(len(pairs), np.int64)
    parts = chunks_of(pairs, settings.chunk, settings.seed)
    forest = known.forest if known is not None else None
    duplicates = 0
    for embedded in embed_chunks(
        model,
        pairs,
        parts,
        data_key=data_key,
        batch=settings.batch,
        store=store,
        cancelled=cancelled,
    ):
        done = Step("embed", embedded.done, len(pairs))
        if embedded.chunk is None:
            yield done
            continue
        chunk = embedded.chunk
        if known is None and len(chunk.indices) <= settings.k:
            raise InputError(
                f"Of {len(parts[0])} pairs that were to be compared only {len(chunk.indices)} have "
                "a picture that can be read; choose other pairs.",
                "damaged",
            )
        if not len(chunk.indices):
            continue
        points = _points(chunk, settings, model)
        forest = forest or Forest(points, settings.seed)
        scores, same = _score(chunk, points, settings.k, known, forest)
        duplicates += same
        for name, found in scores.items():
            values[name][chunk.indices] = found
        captions[chunk.indices] = chunk.captions
        yield done
    yield Found(
        values,
        {} if known is None else known.values,
        captions,
        duplicates,
        len(parts),
        len(known.points) if known is not None else len(parts[0]),
    )


def _check(n: int, k: int, what: str) -> None:
    """Refuse a set in which k neighbours are a large part of all."""
    if n < FEWEST_FOLDS * k:
        raise InputError(
            f"There are {n} {what}; at least {FEWEST_FOLDS * k} are needed to look at the "
            "neighbours of each. Name more, or lower k."
        )


def _prepare(
    model: ClipModel,
    reference: Pairs,
    settings: Settings,
    key: str,
    store: EmbeddingStore | None,
    cancelled: Callable[[], bool],
) -> Iterator[Step | _Reference]:
    """Embed the clean reference: half of it, a chunk at most, to find neighbours in."""
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(reference))
    order = order.astype(np.int64)
    most = min(settings.chunk, len(reference) // 2)
    first = np.sort(order[:most])
    rest = order[most : most + _REFERENCE_CHUNKS * settings.chunk]
    parts = [first, *(np.sort(p) for p in np.array_split(rest, -(-len(rest) // settings.chunk)))]
    total = len(first) + len(rest)
    known: _Reference | None = None
    gathered: dict[str, list[Values]] = {score.name: [] for score in SCORES}
    for embedded in embed_chunks(
        model,
        reference,
        parts,
        data_key=key,
        batch=settings.batch,
        store=store,
        cancelled=cancelled,
    ):
        yield Step("reference", embedded.done, total)
        if embedded.chunk is None:
            continue
        points = _points(embedded.chunk, settings, model)
        if known is None:
            if len(points) <= settings.k:
                raise InputError(
                    "Too few pictures of the clean reference can be read; choose another.",
                    "damaged",
                )
            known = _Reference(points, nearest(points, settings.k), Forest(points, settings.seed))
        elif len(points):
            scores, _ = _score(embedded.chunk, points, settings.k, known, known.forest)
            for name, found in scores.items():
                gathered[name].append(found)
    assert known is not None
    known.values |= {name: np.concatenate(parts) for name, parts in gathered.items()}
    yield known


def _points(chunk: Chunk, settings: Settings, model: ClipModel) -> Tensor:
    """Where the pictures lie, on the model's device."""
    images = chunk.images.to(model.device)
    return F.normalize(images, dim=-1) if settings.unit else images


def _score(
    chunk: Chunk, points: Tensor, k: int, known: _Reference | None, forest: Forest
) -> tuple[dict[str, Values], int]:
    """All scores of a chunk, and how many of its pairs have an exact duplicate."""
    own = nearest(points, k, None if known is None else known.points)
    among = own if known is None else known.among
    radius = k_distance(own)
    found = {
        "dao": dao(own, among),
        "slof": slof(own, among),
        "k_distance": radius,
        "lid": lid(own),
        "closeness": radius,
        "isolation": forest.score(points),
        "clip_score": clip_score(chunk.images, chunk.texts),
    }
    duplicates = int((own.distances[:, 0] == 0).sum())
    return {name: v.numpy().astype(np.float32) for name, v in found.items()}, duplicates
