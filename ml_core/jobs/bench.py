"""A fair comparison of recipes: the same checkpoint, data, seeds and, if wished, training time."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from ml_core.cleaning.catalogue import method_title
from ml_core.cleaning.recipes import fitted_budget
from ml_core.cleaning.tradeoff import Curve, Limits, points
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message
from ml_core.jobs.clean.earlier import check_place, same_job
from ml_core.jobs.inputs import opening_inputs
from ml_core.jobs.journal import read_events, read_json, write_comparison
from ml_core.jobs.opening import open_model
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE, holdouts_of, read_proof, rebound_of
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import (
    BENCH_FILE,
    CHART_FILE,
    EVENTS_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    TABLE_FILE,
    BenchSpec,
    CleanSpec,
    check_spec,
    read_spec,
)
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reports.html.charts import tradeoff_svg

Row = dict[str, Any]
COLUMNS = (
    "title", "method", "preset", "seed", "head", "needs", "data", "status", "steps",
    "train_seconds", "seconds", "ca_before", "ca", "ca_drop", "asr_before", "asr", "asr_low",
    "asr_high", "poisoned_accuracy", "heldout_ca", "heldout_asr", "rebound_max_asr",
    "stays_clean", "worst_holdout", "worst_holdout_asr", "folder", "error",
)  # fmt: skip
_MOST_EXAMPLES = 100_000_000  # of a recipe


def bench(
    spec: BenchSpec, control: Control, *, overwrite: bool = False
) -> Generator[Event, None, None]:
    """Run every recipe with every seed, one after the other, and write the table and the chart.

    A job that is finished already is not run again, one that was killed goes on from its last
    save, and one that fails is a row that says why. With ``overwrite`` the results of other jobs in
    their folders are replaced.

    Yields
    ------
    Event
        Progress of each job, Message, Saved, and Done, whose ``result`` is what ``bench.json``
        holds.
    """
    begin = time.monotonic()
    jobs = spec.jobs()
    for job in jobs:
        check_spec(job)
        if not overwrite:
            check_place(job)
    rows: list[Row] = []
    curves: list[Curve] = []
    for number, job in enumerate(jobs, start=1):
        recipe = job.recipe
        title = f"{method_title(recipe.method)}, {recipe.preset}, seed {recipe.seed}"
        yield Message(f"{number} of {len(jobs)}: {title}")
        done = yield from _job(spec, job, control, overwrite)
        if control.cancelled or control.stopped:
            yield Done("cancelled")
            return
        rows += _rows(job, title, done)
        if done.status != "failed" or same_job(job, Path(job.output_dir) / SPEC_FILE):
            # Else it could not start, and the journal there is an earlier one's.
            events = read_events(Path(job.output_dir) / EVENTS_FILE, _is_evaluation)
            curves.append(Curve(title, points(events)))
        yield from _write(spec, rows, curves, begin)
    yield Done("finished", _record(spec, rows, begin))


def _is_evaluation(line: str) -> bool:
    """Whether a line of a journal has what a chart of evaluations draws."""
    return '"ca"' in line or '"saved"' in line


def _job(
    spec: BenchSpec, job: CleanSpec, control: Control, overwrite: bool
) -> Generator[Event, None, Done]:
    """Run one job and its proofs, unless it finished earlier; return its Done."""
    folder = Path(job.output_dir)
    done = _finished(job)
    if done is None:
        resume = (folder / STATE_FILE).exists() and _goes_on(job)
        if resume:
            job = read_spec(folder / SPEC_FILE)
        elif job.minutes is not None:
            job = yield from matched(job, job.minutes, control)
            if control.cancelled or control.stopped:
                return Done("cancelled")
        done = yield from _run(run_job(job, control, resume=resume, overwrite=overwrite))
    else:
        yield Message("Its result exists already; it is not run again.")
        job = read_spec(folder / SPEC_FILE)  # with the budget that it had
    if control.cancelled or control.stopped:
        return done
    if done.status not in ("finished", "stopped") or job.trigger is None:
        return done
    try:
        proof = read_proof(folder, REBOUND_FILE)
        steps = spec.rebound_steps
        if spec.rebound and (proof is None or (steps and proof.get("steps") != steps)):
            changes = {} if steps is None else {"steps": steps}
            yield from _run(run_job(rebound_of(job, **changes), control))
        if control.cancelled or control.stopped:
            return done
        if spec.holdouts and read_proof(folder, HOLDOUTS_FILE) is None:
            proving = holdouts_of(job, other_labels=spec.other_labels)
            yield from _run(run_job(proving, control))
    except InputError as error:  # a result that cannot be proven so is a row all the same
        yield Message(error.sentence, "warning")
    return done


def _run(events: Generator[Event, None, None]) -> Generator[Event, None, Done]:
    """Pass a job's events on but its Done, which is returned."""
    for event in events:
        if not isinstance(event, Done):
            yield event
        elif event.status == "failed":
            yield Message(event.error, "error")
    assert isinstance(event, Done), "the last event of every job is one"
    return event


def matched(job: CleanSpec, minutes: float, control: Control) -> Generator[Event, None, CleanSpec]:
    """The job with as many steps as its training time allows on this machine.

    If the time cannot be measured, the job is not changed: the run meets the same error and reports
    it.
    """
    estimated = yield from _run(run_job(job, control, estimate=True))
    if estimated.status != "finished":
        return job
    recipe, per_step = job.recipe, estimated.result["train_seconds"] / estimated.result["steps"]
    steps = max(1, int(60 * minutes / per_step))
    most = min(_MOST_EXAMPLES, (steps + 1) * recipe.batch_size - 1)
    once = recipe.model_copy(update={"pairs": most, "epochs": 1})
    try:
        there = yield from _examples(job.model_copy(update={"recipe": once}), control)
    except (InputError, CancelledError):  # the run meets it too, and says so
        return job
    fitted = fitted_budget(recipe, steps, there)
    examples = [budgeted.total_steps * budgeted.batch_size for budgeted in (fitted, recipe)]
    yield Message(
        f"{minutes:g} minutes are {steps} steps of {1000 * per_step:.0f} ms: "
        f"{examples[0]} examples instead of {examples[1]}."
    )
    return job.model_copy(update={"recipe": fitted})


