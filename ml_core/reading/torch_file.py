"""Readers of PyTorch's layouts: archives, streams, bare pickles; tensors get their bytes."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any, BinaryIO, NoReturn

from ml_core.reading.archive_members import (
    STORED,
    CutShortError,
    Member,
    ZipError,
    odd_members,
    read_head,
    read_member,
    zip_members,
)
from ml_core.reading.container import (
    Container,
    WeightsFile,
    checksums_of,
    container_of,
    protocol_of,
)
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import (
    SAFETENSORS_COPY,
    InputError,
    TruncatedError,
    damaged,
    first_names,
    unsupported,
)
from ml_core.reading.pickles.machine import MAX_BYTES, Budget, Reading, read_pickle
from ml_core.reading.pickles.reading import (
    MAX_WORK,
    CodePlace,
    Storage,
    Table,
    Tensor,
    TooMuchError,
)
from ml_core.reading.pickles.walk import contents, storages
from ml_core.reading.safetensors_header import TensorInfo
from ml_core.reading.sniff import HEAD, OPENS, looks_pickle

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
    expanded = expanded_bytes = 0
    for name, tensor in tensors:
        storage = tensor.storage
        label = f"the tensor {name[:80]!r}"
        if not tensor.dtype:
            raise ValueError(f"{label} is of a type that no CLIP has")
        width = tensor.width
        block = blocks.get(storage.key)
        if block is None:
            raise ValueError(f"the numbers of {label} are missing")
        nbytes = storage.elements * storage.width
        if block.nbytes != nbytes:
            raise ValueError(f"{label} needs {nbytes} bytes and has {block.nbytes}")
        if types.setdefault(storage.key, tensor.dtype) != tensor.dtype:
            raise ValueError(f"{label} reads the same bytes as another one in another type")
        elements = prod(tensor.shape)
        if prod(side for side in tensor.shape if side) > _MAX_ELEMENTS:
            raise ValueError(f"{label} has no valid shape")
        expanded_bytes += elements * width
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
    if expanded_bytes > (1 + _SHARED) * held + _EXPANDED:
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


_MOST_PLACES = 100
_NAMED = 5


class UnknownCodeError(InputError):
    """A pickle names or calls code.

    ``names`` are those of the whole file, grouped; ``places`` tell where it stands in the file.
    """

    def __init__(
        self, sentence: str, names: Mapping[str, tuple[str, ...]], places: Iterable[CodePlace] = ()
    ) -> None:
        super().__init__(sentence, "dangerous")
        self.names = names
        self.places = tuple(islice(places, _MOST_PLACES))

    def moved(self, by: int | None) -> None:
        """Count its places from the start of the outer file; with None the pickle is packed."""
        self.places = (
            ()
            if by is None
            else tuple(replace(place, offset=place.offset + by) for place in self.places)
        )


def check_pickles(readings: Iterable[tuple[str, Reading]], name: str) -> dict[str, tuple[str, ...]]:
    """Refuse pickles that name unknown code, misuse known names, or cannot be read.

    What is dangerous comes first: an ordinary loader runs it before it stumbles.

    Parameters
    ----------
    readings
        Labels of the file's pickles, for sentences, and what the machine made of them.
    name
        The file's name, for sentences.

    Returns
    -------
    dict
        The names, grouped.

    Raises
    ------
    UnknownCodeError
        If loading the file elsewhere would run code that is not on the list.
    InputError
        ``damaged`` if a pickle cannot be read, ``unsupported`` if it asks for too much.
    """
    readings = list(readings)
    groups: dict[str, dict[str, None]] = {}
    for _, reading in readings:
        for full, info in reading.names.items():
            groups.setdefault(info.group, {})[full.replace(" ", ".")] = None
    names = {group: tuple(known) for group, known in sorted(groups.items())}
    places = [place for _, reading in readings for place in reading.places]
    for label, reading in readings:
        if reading.unknown:
            uses = [
                use
                for full in reading.unknown
                for use in reading.calls.get(full, [full.replace(" ", ".")[:100]])
            ]
            shown = first_names(uses, _NAMED, 1 << 20, counted=True)
            raise UnknownCodeError(
                f"{name} names code that no checkpoint needs, which an ordinary loader would "
                f"import and may run: {shown} (in {label}); do not load it elsewhere.",
                names,
                places,
            )
        if reading.misuse:
            raise UnknownCodeError(
                f"{name} uses a name in a way that can run or change code: "
                f"{reading.misuse[0]} (in {label}); do not load it elsewhere.",
                names,
                places,
            )
    for label, reading in readings:
        if reading.problem and reading.excess:
            raise unsupported(
                f"{name} cannot be used: {label} asks for more than this tool gives, "
                f"{reading.problem}; {SAFETENSORS_COPY}, and do not load this one elsewhere."
            )
        if reading.problem:
            # Another loader may get further than this one, if it is no accident.
            caution = "" if reading.short else ", and do not load this one elsewhere"
            sentence = (
                f"{name} is damaged: {label} cannot be read, {reading.problem}; get the file again"
                f"{caution}."
            )
            raise TruncatedError(sentence) if reading.short else damaged(sentence)
    return names


def tensors_of(
    value: Any, blocks: Mapping[str, Block], name: str
) -> tuple[tuple[TensorInfo, ...], dict[str, str], tuple[str, ...]]:
    """Tensors, plain facts and notes of a pickle's object.

    Raises
    ------
    InputError
        ``damaged`` if a tensor does not fit its bytes, ``unsupported`` if there is too much.
    """
    try:
        inside = contents(value)
        tensors = place_tensors(inside.tensors, blocks)
    except TooMuchError as error:
        sentence = f"{name} cannot be used: {error}; {SAFETENSORS_COPY}."
        raise unsupported(sentence) from None
    except ValueError as error:
        raise damaged(f"{name} is damaged: {error}; get the file again.") from None
    notes: tuple[str, ...] = ()
    if inside.special:
        listed = first_names([f"{title[:80]} ({kind})" for title, kind in inside.special], 3, 200)
        notes = (f"Tensors of kinds that this tool does not read were left out: {listed}.",)
    kinds = {title: f"a tensor that was not read ({kind})" for title, kind in inside.special[:200]}
    return tensors, dict(inside.facts) | kinds, notes


_MARK = b"PK\x03\x04"
_HEADER = struct.Struct("<4s5H3L2H")
_CHUNK = 1 << 20
_MAX_HEADERS = 2000
_MAX_TOTAL = 64 << 20
_HEAD = 4096


def doctored(file: BinaryIO, size: int, name: str, what: ZipError | str) -> InputError:
    """Make the error of an archive of ``size`` bytes that is refused because of ``what``.

    Raises
    ------
    UnknownCodeError
        Instead, if a pickle in it names code that is not on the list.
    """
    check_pickles(pickles_of_doctored_zip(file, size), name)
    advice = what.advice if isinstance(what, ZipError) else "get the file again"
    sentence = f"{name} is a damaged or doctored archive: {what}; {advice}."
    return zip_refusal(sentence, what)


def zip_refusal(sentence: str, what: ZipError | str) -> InputError:
    """Make the error of a damaged archive, or of a truncated one if that is the reason."""
    if isinstance(what, CutShortError):
        return TruncatedError(sentence)
    return damaged(sentence)


def pickles_of_doctored_zip(file: BinaryIO, size: int) -> Iterator[tuple[str, Reading]]:
    """Where pickles that name or misuse code begin in ``size`` bytes, and what they name.

    At most 64 MiB and a quarter of a file's budget are read, since this only makes a refusal more
    precise.
    """
    # The members may have been read before, as far as they could.
    budget, left = Budget(MAX_WORK // 4, MAX_WORK // 16), _MAX_TOTAL
    for start, deflated in _members(file, size):
        if not looks_pickle(_content(file, start, deflated, _HEAD)):
            continue
        raw = _content(file, start, deflated, min(MAX_BYTES, left))
        origin = None if deflated else start
        reading = read_pickle(raw, ends=False, script=True, budget=budget, origin=origin)
        left -= len(raw)
        if reading.unknown or reading.misuse:
            yield f"the bytes from {start} on", reading
        if budget.steps < 0 or left <= 0:
            return


def _members(file: BinaryIO, size: int) -> Iterator[tuple[int, bool]]:
    """Where the contents of members may begin, and whether they may be packed."""
    position = headers = 0
    while position < size and headers < _MAX_HEADERS:
        file.seek(position)
        chunk = file.read(_CHUNK + len(_MARK) - 1)
        at = chunk.find(_MARK)
        while at >= 0:
            headers += 1
            file.seek(position + at)
            raw = file.read(_HEADER.size)
            if len(raw) == _HEADER.size:
                fields = _HEADER.unpack(raw)
                start = position + at + _HEADER.size + fields[9] + fields[10]
                # The method may be a lie as well.
                yield start, False
                yield start, True
            at = chunk.find(_MARK, at + 1)
        position += _CHUNK


def _content(file: BinaryIO, start: int, deflated: bool, limit: int) -> bytes:
    """At most ``limit`` bytes from a place on, unpacked if wished; empty if they are not packed."""
    file.seek(start)
    raw = file.read(limit)
    if not deflated:
        return raw
    try:
        return zlib.decompressobj(-15).decompress(raw, limit)
    except zlib.error:
        return b""


# Functions that write or read files or call other machines, a method that runs when the archive
# is loaded, and ways to spell the first ones differently.
_HARMFUL = re.compile(
    r"\.(?:save|from_file|load_tensor|rpc_\w+)\b"
    r"|\b__setstate__\b"
    r"|\btorch\.autograd\b"
    r"|\bgetattr ?\( ?(?:\( ?)*(?:torch|ops)\b"
)
_OTHER_OPS = re.compile(r"(?<![\w.])ops\.(?!aten\b|prim\b)\w+")
# A module under another name: it is followed by nothing that makes use of it.
_RENAMED = re.compile(
    r"(?<![\w.])(?:torch|ops|ops\.aten|ops\.prim)(?:(?= ?[)\],\n])|(?= (?:if|else)\b)|\Z)"
)
_LONG_TEXT = r"(?:\\[\s\S]|[^\\])*?"
_TEXT_OR_COMMENT = re.compile(
    rf'"""{_LONG_TEXT}(?:"""|\Z)|' + rf"'''{_LONG_TEXT}(?:'''|\Z)|"
    r'"(?:\\[^\n]|[^"\\\n])*"?' + r"|'(?:\\[^\n]|[^'\\\n])*'?|#[^\n]*"
)


def act_of(code: str) -> str:
    """Find what the code could do to the machine; empty if nothing.

    The code is also searched as if texts were code and with everything after a ``#`` left out, so
    that nothing hides where readers disagree about where a text or a comment ends.
    """
    bare = _squeezed(_TEXT_OR_COMMENT.sub(lambda m: "" if m[0][0] == "#" else '""', code))
    for text in (bare, _squeezed(code), _squeezed(re.sub(r"#[^\n]*", "", code))):
        if match := _HARMFUL.search(text) or _OTHER_OPS.search(text):
            return match.group()
    match = _RENAMED.search(bare)
    return f"another name for {match.group()}" if match else ""


def _squeezed(code: str) -> str:
    """Code with single blanks, none beside a dot; a line continued is one line."""
    single = re.sub(r"[\s\\]+", lambda m: "\n" if "\n" in m[0] and "\\" not in m[0] else " ", code)
    return re.sub(r"[ \n]?\.[ \n]?", ".", single)


_SMALL = {"version", "byteorder", ".format_version", ".storage_alignment", ".data/version"}
_SMALL_BYTES = 64
_CODE_BYTES = 1 << 20
_CODE_TOTAL = 2 << 20  # a traced CLIP of 36 layers has 270 000 in all
_PICKLE_BYTES = 64 << 20
_STORAGES = ("data", "constants", "tensors")
_MODULES = "The file holds whole pickled modules, of which only the tensors were read."


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
        notes += (_MODULES,)
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
    """Refuse numbers of the other byte order, and malformed versions."""
    for label, member in inner.items():
        if label.lower() not in _SMALL:
            continue
        text = read_member(file, member, _SMALL_BYTES).strip()
        if label.lower() != "byteorder":
            if not text.isdigit() or len(text) > 9:
                raise ZipError(f"its record {label!r} is not a number")
        elif text == b"big":
            raise _big_endian(name)
        elif text != b"little":
            raise ZipError("its byte order is none")


def _big_endian(name: str) -> InputError:
    return unsupported(f"{name} was written on a big-endian machine; save it again on another one.")


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
        raise _big_endian(name)
    blocks = _stream_blocks(file, size, position, keys, storages(value), name)
    tensors, facts, notes = tensors_of(value, blocks, name)
    if "code" in names:
        notes += (_MODULES,)
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
    return TruncatedError(sentence) if short else damaged(sentence)


def _item(table: Any, sought: str) -> Any:
    """The value of a text key."""
    if isinstance(table, Table):
        for key, value in table.items:
            if isinstance(key, str) and key == sought:
                return value
    return None


def _stream_blocks(
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


NPY_MARK = b"\x93NUMPY"
# The header of an array of numbers, texts or times, as NumPy writes it.
_NUMBERS = re.compile(
    rb"\{\s*'descr':\s*'[<>|=][A-NP-Za-z?]\d{1,9}(?:\[\w+\])?',\s*"
    rb"'fortran_order':\s*(?:True|False),\s*'shape':\s*\([\d, ]*\),?\s*\}\s*"
)


def npy_header(head: bytes) -> tuple[int, int]:
    """Where the header of a NumPy array begins and ends, by its first 12 bytes."""
    if head[6] > 1:
        return 12, 12 + int(struct.unpack_from("<I", head, 8)[0])
    return 10, 10 + int(struct.unpack_from("<H", head, 8)[0])


def read_bare_pickle(file: BinaryIO, size: int, name: str) -> NoReturn:
    """Follow an open pickle of ``size`` bytes; ``name`` is for sentences.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``damaged`` or ``unsupported`` otherwise: PyTorch keeps no tensors in such a file.
    """
    file.seek(0)
    raw = file.read(MAX_BYTES)
    check_pickles([("the pickle", read_pickle(raw, ends=size <= MAX_BYTES, origin=0))], name)
    raise unsupported(
        f"{name} is a Python pickle and no PyTorch file, so it holds no tensors that this tool "
        "reads; save the state dict with torch.save or as safetensors."
    )


def read_npy(file: BinaryIO, size: int, name: str) -> NoReturn:
    """Refuse an open NumPy array of ``size`` bytes; one of objects is a pickle.

    Raises
    ------
    UnknownCodeError
        If loading it elsewhere would run code that is not on the list.
    InputError
        ``unsupported`` otherwise: a checkpoint has more than one array.
    """
    file.seek(0)
    start = _objects_at(file.read(HEAD))
    if start:
        file.seek(start)
        raw = file.read(MAX_BYTES)
        reading = read_pickle(raw, ends=size - start <= MAX_BYTES, origin=start)
        if reading.unknown or reading.misuse:
            check_pickles([("its pickle", reading)], name)
        raise unsupported(
            f"{name} is a NumPy array that may hold Python objects, which are not read; do not "
            "load it elsewhere."
        )
    raise unsupported(f"{name} is a NumPy array; {OPENS}.")


def check_members(file: BinaryIO, members: Iterable[Member], name: str) -> None:
    """Refuse an archive without a checkpoint for the pickles in it, by whatever names.

    Raises
    ------
    UnknownCodeError
        If one names code that is not on the list.
    InputError
        ``unsupported`` if one is an array of objects, which only its loader's options keep from
        being run.
    """
    readings = list(_member_pickles(file, members))
    refused = [(label, reading) for label, reading in readings if reading.unknown or reading.misuse]
    check_pickles(refused, name)
    if objects := [label for label, reading in readings if label.startswith("the array")]:
        raise unsupported(
            f"{name} holds arrays that may be of Python objects ({objects[0]}), which are not "
            "read; do not load it elsewhere."
        )


def _member_pickles(file: BinaryIO, members: Iterable[Member]) -> Iterator[tuple[str, Reading]]:
    """Arrays of objects and pickles among the members, each read as far as needed."""
    budget, left = Budget(), _MAX_TOTAL
    for member in members:
        head = read_head(file, member, HEAD)
        start = _objects_at(head)
        if not (start or looks_pickle(head)) or left <= 0:
            continue
        raw = read_head(file, member, min(MAX_BYTES, left))[start:]
        left -= len(raw)
        kind = "array" if start else "member"
        reading = read_pickle(raw, ends=False, budget=budget, origin=member.place(start))
        yield f"the {kind} {member.name[:80]!r}", reading


def _objects_at(head: bytes) -> int:
    """Where the pickle of a NumPy array begins if it may hold objects, else 0."""
    if len(head) < 12 or not head.startswith(NPY_MARK):
        return 0
    start, end = npy_header(head)
    return 0 if _NUMBERS.fullmatch(head, start, end) else end
