"""What ``cleanclip evaluate`` says of prompts and captions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.cli.arguments import pair_spec
from ml_core.data.canvas import CanvasCache
from ml_core.data.labels import LabelSet, prompts
from ml_core.data.pairs import open_pairs
from ml_core.evaluation.canvases import CanvasSource
from ml_core.evaluation.embed import embed
from ml_core.evaluation.embedding_map import Embeddings
from ml_core.evaluation.retrieval import retrieve
from ml_core.evaluation.template_spread import template_spread
from ml_core.evaluation.zero_shot import cached_classifier
from ml_core.jobs.measure import Bench
from ml_core.model import ClipModel

_MOST = 1000


def by_template(model: ClipModel, bench: Bench) -> dict[str, Any]:
    """Each template by itself, on at most a thousand of the images."""
    found = _embedded(model, bench, bench.canvases, bench.images.labels, bench.images.key, _MOST)
    spread = template_spread(model, found, bench.label_set.templates, bench.target, bench.trigger)
    assert spread is not None  # nobody cancels
    return spread.to_dict()


def retrieval(
    model: ClipModel, bench: Bench, table: str, *, n: int | None, targeted: bool
) -> dict[str, Any]:
    """Rank captions for pictures and pictures for captions, of at most a thousand pairs.

    Parameters
    ----------
    model, bench
        The checkpoint; trigger, target and classes.
    table
        ``demo`` or where image-caption pairs are, of any kind.
    n
        Pairs to take instead.
    targeted
        Whether the target's prompts are looked for.

    Raises
    ------
    InputError
        If the pairs cannot be opened.
    """
    spec = pair_spec(table, "image", "caption", bench.seed)
    pairs = open_pairs(spec.model_copy(update={"n": n or _MOST}))
    pairs = pairs.fitted(model.preprocess.fit)
    canvases = CanvasCache(pairs, model.image_size)
    unlabelled = np.full(len(pairs), -1, np.int64)
    found = _embedded(model, bench, canvases, unlabelled, pairs.key, None)
    ranked = retrieve(
        model,
        found,
        pairs.captions(found.indices),
        _target_prompts(bench.label_set, bench.target) if targeted else (),
        bench.trigger,
    )
    assert ranked is not None  # nobody cancels
    return ranked.to_dict() | {"pairs": pairs.name, "problems": list(pairs.problems)}


def _target_prompts(label_set: LabelSet, target: int) -> list[str]:
    """Captions that the attacker wants."""
    return prompts(label_set.class_names[target], label_set.templates)


def _embedded(
    model: ClipModel,
    bench: Bench,
    canvases: CanvasSource,
    labels: NDArray[np.int64],
    key: str,
    n: int | None,
) -> Embeddings:
    """Embed a sample (None: all), clean and triggered."""
    label_set, result = bench.label_set, None
    classifier = cached_classifier(model, label_set.class_names, label_set.templates)
    for step in embed(
        model,
        canvases,
        classifier,
        bench.trigger,
        labels=labels,
        class_names=label_set.class_names,
        templates=label_set.templates,
        data_key=key,
        n=n,
        seed=bench.seed,
    ):
        result = step.result
    assert result is not None  # nobody cancels
    return result
