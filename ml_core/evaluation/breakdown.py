"""An evaluation class by class: who is attacked, and what triggered images become. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.data.labels import same_names
from ml_core.evaluation.records import Interval, PerImage, wilson_interval


@dataclass(frozen=True)
class ClassRow:
    """Images of one true class.

    Attributes
    ----------
    index, name
        The class; names may repeat, indices do not.
    n
        Scored images of it.
    ca, ca_interval
        Classified correctly without the trigger, Wilson 95 %.
    baseline_target_rate
        Predicted as the target without the trigger.
    asr, asr_interval
        Predicted as the target with it; None of the target class itself and without a trigger.
    poisoned_accuracy
        Classified correctly in spite of it; None of the target class itself.
    margin
        Mean of target logit minus best other logit, with the trigger.
    """

    index: int
    name: str
    n: int
    ca: float
    ca_interval: Interval
    baseline_target_rate: float
    asr: float | None = None
    asr_interval: Interval | None = None
    poisoned_accuracy: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Pull:
    """A predicted class: how many images it got without and with the trigger.

    ``rise`` is the change of its share of all images, -1 to 1.
    """

    index: int
    name: str
    clean: int
    triggered: int
    rise: float


@dataclass(frozen=True)
class Breakdown:
    """What lies behind the rates of an evaluation.

    Attributes
    ----------
    n
        Images scored.
    classes
        Rows of the classes that have labelled images, by index.
    confusion
        What triggered images become: predicted classes with their counts over the images that are
        not of the target class (all images where none has a label), the commonest first; empty
        without a trigger.
    pulls
        Predicted classes over all images, the most pulled first; empty without a trigger.
    same_names
        Indices of classes whose names are equal: their prompts are identical, so which of them is
        predicted is decided by the index alone.
    """

    n: int
    target: int
    classes: tuple[ClassRow, ...]
    confusion: tuple[Pull, ...]
    pulls: tuple[Pull, ...]
    same_names: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def break_down(
    per_image: PerImage, labels: NDArray[np.int64], target: int, class_names: Sequence[str]
) -> Breakdown:
    """Split an evaluation by true and by predicted class.

    Parameters
    ----------
    per_image
        Predictions of n images.
    labels
        int64 [N] of the whole set, -1 unlabelled.
    target
        Class index.
    class_names
        C names.
    """
    own = labels[per_image.indices]
    clean, triggered = per_image.clean_top1, per_image.triggered_top1
    others = (own >= 0) & (own != target) if (own >= 0).any() else np.ones(len(own), np.bool_)
    confusion: tuple[Pull, ...] = ()
    pulls: tuple[Pull, ...] = ()
    if triggered is not None:
        confusion = _pulls(clean[others], triggered[others], class_names)
        confusion = tuple(
            sorted((p for p in confusion if p.triggered), key=lambda p: (-p.triggered, p.index))
        )
        pulls = _pulls(clean, triggered, class_names)
    return Breakdown(
        n=len(own),
        target=target,
        classes=_class_rows(per_image, own, target, class_names),
        confusion=confusion,
        pulls=pulls,
        same_names=tuple(same_names(class_names).values()),
    )


def becomes(
    per_image: PerImage, labels: NDArray[np.int64], class_index: int, class_names: Sequence[str]
) -> tuple[Pull, ...]:
    """What the triggered images of one true class become, the commonest first.

    Parameters
    ----------
    per_image
        Predictions of n images.
    labels
        int64 [N] of the whole set, -1 unlabelled.
    class_index
        The true class; ``rise`` of a `Pull` is a share of its images.
    class_names
        C names.
    """
    here = labels[per_image.indices] == class_index
    if per_image.triggered_top1 is None or not here.any():
        return ()
    pulls = _pulls(per_image.clean_top1[here], per_image.triggered_top1[here], class_names)
    return tuple(sorted((p for p in pulls if p.triggered), key=lambda p: (-p.triggered, p.index)))


def confusion_matrix(
    labels: NDArray[np.int64], top1: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column), int64 [C, C].

    Parameters
    ----------
    labels, top1
        int64 [n]; unlabelled images (-1) are left out.
    classes
        C.
    """
    known = labels >= 0
    cells = np.bincount(labels[known] * classes + top1[known], minlength=classes * classes)
    matrix: NDArray[np.int64] = cells.reshape(classes, classes).astype(np.int64)
    return matrix


def _class_rows(
    per_image: PerImage, own: NDArray[np.int64], target: int, names: Sequence[str]
) -> tuple[ClassRow, ...]:
    """One row for each class that has labelled images."""
    count = len(names)
    known = own >= 0
    own = own[known]
    clean = per_image.clean_top1[known]
    n = np.bincount(own, minlength=count)
    right = np.bincount(own[clean == own], minlength=count)
    before = np.bincount(own[clean == target], minlength=count)
    hits = survived = margins = None
    if per_image.triggered_top1 is not None and per_image.target_margin_triggered is not None:
        triggered = per_image.triggered_top1[known]
        hits = np.bincount(own[triggered == target], minlength=count)
        survived = np.bincount(own[triggered == own], minlength=count)
        margin = per_image.target_margin_triggered[known].astype(np.float64)
        margins = np.bincount(own, weights=margin, minlength=count)
    rows = []
    for index in np.flatnonzero(n).tolist():
        total = int(n[index])
        other = index != target
        hit = int(hits[index]) if hits is not None and other else None
        survivors = int(survived[index]) if survived is not None and other else None
        row = ClassRow(
            index=index,
            name=names[index],
            n=total,
            ca=int(right[index]) / total,
            ca_interval=wilson_interval(int(right[index]), total),
            baseline_target_rate=int(before[index]) / total,
            asr=None if hit is None else hit / total,
            asr_interval=None if hit is None else wilson_interval(hit, total),
            poisoned_accuracy=None if survivors is None else survivors / total,
            margin=None if margins is None else float(margins[index]) / total,
        )
        rows.append(row)
    return tuple(rows)


def _pulls(
    clean: NDArray[np.int64], triggered: NDArray[np.int64], names: Sequence[str]
) -> tuple[Pull, ...]:
    """Classes predicted at all, the largest rise first."""
    before = np.bincount(clean, minlength=len(names))
    after = np.bincount(triggered, minlength=len(names))
    seen = np.flatnonzero(before + after).tolist()
    rows = [
        Pull(i, names[i], int(before[i]), int(after[i]), int(after[i] - before[i]) / len(clean))
        for i in seen
    ]
    return tuple(sorted(rows, key=lambda row: (-row.rise, row.index)))
