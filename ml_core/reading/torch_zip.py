"""PyTorch's zip layout and TorchScript archives, read without torch and without running them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from ml_core.reading.container import checksums_of, container_of, protocol_of
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import SAFETENSORS_COPY, InputError
from ml_core.reading.odd_members import odd_members
from ml_core.reading.pickles.geometry import Block
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.pickles.reading import CodePlace
from ml_core.reading.refused_zip import doctored
from ml_core.reading.sniff import HEAD, looks_pickle
from ml_core.reading.torch_file import UnknownCodeError, check_pickles, tensors_of
from ml_core.reading.torchscript_code import act_of
from ml_core.reading.weights_file import WeightsFile
from ml_core.reading.zip_members import (
    STORED,
    Member,
    ZipError,
    read_head,
    read_member,
    zip_members,
)

_SMALL = {"version", "byteorder", ".format_version", ".storage_alignment", ".data/version"}
_SMALL_BYTES = 64
_CODE_BYTES = 1 << 20
_CODE_TOTAL = 2 << 20  # a traced CLIP of 36 layers has 270 000 in all
_PICKLE_BYTES = 64 << 20
_STORAGES = ("data", "constants", "tensors")


def read_torch_zip(file: BinaryIO, size: int, name: str) -> WeightsFile:
    """Read an open archive of ``size`` bytes; ``name`` is for sentences.

    Every pickle of the archive goes through the stack machine, whatever it is called; code is
    kept as text.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``damaged`` if the archive or a tensor is not what it says, ``unsupported`` for a layout
        that no checkpoint has.
    """
    try:
        members = zip_members(file, size)
        return _read(file, members, name)
    except ZipError as error:
        raise doctored(file, size, name, error) from None


def _read(file: BinaryIO, members: tuple[Member, ...], name: str) -> WeightsFile:
    """Sort the members, read the pickles, place the tensors."""
    root = members[0].name.split("/")[0]
    inner: dict[str, Member] = {}
    for member in members:
        top, _, rest = member.name.partition("/")
        if top != root:
            raise ZipError("it has more than one top folder")
        if not rest and not member.name.endswith("/"):
            raise ZipError("it has a member beside its top folder")
        if rest and not rest.endswith("/"):
            inner[rest] = member
    # PyTorch looks its records up without regard to case.
    if len({label.casefold() for label in inner}) != len(inner):
        raise ZipError("two of its members differ in case only")
    pickles = dict(_pickles(file, inner))
    names = check_pickles(
        ((f"the record {label!r}", reading) for label, reading in pickles.items()), name
    )
    if "data.pkl" not in pickles:
        raise ZipError("it has no record data.pkl")
    script = any(label.lower() == "constants.pkl" for label in inner)
    code = tuple(_code(file, inner, name, names))
    _check_small(file, inner, name)
    blocks, pieces = _blocks(inner, "data/")
    if pieces:
        Unpacked(file, pieces).verify()
    tensors, facts, notes = tensors_of(pickles["data.pkl"].value, blocks, name)
    used = {f"data/{tensor.storage}" for tensor in tensors}
    read = {*pickles, *(label for label, _ in code), *used, *_SMALL & inner.keys()}
    unread = tuple(label for label in inner if label not in read)
    notes += odd_members(file, members, [inner[label] for label in unread])
    if code or script:
        notes += (
            "The file contains program code (TorchScript), which was not run; only its tensors "
            "were read.",
        )
    elif "code" in names:
        notes += ("The file holds whole pickled modules, of which only the tensors were read.",)
    return WeightsFile(
        "TorchScript archive" if script else "PyTorch file (zip)",
        tensors,
        names=names,
        facts=facts,
        embedded_code=code,
        unread=unread,
        notes=notes,
        container=container_of("zip", members, protocol_of(read_head(file, inner["data.pkl"], 2))),
        pieces=pieces,
        checksums=checksums_of(inner[label] for label in inner if label in read),
    )


def _pickles(file: BinaryIO, inner: dict[str, Member]) -> Iterator[tuple[str, Reading]]:
    """Every member that is a pickle by its name or by its first bytes."""
    script = any(label.lower() == "constants.pkl" for label in inner)
    nbytes, budget = 0, Budget()
    for label, member in inner.items():
        folder, _, key = label.rpartition("/")
        if folder in _STORAGES and key.isdigit() and key.isascii():
            continue
        marked = label.lower().endswith((".pkl", "_pkl", ".pickle"))
        if not marked:
            if label in _SMALL:
                continue
            head = read_head(file, member, HEAD)
            marked = head[:1] == b"\x80" and head[1:2] <= b"\x05" and len(head) > 1
            if not marked and not looks_pickle(head):
                continue
        raw = read_member(file, member, MAX_BYTES)
        reading = read_pickle(raw, script=script, budget=budget, origin=member.place())
        nbytes += member.size
        if nbytes > _PICKLE_BYTES:
            raise ZipError("it holds more pickles than a model has", SAFETENSORS_COPY)
        # Text that only looks like a pickle is one if it names something.
        if marked or reading.unknown or reading.misuse:
            yield label, reading


def _code(
    file: BinaryIO, inner: dict[str, Member], name: str, names: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    """Program code in the archive, refused where it could act while it is being loaded."""
    total = 0
    for label, member in inner.items():
        if not label.lower().endswith(".py"):
            continue
        total += member.size
        if total > _CODE_TOTAL:
            raise ZipError("it holds more program code than a model has", SAFETENSORS_COPY)
        text = read_member(file, member, _CODE_BYTES).decode("utf-8", "backslashreplace")
        if act := act_of(text):
            raise UnknownCodeError(
                f"{name} contains program code that can act when it is loaded: {act} in "
                f"the record {label!r}; do not load it elsewhere.",
                names,
                [] if (at := member.place()) is None else [CodePlace(act, at, member.size)],
            )
        yield label, text


def _check_small(file: BinaryIO, inner: dict[str, Member], name: str) -> None:
    """Refuse numbers of the other byte order, and versions that are none."""
    for label, member in inner.items():
        if label.lower() not in _SMALL:
            continue
        text = read_member(file, member, _SMALL_BYTES).strip()
        if label.lower() != "byteorder":
            if not text.isdigit() or len(text) > 9:
                raise ZipError(f"its record {label!r} is not a number")
        elif text == b"big":
            raise InputError(
                f"{name} was written on a big-endian machine; save it again on another one.",
                "unsupported",
            )
        elif text != b"little":
            raise ZipError("its byte order is none")


def _blocks(inner: dict[str, Member], folder: str) -> tuple[dict[str, Block], tuple[Piece, ...]]:
    """Storages, where they lie in the file; if one of them is packed, in the unpacked pieces."""
    storages = {
        label.removeprefix(folder): member
        for label, member in inner.items()
        if label.startswith(folder) and label.removeprefix(folder).isdigit()
    }
    if all(member.method == STORED for member in storages.values()):
        return {key: Block(m.offset, m.size) for key, m in storages.items()}, ()
    blocks: dict[str, Block] = {}
    start = 0
    for key, member in storages.items():
        blocks[key] = Block(start, member.size)
        start += member.size
    return blocks, tuple(
        Piece(m.method, m.offset, m.packed, m.size, m.crc) for m in storages.values()
    )