def _examples(job: CleanSpec, control: Control) -> Generator[Event, None, int]:
    """How many of the recipe's examples the job finds."""
    opened = open_model(job)
    inputs = yield from opening_inputs(job, opened.build("cpu"), control)
    with closing(inputs):
        return inputs.recipe.pairs


def _finished(job: CleanSpec) -> Done | None:
    """The Done of an equal job that finished earlier; None if there is none to take over."""
    folder = Path(job.output_dir)
    result = read_json(folder / RESULT_FILE)
    if not result or _stopped_by_hand(result) or not same_job(job, folder / SPEC_FILE):
        return None
    return Done("finished", result) if _of_these_files(job, result) else None


def _goes_on(job: CleanSpec) -> bool:
    """Whether what is on disk is the beginning of this job."""
    folder = Path(job.output_dir)
    result = read_json(folder / RESULT_FILE)
    ours = not result or (_stopped_by_hand(result) and _of_these_files(job, result))
    return ours and same_job(job, folder / SPEC_FILE)


def _stopped_by_hand(result: dict[str, Any]) -> bool:
    return bool(result.get("status") == "stopped" and not result.get("stopped_because"))


def _of_these_files(job: CleanSpec, result: dict[str, Any]) -> bool:
    """Whether the checkpoint is the one that the result was made from, not just its path.

    A checkpoint that cannot be read does not count as the same; the run will refuse it.
    """
    try:
        opened = open_model(job)
    except InputError:
        return False
    return bool(result.get("source_sha256") == opened.inspection.sha256)


def _rows(job: CleanSpec, title: str, done: Done) -> list[Row]:
    """A row a head of the result, or one that says what went wrong."""
    recipe, facts = job.recipe, job.recipe.facts
    first: Row = dict.fromkeys(COLUMNS)
    first |= {
        "title": title,
        "method": recipe.method,
        "preset": recipe.preset,
        "seed": recipe.seed,
        "head": "zero-shot",
        "needs": ", ".join(sorted(facts.needs)),
        "data": facts.data,
        "status": done.status,
        "folder": Path(job.output_dir).name,
        "error": done.error,
    }
    result = done.result
    if not result.get("heads"):
        return [first]
    rows = []
    for head, part in result["heads"].items():
        before, after = result["before"] or {}, part["after"] or {}
        held = (result.get("heldout" if head == "zero-shot" else "heldout_linear") or {}).get(
            "after"
        ) or {}
        low, high = after.get("asr_interval") or (None, None)
        rows.append(
            first
            | {
                "head": head,
                "status": result["status"],
                "steps": result["steps"],
                "train_seconds": result["train_seconds"],
                "seconds": result["seconds"],
                "ca_before": before.get("ca"),
                "ca": after.get("ca"),
                "ca_drop": _drop(before.get("ca"), after.get("ca")),
                "asr_before": before.get("asr_excl"),
                "asr": after.get("asr_excl"),
                "asr_low": low,
                "asr_high": high,
                "poisoned_accuracy": after.get("poisoned_accuracy"),
                "heldout_ca": held.get("ca"),
                "heldout_asr": held.get("asr_excl"),
                **(_proofs(Path(job.output_dir)) if head == "zero-shot" else {}),
            }
        )
    return sorted(rows, key=lambda row: row["head"] != "zero-shot")


def _drop(before: float | None, after: float | None) -> float | None:
    """Points of clean accuracy that were lost."""
    return None if before is None or after is None else 100 * (before - after)


def _proofs(folder: Path) -> Row:
    """What the proofs say, where they were made."""
    row: Row = {}
    for name in (REBOUND_FILE, HOLDOUTS_FILE):
        try:
            record = read_proof(folder, name)
        except InputError:  # which the message before has told
            continue
        if record is None:
            continue
        worst = record["worst"] or {}
        if name == REBOUND_FILE:
            row["rebound_max_asr"] = worst["max_asr"]
            row["stays_clean"] = record["stays_clean"]
        else:
            row["worst_holdout"] = worst and f"{worst['group']}: {worst['name']}"
            row["worst_holdout_asr"] = worst.get("after")
    return row


def _record(spec: BenchSpec, rows: list[Row], begin: float) -> dict[str, Any]:
    """What ``bench.json`` holds."""
    return {
        "kind": "bench",
        "spec": spec.model_dump(mode="json"),
        "rows": rows,
        "chart": str(Path(spec.base.output_dir) / CHART_FILE),
        "table": str(Path(spec.base.output_dir) / TABLE_FILE),
        "versions": dict(versions()),
        "seconds": time.monotonic() - begin,
    }


def _write(
    spec: BenchSpec, rows: list[Row], curves: list[Curve], begin: float
) -> Generator[Event, None, None]:
    """Table and chart as far as they go, after each job."""
    yield write_comparison(
        Path(spec.base.output_dir),
        (BENCH_FILE, TABLE_FILE, CHART_FILE),
        _record(spec, rows, begin),
        COLUMNS,
        rows,
        tradeoff_svg(curves, Limits()),
    )
