"""``cleanclip bench`` and ``cleanclip prove``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.cleaning.recipe_file import read_recipe
from ml_core.cleaning.recipes import Recipe
from ml_core.cli import output
from ml_core.cli.arguments import (
    build_recipe,
    checkpoint_path,
    label_set_path,
    method_name,
    pair_spec,
)
from ml_core.cli.cleaning import clean_spec, job_spec
from ml_core.cli.running import run_to_result
from ml_core.jobs.bench_spec import CHART_FILE, TABLE_FILE, BenchSpec
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.proof_specs import holdouts_of, rebound_of
from ml_core.jobs.specs import SPEC_FILE
from ml_core.reading.errors import InputError


def bench_spec(
    recipes: Sequence[str],
    *,
    checkpoint: Path | None,
    output_dir: Path,
    seeds: str,
    minutes: float | None,
    rebound: bool,
    holdouts: bool,
    reference: Path | None,
    other_labels: str | None = None,
    **options: Any,
) -> BenchSpec:
    """The options of ``bench`` as a comparison.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    if other_labels is not None and not holdouts:
        raise InputError("--other-labels is for the hold-outs: add --holdouts, or leave it out.")
    chosen = tuple(named_recipe(text) for text in recipes)
    demo = checkpoint is None
    if demo:
        checkpoint = demo_checkpoint()
        options["trigger"] = options["trigger"] or "demo"
    assert checkpoint is not None
    needs = {need for recipe in chosen for need in recipe.facts.needs}
    base = clean_spec(
        checkpoint,
        output_dir,
        method="mmcl",
        preset="default",
        settings=[],
        seed=None,
        compared=chosen,
        rebound=rebound,
        **options,
    )
    if reference is None and demo and "reference" in needs:
        reference = demo_checkpoint(twin=True)
    changes: dict[str, Any] = {"keep_steps": False}
    if reference is not None:
        changes["reference"] = str(checkpoint_path(reference).resolve())
    if rebound and base.trigger is None:
        raise InputError("The rebound test watches an attack: give --trigger and --target.")
    return BenchSpec(
        base=base.model_copy(update=changes),
        recipes=chosen,
        seeds=_seeds(seeds),
        minutes=minutes,
        rebound=rebound,
        holdouts=holdouts,
        other_labels=label_set_path(other_labels),
    )


def named_recipe(text: str) -> Recipe:
    """A recipe file, or METHOD, or METHOD:PRESET.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_recipe(Path(text))
    method, _, name = text.partition(":")
    return build_recipe(method_name(method), name or "default", [], None)


def _seeds(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"The seeds {text!r} are no numbers; write them as 0,1,2.") from error
    if any(seed < 0 or seed >= 2**32 for seed in found):
        raise InputError("A seed is between 0 and 4294967295.")
    return found


def bench_recipes(spec: BenchSpec, json: bool) -> None:
    """Run a comparison and print its table."""
    from ml_core.jobs.bench import bench

    result = run_to_result(lambda control: bench(spec, control))
    if json:
        output.print_json(result)
        return
    output.show(bench_table(result["rows"]))
    folder = Path(spec.base.output_dir)
    output.show(output.cell(f"Table: {folder / TABLE_FILE}"))
    output.show(output.cell(f"Chart: {folder / CHART_FILE}"))


def bench_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of a comparison."""
    table = Table(title="Methods on the same checkpoint, data and seeds")
    for name in ("Run", "Needs", "CA", "drop", "ASR", "poisoned acc.", "rebound", "seconds"):
        table.add_column(name, justify="left" if name in ("Run", "Needs") else "right")
    for row in rows:
        head = "" if row["head"] == "zero-shot" else ", linear head"
        if row["ca"] is None and row["error"]:
            table.add_row(output.cell(row["title"]), "", output.cell(row["error"]))
            continue
        table.add_row(
            output.cell(row["title"] + head),
            row["needs"] or row["data"],
            _percent(row["ca"]),
            "-" if row["ca_drop"] is None else f"{row['ca_drop']:.1f}",
            _percent(row["asr"]),
            _percent(row["poisoned_accuracy"]),
            _percent(row["rebound_max_asr"]),
            "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
        )
    return table


