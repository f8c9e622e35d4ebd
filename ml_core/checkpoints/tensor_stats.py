"""Numbers about single tensors, read from the file in pieces without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ml_core.reading import InputError, TensorInfo
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import DTYPE_BYTES

_CHUNK = 1 << 20  # elements
_MAX_APART = 512 << 20
_NUMPY = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorStats:
    """Of one tensor; ``min``, ``max``, ``mean`` and ``std`` (population) of its finite values.

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
    path: str | Path,
    tensors: Sequence[TensorInfo],
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[TensorStats]:
    """Look through the tensors of an inspected file, in the given order.

    Memory stays below 50 MB whatever the tensor, unless its elements lie apart in the file.
    Ends early once ``cancelled()`` is true.

    Raises
    ------
    InputError
        If the file was cut short since.
    """
    for shard, group in groupby(tensors, lambda info: info.file):
        yield from _of_file(file_of(path, shard), group, cancelled)


def file_of(path: str | Path, shard: str) -> Path:
    """The file that a tensor is in, given the ``weights_path`` of its inspection."""
    return Path(path).with_name(shard) if shard else Path(path)


def _of_file(
    path: Path, tensors: Iterable[TensorInfo], cancelled: Callable[[], bool]
) -> Iterator[TensorStats]:
    """Look through tensors of one file."""
    file, _ = open_regular(path)
    with file:
        for info in tensors:
            tally = _Tally()
            for raw in tensor_pieces(file, info, path):
                if cancelled():
                    return
                tally.add(raw)
            yield tally.result(info.name)


def tensor_pieces(file: BinaryIO, info: TensorInfo, path: Path) -> Iterator[NDArray[np.float64]]:
    """A tensor's numbers, a piece at a time; their order does not matter."""
    width = DTYPE_BYTES[info.dtype]
    span = info.nbytes // width
    file.seek(info.offset)
    if info.stride is None or _is_permuted(info.shape, info.stride):
        for start in range(0, span, _CHUNK):
            yield _numbers(_read(file, min(_CHUNK, span - start) * width, path), info)
        return
    flat = _numbers(_read(file, info.nbytes, path), info)
    steps = tuple(step * flat.itemsize for step in info.stride)
    yield np.lib.stride_tricks.as_strided(flat, info.shape, steps, writeable=False).reshape(-1)


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
        raise InputError(
            f"{path.name}: the numbers of {info.name[:80]} lie apart over {info.nbytes} bytes, "
            "which is too much to put them in order; convert the file to safetensors first.",
            "unsupported",
        )
    file.seek(info.offset)
    flat = _numbers(_read(file, info.nbytes, path), info)
    steps = tuple(step * flat.itemsize for step in info.stride)
    whole = np.lib.stride_tricks.as_strided(flat, info.shape, steps, writeable=False)
    yield whole.reshape(-1)


def _read(file: BinaryIO, count: int, path: Path) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        raise InputError(f"{path} changed while it was read; open it again.", "damaged")
    return raw


def _numbers(raw: bytes, info: TensorInfo) -> NDArray[np.float64]:
    """Decode bytes of any safetensors type."""
    if info.dtype == "BF16":
        wide = np.frombuffer(raw, "<u2").astype("<u4") << 16
        return wide.view("<f4").astype(np.float64)
    if info.dtype in _FLOAT8:
        return np.take(_FLOAT8[info.dtype], np.frombuffer(raw, np.uint8), mode="clip")
    return np.frombuffer(raw, _NUMPY[info.dtype]).astype(np.float64)


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


class _Tally:
    """Running numbers; means and squares are merged pairwise (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = 0.0
        self._min, self._max = math.inf, -math.inf
        self._nan = self._inf = self._zeros = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in a piece; every pass over it counts, at a billion values."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):  # NaN shows in both
            values = self._finite(values)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        self._zeros += int(np.count_nonzero(values == 0))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            rest = values - mean
            squares = float(np.einsum("i,i->", rest, rest))  # no threads, unlike dot
        total = self._count + values.size
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._count * values.size / total
        self._mean += apart * values.size / total
        self._count = total
        self._min, self._max = min(self._min, low), max(self._max, high)

    def _finite(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Count what is not finite, and leave it out."""
        finite = values[np.isfinite(values)]
        nan = int(np.count_nonzero(np.isnan(values)))
        self._nan += nan
        self._inf += values.size - finite.size - nan
        return finite

    def result(self, name: str) -> TensorStats:
        """Make the record."""
        if not self._count:
            nothing: Any = math.nan
            return TensorStats(
                name, nothing, nothing, nothing, nothing, self._nan, self._inf, self._zeros
            )
        std = math.sqrt(self._squares / self._count)
        return TensorStats(
            name, self._min, self._max, self._mean, std, self._nan, self._inf, self._zeros
        )
