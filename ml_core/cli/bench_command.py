"""``cleanclip bench`` and ``cleanclip prove``: what they take."""

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
    NoChoice,
    OtherLabels,
    Reference,
    Target,
    Templates,
    Threads,
    TrainingImages,
    TrainingPairs,
    TriggerFile,
    given_path,
)


def bench_command(
    recipes: Annotated[
        list[str], typer.Argument(help="METHOD, METHOD:PRESET or a recipe file; several.")
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The suspect (default: the demo's).", parser=given_path)
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything written.")
    ] = Path("bench"),
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "0",
    minutes: Annotated[
        float | None,
        typer.Option(help="Training minutes that each recipe gets on this machine."),
    ] = None,
    rebound: Annotated[bool, typer.Option(help="Finetune each result again; watch the ASR.")] = (
        False
    ),
    holdouts: Annotated[bool, typer.Option(help="Try each result on what it never saw.")] = False,
    pairs: TrainingPairs = None,
    pictures: CocoPictures = None,
    exclude: Exclude = None,
    image_column: ImageColumn = "image",
    caption_column: CaptionColumn = "caption",
    training_images: TrainingImages = None,
    images: Annotated[str | None, typer.Option(help="Validation images.")] = None,
    test_images: Annotated[str | None, typer.Option(help="Images of the table.")] = None,
    reference: Reference = None,
    trigger: TriggerFile = None,
    target: Target = None,
    labels: Labels = "demo",
    other_labels: OtherLabels = None,
    templates: Templates = None,
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Compare methods fairly: the same checkpoint, data, seeds and, with --minutes, compute.

    Writes a folder a run, bench.csv (the table), tradeoff.svg (the chart) and bench.json. Called
    again it goes on where it ended.

    Examples:

        cleanclip bench cleanclip mmcl supervised -o bench

        cleanclip bench mmcl cleanclip:default mine.recipe.json --seeds 0,1,2 --minutes 5 \\
            --rebound --holdouts

        cleanclip bench cleanclip mmcl --checkpoint model.pt --pairs pairs.csv --images photos/ \\
            --labels imagenet-1k --trigger patch.png --target banana
    """
    from ml_core.cli.benching import bench_recipes, bench_spec

    spec = bench_spec(
        recipes,
        checkpoint=checkpoint,
        output_dir=output_dir,
        seeds=seeds,
        minutes=minutes,
        rebound=rebound,
        holdouts=holdouts,
        pairs=pairs,
        pictures=pictures,
        exclude=exclude,
        image_column=image_column,
        caption_column=caption_column,
        training_images=training_images,
        images=images,
        test_images=test_images,
        reference=reference,
        trigger=trigger,
        target=target,
        labels=labels,
        other_labels=other_labels,
        templates=templates,
        donor=donor,
        use_choice=not no_choice,
        device=device,
        threads=threads,
    )
    bench_recipes(spec, json)


def prove_command(
    run: Annotated[Path, typer.Argument(help="The folder of a finished cleaning run.")],
    rebound: Annotated[bool, typer.Option(help="The rebound test.")] = True,
    holdouts: Annotated[bool, typer.Option(help="The table of hold-outs.")] = True,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each finetuning.")] = 300,
    peak_lr: Annotated[
        float | None, typer.Option(help="Peak rate of the pretraining (default: CLIP's 5e-4).")
    ] = None,
    limit: Annotated[
        float, typer.Option(help="Highest ASR, in per cent, of a model that stays clean.")
    ] = 5.0,
    pairs: Annotated[
        str | None,
        typer.Option(help="Pairs for the rebound test and retrieval (default: the run's others)."),
    ] = None,
    other_labels: OtherLabels = None,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Does a cleaned checkpoint stay clean? Finetune it again, and try what it never saw.

    The rebound test finetunes a copy on clean pairs that the cleaning has not seen and that do not
    name the target class, at 0.1, 0.3 and 1 times the pretraining's rate; the highest attack
    success rate counts. The hold-outs are the trigger moved, scaled, turned and recoloured, other
    triggers, retrieval, and a second label set. Exit code 0 also when it does not stay clean: read
    ``stays_clean``.

    Examples:

        cleanclip prove cleaned/

        cleanclip prove cleaned/ --no-holdouts --steps 600 --json

        cleanclip prove cleaned/ --pairs other.csv --other-labels cifar-10
    """
    from ml_core.cli.benching import prove_run

    prove_run(
        run,
        rebound=rebound,
        holdouts=holdouts,
        steps=steps,
        peak_lr=peak_lr,
        limit=limit,
        pairs=pairs,
        other_labels=other_labels,
        device=device,
        threads=threads,
        json=json,
    )
