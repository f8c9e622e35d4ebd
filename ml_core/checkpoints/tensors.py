"""Read the tensors from the very bytes that were inspected, and assemble a model from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import BinaryIO

import torch
from torch import Tensor

from ml_core.checkpoints.blocks import from_blocks
from ml_core.checkpoints.layouts import Layout
from ml_core.checkpoints.tensor_stats import scaled
from ml_core.reading import Inspection, TensorInfo, damaged, unsupported
from ml_core.reading.inspection import changed, check_same, weights_bytes
from ml_core.reading.safetensors_header import BLOCKS

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
    "I32": torch.int32, "I64": torch.int64, "U16": torch.uint16, "U32": torch.uint32,
    "U64": torch.uint64, "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32,
    "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""torch's types by safetensors' names."""


def read_tensors(
    inspection: Inspection,
    names: Collection[str] | None = None,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> dict[str, Tensor]:
    """Copy tensors into memory, each in its type in the file, or in float32 if that has blocks.

    Afterwards the file must still be the one that was inspected, see `check_same`.

    Parameters
    ----------
    names
        Which tensors; None reads all.
    on_bytes
        Called with the number of bytes read since the last call; it may raise `CancelledError`.

    Raises
    ------
    InputError
        ``damaged`` if the file is not the one that was inspected, ``unsupported`` for a value
        type that no CLIP has.
    """
    path = inspection.weights_path
    assert path is not None, "only a checkpoint that was not refused has tensors"
    infos = [info for info in inspection.tensors if names is None or info.name in names]
    for info in infos:
        if info.dtype not in DTYPES and info.dtype not in BLOCKS:
            raise unsupported(
                f"{path.name}: the tensor {info.name[:80]} has the type {info.dtype}, which "
                "no CLIP has; this version cannot use it."
            )
    tensors: dict[str, Tensor] = {}
    for shard in sorted({info.file for info in inspection.tensors}):
        with weights_bytes(inspection, shard) as file:
            here = [info for info in infos if info.file == shard]
            _read_file(file, here, inspection, tensors, on_bytes)
            check_same(inspection, shard, file)
    return {info.name: tensors[info.name] for info in infos}


def _read_file(
    file: BinaryIO,
    chosen: list[TensorInfo],
    inspection: Inspection,
    tensors: dict[str, Tensor],
    on_bytes: Callable[[int], object],
) -> None:
    """Read the tensors of one file into ``tensors``."""
    for start, end, infos in _ranges(chosen):
        file.seek(start)
        raw = bytearray(end - start)
        if file.readinto(raw) != len(raw):  # type: ignore[attr-defined]
            raise changed(inspection)
        on_bytes(len(raw))
        for info in infos:
            tensor = _tensor(raw, info, info.offset - start)
            # Tensors that share bytes must not change each other when one is trained.
            tensors[info.name] = tensor.clone() if len(infos) > 1 else tensor


def _ranges(infos: Iterable[TensorInfo]) -> Iterator[tuple[int, int, list[TensorInfo]]]:
    """Ranges of bytes in the order of the file, with the tensors that lie in each."""
    start = end = 0
    inside: list[TensorInfo] = []
    for info in sorted(infos, key=lambda info: (info.offset, info.nbytes)):
        if inside and info.offset >= end:
            yield start, end, inside
            inside = []
        if not inside:
            start, end = info.offset, info.offset
        end = max(end, info.offset + info.nbytes)
        inside.append(info)
    if inside:
        yield start, end, inside


def _tensor(raw: bytearray, info: TensorInfo, offset: int) -> Tensor:
    """Look at a tensor's bytes in its shape; blocks become floats of 32 bits."""
    if info.dtype in BLOCKS:
        numbers = from_blocks(memoryview(raw)[offset : offset + info.nbytes], info.dtype)
        return torch.from_numpy(numbers).reshape(info.shape)
    dtype = DTYPES[info.dtype]
    if not info.nbytes:
        return torch.empty(info.shape, dtype=dtype)
    if dtype is torch.bool:  # bytes other than 0 and 1 would be neither true nor false
        dtype = torch.uint8
    flat = torch.frombuffer(raw, dtype=dtype, count=info.nbytes // dtype.itemsize, offset=offset)
    if info.dtype == "BOOL":
        flat = flat != 0
    if info.stride is None:
        tensor = flat.reshape(info.shape)
    else:
        tensor = flat.as_strided(info.shape, info.stride).contiguous()
    return torch.from_numpy(scaled(tensor.numpy(), info)).float() if info.scales else tensor


def read_state(
    inspection: Inspection,
    layout: Layout,
    keys: Iterable[str] | None = None,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> dict[str, Tensor]:
    """Read the model's tensors, each in its own type.

    Parameters
    ----------
    keys
        Names of the model's tensors that are wanted; None wants all.
    on_bytes
        See `read_tensors`.

    Raises
    ------
    InputError
        If the file changed, or thirds of an attention layer do not fit together.
    """
    chosen = list(layout.sources if keys is None else keys)
    names = {name for key in chosen for name in layout.sources[key].names}
    tensors = read_tensors(inspection, names, on_bytes)
    uses = Counter(name for key in chosen for name in layout.sources[key].names)
    return {key: _assemble(key, layout, tensors, uses, inspection.name) for key in chosen}


def _assemble(
    key: str, layout: Layout, tensors: dict[str, Tensor], uses: Counter[str], where: str
) -> Tensor:
    """Join, cut or turn a tensor's parts, which are freed with their last use."""
    source = layout.sources[key]
    parts = []
    for name in source.names:
        uses[name] -= 1
        parts.append(tensors[name] if uses[name] else tensors.pop(name))
    if source.zeros:
        return torch.zeros(parts[0].shape[-1:], dtype=parts[0].dtype)
    if source.seam is not None:
        first, second = parts
        joined = torch.cat([first[: source.seam], second[source.seam :].to(first.dtype)])
    elif len(parts) > 1:
        if not all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
            raise damaged(
                f"{where}: the query, key and value of {key[:80]} have shapes that do not fit "
                "together; get the file again."
            )
        same = len({part.dtype for part in parts}) == 1
        joined = torch.cat(parts if same else [part.float() for part in parts])
    else:
        joined = parts[0]
    if source.rows is not None and joined.ndim:
        start, stop = source.rows
        joined = joined[len(joined) * start // 3 : len(joined) * stop // 3].clone()
    if source.batched:
        joined = joined[None]
    if joined.shape[: source.squeezed] == (1,) * source.squeezed:
        joined = joined.reshape(joined.shape[source.squeezed :])
    return joined.mT if source.transposed and joined.ndim == 2 else joined
