"""Tell a file's format from its bytes; its name says nothing about what a loader will do."""

from __future__ import annotations

import pickletools
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from ml_core.reading.errors import ErrorCode
from ml_core.reading.zip_names import zip_names

HEAD = 1 << 16
_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
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

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "GGUF model"),
    (b"ggjt", "GGML model"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 or Keras file"),
    (b"\x93NUMPY", "NumPy array"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"\x1f\x8b", "gzip archive"),
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
    if _looks_safetensors(head):
        return SAFETENSORS
    return _pickle_kind(file, head, size) or _other_kind(head)


def _looks_safetensors(head: bytes) -> bool:
    """Tell by the length that comes first and the brace after it."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] < 1 << 40


def _pickle_kind(file: BinaryIO, head: bytes, size: int) -> Kind | None:
    """Recognise what holds pickles, and archives."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(zip_names(file, size))
    if head.startswith(_LEGACY_MAGIC):
        return TORCH_STREAM
    if head[257:262] == b"ustar":
        return TAR
    if _is_pickle(head):
        return PICKLE
    return None


def _zip_kind(names: tuple[str, ...] | None) -> Kind:
    """Tell archives apart by their members."""
    if names is None:
        return Kind("zip archive", "damaged", "is a zip archive without a readable list of members")
    inner = [name.partition("/")[2] for name in names]
    if "data.pkl" in inner:
        return TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    return ZIP


def _is_pickle(head: bytes) -> bool:
    """Tell whether the bytes start as a pickle of any protocol."""
    if head[0] == 0x80:
        return len(head) > 1 and head[1] <= 5
    # Protocols 0 and 1 have no mark: accept what the opcode parser follows to a STOP or a call.
    names = False
    try:
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name in ("GLOBAL", "INST"):
                names |= all(part.isidentifier() for part in re.split(r"[. ]", str(argument)))
            if opcode.name == "STOP" or (names and opcode.name in _CALLS):
                return True
    except (ValueError, IndexError, OverflowError, struct.error):
        return False
    return False


def _other_kind(head: bytes) -> Kind:
    """Name what else it may be."""
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
