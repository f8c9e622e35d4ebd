"""``cleanclip convert``: the model for open_clip, or every tensor as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from ml_core.cli import output
from ml_core.cli.arguments import checkpoint_path
from ml_core.cli.options import Checkpoint, Donor, Json, NoChoice
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.plain import plain
from ml_core.reading.weights_bytes import file_of

_AS_IS = "to copy every tensor under its own name instead, add --as-is"

_NAMELESS = (
    "open_clip has no model of this configuration and preprocessing by name: convert to a folder "
    "instead, which brings them along."
)


def convert(
    path: Checkpoint,
    target: Annotated[
        Path,
        typer.Argument(
            help="What to write: a name that ends in .safetensors, or a folder, which then also "
            "holds the config."
        ),
    ],
    layout: Annotated[
        Literal["open_clip", "as-is"],
        typer.Option(
            help="open_clip: the model alone, as stock open_clip loads it. as-is: every tensor "
            "under its own name, bit for bit, in one file."
        ),
    ] = "open_clip",
    as_is: Annotated[bool, typer.Option("--as-is", help="The same as --layout as-is.")] = False,
    donor: Donor = None,
    head: Annotated[
        Path | None,
        typer.Option(help="Also write the linear head of a finetuned classifier here."),
    ] = None,
    no_choice: NoChoice = False,
    json: Json = False,
) -> None:
    """Write the CLIP in a checkpoint as safetensors that stock open_clip loads.

    PyTorch files, training checkpoints, TorchScript archives and transformers folders become the
    model alone: no pickle, no optimizer. --as-is copies every tensor of any file instead.

    Examples:

        cleanclip convert epoch_10.pt epoch_10.safetensors

        cleanclip convert transformers-folder/ open_clip-folder/

        cleanclip convert other.pt other.safetensors --as-is

        cleanclip convert finetune.pt clip.safetensors --head head.safetensors
    """
    from ml_core.checkpoints.convert import convert_to_open_clip, convert_to_safetensors

    as_is = as_is or layout == "as-is"
    if as_is and donor is not None:
        raise InputError("A donor completes a model for open_clip; leave --donor or --as-is out.")
    path = checkpoint_path(path)
    found = examine(path)
    if found.refused:
        raise found.refusal()
    for place in (target, head):
        _refuse_overwriting_source(found, place)
    if head is not None:
        _check_head(found, head)
    use_choice = not no_choice
    with output.errors().status(f"Converting {plain(found.name)} …") as status:

        def report(done: int, total: int) -> None:
            share = done / max(1, total)
            status.update(f"Converting {plain(found.name)}: {share:.0%} of {total / 1e6:.0f} MB")

        if as_is:
            made = None
            path_made = convert_to_safetensors(
                found, target, progress=report, use_choice=use_choice
            )
            count = len(found.tensors)
        else:
            donor = None if donor is None else checkpoint_path(donor)
            try:
                made = convert_to_open_clip(
                    found, target, donor=donor, progress=report, use_choice=use_choice
                )
            except InputError as error:
                if error.code == "usage":
                    raise
                sentence = f"{error.sentence.removesuffix('.')}; {_AS_IS}."
                raise InputError(sentence, error.code, error.details) from error
            path_made, count = made.path, made.tensors
    saved = None
    if head is not None:
        from ml_core.checkpoints.save_head import save_head

        saved = save_head(found, head)
    if json:
        record = {
            "checkpoint": str(path),
            "sha256": found.sha256,
            "layout": "as-is" if as_is else "open_clip",
            "saved": str(path_made),
            "tensors": count,
            "notes": [] if made is None else list(made.notes),
            "assumptions": [] if made is None else list(made.assumptions),
            "load_with": None if made is None else made.call or None,
            "head": None if saved is None else str(saved),
        }
        output.print_json(record)
        return
    what = "tensors" if made is None else "tensors of the model"
    output.show(output.cell(f"{count} {what} in {found.name} saved: {path_made}"))
    if made is not None:
        for note in made.notes:
            output.show(output.cell(note))
        for assumption in made.assumptions:
            output.show(output.cell(f"Assumed: {assumption}"))
        call = f"Stock open_clip loads it with {made.call}" if made.call else _NAMELESS
        output.show(output.cell(call))
    if saved is not None:
        output.show(output.cell(f"Linear head saved: {saved}"))


def _refuse_overwriting_source(found: Inspection, place: Path | None) -> None:
    """Refuse to write over what is read: a suspect file is evidence."""
    if place is None:
        return
    place = Path(os.path.expanduser(place))
    if not place.exists():
        return
    sources = [found.path, *(file_of(found, stamp.file) for stamp in found.files)]
    if any(place.samefile(source) for source in sources):
        raise InputError(f"{place.name} is the file to convert; choose another name to write.")


def _check_head(found: Inspection, place: Path) -> None:
    """Say what is wrong with ``--head`` before anything is written."""
    from ml_core.checkpoints.layouts import find_layout

    if place.suffix.lower() != ".safetensors":
        raise InputError(f"{place.name} cannot be written: end the name in .safetensors.")
    if find_layout(found).head is None:
        raise InputError(f"{found.name} holds no linear head; leave --head out.")
