"""What changes while a model is trained, and what the listener hears of it."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ml_core.cleaning.recipes import FORMER_FIELDS, Recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.cleaning.weight_space import Validate, WeightDelta
from ml_core.events import Control, Event, Message, Metric, Progress
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError

_PROGRESS_SECONDS = 0.25
_RATE_MEMORY = 0.9
_INDIFFERENT = (
    "cache_chunk", "checkpoint_activations", "compile", "save_every", "preset", *FORMER_FIELDS,
)  # fmt: skip

Status = Literal["finished", "stopped", "cancelled"]


@dataclass(frozen=True)
class TrainingOutcome:
    """How training ended.

    Attributes
    ----------
    status
        ``finished``, ``stopped`` (asked to, or accuracy fell: see ``reason``), ``cancelled``.
    step, total_steps
        Steps done and planned.
    head
        The linear head [C, D], or None.
    speed
        Precision and layout used.
    seconds
        Time in steps over all sessions of the run.
    reason
        Why it stopped, as a sentence, or empty.
    chunk
        Examples encoded at a time at the end; 0 is the whole batch.
    rate_factor
        What the recipe's learning rate was multiplied with at the end.
    beside
        What a method in weight space leaves beside the weights.
    """

    status: Status
    step: int
    total_steps: int
    head: Tensor | None
    speed: StepSpeed
    seconds: float
    reason: str = ""
    chunk: int = 0
    rate_factor: float = 1.0
    beside: WeightDelta | None = None


@dataclass
class Run:
    """What changes while training.

    Attributes
    ----------
    step, seconds
        Steps done, and the time in them.
    start_ca, fall
        Clean accuracy at the start, and how many points it has fallen since.
    chunk
        Examples encoded at a time; 0 is the whole batch.
    rate_factor
        1, or less after a loss that was not a number.
    rate, timed
        Examples a second, and the number of steps that this was averaged over.
    """

    step: int = 0
    seconds: float = 0.0
    start_ca: float | None = None
    chunk: int = 0
    rate_factor: float = 1.0
    rate: float | None = None
    timed: int = 0
    fall: float = 0.0
    reason: str = ""
    shown: float = -math.inf

    def facts(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "start_ca": self.start_ca,
            "chunk": self.chunk,
            "rate_factor": self.rate_factor,
        }

    def take_up(self, facts: dict[str, Any]) -> None:
        """Continue the numbers of a saved run."""
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self.start_ca = facts["start_ca"]
        saved = int(facts.get("chunk", 0))  # the recipe may have been made more careful since
        self.chunk = min(filter(None, (saved, self.chunk)), default=0)
        self.rate_factor = float(facts.get("rate_factor", 1.0))

    def keep_time(self, seconds: float, examples: int) -> None:
        """Smooth the throughput in examples a second; the first step, which allocates, counts less.

        The mean of the first ten steps, then an exponential mean.
        """
        self.seconds += seconds
        self.timed += 1
        now = examples / max(seconds, 1e-9)
        share = max(1 - _RATE_MEMORY, 1 / max(1, self.timed - 1))
        self.rate = now if self.rate is None else (1 - share) * self.rate + share * now

    def progress(self, total: int, recipe: Recipe) -> Generator[Event, None, None]:
        """A Progress event, at most four times a second and at the end."""
        now = time.monotonic()
        if now - self.shown >= _PROGRESS_SECONDS or self.step == total:
            self.shown = now
            left = (total - self.step) * recipe.batch_size / self.rate if self.rate else None
            yield Progress("train", self.step, total, self.rate, left)

    def fell(self, recipe: Recipe) -> bool:
        """Whether accuracy fell under the recipe's limit; writes the reason."""
        if not recipe.stop_below_ca or self.fall <= recipe.stop_below_ca:
            return False
        self.reason = (
            f"Stopped at step {self.step}: clean accuracy on validation images is "
            f"{self.fall:.1f} points under its start, more than the limit of "
            f"{recipe.stop_below_ca:g}."
        )
        return True


def check_state(facts: dict[str, Any], recipe: Recipe, identity: str) -> None:
    """Refuse a saved state of another job.

    Raises
    ------
    InputError
        If it belongs to another checkpoint, other data or another recipe.
    """
    if facts.get("identity") != identity:
        raise InputError(
            "The saved state belongs to another checkpoint or other training data; resume with "
            "the files that the run began with."
        )
    saved, own = facts.get("recipe"), recipe.model_dump()
    if isinstance(saved, dict):
        saved = own | saved  # what an earlier version did not know counts as it is now
    if decisive(saved) != decisive(own):
        raise InputError(
            "The saved state was made with another recipe; resume with the same job file."
        )


def decisive(fields: Any) -> Any:
    """A recipe's fields without what changes neither gradients nor the order of examples."""
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if name not in _INDIFFERENT}


def hold(control: Control) -> Generator[Event, None, None]:
    """Wait while paused; say so once."""
    if not control.paused:
        return
    yield Message("Paused.")
    while not control.wait_while_paused(0.1):
        pass
    if not control.cancelled and not control.stopped:
        yield Message("Going on.")


def evaluate(
    run: Run, total: int, model: ClipModel, head: Tensor | None, validate: Validate
) -> Generator[Event, None, None]:
    """Measure on validation images; the first accuracy is what the limit counts from."""
    model.module.eval()
    values = yield from validate(None if head is None else head.detach())
    if values is None:
        return
    accuracies = [values[name] for name in ("ca", "linear_ca") if values.get(name) is not None]
    ca = max(accuracies, default=None)
    if run.start_ca is None and ca is not None:
        run.start_ca = ca
    yield Metric(run.step, total, values)
    if ca is not None and run.start_ca is not None:
        run.fall = 100.0 * (run.start_ca - ca)


def describe(speed: StepSpeed) -> str:
    """One line for the log about the chosen precision."""
    layout = {None: "", True: ", channels-last", False: ", contiguous"}[speed.channels_last]
    if not speed.step_seconds:
        return f"Precision {speed.precision}{layout}."
    times = ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in speed.step_seconds.items())
    return f"Precision {speed.precision}{layout} (forward and backward of one batch: {times})."


def diverged(step: int, earlier: int | None, state_path: Path | None) -> str:
    """The sentence for a loss that is not a number; ``earlier`` is the step of the first time."""
    saved = _last_save(state_path)
    again = " again, at half the learning rate" if earlier is not None else ""
    return (
        f"The loss became infinite or not a number at step {step + 1}{again}: "
        f"lower the learning rate or clip gradients harder.{saved}"
    )


def ruined(odd: str, step: int, state_path: Path | None) -> str:
    """The sentence that ends a run before it is saved, about the weight that `odd_weight` found."""
    return (
        f"After step {step} a weight has the value {odd}, which no trained model has: lower the "
        f"learning rate or clip gradients harder.{_last_save(state_path)}"
    )


def _last_save(state_path: Path | None) -> str:
    return " The last save is intact." if state_path is not None and state_path.exists() else ""
