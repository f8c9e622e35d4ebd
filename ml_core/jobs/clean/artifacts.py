"""The files that a finished run leaves."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.cleaning.loop import TrainingOutcome
from ml_core.events import Event, Saved
from ml_core.jobs.inputs import Inputs
from ml_core.jobs.specs import CLEANED_FILE, HEAD_FILE, CleanSpec
from ml_core.model import ClipModel
from ml_core.triggers import Trigger
from ml_core.triggers.files import save_own_trigger


def save_head(head: Tensor, class_names: Sequence[str], scale: float, path: Path) -> Path:
    """Write a linear head.

    Parameters
    ----------
    head
        Weights [C, D]; logits are ``scale * unit embedding @ head.T``.
    class_names
        The C classes.
    scale
        Factor of the products.
    path
        The file to write.

    Returns
    -------
    Path
        The file, a safetensors with the tensor ``weight`` and the rest as metadata.
    """
    metadata = {"class_names": json.dumps(list(class_names)), "scale": repr(scale)}
    replace_files({path: lambda file: write_safetensors(file, {"weight": head}, metadata)})
    return path


def keep_trigger(spec: CleanSpec, trigger: Trigger | None) -> CleanSpec:
    """Copy the trigger into the run's folder if needed; return the job that names the copy.

    The name is relative, so that the folder can be moved or brought back from another machine.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    if trigger is None or spec.trigger is None:
        return spec
    folder, path = Path(spec.output_dir), Path(spec.trigger)
    if path.resolve().parent != folder.resolve():
        path = save_own_trigger(trigger, folder)
    return spec.model_copy(update={"trigger": path.name})


def save_result(
    spec: CleanSpec,
    model: ClipModel,
    inputs: Inputs,
    outcome: TrainingOutcome,
    facts: Mapping[str, Any],
) -> Generator[Event, None, None]:
    """Write the cleaned weights, and the head if any."""
    folder = Path(spec.output_dir)
    save_checkpoint(model, folder / CLEANED_FILE, provenance=facts)
    paths = [folder / CLEANED_FILE]
    if outcome.head is not None:
        names = inputs.label_set.class_names
        paths.append(save_head(outcome.head, names, model.logit_scale, folder / HEAD_FILE))
    for path in paths:
        yield Saved(str(path), "checkpoint", outcome.step)


def result_files(spec: CleanSpec, outcome: TrainingOutcome) -> dict[str, Any]:
    """The part of a result record that names the files.

    ``checkpoint`` and ``checkpoint_sha256`` are the cleaned weights, ``linear_head`` the head if
    there is one. ``alpha`` of a method in weight space (the result is the source plus alpha times
    its direction), and in ``alphas`` what was measured of each alpha that was tried.
    """
    folder = Path(spec.output_dir)
    weights = folder / CLEANED_FILE
    record: dict[str, Any] = {
        "checkpoint": str(weights),
        "checkpoint_sha256": open_checkpoint(weights).inspection.sha256,
    }
    if outcome.head is not None:
        record["linear_head"] = str(folder / HEAD_FILE)
    if outcome.beside is not None:
        record["alpha"] = outcome.beside.alpha
        record["alphas"] = [dict(row) for row in outcome.beside.tried]
    return record
