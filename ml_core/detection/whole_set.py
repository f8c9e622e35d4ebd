"""Every score of every pair of a set whose embeddings lie on disk, with neighbours in all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.embedding_shards import IMAGES, TEXTS, EmbeddingShards, open_embeddings
from ml_core.detection.audit import (
    AuditScores,
    AuditStep,
    NeighbourSettings,
    check_enough,
    check_read,
    points_of,
)
from ml_core.detection.embed_pairs import (
    Chunk,
    Embedded,
    EmbeddingSource,
    EncodedPairs,
    Indices,
    chunks_of,
)
from ml_core.detection.neighbours import (
    Density,
    Forest,
    Neighbours,
    Space,
    clip_score,
    closest,
    dao,
    lid,
    nearest_of_all,
    precision,
    slof,
)
from ml_core.detection.records import SCORES
from ml_core.detection.summary import SAMPLE, Index, shared_index
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import CancelledError, InputError

_READ = 4096
# Points whose neighbours are looked for at once: the more, the less often all others are read.
_AT_ONCE = {"cuda": 32_768}
_AT_ONCE_ELSEWHERE = 1024


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """Embeddings made elsewhere as a `EmbeddingSource`: nothing is encoded.

    Attributes
    ----------
    shards
        The embeddings. A row with NaN or infinity counts as a pair that cannot be read.
    device
        Where to compute with them.
    cancelled
        Asked before each chunk.
    """

    shards: EmbeddingShards
    device: torch.device
    cancelled: Callable[[], bool] = lambda: False

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def blocks(self) -> Indices | None:
        """Sizes of the runs of pairs that lie together."""
        return self.shards.blocks

    @property
    def window(self) -> int:
        """How many pairs are put in random order together, see `epoch_order`."""
        return self.shards.window

    def embed(self, chunks: Sequence[Indices]) -> Iterator[Embedded]:
        """Read the chunks."""
        done = 0
        for chunk in chunks:
            if self.cancelled():
                raise CancelledError
            images, texts = self.shards.images(chunk), self.shards.texts(chunk)
            read = _finite(images) & _finite(texts)
            done += len(chunk)
            rows = Chunk(
                chunk[read],
                torch.from_numpy(images[read]),
                torch.from_numpy(texts[read]),
                np.zeros(int(read.sum()), np.int64),
                len(chunk),
            )
            yield Embedded(done, rows)

    def note_unread(self, indices: Indices) -> None:
        """Do nothing: no more is known about pairs that cannot be read."""


@dataclass(frozen=True)
class _Done:
    """Pairs done."""

    done: int


def score_encoded(
    source: EncodedPairs, settings: NeighbourSettings, folder: Path, ranks: Ranks = ALONE
) -> Iterator[AuditStep | AuditScores]:
    """Embed pairs into a folder, and score them by their neighbours in the whole set.

    Parameters
    ----------
    source
        The set, with the suspect checkpoint.
    settings, ranks
        As in `score_whole`.
    folder
        Takes D x 8 bytes a pair; seen by all processes.

    Yields
    ------
    Step or Found
        The last one is Found.

    Raises
    ------
    InputError
        As `score_whole`, or if the model's outputs are not numbers.
    """
    check_enough(len(source), settings.k, "pairs")
    captions = np.zeros(len(source), np.int64)
    yield from keep_embeddings(source, source.model.embed_dim, folder, captions, ranks)
    with ranks.as_one(source.device):
        embedded = StoredEmbeddings(open_embeddings(folder), source.device, source.cancelled)
    for step in score_whole(embedded, settings, captions=captions, folder=folder, ranks=ranks):
        if isinstance(step, AuditScores) and ranks.first and ranks.world > 1:
            source.note_unread(np.flatnonzero(~step.scored))
        yield step


def keep_embeddings(
    source: EmbeddingSource, width: int, folder: Path, captions: NDArray[np.int64], ranks: Ranks
) -> Iterator[AuditStep]:
    """Embed a whole set into a folder, as clip-retrieval lays it out, the row being the position.

    Parameters
    ----------
    source
        What to embed.
    width
        Numbers of an embedding.
    folder
        The folder to write, which all processes see.
    captions
        int64 [N] of zeros; filled with which caption of each picture is kept.
    ranks
        The processes that do it together.
    """
    parts = np.array_split(np.arange(len(source)), -(-len(source) // _READ))
    own = list(range(ranks.rank, len(parts), ranks.world))

    def write() -> Iterator[Embedded]:
        waiting = iter(own)
        for step in source.embed([parts[number] for number in own]):
            if step.chunk is not None:
                number = next(waiting)
                _write_shard(folder, number, parts[number], step.chunk, width)
                captions[step.chunk.indices] = step.chunk.captions
            yield step

    with ranks.as_one(source.device):
        for kind in (IMAGES, TEXTS):
            (folder / kind).mkdir(exist_ok=True)
    for _, done in ranks.in_step(write(), source.device):
        yield AuditStep("embed", done, len(source))
    ranks.merged(captions, source.device)


def score_whole(
    source: StoredEmbeddings,
    settings: NeighbourSettings,
    *,
    captions: NDArray[np.int64] | None = None,
    folder: Path | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[AuditStep | AuditScores]:
    """Score every pair by its neighbours in the whole set, exact or approximate.

    Parameters
    ----------
    source
        The embeddings.
    settings
        With ``neighbours`` all or approximate.
    captions
        int64 [N], which caption of each picture the embeddings are of; None: the first.
    folder
        Where the index of approximate neighbours is kept meanwhile, seen by all processes.
    ranks
        The processes that do it together: blocks of pairs are shared out among them. All of them
        read the files.

    Yields
    ------
    Step or Found
        The last one is Found.

    Raises
    ------
    InputError
        If there are too few pairs that can be read, or faiss is not installed and asked for.
    """
    shards, device, total = source.shards, source.device, len(source)
    check_enough(total, settings.k, "pairs")
    values: dict[str, NDArray[np.float32]] = {s.name: np.zeros(total, np.float32) for s in SCORES}
    read = np.zeros(total, np.int32)
    sample = _sample(source, settings)
    forest = Forest(sample, settings.seed)
    blocks = range(ranks.rank * _READ, total, ranks.world * _READ)

    def look() -> Iterator[_Done]:
        done = 0
        for first in blocks:
            if source.cancelled():
                raise CancelledError
            at = np.arange(first, min(first + _READ, total), dtype=np.int64)
            images, texts = shards.images(at), shards.texts(at)
            good = _finite(images) & _finite(texts)
            at, done = at[good], done + len(at)
            read[at] = 1
            if len(at):
                points = points_of(torch.from_numpy(images[good]), settings, device)
                values["isolation"][at] = forest.score(points).numpy()
                scores = clip_score(torch.from_numpy(images[good]), torch.from_numpy(texts[good]))
                values["clip_score"][at] = scores.numpy()
            yield _Done(done)

    for _, done in ranks.in_step(look(), device):
        yield AuditStep("read", done, total)
    merged: list[NDArray[Any]] = [read, values["isolation"], values["clip_score"]]
    for row in merged:
        ranks.merged(row, device)
    there = read > 0
    _check_there(there, settings.k)
    middle = sample.to(precision(device)).mean(dim=0)
    space = Space(shards, there, middle, settings.unit, source.cancelled)
    index: Index | None = None
    if settings.neighbours == "approximate":
        assert folder is not None
        index = yield from shared_index(space, settings.seed, folder, ranks)
    near = _Near(space, settings.k, index)
    at_once = _AT_ONCE.get(device.type, _AT_ONCE_ELSEWHERE)
    own = [np.arange(first, min(first + at_once, total)) for first in range(0, total, at_once)]
    own = own[ranks.rank :: ranks.world]
    for _, done in ranks.in_step(near.find(own), device):
        yield AuditStep("neighbours", done, total)
    merged = [near.radius, near.dimension]
    for row in merged:
        ranks.merged(row, device)
    among = _among(near, there)
    ranked = np.cumsum(there) - 1  # position in the set to position among those that can be read
    for at, places in zip(own, near.places, strict=True):
        mine = torch.from_numpy(near.radius[at])
        them = torch.from_numpy(ranked[places])
        values["dao"][at] = dao(mine, them, among).numpy()
        values["slof"][at] = slof(mine, them, among).numpy()
    for row in (values["dao"], values["slof"]):
        row[~there] = 0
        ranks.merged(row, device)
    values["k_distance"] = near.radius.astype(np.float32)
    values["closeness"] = values["k_distance"].copy()
    values["lid"] = near.dimension.astype(np.float32)
    for row in values.values():
        row[~there] = np.nan
    recall: float | None = None
    if index is not None:
        for step in _recall(near, settings, ranks, device):
            if isinstance(step, AuditStep):
                yield step
            else:
                recall = step
    yield AuditScores(
        values,
        {},
        np.zeros(total, np.int64) if captions is None else captions,
        ranks.total(near.duplicates, device),
        1,
        int(there.sum()),
        recall,
    )


class _Near:
    """Neighbours of the points that this process scores."""

    def __init__(self, space: Space, k: int, index: Index | None) -> None:
        self.space, self._k, self._index = space, k, index
        total = len(space.rows)
        self.radius = np.zeros(total)
        self.dimension = np.zeros(total)
        self.places: list[NDArray[np.int32 | np.int64]] = []
        self.duplicates = 0
        self._kind = np.int32 if total < 1 << 31 else np.int64

    def find(self, blocks: list[Indices]) -> Iterator[_Done]:
        """Find neighbours block by block; points that cannot be read get none."""
        done = 0
        for at in blocks:
            asked = at[self.space.read[at]]
            neighbours: Neighbours | None = None
            for step in self.neighbours(asked):
                if isinstance(step, Neighbours):
                    neighbours = step
                else:
                    yield _Done(done + int(step * len(at)))
            assert neighbours is not None
            done += len(at)
            places = np.full((len(at), self._k), asked[0] if len(asked) else 0, self._kind)
            places[self.space.read[at]] = neighbours.places.numpy()
            self.places.append(places)
            self.radius[asked] = neighbours.radius.numpy()
            self.dimension[asked] = lid(neighbours).numpy()
            self.duplicates += int((neighbours.distances[:, 0] == 0).sum())
            yield _Done(done)

    def neighbours(self, at: Indices) -> Iterator[float | Neighbours]:
        """The neighbours of some points, by the index if any; exact if it finds too few."""
        if not len(at):
            yield Neighbours(torch.empty(0, self._k), torch.empty(0, self._k, dtype=torch.int64))
            return
        if self._index is None:
            yield from nearest_of_all(self.space, at, self._k)
            return
        if self.space.cancelled():
            raise CancelledError
        here = self.space.at(at)
        candidates, usable = self._index.candidates(here, at, self._k)
        neighbours = closest(self.space, here, candidates, usable, self._k)
        few = np.flatnonzero(~torch.isfinite(neighbours.radius).numpy())
        if len(few):
            exact: Neighbours | None = None
            for step in nearest_of_all(self.space, at[few], self._k):
                exact = step if isinstance(step, Neighbours) else exact
            assert exact is not None
            neighbours.distances[few], neighbours.places[few] = exact.distances, exact.places
        yield neighbours


def _recall(
    near: _Near, settings: NeighbourSettings, ranks: Ranks, device: torch.device
) -> Iterator[AuditStep | float]:
    """The share of the exact neighbours that the index found, measured on a sample of the pairs."""
    there = np.flatnonzero(near.space.read)
    drawn = np.random.Generator(np.random.PCG64([settings.seed, 1])).permutation(len(there))
    sample = np.sort(there[drawn[:SAMPLE]])
    own = sample[ranks.rank :: ranks.world]
    hits = 0

    def compare() -> Iterator[_Done]:
        nonlocal hits
        if not len(own):
            return
        for step in nearest_of_all(near.space, own, settings.k):
            if isinstance(step, Neighbours):
                (exact,) = near.neighbours(own)
                assert isinstance(exact, Neighbours)
                # By distance, since of several that are as far any will do.
                hits = int((exact.distances <= step.radius[:, None] * (1 + 1e-9)).sum())
            else:
                yield _Done(int(step * len(own)))

    for _, done in ranks.in_step(compare(), device):
        yield AuditStep("recall", done, len(sample))
    yield ranks.total(hits, device) / (settings.k * len(sample))


def _among(near: _Near, there: NDArray[np.bool_]) -> Density:
    """The density at all points that can be read."""
    return Density(torch.from_numpy(near.radius[there]), torch.from_numpy(near.dimension[there]))


def _sample(source: StoredEmbeddings, settings: NeighbourSettings) -> Tensor:
    """Points of a random part of the set, which every process reads for itself."""
    part = chunks_of(source, settings.chunk, settings.seed)[0]
    (step,) = source.embed([part])
    assert step.chunk is not None
    check_read(step.chunk, settings.k)
    return points_of(step.chunk.images, settings, source.device)


def _check_there(there: NDArray[np.bool_], k: int) -> None:
    """Refuse a set if too few of its pairs can be read."""
    count = int(there.sum())
    if count <= k:
        raise InputError(
            f"Of {len(there)} pairs only {count} can be read; choose other pairs.", "damaged"
        )


def _finite(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows hold numbers alone."""
    return np.asarray(np.isfinite(rows).all(axis=1), np.bool_)


def _write_shard(folder: Path, number: int, part: Indices, chunk: Chunk, width: int) -> None:
    """Write the two files of a chunk; pairs that cannot be read become NaN."""
    at = np.searchsorted(part, chunk.indices)
    for kind, rows in ((IMAGES, chunk.images), (TEXTS, chunk.texts)):
        values = np.full((len(part), width), np.nan, np.float32)
        values[at] = rows.numpy()
        with (folder / kind / f"{kind}_{number}.npy").open("xb") as file:
            np.lib.format.write_array(file, values, version=(1, 0), allow_pickle=False)
