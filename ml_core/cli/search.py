"""``cleanclip search``: find the recipe that fits a checkpoint, by triggers of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ml_core import figures
from ml_core.cleaning.halving import (
    DEFAULT_FACTORS,
    DEFAULT_METHODS,
    WITHOUT_CAPTIONS,
    candidates_of,
)
from ml_core.cleaning.presets import warn_of_rate
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import Recipe
from ml_core.cli import output
from ml_core.cli.arguments import build_recipe, checkpoint_path, method_name, pretraining_at
from ml_core.cli.clean import clean_spec
from ml_core.cli.options import (
    Checkpoint,
    CleaningOptions,
    Json,
    OutputFolder,
    Overwrite,
    flatten_options,
)
from ml_core.cli.run import run_spec
from ml_core.reading.errors import InputError


@flatten_options
def search(
    checkpoint: Checkpoint,
    *,
    output_dir: OutputFolder[Path] = Path("search"),
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Time for the whole search on this machine.")
    ] = 10.0,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods to try, with commas; default: mmcl, adversarial, cleanclip, par and "
            "cleanclip-par, or locked-text and adversarial where there are labelled images and no "
            "pairs."
        ),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            help="Learning rates to try, with commas, as multiples of --peak-rate; the first ones "
            "are tried where time is short."
        ),
    ] = None,
    peak_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak rate of the checkpoint's pretraining (default: what is known of it)."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Pairs or images in a step.")] = 128,
    max_ca_drop: Annotated[
        float, typer.Option(min=0, max=100, help="Points of clean accuracy that may be lost.")
    ] = 1.0,
    max_asr: Annotated[
        float,
        typer.Option(min=0, max=100, help="Highest success rate of a planted trigger, per cent."),
    ] = 2.0,
    rebound_steps: Annotated[
        int,
        typer.Option(min=0, help="Steps of ordinary finetuning after each run; measured again."),
    ] = 0,
    canary_steps: Annotated[
        int, typer.Option(min=1, help="Most steps of planting the canaries.")
    ] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of canaries and runs.")] = 0,
    options: CleaningOptions,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Search for the recipe that cleans this checkpoint at the least loss of accuracy.

    The attacker's trigger is unknown, so triggers of our own (canaries) are planted in a copy.
    Recipes run on the copy, many short and the better half twice as long, and what removes the
    canaries within the limits is chosen. The copy is kept in the cache for the next search; the
    checkpoint itself is left alone. Rates that are tried may be above what is safe without such a
    search: where the chosen one is, `clean` wants --accept-rate, and the search says so. With
    --trigger, also scan:FOLDER, each recipe runs on a copy
    without canaries too, where that one is measured. Writes search.json, search.csv, tradeoff.svg
    and chosen.recipe.json.

    Examples:

        cleanclip search model.safetensors --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --minutes 60 -o search

        cleanclip clean model.safetensors --pairs pairs.csv --recipe search/chosen.recipe.json \\
            -o cleaned
    """
    from ml_core.jobs.canary_spec import CanarySettings
    from ml_core.jobs.search_spec import SearchSpec

    if options.reference is not None:
        raise InputError(
            "A search tries methods that need no reference: leave --reference out. If it tells "
            "what the checkpoint was pretrained at, give that with --peak-rate."
        )
    if peak_rate is not None and not 0 < peak_rate <= 1:
        raise InputError("--peak-rate takes a learning rate above 0 and up to 1.")
    captions = options.pairs is not None or options.training_images is None
    usual = DEFAULT_METHODS if captions else WITHOUT_CAPTIONS
    names = usual if methods is None else tuple(map(method_name, methods.split(",")))
    factors = DEFAULT_FACTORS if rates is None else _factors(rates)
    tried = candidates_of(names, factors, peak_rate or 1e-3, batch_size=batch_size, seed=seed)
    base = clean_spec(
        checkpoint,
        output_dir,
        # the recipes that are tried take its place
        build_recipe("mmcl", "default", [], None),
        options,
        compared=tried,
    )
    known = pretraining_at(
        checkpoint_path(checkpoint), options.donor, use_choice=not options.no_choice
    )
    if peak_rate is None:
        output.say(known.sentence)
    peak = peak_rate or known.assumed
    spec = SearchSpec(
        base=base,
        recipes=candidates_of(names, factors, peak, batch_size=batch_size, seed=seed),
        minutes=minutes,
        max_ca_drop=max_ca_drop,
        max_asr=max_asr,
        rebound_steps=rebound_steps,
        peak_lr=peak,
        canaries=CanarySettings(steps=canary_steps, batch_size=batch_size, seed=seed),
    )
    result = run_spec(spec, overwrite=overwrite)
    if json:
        output.print_json(result)
        return
    output.show(search_table(result))
    for sentence in (result["said"], result["means"]):
        output.say(sentence)
    if said := _about_chosen(result, known):
        output.say(said)
    for what, key in (("Recipe", "recipe"), ("Table", "table"), ("Chart", "chart")):
        output.show(output.cell(f"{what}: {result[key]}"))


def _about_chosen(result: dict[str, Any], pretraining: Pretraining) -> str:
    """What ``clean`` wants with the recipe that was chosen; empty where it runs as it is."""
    if result["chosen"] is None:
        return ""
    recipe = Recipe.model_validate(result["rows"][result["chosen"]]["recipe"])
    if not warn_of_rate(recipe, pretraining):
        return ""
    return (
        f"Its learning rate of {figures.rate_text(recipe.lr)} is above what is safe for a "
        "checkpoint on which nothing was tried: run it with clean --recipe and --accept-rate."
    )


def search_table(result: dict[str, Any]) -> Table:
    """Every run, the longest first; the chosen one is marked."""
    from ml_core.jobs.search_spec import SearchRecord

    known = set(SearchRecord.model_fields)
    record = SearchRecord.model_validate({k: v for k, v in result.items() if k in known})
    table = Table(title="Recipes on a copy with canaries")
    for name in ("Recipe", "steps", "CA", "drop", "canary ASR, mean", "worst", "seconds", ""):
        table.add_column(name, justify="left" if name in ("Recipe", "") else "right")
    order = sorted(range(len(record.rows)), key=lambda place: -record.rows[place].rung)
    for place in order:
        row = record.rows[place]
        table.add_row(
            output.cell(row.name),
            str(row.steps),
            figures.percent(row.ca, "-"),
            "-" if row.ca_drop is None else f"{row.ca_drop:.1f}",
            figures.percent(row.mean_asr, "-"),
            figures.percent(row.worst_asr, row.status),
            f"{row.seconds:.0f}",
            "chosen" if place == record.chosen else "",
        )
    return table


def _factors(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"The rates {text!r} are not numbers; write them as 0.1,0.3,1.") from error
    if not all(0 < factor <= 100 for factor in found):
        raise InputError("A rate is a multiple of --peak-rate above 0 and up to 100.")
    return found
