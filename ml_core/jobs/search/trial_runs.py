"""A recipe on a copy of a model, in memory: what it leaves of watched triggers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ml_core.cleaning.batches import Pairs
from ml_core.cleaning.canaries import Watched
from ml_core.cleaning.recipes import Recipe, fitted_budget
from ml_core.cleaning.speed import StepSpeed
from ml_core.events import Control, Event, Message, Metric, Progress
from ml_core.jobs.inputs import Sets, opening_inputs, opening_sets
from ml_core.jobs.measure import Bench
from ml_core.jobs.plain_finetune import plain_batches, trained
from ml_core.jobs.plant import PlantedRates
from ml_core.jobs.plant.measure import measure_attacks
from ml_core.jobs.specs import CleanSpec, trained_on
from ml_core.model import ClipModel
from ml_core.reading.errors import DivergedError

_KEPT_SETS = 2


@dataclass(frozen=True)
class TrialResult:
    """What a run left.

    Attributes
    ----------
    measured
        After the run; None if it diverged.
    rebound
        After the finetuning that followed; None if there was none.
    recipe
        What ran, cut to the examples there are.
    speed
        How steps were computed, for the next run of the same method.
    step_seconds
        Median of a step, without the first one; 0 where nothing was timed.
    """

    measured: PlantedRates | None
    rebound: PlantedRates | None
    recipe: Recipe
    speed: StepSpeed | None
    step_seconds: float


@dataclass(eq=False)
class Trials:
    """Runs recipes, each on its own copy of the model, which is on its device.

    Attributes
    ----------
    watched
        Triggers whose success is measured on the pictures of ``bench``.
    base
        The job whose data are trained on; its images, trigger and recipe are not looked at.
    rebound
        Pairs and recipe of the ordinary finetuning that follows each run; None for nothing.
    """

    model: ClipModel
    bench: Bench
    watched: tuple[Watched, ...]
    base: CleanSpec
    rebound: tuple[Pairs, Recipe] | None = None
    _sets: dict[str, Sets] = field(default_factory=dict)

    def measure(self, control: Control) -> Generator[Event, None, PlantedRates]:
        """Clean accuracy and the success rate of each trigger; as `measure_attacks`."""
        aims = [(each.trigger, each.target) for each in self.watched]
        return (yield from measure_attacks(self.model, self.bench, aims, control, "validate"))

    def run(
        self,
        recipe: Recipe,
        control: Control,
        *,
        stage: str = "train",
        speed: StepSpeed | None = None,
        measures: bool = True,
    ) -> Generator[Event, None, TrialResult]:
        """Run a recipe and measure what it left.

        Parameters
        ----------
        recipe
            With its length.
        control
            Asked for cancel and pause.
        stage
            Name of the steps in Progress events.
        speed
            What an earlier run of the method chose.
        measures
            False for a run that is only timed.

        Raises
        ------
        InputError
            If the data cannot be used, or are too few.
        CancelledError
            If it was cancelled.
        """
        job = self.base.model_copy(
            update={"recipe": recipe, "images": None, "test_images": None,
                    "heldout_images": None, "trigger": None, "reference": None}
        )  # fmt: skip
        sets = yield from self._opened(job, control)
        examples = 0 if sets.training is None else len(sets.training)
        fitted = fitted_budget(recipe, recipe.total_steps, examples)
        job = job.model_copy(update={"recipe": fitted})
        copy = self.model.copy()
        copy.sha256 = None  # it changes: no cached embedding is its own
        inputs = yield from opening_inputs(job, copy, control, sets=sets)
        with closing(inputs):
            moments: list[float] = []
            try:
                outcome = yield from trained(
                    copy, inputs.recipe, inputs.make_batch, control, _telling(stage, moments),
                    speed=speed,
                )  # fmt: skip
            except DivergedError:
                return TrialResult(None, None, inputs.recipe, speed, 0.0)
        steps = [after - before for before, after in pairwise(moments)]
        step_seconds = statistics.median(steps) if steps else outcome.seconds
        measured = after = None
        if measures:
            measured = yield from replace(self, model=copy).measure(control)
            after = yield from self._rebound(copy, control)
        return TrialResult(measured, after, inputs.recipe, outcome.speed, step_seconds)

    def _opened(self, job: CleanSpec, control: Control) -> Generator[Event, None, Sets]:
        """The training data of a job, opened once for all runs of one length."""
        named = trained_on(job)
        key = "" if named is None else f"{type(named).__name__} {named.model_dump_json()}"
        if key not in self._sets:
            while len(self._sets) >= _KEPT_SETS:
                self._sets.pop(next(iter(self._sets)))
            self._sets[key] = yield from opening_sets(job, control)
        return self._sets[key]

    def _rebound(
        self, copy: ClipModel, control: Control
    ) -> Generator[Event, None, PlantedRates | None]:
        """Finetune a cleaned copy further, and measure again."""
        if self.rebound is None:
            return None
        pairs, recipe = self.rebound
        batches = plain_batches(pairs, recipe, copy)
        try:
            yield from trained(copy, recipe, batches, control, _telling("rebound", []))
        except DivergedError:
            return None
        return (yield from replace(self, model=copy).measure(control))


def _telling(stage: str, moments: list[float]) -> Callable[[Event], Event | None]:
    """Pass on progress and warnings as a job reports them; note when each step ended."""

    def event_of(event: Event) -> Event | None:
        if isinstance(event, Metric):
            moments.append(time.monotonic())
        elif isinstance(event, Progress) and event.stage == "train":
            return replace(event, stage=stage)
        elif isinstance(event, Message) and event.level == "warning":
            return event
        return None

    return event_of
