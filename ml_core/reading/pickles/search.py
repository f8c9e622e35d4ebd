"""Find names in a pickle that cannot be followed, since an ordinary loader may reach them."""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

from ml_core.reading.pickles.reading import STEPS_OF_A_NAME, Budget, PickleError, Reading

Opcode = tuple[str, Any, int]  # name, argument, position

_TABLE = {opcode.code: opcode for opcode in pickletools.opcodes}
_END_OF_LINE = pickletools.UP_TO_NEWLINE


class OddText(str):
    """An argument that ``pickletools`` does not take, as text."""


class SkippedError(Exception):
    """Raised by a file that skips a long run of bytes and does not return it."""


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


# A second line of a name, with whatever follows where the object is used (a mark, a value, the
# memo, the next name), and the first line before it. Runs cannot overlap, so the time is linear.
# Text that only looks like a name is no loss, as the pickle is refused in any case.
_SECOND = re.compile(rb"\n([A-Za-z_][\w.]{0,99})(?=\n[()NRbqrph}\]\x85\x8cXKJSVUc\x93\x94])")
_FIRST = re.compile(rb"c([A-Za-z_][\w.]{0,98})\Z")
# The same for names that are put on the stack one by one.
_END = re.compile(rb"\x93")
_BEFORE = re.compile(rb"\w(?:\x94|q.)?\Z", re.DOTALL)
_STACKED = re.compile(
    rb"\x8c[\x01-\x64]([A-Za-z_][\w.]{0,99})(?:\x94|q.)?"
    rb"\x8c[\x01-\x64]([A-Za-z_][\w.]{0,99})(?:\x94|q.)?\x93\Z",
    re.DOTALL,
)
_LINE = 100
_MAX_ENDS = 200_000
# How far behind a byte that is no opcode: every unpickler that is known stops there.
_BEHIND = 1 << 16


def add_names(
    raw: bytes,
    start: int,
    stack: Sequence[Any],
    memo: Mapping[int, Any],
    reading: Reading,
    budget: Budget,
) -> None:
    """Add the names behind the place where a pickle could not be followed.

    Its opcodes are read on, as the most lenient loader does until it stumbles; where that is, or
    the budget ends, the bytes behind are searched.

    Parameters
    ----------
    raw, start
        The pickle, and the first opcode that was not done.
    stack, memo
        The stack and the memo at that place; only texts of the stack matter.
    """
    texts = [item if isinstance(item, str) else "" for item in stack[-2:]]
    strings = {key: item for key, item in memo.items() if isinstance(item, str)}
    last = texts[-1] if texts else ""
    places = len(memo)
    file = io.BytesIO(raw)
    file.seek(start)
    try:
        for name, argument, at in lenient_opcodes(file):
            budget.beyond -= 1
            if budget.beyond < 0:
                _search(raw, at, len(raw), reading, budget)
                return
            known, reading.span = len(reading.names), (at, file.tell())
            if name in ("GLOBAL", "INST"):
                module, _, attribute = str(argument).partition(" ")
                reading.name(module, attribute)
            elif name == "STACK_GLOBAL" and len(texts) == 2:
                reading.name(texts[0], texts[1])
            elif name == "STACK_GLOBAL":
                # Picklers put both texts right before it; this can be any two.
                reading.misused("a name is put together while it is loaded")
            elif name == "DUP":
                texts = [*texts[-1:], *texts[-1:]]
                continue
            elif name == "MEMOIZE":
                strings[places] = last
                places += 1
                continue
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                strings[argument] = last
                places += 1
                continue
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                last = strings.get(argument, "")
                texts = [*texts[-1:], last]
                continue
            elif isinstance(argument, str):
                last = argument
                texts = [*texts[-1:], argument]
                continue
            last, texts = "", []
            if len(reading.names) > known:
                budget.beyond -= STEPS_OF_A_NAME
    except PickleError:  # there are too many names
        return
    except (ValueError, IndexError, OverflowError, AttributeError):
        _search(raw, file.tell(), min(len(raw), file.tell() + _BEHIND), reading, budget)


def _search(raw: bytes, position: int, end: int, reading: Reading, budget: Budget) -> None:
    """Look for what reads like a name in the bytes between two places."""
    end = min(end, position + budget.searched)
    budget.searched -= end - position
    try:
        for match in _SECOND.finditer(raw, position, end):
            budget.tries -= 1
            if budget.tries < 0:
                break
            before = max(position, match.start() - _LINE)
            if first := _FIRST.search(raw[before : match.start()]):
                reading.span = before + first.start(), match.end() + 1
                reading.name(first[1].decode("ascii"), match[1].decode("ascii"))
        for match in islice(_END.finditer(raw, position, end), _MAX_ENDS):
            if not _BEFORE.search(raw[match.start() - 3 : match.start()]):
                continue
            budget.tries -= 1
            if budget.tries < 0:
                break
            before = max(position, match.end() - 3 * _LINE)
            if names := _STACKED.search(raw[before : match.end()]):
                reading.span = before + names.start(), match.end()
                reading.name(names[1].decode("ascii"), names[2].decode("ascii"))
    except ValueError:  # there are too many
        return
