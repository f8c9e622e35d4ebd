"""``cleanclip convert``; needs no torch without ``--head``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path
from ml_core.cli.options import Checkpoint, Json, NoChoice
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.plain import plain


def convert(
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
    from ml_core.checkpoints.convert import convert_to_safetensors

    path = checkpoint_path(path)
    found = examine(path)
    if found.refused:
        raise found.refusal()
    for place in (target, head):
        _refuse_overwriting_source(found, place)
    if head is not None:
        _check_head(found, head)
    with output.errors().status(f"Converting {plain(found.name)} …") as status:

        def report(done: int, total: int) -> None:
            status.update(
                f"Converting {plain(found.name)}: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
            )

        written = convert_to_safetensors(found, target, progress=report, use_choice=not no_choice)
    assert written is not None, "nobody cancels it here"
    saved = None
    if head is not None:
        from ml_core.checkpoints.save_head import save_head

        saved = save_head(found, head)
    if json:
        record = {
            "checkpoint": str(path),
            "sha256": found.sha256,
            "saved": str(written),
            "tensors": len(found.tensors),
            "head": None if saved is None else str(saved),
        }
        output.print_json(record)
        return
    output.show(output.cell(f"{len(found.tensors)} tensors of {found.name} saved: {written}"))
    if saved is not None:
        output.show(output.cell(f"Linear head saved: {saved}"))


def _refuse_overwriting_source(found: Inspection, place: Path | None) -> None:
    """Refuse to write over what is read: a suspect file is evidence."""
    assert found.weights_path is not None, "only a file that was not refused has tensors"
    if place is None:
        return
    place = Path(os.path.expanduser(place))
    if place.exists() and place.samefile(found.weights_path):
        raise InputError(f"{place.name} is the file to convert; choose another name to write.")


def _check_head(found: Inspection, place: Path) -> None:
    """Say what is wrong with ``--head`` before anything is written."""
    from ml_core.checkpoints.layouts import find_layout

    if place.suffix.lower() != ".safetensors":
        raise InputError(f"{place.name} cannot be written: end the name in .safetensors.")
    if find_layout(found).head is None:
        raise InputError(f"{found.name} holds no linear head; leave --head out.")
