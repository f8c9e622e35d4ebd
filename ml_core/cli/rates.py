"""``cleanclip rates``: which learning rates a checkpoint bears."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cleaning.rate_range import DROP
from ml_core.cleaning.recipe_file import read_recipe
from ml_core.cli import output
from ml_core.cli.arguments import build_recipe, checkpoint_path, pretraining_at, with_settings
from ml_core.cli.clean import clean_spec, refuse_beside
from ml_core.cli.options import (
    Checkpoint,
    CleaningOptions,
    Json,
    Method,
    OutputFolder,
    Overwrite,
    Preset,
    Seed,
    Settings,
    flatten_options,
)
from ml_core.cli.run import run_spec
from ml_core.jobs.rate_finder_spec import (
    CPU_BATCH,
    HIGHEST,
    LOWEST,
    PICTURES,
    POINTS,
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    STEPS,
    RateSpec,
    refusal,
    watched_images,
)
from ml_core.reading.errors import InputError


@flatten_options
def rates(
    context: typer.Context,
    *,
    checkpoint: Checkpoint,
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Settings = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe file instead of --method and --preset.")
    ] = None,
    seed: Seed = None,
    low: Annotated[float, typer.Option(help="The first rate of the ramp.")] = LOWEST,
    high: Annotated[float, typer.Option(help="The last rate of the ramp.")] = HIGHEST,
    steps: Annotated[int, typer.Option(min=10, help="Steps from the first to the last.")] = STEPS,
    points: Annotated[
        int, typer.Option(min=2, help="Measurements of accuracy on the way.")
    ] = POINTS,
    watched: Annotated[
        int, typer.Option(min=1, help="Validation images of a measurement, at most.")
    ] = PICTURES,
    batch_size: Annotated[
        int | None,
        typer.Option(min=2, help=f"Default: the recipe's, at most {CPU_BATCH} on the CPU."),
    ] = None,
    drop: Annotated[float, typer.Option(help="Points of accuracy that a rate may cost.")] = DROP,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say how long it would take.")
    ] = False,
    output_dir: OutputFolder[Path | None] = None,
    options: CleaningOptions,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Find the learning rates that a checkpoint bears, before cleaning it.

    A copy of the checkpoint is trained for a few steps at a rate that rises geometrically (the
    range test of Smith, arXiv 1506.01186). The upper end of the proposed range is the last rate
    before accuracy on validation images falls by more than --drop points; the start is a third of
    it, for a run stays near its peak longer than the ramp. The backdoor is not looked at: higher
    rates remove more of it, and a run wins accuracy back as its rate falls. Nothing of the copy is
    kept, and the same ramp is not run twice. With -o it writes rates.json, rates.csv and rates.svg.

    Examples:

        cleanclip rates model.safetensors --pairs pairs.csv --images photos/ --labels imagenet-1k

        cleanclip rates model.safetensors --method mmcl --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --low 1e-7 --high 1e-3 --steps 40 -o rates
    """
    if estimate and output_dir is not None:
        raise InputError("--estimate writes nothing: leave it or -o out.")
    checkpoint = checkpoint_path(checkpoint)
    if recipe is not None:
        refuse_beside(context, "recipe", "method", "preset")
        chosen = with_settings(read_recipe(recipe), settings or [], seed)
    else:
        known = pretraining_at(
            checkpoint, options.donor, reference=options.reference, use_choice=not options.no_choice
        )
        chosen = build_recipe(method, preset, settings or [], seed, pretraining=known)
    if said := refusal(chosen):
        raise InputError(said)
    with tempfile.TemporaryDirectory(prefix="cleanclip-rates-") as place:
        spec = RateSpec(
            job=clean_spec(checkpoint, Path(place), chosen, options),
            low=low,
            high=high,
            steps=steps,
            points=min(points, steps),
            pictures=watched,
            batch_size=batch_size,
            drop=drop,
            output_dir=None if output_dir is None else str(output_dir.resolve()),
        )
        watched_images(spec.job)
        found = run_spec(spec, estimate=estimate, overwrite=overwrite)
    if json:
        output.print_json(found)
    elif estimate:
        output.show(output.cell(_estimate_words(found)))
    else:
        _print(found, output_dir)


def _estimate_words(found: dict[str, Any]) -> str:
    return (
        f"About {found['seconds']:.0f} s for {found['steps']} steps "
        f"({found['step_seconds']:.2f} s a step, measured), "
        f"{found['memory_bytes'] / 1e9:.1f} GB of memory."
    )


def _print(record: dict[str, Any], folder: Path | None) -> None:
    """The measurements as a table, the proposal, and what was written."""
    output.show(rates_table(record))
    output.show(output.cell(record["proposal"]["sentence"]))
    for note in record["notes"]:
        output.show(output.cell(note))
    if folder is not None:
        for name in (RATES_FILE, RATES_TABLE, RATES_CHART):
            output.show(output.cell(f"Written: {folder / name}"))


def rates_table(record: dict[str, Any]) -> Table:
    """Each measurement of accuracy, with the mean loss of the steps since the one before."""
    title = f"Rates for {record['recipe']['method']}, {record['n']} validation images"
    table = Table(title=output.cell(title))
    for name in ("Rate", "Step", "Loss", "CA", "95 % interval"):
        table.add_column(name, justify="right")
    losses: list[float] = []
    for row in record["rows"]:
        losses += [] if row["loss"] is None else [row["loss"]]
        if row["ca"] is None:
            continue
        interval = None if row["ca_low"] is None else (row["ca_low"], row["ca_high"])
        table.add_row(
            figures.rate_text(row["lr"]) if row["lr"] else "start",
            str(row["step"]),
            f"{sum(losses) / len(losses):.3f}" if losses else "–",
            figures.percent(row["ca"]),
            figures.percent_range(interval, unit="", to="–"),
        )
        losses = []
    return table
