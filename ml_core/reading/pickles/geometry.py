"""From a tensor as a pickle describes it to bytes of the file, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ml_core.reading.pickles.records import Tensor
from ml_core.reading.safetensors_header import TensorInfo

_EXPANDED = 64 << 20
_SHARED = 3
_MAX_ELEMENTS = 1 << 48


@dataclass(frozen=True, slots=True)
class Block:
    """Where a storage lies in the file, in bytes."""

    offset: int
    nbytes: int


def place_tensors(
    tensors: list[tuple[str, Tensor]], blocks: Mapping[str, Block]
) -> tuple[TensorInfo, ...]:
    """Find each tensor's bytes.

    A storage must have exactly the bytes that the pickle claims, in one type; a tensor must lie
    inside it. Tensors that repeat elements may do so up to 64 MiB in all, and those that share
    bytes may need 64 MiB more than four times the storages.

    Raises
    ------
    ValueError
        With half a sentence that names the tensor.
    """
    placed: list[TensorInfo] = []
    types: dict[str, str] = {}
    expanded = wanted = 0
    for name, tensor in tensors:
        storage = tensor.storage
        label = f"the tensor {name[:80]!r}"
        if not tensor.dtype:
            raise ValueError(f"{label} is of a type that no CLIP has")
        width = tensor.width
        block = blocks.get(storage.key)
        if block is None:
            raise ValueError(f"the numbers of {label} are missing")
        told = storage.elements * storage.width
        if block.nbytes != told:
            raise ValueError(f"{label} needs {told} bytes and has {block.nbytes}")
        if types.setdefault(storage.key, tensor.dtype) != tensor.dtype:
            raise ValueError(f"{label} reads the same bytes as another one in another type")
        elements = prod(tensor.shape)
        if prod(side for side in tensor.shape if side) > _MAX_ELEMENTS:
            raise ValueError(f"{label} has no valid shape")
        wanted += elements * width
        span = _span(tensor)
        if tensor.offset + span > block.nbytes // width:
            raise ValueError(f"{label} reaches beyond its numbers")
        if elements > span:
            expanded += elements * width
            if expanded > _EXPANDED:
                raise ValueError(f"{label} repeats its numbers too often")
        placed.append(
            TensorInfo(
                name,
                tensor.dtype,
                tensor.shape,
                block.offset + tensor.offset * width,
                span * width,
                None if _is_row_major(tensor) else tensor.stride,
                storage.key,
            )
        )
    held = sum(blocks[key].nbytes for key in types)
    if wanted > (1 + _SHARED) * held + _EXPANDED:
        raise ValueError("too many of its tensors share their numbers")
    return tuple(placed)


def _span(tensor: Tensor) -> int:
    """Elements from the first to the last one."""
    if 0 in tensor.shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))


def _is_row_major(tensor: Tensor) -> bool:
    """Whether the elements lie one after the other."""
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if size != 1 and stride != step:
            return 0 in tensor.shape
        step *= size
    return True
