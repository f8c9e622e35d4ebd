"""What a method may need besides its batches and its checkpoint: the weights of a reference."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ml_core.checkpoints import Checkpoint, open_checkpoint
from ml_core.evaluation.candidates import QUESTIONS, settings_of, words
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError


def opened_reference(spec: CleanSpec) -> Checkpoint | None:
    """The reference that a job names, if it names one; raises as `open_checkpoint`."""
    return None if spec.reference is None else open_checkpoint(Path(spec.reference))


def reference_of(
    spec: CleanSpec, model: ClipModel, opened: Checkpoint | None
) -> dict[str, Tensor] | None:
    """The weights of the opened reference, if the method takes one.

    Raises
    ------
    InputError
        If the reference cannot be read, is of another architecture, or computes differently.
    """
    if "reference" not in spec.recipe.facts.needs or spec.reference is None or opened is None:
        return None
    path = Path(spec.reference)
    other = opened.build("cpu")
    mine, theirs = model.module.state_dict(), other.module.state_dict()
    odd = [
        name
        for name in mine.keys() | theirs.keys()
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape
    ]
    if odd:
        raise InputError(
            f"{path.name} is of another architecture than {model.name}: {len(odd)} tensors "
            "differ in name or shape. Choose a reference of the same architecture.",
            details="\n".join(sorted(odd)[:50]),
        )
    told, wanted = settings_of(other), settings_of(model)
    unlike = [
        f"{words(told, question)} instead of {words(wanted, question)}"
        for question in QUESTIONS
        if words(told, question) != words(wanted, question)
    ]
    if unlike:  # its weights would be computed with as they were not trained
        raise InputError(
            f"{path.name} cannot be combined with {model.name}: it has {'; '.join(unlike)}. "
            "Choose a reference with the same settings, or run the loader doctor on the file "
            "whose settings are wrong."
        )
    return theirs
