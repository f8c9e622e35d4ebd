"""``cleanclip clean``: clean a checkpoint, or export the job for a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ml_core.cleaning.catalogue import Data
from ml_core.cleaning.pretraining import Pretraining
from ml_core.cleaning.recipes import Recipe, read_recipe
from ml_core.cli import output
from ml_core.cli.arguments import (
    build_recipe,
    image_spec,
    judge_rates,
    known_pretraining,
    pair_spec,
    resolve_scan,
    scanned_triggers,
    spec_fields,
    target_index,
    trigger_file,
    typed,
    with_settings,
)
from ml_core.cli.checkpoints import checkpoint_path, optional_checkpoint
from ml_core.cli.options import CLEANING, NamedPath, Options, argument, command
from ml_core.cli.run import run_spec, run_to_result
from ml_core.data.labels import load_label_set
from ml_core.events import Control, Done, Event
from ml_core.jobs.auto import AutoSpec
from ml_core.jobs.demo import twin_for
from ml_core.jobs.scan import ScanSettings
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE, CleanSpec, as_measured, read_spec
from ml_core.options import option
from ml_core.reading.errors import InputError

_IMAGES: frozenset[Data] = frozenset({"labelled", "images"})
_MOST_MINUTES = 1e6
_PLACES = ("output_dir", "device", "threads")
"""Where a job is computed, which is the user's to say and not the job file's."""
_BESIDE_JOB = ("job", "resume", "overwrite", "json", "export_to", "processes", *_PLACES)
_SINGLE = (
    "method", "preset", "settings", "recipe", "accept_rate", "resume", "job", "export_to",
    "processes",
)  # fmt: skip
"""Options of a single run."""
_AUTO = ("rounds", "rebound_steps", "scan", "measure_only", "keep_stopped")
_DEMO_ALONE = "the demo's are used only with the demo's checkpoint or labels"


@command(
    "checkpoint output_dir method preset settings recipe seed accept_rate minutes "
    f"{CLEANING} auto rounds rebound_steps scan measure_only keep_stopped resume job "
    "overwrite export_to processes json",
    CleanSpec,
    AutoSpec,
    output_dir=None,
)
def clean(
    context: typer.Context,
    options: Options,
    checkpoint: NamedPath | None = argument("The checkpoint to clean (not with --job).", None),
    auto: bool = option(
        False,
        help="Scan, clean by what was found, scan again, and test whether the backdoor comes back.",
    ),
    resume: bool = option(
        False, help="Go on from the last save in --output.", flag="--resume/--no-resume"
    ),
    job: Path | None = option(
        None,
        help="Run a saved job file. It sets the job and its data; only --output, --device and "
        "--threads can be given with it.",
    ),
    export_to: Path | None = option(
        None,
        help="Run nothing: write job, Slurm script and torchrun line into this folder.",
        flag="--export",
    ),
    processes: int = option(1, help="With --export: processes (GPUs) that share the work.", ge=1),
) -> None:
    """With --auto the method is chosen by what a scan finds, and rounds of cleaning and
    scanning go on until it finds nothing. Started again, it goes on where it was. --reference
    is then the clean checkpoint that scans compare with, and --minutes are those of each round.

    Even 5 poisoned pairs in 100 000 can undo CleanCLIP: check your own
    pairs with `cleanclip audit` first, and leave out what it finds with --exclude.

    Examples:

        cleanclip clean model.safetensors -o cleaned --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana

        cleanclip clean model.safetensors -o cleaned --pairs cc3m/ --set lr=1e-3 --set pairs=20000

        cleanclip clean model.safetensors -o cleaned --pairs cc3m/ --recipe strong.json

        cleanclip clean model.safetensors -o cleaned --pairs cc3m/ --minutes 60

        cleanclip clean model.safetensors -o blended --method interpolate --reference clean.pt

        cleanclip clean model.safetensors -o auto --auto --pairs cc3m/ --images photos/ \\
            --labels imagenet-1k --reference parent.safetensors

        cleanclip clean --job cleaned/spec.json --resume

        cleanclip clean --job cleaned/spec.json --export cluster --processes 4
    """
    minutes, elsewhere = options.minutes, export_to is not None
    if auto:
        _refuse(context, "auto", _SINGLE, "which chooses that itself: leave it out")
        _clean_it(options, checkpoint)
        return
    for name in _AUTO:
        if typed(context, name):
            raise InputError(
                f"--{name.replace('_', '-')} goes with --auto: add it, or leave it out."
            )
    if job is not None:
        set_there = [name for name in context.params if name not in _BESIDE_JOB]
        why = "whose file sets it already: leave it out, or change the file"
        _refuse(context, "job", set_there, why)
        places = {"output_dir": options.output_dir} | options.of(CleanSpec)
        spec = _elsewhere(job_spec(job), {k: v for k, v in places.items() if typed(context, k)})
        if not resume and not elsewhere:
            spec = rerun_spec(spec)
    else:
        if checkpoint is None or options.output_dir is None:
            raise InputError("Name the checkpoint and an output folder (-o), or a --job file.")
        options.checkpoint = checkpoint_path(checkpoint)
        known = cache(lambda: known_pretraining(options))
        recipe = chosen_recipe(context, options, known)
        named = any(each.partition("=")[0].strip() == "lr" for each in options.settings or [])
        judge_rates([recipe], known(), accepted=options.accept_rate or named)
        spec = clean_spec(recipe, options)
        if minutes is not None:
            if resume or elsewhere:
                raise InputError(
                    "--minutes measures this machine before a run begins: leave it out with "
                    "--resume and --export."
                )
            spec = timed(spec, minutes)
    if export_to is not None:
        _export(spec, export_to, processes, json=options.json)
        return
    if processes > 1:
        raise InputError("--processes goes with --export; see its run.sh.")
    if resume and options.overwrite:
        raise InputError("--overwrite begins anew: leave it out with --resume.")
    if (
        spec.pairs is not None
        and spec.pairs.kind != "demo"
        and spec.recipe.uses_pairs
        and not resume
    ):
        from ml_core.detection.records import FIVE_POISONS

        output.say(f"{FIVE_POISONS} `cleanclip audit` looks for them.")
    result = run_job(spec, resume=resume, overwrite=options.overwrite, fit=minutes is not None)
    print_result(result, options.json)


def chosen_recipe(
    context: typer.Context, options: Options, known: Callable[[], Pretraining]
) -> Recipe:
    """The recipe of ``--recipe``, or of ``--method`` and ``--preset``, with what is set of it.

    ``known`` is asked for the checkpoint's pretraining where the preset depends on it.
    """
    changes = options.settings or [], options.seed
    if options.recipe is None:
        return build_recipe(options.method, options.preset, *changes, pretraining=known())
    for name in ("method", "preset"):
        if typed(context, name):
            raise InputError(
                f"--{name} cannot be combined with --recipe, whose file sets it "
                "already: leave one out."
            )
    return with_settings(read_recipe(options.recipe), *changes)


def _refuse(context: typer.Context, chosen: str, names: Collection[str], why: str) -> None:
    """Refuse options that would be ignored."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and typed(context, name):
            shown = max(parameter.opts, key=len) if name != "checkpoint" else "A checkpoint"
            raise InputError(f"{shown} cannot be combined with --{chosen}, {why}.")


