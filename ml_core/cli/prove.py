"""``cleanclip prove``: does a cleaned checkpoint stay clean?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.cli import output
from ml_core.cli.arguments import label_set_path, pair_spec
from ml_core.cli.clean import job_spec
from ml_core.cli.options import Options, argument, command
from ml_core.cli.run import run_spec
from ml_core.figures import percent, percent_range
from ml_core.jobs.proofs import ReboundSpec, holdouts_of, rebound_of
from ml_core.jobs.specs import SPEC_FILE
from ml_core.options import option
from ml_core.reading.errors import InputError

_RATES = (">Rate", ">Learning rate", ">ASR at once", ">highest ASR", ">at step", ">CA at the end")
_HOLDOUTS = ("", "Hold-out", "Measure", ">before", ">after", ">95 % interval")


@command(
    "run rebound holdouts steps peak_lr limit pairs other_labels device threads json", ReboundSpec
)
def prove(
    options: Options,
    run: Path = argument("The folder of a finished cleaning run."),
    rebound: bool = option(True, help="The rebound test."),
    holdouts: bool = option(True, help="The table of hold-outs."),
    limit: float = option(5.0, help="Highest ASR, in per cent, of a model that stays clean."),
    pairs: str | None = option(
        None, help="Pairs for the rebound test and retrieval (default: those the run did not use)."
    ),
) -> None:
    """The rebound test finetunes a copy on clean pairs that the cleaning has not seen and that
    do not name the target class, at 0.1, 0.3 and 1 times the pretraining's rate; the highest
    attack success rate counts. The hold-outs are the trigger moved, scaled, turned and
    recoloured, other triggers, retrieval, and a second label set. The exit code is 0 even when
    it does not stay clean: read ``stays_clean`` in the JSON.

    Examples:

        cleanclip prove cleaned/

        cleanclip prove cleaned/ --no-holdouts --steps 600 --json

        cleanclip prove cleaned/ --pairs other.csv --other-labels cifar-10
    """
    if not rebound and not holdouts:
        raise InputError("Both proofs were turned off: leave one on.")
    if options.other_labels is not None and not holdouts:
        raise InputError("--other-labels is for the hold-outs: leave it or --no-holdouts out.")
    if not 0 < limit < 100:
        raise InputError(f"The limit is between 0 and 100 per cent, not {limit:g}.")
    spec = job_spec(run)
    if run.is_dir() or run.name == SPEC_FILE:  # it may have been moved
        folder = run if run.is_dir() else run.parent
        spec = spec.model_copy(update={"output_dir": str(folder.resolve())})
    changes = options.of(ReboundSpec)
    shared = {name: changes[name] for name in ("device", "threads")}
    if pairs is not None:
        shared["pairs"] = pair_spec(pairs, options)
    if changes["peak_lr"] is None:
        del changes["peak_lr"]
    results: dict[str, Any] = {}
    if rebound:
        results["rebound"] = run_spec(rebound_of(spec, limit=limit / 100, **changes | shared))
    if holdouts:
        other_labels = label_set_path(options.other_labels)
        results["holdouts"] = run_spec(holdouts_of(spec, other_labels=other_labels, **shared))
    parts: list[Table | str] = []
    if record := results.get("rebound"):
        title = f"Rebound test, {record['steps']} steps of {record['batch_size']} pairs"
        rates = map(_rate, record["rates"])
        parts += [output.table(title, _RATES, rates, **output.BOXED), record["verdict"]]
    if record := results.get("holdouts"):
        title = f"Hold-outs, {record['n']} images"
        rows = _holdouts(record["rows"])
        parts.append(output.table(title, _HOLDOUTS, rows, **output.BOXED))
    output.answer(options.json, results, *parts)


def _rate(rate: dict[str, Any]) -> tuple[str, ...]:
    """The highest attack success rate at one learning rate."""
    first, last = rate["points"][0], rate["points"][-1]
    return (
        f"{rate['factor']:g}x",
        f"{rate['lr']:.2g}",
        percent(first["asr_excl"], "-"),
        percent(rate["max_asr"], "-"),
        str(rate["max_step"]),
        percent(last.get("ca"), "-"),
    )


def _holdouts(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Rates on what the cleaning never saw, before and after."""
    last = ""
    for row in rows:
        yield (
            row["group"] if row["group"] != last else "",
            row["name"],
            row["measure"],
            percent(row["before"], "-"),
            percent(row["after"], "-"),
            percent_range(row["after_interval"], "", unit=""),
        )
        last = row["group"]
