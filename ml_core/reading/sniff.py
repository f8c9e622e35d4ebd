"""Tell a file's format from its bytes; its name says nothing about what a loader will do.

Another reader may take a file for a tar archive, a zip archive or a pickle as well. Each check of
that is as lenient as the most lenient reader, since a file of two kinds is made for that one.
"""

from __future__ import annotations

import errno
import io
import os
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, cast
from warnings import catch_warnings

from ml_core.reading.errors import FROM_ORIGINAL, ErrorCode
from ml_core.reading.pickles.search import OddText, SkippedError, lenient_opcodes

_MAX_DIRECTORY = 8 << 20
_MAX_MEMBERS = 20_000
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")


def zip_names(file: BinaryIO, size: int) -> tuple[str, ...] | None:
    """List the members of an open archive of ``size`` bytes.

    Returns None where the directory is damaged or larger than an honest checkpoint's, which has
    a few thousand members.
    """
    tail_size = min(size, 65536 + _END.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return None
    _, _, _, _, _, length, _, _ = _END.unpack_from(tail, at)
    end = size - tail_size + at
    # A 64-bit archive has another end record and its locator before this one.
    if tail[max(at - 20, 0) : at].startswith(b"PK\x06\x07") and at >= 76:
        end -= 76
        (length,) = struct.unpack_from("<Q", tail, at - 76 + 40)
    if length > min(_MAX_DIRECTORY, end):
        return None
    file.seek(end - length)
    return _entries(file.read(length))


def _entries(directory: bytes) -> tuple[str, ...] | None:
    names: list[str] = []
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\x01\x02":
            return None
        fields = _ENTRY.unpack_from(directory, at)
        name, extra, comment = fields[10], fields[11], fields[12]
        start = at + _ENTRY.size
        names.append(directory[start : start + name].decode("utf-8", "backslashreplace"))
        at = start + name + extra + comment
        if len(names) > _MAX_MEMBERS:
            return None
    return tuple(names)


HEAD = 1 << 16
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")  # ends a pickle of any protocol from 2

OPENS = "this version opens safetensors, PyTorch, ONNX and GGUF files and folders of open_clip"


@dataclass(frozen=True, slots=True)
class Kind:
    """A format: its name, whether it is refused, and the rest of the sentence that says why."""

    format: str
    code: ErrorCode | None = None
    why: str = ""  # goes after the file's name


SAFETENSORS = Kind("safetensors")
GGUF = Kind("GGUF")
TORCH_ZIP = Kind("PyTorch file (zip)")
TORCH_STREAM = Kind("PyTorch file (legacy stream)")
PICKLE = Kind("Python pickle")
NPZ = Kind("NumPy archive (.npz)")
ZIP = Kind("zip archive")
TAR = Kind("tar archive")
GZIP = Kind("gzip file")
BROKEN_ZIP = Kind("zip archive", "damaged", "is a zip archive without a readable list of members")

NPY = Kind("NumPy array")
ONNX = Kind("ONNX model")
ONNX_ENDING = ".onnx"
CHECKPOINT_SUFFIXES = (
    ".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".npz", ".gguf",
    ".zip", ".tar",
)  # fmt: skip
_UNKNOWN = "unknown format"
# No name begins so.
_BINARY = {
    b"PK\x03\x04": ZIP, b"\x1f\x8b": GZIP, b"\x93NUMPY": NPY, b"GGUF\2": GGUF, b"GGUF\3": GGUF,
}  # fmt: skip

# What programs convert a model to for one kind of machine, by its first bytes.
_CONVERTED: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"(<\?xml[^>]*\?>)?\s*<net\b"), "OpenVINO model"),
    (re.compile(rb"ftrt"), "TensorRT engine"),
    (re.compile(rb"....TFL3", re.DOTALL), "TensorFlow Lite model"),
    (re.compile(rb"....ET1\d", re.DOTALL), "ExecuTorch program"),
    # A version, then a description whose first field is the description of an input.
    (re.compile(rb"\x08[\x01-\x1f]\x12[\x80-\xff]*[\0-\x7f](\n|\xa2\x01)"), "Core ML model"),
    (re.compile(rb"\n[\x80-\xff]*[\0-\x7f]\x08\0\x10\xff"), "PaddlePaddle program"),
    (re.compile(rb'\{"base_code":\s*\{"magic":\s*"pir"'), "PaddlePaddle program"),
    (re.compile(rb"7767517\n"), "ncnn network"),
)
_ONNX_KEYS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"ggjt", "GGML model"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 or Keras file"),
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


