"""Bytes of boolean tensors that are neither 0 nor 1: programs differ in how they read them."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from ml_core.reading.decompression import Unpacked
from ml_core.reading.weights_file import WeightsFile

_CHUNK = 1 << 18


def odd_truths(file: BinaryIO, found: WeightsFile) -> tuple[str, ...]:
    """Say which tensor of an open file holds such values; at most one sentence."""
    switches = sorted(
        (tensor for tensor in found.tensors if tensor.dtype == "BOOL"), key=lambda t: t.offset
    )
    if not switches:
        return ()
    if found.pieces:
        file = cast(BinaryIO, io.BufferedReader(Unpacked(file, found.pieces)))
    read = -1
    for tensor in switches:
        begin, end = max(tensor.offset, read), tensor.offset + tensor.nbytes
        file.seek(begin)
        while begin < end and (chunk := file.read(min(_CHUNK, end - begin))):
            if chunk.translate(None, b"\0\1"):
                return (
                    f"The tensor {tensor.name[:80]!r} holds truth values other than 0 and 1, "
                    "which programs read differently; here they count as true.",
                )
            begin += len(chunk)
        read = max(read, end)
    return ()
