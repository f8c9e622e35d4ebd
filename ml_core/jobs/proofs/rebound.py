"""The rebound test: whether a removed backdoor comes back when the model is finetuned again."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.cleaning.recipes import Recipe, fitted_warmup
from ml_core.data.labels import LabelSet
from ml_core.data.pairs import open_pairs
from ml_core.evaluation.evaluate import versions
from ml_core.evaluation.metrics import not_target
from ml_core.events import Control, Event, Message, Metric, Progress
from ml_core.jobs.demo import pretraining_at
from ml_core.jobs.devices import choose_device, set_threads
from ml_core.jobs.journal import write_record
from ml_core.jobs.measure import Bench, classifier_of, measure, metric_values, open_setting
from ml_core.jobs.plain_finetune import plain_batches, plain_recipe, trained
from ml_core.jobs.proofs import REBOUND_FILE, ReboundSpec
from ml_core.jobs.proofs.unseen_pairs import ChosenPairs, open_seen, unseen_pairs
from ml_core.model import ClipModel
from ml_core.reading.errors import DivergedError, InputError
from ml_core.reports.arithmetic import counts_of, judged

_WARMUP = 50
_SHOWN = ("asr_excl", "asr_hits", "asr_n", "asr_low", "asr_high", "ca", "poisoned_accuracy")
Point = dict[str, float]


def rebound(spec: ReboundSpec, control: Control) -> Generator[Event, None, None]:
    """Finetune a cleaned checkpoint at several rates and watch the attack success rate.

    Ordinary image-text finetuning (MMCL, no augmentation, AdamW, cosine after a short warm-up) on
    pairs that the cleaning has not seen and that do not name the target class: 300 steps of batch
    64 at 0.1, 0.3 and 1 times the pretraining's peak rate, which is found as for presets. The
    result is the highest success rate at any measured step of any of them.

    Yields
    ------
    Event
        Progress, Metric (``factor``, ``rebound_step`` and an evaluation), Message, Saved, and
        Done, whose ``result`` is what ``rebound.json`` holds.
    """
    begin = time.monotonic()
    yield Progress("open", 0, 1)
    opened = open_checkpoint(Path(spec.checkpoint), spec.donor)
    known = pretraining_at(opened)
    peak = spec.peak_lr or known.assumed
    model = opened.build("cpu")
    device = choose_device(spec.device)
    threads = set_threads(spec.threads)
    setting = yield from open_setting(spec, control)
    label_set, bench = setting.label_set, setting.on(model.preprocess)
    if not not_target(bench.images.labels, spec.target).any():
        raise InputError(
            "None of the images is labelled with another class than "
            f"{label_set.class_names[spec.target]!r}: there is no attack success rate to watch. "
            "Choose labelled images."
        )
    pairs, left_out = _pairs(spec, model, label_set, control)
    needed = spec.steps * spec.batch_size
    notes = list(bench.images.problems)
    if len(pairs) < needed:
        notes.append(
            f"There are {len(pairs)} unseen pairs without the target class, fewer than the "
            f"{needed} of {spec.steps} steps: they are shown more than once."
        )
    for note in notes:
        yield Message(note, "warning")
    if spec.peak_lr is None:
        yield Message(known.sentence, "info" if known.rate else "warning")
    yield Progress("open", 1, 1)
    rates: list[dict[str, Any]] = []
    start: dict[str, float] = {}  # of the checkpoint itself, which every rate begins with
    for number, factor in enumerate(spec.factors):
        recipe = plain_recipe(
            len(pairs), spec.steps, spec.batch_size, peak * factor, every=spec.every,
            seed=spec.seed, preset="rebound", warmup=fitted_warmup(_WARMUP, spec.steps), even=True,
        )  # fmt: skip
        trial = model.copy()
        trial.to(device)
        points, diverged = yield from _finetune(
            spec, trial, recipe, pairs, bench, label_set, control, number, factor, start
        )
        worst = max(points, key=lambda point: point["asr_excl"])
        rates.append(
            {
                "factor": factor,
                "lr": recipe.lr,
                "max_asr": worst["asr_excl"],
                **counts_of(worst),
                "max_step": int(worst["step"]),
                "diverged": diverged,
                "points": points,
            }
        )
    record = _record(spec, rates, notes) | {
        "checkpoint_sha256": model.sha256,
        "peak_lr": peak,
        "pretraining": known.sentence if spec.peak_lr is None else None,
        "pairs": len(pairs),
        "left_out": left_out,
        "n": len(bench.images),
        "device": str(device),
        "threads": threads,
        "seconds": time.monotonic() - begin,
    }
    yield from write_record(record, Path(spec.output_dir) / REBOUND_FILE)


def _pairs(
    spec: ReboundSpec, model: ClipModel, label_set: LabelSet, control: Control
) -> tuple[ChosenPairs, dict[str, int]]:
    """Unseen pairs without the target class, on the model's canvas."""
    pairs = open_pairs(spec.pairs).fitted(model.preprocess.fit)
    target, needed = label_set.class_names[spec.target], spec.steps * spec.batch_size
    seen = open_seen(spec, label_set)
    chosen, left_out = unseen_pairs(
        pairs, seen, target, needed, lambda: control.cancelled, spec.seed
    )
    if len(chosen) < 2:  # a batch compares each pair with another
        left = "Only one pair is" if len(chosen) else "No pair is"
        raise InputError(
            f"{left} left of {pairs.name}: {left_out['seen']} were seen by the cleaning and "
            f"{left_out['target']} name {target!r}. Choose other pairs, of which at least 2 are "
            "left."
        )
    return chosen, left_out


