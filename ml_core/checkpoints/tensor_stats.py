"""Numbers about single tensors and their histogram, read from the file in pieces without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ml_core.checkpoints.blocks import from_blocks
from ml_core.reading import Inspection, TensorInfo, damaged, unsupported
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspection import file_of, weights_bytes
from ml_core.reading.safetensors_header import BLOCKS, DTYPE_BYTES, NUMPY, packed_bytes

_CHUNK = 1 << 17  # elements, whole blocks: a piece and its copies fit the processor's cache
# From how many elements on, by width, counting how often each code comes is quicker.
_COUNTED = {1: 0, 2: 1 << 17}
_MAX_APART = 512 << 20


@dataclass(frozen=True, slots=True)
class TensorStats:
    """Statistics of a tensor's finite values: ``min``, ``max``, ``mean``, population ``std``.

    They are NaN where there is no finite value.
    """

    name: str
    min: float
    max: float
    mean: float
    std: float
    nan: int
    inf: int
    zeros: int


def tensor_stats(
    inspection: Inspection,
    tensors: Sequence[TensorInfo] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[TensorStats]:
    """Look through tensors of an inspected file, in the given order; None means all.

    Memory stays below 50 MB whatever the tensor, unless its elements lie apart in the file.

    Raises
    ------
    InputError
        If the file was cut short since.
    """
    chosen = inspection.tensors if tensors is None else tensors
    for shard, group in groupby(chosen, lambda info: info.file):
        path = file_of(inspection, shard)
        with weights_bytes(inspection, shard) as file:
            for info in group:
                yield _of_tensor(file, info, path, cancelled)


def _of_tensor(
    file: BinaryIO, info: TensorInfo, path: Path, cancelled: Callable[[], bool]
) -> TensorStats:
    width = DTYPE_BYTES.get(info.dtype, 0)
    counted = info.elements >= _COUNTED.get(width, math.inf)
    if counted and in_any_order(info) and len(info.scales) < 2:
        counts = np.zeros(1 << 8 * width, np.int64)
        for raw in _chunks(file, info, path):
            if cancelled():
                raise CancelledError
            counts += np.bincount(_codes(raw, info.dtype), minlength=counts.size)
        return of_counts(info, counts)
    tally = _RunningNumbers()
    for values in _values(file, info, path):
        if cancelled():
            raise CancelledError
        tally.add(values)
    return tally.result(info.name)


def of_counts(info: TensorInfo, counts: NDArray[np.int64]) -> TensorStats:
    """Statistics of a tensor from the count of each code."""
    codes = np.arange(counts.size, dtype="<u2" if counts.size > 256 else "u1")
    values = scaled(_as_float64(_numbers(codes.tobytes(), info)), info)
    finite = np.isfinite(values) & (counts > 0)
    nan = int(counts[np.isnan(values)].sum())
    inf = int(counts[np.isinf(values)].sum())
    zeros = int(counts[values == 0].sum())
    values, counts = values[finite], counts[finite]
    if not values.size:
        return TensorStats(info.name, math.nan, math.nan, math.nan, math.nan, nan, inf, zeros)
    total = int(counts.sum())
    mean = float((values * counts).sum()) / total
    std = math.sqrt(float((np.square(values - mean) * counts).sum()) / total)
    return TensorStats(
        info.name, float(values.min()), float(values.max()), mean, std, nan, inf, zeros
    )


def tensor_pieces(file: BinaryIO, info: TensorInfo, path: Path) -> Iterator[NDArray[np.float64]]:
    """A tensor's numbers, a piece at a time; their order does not matter."""
    for values in _values(file, info, path):
        yield _as_float64(values)


def _values(file: BinaryIO, info: TensorInfo, path: Path) -> Iterator[NDArray[Any]]:
    """The pieces of `tensor_pieces`, in any type that holds the numbers exactly."""
    if in_any_order(info) and len(info.scales) < 2:
        for raw in _chunks(file, info, path):
            yield scaled(_numbers(raw, info), info)
        return
    yield _whole(file, info, path)


def _whole(file: BinaryIO, info: TensorInfo, path: Path) -> NDArray[Any]:
    """A tensor's numbers in row-major order at once, in any type that holds them exactly."""
    file.seek(info.offset)
    numbers = _numbers(_read(file, info.nbytes, path), info)
    if info.stride is None:
        numbers = numbers.reshape(info.shape)
    else:
        steps = tuple(step * numbers.itemsize for step in info.stride)
        numbers = np.lib.stride_tricks.as_strided(numbers, info.shape, steps, writeable=False)
    return scaled(numbers, info).reshape(-1)


def _chunks(file: BinaryIO, info: TensorInfo, path: Path) -> Iterator[bytes]:
    """The bytes of a tensor whose elements fill its span, a piece at a time."""
    chunk = packed_bytes(info.dtype, _CHUNK)
    file.seek(info.offset)
    for start in range(0, info.nbytes, chunk):
        yield _read(file, min(chunk, info.nbytes - start), path)


def _codes(raw: bytes, dtype: str) -> NDArray[Any]:
    """Bytes as whole numbers, whatever they stand for."""
    codes: NDArray[Any] = np.frombuffer(raw, "u1" if DTYPE_BYTES[dtype] == 1 else "<u2")
    return codes


def in_any_order(info: TensorInfo) -> bool:
    """Whether a tensor's elements fill its span, in whatever order."""
    return info.stride is None or _is_permuted(info.shape, info.stride)


