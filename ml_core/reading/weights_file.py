"""What a file of weights holds, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ml_core.reading.container import Checksum, Container
from ml_core.reading.decompression import Piece
from ml_core.reading.safetensors_header import TensorInfo


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
        Texts of a safetensors header.
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
        Of bytes of the file, to be compared when they are read as a whole.
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
