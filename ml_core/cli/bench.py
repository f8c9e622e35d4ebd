"""``cleanclip bench``: compare methods on the same checkpoint, data and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_core.cleaning.pretraining import DEMO, Pretraining
from ml_core.cleaning.recipes import Recipe, read_recipe
from ml_core.cli import output
from ml_core.cli.arguments import (
    build_recipe,
    judge_rates,
    known_pretraining,
    label_set_path,
    numbers,
)
from ml_core.cli.checkpoints import checkpoint_path
from ml_core.cli.clean import clean_spec
from ml_core.cli.options import CLEANING, NamedPath, Options, argument, command
from ml_core.cli.run import run_spec
from ml_core.figures import percent
from ml_core.jobs.specs import CHART_FILE, TABLE_FILE, BenchSpec, CleanSpec
from ml_core.options import option
from ml_core.reading.errors import InputError

_COLUMNS = ("Run", "Needs", ">CA", ">drop", ">ASR", ">poisoned acc.", ">rebound", ">seconds")


@command(
    "recipes checkpoint output_dir seeds minutes rebound steps holdouts other_labels accept_rate "
    f"overwrite {CLEANING} json",
    BenchSpec,
    CleanSpec,
    output_dir=Path("bench"),
)
def bench(
    options: Options,
    recipes: list[str] = argument("METHOD, METHOD:PRESET or a recipe file; one or more."),
    checkpoint: NamedPath | None = option(
        None, help="The checkpoint to clean (default: the demo's)."
    ),
    seeds: str = option("0", help="Seeds, with commas."),
) -> None:
    """Writes one folder per run, bench.csv (the table), tradeoff.svg (the chart) and
    bench.json. The same command continues where it stopped.

    Examples:

        cleanclip bench cleanclip mmcl supervised -o bench

        cleanclip bench mmcl cleanclip:default mine.recipe.json --seeds 0,1,2 --minutes 5 \\
            --rebound --holdouts

        cleanclip bench cleanclip mmcl --checkpoint model.pt --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana
    """
    from ml_core.jobs.demo import demo_checkpoint

    fields = options.of(BenchSpec) | {"seeds": _seeds(seeds)}
    if options.other_labels is not None and not fields["holdouts"]:
        raise InputError("--other-labels is for the hold-outs: add --holdouts, or leave it out.")
    if fields["rebound_steps"] is not None and not fields["rebound"]:
        raise InputError("--steps is for the rebound test: add --rebound, or leave it out.")
    known = DEMO
    if checkpoint is not None:
        options.checkpoint = checkpoint_path(checkpoint)
        known = known_pretraining(options)
    chosen = tuple(named_recipe(text, known) for text in recipes)
    judge_rates(chosen, known, accepted=options.accept_rate)
    if checkpoint is None:
        options.checkpoint = demo_checkpoint()
        options.trigger = options.trigger or "demo"
        if options.reference is None and any("reference" in each.facts.needs for each in chosen):
            options.reference = demo_checkpoint(twin=True)
    base = clean_spec(
        build_recipe("mmcl", "default", [], None),  # those of the comparison take its place
        options,
        compared=chosen,
        rebound=fields["rebound"],
    )
    if fields["rebound"] and base.trigger is None:
        raise InputError("The rebound test watches an attack: give --trigger and --target.")
    spec = BenchSpec(
        base=base.model_copy(update={"keep_steps": False}),
        recipes=chosen,
        minutes=options.minutes,
        other_labels=label_set_path(options.other_labels),
        **fields,
    )
    result = run_spec(spec, overwrite=options.overwrite)
    folder = Path(spec.base.output_dir)
    title = "Methods on the same checkpoint, data and seeds"
    output.answer(
        options.json,
        result,
        output.table(title, _COLUMNS, map(_row, result["rows"]), **output.BOXED),
        f"Table: {folder / TABLE_FILE}",
        f"Chart: {folder / CHART_FILE}",
    )


def named_recipe(text: str, pretraining: Pretraining = DEMO) -> Recipe:
    """A recipe file, or METHOD, or METHOD:PRESET; METHOD alone as it suits the checkpoint.

    Raises
    ------
    InputError
        If no recipe has that name.
    """
    if text.endswith(".json") or Path(text).is_file():
        return read_recipe(Path(text))
    method, _, name = text.partition(":")
    return build_recipe(method, name or "default", [], None, pretraining=pretraining)


def _seeds(text: str) -> tuple[int, ...]:
    """Numbers with commas between them."""
    seeds = numbers(text, int, "seeds", "0,1,2")
    if any(seed < 0 or seed >= 2**32 for seed in seeds):
        raise InputError("A seed is between 0 and 4294967295.")
    return seeds


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    """A run as a row of the table."""
    if row["ca"] is None and row["error"]:
        return row["title"], "", row["error"]
    return (
        row["title"] + ("" if row["head"] == "zero-shot" else ", linear head"),
        row["needs"] or row["data"],
        percent(row["ca"], "-"),
        "-" if row["ca_drop"] is None else f"{row['ca_drop']:.1f}",
        percent(row["asr"], "-"),
        percent(row["poisoned_accuracy"], "-"),
        percent(row["rebound_max_asr"], "-"),
        "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
    )
