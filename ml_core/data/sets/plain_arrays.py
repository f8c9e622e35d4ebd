"""Arrays out of the inert records of a pickle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.pickles.records import Object, Table

_PLAIN = {"u1": np.uint8, "|u1": np.uint8, "<i8": np.int64, "i8": np.int64, "<i4": np.int32}
_MAKERS = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")


def entries(value: Any) -> dict[str, Any]:
    """Entries of an inert dictionary whose keys are texts; empty of anything else."""
    if not isinstance(value, Table):
        return {}
    return {
        key.decode("utf-8", "replace") if isinstance(key, bytes) else key: item
        for key, item in value.items
        if isinstance(key, str | bytes)
    }


def array_of(value: Any) -> NDArray[Any]:
    """The array that numpy pickled as a shape, a type and its bytes.

    Raises
    ------
    ValueError
        If it is none, has another type than plain whole numbers, or not as many bytes as it says.
    """
    state = value.state if isinstance(value, Object) else None
    if not isinstance(value, Object) or value.of.full not in _MAKERS:
        raise ValueError("no array")
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("no state of an array")
    _, shape, kind, by_columns, raw = state
    name = kind.arguments[0] if isinstance(kind, Object) and kind.arguments else None
    if isinstance(kind, Object) and isinstance(kind.state, tuple) and len(kind.state) > 1:
        order = kind.state[1]
        name = f"<{name}" if order == "<" and isinstance(name, str) else name
    if not isinstance(name, str) or name not in _PLAIN:
        raise ValueError("not a plain type")
    dtype = np.dtype(_PLAIN[name])
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes) or not isinstance(shape, tuple):
        raise ValueError("no bytes of an array")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError("no shape")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("not as many bytes as the shape says")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")
