"""``cleanclip search``: find the recipe that fits a checkpoint, by triggers of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from ml_core.cleaning.catalogue import offered
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
from ml_core.cli.arguments import build_recipe, known_pretraining, numbers
from ml_core.cli.clean import clean_spec
from ml_core.cli.options import CLEANING, Options, command
from ml_core.cli.run import run_spec
from ml_core.figures import percent, rate_text
from ml_core.jobs.search import SearchRecord, SearchSpec
from ml_core.jobs.search.canary_spec import CanarySettings
from ml_core.jobs.specs import CleanSpec
from ml_core.options import option
from ml_core.reading.errors import InputError

_COLUMNS = ("Recipe", ">steps", ">CA", ">drop", ">canary ASR, mean", ">worst", ">seconds", "")


@command(
    "checkpoint output_dir minutes methods rates peak_rate batch_size max_ca_drop max_asr "
    f"rebound_steps canary_steps seed {CLEANING} overwrite json",
    SearchSpec,
    CanarySettings,
    CleanSpec,
    output_dir=Path("search"),
)
def search(
    options: Options,
    methods: str | None = option(
        None,
        help="Methods to try, with commas; default: stamped, cleanclip, mmcl, par and unlearning, "
        "or unlearning where there are images and no pairs.",
    ),
    rates: str | None = option(
        None,
        help="Learning rates to try, with commas, as multiples of --peak-rate; the first ones "
        "are tried where time is short.",
    ),
    peak_rate: float | None = option(
        None, help="Peak rate of the checkpoint's pretraining (default: what is known of it)."
    ),
) -> None:
    """The attacker's trigger is unknown, so triggers of our own (canaries) are planted in a copy.
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
    if options.reference is not None:
        raise InputError(
            "A search tries methods that need no reference: leave --reference out. If the "
            "reference tells the peak rate of the pretraining, give it with --peak-rate."
        )
    if peak_rate is not None and not 0 < peak_rate <= 1:
        raise InputError("--peak-rate takes a learning rate above 0 and up to 1.")
    captions = options.pairs is not None or options.training_images is None
    usual = DEFAULT_METHODS if captions else WITHOUT_CAPTIONS
    names = usual if methods is None else tuple(map(offered, methods.split(",")))
    factors = DEFAULT_FACTORS if rates is None else _factors(rates)
    canaries = CanarySettings(**options.of(CanarySettings))
    steps = {"batch_size": canaries.batch_size, "seed": canaries.seed}
    base = clean_spec(
        build_recipe("mmcl", "default", [], None),  # those that are tried take its place
        options,
        compared=candidates_of(names, factors, peak_rate or 1e-3, **steps),
    )
    known = known_pretraining(options)
    if peak_rate is None:
        output.say(known.sentence)
    peak = peak_rate or known.assumed
    spec = SearchSpec(
        base=base,
        recipes=candidates_of(names, factors, peak, **steps),
        canaries=canaries,
        **(options.of(SearchSpec) | {"peak_lr": peak}),
    )
    result = run_spec(spec, overwrite=options.overwrite)
    sentences = (result["said"], result["means"], _about_chosen(result, known))
    files = (("Recipe", "recipe"), ("Table", "table"), ("Chart", "chart"))
    output.answer(
        options.json,
        result,
        _runs(result),
        *map(output.Aside, filter(None, sentences)),
        *(f"{what}: {result[key]}" for what, key in files),
    )


def _about_chosen(result: dict[str, Any], pretraining: Pretraining) -> str:
    """A warning if ``clean`` takes the chosen recipe only with ``--accept-rate``; else empty."""
    if result["chosen"] is None:
        return ""
    recipe = Recipe.model_validate(result["rows"][result["chosen"]]["recipe"])
    if not warn_of_rate(recipe, pretraining):
        return ""
    return (
        f"Its learning rate of {rate_text(recipe.lr)} is above what is safe for a "
        "checkpoint on which nothing was tried: run it with clean --recipe and --accept-rate."
    )


def _runs(result: dict[str, Any]) -> Table:
    """Every run, the longest first; the chosen one is marked."""
    known = set(SearchRecord.model_fields)
    record = SearchRecord.model_validate({k: v for k, v in result.items() if k in known})
    order = sorted(range(len(record.rows)), key=lambda place: -record.rows[place].rung)
    rows = (
        (
            row.name,
            str(row.steps),
            percent(row.ca, "-"),
            "-" if row.ca_drop is None else f"{row.ca_drop:.1f}",
            percent(row.mean_asr, "-"),
            percent(row.worst_asr, row.status),
            f"{row.seconds:.0f}",
            "chosen" if place == record.chosen else "",
        )
        for place in order
        for row in (record.rows[place],)
    )
    return output.table("Recipes on a copy with canaries", _COLUMNS, rows, **output.BOXED)


def _factors(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    factors = numbers(text, float, "rates", "0.1,0.3,1")
    if not all(0 < factor <= 100 for factor in factors):
        raise InputError("A rate is a multiple of --peak-rate above 0 and up to 100.")
    return factors
