"""How the values of one tensor are spread, read from the file in pieces without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_core.checkpoints.tensor_stats import tensor_pieces
from ml_core.reading import Inspection, TensorInfo
from ml_core.reading.errors import CancelledError
from ml_core.reading.weights_bytes import file_of, weights_bytes

BINS = 64
_TOLD = 1 << 20


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the finite values of one tensor, so far.

    Parameters
    ----------
    name
        Of the tensor.
    low, high
        Smallest and largest finite value; NaN where there is none.
    counts
        Of equally wide bins from ``low`` to ``high``; the last one includes ``high``. One bin
        where all values are equal.
    nan, inf
        Values that are in no bin.
    seen, total
        How many values were looked at, and how many there are.
    """

    name: str
    low: float
    high: float
    counts: tuple[int, ...]
    nan: int
    inf: int
    seen: int
    total: int


def tensor_histogram(
    found: Inspection,
    info: TensorInfo,
    *,
    bins: int = BINS,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Histogram]:
    """Yield a histogram that fills up, once a piece of about a million values.

    The file is read twice: for the range first. Memory stays below 50 MB, unless the tensor's
    elements lie apart in the file.

    Raises
    ------
    InputError
        If the file was cut short since it was inspected.
    """
    path = file_of(found, info.file)
    low, high = math.inf, -math.inf
    nan = inf = seen = told = 0
    with weights_bytes(found, info.file) as file:
        for piece in tensor_pieces(file, info, path):
            if cancelled():
                raise CancelledError
            finite = piece[np.isfinite(piece)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        if low > high:
            low = high = math.nan
        width = high / 2 - low / 2
        counts = np.zeros(bins if width > 0 else 1, np.int64)
        for piece in tensor_pieces(file, info, path):
            if cancelled():
                raise CancelledError
            finite = piece[np.isfinite(piece)]
            bad = piece.size - finite.size
            missing = int(np.isnan(piece).sum()) if bad else 0
            nan, inf, seen = nan + missing, inf + bad - missing, seen + piece.size
            counts += _count(finite, low, width, counts.size)
            if seen < info.elements and seen - told < _TOLD:
                continue
            told = seen
            yield Histogram(
                info.name, low, high, tuple(counts.tolist()), nan, inf, seen, info.elements
            )
    if not seen:
        yield Histogram(info.name, low, high, (0,), 0, 0, 0, info.elements)


def _count(finite: NDArray[np.float64], low: float, width: float, bins: int) -> NDArray[np.int64]:
    """Count values into bins; ``width`` is half of the range, which may exceed float64."""
    if bins == 1:
        return np.array([finite.size], np.int64)
    share = (finite / 2 - low / 2) / width
    index = np.minimum((share * bins).astype(np.int64), bins - 1)
    return np.bincount(index, minlength=bins).astype(np.int64)
