"""The one training loop: batches in, events out, a cleaned model in place."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ml_core.cleaning.batches import Batch, prefetch
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Beside, Given, Validate
from ml_core.cleaning.optimizer import make_optimizer, rate_at
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import Speed, measure_speed, speed_from_dict
from ml_core.cleaning.state import load_state, save_state
from ml_core.cleaning.step import clamp_scale, forward, take_step, training_mode
from ml_core.events import Control, Event, Message, Metric, Progress, Saved
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError

_PROGRESS_SECONDS = 0.25
_RATE_MEMORY = 0.9

Keep = Callable[[int, Tensor | None], Saved]
Status = Literal["finished", "stopped", "cancelled"]


@dataclass(frozen=True)
class Outcome:
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
        Precision used.
    seconds
        Time in steps over all sessions of the run.
    reason
        Why it stopped, as a sentence, or empty.
    beside
        What a method in weight space leaves beside the weights.
    """

    status: Status
    step: int
    total_steps: int
    head: Tensor | None
    speed: Speed
    seconds: float
    reason: str = ""
    beside: Beside | None = None


@dataclass
class _Run:
    """What changes while training."""

    step: int = 0
    seconds: float = 0.0
    start_ca: float | None = None
    rate: float | None = None
    timed: int = 0
    fall: float = 0.0
    reason: str = ""
    shown: float = -math.inf


def train(
    model: ClipModel,
    recipe: Recipe,
    make_batch: Callable[[int], Batch],
    control: Control,
    *,
    given: Given | None = None,
    validate: Validate | None = None,
    keep: Keep | None = None,
    state_path: Path | None = None,
    resume: bool = False,
    identity: str = "",
) -> Generator[Event, None, Outcome]:
    """Clean ``model`` in place.

    Parameters
    ----------
    model
        Trained in place; in evaluation mode whenever the generator is suspended in
        ``validate`` and after the end.
    recipe
        Method, budget and hyperparameters; ``recipe.total_steps`` steps are taken.
    make_batch
        Step to batch, called in a background thread; must depend on the step alone.
    control
        Cancel, stop and pause; looked at between steps.
    given
        What the method needs besides batches.
    validate
        Measures the model (given the head, or None) on validation images and returns the
        values of an evaluation Metric, or None if cancelled.
    keep
        Saves the model (given the step and the head, or None) after each evaluation, so that
        the best of them can be chosen.
    state_path
        Where the state for resuming is kept; None keeps none.
    resume
        Go on from ``state_path``.
    identity
        Names checkpoint and training data; a state of another one is refused.

    Yields
    ------
    Event
        Metric for each step and evaluation, Progress, Saved, Message.

    Returns
    -------
    Outcome
        The generator's return value.

    Raises
    ------
    InputError
        If the loss is no longer a number, or the saved state does not fit.
    """
    total = recipe.total_steps
    given = given or Given()
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    method = build_method(model, recipe, given)
    named, head = method.trained, method.head
    for _, parameter in named:
        parameter.requires_grad_(True)
    optimizer = make_optimizer(model.module, named, recipe)
    run = _Run()
    if resume and state_path is not None:
        facts = load_state(state_path, model.module, named, optimizer)
        speed = _take_up(run, facts, recipe, identity)
        yield Message(f"Going on after step {run.step} of {total}.")
        if facts["threads"] != torch.get_num_threads():
            yield Message(
                f"The run began with {facts['threads']} threads and goes on with "
                f"{torch.get_num_threads()}: the last bits of its weights may differ.",
                "warning",
            )
    else:
        torch.manual_seed(recipe.seed)
        clamp_scale(model.module)
        yield Progress("prepare", 0, 0)
        speed = _choose_speed(model, recipe, given, make_batch)
        yield Progress("prepare", 1, 1)
    yield Message(_describe(speed))

    def outcome(status: Status) -> Outcome:
        model.module.eval()
        kept = None if head is None else head.detach().clone()
        return Outcome(status, run.step, total, kept, speed, run.seconds, run.reason)

    def save() -> Saved | None:
        if state_path is None:
            return None
        facts = {
            "step": run.step,
            "seconds": run.seconds,
            "start_ca": run.start_ca,
            "recipe": recipe.model_dump(),
            "identity": identity,
            "speed": speed.to_dict(),
            "threads": torch.get_num_threads(),
        }
        save_state(state_path, model.module, named, optimizer, facts)
        return Saved(str(state_path), "resume", run.step)

    if validate is not None and recipe.eval_every and run.start_ca is None:
        yield Progress("validate", 0, 0)
        yield from _evaluate(run, total, model, head, validate)
        if keep is not None and not control.cancelled:
            yield keep(run.step, head)
        yield Progress("validate", 1, 1)
        if control.cancelled:
            return outcome("cancelled")
    with closing(prefetch(make_batch, range(run.step, total))) as batches:
        while run.step < total:
            yield from _hold(control)
            if control.cancelled:
                return outcome("cancelled")
            if control.stopped:
                break
            begin = time.perf_counter()
            batch = next(batches).to(model.device)
            rate = rate_at(run.step, total, recipe)
            values = take_step(model, method, optimizer, batch, recipe, rate, speed)
            if not math.isfinite(values["loss"]):
                raise InputError(_diverged(run.step, state_path), "usage")
            run.step += 1
            _keep_time(run, time.perf_counter() - begin, len(batch.images))
            values |= {"lr": rate, "pairs_per_second": run.rate or 0.0}
            yield Metric(run.step, total, values)
            yield from _progress(run, total, recipe)
            due = recipe.eval_every and run.step % recipe.eval_every == 0
            if validate is not None and recipe.eval_every and (due or run.step == total):
                yield from _evaluate(run, total, model, head, validate)
                if keep is not None and not control.cancelled:
                    yield keep(run.step, head)
                if _fell(run, recipe):
                    break
            if recipe.save_every and run.step % recipe.save_every == 0 and run.step < total:
                saved = save()
                if saved is not None:
                    yield saved
    if control.cancelled:
        return outcome("cancelled")
    saved = save()  # before the finish, which a run that is taken up here does again
    if saved is not None:
        yield saved
    beside = None
    if method.finish is not None:
        beside = yield from method.finish(validate, control)
        if control.cancelled:
            return outcome("cancelled")
        if validate is not None and recipe.eval_every:
            yield from _evaluate(run, total, model, head, validate)
            if keep is not None and not control.cancelled:
                yield keep(run.step, head)
            if control.cancelled:
                return outcome("cancelled")
    if run.reason:
        yield Message(run.reason, "warning")
    ended = outcome("finished" if run.step >= total and not run.reason else "stopped")
    return replace(ended, beside=beside)


