"""``cleanclip bench``: compare methods on the same checkpoint, data and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipe_file import read_recipe
from ml_core.cleaning.recipes import Recipe
from ml_core.cli import output
from ml_core.cli.arguments import (
    build_recipe,
    checkpoint_path,
    judge_rates,
    label_set_path,
    method_name,
    pretraining_at,
)
from ml_core.cli.clean import clean_spec
from ml_core.cli.options import (
    AcceptRate,
    CleaningOptions,
    Json,
    Minutes,
    OtherLabels,
    OutputFolder,
    Overwrite,
    flatten_options,
    given_path,
)
from ml_core.cli.run import run_spec
from ml_core.reading.errors import InputError


@flatten_options
def bench(
    recipes: Annotated[
        list[str], typer.Argument(help="METHOD, METHOD:PRESET or a recipe file; one or more.")
    ],
    *,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The checkpoint to clean (default: the demo's).", parser=given_path),
    ] = None,
    output_dir: OutputFolder[Path] = Path("bench"),
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "0",
    minutes: Minutes = None,
    rebound: Annotated[bool, typer.Option(help="Finetune each result again and watch the ASR.")] = (
        False
    ),
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of each finetuning of --rebound (else 300)."),
    ] = None,
    holdouts: Annotated[bool, typer.Option(help="Test triggers and data that no run saw.")] = False,
    other_labels: OtherLabels = None,
    accept_rate: AcceptRate = False,
    overwrite: Overwrite = False,
    options: CleaningOptions,
    json: Json = False,
) -> None:
    """Compare methods fairly: the same checkpoint, data, seeds and, with --minutes, compute.

    Writes one folder per run, bench.csv (the table), tradeoff.svg (the chart) and bench.json. The
    same command continues where it stopped.

    Examples:

        cleanclip bench cleanclip mmcl supervised -o bench

        cleanclip bench mmcl cleanclip:default mine.recipe.json --seeds 0,1,2 --minutes 5 \\
            --rebound --holdouts

        cleanclip bench cleanclip mmcl --checkpoint model.pt --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana
    """
    from ml_core.jobs.bench_spec import CHART_FILE, TABLE_FILE, BenchSpec
    from ml_core.jobs.demo import demo_checkpoint

    if other_labels is not None and not holdouts:
        raise InputError("--other-labels is for the hold-outs: add --holdouts, or leave it out.")
    if steps is not None and not rebound:
        raise InputError("--steps is for the rebound test: add --rebound, or leave it out.")
    if checkpoint is not None:
        checkpoint = checkpoint_path(checkpoint)
    known = DEMO
    if checkpoint is not None:
        known = pretraining_at(
            checkpoint,
            options.donor,
            reference=options.reference,
            use_choice=not options.no_choice,
        )
    chosen = tuple(named_recipe(text, known) for text in recipes)
    judge_rates(chosen, known, accepted=accept_rate)
    if checkpoint is None:
        checkpoint = demo_checkpoint()
        options = replace(options, trigger=options.trigger or "demo")
        if options.reference is None and any("reference" in one.facts.needs for one in chosen):
            options = replace(options, reference=demo_checkpoint(twin=True))
    base = clean_spec(
        checkpoint,
        output_dir,
        # the recipes of the comparison take its place
        build_recipe("mmcl", "default", [], None),
        options,
        compared=chosen,
        rebound=rebound,
    )
    if rebound and base.trigger is None:
        raise InputError("The rebound test watches an attack: give --trigger and --target.")
    spec = BenchSpec(
        base=base.model_copy(update={"keep_steps": False}),
        recipes=chosen,
        seeds=_seeds(seeds),
        minutes=minutes,
        rebound=rebound,
        rebound_steps=steps,
        holdouts=holdouts,
        other_labels=label_set_path(other_labels),
    )
    result = run_spec(spec, overwrite=overwrite)
    if json:
        output.print_json(result)
        return
    output.show(bench_table(result["rows"]))
    folder = Path(spec.base.output_dir)
    output.show(output.cell(f"Table: {folder / TABLE_FILE}"))
    output.show(output.cell(f"Chart: {folder / CHART_FILE}"))


def named_recipe(text: str, pretraining: Pretraining = DEMO) -> Recipe:
    """A recipe file, or METHOD, or METHOD:PRESET; METHOD alone as it suits the checkpoint.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_recipe(Path(text))
    method, _, name = text.partition(":")
    return build_recipe(method_name(method), name or "default", [], None, pretraining=pretraining)


def _seeds(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"The seeds {text!r} are not numbers; write them as 0,1,2.") from error
    if any(seed < 0 or seed >= 2**32 for seed in found):
        raise InputError("A seed is between 0 and 4294967295.")
    return found


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
            figures.percent(row["ca"], "-"),
            "-" if row["ca_drop"] is None else f"{row['ca_drop']:.1f}",
            figures.percent(row["asr"], "-"),
            figures.percent(row["poisoned_accuracy"], "-"),
            figures.percent(row["rebound_max_asr"], "-"),
            "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
        )
    return table
