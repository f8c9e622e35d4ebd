"""``cleanclip prove``: does a cleaned checkpoint stay clean?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import label_set_path, pair_spec
from ml_core.cli.clean import job_spec
from ml_core.cli.options import Device, Json, OtherLabels, Threads
from ml_core.cli.run import run_spec
from ml_core.reading.errors import InputError


def prove(
    run: Annotated[Path, typer.Argument(help="The folder of a finished cleaning run.")],
    rebound: Annotated[bool, typer.Option(help="The rebound test.")] = True,
    holdouts: Annotated[bool, typer.Option(help="The table of hold-outs.")] = True,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each finetuning.")] = 300,
    peak_lr: Annotated[
        float | None,
        typer.Option(help="Peak rate of the pretraining (default: what is known of it)."),
    ] = None,
    limit: Annotated[
        float, typer.Option(help="Highest ASR, in per cent, of a model that stays clean.")
    ] = 5.0,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="Pairs for the rebound test and retrieval (default: those the run did not use)."
        ),
    ] = None,
    other_labels: OtherLabels = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Does a cleaned checkpoint stay clean? Finetune it again, and test what it never saw.

    The rebound test finetunes a copy on clean pairs that the cleaning has not seen and that do not
    name the target class, at 0.1, 0.3 and 1 times the pretraining's rate; the highest attack
    success rate counts. The hold-outs are the trigger moved, scaled, turned and recoloured, other
    triggers, retrieval, and a second label set. The exit code is 0 even when it does not stay
    clean: read ``stays_clean`` in the JSON.

    Examples:

        cleanclip prove cleaned/

        cleanclip prove cleaned/ --no-holdouts --steps 600 --json

        cleanclip prove cleaned/ --pairs other.csv --other-labels cifar-10
    """
    if not rebound and not holdouts:
        raise InputError("Both proofs were turned off: leave one on.")
    if other_labels is not None and not holdouts:
        raise InputError("--other-labels is for the hold-outs: leave it or --no-holdouts out.")
    if not 0 < limit < 100:
        raise InputError(f"The limit is between 0 and 100 per cent, not {limit:g}.")
    from ml_core.jobs.proof_specs import holdouts_of, rebound_of
    from ml_core.jobs.specs import SPEC_FILE

    spec = job_spec(run)
    if run.is_dir() or run.name == SPEC_FILE:  # it may have been moved
        folder = run if run.is_dir() else run.parent
        spec = spec.model_copy(update={"output_dir": str(folder.resolve())})
    shared: dict[str, Any] = {"device": device, "threads": threads}
    if pairs is not None:
        shared["pairs"] = pair_spec(pairs, "image", "caption")
    found: dict[str, Any] = {}
    if rebound:
        changes: dict[str, Any] = {"steps": steps, "limit": limit / 100, **shared}
        if peak_lr is not None:
            changes["peak_lr"] = peak_lr
        found["rebound"] = run_spec(rebound_of(spec, **changes))
    if holdouts:
        other = label_set_path(other_labels)
        found["holdouts"] = run_spec(holdouts_of(spec, other_labels=other, **shared))
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
            figures.percent(first["asr_excl"], "-"),
            figures.percent(rate["max_asr"], "-"),
            str(rate["max_step"]),
            figures.percent(last.get("ca"), "-"),
        )
    return table


def holdouts_table(record: dict[str, Any]) -> Table:
    """Rates on what the cleaning never saw, before and after."""
    table = Table(title=f"Hold-outs, {record['n']} images")
    for name in ("", "Hold-out", "Measure", "before", "after", "95 % interval"):
        right = name in ("before", "after", "95 % interval")
        table.add_column(name, justify="right" if right else "left")
    last = ""
    for row in record["rows"]:
        table.add_row(
            row["group"] if row["group"] != last else "",
            output.cell(row["name"]),
            row["measure"],
            figures.percent(row["before"], "-"),
            figures.percent(row["after"], "-"),
            figures.percent_range(row["after_interval"], "", unit=""),
        )
        last = row["group"]
    return table