def _clean_it(options: Options, checkpoint: Path | None) -> None:
    """Run a whole chain and print its steps and what it came to.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    if checkpoint is None or options.output_dir is None:
        raise InputError("Name the checkpoint and an output folder (-o).")
    options.checkpoint = checkpoint_path(checkpoint)
    needs_least = build_recipe("unlearning", "default", [], None)
    base = clean_spec(needs_least, options, compared=[needs_least])
    if options.minutes is not None:
        base = timed(base, options.minutes)
    fields = options.of(AutoSpec)
    if (scanned := fields["scanned"]) is not None:
        fields["scanned"] = str(Path(scanned).resolve())
    if fields["measure_only"] and base.trigger is None:
        raise InputError("--measure-only is about a trigger: give --trigger and --target.")
    base = base.model_copy(update={"reference": base.reference or twin_for(options.checkpoint)})
    seed = {} if options.seed is None else {"seed": options.seed}
    spec = AutoSpec(base=base, scan=ScanSettings.model_validate(seed), **fields)
    result = run_spec(spec, overwrite=options.overwrite)
    rows = ((each["title"], each["status"], each["sentence"]) for each in result["steps"])
    output.answer(
        options.json,
        result,
        output.table("Steps", ("Step", "", "~Result"), rows),
        *result["reasons"],
        *result["sentences"],
        *([f"Cleaned checkpoint: {result['checkpoint']}"] if result["checkpoint"] else []),
    )


def _elsewhere(spec: CleanSpec, places: dict[str, Any]) -> CleanSpec:
    """The job of a file in another folder, or on another device."""
    if "output_dir" in places:
        places["output_dir"] = str(places["output_dir"].resolve())
    return type(spec).model_validate(spec.model_dump() | places)


def job_spec(path: Path) -> CleanSpec:
    """A job file, or the folder that holds it."""
    return read_spec(path / SPEC_FILE if path.is_dir() else path)


def rerun_spec(spec: CleanSpec) -> CleanSpec:
    """The job with the precision and layout that its previous run chose."""
    from ml_core.jobs.journal import read_json

    return as_measured(spec, read_json(Path(spec.output_dir) / RESULT_FILE))


def clean_spec(
    recipe: Recipe,
    options: Options,
    *,
    compared: Collection[Recipe] | None = None,
    rebound: bool = False,
) -> CleanSpec:
    """The options that `CLEANING` lists, with checkpoint and folder, as a job.

    ``compared`` are the recipes of a comparison, which take the place of the job's own; it keeps
    its pairs for the proofs in any case, and must have some for the rebound test.

    Raises
    ------
    InputError
        If an option cannot be used.
    """
    from ml_core.data.demo_text import TARGET_NAME
    from ml_core.jobs.demo import demo_checkpoint

    recipes = [recipe] if compared is None else compared
    needs: set[Data] = {each.facts.data for each in recipes} | ({"pairs"} if rebound else set())
    demo = options.labels == "demo" or options.checkpoint.resolve() == demo_checkpoint().resolve()
    pairs = options.pairs or ("demo" if demo else None)
    if pairs is None and "pairs" in needs:
        raise InputError(f"Name image-caption pairs with --pairs: {_DEMO_ALONE}.")
    # Pairs have pictures, too, and no labels.
    pictured = options.pairs is not None and "images" in needs and "labelled" not in needs
    training_images = options.training_images
    if training_images is None and demo and not pictured:
        training_images = "demo:clean"
    if training_images is None and needs & _IMAGES and not pictured:
        pairs_too = "" if "labelled" in needs else "image-caption pairs with --pairs, or "
        raise InputError(
            f"Name {pairs_too}images to train on with --training-images: {_DEMO_ALONE}."
        )
    class_names = load_label_set(options.labels).class_names
    trigger, target = resolve_scan(options.trigger, options.target)
    scanned = scanned_triggers(options.trigger)
    if trigger is not None and target is None and trigger != "demo":
        raise InputError("A trigger needs the class it aims at: give --target.")
    images, test_images = options.validation, options.test_images
    if options.labels == "demo" and images is None and test_images is None:
        images, test_images = "demo:val", "demo:test"
    aim = TARGET_NAME if target is None and trigger is not None else target
    paired = pairs is not None and ("pairs" in needs or pictured or compared is not None)
    trains = training_images is not None and needs & _IMAGES
    return CleanSpec(
        recipe=recipe,
        pairs=pair_spec(pairs, options) if pairs and paired else None,
        training_images=image_spec(training_images, training=True)
        if training_images and trains
        else None,
        images=None if images is None else image_spec(images),
        test_images=None if test_images is None else image_spec(test_images),
        trigger=None if trigger is None else trigger_file(trigger, options, options.output_dir),
        target=0 if aim is None else target_index(aim, class_names),
        targeted=aim is not None,
        stamps=tuple(str(path.resolve()) for path, _ in scanned) if len(scanned) > 1 else (),
        reference=optional_checkpoint(options.reference),
        **spec_fields(options, CleanSpec),
    )


def timed(spec: CleanSpec, minutes: float) -> CleanSpec:
    """The job, cut to so many minutes of training; a job without training is not changed.

    Raises
    ------
    InputError
        If the minutes are not a positive number.
    """
    if not 0 < minutes <= _MOST_MINUTES:
        raise InputError(f"--minutes takes a number above 0 and up to {_MOST_MINUTES:g}.")
    return spec.model_copy(update={"minutes": minutes}) if spec.recipe.total_steps else spec


def run_job(
    spec: CleanSpec, *, resume: bool = False, overwrite: bool = False, fit: bool = False
) -> dict[str, Any]:
    """Run a cleaning job, or go on with it; result and errors are those of `run_to_result`.

    With ``overwrite`` it may replace the result of another job. With ``fit`` its budget is fitted
    to its minutes first.
    """
    if not fit or spec.minutes is None:
        return run_spec(spec, resume=resume, overwrite=overwrite)
    minutes = spec.minutes
    with output.working("Loading torch"):
        from ml_core.jobs.chain import matched
        from ml_core.jobs.clean.run import check_place
        from ml_core.jobs.runner import run_job as run

    def fitted(control: Control) -> Generator[Event, None, None]:
        job = yield from matched(spec, minutes, control)
        if control.cancelled:
            yield Done("cancelled")
        else:
            yield from run(job, control, overwrite=overwrite)

    if not overwrite:
        check_place(spec)  # before minutes are spent on measuring
    return run_to_result(fitted)


def result_rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any] | None]]:
    """Rows of the final table: zero-shot, linear head, held-out set."""
    rows: list[tuple[str, dict[str, Any] | None]]
    rows = [(when, result[when]) for when in ("before", "after")]
    for title, part in (
        ("linear head", result["heads"].get("linear")), ("held-out", result.get("heldout"))
    ):  # fmt: skip
        if part is not None:
            rows += [(f"{title}, {when}", part[when]) for when in ("before", "after")]
    if result.get("heldout_linear") is not None:
        rows.append(("held-out, linear head, after", result["heldout_linear"]["after"]))
    return rows


def _export(spec: CleanSpec, folder: Path, processes: int, *, json: bool) -> None:
    """Write a job for a cluster and say what it needs there."""
    from ml_core.jobs import cluster

    files = cluster.export_job(spec, folder, processes=processes)
    elsewhere = cluster.elsewhere(spec)
    output.answer(
        json,
        {"files": [str(path) for path in files], "needs": list(elsewhere)},
        *(f"Written: {path}" for path in files),
        f"On one machine: {cluster.torchrun_line(processes)}",
        *(f"Must be readable on that machine: {name}" for name in elsewhere),
    )


def print_result(result: dict[str, Any], json: bool) -> None:
    """The result as JSON, or as a table with the files that were written."""
    from ml_core.jobs.result_text import training_words

    title = f"{result['method']}, preset {result['preset']}, {result['seconds']:.0f} s"
    parts: list[Table | str] = [output.comparison_table(title, result_rows(result))]
    if "alpha" in result:
        parts.append(output.Aside(f"Alpha: {result['alpha']:g}."))
    parts += [f"{words[0].upper()}{words[1:]}." for words in training_words(result)]
    parts += result.get("notes") or ()
    files = (("Cleaned checkpoint", "checkpoint"), ("Picture", "picture"))
    parts += [f"{what}: {result[key]}" for what, key in files if key in result]
    output.answer(json, result, *parts)
