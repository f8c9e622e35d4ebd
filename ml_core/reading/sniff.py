"""Tell a file's format from its bytes; its name says nothing about what a loader will do."""

from __future__ import annotations

import io
import pickletools
import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from warnings import catch_warnings

from ml_core.reading.errors import ErrorCode
from ml_core.reading.zip_names import zip_names

HEAD = 1 << 16
_LONG = 1 << 20
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # ends a pickle of any protocol from 2
_CALLS = ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")

_OPENS = "this version opens safetensors files, PyTorch files and open_clip folders"


@dataclass(frozen=True, slots=True)
class Kind:
    """A format: its name, whether it is refused, and the rest of the sentence that says why."""

    format: str
    code: ErrorCode | None = None
    why: str = ""  # goes after the file's name


SAFETENSORS = Kind("safetensors")
TORCH_ZIP = Kind("PyTorch file (zip)")
TORCH_STREAM = Kind("PyTorch file (legacy stream)")
PICKLE = Kind("Python pickle")
NPZ = Kind("NumPy archive (.npz)")
ZIP = Kind("zip archive")
TAR = Kind("tar archive")
GZIP = Kind("gzip file")
BROKEN_ZIP = Kind("zip archive", "damaged", "is a zip archive without a readable list of members")

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "GGUF model"),
    (b"ggjt", "GGML model"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 or Keras file"),
    (b"\x93NUMPY", "NumPy array"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ\x00", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (b"\x89PNG\r\n\x1a\n", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"%PDF-", "PDF document"),
    (b"\x7fELF", "program for Linux"),
    (b"MZ", "program for Windows"),
    (b"SQLite format 3\x00", "SQLite data base"),
)


def sniff(file: BinaryIO, size: int) -> Kind:
    """Tell the format of an open file of ``size`` bytes; leaves the position anywhere."""
    file.seek(0)
    head = file.read(HEAD)
    if not head:
        return Kind("empty file", "damaged", "is empty; get the file again")
    if _is_tar(head):
        if _looks_safetensors(head):
            return _two_at_once(SAFETENSORS, "a tar archive")
        return _two_at_once(TORCH_STREAM, "a tar archive") if _is_stream(head) else TAR
    kind = SAFETENSORS if _looks_safetensors(head) else None
    kind = kind or _pickle_kind(file, head, size) or _other_kind(head)
    if kind in (SAFETENSORS, TORCH_STREAM) and _ends_as_zip(file, size):
        return _two_at_once(kind, "a zip archive")
    if kind is SAFETENSORS and _names_code(file, size):
        return _two_at_once(kind, "a Python pickle")
    return kind


def _two_at_once(kind: Kind, other: str) -> Kind:
    """Refuse a file that two readers understand differently."""
    why = f"is a {kind.format} and {other} at once, which no honest program writes; do not load it"
    return Kind(f"{kind.format} and {other.partition(' ')[2]}", "dangerous", f"{why} elsewhere")


def _is_tar(head: bytes) -> bool:
    """Tell by the sum of a tar header; old ones have no other mark, and torch.load tries tar first.

    Numbers are octal, or binary where the first bit is set; Python also takes signed sums.
    """
    if len(head) < 512:
        return False
    field = head[148:156]
    text = field.split(b"\0")[0].strip()
    if field[0] in (0x80, 0xFF):
        told = int.from_bytes(field[1:], "big") - (0 if field[0] == 0x80 else 1 << 56)
    elif text and not text.strip(b"01234567"):
        told = int(text, 8)
    else:
        return False
    rest = head[:148] + head[156:512]
    unsigned = 256 + sum(rest)
    return told in (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest))


def _ends_as_zip(file: BinaryIO, size: int) -> bool:
    """Tell whether a zip archive's list of members stands at the end of a file of another kind."""
    begin = max(0, size - (1 << 16) - 22)
    file.seek(begin)
    tail = file.read(size - begin)
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= 22:
            length, start = struct.unpack_from("<2L", tail, at + 12)
            for place in (start, begin + at - length):
                if 0 <= place < size:
                    file.seek(place)
                    if file.read(4) == b"PK\x01\x02":
                        return True
        at = tail.find(b"PK\x05\x06", at + 1)
    return False