def is_onnx_name(name: str) -> bool:
    """Whether a file is an ONNX model by its name, so that files beside it may hold its tensors."""
    return name.lower().endswith(ONNX_ENDING)


def may_be_model(head: bytes) -> bool:
    """Whether the first bytes may be those of a model, an archive or a pickle.

    Pickles of protocols 0 and 1 begin as any text does and are not noticed.
    """
    return (
        head.startswith((b"\x80", b"PK\x03\x04", b"PK\x05\x06", b"GGUF", b"\x93NUMPY"))
        or head[257:262] == b"ustar"
        or (len(head) > 8 and _looks_safetensors(head))
    )


def sniff(file: BinaryIO, size: int) -> Kind:
    """Tell the format of an open file of ``size`` bytes; leaves the position anywhere."""
    file.seek(0)
    head = file.read(HEAD)
    if not head:
        return Kind("empty file", "damaged", "is empty; get the file again")
    if fits_tar(head):
        other = _beside_tar(file, head, size)
        return _two_at_once(other, "a tar archive") if other else TAR
    kind = SAFETENSORS if _looks_safetensors(head) else GGUF if head.startswith(b"GGUF") else None
    kind = kind or _pickle_kind(file, head, size) or _other_kind(head)
    if kind in (SAFETENSORS, GGUF, TORCH_STREAM, ONNX) and ends_as_zip(file, size):
        return _two_at_once(kind, "a zip archive")
    # What an archive was put into as it is ends with its list too, but its offsets are others.
    if kind is GZIP and ends_as_zip(file, size, shifted=False):
        return _two_at_once(kind, "a zip archive")
    if kind in (SAFETENSORS, GGUF) and names_code(file, size):
        return _two_at_once(kind, "a Python pickle")
    if (
        kind.code == "unsupported"
        and kind.format == _UNKNOWN
        and names_code(file, size, calls=True)
    ):
        return PICKLE
    return kind


def _beside_tar(file: BinaryIO, head: bytes, size: int) -> Kind | None:
    """What else a tar archive is, if it is anything."""
    if _looks_safetensors(head):
        return SAFETENSORS
    if _is_stream(head):
        return TORCH_STREAM
    for mark, kind in _BINARY.items():
        if head.startswith(mark):
            return kind
    if names_code(file, size):
        return PICKLE
    return ZIP if ends_as_zip(file, size, shifted=False) else None


def _two_at_once(kind: Kind, other: str) -> Kind:
    """Refuse a file that two readers understand differently."""
    why = f"is a {kind.format} and {other} at once, which no honest program writes; do not load it"
    return Kind(f"{kind.format} and {other.partition(' ')[2]}", "dangerous", f"{why} elsewhere")


def _looks_onnx(head: bytes) -> bool:
    """Tell by the version that comes first and the key of any other field of a model."""
    return head[0] == 0x08 and len(head) > 3 and 0 < head[1] < 32 and head[2] in _ONNX_KEYS


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
    if head.startswith(b"\x93NUMPY"):
        return NPY
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
    # Protocols 0 and 1 have no mark: accept what the opcodes lead to a STOP or a call from. Where
    # only some unpicklers follow, it is most often other text, unless it names something.
    names = odd = False
    texts = 0
    with catch_warnings(action="ignore"):
        try:
            for name, argument, _ in lenient_opcodes(io.BytesIO(head)):
                if name in ("GLOBAL", "INST"):
                    names |= is_name(argument)
                if name == "STACK_GLOBAL":
                    if not texts:
                        return False
                    names = True
                odd |= isinstance(argument, OddText)
                texts += isinstance(argument, str)
                if (name == "STOP" and (names or not odd)) or (names and name in CALLS):
                    return True
        except (ValueError, IndexError, OverflowError):
            return False
    return False


