"""The order and the header of a safetensors file whose bytes depend on its content alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """A tensor to be written; ``dtype`` is safetensors' name, ``width`` the bytes of one element.

    ``nbytes`` are those of its elements in row-major order.
    """

    name: str
    dtype: str
    width: int
    shape: tuple[int, ...]
    nbytes: int


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Wide types first, then by name, so that each tensor is aligned."""
    return sorted(entries, key=lambda entry: (-entry.width, entry.name))


def header(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """Bytes before the first tensor, for tensors that follow in this order."""
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for entry in entries:
        end = position + entry.nbytes
        table[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [position, end],
        }
        position = end
    raw = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw
