"""``cleanclip evaluate``: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.options import (
    Device,
    Donor,
    Json,
    Labels,
    NoChoice,
    Target,
    Templates,
    Threads,
    given_path,
)

_N = "How many: a seeded, stratified sample; of the demo its first ones, class by class in turn."


def evaluate_command(
    checkpoint: Annotated[
        Path, typer.Argument(help="The checkpoint to measure.", parser=given_path)
    ],
    images: Annotated[
        str, typer.Option(help="Folder, published set, CSV, TSV, shard, Parquet, or demo:SPLIT.")
    ] = "demo:test",
    trigger: Annotated[
        str | None,
        typer.Option("--trigger", help="Trigger file, demo, or the id of a published one (T4)."),
    ] = None,
    trigger_file: Annotated[
        Path | None, typer.Option(help="The attack's own file, for an id that needs one.")
    ] = None,
    target: Target = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint to compare with on the same images and trigger.", parser=given_path
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="An adapter.safetensors of RVPT to put on the checkpoint first."),
    ] = None,
    labels: Labels = "demo",
    templates: Templates = None,
    by_template: Annotated[
        bool, typer.Option("--by-template", help="Also score each template by itself.")
    ] = False,
    captions: Annotated[
        str | None,
        typer.Option(help="Image-caption pairs, as for clean --pairs: also measure retrieval."),
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of image paths.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Training pictures of a published set.")
    ] = False,
    n: Annotated[int | None, typer.Option("--n", help=_N)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of random draws.")] = 0,
    precision: Annotated[
        str,
        typer.Option(help="fp32, bf16, or auto: the fastest that answers as fp32 does."),
    ] = "auto",
    donor: Donor = None,
    no_choice: NoChoice = False,
    device: Device = "auto",
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Measure clean accuracy and, with a trigger, the attack success rate.

    JSON has everything: intervals, each class, what triggered images become, paired differences
    to the reference, and all that is needed to repeat the numbers.

    Examples:

        cleanclip evaluate model.safetensors --images photos/ --labels imagenet-1k

        cleanclip evaluate model.safetensors --trigger demo --target banana --json

        cleanclip evaluate cleaned.safetensors --reference before.pt --trigger T1 --target banana
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.evaluating import Options, evaluate_checkpoint

    evaluate_checkpoint(
        checkpoint_path(checkpoint),
        Options(
            images=images,
            trigger=trigger,
            trigger_file=trigger_file,
            target=target,
            reference=reference if reference is None else checkpoint_path(reference),
            adapter=adapter,
            labels=labels,
            templates=templates,
            by_template=by_template,
            captions=captions,
            image_column=image_column,
            label_column=label_column,
            train=train,
            n=n,
            seed=seed,
            precision=precision,
            donor=donor if donor is None else checkpoint_path(donor),
            use_choice=not no_choice,
            device=device,
            threads=threads,
        ),
        json=json,
    )
