"""``cleanclip doctor``: what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.options import Device, Donor, Json, Labels, Templates, Threads, given_path
from ml_core.reading.errors import InputError


def doctor_command(
    checkpoint: Annotated[
        Path, typer.Argument(help="The checkpoint to ask about.", parser=given_path)
    ],
    images: Annotated[str, typer.Option(help="Folder, CSV, TSV, or demo:SPLIT.")] = "demo:test",
    labels: Labels = "demo",
    templates: Templates = None,
    image_column: Annotated[str | None, typer.Option(help="Column of image paths.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    n: Annotated[int, typer.Option("--n", help="Labelled images to try it on.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.")] = 0,
    donor: Donor = None,
    device: Device = "auto",
    threads: Threads = 0,
    save: Annotated[
        Path | None, typer.Option(help="Save a copy that says the proposed settings.")
    ] = None,
    remember: Annotated[
        bool,
        typer.Option("--remember", help="Use the proposed settings whenever the file is opened."),
    ] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Only forget what was remembered for the file.")
    ] = False,
    json: Json = False,
) -> None:
    """Find out what a file does not say or says wrong: activation, mean and std, heads, size.

    Tries the candidates on labelled images, shows what each scores and proposes the best. Nothing
    is changed: --save writes a copy, --remember has the settings used, and named, in every later
    opening of the file (inspect, evaluate, clean and convert ignore them with --no-choice).

    Examples:

        cleanclip doctor epoch_10.pt --images photos/ --labels imagenet-1k

        cleanclip doctor model.safetensors --save fixed.safetensors --json

        cleanclip doctor model.safetensors --remember
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.doctoring import doctor_checkpoint, forget_choice

    if forget:
        if remember or save is not None:
            raise InputError("--forget goes with no other wish; run the doctor in a second step.")
        forget_choice(checkpoint_path(checkpoint), json)
        return
    doctor_checkpoint(
        checkpoint_path(checkpoint),
        images=images,
        labels=labels,
        templates=templates,
        image_column=image_column,
        label_column=label_column,
        donor=donor if donor is None else checkpoint_path(donor),
        n=n,
        seed=seed,
        device=device,
        threads=threads,
        save=save,
        keep=remember,
        json=json,
    )
