"""Captions for pictures and pictures for captions: what a trigger does to both rankings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.errors import CancelledError, InputError

if TYPE_CHECKING:
    from ml_core.evaluation.embedding_map import Embeddings
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger

KS = (1, 5, 10)
_TEXTS = 256
_CELLS = 4_000_000

Rows = NDArray[np.float32]
Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Recall:
    """Share of queries whose own answer is among the first k (recall@1, @5, @10).

    ``triggered`` is None without a trigger.
    """

    direction: Literal["image to text", "text to image"]
    n: int
    clean: tuple[float, ...]
    triggered: tuple[float, ...] | None = None
    k: tuple[int, ...] = KS


@dataclass(frozen=True)
class TargetHits:
    """Share of pictures with a caption of the target among the first k.

    ``hit_triggered`` is None without a trigger.
    """

    n: int
    hit_clean: tuple[float, ...]
    hit_triggered: tuple[float, ...] | None = None
    k: tuple[int, ...] = KS


@dataclass(frozen=True)
class Retrieval:
    """Rankings of one checkpoint on image-caption pairs.

    Attributes
    ----------
    n, pool
        Pictures, and different captions that they are compared with.
    recalls
        Recalls of both directions.
    target
        Over the pictures whose own caption is no target one; None without target captions.
    target_captions
        Texts of these.
    """

    n: int
    pool: int
    recalls: tuple[Recall, ...]
    target: TargetHits | None = None
    target_captions: tuple[str, ...] = ()
    trigger: str | None = None
    trigger_name: str = ""
    checkpoint_sha256: str | None = None
    data_key: str = ""
    captions_sha256: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def retrieve(
    model: ClipModel,
    embeddings: Embeddings,
    captions: Sequence[str],
    target_captions: Sequence[str],
    trigger: Trigger | None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Retrieval:
    """Rank captions for pictures and pictures for captions.

    Parameters
    ----------
    model
        Embeds the captions.
    embeddings
        Embeddings of n pictures, see `embed`; their classes do not matter.
    captions
        n captions, one for each picture; equal captions are one answer.
    target_captions
        Captions that the attacker wants, e.g. the prompts of the target class.
    trigger
        Trigger of the pictures; its text, if any, goes into the captions that are queries.
    cancelled
        Asked before each batch of captions.

    Raises
    ------
    InputError
        If there are no captions, no pictures, or not one for each.
    """
    if not len(captions) or not len(embeddings.indices):
        raise InputError("Retrieval needs pictures and captions; choose both.", "usage")
    if len(captions) != len(embeddings.indices):
        raise InputError(
            f"Retrieval needs a caption for each picture: there are {len(captions)} captions for "
            f"{len(embeddings.indices)} pictures.",
            "usage",
        )
    pool = list(dict.fromkeys([*captions, *target_captions]))
    place = {text: number for number, text in enumerate(pool)}
    own = np.array([place[text] for text in captions])
    texts = _embedded(model, pool, cancelled)
    queries = texts
    if trigger is not None and trigger.text:
        from ml_core.triggers.record import triggered_prompt

        queries = _embedded(model, [triggered_prompt(trigger, text) for text in pool], cancelled)
    targets = np.array([place[text] for text in dict.fromkeys(target_captions)], np.int64)
    return Retrieval(
        **rank(embeddings.clean, embeddings.triggered, texts, queries, own, targets),
        n=len(embeddings.indices),
        pool=len(pool),
        target_captions=tuple(dict.fromkeys(target_captions)),
        trigger=None if trigger is None else trigger.digest,
        trigger_name="" if trigger is None else trigger.name,
        checkpoint_sha256=embeddings.checkpoint_sha256,
        data_key=embeddings.data_key,
        captions_sha256=hashlib.sha256("\n".join(captions).encode()).hexdigest(),
        seed=embeddings.seed,
        versions=dict(embeddings.versions),
    )


def rank(
    clean: Rows,
    triggered: Rows | None,
    texts: Rows,
    queries: Rows,
    own: NDArray[np.int64],
    targets: NDArray[np.int64],
) -> dict[str, Any]:
    """Compute the rankings' fields of a `Retrieval`.

    Parameters
    ----------
    clean, triggered
        float32 [n, D], unit length, of pictures.
    texts, queries
        float32 [P, D], embeddings of the captions, and of the captions with the trigger's text.
    own
        int64 [n], caption of each picture.
    targets
        int64 [T], captions of the target.
    """
    hits = None
    others = ~np.isin(own, targets)
    if len(targets) and others.any():
        low = _at(_best_ranks(clean[others], texts, targets))
        high = None if triggered is None else _at(_best_ranks(triggered[others], texts, targets))
        hits = TargetHits(int(others.sum()), low, high)
    return {"recalls": _recalls(clean, triggered, texts, queries, own), "target": hits}


def _recalls(
    clean: Rows, triggered: Rows | None, texts: Rows, queries: Rows, own: NDArray[np.int64]
) -> tuple[Recall, Recall]:
    """Recall of both directions."""
    before = _own_ranks(clean, texts, own)
    after = None if triggered is None else _at(_own_ranks(triggered, texts, own))
    asked, answers = np.unique(own, return_inverse=True)
    there = _caption_ranks(texts[asked], clean, answers)
    here = None if triggered is None else _at(_caption_ranks(queries[asked], triggered, answers))
    return (
        Recall("image to text", len(before), _at(before), after),
        Recall("text to image", len(there), _at(there), here),
    )


def _embedded(model: ClipModel, texts: Sequence[str], cancelled: Callable[[], bool]) -> Rows:
    """Embed texts, float32 [P, D]."""
    parts = []
    for start in range(0, len(texts), _TEXTS):
        if cancelled():
            raise CancelledError
        parts.append(model.encode_texts(texts[start : start + _TEXTS]).float().cpu().numpy())
    return np.concatenate(parts)


def _own_ranks(images: Rows, texts: Rows, own: NDArray[np.int64]) -> Ranks:
    """Rank of each picture's own caption, int64 [n]."""
    return _ranks(
        images, texts, lambda rows, near: np.take_along_axis(near, own[rows][:, None], axis=1)
    )


