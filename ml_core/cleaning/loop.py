"""The one training loop: batches in, events out, a cleaned model in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ml_core.cleaning.batches import Batch, prefetch
from ml_core.cleaning.gradients import check_pieces, normalises_by_batch, with_targets
from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras, Method
from ml_core.cleaning.progress import (
    Run,
    Status,
    TrainingOutcome,
    check_state,
    describe,
    diverged,
    evaluate,
    hold,
    ruined,
)
from ml_core.cleaning.recipes import Recipe
from ml_core.cleaning.speed import StepSpeed, measure_speed, speed_from_dict
from ml_core.cleaning.state import intact_state, load_state, odd_weight, read_facts, save_state
from ml_core.cleaning.step import (
    clamp_scale,
    cut_texts,
    forward,
    is_finite,
    make_optimizer,
    rate_at,
    short_attention,
    take_step,
    training_mode,
)
from ml_core.cleaning.weight_space import Validate
from ml_core.events import Control, Event, Message, Metric, Progress, Saved
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks
from ml_core.reading.errors import DivergedError, InputError, TooLittleMemoryError

_BatchNorm = nn.modules.batchnorm._BatchNorm


def set_layout(model: ClipModel, channels_last: bool | None) -> None:
    """Set the memory layout of the image encoder's input and filters; None takes its usual one."""
    model.channels_last = channels_last
    layout = torch.channels_last if model.layout == "channels-last" else torch.contiguous_format
    visual = getattr(model.module, "visual", None)
    if isinstance(visual, nn.Module):
        visual.to(memory_format=layout)  # type: ignore[call-overload]


@contextmanager
def prepared(model: ClipModel, recipe: Recipe) -> Iterator[None]:
    """Checkpoint activations and compile the encoders, as the recipe asks for."""
    before = model.channels_last
    with ExitStack() as stack:
        stack.callback(set_layout, model, before)
        if recipe.checkpoint_activations:
            stack.enter_context(_checkpointed(model.module))
        if compiles(model, recipe):
            stack.enter_context(_compiled(model.module))
        yield


def compiles(model: ClipModel, recipe: Recipe) -> bool:
    """Whether torch.compile is asked for and offered: on CUDA alone."""
    return recipe.compile and model.device.type == "cuda"


@contextmanager
def _checkpointed(module: nn.Module) -> Iterator[None]:
    """Keep only what enters a block, and compute the block anew in the backward pass.

    open_clip has the switch for transformers; a ResNet's stem and blocks are wrapped here.
    """
    transformers = [part for part in module.modules() if hasattr(part, "grad_checkpointing")]
    before = [bool(part.grad_checkpointing) for part in transformers]
    visual = getattr(module, "visual", None)
    wrapped: list[tuple[nn.Module, str]] = []
    if isinstance(visual, nn.Module) and hasattr(visual, "stem") and hasattr(visual, "layer1"):
        wrapped.append((visual, "stem"))
        for number in range(1, 5):
            wrapped += [(block, "forward") for block in getattr(visual, f"layer{number}")]
    try:
        for part in transformers:
            part.grad_checkpointing = True  # type: ignore[assignment]
        for part, name in wrapped:
            setattr(part, name, partial(_recomputed, part, getattr(part, name)))
        yield
    finally:
        for part, was in zip(transformers, before, strict=True):
            part.grad_checkpointing = was  # type: ignore[assignment]
        for part, name in wrapped:
            delattr(part, name)  # the class's own comes back


def _recomputed(part: nn.Module, act: Callable[[Any], Any], value: Any) -> Any:
    """Call ``act`` under activation checkpointing; call it plainly if no gradient is needed."""
    if not torch.is_grad_enabled():
        return act(value)
    layers = [layer for layer in part.modules() if isinstance(layer, _BatchNorm)]
    return checkpoint(
        act, value, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted_once(layers))
    )


