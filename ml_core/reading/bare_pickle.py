"""A pickle that is no PyTorch file: it is refused, and what it names is told."""

from __future__ import annotations

from typing import BinaryIO, NoReturn

from ml_core.reading.errors import InputError
from ml_core.reading.pickles.machine import MAX_BYTES, read_pickle
from ml_core.reading.torch_file import check_pickles


def read_bare_pickle(file: BinaryIO, size: int, name: str) -> NoReturn:
    """Follow an open pickle of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``damaged`` or ``unsupported`` otherwise: PyTorch keeps no tensors in such a file.
    """
    file.seek(0)
    raw = file.read(MAX_BYTES)
    check_pickles([("the pickle", read_pickle(raw, ends=size <= MAX_BYTES))], name)
    raise InputError(
        f"{name} is a Python pickle and no PyTorch file, so it holds no tensors that this tool "
        "reads; save the state dict with torch.save or as safetensors.",
        "unsupported",
    )