def prove_run(
    run: Path,
    *,
    rebound: bool,
    holdouts: bool,
    steps: int,
    peak_lr: float | None,
    limit: float,
    pairs: str | None,
    other_labels: str | None = None,
    device: str,
    threads: int,
    json: bool,
) -> None:
    """Prove the result of a finished run.

    Raises
    ------
    InputError
        If the folder holds no finished run, or it named no trigger or images.
    """
    from ml_core.jobs.holdouts import holdouts as try_holdouts
    from ml_core.jobs.rebound import rebound as finetune_again

    if not rebound and not holdouts:
        raise InputError("Both proofs were turned off: leave one on.")
    if other_labels is not None and not holdouts:
        raise InputError("--other-labels is for the hold-outs: leave it or --no-holdouts out.")
    if not 0 < limit < 100:
        raise InputError(f"The limit is between 0 and 100 per cent, not {limit:g}.")
    spec = job_spec(run)
    if run.is_dir() or run.name == SPEC_FILE:  # it may have been moved
        folder = run if run.is_dir() else run.parent
        spec = spec.model_copy(update={"output_dir": str(folder.resolve())})
    where = {"device": device, "threads": threads}
    named = None if pairs is None else pair_spec(pairs, "image", "caption")
    found: dict[str, Any] = {}
    if rebound:
        changes: dict[str, Any] = {"steps": steps, "limit": limit / 100, **where}
        if peak_lr is not None:
            changes["peak_lr"] = peak_lr
        if named is not None:
            changes["pairs"] = named
        asked = rebound_of(spec, **changes)
        found["rebound"] = run_to_result(lambda control: finetune_again(asked, control))
    if holdouts:
        told: dict[str, Any] = {"other_labels": label_set_path(other_labels), **where}
        if named is not None:
            told["pairs"] = named
        table = holdouts_of(spec, **told)
        found["holdouts"] = run_to_result(lambda control: try_holdouts(table, control))
    if json:
        output.print_json(found)
        return
    if "rebound" in found:
        output.show(rebound_table(found["rebound"]))
        output.show(output.cell(found["rebound"]["verdict"]))
    if "holdouts" in found:
        output.show(holdouts_table(found["holdouts"]))


def rebound_table(record: dict[str, Any]) -> Table:
    """The highest attack success rate at each rate."""
    table = Table(title=f"Rebound test, {record['steps']} steps of {record['batch_size']} pairs")
    for name in ("Rate", "Learning rate", "ASR at once", "highest ASR", "at step", "CA at the end"):
        table.add_column(name, justify="right")
    for rate in record["rates"]:
        first, last = rate["points"][0], rate["points"][-1]
        table.add_row(
            f"{rate['factor']:g}x",
            f"{rate['lr']:.2g}",
            _percent(first["asr_excl"]),
            _percent(rate["max_asr"]),
            str(rate["max_step"]),
            _percent(last.get("ca")),
        )
    return table


def holdouts_table(record: dict[str, Any]) -> Table:
    """What was never seen, before and after."""
    table = Table(title=f"Hold-outs, {record['n']} images")
    for name in ("", "Hold-out", "Measure", "before", "after", "95 % interval"):
        right = name in ("before", "after", "95 % interval")
        table.add_column(name, justify="right" if right else "left")
    last = ""
    for row in record["rows"]:
        interval = row["after_interval"]
        table.add_row(
            row["group"] if row["group"] != last else "",
            output.cell(row["name"]),
            row["measure"],
            _percent(row["before"]),
            _percent(row["after"]),
            "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}",
        )
        last = row["group"]
    return table


def _percent(value: float | None) -> str:
    """A rate, or a dash where it was not measured."""
    return "-" if value is None else f"{100 * value:.1f} %"
