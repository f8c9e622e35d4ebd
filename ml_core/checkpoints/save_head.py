"""Save the linear head that a finetuned classifier's file holds beside its CLIP."""

from __future__ import annotations

import os
from pathlib import Path

from ml_core.atomic import replace_files
from ml_core.checkpoints.layouts import find_layout
from ml_core.checkpoints.tensors import read_tensors
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.reading import InputError, Inspection


def save_head(found: Inspection, path: Path) -> Path:
    """Write the head's ``weight`` [C, D] and, if it has one, ``bias`` [C] as a safetensors file.

    Parameters
    ----------
    found
        A file that was not refused; of its encoders one may be lacking.

    Raises
    ------
    InputError
        ``usage`` if the file has no head or the place cannot be written, ``damaged`` if the file
        changed since it was examined.
    """
    head = find_layout(found).head
    if head is None:
        raise InputError(f"{found.name} holds no linear head; there is nothing to save.")
    path = Path(os.path.expanduser(path))
    wanted = {"weight": head.weight, **({} if head.bias is None else {"bias": head.bias})}
    read = read_tensors(found, wanted.values())
    tensors = {key: read[tensor] for key, tensor in wanted.items()}
    metadata = {"source_name": found.name, "source_sha256": found.sha256}
    try:
        replace_files({path: lambda file: write_safetensors(file, tensors, metadata)})
    except OSError as error:
        raise InputError(
            f"{path} cannot be saved: {error.strerror}; choose another place or free some space."
        ) from error
    return path
