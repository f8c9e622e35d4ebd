"""Each prompt template by itself: how much the numbers hang on the wording.

Torch is imported where it is needed: the window shows the records before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_core.evaluation import metrics
from ml_core.evaluation.records import Interval
from ml_core.reading.errors import CancelledError

if TYPE_CHECKING:
    from ml_core.evaluation.embedding_map import Embeddings
    from ml_core.model import ClipModel
    from ml_core.triggers.record import Trigger


@dataclass(frozen=True)
class TemplateRow:
    """Numbers with one template, or with the mean of all (``template`` empty); as `Evaluation`."""

    template: str
    ca: float | None
    ca_interval: Interval | None
    baseline_target_rate: float | None
    asr_excl: float | None = None
    asr_interval: Interval | None = None
    asr_all: float | None = None


@dataclass(frozen=True)
class TemplateSpread:
    """All templates on the same images.

    Attributes
    ----------
    n, n_excl
        Images, and those known to be of another class than the target.
    together
        With the mean of all templates, as an evaluation uses it.
    rows
        Each by itself.
    """

    n: int
    n_excl: int
    target: int
    target_name: str
    together: TemplateRow
    rows: tuple[TemplateRow, ...]

    def span(self, field: str) -> tuple[float, float] | None:
        """Lowest and highest value of a field over the templates; None if it was not measured."""
        values = [getattr(row, field) for row in self.rows]
        return (min(values), max(values)) if values and None not in values else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready copy, spans included."""
        spans = {name: self.span(name) for name in ("ca", "asr_excl", "baseline_target_rate")}
        return asdict(self) | {"spans": spans}


def template_spread(
    model: ClipModel,
    found: Embeddings,
    templates: Sequence[str],
    target: int,
    trigger: Trigger | None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> TemplateSpread:
    """As `spread_steps`, in one go; ``cancelled`` is asked before each template."""
    last: TemplateSpread | None = None
    for _, _, spread in spread_steps(model, found, templates, target, trigger):
        if cancelled():
            raise CancelledError
        last = spread
    assert last is not None
    return last


def spread_steps(
    model: ClipModel,
    found: Embeddings,
    templates: Sequence[str],
    target: int,
    trigger: Trigger | None,
) -> Iterator[tuple[int, int, TemplateSpread | None]]:
    """Score the same image embeddings with all templates together, and with each alone.

    Parameters
    ----------
    model
        Embeds the prompts.
    found
        Embeddings of the images, clean and triggered, see `embed`.
    templates
        Prompts, each with ``{}``.
    target
        Class index.
    trigger
        The one in `found`; its text goes into the prompts of the triggered side.

    Yields
    ------
    int, int, TemplateSpread or None
        Templates done of all before each one; after the last one, the result.

    Raises
    ------
    InputError
        Without templates, or if one lacks ``{}``.
    """
    from ml_core.evaluation.zero_shot import cached_classifier, triggered_classifier

    ways = (tuple(templates), *((template,) for template in templates))
    rows: list[TemplateRow] = []
    for chosen in ways:
        yield len(rows), len(ways), None
        classifier = cached_classifier(model, found.class_names, chosen)
        prompted = triggered_classifier(model, classifier, trigger, found.class_names, chosen)
        clean = _top1(found.clean, classifier.float().cpu().numpy())
        triggered = None
        if found.triggered is not None:
            triggered = _top1(found.triggered, prompted.float().cpu().numpy())
        rows.append(_row(chosen[0] if rows else "", found.labels, clean, triggered, target))
    yield (
        len(ways),
        len(ways),
        TemplateSpread(
            n=len(found.labels),
            n_excl=int(np.count_nonzero(metrics.not_target(found.labels, target))),
            target=target,
            target_name=found.class_names[target],
            together=rows[0],
            rows=tuple(rows[1:]),
        ),
    )


def _top1(images: NDArray[np.float32], classifier: NDArray[np.float32]) -> NDArray[np.int64]:
    """Predicted classes, int64 [n]."""
    found: NDArray[np.int64] = (images @ classifier.T).argmax(axis=1).astype(np.int64)
    return found


def _row(
    template: str,
    labels: NDArray[np.int64],
    clean: NDArray[np.int64],
    triggered: NDArray[np.int64] | None,
    target: int,
) -> TemplateRow:
    """Rates of one classifier."""
    right = metrics.clean_hits(labels, clean)
    row = TemplateRow(
        template=template,
        ca=metrics.rate(right),
        ca_interval=metrics.rate_interval(right),
        baseline_target_rate=metrics.rate(metrics.baseline_hits(labels, clean, target)),
    )
    if triggered is None:
        return row
    hits = metrics.attack_hits(labels, triggered, target)
    return TemplateRow(
        template,
        row.ca,
        row.ca_interval,
        row.baseline_target_rate,
        asr_excl=metrics.rate(hits),
        asr_interval=metrics.rate_interval(hits),
        asr_all=metrics.rate(triggered == target),
    )
