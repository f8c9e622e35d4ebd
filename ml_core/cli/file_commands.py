"""``cleanclip inspect``, ``convert``, ``compare`` and ``known``: what they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli.options import Checkpoint, Donor, Json, NoChoice, given_path
from ml_core.reading.errors import InputError

known_app = typer.Typer(
    name="known",
    help="Published checkpoints and what is known of them, with entries of your own.",
    no_args_is_help=True,
)


def inspect_command(
    path: Checkpoint,
    donor: Donor = None,
    no_choice: NoChoice = False,
    json: Json = False,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print a SARIF 2.1.0 log.")] = False,
) -> None:
    """Say what a checkpoint is, without running anything in it.

    Leaves with 0 (loads, also with caution), 1 (dangerous) or 2 (damaged or unsupported).

    Examples:

        cleanclip inspect model.safetensors

        cleanclip inspect downloads/ViT-B-32 --json

        cleanclip inspect visual.pt --donor ViT-B-32.safetensors

        cleanclip inspect model.pt --sarif
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.inspecting import inspect_checkpoint

    if json and sarif:
        raise InputError("--json and --sarif each print the whole answer; choose one.")
    giver = None if donor is None else checkpoint_path(donor)
    found = inspect_checkpoint(
        checkpoint_path(path), json, sarif, donor=giver, use_choice=not no_choice
    )
    raise typer.Exit(found)


def convert_command(
    path: Checkpoint,
    target: Annotated[Path, typer.Argument(help="What to write; ends in .safetensors.")],
    head: Annotated[
        Path | None,
        typer.Option(help="Also write the linear head of a finetuned classifier here."),
    ] = None,
    no_choice: NoChoice = False,
    json: Json = False,
) -> None:
    """Copy the tensors of a checkpoint into a safetensors file, bit for bit.

    Examples:

        cleanclip convert epoch_10.pt epoch_10.safetensors

        cleanclip convert finetune.pt clip.safetensors --head head.safetensors
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.converting import convert_checkpoint

    convert_checkpoint(
        checkpoint_path(path), target, head=head, use_choice=not no_choice, json=json
    )


def compare_command(
    first: Checkpoint,
    second: Annotated[Path, typer.Argument(help="The one to compare it with.", parser=given_path)],
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor that differs, not layers.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two checkpoints tensor by tensor: where was a model finetuned?

    Examples:

        cleanclip compare suspect.pt cleaned.safetensors

        cleanclip compare suspect.pt ViT-B-32.safetensors --json
    """
    from ml_core.cli.arguments import checkpoint_path
    from ml_core.cli.comparing import compare_files

    compare_files(checkpoint_path(first), checkpoint_path(second), tensors=tensors, json=json)


@known_app.command("list")
def known_list_command(json: Json = False) -> None:
    """List the known files, your own first."""
    from ml_core.cli.knowing import list_known

    list_known(json)


@known_app.command("add")
def known_add_command(
    title: Annotated[str, typer.Argument(help='What it is, e.g. "my BadNets victim".')],
    source: Annotated[str, typer.Option(help="Where it comes from.")],
    file: Annotated[
        Path | None, typer.Option(help="The checkpoint; its SHA-256 is computed.")
    ] = None,
    sha256: Annotated[str, typer.Option(help="Or its SHA-256.")] = "",
    name: Annotated[
        list[str] | None,
        typer.Option(help="Pattern of file names that look like it (* for anything); repeatable."),
    ] = None,
    architecture: Annotated[str, typer.Option(help="open_clip's name, e.g. RN50.")] = "",
    trigger: Annotated[str, typer.Option(help="Of its backdoor, in words.")] = "",
    target: Annotated[str, typer.Option(help="Class that the trigger leads to.")] = "",
    ca: Annotated[float | None, typer.Option(help="Expected clean accuracy, 0 to 1.")] = None,
    asr: Annotated[float | None, typer.Option(help="Expected ASR, 0 to 1.")] = None,
    note: Annotated[str, typer.Option(help="A sentence.")] = "",
    json: Json = False,
) -> None:
    """Add a known file. Only a SHA-256 makes a file known; a name only "looks like" one.

    Example:

        cleanclip known add "my BadNets victim" --source "trained here" --file epoch_10.pt \\
            --trigger "BadNets patch" --target banana --ca 0.59 --asr 0.98
    """
    from ml_core.cli.knowing import add_known_file

    facts = {
        "title": title,
        "source": source,
        "sha256": sha256.strip().lower(),
        "names": tuple(name or ()),
        "architecture": architecture,
        "trigger": trigger,
        "target": target,
        "clean_accuracy": ca,
        "asr": asr,
        "note": note,
    }
    add_known_file(facts, file, json)
