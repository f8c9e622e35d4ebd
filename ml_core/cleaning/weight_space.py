"""Moving along a line in weight space: WiSE-FT's interpolation.

A direction is a dict of float tensors by name; the weights at alpha are base + alpha * direction.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ml_core.cleaning.recipes import Recipe
from ml_core.events import Control, Event, Message, Progress
from ml_core.figures import percent
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError

_COARSE = 8  # equal steps from 0 to the recipe's alpha
_FINE = 4  # parts that the steps on both sides of the best one are then cut into
STEPS_OF_ALPHA = _COARSE + 2 * (_FINE - 1)

Weights = dict[str, Tensor]
Validate = Callable[[Tensor | None], Generator[Event, None, dict[str, float] | None]]
"""Measures the model (given the head, or None) on validation images; None if cancelled."""


@dataclass(frozen=True, eq=False)
class WeightDelta:
    """How far a method in weight space moved the weights.

    Attributes
    ----------
    alpha
        How far it was gone: 0 is the checkpoint, 1 the end of the direction.
    tried
        Validation values of every alpha that was tried, each with its ``alpha``.
    """

    alpha: float
    tried: tuple[dict[str, float], ...] = ()


def snapshot(model: ClipModel) -> Weights:
    """A copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.module.state_dict().items()}


def direction(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> Weights:
    """``end`` minus ``start``, for the float tensors that differ.

    Counters (BatchNorm's ``num_batches_tracked``) have no direction and are left out.
    """
    steps = {}
    for name, value in start.items():
        if value.is_floating_point() and not torch.equal(value, end[name].to(value)):
            steps[name] = end[name].to(value) - value
    return steps


def combine(base: Mapping[str, Tensor], vector: Mapping[str, Tensor], alpha: float) -> Weights:
    """Weights at ``base + alpha * vector``.

    BatchNorm's running means and variances move as weights do, since there may be no data to
    take them anew. What is not in ``vector`` is the base's, counters among it.

    Parameters
    ----------
    base
        State dict.
    vector
        Direction, see `direction`.
    alpha
        From 0, the base, to 1, the end of the direction.

    Returns
    -------
    dict
        New tensors where something moved, the base's own elsewhere.
    """
    weights = dict(base)
    for name, step in vector.items():
        weights[name] = base[name] + alpha * step.to(base[name])
    return weights


def place(model: ClipModel, weights: Mapping[str, Tensor]) -> None:
    """Give a model these weights, in place, keeping its memory layout."""
    with torch.no_grad():
        for name, value in model.module.state_dict().items():
            value.copy_(weights[name])


def settle(
    model: ClipModel,
    base: Weights,
    vector: Weights,
    recipe: Recipe,
    validate: Validate | None,
    control: Control,
) -> Generator[Event, None, WeightDelta]:
    """Place the result: at the recipe's alpha, or at the one that validation images choose.

    Auto tries alpha in eight equal steps from 0 to the recipe's alpha, then in quarters of a step
    on both sides of the best of them. Of those whose clean accuracy is at most ``ca_limit`` points
    under that of alpha 0 it takes the lowest attack success rate and then the smallest alpha.
    Without a trigger, the remaining backdoor cannot be measured: then it takes the largest of
    them, and says so.
    """
    if recipe.alpha_choice == "given":
        place(model, combine(base, vector, recipe.alpha))
        return WeightDelta(recipe.alpha)
    if validate is None:
        raise InputError("Alpha can only be chosen on validation images: add some, or give alpha.")
    tried: list[dict[str, float]] = []
    ahead = [recipe.alpha * number / _COARSE for number in range(_COARSE + 1)]
    while ahead:
        alpha = ahead.pop(0)
        yield Progress("alpha", len(tried), STEPS_OF_ALPHA + 1)
        place(model, combine(base, vector, alpha))
        values = yield from validate(None)
        if values is None or control.cancelled:
            return WeightDelta(alpha, tuple(tried))
        tried.append({"alpha": alpha, **values})
        if len(tried) == _COARSE + 1:
            ahead = _beside(choose_alpha(tried, recipe.ca_limit)["alpha"], recipe.alpha)
    yield Progress("alpha", STEPS_OF_ALPHA + 1, STEPS_OF_ALPHA + 1)
    chosen = choose_alpha(tried, recipe.ca_limit)
    place(model, combine(base, vector, chosen["alpha"]))
    yield Message(*_words(chosen, recipe))
    tried.sort(key=lambda row: row["alpha"])
    return WeightDelta(chosen["alpha"], tuple(tried))


def _beside(alpha: float, end: float) -> list[float]:
    """Parts of the coarse steps on both sides of one, within 0 and the end, ascending."""
    part = end / _COARSE / _FINE
    around = [alpha + number * part for number in range(1 - _FINE, _FINE) if number]
    return [value for value in around if 0 < value < end]


def choose_alpha(tried: list[dict[str, float]], ca_limit: float) -> dict[str, float]:
    """The row to take, see `settle`; the first row is alpha 0, the others in any order.

    Raises
    ------
    InputError
        If clean accuracy was not measured.
    """
    if any("ca" not in row for row in tried):
        raise InputError(
            "Alpha can only be chosen on labelled validation images: these have no labels; "
            "give alpha."
        )
    start = tried[0]["ca"]
    allowed = [row for row in tried if 100 * (start - row["ca"]) <= ca_limit + 1e-9]
    if all("asr_excl" in row for row in allowed):
        return min(allowed, key=lambda row: (row["asr_excl"], row["alpha"]))
    return max(allowed, key=lambda row: row["alpha"])


def _words(chosen: dict[str, float], recipe: Recipe) -> tuple[str, Any]:
    """What was chosen and on what grounds; a warning where they are thin."""
    alpha, limit = chosen["alpha"], recipe.ca_limit
    if alpha == 0:
        return (
            f"No alpha lowers the success rate within {limit:g} points of clean accuracy: the "
            "weights are left as they are. Allow more, or take another method.",
            "warning",
        )
    if "asr_excl" not in chosen:
        return (
            f"Alpha {alpha:g} is the largest within {limit:g} points of clean accuracy. Without a "
            "trigger it is unknown how much of the backdoor is left. At 1 it is the reference "
            "itself.",
            "warning",
        )
    return (
        f"Alpha {alpha:g} was chosen on validation images: success rate "
        f"{percent(chosen['asr_excl'])} at a clean accuracy of {percent(chosen['ca'])}.",
        "info",
    )
