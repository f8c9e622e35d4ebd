"""PyTorch's layout before 1.6: five pickles, then the numbers of each storage."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

from ml_core.reading.container import Container, protocol_of
from ml_core.reading.errors import InputError, TruncatedError
from ml_core.reading.pickles.geometry import Block
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.pickles.records import Storage, Table
from ml_core.reading.pickles.walk import storages
from ml_core.reading.torch_file import check_pickles, tensors_of
from ml_core.reading.weights_file import WeightsFile

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_PARTS = ("magic number", "protocol", "machine", "object", "list of storages")


def read_torch_stream(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read an open file of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``damaged`` if it is not what it says, ``unsupported`` for another byte order.
    """
    file.seek(0)
    raw = file.read(MAX_BYTES)
    parts: list[Reading] = []
    budget = Budget()
    position, ends = 0, []
    for _ in _PARTS:
        reading = read_pickle(raw[position:], ends=False, budget=budget, origin=position)
        parts.append(reading)
        if reading.problem:
            break
        position += reading.end
        ends.append(position)
    names = check_pickles(
        ((f"its {label}", part) for label, part in zip(_PARTS, parts, strict=False)), name
    )
    magic, protocol, machine, value, keys = (part.value for part in parts)
    if magic != _MAGIC or protocol != _PROTOCOL or any(part.names for part in parts[:3]):
        raise _damaged(name, "it does not begin as such a file does")
    if _item(machine, "little_endian") is not True:
        raise InputError(
            f"{name} was written on a big-endian machine; save it again on another one.",
            "unsupported",
        )
    blocks = _blocks(file, size, position, keys, storages(value), name)
    tensors, facts, notes = tensors_of(value, blocks, name)
    if "code" in names:
        notes += ("The file holds whole pickled modules, of which only the tensors were read.",)
    return WeightsFile(
        "PyTorch file (legacy stream)",
        tensors,
        names=names,
        facts=facts,
        notes=notes,
        container=Container("stream", protocol=protocol_of(raw[ends[2] : ends[2] + 2])),
    )


def _damaged(name: str, what: str, short: bool = False) -> InputError:
    sentence = f"{name} is a damaged PyTorch file of the legacy layout: {what}; get the file again."
    return TruncatedError(sentence) if short else InputError(sentence, "damaged")


def _item(table: Any, wanted: str) -> Any:
    """The value of a text key."""
    if isinstance(table, Table):
        for key, value in table.items:
            if isinstance(key, str) and key == wanted:
                return value
    return None


def _blocks(
    file: BinaryIO, size: int, position: int, keys: Any, known: dict[str, Storage], name: str
) -> dict[str, Block]:
    """Walk over the storages: eight bytes of length, then the numbers, to the end of the file."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _damaged(name, "its list of storages is none")
    if len(set(keys)) != len(keys) or set(keys) != known.keys():
        raise _damaged(name, "its list of storages does not fit its tensors")
    blocks: dict[str, Block] = {}
    for key in keys:
        file.seek(position)
        head = file.read(8)
        if len(head) != 8:
            raise _damaged(name, "it is cut short", short=True)
        (elements,) = struct.unpack("<q", head)
        storage = known[key]
        if elements != storage.elements:
            raise _damaged(name, "a storage has another size than its tensors say")
        nbytes = elements * storage.width
        blocks[key] = Block(position + 8, nbytes)
        position += 8 + nbytes
    if position != size:
        raise _damaged(name, f"it has {size} bytes instead of {position}", position > size)
    return blocks