@contextmanager
def _counted_once(layers: list[Any]) -> Iterator[None]:
    """BatchNorm sees the same batch a second time: its stored statistics stay."""
    before = [(layer, layer.momentum) for layer in layers]
    counts = [layer.num_batches_tracked.clone() for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for (layer, momentum), count in zip(before, counts, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(count)


@contextmanager
def _compiled(module: nn.Module) -> Iterator[None]:
    """Compile the two encoders' layers in place; names in the state dict stay."""
    text = getattr(module, "text", module)
    parts = [getattr(module, "visual", None), getattr(text, "transformer", None)]
    chosen = [part for part in parts if isinstance(part, nn.Module)]
    try:
        for part in chosen:
            part.compile()
        yield
    finally:
        for part in chosen:
            part._compiled_call_impl = None


Values = dict[str, float]


def fitting(
    act: Callable[[int], Values], run: Run, examples: int, divisible: bool, together: bool
) -> Generator[Event, None, Values]:
    """Take a step; halve what is encoded at a time until it fits, and say so.

    Parameters
    ----------
    act
        Takes the step with a chunk (0: the whole batch) and returns its values. Weights must not
        have moved when it runs out of memory.
    run
        Its ``chunk`` is lowered, for this and all later steps.
    examples
        Size of the batch.
    divisible
        Whether gradient caching is exact here.
    together
        Whether other processes take the same step: then nothing can be repeated here alone.

    Raises
    ------
    TooLittleMemoryError
        If the batch cannot be divided further.
    """
    state = torch.get_rng_state()
    while True:
        try:
            return act(run.chunk)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error)
        # Outside the except block the failed step's tensors are free.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        torch.set_rng_state(state)
        now = min(run.chunk or examples, examples)
        if together or not divisible or now < 2:
            raise TooLittleMemoryError(_refusal(now, divisible, together), details=reason)
        run.chunk = (now + 1) // 2
        yield Message(
            f"A batch of {examples} does not fit into memory {now} at a time: from step "
            f"{run.step + 1} on {run.chunk} are encoded at a time, through gradient caching. The "
            "gradient stays that of the whole batch; steps take about a third longer.",
            "warning",
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on any device."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def _refusal(now: int, divisible: bool, together: bool) -> str:
    """Why a batch that does not fit is not divided, and what to do."""
    if together:
        return (
            f"A process has too little memory for its {now} examples: lower the batch size, set "
            "gradient caching, or take more processes. What was saved is intact."
        )
    if not divisible:
        return (
            f"There is too little memory for a batch of {now}, and it cannot be encoded in parts "
            "while BatchNorm is trained: set BatchNorm to frozen, which allows gradient caching, "
            "or halve the batch size. What was saved is intact."
        )
    return (
        "There is too little memory even for one example at a time: choose another device or "
        "checkpoint activations. What was saved is intact."
    )


__all__ = ["TrainingOutcome", "train"]

_TRIAL = {"cpu": 32, "cuda": 128}  # examples of the batch that the trial takes
_SLOWER = 0.5

Keep = Callable[[int, Tensor | None], Saved]
MakeBatch = Callable[[int], Batch]
RateOf = Callable[[int], float]


@dataclass(frozen=True, eq=False)
class _Job:
    """What stays the same while training."""

    model: ClipModel
    recipe: Recipe
    method: Method
    optimizer: torch.optim.Optimizer
    run: Run
    make_batch: MakeBatch
    control: Control
    validate: Validate | None
    keep: Keep | None
    state_path: Path | None
    identity: str
    ranks: Ranks
    speed: StepSpeed
    rate_of: RateOf

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.recipe.total_steps

    def save(self) -> Saved | None:
        """Replace the state, in the first process.

        Raises
        ------
        DivergedError
            If a weight is not a number or absurd; what was saved before stays.
        """
        if self.state_path is None:
            return None
        if odd := odd_weight(self.method.trained):
            raise DivergedError(ruined(odd, self.run.step, self.state_path), self.run.step)
        if not self.ranks.first:
            return None
        facts = self.run.facts() | {
            "recipe": self.recipe.model_dump(),
            "identity": self.identity,
            "speed": self.speed.to_dict(),
            "threads": torch.get_num_threads(),
            "processes": self.ranks.world,
        }
        opponent = self.method.opponent
        save_state(
            self.state_path, self.model.module, self.method.trained, self.optimizer, facts,
            None if opponent is None else opponent.tensors,
        )  # fmt: skip
        return Saved(str(self.state_path), "resume", self.run.step)

    def load(self, path: Path) -> dict[str, Any]:
        """Put a saved state back and return its facts.

        Raises
        ------
        InputError
            If the state does not fit, or one of its weights is not a number or is absurdly large.
        """
        opponent = self.method.opponent
        facts = load_state(
            path, self.model.module, self.method.trained, self.optimizer,
            None if opponent is None else opponent.tensors,
        )  # fmt: skip
        if opponent is not None:
            opponent.taken_up()
        if odd := odd_weight(self.method.trained):  # what earlier versions saved has no digest
            raise InputError(
                f"The saved state {path.name} is damaged: it holds {odd}, which no trained model "
                "has. Start the run again.",
                "damaged",
            )
        return facts

    def outcome(self, status: Status) -> TrainingOutcome:
        self.model.module.eval()
        self.optimizer.zero_grad(set_to_none=True)
        run, head = self.run, self.method.head
        weights = None if head is None else head.detach().clone()
        return TrainingOutcome(
            status, run.step, self.total, weights, self.speed, run.seconds, run.reason, run.chunk,
            run.rate_factor,
        )  # fmt: skip


def train(
    model: ClipModel,
    recipe: Recipe,
    make_batch: MakeBatch,
    control: Control,
    *,
    extras: Extras | None = None,
    validate: Validate | None = None,
    keep: Keep | None = None,
    state_path: Path | None = None,
    resume: bool = False,
    identity: str = "",
    speed: StepSpeed | None = None,
    ranks: Ranks = ALONE,
    rate_of: RateOf | None = None,
) -> Generator[Event, None, TrainingOutcome]:
    """Clean ``model`` in place.

    Parameters
    ----------
    model
        Trained in place; in evaluation mode whenever the generator is suspended in
        ``validate`` and after the end.
    recipe
        Method, budget and hyperparameters; ``recipe.total_steps`` steps are taken.
    make_batch
        Step to this process's part of its batch, called in a background thread; must depend on
        the step alone.
    control
        Cancel, stop and pause; looked at between steps.
    extras
        What the method needs besides batches.
    validate
        Measures the model (given the head, or None) on validation images with events of its own,
        and returns the values of an evaluation Metric, or None if cancelled. Called in the first
        process alone.
    keep
        Saves the model (given the step and the head, or None) after each evaluation, so that
        the best of them can be chosen.
    state_path
        Where the state for resuming is kept, from before the first step on; None keeps none. It
        is also where a loss that is not a number rolls back to.
    resume
        Go on from ``state_path``.
    identity
        Names checkpoint and training data; a state with another identity is refused.
    speed
        What an earlier run measured, to repeat it; None measures if the recipe says so.
    ranks
        The processes that train together. Saved files are seen by all of them.
    rate_of
        Step (0 for the first) to its learning rate, in place of the recipe's schedule; None
        follows the schedule.

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
    DivergedError
        If the loss is no longer a number, a second time or with no ``state_path``.
    InputError
        If the saved state does not fit, or the recipe asks for pieces of a batch that cannot be
        divided.
    """
    extras = extras or Extras()
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    method = build_method(model, recipe, extras)
    check_pieces(model, recipe, ranks)
    for _, parameter in method.trained:
        parameter.requires_grad_(True)
    run = Run(chunk=recipe.cache_chunk)
    with prepared(model, recipe):
        saved, facts = None, None
        if resume and state_path is not None:
            saved, sentence = intact_state(state_path)
            if sentence:
                yield Message(sentence, "warning")
            speed, facts = _read(saved, recipe, identity)
        else:
            torch.manual_seed(recipe.seed)
            clamp_scale(model.module)
            if speed is None:
                yield Progress("prepare", 0, 0)
                speed = _choose_speed(model, recipe, method, make_batch, ranks)
                yield Progress("prepare", 1, 1)
        set_layout(model, speed.channels_last)
        optimizer = make_optimizer(model.module, method.trained, recipe)
        job = _Job(
            model, recipe, method, optimizer, run, make_batch, control, validate, keep,
            state_path, identity, ranks, speed,
            rate_of or partial(rate_at, total_steps=recipe.total_steps, recipe=recipe),
        )  # fmt: skip
        if facts is not None and saved is not None:
            job.load(saved)
            run.take_up(facts)
            yield Message(f"Going on after step {run.step} of {job.total}.")
            yield from _other_threads(facts)
        yield Message(describe(speed))
        if recipe.compile and not compiles(model, recipe):
            yield Message(
                "Compile is left out: torch.compile is used on CUDA only, and this is "
                f"{model.device.type}."
            )
        return (yield from _train(job))


def _train(job: _Job) -> Generator[Event, None, TrainingOutcome]:
    """Train from the run's present step to its end."""
    run, recipe, control, ranks = job.run, job.recipe, job.control, job.ranks
    device = job.model.device
    first_failure: int | None = None
    fresh = job.validate is not None and recipe.eval_every > 0 and run.start_ca is None
    if ranks.any(fresh, device=device)[0]:
        yield Progress("validate", 0, 0)
        yield from _measure(job)
    if run.step < job.total and run.step == 0:
        job.save()  # in every recipe: what a loss that is no number goes back to
    ended = False
    while run.step < job.total and not ended:
        back = False
        with closing(prefetch(job.make_batch, range(run.step, job.total))) as batches:
            while run.step < job.total:
                yield from hold(control)
                cancelled, stopped = ranks.any(control.cancelled, control.stopped, device=device)
                if cancelled:
                    return job.outcome("cancelled")
                if stopped:
                    ended = True
                    break
                begin = time.perf_counter()
                batch = cut_texts(job.model, next(batches)).to(device)
                values = yield from _step(job, batch)
                (back,) = ranks.any(not is_finite(values), device=device)
                if back:
                    break
                run.step += 1
                run.keep_time(time.perf_counter() - begin, len(batch) * ranks.world)
                yield Metric(run.step, job.total, values | {"pairs_per_second": run.rate or 0.0})
                yield from run.progress(job.total, recipe)
                if _due(job) and (yield from _measure(job)):
                    ended = True
                    break
                if recipe.save_every and run.step % recipe.save_every == 0:
                    saved = job.save() if run.step < job.total else None
                    if saved is not None:
                        yield saved
        if back:
            yield from _roll_back(job, first_failure)
            first_failure = run.step
    (cancelled,) = ranks.any(control.cancelled, device=device)
    if cancelled:
        return job.outcome("cancelled")
    saved = job.save()  # before the finish, which a run that is taken up here does again
    if saved is not None:
        yield saved
    beside = None
    if job.method.finish is not None and ranks.first:
        beside = yield from job.method.finish(job.validate, control)
        if not control.cancelled and recipe.eval_every:
            yield from _evaluate_and_keep(job)
        if control.cancelled:
            return job.outcome("cancelled")
    if run.reason:
        yield Message(run.reason, "warning")
    outcome = job.outcome("finished" if run.step >= job.total and not run.reason else "stopped")
    return replace(outcome, beside=beside)


def _step(job: _Job, batch: Batch) -> Generator[Event, None, dict[str, float]]:
    """One step; in smaller pieces if the batch does not fit."""
    rate = job.run.rate_factor * job.rate_of(job.run.step)

    def act(chunk: int) -> dict[str, float]:
        return take_step(
            job.model, job.method, job.optimizer, batch, job.recipe, rate, job.speed,
            step=job.run.step, chunk=chunk, ranks=job.ranks,
        )  # fmt: skip

    divisible = not normalises_by_batch(job.model, job.recipe)
    values = yield from fitting(act, job.run, len(batch), divisible, job.ranks.world > 1)
    return values | {"lr": rate}


def _due(job: _Job) -> bool:
    """Whether an evaluation follows this step."""
    every, step = job.recipe.eval_every, job.run.step
    return bool(every) and (step % every == 0 or step == job.total)


def _measure(job: _Job) -> Generator[Event, None, bool]:
    """Evaluate and keep in the first process; return whether all processes stop."""
    fell = False
    if job.validate is not None:
        yield from _evaluate_and_keep(job)
        fell = job.run.fell(job.recipe)
    (fell,) = job.ranks.any(fell, device=job.model.device)
    return fell


def _evaluate_and_keep(job: _Job) -> Generator[Event, None, None]:
    """One evaluation, and the checkpoint of it."""
    if job.validate is None:
        return
    head = job.method.head
    yield from evaluate(job.run, job.total, job.model, head, job.validate)
    if job.keep is not None and not job.control.cancelled:
        yield job.keep(job.run.step, head)


def _roll_back(job: _Job, earlier: int | None) -> Generator[Event, None, None]:
    """After a loss that is not a number, go back to the last save at half the rate; do so once.

    Raises
    ------
    DivergedError
        If it is the second time, or there is no save.
    """
    run, path, step = job.run, job.state_path, job.run.step
    again = earlier if earlier is not None else (step if run.rate_factor < 1.0 else None)
    if again is not None or path is None or not path.exists():
        raise DivergedError(diverged(step, again, path), step + 1)
    path, sentence = intact_state(path)
    if sentence:
        yield Message(sentence, "warning")
    facts = job.load(path)
    chunk = run.chunk
    run.take_up(facts)
    run.rate_factor, run.chunk = _SLOWER, chunk
    job.ranks.wait()  # all have read the file
    saved = job.save()
    yield Message(
        f"The loss became infinite or not a number at step {step + 1}: the run goes back to the "
        f"save of step {run.step} and continues at half the learning rate.",
        "warning",
    )
    if saved is not None:
        yield saved


def _read(path: Path, recipe: Recipe, identity: str) -> tuple[StepSpeed, dict[str, Any]]:
    """Read the choices and numbers of a saved run, which must belong to this job."""
    facts = read_facts(path)
    check_state(facts, recipe, identity)
    return speed_from_dict(facts["speed"]), facts


def _other_threads(facts: dict[str, Any]) -> Generator[Event, None, None]:
    """Say when the last bits may differ."""
    if facts["threads"] != torch.get_num_threads():
        yield Message(
            f"The run began with {facts['threads']} threads and goes on with "
            f"{torch.get_num_threads()}: the last bits of its weights may differ.",
            "warning",
        )


def _choose_speed(
    model: ClipModel, recipe: Recipe, method: Method, make_batch: MakeBatch, ranks: Ranks
) -> StepSpeed:
    """Measure on the model, then put its buffers and gradients back; all processes agree."""
    if recipe.precision != "auto" or not recipe.total_steps:
        # Channels-last, the layout of a ResNet, is a third faster, but BatchNorm then adds up
        # a channel's pixels one by one on the CPU: gradients are off by half a per cent instead of
        # half a thousandth. Who asks for fp32 gets it.
        exact = recipe.precision == "fp32" and model.convolutional and model.device.type == "cpu"
        return StepSpeed(recipe.precision == "bf16", channels_last=False if exact else None)
    training_mode(model, recipe)
    rows = min(_TRIAL.get(model.device.type, 32), recipe.cache_chunk or recipe.batch_size)
    batch = cut_texts(model, make_batch(0).part(slice(0, rows))).to(model.device)
    batch = replace(batch, numbers=None)  # a resumed run makes no trial: nothing of it may be kept

    def passes(way: StepSpeed) -> None:
        if model.channels_last != way.channels_last:
            set_layout(model, way.channels_last)
        with short_attention(model, way.autocast):
            whole = with_targets(model, method, batch, way.autocast)
            for terms in filter(None, (method, method.here)):
                forward(model, terms, whole, way)["loss"].backward()  # type: ignore[no-untyped-call]

    tried = (None,) if model.convolutional else (None, True)
    measured = measure_speed(recipe, model.device, passes, model.module, tried)
    layouts = (None, False, True)
    own = [int(measured.autocast), layouts.index(measured.channels_last)]
    autocast, layout = ranks.first_says(torch.tensor(own, device=model.device)).tolist()
    return replace(measured, autocast=bool(autocast), channels_last=layouts[layout])
