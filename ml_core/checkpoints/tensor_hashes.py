"""Hashes of a checkpoint's tensors that no change of names, layout or precision alters; torch-free.

A tensor of fp32 is hashed as it is and as its copies in fp16 and bf16 would be; one that is stored
in fp16 or bf16, as it is. If two tensors agree in the coarser of their precisions, the coarser one
can be the rounded copy of the finer one. One in fp16 and one in bf16 have no form in common.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml_core.checkpoints.architecture import SCALES
from ml_core.checkpoints.compare import TensorReader, by_own_names
from ml_core.checkpoints.layouts import find_layout, without_changes
from ml_core.checkpoints.library_names import TensorSource
from ml_core.reading import InputError, Inspection
from ml_core.reading.errors import CancelledError
from ml_core.reading.inspection import check_same, weights_bytes
from ml_core.reading.parts import PartNeeded

PartName = Literal["image encoder", "text encoder", "logit scale", "file"]
Report = Callable[[str, int, int], object]
"""Takes what is done, how much of it, and of how much (0: unknown)."""
PARTS: tuple[PartName, ...] = ("image encoder", "text encoder", "logit scale", "file")
"""Of a checkpoint; what holds no CLIP is one part, ``file``."""

_ROUNDED = ("F32", "F16", "BF16")
_PRECISIONS = {"F64": "F32", "F32": "F32", "F16": "F16", "BF16": "BF16"}


@dataclass(frozen=True, slots=True)
class TensorHash:
    """The hashes of one tensor.

    Parameters
    ----------
    name
        The model's name of it where the file holds a CLIP, without the ``text.`` that only some
        models have; else the file's.
    part
        Which part of the checkpoint it is in.
    shape
        Its shape; empty for a single number in any shape.
    precision
        In which the file stores it: ``F32`` (also fp64, and what it joins of several types),
        ``F16``, ``BF16``, or its own type.
    constant
        Whether all its values are equal, as many models begin with: such tensors tell none apart.
    forms
        SHA-256 of name, shape and values, by the precision that the values are rounded to.
    exact
        Those of the forms that hold the values as they are.
    """

    name: str
    part: PartName
    shape: tuple[int, ...]
    precision: str
    constant: bool
    forms: Mapping[str, bytes]
    exact: frozenset[str]


def part_name(name: str) -> PartName:
    """The part of a CLIP that a tensor is in, by the model's name of it."""
    if name in SCALES:
        return "logit scale"
    return "image encoder" if name.startswith("visual.") else "text encoder"


