"""``cleanclip convert``: the model for open_clip, or every tensor as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ml_core.cli import output
from ml_core.cli.checkpoints import checkpoint_path, examined
from ml_core.cli.options import Options, argument, command
from ml_core.options import option
from ml_core.reading import InputError, Inspection
from ml_core.reading.errors import plain
from ml_core.reading.inspection import file_of

_AS_IS = "to copy every tensor under its own name instead, add --as-is"

_NAMELESS = (
    "open_clip has no model of this configuration and preprocessing by name: convert to a folder "
    "instead, which brings them along."
)


@command("path=checkpoint target as_is donor head no_choice json")
def convert(
    options: Options,
    target: Path = argument(
        "What to write: a name that ends in .safetensors, or a folder, which then also "
        "holds the config."
    ),
    as_is: bool = option(
        False,
        help="Copy every tensor, bit for bit, into one file; blocks of a GGUF become float32.",
    ),
    head: Path | None = option(
        None, help="Also write the linear head of a finetuned classifier here."
    ),
) -> None:
    """PyTorch files, training checkpoints, TorchScript archives and transformers folders become the
    model alone: no pickle, no optimizer. --as-is copies every tensor of any file instead.

    Examples:

        cleanclip convert epoch_10.pt epoch_10.safetensors

        cleanclip convert transformers-folder/ open_clip-folder/

        cleanclip convert other.pt other.safetensors --as-is

        cleanclip convert finetune.pt clip.safetensors --head head.safetensors
    """
    from ml_core.checkpoints.convert import convert_to_open_clip, convert_to_safetensors

    if as_is and options.donor is not None:
        raise InputError("A donor completes a model for open_clip; leave --donor or --as-is out.")
    path = checkpoint_path(options.checkpoint)
    inspection = examined(path)
    name = inspection.name
    for place in (target, head):
        _refuse_overwriting_source(inspection, place)
    if head is not None:
        _check_head(inspection, head)
    with output.errors().status(f"Converting {plain(name)} …") as status:

        def report(done: int, total: int) -> None:
            share = done / max(1, total)
            status.update(f"Converting {plain(name)}: {share:.0%} of {total / 1e6:.0f} MB")

        how: dict[str, Any] = {"progress": report, "use_choice": not options.no_choice}
        if as_is:
            model, saved = None, convert_to_safetensors(inspection, target, **how)
            count = len(inspection.tensors)
        else:
            donor = None if options.donor is None else checkpoint_path(options.donor)
            try:
                model = convert_to_open_clip(inspection, target, donor=donor, **how)
            except InputError as error:
                if error.code == "usage":
                    raise
                sentence = f"{error.sentence.removesuffix('.')}; {_AS_IS}."
                raise InputError(sentence, error.code, error.details) from error
            saved, count = model.path, model.tensors
    saved_head = None
    if head is not None:
        from ml_core.checkpoints.write_safetensors import save_head

        saved_head = save_head(inspection, head)
    record = {
        "checkpoint": str(path),
        "sha256": inspection.sha256,
        "layout": "as-is" if as_is else "open_clip",
        "saved": str(saved),
        "tensors": count,
        "notes": [] if model is None else list(model.notes),
        "assumptions": [] if model is None else list(model.assumptions),
        "load_with": None if model is None else model.call or None,
        "head": None if saved_head is None else str(saved_head),
    }
    what = "tensors" if model is None else "tensors of the model"
    lines = [f"{count} {what} in {name} saved: {saved}"]
    if model is not None:
        lines += [*model.notes, *(f"Assumed: {assumption}" for assumption in model.assumptions)]
        lines.append(f"Stock open_clip loads it with {model.call}" if model.call else _NAMELESS)
    lines += [] if saved_head is None else [f"Linear head saved: {saved_head}"]
    output.answer(options.json, record, *lines)


def _refuse_overwriting_source(inspection: Inspection, place: Path | None) -> None:
    """Refuse to write over what is read: a suspect file is evidence."""
    if place is None:
        return
    place = Path(os.path.expanduser(place))
    if not place.exists():
        return
    sources = [inspection.source, *(file_of(inspection, stamp.file) for stamp in inspection.files)]
    if any(place.samefile(source) for source in sources):
        raise InputError(f"{place.name} is the file to convert; choose another name to write.")


def _check_head(inspection: Inspection, place: Path) -> None:
    """Say what is wrong with ``--head`` before anything is written."""
    from ml_core.checkpoints.layouts import find_layout

    if place.suffix.lower() != ".safetensors":
        raise InputError(f"{place.name} cannot be written: end the name in .safetensors.")
    if find_layout(inspection).head is None:
        raise InputError(f"{inspection.name} holds no linear head; leave --head out.")