def _other_kind(head: bytes) -> Kind:
    """Name what else it may be."""
    if head.startswith(b"\x1f\x8b"):
        return GZIP
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return _unsupported(name)
    for pattern, name in _CONVERTED:
        if pattern.match(head):
            return _unsupported(name, FROM_ORIGINAL)
    if _looks_onnx(head):
        return ONNX
    if head.startswith(b"version https://git-lfs.github.com/spec"):
        why = "is a Git LFS pointer and not the file itself; run `git lfs pull` in its folder"
        return Kind("Git LFS pointer", "damaged", why)
    start = head.lstrip()[:256].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        why = "is a web page and not a checkpoint; download the file itself"
        return Kind("web page", "damaged", why)
    if start.startswith(b"{") and b'"weight_map"' in head:
        why = f"is the index of a checkpoint in several shards; {OPENS}"
        return Kind("index of sharded safetensors", "unsupported", why)
    return Kind(_UNKNOWN, "unsupported", f"is of a format that is not known; {OPENS}")


def _unsupported(name: str, advice: str = OPENS) -> Kind:
    """Refuse a known format by name."""
    article = "an" if name[0] in "AEIOU" or name.startswith(("HDF", "RAR", "ncnn", "xz")) else "a"
    return Kind(name, "unsupported", f"is {article} {name}; {advice}")


_LONG = 1 << 20
_MAX_OPCODES = 100_000
# Readers look for the end record in the last 65 557 bytes; those that read in blocks look further.
_TAIL = 1 << 17
CALLS = ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")
_START, _LEADING = b"PK\x01\x02", re.compile(rb"[\s\x1c-\x1f\0]*[+-]?(?:0o)?([0-7][0-7_]*)")


def fits_tar(head: bytes) -> bool:
    """Tell by the sum of a tar header; old ones have no other mark, and torch.load tries tar first.

    Python's tarfile takes a number as ``int`` does (signs, underscores, ``0o``, blanks of all
    kinds, nothing for 0) or as bytes, and signed sums; other readers stop at an odd character.
    """
    if len(head) < 512:
        return False
    rest = head[:148] + head[156:512]
    unsigned = 256 + sum(rest)
    sums = (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest))
    return any(number in sums for number in _stated_sums(head[148:156]))


def _stated_sums(field: bytes) -> list[int]:
    """What readers may take for the sum."""
    sums = []
    if field[0] & 0x80:
        sums = [int.from_bytes(field, "big") & ~(1 << 63), int.from_bytes(field[1:], "big")]
        sums.append(sums[-1] - (1 << 56))
    else:
        with suppress(ValueError):
            sums.append(int(field.split(b"\0")[0].decode("ascii").strip() or "0", 8))
    if leading := _LEADING.match(field):
        sums.append(int(leading[1].replace(b"_", b""), 8))
    return sums


def ends_as_zip(file: BinaryIO, size: int, *, shifted: bool = True) -> bool:
    """Tell whether the list of members of a zip archive can be found from the end of a file.

    Parameters
    ----------
    file, size
        An open file of ``size`` bytes that begins as something else.
    shifted
        Whether the archive's offsets may count from a place inside the file, as in an archive that
        was embedded whole in another.
    """
    begin = max(0, size - _TAIL)
    file.seek(begin)
    tail = file.read(size - begin)
    for match in re.finditer(rb"PK(?:\x05\x06|\x06[\x06\x07])", tail):
        at, mark = begin + match.start(), match[0]
        if mark == b"PK\x05\x06":
            places = _from_end(file, at, shifted)
        elif mark == b"PK\x06\x06":
            places = _from_end64(file, at, shifted)
        else:
            file.seek(at + 8)
            raw = file.read(8)
            places = _from_end64(file, int.from_bytes(raw, "little"), shifted)
        if any(_is_at(file, size, place, _START) for place in places):
            return True
    return False