def _is_permuted(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether each element of the span is one element of the tensor, in whatever order."""
    step = 1
    for distance, size in sorted(zip(stride, shape, strict=True)):
        if size == 1:
            continue
        if distance != step:
            return False
        step *= size
    return True


def tensor_rows(file: BinaryIO, info: TensorInfo, path: Path) -> Iterator[NDArray[np.float64]]:
    """A tensor's numbers in row-major order, a piece at a time.

    Raises
    ------
    InputError
        ``unsupported`` for a tensor whose elements lie apart over more than 512 MiB.
    """
    if info.stride is None:
        yield from tensor_pieces(file, info, path)
        return
    if max(info.nbytes, info.elements * DTYPE_BYTES[info.dtype]) > _MAX_APART:
        raise unsupported(
            f"{path.name}: the numbers of {info.name[:80]} are spread over {info.nbytes} bytes, "
            "too many to sort them into order; convert the file to safetensors first."
        )
    yield _as_float64(_whole(file, info, path))


def _read(file: BinaryIO, count: int, path: Path) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        raise damaged(f"{path} changed while it was read; open it again.")
    return raw


def _numbers(raw: bytes, info: TensorInfo) -> NDArray[Any]:
    """Decode bytes of any type, exactly."""
    numbers: NDArray[Any]
    if info.dtype in BLOCKS:
        return from_blocks(raw, info.dtype)
    if info.dtype == "BF16":
        numbers = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        return numbers
    if info.dtype in _FLOAT8:
        numbers = np.take(_FLOAT8[info.dtype], np.frombuffer(raw, np.uint8), mode="clip")
        return numbers
    if info.dtype == "BOOL":
        numbers = np.frombuffer(raw, "u1") != 0
        return numbers.astype(np.float64)
    numbers = np.frombuffer(raw, NUMPY[info.dtype])
    return numbers if info.dtype in ("F32", "F64") else numbers.astype(np.float64)


def scaled(values: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """What rounded numbers stand for; others are returned as they are.

    Parameters
    ----------
    values
        In the tensor's shape, if it has more than one scale.
    """
    if not info.scales:
        return values
    sides = [-1 if axis == info.axis else 1 for axis in range(values.ndim)]
    zeros = np.array(info.zeros, np.float32).reshape(sides)
    steps = np.array(info.scales, np.float32).reshape(sides)
    return _as_float64((values.astype(np.float32) - zeros) * steps)


def _as_float64(values: NDArray[Any]) -> NDArray[np.float64]:
    """As float64; a NaN of the signalling kind is no error."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64, copy=False)


def _float8(exponent_bits: int, has_infinity: bool) -> NDArray[np.float64]:
    """Values of all 256 codes of an eight-bit float (Micikevicius et al. 2022, table 1)."""
    mantissa_bits = 7 - exponent_bits
    bias = (1 << (exponent_bits - 1)) - 1
    table = np.empty(256)
    for code in range(256):
        exponent, mantissa = (code & 127) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
        fraction = mantissa / (1 << mantissa_bits)
        if exponent:
            value = math.ldexp(1 + fraction, exponent - bias)
        else:
            value = math.ldexp(fraction, 1 - bias)
        if has_infinity and exponent == (1 << exponent_bits) - 1:
            value = math.nan if mantissa else math.inf
        elif not has_infinity and code & 127 == 127:
            value = math.nan
        table[code] = -value if code & 128 else value
    return table


_FLOAT8 = {"F8_E4M3": _float8(4, False), "F8_E5M2": _float8(5, True)}


class _RunningNumbers:
    """Running numbers; means and squares are merged pairwise (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf
        self._nan = self._inf = self._zeros = 0

    def add(self, values: NDArray[Any]) -> None:
        """Take in a piece of floats; every pass over it counts, at a billion values."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):  # NaN shows in both
            values = self._finite(values)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        self._zeros += values.size - int(np.count_nonzero(values))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean(dtype=np.float64))
            rest = np.subtract(values, mean, dtype=np.float64)
            squares = float(np.einsum("i,i->", rest, rest))  # no threads, unlike dot
        total = self._count + values.size
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._count * values.size / total
        self._mean += apart * values.size / total
        self._count = total
        self._min, self._max = min(self._min, low), max(self._max, high)

    def _finite(self, values: NDArray[Any]) -> NDArray[Any]:
        """Count what is not finite, and leave it out."""
        finite: NDArray[Any] = values[np.isfinite(values)]
        nan = int(np.count_nonzero(np.isnan(values)))
        self._nan += nan
        self._inf += values.size - finite.size - nan
        return finite

    def result(self, name: str) -> TensorStats:
        if not self._count:
            nothing: Any = math.nan
            return TensorStats(
                name, nothing, nothing, nothing, nothing, self._nan, self._inf, self._zeros
            )
        std = math.sqrt(self._squares / self._count)
        return TensorStats(
            name, self._min, self._max, self._mean, std, self._nan, self._inf, self._zeros
        )


BINS = 64
_TOLD = 1 << 20


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of the finite values of one tensor, so far.

    Parameters
    ----------
    name
        Name of the tensor.
    low, high
        Smallest and largest finite value; NaN where there is none.
    counts
        Counts of equally wide bins from ``low`` to ``high``; the last one includes ``high``. One
        bin where all values are equal.
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
    inspection: Inspection,
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
    path = file_of(inspection, info.file)
    low, high = math.inf, -math.inf
    nan = inf = seen = reported = 0
    with weights_bytes(inspection, info.file) as file:
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
            if seen < info.elements and seen - reported < _TOLD:
                continue
            reported = seen
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
