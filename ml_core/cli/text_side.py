"""What ``cleanclip evaluate`` says of prompts and captions."""

from __future__ import annotations

from typing import Any

from ml_core.cli.arguments import pair_spec
from ml_core.data.pairs import open_pairs
from ml_core.evaluation.template_spread import template_spread
from ml_core.jobs.caption_ranks import MOST, embed_sample, rank_captions
from ml_core.jobs.measure import Bench
from ml_core.model import ClipModel


def by_template(model: ClipModel, bench: Bench) -> dict[str, Any]:
    """Each template by itself, on at most a thousand of the images."""
    found = embed_sample(model, bench, bench.canvases, bench.images.labels, bench.images.key, MOST)
    assert found is not None  # nobody cancels
    spread = template_spread(model, found, bench.label_set.templates, bench.target, bench.trigger)
    assert spread is not None
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
    pairs = open_pairs(spec.model_copy(update={"n": n or MOST}))
    ranked = rank_captions(model, bench, pairs, targeted=targeted)
    assert ranked is not None  # nobody cancels
    return ranked.to_dict() | {"pairs": pairs.name, "problems": list(pairs.problems)}
