"""By how much logits move when nothing but batch size and thread count changes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation.again import Logits
from ml_core.events import Control, Event
from ml_core.jobs.remeasure import OpenedAgain, Predictions, classifier_anew, predict_again
from ml_core.reading.errors import InputError
from ml_core.reports.arithmetic import part
from ml_core.reports.rows import Rows

PICTURES = 256
FLOOR = 1e-5
"""Of the logit scale: the least tau. A coordinate of an embedding that went through a dozen layers
in fp32 (resolution 2^-23, 1.2e-7) is right to a few 1e-6 of the embedding's length whatever order
sums were taken in; so is a cosine, and a difference of two. At CLIP's scale of 100 that is 1e-3,
where two logits of adjacent floats near 30 are 2e-6 apart: machines that agree by chance on 256
pictures are not trusted to agree better elsewhere."""
_TEXTS = 2048  # are embedded anew in seconds


@dataclass(frozen=True)
class Tau:
    """What a second measurement of some pictures came to.

    Attributes
    ----------
    tau
        Twice the largest change of a difference of two logits of one picture, at least `FLOOR`.
    pictures
        How many were measured again.
    changed
        How many of them, clean or triggered, then had another top-1 than was kept.
    """

    tau: float
    pictures: int
    changed: int


def measuring_tau(
    opened: OpenedAgain,
    kept: Rows,
    control: Control,
    *,
    batch: int,
    threads: int,
    zero_shot: bool = True,
    pictures: int = PICTURES,
    seed: int = 0,
) -> Generator[Event, None, Tau]:
    """Measure pictures as they were measured, and again with another batch size and thread count.

    The change of a picture is the largest difference of two of its logits' changes: the largest
    change of a logit minus the smallest, as what all logits share moves no answer. The change of
    each kept margin counts too, so that a measurement of another machine is not held to what this
    one repeats. The class texts are embedded anew unless they are many.

    Parameters
    ----------
    opened
        The measurement, with the classifier that was kept.
    kept
        Its answers.
    control
        Cancel ends it before the next batch.
    batch, threads
        As it was measured.
    zero_shot
        Whether the classifier is of the class texts.
    pictures, seed
        How many are drawn, and from which seed.

    Yields
    ------
    Event
        Progress of the stage ``again``.

    Raises
    ------
    InputError
        If the pictures are not those that were measured, or outputs are not numbers.
    CancelledError
        If it was cancelled.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    count = min(pictures, len(kept))
    places = np.sort(rng.choice(len(kept), count, replace=False))
    chosen = kept.indices[places]
    as_kept = yield from predict_again(
        opened, chosen, control, batch=batch, threads=threads, logits=True
    )
    others = 1 if threads > 1 else 2
    classes, changed = opened.bench.label_set, opened
    if zero_shot and len(classes.class_names) * len(classes.templates) <= _TEXTS:
        changed = replace(opened, classifier=classifier_anew(opened, others))
    again = yield from predict_again(
        changed, chosen, control, batch=max(1, batch // 4 + 1), threads=others, logits=True
    )
    for found in (as_kept, again):
        if not np.array_equal(found.rows.indices, chosen):
            raise InputError(
                f"{len(found.unread)} of {count} pictures of {opened.bench.images.name} that were "
                "measured cannot be read any more: bring them back, or take the set away to "
                "report without tau."
            )
    move = max(
        _moved(as_kept.clean_logits, again.clean_logits),
        _moved(as_kept.triggered_logits, again.triggered_logits),
        *(_margins_moved(part(kept, places), found.rows) for found in (as_kept, again)),
    )
    least = FLOOR * opened.model.logit_scale
    return Tau(max(2 * move, least), len(again.rows), _answers_changed(part(kept, places), again))


def _moved(one: Logits | None, other: Logits | None) -> float:
    """The largest change of a difference of two logits of one picture."""
    if one is None or other is None or not len(one):
        return 0.0
    change = other.astype(np.float64) - one
    return float((change.max(axis=1) - change.min(axis=1)).max())


def _margins_moved(kept: Rows, found: Rows) -> float:
    """The largest change of a margin; of another answer the margins lie on both sides of 0."""
    move = 0.0
    for top, margin, new_top, new_margin in (
        (kept.clean_top, kept.clean_margin, found.clean_top, found.clean_margin),
        (kept.triggered_top, kept.triggered_margin, found.triggered_top, found.triggered_margin),
    ):
        if top is None or margin is None or new_top is None or new_margin is None:
            continue
        same = top[:, 0] == new_top[:, 0]
        change = np.where(same, np.abs(margin - new_margin), margin + new_margin)
        move = max(move, float(change.max(initial=0.0)))
    return move


def _answers_changed(kept: Rows, found: Predictions) -> int:
    changed: NDArray[np.bool_] = kept.clean_top[:, 0] != found.rows.clean_top[:, 0]
    if kept.triggered_top is not None and found.rows.triggered_top is not None:
        changed |= kept.triggered_top[:, 0] != found.rows.triggered_top[:, 0]
    return int(np.count_nonzero(changed))
