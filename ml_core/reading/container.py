"""What a checkpoint's bytes are wrapped in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ml_core.figures import count
from ml_core.reading.archive_members import STORED, Member
from ml_core.reading.decompression import Piece
from ml_core.reading.safetensors_header import TensorInfo

_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Container:
    """Facts of a container, for the analyst; nothing is decided by them.

    Parameters
    ----------
    kind
        ``safetensors``, ``zip``, ``tar``, ``gzip``, ``stream`` (PyTorch's old layout); one that
        lies in another is named after it: ``gzip, tar, zip``.
    members, compressed
        How many files the outermost archive holds, and how many of them are compressed; 0 and 0 if
        the format holds no files.
    packed, unpacked
        Bytes of the members as they lie in the file, and unpacked.
    alignment
        The largest power of two, up to 4096, that divides where each tensor's numbers begin in the
        file; 0 without tensors, and where they are packed.
    protocol
        Protocol of the main pickle; -1 without a pickle.
    """

    kind: str
    members: int = 0
    compressed: int = 0
    packed: int = 0
    unpacked: int = 0
    alignment: int = 0
    protocol: int = -1

    @property
    def words(self) -> str:
        """The facts as one line."""
        parts = [self.kind]
        if self.members:
            packing = f"{self.compressed} compressed" if self.compressed else "stored as they are"
            members = "1 member" if self.members == 1 else f"{count(self.members)} members"
            parts.append(f"{members}, {packing}")
            parts.append(f"{count(self.packed)} bytes")
        if self.compressed:
            parts[-1] += f", {count(self.unpacked)} unpacked"
        if self.alignment > 1:
            parts.append(f"numbers aligned to {self.alignment} bytes")
        if self.protocol >= 0:
            parts.append(f"pickle protocol {self.protocol or '0 or 1'}")
        return "; ".join(parts)


def container_of(kind: str, members: Iterable[Member], protocol: int = -1) -> Container:
    """Count an archive's members."""
    names = list(members)
    return Container(
        kind,
        len(names),
        sum(member.method != STORED for member in names),
        sum(member.packed for member in names),
        sum(member.size for member in names),
        protocol=protocol,
    )


def protocol_of(head: bytes) -> int:
    """The protocol that a pickle states; 0 for protocols 0 and 1, which do not state it."""
    return head[1] if head[:1] == b"\x80" and len(head) > 1 else 0


def alignment_of(tensors: Iterable[TensorInfo]) -> int:
    """See `Container.alignment`."""
    places = [tensor.offset for tensor in tensors if tensor.nbytes]
    together = 0
    for place in places:
        together |= place
    if not places:
        return 0
    return _PAGE if not together else min(_PAGE, together & -together)


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a container says of some of its bytes: their CRC-32, and what they are called."""

    offset: int
    nbytes: int
    crc: int
    name: str


def checksums_of(members: Iterable[Member]) -> tuple[Checksum, ...]:
    """Checksums of stored members; zero means that torch wrote none."""
    return tuple(
        Checksum(member.offset, member.size, member.crc, member.name)
        for member in members
        if member.method == STORED and member.crc and member.size
    )


@dataclass(frozen=True)
class Graph:
    """What an ONNX model computes, without its numbers; JSON-ready.

    Parameters
    ----------
    exporter
        The program that wrote it, by its own words.
    opsets
        Version of the operators of each domain; ``ai.onnx`` is ONNX's own.
    operators
        How often each operator stands in it, the most frequent first; those of other domains than
        ONNX's with their domain. Those inside of functions and branches count as well.
    functions
        Functions that the file defines.
    inputs, outputs
        Name and shape of each.
    control_flow
        Names of nodes that choose what is computed.
    users
        The node that computes with each tensor, by the tensor's name.
    findings
        Whole sentences on nodes and tensors that no exporter of a CLIP writes.
    described
        Bytes of descriptions of nodes and values, which are not read.
    """

    exporter: str
    opsets: Mapping[str, int]
    operators: Mapping[str, int]
    functions: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    control_flow: tuple[str, ...]
    users: Mapping[str, str]
    findings: tuple[str, ...]
    described: int

    @property
    def rows(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The facts to show, each a title and its words."""
        opsets = ", ".join(f"{domain} {version}" for domain, version in self.opsets.items())
        return (
            ("Exporter", (self.exporter or "not named", f"operators of {opsets}")),
            ("Operators", tuple(f"{name} {count}" for name, count in self.operators.items())),
            ("Control flow", self.control_flow),
            ("Functions", self.functions),
            ("Inputs", self.inputs),
            ("Outputs", self.outputs),
        )


@dataclass(frozen=True)
class WeightsFile:
    """What was read.

    Parameters
    ----------
    format
        Name of the format.
    tensors
        In the order of the file.
    metadata
        What the file says about itself, in a safetensors header or GGUF's metadata.
    names
        Objects that the file's pickles name, grouped: ``tensors``, ``data``, ``code``.
    facts
        Plain values near the top of a pickle's object, as text: epoch, name, options.
    embedded_code
        Names and texts of program code in the file; it was not run.
    unread
        Members whose bytes were not looked at.
    notes
        Whole sentences of caution.
    container
        What the bytes are wrapped in.
    pieces
        Where the tensors' numbers are packed: their offsets count from the start of these pieces,
        unpacked and one after the other. Without pieces they count from the start of the file.
    checksums
        Checksums of bytes of the file, to be compared when they are read as a whole.
    member
        The file of an archive with several that this is.
    graph
        What an ONNX model computes; None for other formats.
    beside
        Bytes of each file beside this one that holds tensors.
    """

    format: str
    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    embedded_code: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    container: Container | None = None
    pieces: tuple[Piece, ...] = ()
    checksums: tuple[Checksum, ...] = ()
    member: str = ""
    graph: Graph | None = None
    beside: Mapping[str, int] = field(default_factory=dict)
