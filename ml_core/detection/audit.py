"""Every score of every pair, one chunk in memory at a time."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.data.order import epoch_order
from ml_core.detection.embed_pairs import Chunk, EncodedPairs, Indices
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
from ml_core.detection.records import DETECTORS, FEWEST_FOLDS, SCORE, SCORES, Detector
from ml_core.events import Progress
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.data.pairs import PairSet

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

    def __post_init__(self) -> None:
        if self.chunk < FEWEST_FOLDS * self.k:
            raise InputError(
                f"{self.k} neighbours cannot be searched among {self.chunk} pairs; at least "
                f"{FEWEST_FOLDS * self.k} are needed. Give a larger chunk, or lower k."
            )


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


@dataclass(frozen=True, eq=False)
class _Reference:
    """Clean pairs to find neighbours among."""

    points: Tensor
    among: Density
    forest: Forest


def score_pairs(
    pairs: EncodedPairs, settings: NeighbourSettings, *, reference: EncodedPairs | None = None
) -> Generator[Progress, None, AuditScores]:
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

    Yields
    ------
    Progress
        Of the stages ``reference`` and ``embed``, in pairs.

    Returns
    -------
    AuditScores
        Of all pairs.

    Raises
    ------
    InputError
        If there are too few pairs, or the model's outputs are not numbers.
    """
    _check_enough(len(pairs), settings.k, "pairs")
    known: _Reference | None = None
    beside: dict[str, list[Values]] = {score.name: [np.empty(0, np.float32)] for score in SCORES}
    if reference is not None:
        _check_enough(len(reference), 2 * settings.k, "pairs of the clean reference")
        parts, total = _halves(len(reference), settings)
        for step in reference.embed(parts):
            if step.chunk is not None and known is None:
                known = _reference(step.chunk, settings, reference.device)
            elif step.chunk is not None and known is not None and len(step.chunk.indices):
                points = _points(step.chunk, settings, reference.device)
                scores, _ = _score(step.chunk, points, settings.k, known, known.forest)
                for name, row in scores.items():
                    beside[name].append(row)
            yield Progress("reference", step.done, total)
    parts = _chunks(pairs.pairs, settings)
    forest = None if known is None else known.forest
    values: dict[str, Values] = {
        score.name: np.full(len(pairs), np.nan, np.float32) for score in SCORES
    }
    captions = np.zeros(len(pairs), np.int64)
    duplicates = 0
    for step in pairs.embed(parts):
        chunk = step.chunk
        if chunk is not None and known is None:
            _check_read(chunk, settings.k)
        if chunk is not None and len(chunk.indices):
            points = _points(chunk, settings, pairs.device)
            if forest is None:
                forest = Forest(points, settings.seed)
            scores, same = _score(chunk, points, settings.k, known, forest)
            for name, row in scores.items():
                values[name][chunk.indices] = row
            captions[chunk.indices] = chunk.captions
            duplicates += same
        yield Progress("embed", step.done, len(pairs))
    return AuditScores(
        values,
        {} if known is None else {name: np.concatenate(rows) for name, rows in beside.items()},
        captions,
        duplicates,
        len(parts),
        len(known.points) if known is not None else len(parts[0]),
    )


def _check_enough(n: int, k: int, what: str) -> None:
    """Refuse a set in which k neighbours are a large part of all."""
    if n < FEWEST_FOLDS * k:
        raise InputError(
            f"There are {n} {what}; at least {FEWEST_FOLDS * k} are needed to look at the "
            "neighbours of each. Add more, or lower k."
        )


def _chunks(pairs: PairSet, settings: NeighbourSettings) -> list[Indices]:
    """Random parts of a set of about the chunk's size, none much smaller, ascending inside.

    As published, each is a random sample of the set: it holds poisons at the rate of the whole. If
    the set is stored in blocks (shards, Parquet), each part is a sample of several random blocks.
    """
    order = epoch_order(settings.seed, 0, len(pairs), pairs.blocks, pairs.window)
    parts = np.array_split(order, max(1, round(len(order) / settings.chunk)))
    return [np.sort(part) for part in parts]


def _halves(count: int, settings: NeighbourSettings) -> tuple[list[Indices], int]:
    """The reference's first chunk, in which neighbours are found, its others, and their number."""
    order = np.random.Generator(np.random.PCG64(settings.seed)).permutation(count).astype(np.int64)
    most = min(settings.chunk, count // 2)
    first = np.sort(order[:most])
    rest = order[most : most + _REFERENCE_CHUNKS * settings.chunk]
    parts = [first, *(np.sort(p) for p in np.array_split(rest, -(-len(rest) // settings.chunk)))]
    return parts, len(first) + len(rest)


def _reference(chunk: Chunk, settings: NeighbourSettings, device: torch.device) -> _Reference:
    """The reference's first chunk, to find neighbours in."""
    if len(chunk.indices) <= settings.k:
        raise InputError(
            "Too few pictures of the clean reference can be read; choose another.", "damaged"
        )
    points = _points(chunk, settings, device)
    return _Reference(points, density(nearest(points, settings.k)), Forest(points, settings.seed))


def _check_read(chunk: Chunk, k: int) -> None:
    """Refuse a chunk if too few of its pairs can be read."""
    if len(chunk.indices) <= k:
        raise InputError(
            f"Of {chunk.asked} pairs that were to be compared only {len(chunk.indices)} have "
            "a picture that can be read; choose other pairs.",
            "damaged",
        )


def _points(chunk: Chunk, settings: NeighbourSettings, device: torch.device) -> Tensor:
    """The pictures' points, [n, D] on the device."""
    images = chunk.images.to(device)
    return F.normalize(images, dim=-1) if settings.unit else images


def _score(
    chunk: Chunk, points: Tensor, k: int, known: _Reference | None, forest: Forest
) -> tuple[dict[str, Values], int]:
    """All scores of a chunk, and how many of its pairs have an exact duplicate."""
    own = nearest(points, k, None if known is None else known.points)
    among = density(own) if known is None else known.among
    scores = {
        "dao": dao(own, among),
        "slof": slof(own, among),
        "k_distance": own.radius,
        "lid": lid(own),
        "closeness": own.radius,
        "isolation": forest.score(points),
        "clip_score": clip_score(chunk.images, chunk.texts),
        **{each.score.name: _detected(each, chunk) for each in DETECTORS},
    }
    duplicates = int((own.distances[:, 0] == 0).sum())
    return {name: v.numpy().astype(np.float32) for name, v in scores.items()}, duplicates


def _detected(detector: Detector, chunk: Chunk) -> Tensor:
    """What a plug-in's detector gives for a chunk, checked."""
    name = detector.score.title
    try:
        values = torch.as_tensor(detector.compute(chunk.images, chunk.texts)).detach().cpu()
    except Exception as error:  # a stranger's code may raise anything
        raise InputError(
            f"The detector {name} of a plug-in failed with {type(error).__name__}: "
            f"{str(error)[:200].rstrip('.')}. Update the plug-in, or switch it off."
        ) from error
    if values.shape != (len(chunk.indices),) or not bool(torch.isfinite(values).all()):
        raise InputError(
            f"The detector {name} of a plug-in gave no finite number for each pair: update the "
            "plug-in, or switch it off."
        )
    return values
