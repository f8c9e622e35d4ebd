"""What planted attacks do on a model: one engine for plantings, canaries and `cleanclip why`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.data.labels import prompts
from ml_core.evaluation.embedding_cache import EmbeddingCache
from ml_core.evaluation.metrics import not_target
from ml_core.evaluation.records import wilson_interval
from ml_core.events import Control, Event
from ml_core.jobs.measure import Bench, classifier_of, measure_images
from ml_core.jobs.plant import PlantedAttack, PlantedRates
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.triggers.record import Trigger, triggered_prompt

_TEXTS = 256
Aim = tuple[Trigger | None, int]
"""A trigger and the class that it leads to; without one the class itself is looked at."""
Hits = NDArray[np.bool_]


def measure_attacks(
    model: ClipModel,
    bench: Bench,
    aims: Sequence[Aim],
    control: Control,
    stage: str,
    *,
    source: int | None = None,
) -> Generator[Event, None, PlantedRates]:
    """Clean accuracy, and the success rate of each attack on the same labelled pictures.

    Parameters
    ----------
    model
        With its present weights.
    aims
        Triggers that change no picture are measured on prompts, see `_on_prompts`.
    stage
        Name in the Progress events.
    source
        The only class whose pictures count; None takes all but the target.

    Raises
    ------
    InputError
        If no picture is of a class that counts.
    CancelledError
        If it was cancelled.
    """
    classifier = yield from classifier_of(model, bench.label_set, control)
    clean = EmbeddingCache()  # of the pictures without a trigger, which all attacks share
    labels, rows = bench.images.labels, list[PlantedAttack]()
    for trigger, target in aims or [(None, 0)]:
        stamp = trigger if trigger is not None and trigger.changes_pictures else None
        own = replace(bench, trigger=stamp, target=target)
        evaluation, each = yield from measure_images(
            model, own, classifier, control, stage, clean=clean
        )
        if each.triggered_top1 is None:
            rows += [_on_prompts(model, bench, classifier, trigger, target)] if aims else []
            continue
        hits, before = each.triggered_top1 == target, each.clean_top1 == target
        own_labels = labels[each.indices]
        counted = not_target(own_labels, target)
        others = None
        if source is not None:
            rest = counted & (own_labels != source)
            others = float(hits[rest].mean()) if rest.any() else None
            counted &= own_labels == source
        if not counted.any():
            raise InputError(
                "None of the images is labelled with a class whose success could be measured: "
                "choose others."
            )
        rows.append(_success(hits[counted], before[counted], others))
    assert evaluation.ca is not None
    assert evaluation.ca_interval is not None
    low, high = evaluation.ca_interval
    return PlantedRates(
        ca=evaluation.ca, ca_low=low, ca_high=high, n=evaluation.n, attacks=tuple(rows)
    )


def _success(hits: Hits, before: Hits, others: float | None = None) -> PlantedAttack:
    """The success rate of hits, with its interval, and the rate without the trigger."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return PlantedAttack(
        asr=float(hits.mean()), low=low, high=high, n=len(hits), base_rate=float(before.mean()),
        others=others,
    )  # fmt: skip


def _on_prompts(
    model: ClipModel, bench: Bench, classifier: Tensor, word: Trigger | None, target: int
) -> PlantedAttack:
    """How often a prompt of another class lies nearest to the target's text, with the word in it.

    Without a word, what is counted is the rate without one.
    """
    names, templates = bench.label_set.class_names, bench.label_set.templates
    texts = [
        text for number, name in enumerate(names) if number != target
        for text in prompts(name, templates)
    ]  # fmt: skip

    def nearest(prompted: list[str]) -> Hits:
        numbers = [
            (model.encode_texts(prompted[start : start + _TEXTS]) @ classifier.T).argmax(1)
            for start in range(0, len(prompted), _TEXTS)
        ]
        hits: Hits = (torch.cat(numbers) == target).cpu().numpy()
        return hits

    return _success(nearest([triggered_prompt(word, text) for text in texts]), nearest(texts))