def _from_end(file: BinaryIO, at: int, shifted: bool) -> list[int]:
    """Where the list may begin according to the end record at ``at``."""
    file.seek(at)
    raw = file.read(22)
    if len(raw) < 22:
        return []
    length, start = struct.unpack_from("<2L", raw, 12)
    # Of a 64-bit archive, 76 more bytes lie between the list and this record.
    return [start, at - length, at - length - 76] if shifted else [start]


def _from_end64(file: BinaryIO, at: int, shifted: bool) -> list[int]:
    """The same for a 64-bit end record."""
    if at >= 1 << 62:
        return []
    file.seek(at)
    raw = file.read(56)
    if len(raw) < 56 or raw[:4] != b"PK\x06\x06":
        return []
    length, start = struct.unpack_from("<2Q", raw, 40)
    return [start, at - length] if shifted else [start]


def _is_at(file: BinaryIO, size: int, place: int, mark: bytes) -> bool:
    if not 0 <= place <= size - len(mark):
        return False
    file.seek(place)
    return file.read(len(mark)) == mark


class _Forward(io.RawIOBase):
    """A file that is read from its start and gives no long text: only its length matters."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        file.seek(0)
        self._file, self._size, self._at = file, size, 0

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> Any:
        if not 0 <= size <= self._size - self._at:
            return b""  # it is cut short, for every reader
        if size > _LONG:
            self._at += size
            self._file.seek(self._at)
            raise SkippedError
        raw = self._file.read(size)
        self._at += len(raw)
        return raw

    def readline(self, size: int | None = -1) -> bytes:
        raw = part = self._file.readline(_LONG)
        while part and part[-1:] != b"\n":
            self._at = _next_data(self._file, self._at + len(part), self._size)
            self._file.seek(self._at)
            part = self._file.readline(_LONG)
        self._at += len(part)
        return raw if raw is part else raw + part[-1:]


def _next_data(file: BinaryIO, at: int, size: int) -> int:
    """The first place from ``at`` on outside the holes of a sparse file, which have no line end."""
    if not isinstance(getattr(file, "raw", None), io.FileIO):
        return at  # a member's places are not those of the file that it lies in
    try:
        descriptor, seek_data = file.fileno(), os.SEEK_DATA
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            return os.lseek(descriptor, at, seek_data)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)  # the file has read ahead up to here
    except (AttributeError, OSError) as error:
        return size if getattr(error, "errno", None) == errno.ENXIO else at


def names_code(file: BinaryIO, size: int, *, calls: bool = False) -> bool:
    """Tell whether a file of ``size`` bytes is also a pickle that names something.

    With ``calls``, only if something is called afterwards: lines of text can look like a name.
    """
    texts = names = 0
    opcodes = lenient_opcodes(cast(BinaryIO, _Forward(file, size)))
    with catch_warnings(action="ignore"):  # of escapes that Python no longer likes
        try:
            for count, (name, argument, _) in enumerate(opcodes):
                if name in ("GLOBAL", "INST"):
                    names += is_name(argument)
                elif name == "STACK_GLOBAL":
                    if not texts:
                        return False  # every unpickler stops
                    names += 1
                if count > _MAX_OPCODES or (names and (not calls or name in CALLS)):
                    return True
                texts += isinstance(argument, str)
        except OSError:  # of the file, not of what it holds; one kind is a ValueError too
            raise
        except (ValueError, IndexError, OverflowError):
            return False
    return False


def is_name(argument: Any) -> bool:
    """Tell whether an opcode names an object as Python can."""
    return all(part.isidentifier() for part in re.split(r"[. ]", str(argument)))
