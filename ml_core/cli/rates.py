"""``cleanclip rates``: which learning rates a checkpoint bears."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cli import output
from ml_core.cli.arguments import known_pretraining
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.clean import chosen_recipe, clean_spec
from ml_core.cli.options import CLEANING, Options, command
from ml_core.cli.run import run_spec
from ml_core.jobs.rates import (
    RATES_CHART,
    RATES_FILE,
    RATES_TABLE,
    RateSpec,
    refusal,
    watched_images,
)
from ml_core.jobs.specs import CleanSpec
from ml_core.reading.errors import InputError

_COLUMNS = (">Rate", ">Step", ">Loss", ">CA", ">95 % interval")


@command(
    "checkpoint method preset settings recipe seed low high steps points watched batch_size drop "
    f"estimate output_dir {CLEANING} overwrite json",
    RateSpec,
    CleanSpec,
    output_dir=None,
)
def rates(context: typer.Context, options: Options) -> None:
    """A copy of the checkpoint is trained for a few steps at a rate that rises geometrically (the
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
    if options.estimate:
        parts: list[Table | str] = [
            f"{output.estimated(result)}, {result['memory_bytes'] / 1e9:.1f} GB of memory."
        ]
    else:
        title = f"Rates for {result['recipe']['method']}, {result['n']} validation images"
        rows = _measurements(result["rows"])
        parts = [output.table(title, _COLUMNS, rows, **output.BOXED)]
        parts += [result["proposal"]["sentence"], *result["notes"]]
        files = () if folder is None else (RATES_FILE, RATES_TABLE, RATES_CHART)
        parts += [f"Written: {folder / name}" for name in files if folder]
    output.answer(options.json, result, *parts)


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
