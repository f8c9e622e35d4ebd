"""The record of what was found in a checkpoint; its words, and its file opened again."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from ml_core.reading.archive_members import ZipError
from ml_core.reading.container import Container, Graph
from ml_core.reading.decompression import Piece, Unpacked
from ml_core.reading.errors import InputError, TruncatedError, damaged, plain
from ml_core.reading.folder import CONFIG_NAME, TRANSFORMERS_CONFIG_NAME
from ml_core.reading.hashing import FileStamp
from ml_core.reading.parts import Part, beside_parts, find_part, find_parts
from ml_core.reading.pickles.reading import CodePlace
from ml_core.reading.regular_file import open_regular
from ml_core.reading.safetensors_header import TensorInfo
from ml_core.reading.strict_json import JsonError, parse_object
from ml_core.reading.torch_file import UnknownCodeError

Verdict = Literal["loads", "caution", "dangerous", "damaged", "unsupported"]
REFUSED: tuple[Verdict, ...] = ("dangerous", "damaged", "unsupported")
ReasonCode = Literal[
    "ok", "note", "unknown_code", "dangerous", "damaged", "truncated", "unsupported"
]


# Where training scripts keep what the optimizer remembers, and what torch's optimizers call it.
_OPTIMIZERS = (
    "optimizer", "optimizers", "optimizer_state", "optimizer_state_dict", "optim", "adamw",
)  # fmt: skip
_MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")
COUNTED_BUFFERS = ("attn_mask", "position_ids", "token_type_ids", "relative_position_index")
"""Buffers that follow from the sizes, which some versions of the libraries save."""
OPENAI_SIZES = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep among the tensors."""
# What a layer keeps and no gradient changes.
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", *COUNTED_BUFFERS, *OPENAI_SIZES)