def _finetune(
    spec: ReboundSpec,
    model: ClipModel,
    recipe: Recipe,
    pairs: ChosenPairs,
    bench: Bench,
    label_set: LabelSet,
    control: Control,
    number: int,
    factor: float,
    start: dict[str, float],
) -> Generator[Event, None, tuple[list[Point], int | None]]:
    """Finetune once, counting events over all rates; return the step whose loss is NaN, if any."""
    total = len(spec.factors) * recipe.total_steps

    points: list[Point] = []

    def validate(_head: Tensor | None) -> Generator[Event, None, dict[str, float] | None]:
        if not points and start:
            return start
        classifier = yield from classifier_of(model, label_set, control)
        evaluation = yield from measure(model, bench, classifier, control, "validate")
        values = metric_values(evaluation)
        if evaluation.asr_excl is not None:
            hits = round(evaluation.asr_excl * evaluation.n_excl)
            values |= {"asr_hits": float(hits), "asr_n": float(evaluation.n_excl)}
        if not points:
            start.update(values)
        return values

    batches = plain_batches(pairs, recipe, model)
    run = trained(model, recipe, batches, control, validate=validate)
    try:
        for event in run:
            if isinstance(event, Progress) and event.stage in ("texts", "validate"):
                yield event
            if not isinstance(event, Metric):
                continue
            done = number * recipe.total_steps + event.step
            yield Progress("rebound", done, total)
            if "asr_excl" in event.values:
                point = {k: event.values[k] for k in _SHOWN if k in event.values}
                points.append({"step": float(event.step), **point})
                yield Metric(done, total, {"factor": factor, "rebound_step": event.step, **point})
    except DivergedError as error:
        return points, error.step
    return points, None


def _record(spec: ReboundSpec, rates: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
    """What the test found."""
    return {
        "kind": "rebound",
        "checkpoint": spec.checkpoint,
        "limit": spec.limit,
        "steps": spec.steps,
        "batch_size": spec.batch_size,
        "target": spec.target,
        "trigger": spec.trigger,
        "rates": rates,
        **judged(rates, spec.limit),
        "spec": spec.model_dump(mode="json"),
        "notes": notes,
        "versions": dict(versions()),
    }
