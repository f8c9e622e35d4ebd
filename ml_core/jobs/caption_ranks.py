"""Captions and pictures ranked by a checkpoint, for a table of pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ml_core.data.canvas import CanvasCache
from ml_core.data.labels import prompts
from ml_core.data.pairs import PairSet
from ml_core.evaluation.embed import embed
from ml_core.evaluation.retrieval import Retrieval, retrieve
from ml_core.evaluation.subject import Subject
from ml_core.evaluation.zero_shot import cached_classifier
from ml_core.jobs.measure import Bench
from ml_core.jobs.unseen_pairs import ChosenPairs
from ml_core.model import ClipModel

MOST = 1000


def rank_captions(
    model: ClipModel,
    bench: Bench,
    pairs: PairSet | ChosenPairs,
    *,
    targeted: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> Retrieval:
    """Rank captions for pictures and pictures for captions.

    Parameters
    ----------
    model, bench
        The checkpoint; trigger, target and classes.
    pairs
        What is ranked, all of them.
    targeted
        Whether the target's prompts are looked for.
    cancelled
        Asked before each batch.
    """
    pairs = pairs.fitted(model.preprocess.fit)
    label_set = bench.label_set
    classifier = cached_classifier(model, label_set.class_names, label_set.templates)
    subject = Subject(
        model,
        CanvasCache(pairs, model.image_size),
        classifier,
        label_set.class_names,
        np.full(len(pairs), -1, np.int64),
        label_set.templates,
        pairs.key,
        triggered_classifier=classifier,  # nobody asks for the triggered classes
        seed=bench.seed,
    )
    found = [step.result for step in embed(subject, bench.trigger, n=None, cancelled=cancelled)][-1]
    assert found is not None
    wanted = prompts(label_set.class_names[bench.target], label_set.templates) if targeted else ()
    captions = pairs.captions(found.indices)
    return retrieve(model, found, captions, wanted, bench.trigger, cancelled=cancelled)
