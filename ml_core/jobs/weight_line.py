"""Interpolated weights: the checkpoint plus alpha times a run's vector, to try and to save."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.weight_space import combine, place, read_vector, snapshot
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reading.regular_file import open_regular


@dataclass(frozen=True, eq=False)
class Line:
    """A checkpoint's weights and a direction: ``base + alpha * vector``.

    Attributes
    ----------
    base, vector
        State dict, and what is added to it.
    sha256
        Of the vector's file.
    """

    base: Mapping[str, Tensor]
    vector: Mapping[str, Tensor]
    sha256: str


def read_line(model: ClipModel, vector: Path) -> Line:
    """The line through the weights of ``model``, which are still those of its file.

    Raises
    ------
    InputError
        If the file is gone, refused, no vector, or one of another architecture or checkpoint.
    """
    if not vector.is_file():
        raise InputError(f"There is no {vector.name} beside the run's result; run it again.")
    base = snapshot(model)
    file, _ = open_regular(vector)
    with file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    steps = read_vector(vector, base, model.sha256)
    found = {name: value.to(model.device) for name, value in steps.items()}
    return Line(base, found, sha256)


def move_to(model: ClipModel, line: Line, alpha: float) -> ClipModel:
    """Give a model the weights at ``alpha``, in place, and say so in its origin."""
    base = {name: value.to(model.device) for name, value in line.base.items()}
    place(model, combine(base, line.vector, alpha))
    model.origin = model.origin | {"vector": {"sha256": line.sha256, "alpha": alpha}}
    return model


def save_at_alpha(
    source: Path, vector: Path, alpha: float, path: Path, *, donor: str | None = None
) -> Path:
    """Write the checkpoint at ``alpha`` of a run's line.

    Parameters
    ----------
    source, donor
        The checkpoint that was cleaned.
    vector
        The run's ``vector.safetensors``.
    alpha
        0 is the source.
    path
        Where to, ending in ``.safetensors``.

    Raises
    ------
    InputError
        If a file cannot be opened, does not fit, or the place cannot be written.
    """
    opened = open_checkpoint(source, donor)
    model = opened.build("cpu")
    line = read_line(model, vector)
    facts: dict[str, Any] = {
        "made_by": "cleaning",
        "source_sha256": opened.inspection.sha256,
        "source_name": source.name,
        "vector_sha256": line.sha256,
        "alpha": alpha,
    }
    move_to(model, line, alpha)
    model.sha256 = None
    return save_checkpoint(model, path, provenance=facts)
