"""Write a safetensors file whose bytes depend on its content alone.

The safetensors library orders its metadata by a random hash, so that saving the same model twice
gives two SHA-256; this program distinguishes results by that number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ml_core.atomic import replace_files
from ml_core.checkpoints.layouts import find_layout
from ml_core.checkpoints.safetensors_layout import Entry, header, in_order
from ml_core.checkpoints.tensors import DTYPES, read_tensors
from ml_core.reading import InputError, Inspection

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_safetensors(
    file: BinaryIO,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    on_bytes: Callable[[int], object] = lambda count: None,
) -> None:
    """Write tensors (wide types first, then by name, so that each is aligned) and metadata.

    Parameters
    ----------
    on_bytes
        Called with the number of bytes written since the last call; it may raise `CancelledError`.

    Raises
    ------
    OSError
        If the disk is full.
    """
    entries = in_order(
        Entry(
            name,
            _NAMES[value.dtype],
            value.element_size(),
            tuple(value.shape),
            value.numel() * value.element_size(),
        )
        for name, value in tensors.items()
    )
    file.write(header(entries, metadata))
    for entry in entries:
        value = tensors[entry.name].detach().cpu().contiguous()
        if value.numel():
            file.write(value.reshape(-1).view(torch.uint8).numpy().data)
            on_bytes(entry.nbytes)


def save_head(inspection: Inspection, path: Path) -> Path:
    """Write the head's ``weight`` [C, D] and, if it has one, ``bias`` [C] as a safetensors file.

    Parameters
    ----------
    inspection
        A file that was not refused; one of its encoders may be missing.

    Raises
    ------
    InputError
        ``usage`` if the file has no head or the place cannot be written, ``damaged`` if the file
        changed since it was examined.
    """
    head = find_layout(inspection).head
    if head is None:
        raise InputError(f"{inspection.name} holds no linear head; there is nothing to save.")
    path = Path(os.path.expanduser(path))
    names = {"weight": head.weight, **({} if head.bias is None else {"bias": head.bias})}
    read = read_tensors(inspection, names.values())
    tensors = {key: read[tensor] for key, tensor in names.items()}
    metadata = {"source_name": inspection.name, "source_sha256": inspection.sha256}
    try:
        replace_files({path: lambda file: write_safetensors(file, tensors, metadata)})
    except OSError as error:
        raise InputError(
            f"{path} cannot be saved: {error.strerror}; choose another place or free some space."
        ) from error
    return path
