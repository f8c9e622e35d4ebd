"""How long a job would take and how much it needs, from a few measured steps."""

from __future__ import annotations

import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.nn import functional

from ml_core.atomic import replace_files
from ml_core.checkpoints import Checkpoint, open_checkpoint
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.cleaning.gradients import check_pieces
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import Recipe, fields_of
from ml_core.cleaning.weight_space import STEPS_OF_ALPHA, direction
from ml_core.data.labels import LabelSet
from ml_core.evaluation.candidates import QUESTIONS, settings_of, words
from ml_core.evaluation.evaluate import evaluate
from ml_core.evaluation.zero_shot import ClassTexts, known_classifier
from ml_core.events import Control, Done, Event, Metric, Progress
from ml_core.jobs.inputs import Inputs, Sets, opening_inputs, opening_sets
from ml_core.jobs.opening import open_model
from ml_core.jobs.plain_finetune import trained
from ml_core.jobs.specs import CleanSpec, check_spec
from ml_core.model import ClipModel
from ml_core.ranks import Ranks
from ml_core.reading.errors import CancelledError, InputError
from ml_core.text_tower import is_of_texts


def opened_reference(spec: CleanSpec) -> Checkpoint | None:
    """The reference that a job names, if it names one; raises as `open_checkpoint`."""
    return None if spec.reference is None else open_checkpoint(Path(spec.reference))


def reference_of(
    spec: CleanSpec, model: ClipModel, opened: Checkpoint | None
) -> dict[str, Tensor] | None:
    """The weights of the opened reference, if the method takes one.

    Raises
    ------
    InputError
        If the reference cannot be read, is of another architecture, or computes differently.
    """
    if "reference" not in spec.recipe.facts.needs or spec.reference is None or opened is None:
        return None
    path = Path(spec.reference)
    other = opened.build("cpu")
    mine, theirs = model.module.state_dict(), other.module.state_dict()
    odd = [
        name
        for name in mine.keys() | theirs.keys()
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape
    ]
    if odd:
        raise InputError(
            f"{path.name} is of another architecture than {model.name}: {len(odd)} tensors "
            "differ in name or shape. Choose a reference of the same architecture.",
            details="\n".join(sorted(odd)[:50]),
        )
    other_settings, own_settings = settings_of(other), settings_of(model)
    unlike = [
        f"{words(other_settings, question)} instead of {words(own_settings, question)}"
        for question in QUESTIONS
        if words(other_settings, question) != words(own_settings, question)
    ]
    if unlike:  # its weights would be computed with as they were not trained
        raise InputError(
            f"{path.name} cannot be combined with {model.name}: it has {'; '.join(unlike)}. "
            "Choose a reference with the same settings, or run the loader doctor on the file "
            "whose settings are wrong."
        )
    return theirs


_SECONDS = 0.02
_LOOK_SECONDS = 1.0


