"""Read the tensors of an inspected file, hashing the same bytes on the way."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ml_core.reading import InputError, Inspection
from ml_core.reading.regular_file import open_regular

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def read_tensors(inspection: Inspection) -> dict[str, Tensor]:
    """Read every tensor in its own type, in memory of its own.

    The header check left no byte without a name, so one pass over the tensors is one pass over
    the file and gives its SHA-256.

    Raises
    ------
    InputError
        ``damaged`` if the file is not the one that was inspected, ``unsupported`` for a value
        type that no CLIP has.
    """
    path = inspection.weights_path
    assert path is not None, "only a checkpoint that was not refused has tensors"
    changed = InputError(f"{path} changed since it was examined; open it again.", "damaged")
    tensors: dict[str, Tensor] = {}
    file, size = open_regular(path)
    with file:
        if size != inspection.size:
            raise changed
        digest = hashlib.sha256(file.read(inspection.tensors[0].offset))
        for info in inspection.tensors:
            if info.dtype not in _DTYPES:
                raise InputError(
                    f"{path.name}: the tensor {info.name[:80]} has the type {info.dtype}, which "
                    "no CLIP has; this version cannot use it.",
                    "unsupported",
                )
            raw = bytearray(info.nbytes)
            if file.readinto(raw) != info.nbytes:  # type: ignore[attr-defined]
                raise changed
            digest.update(raw)
            dtype = _DTYPES[info.dtype]
            flat = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            tensors[info.name] = flat.reshape(info.shape)
    if digest.hexdigest() != inspection.sha256:
        raise changed
    return tensors
