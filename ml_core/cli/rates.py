"""``cleanclip rates``: which learning rates a checkpoint bears."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path, known_pretraining
from ml_core.cli.clean import chosen_recipe, clean_spec
from ml_core.cli.options import CLEANING, Options, command
from ml_core.cli.run import run_spec
from ml_core.jobs.rate_finder_spec import (
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    RateSpec,
    refusal,
    watched_images,
)
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.errors import InputError


@command(
    "checkpoint method preset settings recipe seed low high steps points watched batch_size drop "
    f"estimate output_dir {CLEANING} overwrite json",
    RateSpec,
    CleanSpec,
    output_dir=None,
)
def rates(context: typer.Context, options: Options) -> None:
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
    folder = options.output_dir
    if options.estimate and folder is not None:
        raise InputError("--estimate writes nothing: leave it or -o out.")
    options.checkpoint = checkpoint_path(options.checkpoint)
    recipe = chosen_recipe(context, options, partial(known_pretraining, options))
    if reason := refusal(recipe):
        raise InputError(reason)
    fields = options.of(RateSpec)
    fields["points"] = min(fields["points"], fields["steps"])
    with tempfile.TemporaryDirectory(prefix="cleanclip-rates-") as place:
        spec = RateSpec(
            job=clean_spec(recipe, options.changed(output_dir=Path(place))),
            output_dir=None if folder is None else str(folder.resolve()),
            **fields,
        )
        watched_images(spec.job)
        result = run_spec(spec, estimate=options.estimate, overwrite=options.overwrite)
    if options.json:
        output.print_json(result)
    elif options.estimate:
        output.line(
            f"About {result['seconds']:.0f} s for {result['steps']} steps "
            f"({result['step_seconds']:.2f} s a step, measured), "
            f"{result['memory_bytes'] / 1e9:.1f} GB of memory."
        )
    else:
        _print(result, folder)


def _print(record: dict[str, Any], folder: Path | None) -> None:
    """The measurements as a table, the proposal, and what was written."""
    title = f"Rates for {record['recipe']['method']}, {record['n']} validation images"
    columns = (">Rate", ">Step", ">Loss", ">CA", ">95 % interval")
    output.show(output.table(title, columns, _measurements(record["rows"]), **output.BOXED))
    for sentence in (record["proposal"]["sentence"], *record["notes"]):
        output.line(sentence)
    if folder is not None:
        for name in (RATES_FILE, RATES_TABLE, RATES_CHART):
            output.line(f"Written: {folder / name}")


def _measurements(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Each measurement of accuracy, with the mean loss of the steps since the one before."""
    losses: list[float] = []
    for row in rows:
        losses += [] if row["loss"] is None else [row["loss"]]
        if row["ca"] is None:
            continue
        interval = None if row["ca_low"] is None else (row["ca_low"], row["ca_high"])
        yield (
            figures.rate_text(row["lr"]) if row["lr"] else "start",
            str(row["step"]),
            f"{sum(losses) / len(losses):.3f}" if losses else "–",
            figures.percent(row["ca"]),
            figures.percent_range(interval, unit="", to="–"),
        )
        losses = []
