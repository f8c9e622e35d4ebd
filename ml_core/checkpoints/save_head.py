"""Save the linear head that a finetuned classifier's file holds beside its CLIP."""

from __future__ import annotations

from pathlib import Path

from ml_core.atomic import replace_files
from ml_core.checkpoints.open import Checkpoint
from ml_core.checkpoints.tensors import read_tensors
from ml_core.checkpoints.write_safetensors import write_safetensors
from ml_core.reading import InputError


def save_file_head(checkpoint: Checkpoint, path: Path) -> Path:
    """Write the head's ``weight`` [C, D] and, if it has one, ``bias`` [C] as a safetensors file.

    Raises
    ------
    InputError
        ``usage`` if the checkpoint has no head or the place cannot be written, ``damaged`` if the
        file changed since it was examined.
    """
    head = checkpoint.architecture.layout.head
    name = checkpoint.inspection.name
    if head is None:
        raise InputError(f"{name} holds no linear head; there is nothing to save.")
    wanted = {"weight": head.weight, **({} if head.bias is None else {"bias": head.bias})}
    read = read_tensors(checkpoint.inspection, wanted.values())
    tensors = {key: read[tensor] for key, tensor in wanted.items()}
    metadata = {"source_name": name, "source_sha256": checkpoint.inspection.sha256}
    try:
        replace_files({path: lambda file: write_safetensors(file, tensors, metadata)})
    except OSError as error:
        raise InputError(
            f"{path} cannot be saved: {error.strerror}; choose another place or free some space."
        ) from error
    return path
