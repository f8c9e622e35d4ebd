"""The engine with answers about the text side: prompt templates and captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from cleanclip_gui.inference.engine import SEED, Engine, Opened, exact
from cleanclip_gui.inference.explaining import Explained, RetrieveCaptions, SpreadTemplates
from ml_core.data.pairs import PairSet, open_pairs
from ml_core.data.picture_set import PictureSet
from ml_core.data.specs import PairSpec
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.retrieval import retrieve
from ml_core.evaluation.subject import Subject
from ml_core.evaluation.template_spread import spread_steps
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reading.lists import read_lines

MOST_CAPTIONS = 20_000
# What is live waits for one batch at most: small ones, for models that are slow on the CPU.
_BATCH, _SLOW_BATCH = 32, 8


class TextEngine(Engine):
    """Yields :class:`Explained` after each batch of pictures or template."""

    def __init__(self) -> None:
        super().__init__()
        self._pairs: tuple[PairSpec, Opened] | None = None

    def _spread(
        self, request: SpreadTemplates, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        images, model = self._require_images(), self._require_model(request.role)
        parts = 1 + len(images.templates)
        found: Embeddings | None = None
        subject = self._subject(model, images, request.trigger)
        for step in embed(
            subject, request.trigger, n=request.n, batch=batch_of(model), cancelled=cancelled
        ):
            found = step.result
            yield Explained(generation, request, step.done, step.total + parts * request.n)
        if found is None:
            return
        with exact(model):
            for done, _, spread in spread_steps(
                model, found, images.templates, request.target, request.trigger
            ):
                if cancelled():
                    return
                share = request.n * (1 + done)
                yield Explained(generation, request, share, request.n * (1 + parts), spread)

    def _retrieve(
        self, request: RetrieveCaptions, cancelled: Callable[[], bool], generation: int
    ) -> Iterator[Explained]:
        model = self._require_model(request.role)
        texts: list[str] | None = None
        if isinstance(request.captions, Path):
            texts = list(dict.fromkeys(line for _, line in read_lines(request.captions)))
            if len(texts) > MOST_CAPTIONS:
                name = request.captions.name
                raise InputError(f"{name} has over {MOST_CAPTIONS:,} captions; take fewer.")
            pictures = self._require_images()
        else:
            pictures = self._opened_pairs(request.captions)
        found: Embeddings | None = None
        subject = _without_classes(model, pictures)
        for step in embed(
            subject, request.trigger, n=request.n, batch=batch_of(model), cancelled=cancelled
        ):
            found = step.result
            yield Explained(generation, request, step.done, step.total + 1)
        if found is None:
            return
        owned = texts is None
        if texts is None:
            assert isinstance(pictures.set, PairSet)
            texts = pictures.set.captions(found.indices)
        target = (request.target,) if request.target.strip() else ()
        with exact(model):
            result = retrieve(
                model, found, texts, target, request.trigger, owned=owned, cancelled=cancelled
            )
        yield Explained(generation, request, 1, 1, result)

    def _opened_pairs(self, spec: PairSpec) -> Opened[PairSet]:
        """The pairs of a spec; those asked for last stay open."""
        if self._pairs is None or self._pairs[0] != spec:
            opened = Opened(open_pairs(spec), (), {})
            if self._pairs is not None:
                self._pairs[1].close()
            self._pairs = spec, opened
        return self._pairs[1]


def _without_classes(model: ClipModel, pictures: Opened[PictureSet]) -> Subject:
    """Pictures of which no class is asked."""
    none = torch.zeros(1, model.embed_dim)
    return Subject(
        model,
        pictures.at(model.preprocess),
        none,
        ("",),
        np.full(len(pictures.set), -1, np.int64),
        pictures.templates,
        pictures.set.key,
        none,
        SEED,
    )


def batch_of(model: ClipModel) -> int:
    """Pictures to encode at a time."""
    slow = model.device.type == "cpu" and model.image_size > 128
    return _SLOW_BATCH if slow else _BATCH
