"""The linear head of supervised finetuning, beside the checkpoint that it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_head(head: Tensor, class_names: Sequence[str], scale: float, path: Path) -> Path:
    """Write a linear head through a temporary file.

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
    temporary = path.with_name(path.name + ".part")
    try:
        save_file({"weight": head.detach().cpu().contiguous()}, temporary, metadata=metadata)
        os.replace(temporary, path)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise
    return path
