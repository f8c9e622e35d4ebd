"""The rate finder: a short ramp of the learning rate on a copy of a checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml_core.atomic import Content, replace_files
from ml_core.cleaning.gradients import check_pieces
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.rate_range import RateRow, propose, ramp_rate
from ml_core.cleaning.recipes import fields_of
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message, Metric, Progress
from ml_core.exports import to_csv
from ml_core.figures import rate_text
from ml_core.jobs.clean.estimate import estimate
from ml_core.jobs.clean.run import validator
from ml_core.jobs.devices import choose_device
from ml_core.jobs.inputs import Inputs, Sets, opening_inputs, opening_sets
from ml_core.jobs.journal import check_result, digest_of, save_results
from ml_core.jobs.measure import OpenSetting, classifier_of
from ml_core.jobs.opening import open_model, opening_images
from ml_core.jobs.plain_finetune import trained
from ml_core.jobs.rates import (
    CPU_BATCH,
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    RateRecord,
    RateSpec,
    ramp_job,
    read_record,
)
from ml_core.jobs.specs import CleanSpec, check_spec
from ml_core.model import ClipModel
from ml_core.paths import cache_dir
from ml_core.ranks import ALONE
from ml_core.reading.errors import DivergedError, InputError
from ml_core.reports.html.charts import rate_svg

_FORMAT = "rates 1"
_KEPT = 200  # records


def find_rate(
    spec: RateSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Train a copy of the checkpoint at a rising rate, and propose a range and a start.

    One batch a step, at rates that grow geometrically (see `ml_core.cleaning.rate_range`), with
    the method, data and settings of the job; nothing of the trained copy stays. The ramp ends
    early where the loss is not a number, or accuracy on validation images is ten points lower. The
    same ramp is not run again: what was found is kept, by checkpoint, data, recipe and ramp.
    Rates of another checkpoint or method in the folder are replaced only with ``overwrite``.

    Yields
    ------
    Event
        Progress of the stages ``open``, ``data``, ``texts``, ``prepare``, ``validate`` and
        ``ramp``; Metric for each step (``lr``, ``loss``) and measurement (``ca``, its interval,
        and the ``lr`` before it); Message; Saved; and Done, whose ``result`` is a `RateRecord`.
    """
    begin = time.monotonic()
    job = _job(spec)
    yield Progress("open", 0, 1)
    opened = open_model(job)
    sets = yield from _opening(spec, job, control)
    model = opened.build("cpu")
    if spec.output_dir is not None and not overwrite:
        about = {
            "checkpoint_sha256": model.sha256,
            "recipe": {"method": job.recipe.method, "seed": job.recipe.seed},
        }
        check_result(Path(spec.output_dir) / RATES_FILE, about)
    check_pieces(model, job.recipe, ALONE)
    inputs = yield from opening_inputs(job, model, control, sets=sets)
    with closing(inputs):
        yield Progress("open", 1, 1)
        place = cache_dir() / "rates" / f"{_key(spec, model, inputs)}.json"
        record = _cached(place, spec.drop)
        if record is None:
            for note in inputs.notes:
                yield Message(note, "warning")
            sha256 = model.sha256
            ramp = yield from _ramp(spec, job, model, inputs, control)
            record = _record(spec, model, sha256, inputs, ramp, time.monotonic() - begin)
            _cache(record, place)
        else:
            yield Message("The same ramp was run before; its numbers are shown again.")
            yield from _replayed_events(record)
    if spec.output_dir is not None:
        raw = json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False)
        files: dict[str, Content] = {
            RATES_TABLE: rate_table(record.rows).encode(),
            RATES_CHART: rate_svg(record.rows, record.proposal).encode(),
            RATES_FILE: raw.encode(),
        }
        yield from save_results(Path(spec.output_dir), files)
    yield Done("finished", record.model_dump(mode="json"))


def estimate_find_rate(spec: RateSpec, control: Control) -> Generator[Event, None, None]:
    """Measure a few steps of the ramp; as `estimate`, whose Done this passes on.

    In its ``result``, ``seconds`` covers the whole ramp. Nothing is saved.
    """
    job = _job(spec)
    for event in estimate(job, control, lambda job, own: _opening(spec, job, own)):
        if isinstance(event, Done):
            saves = float(event.result["save_seconds"])
            changes = {"seconds": event.result["seconds"] - saves, "save_seconds": 0.0}
            event = replace(event, result=event.result | changes | {"disk_bytes": 0})
        yield event


