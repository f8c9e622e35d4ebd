"""Zero-shot classifier: one text embedding a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ml_core.data.labels import prompts
from ml_core.data.watch import Watch, unwatched
from ml_core.reading.errors import InputError
from ml_core.result_cache import ResultCache

if TYPE_CHECKING:
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger

TEXT_BATCH = 256
CPU_TEXT_BATCH = 32
"""Texts at a time on the CPU, where more are no faster and only make others wait."""

_Key = tuple[str, str, tuple[str, ...], tuple[str, ...]]
_classifiers: ResultCache[_Key, Tensor] = ResultCache(16)
_begun: ResultCache[_Key, list[Tensor]] = ResultCache(1)


@torch.no_grad()
def zero_shot_classifier(
    model: ClipModel,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    watch: Watch = unwatched,
    begun: list[Tensor] | None = None,
) -> Tensor:
    """Embed each class as the mean of its prompts (CLIP, Radford et al. 2021, section 3.1.4).

    Each prompt's embedding is normalised, averaged over the templates, normalised again; the mean
    of unnormalised ones gives other answers.

    Parameters
    ----------
    model
        Gives unit text embeddings.
    class_names
        C names.
    templates
        T prompts, each with one ``{}`` for the name.
    watch
        Told after each batch of texts: a thousand classes with eighty templates take a large model
        on the CPU the better part of an hour.
    begun
        Batches that an ended call has left; what is done is added, for the next call.

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
    if not class_names or not templates:
        raise InputError("A zero-shot classifier needs class names and prompt templates.", "usage")
    for number, template in enumerate(templates, start=1):
        if "{}" not in template:
            raise InputError(
                f"Prompt template {number} ({template!r}) has no {{}} for the class name; add it.",
                "usage",
            )
    texts = [text for name in class_names for text in prompts(name, templates)]
    size = CPU_TEXT_BATCH if model.device.type == "cpu" else TEXT_BATCH
    parts = [] if begun is None else begun
    for start in range(len(parts) * size, len(texts), size):
        watch("texts", start, len(texts))
        parts.append(model.encode_texts(texts[start : start + size]).float())
    watch("texts", len(texts), len(texts))
    embeddings = functional.normalize(torch.cat(parts), dim=-1)  # [C * T, D]
    means = embeddings.view(len(class_names), len(templates), -1).mean(dim=1)  # [C, D]
    classifier = functional.normalize(means, dim=-1)
    if not bool(torch.isfinite(classifier).all()):
        raise InputError(
            "The model's text embeddings are not numbers (NaN or infinite); "
            "its text tower is damaged.",
            "damaged",
        )
    if len(set(texts)) > len(templates) and bool((classifier == classifier[0]).all()):
        raise InputError(
            "All classes have the same text embedding: shorten the prompt templates, which may "
            f"reach beyond the model's {model.context_length} tokens before they name the class.",
            "usage",
        )
    return classifier


def cached_classifier(
    model: ClipModel,
    class_names: Sequence[str],
    templates: Sequence[str],
    *,
    watch: Watch = unwatched,
) -> Tensor:
    """As `zero_shot_classifier`, kept for a model's identity; never for a model in training.

    A model without an identity is embedded anew each time. One that `watch` has ended goes on
    where it was, unless another was begun since.
    """
    identity = model.identity
    if identity is None:
        return zero_shot_classifier(model, class_names, templates, watch=watch)
    key = (identity, str(model.device), tuple(class_names), tuple(templates))

    def make() -> Tensor:
        begun = _begun.get(key, list)
        found = zero_shot_classifier(model, class_names, templates, watch=watch, begun=begun)
        _begun.forget(key)
        return found

    return _classifiers.get(key, make)


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
    from ml_core.triggers.prompts import triggered_templates

    if not templates:
        raise InputError(
            f"The trigger {trigger.name!r} has a text, which a linear head cannot read; evaluate "
            "the zero-shot classifier.",
            "usage",
        )
    prompted = triggered_templates(trigger, templates)
    found = cached_classifier(model, class_names, prompted, watch=watch)
    return found.to(model.device)


def class_logits(model: ClipModel, image_embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Logit scale times cosine, float32 [N, C]."""
    scale = float(model.logit_scale)
    return scale * (image_embeddings.float() @ classifier.float().T)


def probabilities(model: ClipModel, image_embeddings: Tensor, classifier: Tensor) -> Tensor:
    """Class probabilities, float32 [N, C], of unit image embeddings [N, D]."""
    return class_logits(model, image_embeddings, classifier).softmax(dim=-1)
