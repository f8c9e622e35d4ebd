"""The names in a pickle that cannot be followed any more: what an ordinary loader may reach."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from ml_core.reading.pickles.budget import STEPS_OF_A_NAME, Budget, PickleError
from ml_core.reading.pickles.opcodes import lenient_opcodes
from ml_core.reading.pickles.reading import Reading

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
    found: Reading,
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
        What was kept by then; of the stack, only texts matter.
    """
    texts = [item if isinstance(item, str) else "" for item in stack[-2:]]
    kept = {key: item for key, item in memo.items() if isinstance(item, str)}
    last = texts[-1] if texts else ""
    places = len(memo)
    file = io.BytesIO(raw)
    file.seek(start)
    try:
        for name, argument, at in lenient_opcodes(file):
            budget.beyond -= 1
            if budget.beyond < 0:
                _search(raw, at, len(raw), found, budget)
                return
            known, found.span = len(found.names), (at, file.tell())
            if name in ("GLOBAL", "INST"):
                module, _, attribute = str(argument).partition(" ")
                found.name(module, attribute)
            elif name == "STACK_GLOBAL" and len(texts) == 2:
                found.name(texts[0], texts[1])
            elif name == "STACK_GLOBAL":
                # Picklers put both texts right before it; this can be any two.
                found.misused("a name is put together while it is loaded")
            elif name == "DUP":
                texts = [*texts[-1:], *texts[-1:]]
                continue
            elif name == "MEMOIZE":
                kept[places] = last
                places += 1
                continue
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                kept[argument] = last
                places += 1
                continue
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                last = kept.get(argument, "")
                texts = [*texts[-1:], last]
                continue
            elif isinstance(argument, str):
                last = argument
                texts = [*texts[-1:], argument]
                continue
            last, texts = "", []
            if len(found.names) > known:
                budget.beyond -= STEPS_OF_A_NAME
    except PickleError:  # there are too many names
        return
    except (ValueError, IndexError, OverflowError, AttributeError):
        _search(raw, file.tell(), min(len(raw), file.tell() + _BEHIND), found, budget)


def _search(raw: bytes, position: int, end: int, found: Reading, budget: Budget) -> None:
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
                found.span = before + first.start(), match.end() + 1
                found.name(first[1].decode("ascii"), match[1].decode("ascii"))
        for match in islice(_END.finditer(raw, position, end), _MAX_ENDS):
            if not _BEFORE.search(raw[match.start() - 3 : match.start()]):
                continue
            budget.tries -= 1
            if budget.tries < 0:
                break
            before = max(position, match.end() - 3 * _LINE)
            if names := _STACKED.search(raw[before : match.end()]):
                found.span = before + names.start(), match.end()
                found.name(names[1].decode("ascii"), names[2].decode("ascii"))
    except ValueError:  # there are too many
        return
