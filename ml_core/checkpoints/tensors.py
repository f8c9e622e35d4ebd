"""Read the tensors of an inspected file, hashing the same bytes on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import BinaryIO

import torch
from torch import Tensor

from ml_core.checkpoints.tensor_stats import file_of
from ml_core.reading import InputError, Inspection, TensorInfo
from ml_core.reading.regular_file import open_regular
from ml_core.reading.shards import hash_of_shards

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def read_tensors(inspection: Inspection, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Read tensors in their own types, in memory of their own.

    One pass over each whole file, of which the tensors' bytes are kept, gives its SHA-256.

    Parameters
    ----------
    names
        Which tensors; None reads all.

    Raises
    ------
    InputError
        ``damaged`` if the file is not the one that was inspected, ``unsupported`` for a value
        type that no CLIP has.
    """
    path = inspection.weights_path
    assert path is not None, "only a checkpoint that was not refused has tensors"
    wanted = [info for info in inspection.tensors if names is None or info.name in names]
    for info in wanted:
        if info.dtype not in _DTYPES:
            raise InputError(
                f"{path.name}: the tensor {info.name[:80]} has the type {info.dtype}, which "
                "no CLIP has; this version cannot use it.",
                "unsupported",
            )
    changed = InputError(f"{path} changed since it was examined; open it again.", "damaged")
    tensors: dict[str, Tensor] = {}
    hashes: dict[str, str] = {}
    total = 0
    for shard in sorted({info.file for info in inspection.tensors}):
        inside = [info for info in wanted if info.file == shard]
        read = _read_file(file_of(path, shard), inside)
        if read is None:
            raise changed
        hashes[shard] = read.sha256
        total += read.size
        tensors |= read.tensors
    if total != inspection.size or hash_of_shards(hashes) != inspection.sha256:
        raise changed
    return {info.name: tensors[info.name] for info in wanted}


@dataclass(frozen=True, eq=False)
class _Read:
    """What one file gave."""

    size: int
    sha256: str
    tensors: dict[str, Tensor]


def _read_file(path: Path, wanted: list[TensorInfo]) -> _Read | None:
    """Read the tensors of one file; None if it is shorter than they need."""
    tensors: dict[str, Tensor] = {}
    file, size = open_regular(path)
    with file, _Digest() as digest:
        position = 0
        for start, end, infos in _ranges(wanted):
            if end > size:
                return None
            _skip(file, start - position, digest)
            raw = bytearray(end - start)
            if file.readinto(raw) != len(raw):  # type: ignore[attr-defined]
                return None
            digest.update(raw)
            position = end
            for info in infos:
                made = _tensor(raw, info, info.offset - start)
                # Tensors that share bytes must not change each other when one is trained.
                tensors[info.name] = made.clone() if len(infos) > 1 else made
        _skip(file, size - position, digest)
    return _Read(size, digest.hexdigest(), tensors)


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


class _Digest:
    """SHA-256 of pieces, computed in a thread while the next piece is read."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pieces: Queue[bytes | bytearray | None] = Queue(maxsize=16)
        self._thread = Thread(target=self._work, name="SHA-256", daemon=True)

    def __enter__(self) -> _Digest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.put(None)
        self._thread.join()

    def update(self, piece: bytes | bytearray) -> None:
        """Add a piece, which must not change any more."""
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """The result, once all pieces are in and the ``with`` block is left."""
        return self._hash.hexdigest()

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)


def _skip(file: BinaryIO, count: int, digest: _Digest) -> None:
    """Hash bytes that belong to no tensor."""
    while count > 0:
        chunk = file.read(min(count, 1 << 20))
        if not chunk:
            return
        digest.update(chunk)
        count -= len(chunk)


def _tensor(raw: bytearray, info: TensorInfo, offset: int) -> Tensor:
    """Look at a tensor's bytes in its shape."""
    dtype = _DTYPES[info.dtype]
    if not info.nbytes:
        return torch.empty(info.shape, dtype=dtype)
    flat = torch.frombuffer(raw, dtype=dtype, count=info.nbytes // dtype.itemsize, offset=offset)
    if info.stride is None:
        return flat.reshape(info.shape)
    return flat.as_strided(info.shape, info.stride).contiguous()
