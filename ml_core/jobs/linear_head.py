"""The linear head of supervised finetuning, beside the checkpoint that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints.write_safetensors import write_safetensors


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
        Where to.

    Returns
    -------
    Path
        The file, a safetensors with the tensor ``weight`` and the rest as metadata.
    """
    metadata = {"class_names": json.dumps(list(class_names)), "scale": repr(scale)}
    replace_files({path: lambda file: write_safetensors(file, {"weight": head}, metadata)})
    return path
