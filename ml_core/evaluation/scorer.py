"""Score one batch without and with the trigger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.evaluation.batches import Batch
from ml_core.evaluation.embedding_cache import EmbeddingTable
from ml_core.evaluation.scores import BatchScores, score
from ml_core.evaluation.stamping import stamped, to_pictures
from ml_core.evaluation.subject import Subject
from ml_core.evaluation.zero_shot import class_logits
from ml_core.reading.errors import CancelledError
from ml_core.triggers.record import Trigger

if TYPE_CHECKING:
    from ml_core.model import ClipModel


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model with all that a batch is scored by.

    Attributes
    ----------
    subject, trigger, target, batch, cancelled
        As of `evaluate`.
    prompted
        float32 [C, D] on the model's device: the classifier for triggered pictures.
    """

    subject: Subject
    prompted: Tensor
    trigger: Trigger | None
    target: int
    batch: int
    cancelled: Callable[[], bool]

    @property
    def model(self) -> ClipModel:
        return self.subject.model

    def _encode(self, pictures: Tensor) -> Tensor:
        """Embed pictures, a batch at a time, [n, D]."""
        parts = []
        for start in range(0, len(pictures), self.batch):
            if self.cancelled():
                raise CancelledError
            parts.append(self.model.encode_images(pictures[start : start + self.batch]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def embed(self, batch: Batch, table: EmbeddingTable | None) -> Tensor:
        """Embed clean pictures, from the table where it knows them, [n, D]."""
        if table is None:
            assert batch.images is not None
            return self._encode(to_pictures(batch.images, self.model.device))
        missing = table.missing(batch.indices)
        if missing.any():
            assert batch.images is not None
            pictures = to_pictures(batch.images[missing], self.model.device)
            table.put(batch.indices[missing], self._encode(pictures))
        return table.get(batch.indices).to(self.model.device)

    def clean_logits(self, embeddings: Tensor) -> Tensor:
        """Logits of clean pictures, float32 [n, C]."""
        return class_logits(self.model, embeddings, self.subject.classifier)

    def scores(self, batch: Batch, logits: Tensor) -> BatchScores:
        """Reduce the logits of a batch's pictures."""
        return score(logits, self.subject.labels[batch.indices], self.target)

    def clean(self, batch: Batch, embeddings: Tensor) -> BatchScores:
        return self.scores(batch, self.clean_logits(embeddings))

    def triggered(self, batch: Batch, embeddings: Tensor) -> BatchScores | None:
        """Score the triggered side; None without a trigger."""
        logits = self.triggered_logits(batch, embeddings)
        return None if logits is None else self.scores(batch, logits)

    def triggered_logits(self, batch: Batch, embeddings: Tensor) -> Tensor | None:
        """Logits of the pictures with the trigger, float32 [n, C]; None without a trigger.

        ``embeddings`` of the clean pictures are those of a trigger that changes the prompts alone.
        """
        if self.trigger is None:
            return None
        if self.trigger.changes_pictures or batch.own is not None:
            canvases = batch.images if batch.own is None else batch.own
            assert canvases is not None
            embeddings = self._encode(
                stamped(
                    self.trigger,
                    canvases,
                    batch.indices,
                    self.subject.seed,
                    self.model.image_size,
                    self.model.device,
                    self.model.preprocess.fit,
                )
            )
        return class_logits(self.model, embeddings, self.prompted)

    def control(self, batch: Batch) -> NDArray[np.int64]:
        """Predict from the trigger's own canvas without the trigger, int64 [n]."""
        assert batch.own is not None
        size, device, fit = self.model.image_size, self.model.device, self.model.preprocess.fit
        pictures = stamped(None, batch.own, batch.indices, self.subject.seed, size, device, fit)
        logits = class_logits(self.model, self._encode(pictures), self.subject.classifier)
        with torch.no_grad():
            top1: NDArray[np.int64] = logits.argmax(dim=-1).cpu().numpy()
        return top1
