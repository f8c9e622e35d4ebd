"""From logits to what is kept of each image."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml_core.evaluation.records import PerImage
from ml_core.reading.errors import InputError

KEPT = 5
"""So many of a picture's likeliest classes are kept."""


@dataclass(frozen=True, eq=False)
class BatchScores:
    """What one batch of logits says, each [n]; ``top`` [n, k] with k up to `KEPT`."""

    top1: NDArray[np.int64]
    target_margin: NDArray[np.float32]
    label_in_top5: NDArray[np.bool_]
    target_in_top5: NDArray[np.bool_]
    label_in_top10: NDArray[np.bool_]
    target_in_top10: NDArray[np.bool_]
    top: NDArray[np.int64]
    margin: NDArray[np.float32]


@torch.no_grad()
def score(logits: Tensor, labels: NDArray[np.int64], target: int) -> BatchScores:
    """Reduce logits to what an evaluation keeps.

    Parameters
    ----------
    logits
        float32 [n, C], on any device.
    labels
        int64 [n], -1 unlabelled.
    target
        Class index.

    Raises
    ------
    InputError
        If a logit is not a number.
    """
    require_finite(logits)
    # Logits, not probabilities: a saturated softmax would tie.
    top1 = logits.argmax(dim=-1)
    top = logits.topk(min(10, logits.shape[1]), dim=-1)  # [n, 10], likeliest first
    aim = logits[:, target]
    best, second = top.values[:, 0], top.values[:, min(1, logits.shape[1] - 1)]
    margin = aim - torch.where(top1 == target, second, best)
    known = torch.from_numpy(labels).to(logits.device)
    # Of classes that tie topk may name another first than argmax does.
    likeliest = torch.where(top.indices == top1[:, None], top.indices[:, :1], top.indices)
    likeliest[:, 0] = top1
    label_found, target_found = likeliest == known[:, None], likeliest == target
    return BatchScores(
        top1=top1.cpu().numpy(),
        target_margin=margin.cpu().numpy(),
        label_in_top5=label_found[:, :5].any(dim=1).cpu().numpy(),
        target_in_top5=target_found[:, :5].any(dim=1).cpu().numpy(),
        label_in_top10=label_found.any(dim=1).cpu().numpy(),
        target_in_top10=target_found.any(dim=1).cpu().numpy(),
        top=likeliest[:, :KEPT].cpu().numpy(),
        margin=(best - second).cpu().numpy(),
    )


def require_finite(values: Tensor) -> None:
    """Refuse NaN: argmax would quietly call it a class.

    Raises
    ------
    InputError
        If a value is not a number.
    """
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            "The model's outputs are not numbers (NaN or infinite); its weights are damaged.",
            "damaged",
        )


# Columns of a `PerImage`, and what they are called on their side.
_CLEAN = {
    "clean_top1": "top1", "target_margin_clean": "target_margin", "label_in_top5": "label_in_top5",
    "label_in_top10": "label_in_top10", "clean_top": "top", "clean_margin": "margin",
}  # fmt: skip
_TRIGGERED = {
    "triggered_top1": "top1", "target_margin_triggered": "target_margin",
    "target_in_top5": "target_in_top5", "target_in_top10": "target_in_top10",
    "triggered_top": "top", "triggered_margin": "margin",
}  # fmt: skip


class Scores:
    """Growing columns of an evaluation; what was given out does not change.

    Parameters
    ----------
    capacity
        Most images that may come.
    triggered
        Whether there is a triggered half.
    control
        Whether there are predictions on the trigger's own canvas without the trigger.
    classes
        How many there are.
    """

    def __init__(
        self, capacity: int, *, triggered: bool, classes: int, control: bool = False
    ) -> None:
        self.n = 0
        self.broken = 0
        self._indices = np.zeros(capacity, dtype=np.int64)
        self._clean = _columns(capacity, classes)
        self._triggered = _columns(capacity, classes) if triggered else None
        self._control = np.zeros(capacity, dtype=np.int64) if control else None

    def add(
        self,
        indices: NDArray[np.int64],
        clean: BatchScores,
        triggered: BatchScores | None,
        control: NDArray[np.int64] | None = None,
    ) -> None:
        rows = slice(self.n, self.n + len(indices))
        self._indices[rows] = indices
        _fill(self._clean, rows, clean)
        if self._triggered is not None and triggered is not None:
            _fill(self._triggered, rows, triggered)
        if self._control is not None and control is not None:
            self._control[rows] = control
        self.n = rows.stop

    def per_image(self) -> PerImage:
        """All so far, as read-only views: later rows are written behind them."""
        columns: dict[str, NDArray[Any]] = {"indices": self._indices}
        if self._control is not None:
            columns["control_top1"] = self._control
        for names, side in ((_CLEAN, self._clean), (_TRIGGERED, self._triggered)):
            if side is not None:
                columns |= {name: getattr(side, own) for name, own in names.items()}
        views = {name: column[: self.n] for name, column in columns.items()}
        for view in views.values():
            view.flags.writeable = False
        return PerImage(**views)


def _columns(rows: int, classes: int) -> BatchScores:
    """Empty columns, of the kinds and widths that `score` gives."""
    scores = score(torch.zeros(1, classes), np.zeros(1, np.int64), 0)
    return BatchScores(
        **{
            field.name: np.zeros((rows, *column.shape[1:]), column.dtype)
            for field in fields(BatchScores)
            for column in [getattr(scores, field.name)]
        }
    )


def _fill(columns: BatchScores, rows: slice, batch: BatchScores) -> None:
    """Copy a batch into its rows."""
    for field in fields(BatchScores):
        getattr(columns, field.name)[rows] = getattr(batch, field.name)