class PeakMemory:
    """Watches memory while its block runs: the device's on CUDA, else the processes'.

    Attributes
    ----------
    bytes
        The largest seen.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes = 0
        self._device = device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = int(torch.cuda.max_memory_reserved(self._device))
            return
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        process, children, looked = psutil.Process(), list[psutil.Process](), -math.inf
        while True:
            # Looking for children reads every process of the machine: at each sample it would
            # take half a core from the steps that are timed.
            if time.monotonic() - looked >= _LOOK_SECONDS:
                children, looked = process.children(), time.monotonic()
            self.bytes = max(self.bytes, resident(process, children))
            if self._ended.wait(_SECONDS):
                return


def resident(process: psutil.Process, children: Sequence[psutil.Process]) -> int:
    """Resident bytes of a process and of those that it started."""
    total = int(process.memory_info().rss)
    for child in children:
        try:
            total += int(child.memory_info().rss)
        except psutil.Error:  # it ended meanwhile
            continue
    return total


_STEPS, _MOST_STEPS = 4, 24
_STEP_SECONDS = 4.0  # so long at most where more than the fewest steps are taken
_EVALUATED = 64
_TEXT_BATCHES = 4
_WRITTEN = 128 * 1024**2
_MOMENTS = {"adamw": 2, "sgd": 1}  # saved with the weights at the end of every run
OpenSets = Callable[[CleanSpec, Control], Generator[Event, None, Sets]]


def estimate(
    spec: CleanSpec, control: Control, open_sets: OpenSets = opening_sets
) -> Generator[Event, None, None]:
    """Measure a few steps of a job; nothing of it stays. ``open_sets`` opens the job's data.

    Yields
    ------
    Event
        Progress, then Done whose ``result`` holds ``seconds`` (the whole job), ``train_seconds``,
        ``evaluation_seconds`` (images), ``text_seconds`` (class texts, those on disk left out),
        ``open_seconds``, ``save_seconds``, ``step_seconds``, ``memory_bytes`` (the largest that
        the measured steps took, with optimizer and picture processes), ``disk_bytes`` (at the
        end), ``steps``, ``pairs``, ``precision`` and ``cache_chunk``.
    """
    begin = time.monotonic()
    check_spec(spec)
    import ml_core.open_clip_parts  # noqa: F401  # seconds, once a process: the result is opened without

    opening = time.monotonic()
    opened = open_model(spec)
    again = time.monotonic() - opening
    sets = yield from open_sets(spec, control)
    building = time.monotonic()
    model = opened.build("cpu")
    again += time.monotonic() - building
    check_pieces(model, spec.recipe, Ranks(0, spec.processes))
    inputs = yield from opening_inputs(spec, model, control, sets=sets)
    with closing(inputs):
        model.to(inputs.device)
        opening_seconds = time.monotonic() - begin + again  # the result is opened, too
        yield from _measured(spec, control, model, inputs, opening_seconds)


def _measured(
    spec: CleanSpec, control: Control, model: ClipModel, inputs: Inputs, opening_seconds: float
) -> Generator[Event, None, None]:
    """The steps of the opened job."""
    yield Progress("estimate", 1, _STEPS + 2)
    texts = _Texts.of(model, inputs.label_set, control)
    # Which rows the classes have costs the same: the run's own may take an hour.
    rows = functional.normalize(torch.randn(len(inputs.label_set.class_names), model.embed_dim))
    classifier = texts.known if texts.known is not None else rows.to(model.device)
    evaluation_seconds = _evaluation_seconds(model, inputs, classifier, control)
    write_seconds = _write_seconds(model, Path(spec.output_dir))
    yield Progress("estimate", 2, _STEPS + 2)

    recipe = inputs.recipe
    reference = reference_of(spec, model, opened_reference(spec))  # an unfit one is said now
    if recipe.total_steps:
        cost = yield from _stepped(spec, control, model, inputs, Extras(classifier))
    else:
        cost = _combined(spec, model, inputs, reference or {})
    parts = {
        "train_seconds": cost.train_seconds,
        "evaluation_seconds": evaluation_seconds,
        "text_seconds": texts.seconds(inputs, changes=cost.changes_texts),
        "save_seconds": write_seconds * cost.written_bytes,
    }
    result = {
        "open_seconds": opening_seconds,
        "steps": recipe.total_steps,
        "device": str(inputs.device),
        "notes": list(inputs.notes),
        "seconds": sum(parts.values(), opening_seconds),
    }
    yield Done("finished", result | parts | cost.facts)


@dataclass(frozen=True)
class _Cost:
    """What the change of a model takes; ``written_bytes`` are those of all saves."""

    train_seconds: float
    changes_texts: bool
    written_bytes: int
    facts: dict[str, object]


def _combined(
    spec: CleanSpec, model: ClipModel, inputs: Inputs, reference: Mapping[str, torch.Tensor]
) -> _Cost:
    """The cost of a method in weight space, which takes no step."""
    vector, weights = direction(model.module.state_dict(), reference), _weights(model)
    disk = (2 + _saved_steps(spec, inputs)) * weights  # state, result, steps
    facts: dict[str, object] = {
        "step_seconds": 0.0,
        "memory_bytes": psutil.Process().memory_info().rss + 3 * weights,  # start, vector, tried
        "disk_bytes": disk,
        "pairs": 0,
        "precision": inputs.recipe.precision.replace("auto", "fp32"),
        "cache_chunk": 0,
    }
    return _Cost(0.0, any(map(is_of_texts, vector)), disk, facts)


def _stepped(
    spec: CleanSpec, control: Control, model: ClipModel, inputs: Inputs, extras: Extras
) -> Generator[Event, None, _Cost]:
    """The cost of a training, from a few of its steps."""
    recipe, count = inputs.recipe, inputs.recipe.total_steps
    most = min(_MOST_STEPS, max(count, _STEPS))
    shorter = {"pairs": most * recipe.batch_size, "epochs": 1, "eval_every": 0, "save_every": 0}
    few = recipe.model_copy(update=shorter)
    moments, own = [time.monotonic()], control.part()

    def event_of(event: Event) -> Event | None:
        if not isinstance(event, Metric):
            return None
        moments.append(time.monotonic())
        if event.step >= _STEPS and moments[-1] - moments[1] >= _STEP_SECONDS:
            own.stop()
        return Progress("estimate", 2 + min(event.step, _STEPS), _STEPS + 2)

    with PeakMemory(inputs.device) as peak:
        outcome = yield from trained(
            model, few, lambda step: inputs.make_batch(step % count), own, event_of, extras=extras
        )
    first, *others = np.diff(moments).tolist()
    # With their batches, as the run makes them. The first steps allocate, and take longer; the very
    # first one chooses the precision besides.
    step_seconds = statistics.median(others[len(others) // 2 :])
    changed = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    changed_bytes, moment_count = _bytes(changed.values()), _MOMENTS[recipe.optimizer]
    head = 0 if outcome.head is None else _bytes([outcome.head])
    state = _weights(model) + moment_count * changed_bytes + (1 + moment_count) * head
    result = head + _weights(model)
    begun = state - moment_count * (changed_bytes + head)  # before the first step
    later = (count - 1) // recipe.save_every if recipe.save_every else 0
    once = state + (1 + _saved_steps(spec, inputs)) * result
    disk = once + (state if later else begun)  # the save before the last one
    facts: dict[str, object] = {
        "step_seconds": step_seconds,
        "memory_bytes": peak.bytes,
        "disk_bytes": disk,
        "pairs": recipe.pairs,
        "precision": outcome.speed.precision,
        "cache_chunk": outcome.chunk,
    }
    written = once + begun + later * state
    train_seconds = first + step_seconds * (count - 1)
    return _Cost(train_seconds, any(map(is_of_texts, changed)), written, facts)


@dataclass(frozen=True)
class _Texts:
    """What embedding all class texts once costs; ``known`` where an earlier run has done it."""

    known: torch.Tensor | None
    once: float

    @classmethod
    def of(cls, model: ClipModel, label_set: LabelSet, control: Control) -> Self:
        """Measure a few batches from the shortest texts to the longest."""
        asked = label_set.class_names, label_set.templates
        texts = ClassTexts(model, *asked)
        texts.embed_next(model)  # the first call of an encoder takes longer
        begin, done = time.monotonic(), 0
        for number in range(_TEXT_BATCHES):
            if control.cancelled:
                raise CancelledError
            done += texts.embed_sample(model, (number + 0.5) / _TEXT_BATCHES)
        seconds = (time.monotonic() - begin) / done * texts.total
        return cls(known_classifier(model, *asked), seconds)

    def seconds(self, inputs: Inputs, *, changes: bool) -> float:
        """Seconds of the whole run; each evaluation embeds anew if the encoder ``changes``."""
        first = 0.0 if self.known is not None else self.once
        if not changes:
            return first
        recipe, anew = inputs.recipe, 1  # of the result
        if inputs.validation is not None and recipe.eval_every:
            # The start is the checkpoint as it came, and the last weights are those of the result.
            anew = max(1, _rounds(recipe) - 1)
            if _chooses_alpha(recipe):
                anew = max(anew, STEPS_OF_ALPHA)
        return first + self.once * anew


def _evaluation_seconds(
    model: ClipModel, inputs: Inputs, classifier: torch.Tensor, control: Control
) -> float:
    """Seconds of all evaluations: each picture is drawn once, and encoded clean and triggered."""
    recipe, tests = inputs.recipe, list(inputs.benches.values())
    watched = inputs.validation if recipe.eval_every else None
    benches = [*tests, *([watched] if watched else [])]
    if not benches:
        return 0.0
    bench, seconds = benches[0], 0.0  # of a picture, without and with the trigger
    count = min(_EVALUATED, len(bench.images))
    begin = time.monotonic()
    bench.canvases.get(np.arange(count))
    draws = (time.monotonic() - begin) / count * sum(len(bench.images) for bench in benches)
    for _ in range(2):  # the first one draws pictures, and warms up
        begin = time.monotonic()
        for evaluation, _ in evaluate(
            bench.subject(model, classifier), bench.trigger, bench.target, n=_EVALUATED,
            batch=_EVALUATED, cancelled=lambda: control.cancelled,
        ):  # fmt: skip
            seconds = (time.monotonic() - begin) / evaluation.n
    heads = 2 if recipe.facts.head else 1
    images = sum(len(bench.images) for bench in tests) * (1 + heads)
    if watched is not None:
        images += len(watched.images) * _evaluations(recipe) * heads
    return draws + seconds * images


def _write_seconds(model: ClipModel, folder: Path) -> float:
    """Seconds to save a byte where the run will; 0 where that cannot be tried."""
    while not folder.is_dir():
        folder = folder.parent
    tensors, size = {}, 0
    for name, value in model.module.state_dict().items():
        if size + _bytes([value]) <= _WRITTEN:
            tensors[name], size = value, size + _bytes([value])
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".estimate-") as place:
            replace_files({Path(place) / "w": lambda file: write_safetensors(file, tensors, {})})
            return (time.monotonic() - begin) / max(size, 1)
    except OSError:
        return 0.0


def _evaluations(recipe: Recipe) -> int:
    """How often a run is measured while it trains, its start included."""
    if not recipe.eval_every:
        return 0
    rounds = _rounds(recipe)
    if "alpha" in fields_of(recipe.method):
        rounds += 1 + (STEPS_OF_ALPHA if _chooses_alpha(recipe) else 0)
    return rounds


def _chooses_alpha(recipe: Recipe) -> bool:
    """Whether several values of alpha are measured."""
    return "alpha" in fields_of(recipe.method) and recipe.alpha_choice == "auto"


def _rounds(recipe: Recipe) -> int:
    """Evaluations of the loop: at the start, in between, and at the last step."""
    return 1 + -(-recipe.total_steps // recipe.eval_every)


def _saved_steps(spec: CleanSpec, inputs: Inputs) -> int:
    """Checkpoints of evaluations; that after a choice of alpha replaces the last step's."""
    if not (spec.keep_steps and inputs.validation is not None and inputs.recipe.eval_every):
        return 0
    return _rounds(inputs.recipe)


def _weights(model: ClipModel) -> int:
    """Size of a model's parameters and buffers."""
    return _bytes(model.module.state_dict().values())


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
