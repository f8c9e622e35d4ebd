"""The opcodes of a pickle as the most lenient unpickler reads them.

Python's and PyTorch's unpicklers take numbers in other notations and texts in other encodings than
``pickletools`` does, which stops at them; what lies behind is run all the same.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from typing import Any, BinaryIO

Opcode = tuple[str, Any, int]  # name, argument, position

_TABLE = {opcode.code: opcode for opcode in pickletools.opcodes}
_END_OF_LINE = pickletools.UP_TO_NEWLINE


class OddText(str):
    """An argument that ``pickletools`` does not take, as text."""


class SkippedError(Exception):
    """Raised by a file that went past many bytes instead of giving them."""


def lenient_opcodes(file: BinaryIO) -> Iterator[Opcode]:
    """Follow opcodes from where a file stands to STOP; it needs read, readline and tell.

    Arguments that only some unpicklers take become `OddText`, and so do those that the file skips
    (`SkippedError`).

    Raises
    ------
    ValueError
        Where every unpickler stops: at a byte that is no opcode, or at the end.
    """
    name = ""
    while name != "STOP":
        at = file.tell()
        opcode = _TABLE.get(file.read(1).decode("latin-1"))
        if opcode is None:
            raise ValueError(f"no opcode at {at}")
        name = opcode.name
        yield name, _argument(opcode, file), at


def _argument(opcode: pickletools.OpcodeInfo, file: BinaryIO) -> Any:
    if opcode.arg is None:
        return None
    if opcode.name in ("GLOBAL", "INST"):
        # As they stand: pickletools would undo escapes.
        module, name = _line(file), _line(file)
        return f"{_text(module)} {_text(name)}"
    if opcode.arg.n == _END_OF_LINE:
        line = _line(file)
        try:
            return opcode.arg.reader(io.BytesIO(line + b"\n"))
        except ValueError:
            return OddText(_text(line.strip(b"\"'")))
    try:
        return opcode.arg.reader(file)
    except SkippedError:
        return OddText()
    except UnicodeDecodeError as error:
        # Its bytes were read, so the next opcode is known.
        return OddText(_text(bytes(error.object)))


def _line(file: BinaryIO) -> bytes:
    line = file.readline()
    if line[-1:] != b"\n":
        raise ValueError("a line without an end")
    return line[:-1]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
