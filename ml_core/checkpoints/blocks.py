"""Numbers of ggml's types that round blocks of them (ggml-common.h), without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml_core.reading.safetensors_header import BLOCKS


def from_blocks(raw: bytes | bytearray | memoryview, dtype: str) -> NDArray[np.float32]:
    """The numbers of whole blocks, just as ggml computes them.

    A block begins with its scale in 16 bits. The numbers of Q8_0 are signed bytes; those of Q4_0
    are halves of bytes minus 8: first the low half of each byte, then the high half of each.
    """
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, BLOCKS[dtype][1])
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    codes = blocks[:, 2:].view(np.int8)
    if dtype == "Q4_0":
        halves = blocks[:, 2:]
        codes = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.int8) - np.int8(8)
    with np.errstate(invalid="ignore"):  # a scale that is infinite, times zero
        numbers: NDArray[np.float32] = scales * codes
    return numbers.reshape(-1)