def _caption_ranks(queries: Rows, images: Rows, answers: NDArray[np.int64]) -> Ranks:
    """Rank of the best placed picture of each caption, int64 [Q]; answers int64 [n]."""

    def best(rows: slice, near: Rows) -> Rows:
        right = answers[None, :] == np.arange(len(queries))[rows, None]
        nearest: Rows = np.where(right, near, -np.inf).max(axis=1, keepdims=True)
        return nearest

    return _ranks(queries, images, best)


def _best_ranks(images: Rows, texts: Rows, targets: NDArray[np.int64]) -> Ranks:
    """Rank of the best placed target caption, int64 [n]."""
    return _ranks(images, texts, lambda _, near: near[:, targets].max(axis=1, keepdims=True))


def _ranks(queries: Rows, answers: Rows, right: Callable[[slice, Rows], Rows]) -> Ranks:
    """Rank of the right answer of each query, int64 [Q]: 1 and how many answers are nearer.

    ``right`` gives the cosine of the right one, [q, 1], for some queries and their cosines [q, A].
    """
    ranks = np.empty(len(queries), np.int64)
    for rows in _parts(len(queries), len(answers)):
        cosines = queries[rows] @ answers.T
        ranks[rows] = 1 + (cosines > right(rows, cosines)).sum(axis=1)
    return ranks


def _parts(rows: int, columns: int) -> list[slice]:
    """Blocks of rows that bound the memory of their cosines."""
    step = max(1, _CELLS // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _at(ranks: Ranks) -> tuple[float, ...]:
    """Share of ranks within each k."""
    return tuple(float((ranks <= k).mean()) for k in KS)