def hash_tensors(
    inspection: Inspection,
    report: Report = lambda what, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[TensorHash, ...]:
    """Hash the tensors of the CLIP in a file; of a file that holds none, all its tensors.

    How many batches BatchNorm has counted is left out: it says nothing of what a model computes.
    So are adapters and the like beside a CLIP.
    Memory stays below 100 MB, unless a tensor's elements lie apart in a file.

    Parameters
    ----------
    inspection
        Of a file that was not refused.
    report
        Called with what is done, the bytes that were read, and those that there are.

    Raises
    ------
    PartNeeded
        If the file holds several models, and none was chosen.
    InputError
        ``damaged`` if the file is not the one that was inspected.
    """
    inspection = without_changes(inspection)
    try:
        sources, holds_clip = find_layout(inspection).sources, True
    except PartNeeded:
        raise
    except InputError:
        sources, holds_clip = by_own_names(inspection), False
    hashes = []
    with ExitStack() as stack, np.errstate(over="ignore", invalid="ignore"):
        reader = TensorReader(inspection, stack)
        infos = {
            name: reader.infos(source)
            for name, source in sources.items()
            if not name.endswith(".num_batches_tracked")
        }
        # In the order of the file: a packed one is unpacked once.
        order = sorted(infos, key=lambda name: (infos[name][0].file, infos[name][0].offset))
        total = sum(info.nbytes for name in order for info in infos[name])
        done = 0
        for name in order:
            part = part_name(name) if holds_clip else "file"
            shown = name.removeprefix("text.") if holds_clip else name
            hashes.append(_hash(shown, part, reader, sources[name], cancelled))
            done += sum(info.nbytes for info in infos[name])
            report(f"Reading {inspection.name}", done, total)
    for shard in sorted({info.file for info in inspection.tensors}):
        with weights_bytes(inspection, shard) as file:
            check_same(inspection, shard, file)
    return tuple(hashes)


def _hash(
    name: str,
    part: PartName,
    reader: TensorReader,
    source: TensorSource,
    cancelled: Callable[[], bool],
) -> TensorHash:
    """Hash one tensor in all its forms."""
    shape = reader.shape(source)
    shape = () if math.prod(shape) == 1 else shape
    dtypes = {info.dtype for info in reader.infos(source)}
    precisions = {_PRECISIONS.get(dtype, dtype) for dtype in dtypes}
    precision = precisions.pop() if len(precisions) == 1 else "F32"
    start = f"{name}\0{','.join(map(str, shape))}\0".encode(errors="surrogatepass")
    digests = {form: hashlib.sha256(start + form.encode()) for form in _forms(precision)}
    exact = set(digests)
    low, high = math.inf, -math.inf
    for piece in reader.numbers(source):
        if cancelled():
            raise CancelledError
        values = piece + 0.0  # a copy, in which -0 is 0
        if math.isnan(values.sum()):  # or it holds both infinities
            values[np.isnan(values)] = np.nan
        if "F64" in dtypes:  # as torch rounds it
            values = values.astype(np.float32).astype(np.float64)
        if low >= high and values.size:
            low, high = min(low, values.min()), max(high, values.max())
        for form, digest in digests.items():
            bits = _rounded(values, form)
            digest.update(bits.tobytes())
            if form != precision and form in exact and not _holds(bits, form, values):
                exact.remove(form)
    if precision in ("I64", "U64"):
        for piece in reader.halves(source):
            digests[precision].update(piece.tobytes())
    forms = {form: digest.digest() for form, digest in digests.items()}
    return TensorHash(name, part, shape, precision, bool(low >= high), forms, frozenset(exact))


def hash_shapes(hashes: Iterable[TensorHash]) -> dict[PartName, bytes]:
    """SHA-256 of the names and shapes in each part, which those of one architecture share."""
    parts: dict[PartName, list[str]] = {}
    for item in hashes:
        parts.setdefault(item.part, []).append(f"{item.name} {item.shape}")
    return {
        part: hashlib.sha256(
            "\0".join((part, *sorted(lines))).encode(errors="surrogatepass")
        ).digest()
        for part, lines in parts.items()
    }


def comparable(first: str, second: str) -> bool:
    """Whether of two precisions one is among the forms of the other."""
    return first in _forms(second) or second in _forms(first)


def _forms(precision: str) -> tuple[str, ...]:
    """The precisions that a tensor's values are rounded to."""
    return _ROUNDED if precision == "F32" else (precision,)


def _rounded(values: NDArray[np.float64], form: str) -> NDArray[Any]:
    """Values in the nearest numbers of a precision, little-endian; of other types exactly."""
    if form not in _ROUNDED:
        return values.astype("<f8", copy=False)
    if form == "F16":
        bits = values.astype("<f2").view("<u2")
    else:
        single = values.astype("<f4")
        if form == "F32":
            return single
        whole = single.view("<u4")
        bits = ((whole + 0x7FFF + ((whole >> 16) & 1)) >> 16).astype("<u2")
        bits[np.isnan(single)] = 0x7FC0
    bits[bits == 0x8000] = 0  # -0 again, of what was rounded to it
    return bits


def _holds(bits: NDArray[Any], form: str, values: NDArray[np.float64]) -> bool:
    """Whether numbers of 16 bits are the values."""
    wide = bits.view("<f2") if form == "F16" else (bits.astype("<u4") << 16).view("<f4")
    return bool(np.array_equal(wide, values, equal_nan=True))
