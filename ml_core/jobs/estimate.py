"""How long a job would take and how much it needs, from a few measured steps."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import torch

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.prompted import PromptedVisual
from ml_core.cleaning.gradients import check_pieces
from ml_core.cleaning.loop import train
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cleaning.weight_space import STEPS_OF_ALPHA, direction
from ml_core.events import Control, Done, Event, Metric, Progress
from ml_core.jobs.failures import failure
from ml_core.jobs.inputs import Inputs, opening_inputs
from ml_core.jobs.method_extras import extras_for
from ml_core.jobs.peak_memory import PeakMemory
from ml_core.jobs.specs import CleanSpec, check_spec
from ml_core.model import ClipModel
from ml_core.ranks import Ranks
from ml_core.reading.errors import CancelledError

_STEPS = 4
_EVALUATED = 128
_MOMENTS = {"adamw": 2, "sgd": 1}  # saved with the weights at the end of every run


def estimate(spec: CleanSpec, control: Control) -> Generator[Event, None, None]:
    """Measure a few steps of a job; nothing is written.

    Yields
    ------
    Event
        Progress, then Done whose ``result`` holds ``seconds`` (the whole job), ``train_seconds``,
        ``evaluation_seconds``, ``step_seconds``, ``batch_seconds`` (making a batch),
        ``memory_bytes`` (the largest that the measured steps took, with optimizer and picture
        processes), ``disk_bytes`` (at the end), ``disk_peak_bytes`` (while a save replaces the one
        before), ``steps``, ``pairs``, ``precision`` and ``cache_chunk``.
    """
    try:
        yield from _estimate(spec, control.ended_by_stop())
    except Exception as error:
        yield failure(error)


def _estimate(spec: CleanSpec, control: Control) -> Generator[Event, None, None]:
    """Open everything, take the steps on the opened model, which is thrown away."""
    begin = time.monotonic()
    check_spec(spec)
    opened = open_checkpoint(Path(spec.checkpoint), spec.donor, use_choice=spec.use_choice)
    model = opened.build("cpu")
    check_pieces(model, spec.recipe, Ranks(0, spec.processes))
    inputs = yield from opening_inputs(spec, model, control)
    with closing(inputs):
        yield from _measured(spec, control, model, inputs, begin)


def _measured(
    spec: CleanSpec, control: Control, model: ClipModel, inputs: Inputs, begin: float
) -> Generator[Event, None, None]:
    """The steps of the opened job."""
    model.to(inputs.device)
    open_seconds = time.monotonic() - begin
    yield Progress("estimate", 1, _STEPS + 2)
    image_seconds = _image_seconds(model, inputs)
    batch_seconds = _batch_seconds(inputs) if inputs.recipe.total_steps else 0.0
    yield Progress("estimate", 2, _STEPS + 2)

    recipe = inputs.recipe
    if not recipe.total_steps:
        yield Done("finished", _untrained(spec, model, inputs, open_seconds, image_seconds))
        return
    shorter = {"pairs": _STEPS * recipe.batch_size, "epochs": 1, "eval_every": 0, "save_every": 0}
    few = recipe.model_copy(update=shorter | {"alpha_choice": "given"})
    extras = extras_for(spec, inputs, model)
    made = [inputs.make_batch(step) for step in range(min(_STEPS, recipe.total_steps))]
    moments: list[float] = []
    steps = train(model, few, lambda step: made[step % len(made)], control, extras=extras)
    with PeakMemory(inputs.device) as peak:
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                outcome = end.value
                break
            if isinstance(event, Metric):
                moments.append(time.monotonic())
                yield Progress("estimate", 2 + event.step, _STEPS + 2)
    if control.cancelled:
        raise CancelledError
    step_seconds = statistics.median(np.diff(moments).tolist())
    # The batches of a CPU run are made on the same cores; a GPU hides them.
    overlap = inputs.threads if inputs.device.type == "cpu" else math.inf
    per_step = max(step_seconds + batch_seconds / overlap, batch_seconds)
    train_seconds = per_step * recipe.total_steps
    evaluation_seconds = image_seconds * _evaluated_images(inputs)
    moments_kept = _MOMENTS[recipe.optimizer]
    trained = [p for p in model.module.parameters() if p.requires_grad]
    head_bytes = 0 if outcome.head is None else _bytes([outcome.head])
    state_bytes = _weights(model) + moments_kept * _bytes(trained) + (1 + moments_kept) * head_bytes
    vector_bytes = 0 if outcome.beside is None else _bytes(outcome.beside.vector.values())
    # What a result weighs: an adapter's weights are untouched, and are in no file of the run.
    adapted = isinstance(model.module.visual, PromptedVisual)
    result_bytes = head_bytes + (_bytes(trained) if adapted else _weights(model))
    disk = state_bytes + vector_bytes + (1 + _kept_steps(spec, inputs)) * result_bytes
    yield Done(
        "finished",
        {
            "seconds": open_seconds + train_seconds + evaluation_seconds,
            "train_seconds": train_seconds,
            "evaluation_seconds": evaluation_seconds,
            "step_seconds": step_seconds,
            "batch_seconds": batch_seconds,
            "memory_bytes": peak.bytes,
            "disk_bytes": disk,
            "disk_peak_bytes": disk + state_bytes,
            "steps": recipe.total_steps,
            "pairs": recipe.pairs,
            "precision": outcome.speed.precision,
            "cache_chunk": outcome.chunk,
            "device": str(inputs.device),
            "notes": list(inputs.notes),
        },
    )


def _untrained(
    spec: CleanSpec, model: ClipModel, inputs: Inputs, open_seconds: float, image_seconds: float
) -> dict[str, object]:
    """What a method that takes no steps costs: opening and measuring."""
    evaluation_seconds = image_seconds * _evaluated_images(inputs)
    weight_bytes = _weights(model)
    reference = extras_for(spec, inputs, model).reference or {}
    memory = psutil.Process().memory_info().rss + 3 * weight_bytes  # start, vector, what is tried
    vector_bytes = _bytes(direction(model.module.state_dict(), reference).values())
    disk = (2 + _kept_steps(spec, inputs)) * weight_bytes + vector_bytes  # state, result, steps
    return {
        "seconds": open_seconds + evaluation_seconds,
        "train_seconds": 0.0,
        "evaluation_seconds": evaluation_seconds,
        "step_seconds": 0.0,
        "batch_seconds": 0.0,
        "memory_bytes": memory,
        "disk_bytes": disk,
        "disk_peak_bytes": disk,
        "steps": 0,
        "pairs": 0,
        "precision": inputs.recipe.precision.replace("auto", "fp32"),
        "cache_chunk": 0,
        "device": str(inputs.device),
        "notes": list(inputs.notes),
    }


def _image_seconds(model: ClipModel, inputs: Inputs) -> float:
    """Seconds to draw and embed one evaluation image once."""
    benches = [*inputs.benches.values(), *([inputs.validation] if inputs.validation else [])]
    if not benches:
        return 0.0
    count = min(_EVALUATED, len(benches[0].images))
    begin = time.monotonic()
    pixels = benches[0].canvases.get(np.arange(count))
    model.encode_images(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return (time.monotonic() - begin) / count


def _batch_seconds(inputs: Inputs) -> float:
    """Seconds to make one training batch, the second one (the first warms caches)."""
    inputs.make_batch(0)
    begin = time.monotonic()
    inputs.make_batch(1 % inputs.recipe.total_steps)
    return time.monotonic() - begin


def _evaluated_images(inputs: Inputs) -> int:
    """Image encodings of all evaluations of the job, clean and triggered."""
    sides = 2 if inputs.trigger is not None else 1
    heads = 2 if inputs.recipe.facts.head else 1
    tests = sum(len(bench.images) for bench in inputs.benches.values()) * (1 + heads)
    watched = 0
    if inputs.validation is not None and inputs.recipe.eval_every:
        watched = len(inputs.validation.images) * _evaluations(inputs.recipe) * heads
    return sides * (tests + watched)


def _evaluations(recipe: Recipe) -> int:
    """How often a run is measured while it trains, its start included."""
    if not recipe.eval_every:
        return 0
    rounds = _rounds(recipe)
    if "alpha" in fields_of(recipe.method):
        rounds += 1 + (STEPS_OF_ALPHA if recipe.alpha_choice == "auto" else 0)
    return rounds


def _rounds(recipe: Recipe) -> int:
    """Evaluations of the loop: at the start, in between, and at the last step."""
    return 1 + -(-recipe.total_steps // recipe.eval_every)


def _kept_steps(spec: CleanSpec, inputs: Inputs) -> int:
    """Checkpoints of evaluations; that after a choice of alpha replaces the last step's."""
    if not (spec.keep_steps and inputs.validation is not None and inputs.recipe.eval_every):
        return 0
    return _rounds(inputs.recipe)


def _weights(model: ClipModel) -> int:
    """Size of a model's parameters and buffers."""
    return _bytes(model.module.state_dict().values())


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