def _choose_speed(
    model: ClipModel, recipe: Recipe, given: Given, make_batch: Callable[[int], Batch]
) -> Speed:
    """Measure on a copy, so that neither weights nor BatchNorm statistics move."""
    if recipe.precision != "auto" or not recipe.total_steps:
        return Speed(recipe.precision == "bf16", {})
    trial = model.copy()
    method = build_method(trial, recipe, given)
    training_mode(trial, method, recipe)
    batch = make_batch(0).to(model.device)
    return measure_speed(
        recipe,
        model.device,
        lambda half: forward(trial, method, batch, Speed(half, {}))["loss"],
        trial.module,
    )


def _describe(speed: Speed) -> str:
    """One line for the log about the chosen precision."""
    if not speed.step_seconds:
        return f"Precision {speed.precision}."
    times = ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in speed.step_seconds.items())
    return f"Precision {speed.precision} (forward and backward of one batch: {times})."


def _take_up(run: _Run, facts: dict[str, Any], recipe: Recipe, identity: str) -> Speed:
    """Continue the numbers of an interrupted run."""
    if facts.get("identity") != identity:
        raise InputError(
            "The saved state belongs to another checkpoint or other training data; resume with "
            "the files that the run began with."
        )
    if facts.get("recipe") != recipe.model_dump():
        raise InputError(
            "The saved state was made with another recipe; resume with the same job file."
        )
    run.step, run.seconds = int(facts["step"]), float(facts["seconds"])
    run.start_ca = facts["start_ca"]
    return speed_from_dict(facts["speed"])


def _diverged(step: int, state_path: Path | None) -> str:
    """The sentence for a loss that is no number."""
    kept = " The last save is intact." if state_path is not None and state_path.exists() else ""
    return (
        f"The loss became infinite or not a number at step {step + 1}: "
        f"lower the learning rate or clip gradients harder.{kept}"
    )


def _keep_time(run: _Run, seconds: float, examples: int) -> None:
    """Smooth the throughput in examples a second; the first step, which allocates, counts little.

    The mean of the first ten steps, then an exponential mean.
    """
    run.seconds += seconds
    run.timed += 1
    now = examples / max(seconds, 1e-9)
    share = max(1 - _RATE_MEMORY, 1 / max(1, run.timed - 1))
    run.rate = now if run.rate is None else (1 - share) * run.rate + share * now


def _progress(run: _Run, total: int, recipe: Recipe) -> Generator[Event, None, None]:
    """A Progress event, at most four times a second and at the end."""
    now = time.monotonic()
    if now - run.shown >= _PROGRESS_SECONDS or run.step == total:
        run.shown = now
        left = (total - run.step) * recipe.batch_size / run.rate if run.rate else None
        yield Progress("train", run.step, total, run.rate, left)


def _hold(control: Control) -> Generator[Event, None, None]:
    """Wait while paused; say so once."""
    if not control.paused:
        return
    yield Message("Paused.")
    while not control.wait_while_paused(0.1):
        pass
    if not control.cancelled and not control.stopped:
        yield Message("Going on.")


def _evaluate(
    run: _Run, total: int, model: ClipModel, head: Tensor | None, validate: Validate
) -> Generator[Event, None, None]:
    """Measure on validation images; the first accuracy is what the limit counts from."""
    model.module.eval()
    values = validate(None if head is None else head.detach())
    if values is None:
        return
    found = [values[name] for name in ("ca", "linear_ca") if values.get(name) is not None]
    ca = max(found, default=None)
    if run.start_ca is None and ca is not None:
        run.start_ca = ca
    yield Metric(run.step, total, values)
    if ca is not None and run.start_ca is not None:
        run.fall = 100.0 * (run.start_ca - ca)


def _fell(run: _Run, recipe: Recipe) -> bool:
    """Whether accuracy fell under the recipe's limit; writes the reason."""
    if not recipe.stop_below_ca or run.fall <= recipe.stop_below_ca:
        return False
    run.reason = (
        f"Stopped at step {run.step}: clean accuracy on validation images is {run.fall:.1f} "
        f"points under its start, more than the limit of {recipe.stop_below_ca:g}."
    )
    return True
