"""``cleanclip clean`` and ``cleanclip demo``: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.options import (
    CaptionColumn,
    CocoPictures,
    Device,
    Donor,
    Exclude,
    ImageColumn,
    Json,
    Labels,
    Method,
    NoChoice,
    Preset,
    Reference,
    Seed,
    Target,
    Templates,
    Threads,
    TrainingImages,
    TrainingPairs,
    TriggerFile,
    given_path,
)
from ml_core.reading.errors import InputError


def clean_command(
    context: typer.Context,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="The checkpoint to clean (not with --job).", parser=given_path),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for everything written.")
    ] = None,
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe file instead of --method and --preset; --set changes it."),
    ] = None,
    pairs: TrainingPairs = None,
    pictures: CocoPictures = None,
    exclude: Exclude = None,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    training_images: TrainingImages = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Validation images, watched while training: folder, CSV or demo:SPLIT. Without "
            "--test-images one in five is watched and the rest tested; under 50, all are both."
        ),
    ] = None,
    test_images: Annotated[
        str | None,
        typer.Option(help="Images of the before/after numbers; alone, none are watched."),
    ] = None,
    trigger: TriggerFile = None,
    target: Target = None,
    reference: Reference = None,
    labels: Labels = "demo",
    templates: Templates = None,
    donor: Donor = None,
    no_choice: NoChoice = False,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the last save in --output.")] = False,
    job: Annotated[
        Path | None,
        typer.Option(help="Run a saved job file; only --resume, --export and --json go with it."),
    ] = None,
    export_to: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="Run nothing: write job, Slurm script and torchrun line into this folder.",
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="With --export: processes (GPUs) on each machine.")
    ] = 1,
    machines: Annotated[
        int, typer.Option(min=1, help="With --export: machines; over one is not tested.")
    ] = 1,
    json: Json = False,
) -> None:
    """Clean a checkpoint and measure it before and after. Ctrl-C keeps the last save.

    Five poisons left in 100 000 pairs are enough to undo CleanCLIP: look through pairs that are
    not the demo's with `cleanclip audit` first, and leave out what it finds with --exclude.

    Examples:

        cleanclip clean model.safetensors -o cleaned --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana --preset paper

        cleanclip clean model.safetensors -o cleaned --pairs cc3m/ --set lr=1e-3 --set pairs=20000

        cleanclip clean model.safetensors -o cleaned --pairs cc3m/ --recipe strong.json

        cleanclip clean model.safetensors -o blended --method interpolate --reference clean.pt

        cleanclip clean --job cleaned/spec.json --resume

        cleanclip clean --job cleaned/spec.json --export cluster --processes 4
    """
    from ml_core.cli.cleaning import clean_checkpoint, clean_spec, export_job, job_spec, repeated

    if job is not None:
        _refuse_others(context, "job", "resume", "json", "export_to", "processes", "machines")
        spec = job_spec(job)
        if not resume and export_to is None:
            spec = repeated(spec)
    else:
        if checkpoint is None or output_dir is None:
            raise InputError("Name the checkpoint and an output folder (-o), or a --job file.")
        if recipe is not None:
            _refuse_pair(context, "recipe", "method", "preset")
        spec = clean_spec(
            checkpoint,
            output_dir,
            method=method,
            preset=preset,
            settings=settings or [],
            recipe_file=recipe,
            reference=reference,
            pairs=pairs,
            image_column=image_column,
            caption_column=caption_column,
            pictures=pictures,
            exclude=exclude,
            training_images=training_images,
            images=images,
            test_images=test_images,
            trigger=trigger,
            target=target,
            labels=labels,
            templates=templates,
            seed=seed,
            device=device,
            threads=threads,
            donor=donor,
            use_choice=not no_choice,
        )
    if export_to is not None:
        export_job(spec, export_to, processes, machines, json=json)
    elif processes > 1 or machines > 1:
        raise InputError("--processes and --machines go with --export; see its run.sh.")
    else:
        clean_checkpoint(spec, resume=resume, json=json)


def _refuse_others(context: typer.Context, wanted: str, *allowed: str) -> None:
    """Refuse options that would be ignored."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in (wanted, *allowed) and source is not None and source.name == "COMMANDLINE":
            shown = max(parameter.opts, key=len) if name != "checkpoint" else "A checkpoint"
            raise InputError(
                f"{shown} cannot be combined with --{wanted}, whose file says it all: leave it "
                "out, or change the file."
            )


def _refuse_pair(context: typer.Context, wanted: str, *others: str) -> None:
    """Refuse options that say what the file of another one says."""
    for name in others:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"--{name} cannot be combined with --{wanted}, whose file says it: leave one out."
            )


def demo_command(
    method: Method = "cleanclip",
    preset: Preset = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of a recipe field; repeatable.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder (default: ./demo-output).")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Another checkpoint than the built-in one.")
    ] = None,
    test_images: Annotated[int, typer.Option(min=32, help="Test images.")] = 4000,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """The guided demo without a window: open, trigger, ASR, clean, ASR again, save.

    Examples:

        cleanclip demo

        cleanclip demo --method supervised --preset talk --seed 1 --json
    """
    from ml_core.cli.demo import run_demo

    run_demo(
        method=method,
        preset=preset,
        settings=settings or [],
        seed=seed,
        output_dir=output_dir or Path("demo-output"),
        checkpoint=checkpoint,
        test_images=test_images,
        device=device,
        threads=threads,
        json=json,
    )