@dataclass(frozen=True)
class Inspection:
    """What was found; the same for the window, the command line and JSON.

    Parameters
    ----------
    path, name
        What was opened.
    size
        Bytes of the weights file (of the file itself if it was refused).
    sha256
        SHA-256 of the same bytes; empty if nothing could be read. See
        `ml_core.reading.folder.hash_of_shards` for several files.
    format
        ``safetensors``, ``open_clip folder``, or the name of a refused format.
    verdict
        ``loads``, ``caution`` (loads, see reasons), ``dangerous`` (refused: the format can run
        code when it is loaded), ``damaged`` or ``unsupported`` (refused: healthy, as far as it was
        read, but no checkpoint that this version opens). Older records call the last one
        ``damaged``, too; their reason code tells them apart.
    reason_code
        ``ok``, ``note``, or the kind of refusal.
    reasons
        Whole sentences, the most important first.
    tensors, metadata
        Tensors of the weights file, and what it says about itself, see `WeightsFile`.
    config
        The JSON of ``open_clip_config.json`` or the transformers library's ``config.json``,
        unchecked beyond being JSON; None for a file.
    weights_path
        The file with the tensors, the first of several; None if refused.
    unread
        Names of files of the folder, or members of the archive, that were not read.
    globals
        Objects that the pickles of the file name, grouped: ``tensors`` (builders, done by own
        code), ``data``, ``code`` (kept as inert records), ``unknown``.
    facts
        Plain values near the top of a pickle's object, as text.
    embedded_code
        Names and texts of program code in the file; none of it was run.
    sandbox
        How the process that read the file was confined, as `ml_core.reading.sandbox` tells;
        None if it was not.
    preprocessor
        The JSON of a transformers folder's ``preprocessor_config.json``, unchecked.
    container
        What the tensors' bytes are wrapped in, for the first of several files; None if refused.
    pieces
        Where the tensors of a file are packed, see `WeightsFile`; read them with
        `ml_core.reading.inspection`.
    graph
        What an ONNX model computes; None for other formats.
    code_places
        Where a single file's pickles name or do what it is refused for.
    files
        The files that the tensors are read from, and how to tell that they did not change.
    part
        Which model of the file it is about, if the file holds several; see `part_of`.
    members
        The checkpoints of an archive or folder that is refused because it holds several.
    """

    path: Path
    name: str
    size: int
    sha256: str
    format: str
    verdict: Verdict
    reason_code: ReasonCode
    reasons: tuple[str, ...] = ()
    tensors: tuple[TensorInfo, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    weights_path: Path | None = None
    unread: tuple[str, ...] = ()
    globals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    embedded_code: tuple[tuple[str, str], ...] = ()
    sandbox: Mapping[str, str] | None = None
    preprocessor: dict[str, Any] | None = None
    container: Container | None = None
    pieces: tuple[Piece, ...] = ()
    graph: Graph | None = None
    code_places: tuple[CodePlace, ...] = ()
    files: tuple[FileStamp, ...] = field(default=(), compare=False)
    part: str = ""
    members: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers of the tensors are parameters: no buffers, nothing of an optimizer."""
        whole = sum(tensor.elements for tensor in self.tensors)
        return whole - self.optimizer_numbers - self.buffer_numbers

    @property
    def buffer_numbers(self) -> int:
        """How many numbers are buffers, such as the running statistics of BatchNorm."""
        return sum(tensor.elements for tensor in self.tensors if is_buffer(tensor.name))

    @property
    def optimizer_numbers(self) -> int:
        """How many numbers an optimizer keeps in the file, such as AdamW's moments."""
        return sum(tensor.elements for tensor in self.tensors if is_of_optimizer(tensor.name))

    @property
    def file_sha256(self) -> str:
        """SHA-256 of the file itself, of which this may be a part."""
        return self.facts[_FILE_SHA256] if self.part else self.sha256

    @property
    def source(self) -> Path:
        """The file or folder that was opened, whatever part of it is meant."""
        return Path(str(self.path).removesuffix(f"#{self.part}")) if self.part else self.path

    @property
    def config_name(self) -> str:
        """Name of the file that ``config`` was read from."""
        is_hf = self.format.startswith("transformers")
        return TRANSFORMERS_CONFIG_NAME if is_hf else CONFIG_NAME

    @property
    def refused(self) -> bool:
        """Whether it cannot be opened."""
        return self.verdict in REFUSED

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The CLIPs and encoders among the tensors."""
        return find_parts([tensor.name for tensor in self.tensors])

    @property
    def beside(self) -> dict[str, int]:
        """What else the file holds, see `beside_parts`."""
        return beside_parts((tensor.name for tensor in self.tensors), self.parts)

    def refusal(self) -> InputError:
        """Make the error of a refused file: its first reason, the others as details."""
        assert self.verdict != "loads"
        assert self.verdict != "caution"
        return InputError(self.reasons[0], self.verdict, "\n".join(self.reasons[1:]))


_FILE_SHA256 = "SHA-256 of the file"


def part_of(inspection: Inspection, name: str) -> Inspection:
    """The inspection of one model of a file that holds several.

    Its SHA-256 is that of a line with ``part``, the file's SHA-256 and the part's name, with single
    blanks, so that two parts of a file are two models. The file's own stands among the facts.
    A part of a member of an archive is ``MEMBER#PART``.

    Raises
    ------
    InputError
        ``usage`` if the file holds no such part.
    """
    tensors, config = inspection.tensors, inspection.config
    inside = name
    if inspection.part:  # a member of an archive, which was taken when it was read
        inside = name.removeprefix(inspection.part).removeprefix("#")
    if inside:
        part = find_part(inspection.parts, inside, inspection.name)
        own = set(part.tensors)
        tensors = tuple(tensor for tensor in tensors if tensor.name in own)
        config = None  # it is of the whole
    line = f"part {inspection.sha256} {name}\n"
    return replace(
        inspection,
        path=Path(f"{inspection.path}#{name}"),
        name=f"{inspection.name}#{name}",
        sha256=inspection.sha256 and hashlib.sha256(line.encode()).hexdigest(),
        tensors=tensors,
        config=config,
        facts={**inspection.facts, _FILE_SHA256: inspection.sha256},
        part=name,
    )


def known_part(whole: Inspection | None, path: Path) -> Inspection | None:
    """What is known of a model in an unchanged file that was examined; None: nothing."""
    name = "" if whole is None else str(path).removeprefix(f"{whole.path}#")
    if whole is None or name not in [part.name for part in whole.parts] or not looks_same(whole):
        return None
    return part_of(whole, name)


def is_of_optimizer(name: str) -> bool:
    """Whether a tensor is an optimizer's by its name, and none of a model's."""
    parts = name.replace("/", ".").split(".")
    return parts[0] in _OPTIMIZERS or parts[-1] in _MOMENTS


def is_buffer(name: str) -> bool:
    """Whether a tensor is a buffer by its name, and no parameter."""
    return name.rpartition(".")[2] in _BUFFERS and not is_of_optimizer(name)


def code_of(error: InputError) -> Literal["dangerous", "damaged", "unsupported"]:
    """The verdict on a file that is refused for this."""
    return "unsupported" if error.code == "usage" else error.code


def refuse(
    path: Path, error: InputError, form: str, size: int = 0, sha256: str = "", **facts: Any
) -> Inspection:
    """Make the record of a refused file."""
    verdict = code_of(error)
    code: ReasonCode = verdict
    if isinstance(error, UnknownCodeError):
        code = "unknown_code"
    elif isinstance(error, TruncatedError):
        code = "truncated"
    return Inspection(
        path, path.name, size, sha256, form, verdict, code, (error.sentence,), **facts
    )


def readable(path: Path, notes: tuple[str, ...], **facts: Any) -> Inspection:
    """Make the record of a file that can be read; ``notes`` are what to be careful about."""
    notes = _own_word(facts.get("metadata") or {}) + notes
    verdict: Verdict = "caution" if notes else "loads"
    code: ReasonCode = "note" if notes else "ok"
    return Inspection(path, path.name, verdict=verdict, reason_code=code, reasons=notes, **facts)


_LONGEST_WORD = 200


def _own_word(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """What a file that a backdoor was planted in on purpose says of that in its provenance."""
    try:
        text = metadata["provenance"].encode("utf-8", "surrogatepass")
        note = parse_object(text, max_bytes=1 << 20, max_depth=16)["poisoned"]
    except (KeyError, JsonError):
        return ()
    if not isinstance(note, str):
        return ()
    return (f"This file says of itself that it is poisoned: {plain(note[:_LONGEST_WORD])}.",)


_WORDS = {
    "loads": "Readable",  # not more: what can be read is not known to be harmless
    "caution": "Readable, with caution",
    "dangerous": "Refused: dangerous",
    "damaged": "Refused: damaged",
    "unsupported": "Refused: unsupported",
}


def verdict_words(verdict: str, reason_code: str = "") -> str:
    """Words for a verdict; older records call ``damaged`` what is just unsupported."""
    if verdict == "damaged" and reason_code in ("unsupported", "usage"):
        verdict = "unsupported"
    return _WORDS[verdict]


RULES_VERSION = 4
"""One more with every change by which the verdict of a file can change."""


_CHUNK = 1 << 20


@contextmanager
def weights_bytes(inspection: Inspection, shard: str = "") -> Iterator[BinaryIO]:
    """Open the file of an inspection's tensors, unpacked where it is packed.

    The offsets of the tensors hold in it. A read that comes out short means that the file
    changed.

    Parameters
    ----------
    shard
        Which file, as in `TensorInfo.file`.

    Raises
    ------
    InputError
        ``usage`` if it can no longer be opened.
    """
    file, _ = open_regular(file_of(inspection, shard))
    pieces = [piece for piece in inspection.pieces if piece.file == shard]
    with file:
        if not pieces:
            yield file
            return
        yield cast(BinaryIO, io.BufferedReader(_Short(file, pieces), _CHUNK))


def file_of(inspection: Inspection, shard: str) -> Path:
    """Path of a shard, or of the only file."""
    assert inspection.weights_path is not None, "only a file that was not refused has tensors"
    return inspection.weights_path.with_name(shard) if shard else inspection.weights_path


def looks_same(inspection: Inspection) -> bool:
    """Whether the files of the tensors are still those that were inspected, as far as one sees.

    That saves another inspection before the tensors are read; `check_same` decides after it.
    """
    try:
        return bool(inspection.files) and all(
            stamp.matches(os.stat(file_of(inspection, stamp.file))) for stamp in inspection.files
        )
    except OSError:
        return False


def check_same(inspection: Inspection, shard: str, file: BinaryIO) -> None:
    """Make sure, after reading, that an open file of `weights_bytes` is what was inspected.

    Raises
    ------
    InputError
        ``damaged`` if it changed since it was inspected.
    """
    stamp = next((stamp for stamp in inspection.files if stamp.file == shard), None)
    if stamp is not None:
        if stamp.still_holds(file.fileno()):
            return
        if stamp.sha256 == _hash(file.fileno()):
            return
    raise changed(inspection)


def changed(inspection: Inspection) -> InputError:
    """Make the error of a file that is no longer the one that was inspected."""
    return damaged(f"{inspection.path} changed since it was examined; open it again.")


def _hash(descriptor: int) -> str:
    """SHA-256 of an open file, from its start."""
    with os.fdopen(os.dup(descriptor), "rb") as again:
        again.seek(0)
        return hashlib.file_digest(again, "sha256").hexdigest()


class _Short(Unpacked):
    """A file whose reading ends early if its bytes have changed."""

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except ZipError:
            return 0
