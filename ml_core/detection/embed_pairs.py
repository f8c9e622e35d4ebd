"""Embeddings of image-caption pairs, chunk by chunk: memory does not grow with the set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ml_core.evaluation.embedding_cache import EmbeddingStore
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.scores import require_finite
from ml_core.evaluation.stamping import to_pictures
from ml_core.reading.errors import CancelledError
from ml_core.reading.resize import Canvases

if TYPE_CHECKING:
    from ml_core.data.pairs import PairSet
    from ml_core.model import ClipModel

Indices = NDArray[np.int64]
# Of all that the store holds (1 GiB), so that an audit does not push out everything else.
_STORED = 512 * 1024**2


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some pairs of a set, without those whose picture cannot be read.

    Attributes
    ----------
    indices
        int64 [n], ascending positions in the set.
    images
        float32 [n, D] on the CPU, the encoder's output before it is made a unit vector.
    texts
        float32 [n, D] on the CPU, unit vectors: of each picture's captions the one least like it.
    captions
        int64 [n], which of a picture's captions that is, from 0.
    asked
        How many pairs there were to embed.
    """

    indices: Indices
    images: Tensor
    texts: Tensor
    captions: Indices
    asked: int


@dataclass(frozen=True)
class Embedded:
    """How many pairs are done; ``chunk`` is set when one is complete."""

    done: int
    chunk: Chunk | None = None


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Pairs that a model embeds, each with its worst caption.

    A picture may have several captions. All of them are embedded, and the one with the lowest
    cosine to the picture is kept, so that a planted caption among honest ones is not missed. This
    needs the memory of one more batch of captions.

    Attributes
    ----------
    model
        The CLIP.
    pairs
        What to embed.
    key
        Identity of the set; names the stored embeddings.
    batch
        Pictures, and captions, to encode at a time.
    store
        Where chunks are looked for and kept; None keeps none. Needs a model with an ``identity``.
    cancelled
        Asked before each batch.
    """

    model: ClipModel
    pairs: PairSet
    key: str = ""
    batch: int = 128
    store: EmbeddingStore | None = None
    cancelled: Callable[[], bool] = lambda: False

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.model.device

    def embed(self, chunks: Sequence[Indices]) -> Iterator[Embedded]:
        """Embed pairs.

        Parameters
        ----------
        chunks
            Positions in the set.

        Yields
        ------
        Embedded
            After each batch; with the chunk after its last one.

        Raises
        ------
        InputError
            If the model's outputs are not numbers.
        """
        done, model, size = 0, self.model, self.batch
        width = 2 * model.embed_dim + 1
        store = self.store
        if len(self) * width * 4 > _STORED or model.identity is None or not self.key:
            store = None
        for chunk in chunks:
            key = _key(model, self.key, chunk) if store is not None else ()
            held = None if store is None else store.load(key, len(chunk), width)
            if held is None:
                values = np.zeros((len(chunk), width), np.float32)
                read = np.ones(len(chunk), np.bool_)
                for first in range(0, len(chunk), size):
                    if self.cancelled():
                        raise CancelledError
                    part = slice(first, first + size)
                    values[part], read[part] = self._batch(chunk[part])
                    yield Embedded(done + min(first + size, len(chunk)))
                if store is not None:
                    store.save(key, values, read)
            else:
                values, read = held
                self._note_unread(chunk[~read])
            if self.cancelled():
                raise CancelledError
            done += len(chunk)
            readable = torch.from_numpy(values[read])
            require_finite(readable)
            images, texts = readable[:, : model.embed_dim], readable[:, model.embed_dim : -1]
            captions = values[read, -1].astype(np.int64)
            yield Embedded(done, Chunk(chunk[read], images, texts, captions, len(chunk)))

    def _note_unread(self, indices: Indices) -> None:
        """Read pairs that cannot be read once more, so that ``pairs.broken`` says why."""
        for first in range(0, len(indices), self.batch):
            part = indices[first : first + self.batch]
            self.pairs.canvas(part, self.model.image_size)
            self.pairs.all_captions(part)

    def _batch(self, part: Indices) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The rows that `_encode` gives, and which of the pairs can be read."""
        canvases = self.pairs.canvas(part, self.model.image_size)
        captions = self.pairs.all_captions(part)
        read = ~np.isin(part, np.fromiter(self.pairs.broken, np.int64))
        return _encode(self.model, canvases, captions, self.batch, self.cancelled), read


def _encode(
    model: ClipModel,
    canvases: Canvases,
    captions: Sequence[tuple[str, ...]],
    batch: int,
    cancelled: Callable[[], bool],
) -> NDArray[np.float32]:
    """Image features, unit vector and number of each one's worst caption, float32 [n, 2 D + 1]."""
    with torch.inference_mode():
        images = model.image_features(to_pictures(canvases, model.device)).float()
    columns = torch.cat([images, torch.zeros_like(images), images.new_zeros(len(images), 1)], dim=1)
    lowest = images.new_full((len(images),), math.inf)
    for number in range(max((len(own) for own in captions), default=0) or 1):
        # A round takes one caption of each picture, so that a batch names no picture twice.
        rows = [row for row, own in enumerate(captions) if number < max(1, len(own))]
        for first in range(0, len(rows), batch):
            if (number or first) and cancelled():
                raise CancelledError
            part = rows[first : first + batch]
            texts = model.encode_texts([(captions[row] or ("",))[number] for row in part])
            require_finite(texts)
            at = torch.tensor(part, device=images.device)
            alike = F.cosine_similarity(images[at], texts, dim=1)
            lower = (alike < lowest[at]) | (number == 0)
            at, texts, alike = at[lower], texts[lower], alike[lower]
            lowest[at] = alike
            columns[at, images.shape[1] : -1] = texts
            columns[at, -1] = float(number)
    both: NDArray[np.float32] = columns.cpu().numpy()
    return both


def _key(model: ClipModel, data_key: str, chunk: Indices) -> tuple[str, ...]:
    """What decides the embeddings of a chunk."""
    at = hashlib.sha256(np.ascontiguousarray(chunk, "<i8").tobytes()).hexdigest()
    return (
        "pairs, image features, worst unit texts and their numbers",
        str(model.identity),
        data_key,
        at,
        str(model.device),
        str(model.precision),
        model.layout,
        versions()["torch"],
    )