def _job(spec: RateSpec) -> CleanSpec:
    """The ramp as a job, with a batch size that the device can take."""
    recipe = spec.job.recipe
    batch = spec.batch_size or recipe.batch_size
    if spec.batch_size is None and choose_device(spec.job.device).type == "cpu":
        batch = min(batch, CPU_BATCH)
    job = ramp_job(spec, batch)
    check_spec(job)
    return job


def _opening(spec: RateSpec, job: CleanSpec, control: Control) -> Generator[Event, None, Sets]:
    """Open training data, validation images, and as many class texts as are asked for."""
    part = job.images
    assert part is not None
    sets = yield from opening_sets(job.model_copy(update={"images": None}), control)
    labels = sets.label_set
    images = yield from opening_images(part, labels, control)
    if not bool((images.labels >= 0).any()):
        raise InputError(
            "None of the validation images has a label of the classes: the rate finder watches "
            "accuracy on them; choose labelled images."
        )
    count = max(1, spec.texts // len(labels.class_names))  # templates that there is time for
    few = replace(labels, templates=labels.templates[:count])
    watched = OpenSetting(part, images, few, sets.trigger, job.target)
    return replace(sets, label_set=few, validation=watched)


@dataclass
class _Ramp:
    """What was measured of a ramp, and how it ended."""

    rows: list[RateRow] = field(default_factory=list)
    ended: str = "finished"
    diverged_at: float | None = None
    precision: str = ""


def _ramp(
    spec: RateSpec, job: CleanSpec, model: ClipModel, inputs: Inputs, control: Control
) -> Generator[Event, None, _Ramp]:
    """Train and measure; the model is of no use afterwards."""
    model.to(inputs.device)
    classifier = yield from classifier_of(model, inputs.label_set, control)
    recipe = inputs.recipe
    count = recipe.total_steps  # fewer than asked for where there are few examples
    ramp = _Ramp()

    def rate_of(step: int) -> float:
        # Where examples repeat, whole epochs may have a few steps more than asked for.
        return ramp_rate(min(step, spec.steps - 1), spec.steps, spec.low, spec.high)

    assert inputs.validation is not None
    watched = replace(inputs, validation=replace(inputs.validation, trigger=None))
    repeats = -(-spec.steps // count)
    longer = recipe.model_copy(update={"epochs": repeats}) if repeats > 1 else recipe
    own = control.part()

    def event_of(event: Event) -> Event | None:
        if isinstance(event, Metric):
            event = _noted_row(ramp.rows, event, spec.steps)
            if event.step >= spec.steps and "ca" in event.values:
                own.stop()
        elif isinstance(event, Progress) and event.stage == "train":
            done = min(event.done, spec.steps)
            event = replace(event, stage="ramp", done=done, total=spec.steps)
        elif isinstance(event, Message) and event.level == "warning":
            return None  # that it stopped is what the record says
        return event

    try:
        outcome = yield from trained(
            model, longer, lambda step: inputs.make_batch(step % count), own, event_of,
            extras=Extras(classifier),
            validate=validator(model, watched, control), rate_of=rate_of,
        )  # fmt: skip
    except DivergedError as error:
        ramp.ended, ramp.diverged_at = "diverged", rate_of(error.step - 1)
        yield Message(f"The loss was not a number at a rate of {rate_text(ramp.diverged_at)}.")
        return ramp
    ramp.precision = outcome.speed.precision
    if outcome.reason:
        ramp.ended = "fell"
    return ramp


def _noted_row(rows: list[RateRow], metric: Metric, total: int) -> Metric:
    """Note a step or a measurement; the event with the rate that a measurement came after."""
    values = metric.values
    if "loss" in values:
        rows.append(RateRow(metric.step, values["lr"], values["loss"]))
        return replace(metric, total_steps=total)
    accuracies = [
        (values[f"{head}ca"], values.get(f"{head}ca_low"), values.get(f"{head}ca_high"))
        for head in ("", "linear_")
        if f"{head}ca" in values
    ]
    ca, low, high = max(accuracies, key=lambda rates: rates[0])  # as the loop's limit takes it
    row = rows.pop() if rows and rows[-1].step == metric.step else RateRow(metric.step, 0.0)
    rows.append(replace(row, ca=ca, ca_low=low, ca_high=high))
    return Metric(metric.step, total, _measured(rows[-1]))


def _measured(row: RateRow) -> dict[str, float]:
    """The values of a measurement."""
    values = {"lr": row.lr, "ca": row.ca, "ca_low": row.ca_low, "ca_high": row.ca_high}
    return {name: value for name, value in values.items() if value is not None}


def _replayed_events(record: RateRecord) -> Generator[Event, None, None]:
    """The events of a ramp that was run earlier."""
    for row in record.rows:
        if row.loss is not None:
            yield Metric(row.step, record.steps, {"lr": row.lr, "loss": row.loss})
        if row.ca is not None:
            yield Metric(row.step, record.steps, _measured(row))


def _record(
    spec: RateSpec,
    model: ClipModel,
    sha256: str | None,
    inputs: Inputs,
    ramp: _Ramp,
    seconds: float,
) -> RateRecord:
    """What was found, and all that is needed to find it again."""
    assert inputs.validation is not None
    recipe, labels = spec.job.recipe, inputs.validation.label_set
    n = int((inputs.validation.images.labels >= 0).sum())
    batch = inputs.recipe.batch_size
    notes = [*inputs.notes]
    if recipe.facts.note:
        notes.append(recipe.facts.note)
    if batch != recipe.batch_size:
        notes.append(
            f"The ramp took batches of {batch}; those of the recipe, {recipe.batch_size}, may bear "
            "half the rate or twice as much."
        )
    if spec.steps > inputs.recipe.total_steps:
        notes.append(
            f"There are {inputs.recipe.pairs} training examples for {spec.steps} steps of {batch}: "
            "they were shown more than once."
        )
    return RateRecord(
        checkpoint=Path(spec.job.checkpoint).name,
        checkpoint_sha256=sha256,
        recipe=recipe,
        rows=tuple(ramp.rows),
        proposal=propose(ramp.rows, spec.drop),
        ended=ramp.ended,  # type: ignore[arg-type]
        diverged_at=ramp.diverged_at,
        **spec.model_dump(include={"low", "high", "steps", "drop"}),
        batch_size=batch,
        n=n,
        classes=len(labels.class_names),
        templates=len(labels.templates),
        device=str(model.device),
        precision=ramp.precision,
        threads=inputs.threads,
        seconds=seconds,
        notes=tuple(notes),
        versions=dict(versions()),
    )


def rate_table(rows: tuple[RateRow, ...]) -> str:
    """Every step as CSV; empty where nothing was measured."""
    names = ("step", "lr", "loss", "ca", "ca_low", "ca_high")
    table: list[tuple[object, ...]] = [names]
    for row in rows:
        values = (getattr(row, name) for name in names[1:])
        table.append((row.step, *("" if v is None else f"{v:.9g}" for v in values)))
    return to_csv(table)


# What was found, kept for the next time


def _key(spec: RateSpec, model: ClipModel, inputs: Inputs) -> str:
    """What decides a ramp; the limit of accuracy only decides what is proposed."""
    assert inputs.validation is not None
    recipe, bench = inputs.recipe, inputs.validation
    fields: dict[str, Any] = {name: getattr(recipe, name) for name in fields_of(recipe.method)}
    facts = [
        _FORMAT, model.sha256, model.origin, fields,
        [spec.low, spec.high, spec.steps, spec.points],
        inputs.training_key, bench.images.lasting_key, np.asarray(bench.images.labels).tolist(),
        bench.label_set.class_names, bench.label_set.templates,
        inputs.device.type, dict(versions()),
    ]  # fmt: skip
    return digest_of(facts)


def _cached(path: Path, drop: float) -> RateRecord | None:
    """What an earlier ramp found, judged by this limit; None if there was none."""
    try:
        record = read_record(path)
    except InputError:  # there is none, or it is damaged: the ramp is run again
        return None
    proposal = propose(record.rows, drop)
    return record.model_copy(update={"cached": True, "drop": drop, "proposal": proposal})


def _cache(record: RateRecord, path: Path) -> None:
    """Write it into the cache, whose oldest records go; a full disk is no error."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: record.model_dump_json().encode()})
        old = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in old[:-_KEPT]:
            file.unlink(missing_ok=True)