class _Forward(io.RawIOBase):
    """A file that is read from its start and gives no long text: only its length matters."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        file.seek(0)
        self._file, self._left = file, size

    def read(self, size: int = -1) -> Any:
        if _LONG < size <= self._left:
            raise _LongTextError
        raw = self._file.read(size)
        self._left -= len(raw)
        return raw

    def readline(self, size: int | None = -1) -> bytes:
        raw = self._file.readline(_LONG)
        self._left -= len(raw)
        return raw


class _LongTextError(Exception):
    """A text of a pickle reaches far into the file."""


def _names_code(file: BinaryIO, size: int) -> bool:
    """Tell whether a file is also a pickle that names something."""
    texts = 0
    with catch_warnings(action="ignore"):
        try:
            opcodes = pickletools.genops(cast(BinaryIO, _Forward(file, size)))
            for count, (opcode, argument, _) in enumerate(opcodes):
                if opcode.name in ("GLOBAL", "INST") and _is_name(argument):
                    return True
                if opcode.name == "STACK_GLOBAL" and texts > 1:
                    return True
                if opcode.name == "STOP" or count > 100_000:
                    return opcode.name != "STOP"
                texts += isinstance(argument, str)
        except _LongTextError:
            return True
        except (ValueError, IndexError, OverflowError, struct.error):
            return False
    return False


def _looks_safetensors(head: bytes) -> bool:
    """Tell by the length that comes first and the brace after it."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] < 1 << 40


def _is_stream(head: bytes) -> bool:
    """Tell by the number that PyTorch's old layout begins with, after the protocol and a frame."""
    return head[:1] == b"\x80" and 2 <= head.find(_LEGACY_MAGIC, 2, 30) <= 11


def _pickle_kind(file: BinaryIO, head: bytes, size: int) -> Kind | None:
    """Recognise what holds pickles, and archives."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(zip_names(file, size))
    if _is_stream(head):
        return TORCH_STREAM
    if looks_pickle(head):
        return PICKLE
    return None


def _zip_kind(names: tuple[str, ...] | None) -> Kind:
    """Tell archives apart by their members."""
    if names is None:
        return BROKEN_ZIP
    inner = [name.partition("/")[2].lower() for name in names]  # as PyTorch compares them
    if "data.pkl" in inner:
        return TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    return ZIP


def looks_pickle(head: bytes) -> bool:
    """Tell whether the first bytes of something are those of a pickle of any protocol."""
    if head[:1] == b"\x80":
        return len(head) > 1 and head[1] <= 5
    # Protocols 0 and 1 have no mark: accept what the opcode parser follows to a STOP or a call.
    names = False
    with catch_warnings(action="ignore"):
        try:
            for opcode, argument, _ in pickletools.genops(head):
                if opcode.name in ("GLOBAL", "INST"):
                    names |= _is_name(argument)
                if opcode.name == "STOP" or (names and opcode.name in _CALLS):
                    return True
        except (ValueError, IndexError, OverflowError, struct.error):
            return False
    return False


def _is_name(argument: Any) -> bool:
    """Tell whether an opcode names an object as Python can."""
    return all(part.isidentifier() for part in re.split(r"[. ]", str(argument)))


def _other_kind(head: bytes) -> Kind:
    """Name what else it may be."""
    if head.startswith(b"\x1f\x8b"):
        return GZIP
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return _unsupported(name)
    if head[4:8] == b"TFL3":
        return _unsupported("TensorFlow Lite model")
    if head[0] == 0x08 and len(head) > 3 and head[1] < 32 and head[2] in (0x12, 0x1A, 0x3A):
        return _unsupported("ONNX model")
    if head.startswith(b"version https://git-lfs.github.com/spec"):
        why = "is a Git LFS pointer and not the file itself; run `git lfs pull` in its folder"
        return Kind("Git LFS pointer", "damaged", why)
    start = head.lstrip()[:256].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        why = "is a web page and not a checkpoint; download the file itself"
        return Kind("web page", "damaged", why)
    if start.startswith(b"{") and b'"weight_map"' in head:
        why = f"is the index of a checkpoint in several shards; {_OPENS}"
        return Kind("index of sharded safetensors", "unsupported", why)
    return Kind("unknown format", "unsupported", f"is of a format that is not known; {_OPENS}")


def _unsupported(name: str) -> Kind:
    """Refuse a known format by name."""
    article = "an" if name[0] in "AEIOU" or name.startswith(("HDF", "ONNX", "RAR", "xz")) else "a"
    return Kind(name, "unsupported", f"is {article} {name}; {_OPENS}")
