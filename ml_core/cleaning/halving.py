"""Successive halving over recipes: the plan, the ranking and the choice. Torch-free.

Many recipes run short, the better half of them twice as long, and so on (Jamieson and Talwalkar,
AISTATS 2016). A longer run begins anew, because schedules depend on the length.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ml_core.cleaning.catalogue import FACTS, Method, offered
from ml_core.cleaning.presets import FIELDS
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.tradeoff import Limits
from ml_core.reading.errors import InputError

# Where time is short the first ones are tried: what left the least comes early.
DEFAULT_METHODS: tuple[Method, ...] = ("stamped", "mmcl", "unlearning", "cleanclip", "par")
WITHOUT_CAPTIONS: tuple[Method, ...] = ("unlearning",)
DEFAULT_FACTORS = (1.0, 0.3, 2.0, 0.1)
FEWEST_STEPS = 20
_WARMUP_SHARE, _MOST_WARMUP = 0.1, 50
_TOLERANCE = 1e-9
_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True)
class Rung:
    """One round: a number of recipes, and the steps that each of them takes."""

    candidates: int
    steps: int


@dataclass(frozen=True)
class CanaryScore:
    """What was measured of a recipe on the copy with the canaries.

    Attributes
    ----------
    ca_drop
        Points of clean accuracy lost since the checkpoint; negative where it rose.
    asr
        Highest success rate of a canary, in per cent, also after the rebound where there was one;
        None where the run diverged.
    """

    ca_drop: float
    asr: float | None

    def excess(self, limits: Limits) -> float:
        """Points beyond the limits, of accuracy and of success together; infinite if diverged."""
        if self.asr is None:
            return math.inf
        lost = max(0.0, self.ca_drop - limits.ca_drop)
        left = max(0.0, self.asr - limits.asr)
        return lost + left

    def keeps(self, limits: Limits) -> bool:
        """Whether both limits are kept."""
        return self.excess(limits) <= _TOLERANCE


def candidates_of(
    methods: Sequence[Method],
    factors: Sequence[float],
    peak_lr: float,
    *,
    batch_size: int = 128,
    seed: int = 0,
) -> tuple[Recipe, ...]:
    """Every method at every rate, the likeliest first, since a budget may allow only a few.

    Parameters
    ----------
    methods
        Those that need neither trigger nor reference, and train.
    factors
        Learning rates as fractions of ``peak_lr``.
    peak_lr
        Peak rate of the checkpoint's pretraining, or another centre.
    batch_size, seed
        Batch size and seed of each recipe.

    Returns
    -------
    tuple of Recipe
        Rate by rate in the order given, each with all methods. Their length is one step, until
        `lengthened` sets it.

    Raises
    ------
    InputError
        If a method cannot be searched, or a rate is out of range.
    """
    candidates = []
    for factor in factors:
        for method in methods:
            check_method(method)
            base = {"method": method, "preset": "search", **_fields(method)}
            fields = base | {"lr": factor * peak_lr, "batch_size": batch_size, "seed": seed}
            candidates.append(lengthened(make_recipe(fields), 1))
    return tuple(candidates)


def check_method(method: str) -> None:
    """Refuse a method that a search cannot try.

    Raises
    ------
    InputError
        With the reason.
    """
    facts = FACTS[offered(method)]
    if facts.needs:
        named = " and a ".join(sorted(facts.needs))
        raise InputError(
            f"{facts.title} needs a {named}, which a search does without: leave it out."
        )
    if facts.head:
        raise InputError(
            f"{facts.title} trains a linear head, and a search judges the zero-shot model: leave "
            "it out."
        )


def _fields(method: Method) -> dict[str, object]:
    """The fields of a method's first preset, without its budget and rate."""
    own = dict(next(iter(FIELDS[method].values())))
    for name in ("pairs", "epochs", "lr", "batch_size", "eval_every", "save_every"):
        own.pop(name, None)
    return own | {"stop_below_ca": 0.0}


def lengthened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with this number of steps on distinct examples; a tenth of them warm up."""
    warmup = min(_MOST_WARMUP, math.ceil(_WARMUP_SHARE * steps))
    changes = {
        "pairs": max(2, steps * recipe.batch_size),
        "epochs": 1,
        "warmup_steps": warmup,
        "eval_every": max(1, steps // 4),
        "save_every": max(1, steps // 4),
    }
    return recipe.model_copy(update=changes)


def rungs(count: int, steps: int) -> tuple[Rung, ...]:
    """Rounds that halve the number of recipes down to one and double the steps each time.

    For example, 6 recipes give rounds of 6, 3, 2 and 1 recipes with 1, 2, 4 and 8 times ``steps``.
    """
    ladder = [Rung(count, steps)]
    while ladder[-1].candidates > 1:
        last = ladder[-1]
        ladder.append(Rung(math.ceil(last.candidates / 2), 2 * last.steps))
    return tuple(ladder)


def plan(
    step_seconds: Sequence[float],
    fixed_seconds: float,
    budget: float,
    *,
    fewest: int = FEWEST_STEPS,
    most: int = 10_000,
) -> tuple[Rung, ...]:
    """Rounds with as many recipes as the time allows at ``fewest`` steps, then as long as possible.

    Parameters
    ----------
    step_seconds
        Seconds of a step of each recipe, the likeliest first.
    fixed_seconds
        Seconds of each run besides its steps: copying, measuring, the rebound.
    budget
        Seconds of the whole search.
    fewest, most
        Steps of the first round at least, and of the last round at most.

    Returns
    -------
    tuple of Rung
        Empty if not even one recipe can be tried. Which recipes will be left is not known, so
        each round is planned with the mean of those that began.
    """
    for count in range(len(step_seconds), 0, -1):
        mean = sum(step_seconds[:count]) / count
        runs = [rung.candidates for rung in rungs(count, 1)]
        per_first_step = mean * sum(runs[i] * 2**i for i in range(len(runs)))
        steps = int((budget - fixed_seconds * sum(runs)) / max(per_first_step, 1e-12))
        steps = min(steps, most // 2 ** (len(runs) - 1))
        if steps >= min(fewest, most):
            return rungs(count, steps)
    return ()


def ranked(scores: Mapping[_Name, CanaryScore], limits: Limits) -> tuple[_Name, ...]:
    """Names from the best to the worst.

    Those that keep the limits come first, the least accuracy lost before the others; then the
    fewest points beyond the limits. Equal ones stay in their order.
    """

    def cost(name: _Name) -> tuple[float, float, float]:
        score = scores[name]
        beyond = score.excess(limits)
        worst = math.inf if score.asr is None else score.asr
        return (0.0 if beyond <= _TOLERANCE else beyond), score.ca_drop, worst

    return tuple(sorted(scores, key=cost))
