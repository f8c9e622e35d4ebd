"""Zero-shot classifier: one text embedding a class."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.cache import ResultCache
from ml_core.data.labels import fill
from ml_core.data.watch import Watch, unwatched
from ml_core.evaluation.embedding_cache import EmbeddingStore
from ml_core.events import run_to_end
from ml_core.paths import cache_dir
from ml_core.reading.errors import InputError

if TYPE_CHECKING:
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger

TEXT_BATCH = 256
CPU_TEXT_BATCH = 32
"""Texts at a time on the CPU, where more are no faster and only make others wait."""


class ClassTexts:
    """A zero-shot classifier in the making (CLIP, Radford et al. 2021, section 3.1.4).

    Each prompt's embedding is normalised, averaged over the templates, normalised again; the mean
    of unnormalised ones gives other answers. Short texts come first, so that a batch holds texts
    of a like length and little padding.

    Parameters
    ----------
    model
        Gives unit text embeddings.
    class_names
        C names.
    templates
        T prompts, each with one ``{}`` for the name.

    Raises
    ------
    InputError
        Without classes or templates, or for a template without ``{}``.
    """

    def __init__(
        self, model: ClipModel, class_names: Sequence[str], templates: Sequence[str]
    ) -> None:
        if not class_names or not templates:
            raise InputError("A zero-shot classifier needs class names and prompt templates.")
        for number, template in enumerate(templates, start=1):
            if "{}" not in template:
                raise InputError(
                    f"Prompt template {number} ({template!r}) has no {{}} for the class name; "
                    "add it."
                )
        self._names, self._templates = tuple(class_names), tuple(templates)
        self._order = self._short_first(model)
        self._size = CPU_TEXT_BATCH if model.device.type == "cpu" else TEXT_BATCH
        self._sums: Tensor | None = None  # [C, D], on the CPU: a GPU adds in any order
        self.done = 0

    @property
    def total(self) -> int:
        """Texts, C * T."""
        return len(self._order)

    def embed_next(self, model: ClipModel) -> None:
        """Embed one more batch. ``model`` is passed anew: a kept one may have been closed."""
        classes, embeddings = self._embed(model, self.done)
        if self._sums is None:
            self._sums = torch.zeros(len(self._names), embeddings.shape[1])
        self._sums.index_add_(0, classes, embeddings)
        self.done += len(embeddings)

    def embed_sample(self, model: ClipModel, place: float) -> int:
        """Embed a batch for the time it takes, and forget it.

        Parameters
        ----------
        model
            As for `embed_next`.
        place
            0 for the shortest texts, 1 for the longest.

        Returns
        -------
        int
            Texts in the batch.
        """
        start = round(place * max(0, self.total - self._size))
        return len(self._embed(model, start)[1])

    def _embed(self, model: ClipModel, start: int) -> tuple[Tensor, Tensor]:
        """Classes [n] and unit embeddings float32 [n, D] of a batch, on the CPU."""
        numbers = self._order[start : start + self._size]
        classes = numbers // len(self._templates)
        texts = [
            fill(self._templates[number % len(self._templates)], self._names[of])
            for number, of in zip(numbers.tolist(), classes.tolist(), strict=True)
        ]
        return classes, functional.normalize(model.encode_texts(texts).float(), dim=-1).cpu()

    def classifier(self, model: ClipModel) -> Tensor:
        """float32 [C, D] on the model's device, rows of unit length; all texts must be done.

        Raises
        ------
        InputError
            If the model's text embeddings are not numbers, or all the same.
        """
        assert self._sums is not None
        assert self.done == self.total
        rows = functional.normalize(self._sums / len(self._templates), dim=-1)
        if not bool(torch.isfinite(rows).all()):
            raise InputError(
                "The model's text embeddings are not numbers (NaN or infinite); "
                "its text tower is damaged.",
                "damaged",
            )
        if len(set(self._names)) > 1 and bool((rows == rows[0]).all()):
            raise InputError(
                "All classes have the same text embedding: shorten the prompt templates, which may "
                f"reach beyond the model's {model.context_length} tokens before they name "
                "the class."
            )
        return rows.to(model.device)

    def _short_first(self, model: ClipModel) -> Tensor:
        """Numbers of all texts (class times T plus template) by their length, int64 [C * T].

        A text's length is taken as its template's plus its name's. It may be off by a token where
        they touch; that is harmless, since a batch is cut by its real tokens.
        """
        names = torch.tensor(model.text_lengths(self._names))
        templates = torch.tensor(model.text_lengths([fill(t, "") for t in self._templates]))
        return (names[:, None] + templates).flatten().argsort(stable=True)


_WORTH_KEEPING = 256  # fewer texts are embedded about as soon as the weights are hashed
_DISK_LIMIT = 256 * 1024**2  # a thousand classes take 2 MB
_FORMAT = "class texts 1"

_Key = tuple[str, ...]
_classifiers: ResultCache[object, Tensor] = ResultCache(16)
_keys: ResultCache[object, _Key] = ResultCache(64)
_begun: ResultCache[object, ClassTexts] = ResultCache(4)

Steps = Generator[tuple[int, int], None, Tensor]
"""Texts done and all of them, before each batch and at the end; returns the classifier."""


def zero_shot_classifier(
    model: ClipModel,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    watch: Watch = unwatched,
) -> Tensor:
    """Embed each class as the mean of its prompts, see `ClassTexts`; nothing is kept.

    Parameters
    ----------
    model
        Gives unit text embeddings.
    class_names
        C names.
    templates
        T prompts, each with one ``{}`` for the name.
    watch
        Called after each batch of texts: a thousand classes with eighty templates take a large
        model on the CPU the better part of an hour.

    Returns
    -------
    Tensor
        float32 [C, D] on the model's device, rows of unit length.

    Raises
    ------
    InputError
        Without classes or templates, for a template without ``{}``, or if the model's text
        embeddings are not numbers.
    """
    return _watched(_embedded(ClassTexts(model, class_names, templates), model), watch)


def cached_classifier(
    model: ClipModel,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    watch: Watch = unwatched,
) -> Tensor:
    """The classifier of `classifier_steps`, without the steps in between."""
    return _watched(classifier_steps(model, class_names, templates), watch)


def classifier_steps(
    model: ClipModel, class_names: Sequence[str], templates: Sequence[str]
) -> Steps:
    """Embed each class as `zero_shot_classifier` does, unless it is known.

    Many texts are known by the text encoder's weights, its tokens, classes, templates and
    precision: in memory for every model, on disk for one that comes from a file. So another run,
    another command and a checkpoint with another image encoder alone embed nothing anew. Few
    texts are kept for a checkpoint's identity. Embedding that was ended goes on where it was.
    """
    known = known_classifier(model, class_names, templates)
    if known is not None:
        return known
    key = _key(model, class_names, templates)
    if key is None:
        return (yield from _embedded(ClassTexts(model, class_names, templates), model))
    texts = _begun.get(key, lambda: ClassTexts(model, class_names, templates))
    embeddings = yield from _embedded(texts, model)
    _begun.forget(key)
    if model.identity is not None and texts.total >= _WORTH_KEEPING:
        rows = embeddings.cpu().numpy()
        _store().save(key, rows, np.ones(len(rows), np.bool_))
    return _classifiers.get(key, lambda: embeddings)


def known_classifier(
    model: ClipModel, class_names: Sequence[str], templates: Sequence[str]
) -> Tensor | None:
    """The classifier if it needs no embedding: it is in memory, or on disk."""
    key = _key(model, class_names, templates)
    if key is None:
        return None
    known = _classifiers.find(key)
    if known is None and _is_worth(class_names, templates):
        stored = _store().load(key, len(class_names), model.embed_dim)
        if stored is not None and bool(stored[1].all()):
            rows = torch.from_numpy(stored[0]).to(model.device)
            known = _classifiers.get(key, lambda: rows)
    return known


def _embedded(texts: ClassTexts, model: ClipModel) -> Steps:
    """All batches that are left."""
    while texts.done < texts.total:
        yield texts.done, texts.total
        texts.embed_next(model)
    yield texts.total, texts.total
    return texts.classifier(model)


def _watched(steps: Steps, watch: Watch) -> Tensor:
    """Run to the end; ``watch`` may end it between two batches."""
    return run_to_end(steps, lambda step: watch("texts", *step))


def _is_worth(class_names: Sequence[str], templates: Sequence[str]) -> bool:
    return len(class_names) * len(templates) >= _WORTH_KEEPING


def _key(model: ClipModel, class_names: Sequence[str], templates: Sequence[str]) -> _Key | None:
    """What decides a classifier; None for few texts of a model in training.

    The weights of a checkpoint are hashed once.
    """
    identity = model.identity
    place = (str(model.device), str(getattr(model, "precision", "fp32")))
    if not _is_worth(class_names, templates):
        if identity is None:
            return None
        return (identity, *place, *class_names, "", *templates)

    def make() -> _Key:
        texts = [*class_names, *templates]
        decides = model.text_identity(texts)
        return (_FORMAT, decides, str(len(class_names)), *place, str(torch.__version__))

    if identity is None:
        return make()
    return _keys.get((identity, place, tuple(class_names), tuple(templates)), make)


def _store() -> EmbeddingStore:
    return EmbeddingStore(cache_dir() / "class-texts", _DISK_LIMIT)


def triggered_classifier(
    model: ClipModel,
    classifier: Tensor,
    trigger: Trigger | None,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    watch: Watch = unwatched,
) -> Tensor:
    """The classifier of the prompts with the trigger's text, or the given one if it has none.

    Raises
    ------
    InputError
        If the trigger has a text and there are no prompt templates to put it in.
    """
    if trigger is None or not trigger.text:
        return classifier
    from ml_core.triggers.record import triggered_templates

    if not templates:
        raise InputError(
            f"The trigger {trigger.name!r} has a text, which a linear head cannot read; evaluate "
            "the zero-shot classifier.",
            "usage",
        )
    prompted = triggered_templates(trigger, templates)
    rows = cached_classifier(model, class_names, prompted, watch=watch)
    return rows.to(model.device)


def class_logits(model: ClipModel, image_embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Logit scale times cosine, float32 [N, C]."""
    scale = float(model.logit_scale)
    return scale * (image_embeddings.float() @ classifier.float().T)


def probabilities(model: ClipModel, image_embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Class probabilities, float32 [N, C], of unit image embeddings [N, D]."""
    return class_logits(model, image_embeddings, classifier).softmax(dim=-1)
