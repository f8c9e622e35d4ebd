"""A fair comparison of recipes: the same checkpoint, data, seeds and, if wished, training time."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ml_core.cleaning.catalogue import method_title
from ml_core.cleaning.tradeoff import Curve, Limits, points
from ml_core.evaluation.evaluate import versions
from ml_core.events import Control, Done, Event, Message
from ml_core.jobs.chain import cleaned, held_out, rebounded
from ml_core.jobs.clean.run import check_place, same_job
from ml_core.jobs.journal import read_events, write_comparison
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE, read_proof
from ml_core.jobs.specs import (
    BENCH_FILE,
    CHART_FILE,
    EVENTS_FILE,
    SPEC_FILE,
    TABLE_FILE,
    BenchSpec,
    CleanSpec,
    check_spec,
)
from ml_core.reading.errors import InputError
from ml_core.reports.html.charts import tradeoff_svg

Row = dict[str, Any]
COLUMNS = (
    "title", "method", "preset", "seed", "head", "needs", "data", "status", "steps",
    "train_seconds", "seconds", "ca_before", "ca", "ca_drop", "asr_before", "asr", "asr_low",
    "asr_high", "poisoned_accuracy", "heldout_ca", "heldout_asr", "rebound_max_asr",
    "stays_clean", "worst_holdout", "worst_holdout_asr", "folder", "error",
)  # fmt: skip


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
    folder, files = Path(spec.base.output_dir), (BENCH_FILE, TABLE_FILE, CHART_FILE)

    def record() -> dict[str, Any]:
        """What ``bench.json`` holds."""
        return {
            "kind": "bench",
            "spec": spec.model_dump(mode="json"),
            "rows": rows,
            "chart": str(folder / CHART_FILE),
            "table": str(folder / TABLE_FILE),
            "versions": dict(versions()),
            "seconds": time.monotonic() - begin,
        }

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
        # Table and chart go as far as they do by now.
        chart = tradeoff_svg(curves, Limits())
        yield write_comparison(folder, files, record(), COLUMNS, rows, chart)
    yield Done("finished", record())


def _is_evaluation(line: str) -> bool:
    """Whether a line of a journal has what a chart of evaluations draws."""
    return '"ca"' in line or '"saved"' in line


def _job(
    spec: BenchSpec, job: CleanSpec, control: Control, overwrite: bool
) -> Generator[Event, None, Done]:
    """Run one job and its proofs, unless it finished earlier; return its Done."""
    done = yield from cleaned(job, control, overwrite=overwrite)
    if control.cancelled or control.stopped:
        return done
    if done.status not in ("finished", "stopped") or job.trigger is None:
        return done
    try:
        if spec.rebound:
            yield from rebounded(Path(job.output_dir), control, spec.rebound_steps)
        if control.cancelled or control.stopped:
            return done
        if spec.holdouts:
            yield from held_out(Path(job.output_dir), control, spec.other_labels)
    except InputError as error:  # a result that cannot be proven so is a row all the same
        yield Message(error.sentence, "warning")
    return done


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
        held = result.get("heldout" if head == "zero-shot" else "heldout_linear") or {}
        held = held.get("after") or {}
        low, high = after.get("asr_interval") or (None, None)
        rows.append(
            first
            | {
                "head": head,
                **{name: result[name] for name in ("status", "steps", "train_seconds", "seconds")},
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
