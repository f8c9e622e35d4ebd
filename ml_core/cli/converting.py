"""``cleanclip convert``: torch-free without ``--head``."""

from __future__ import annotations

import os
from pathlib import Path

from ml_core.checkpoints.convert import convert_to_safetensors
from ml_core.checkpoints.layouts import find_layout
from ml_core.cli import output
from ml_core.reading import InputError, Inspection, examine
from ml_core.reading.plain import plain


def convert_checkpoint(
    path: Path, target: Path, *, head: Path | None, use_choice: bool, json: bool
) -> None:
    """Copy a checkpoint's tensors and say where they are.

    Raises
    ------
    InputError
        With the verdict's code if the checkpoint is refused; ``usage`` if a place cannot be
        written, or there is no head to save.
    """
    found = examine(path)
    if found.refused:
        raise found.refusal()
    for place in (target, head):
        _other_than_the_source(found, place)
    if head is not None:
        _has_head(found, head)
    with output.errors().status(f"Converting {plain(found.name)} …") as status:

        def report(done: int, total: int) -> None:
            status.update(
                f"Converting {plain(found.name)}: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
            )

        written = convert_to_safetensors(found, target, progress=report, use_choice=use_choice)
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


def _other_than_the_source(found: Inspection, place: Path | None) -> None:
    """Refuse to write over what is read: a suspect file is evidence."""
    assert found.weights_path is not None, "only a file that was not refused has tensors"
    if place is None:
        return
    place = Path(os.path.expanduser(place))
    if place.exists() and place.samefile(found.weights_path):
        raise InputError(f"{place.name} is the file to convert; choose another name to write.")


def _has_head(found: Inspection, place: Path) -> None:
    """Say what is wrong with ``--head`` before anything is written."""
    if place.suffix.lower() != ".safetensors":
        raise InputError(f"{place.name} cannot be written: end the name in .safetensors.")
    if find_layout(found).head is None:
        raise InputError(f"{found.name} holds no linear head; leave --head out.")
