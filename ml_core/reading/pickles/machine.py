"""A stack machine for pickles that never imports, calls or builds what a pickle names.

The opcodes are read by the standard library's ``pickletools.genops``, which executes nothing.
Every name becomes a :class:`Global`, every call an inert record; tensor builders are done here.
The machine is stricter than Python's: opcodes that no checkpoint needs, frames that do not end
where an opcode ends and bytes after the end are refused.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any
from warnings import catch_warnings

from ml_core.reading.pickles.calls import freeze, made, misuse_of_state, note_misuse
from ml_core.reading.pickles.names import STORAGES
from ml_core.reading.pickles.reading import (
    MAX_BYTES,
    MAX_MARKS,
    MAX_MEMO,
    MAX_STACK,
    STEPS_OF_A_NAME,
    Budget,
    Global,
    Object,
    PickleError,
    Reading,
    Storage,
    Table,
    TooMuchError,
)
from ml_core.reading.pickles.search import Opcode, add_names


def storage_of(pid: Any) -> Storage | Global:
    """Read a mark: ('storage', class, key, device, elements).

    The legacy layout marks classes of whole modules too: ('module', class, file, source).

    Raises
    ------
    PickleError
        If it is not a storage.
    """
    kind = pid[0] if isinstance(pid, tuple) and len(pid) in (4, 5, 6) else None
    if not isinstance(kind, str):
        raise PickleError("it refers to something outside that is no storage")
    if kind == "module" and len(pid) == 4:
        if not isinstance(pid[1], Global):
            raise PickleError("it refers to a module's class by something that is no name")
        return pid[1]
    if kind != "storage" or len(pid) == 4:
        raise PickleError("it refers to something outside that is no storage")
    of, key, device, elements = pid[1:5]
    if len(pid) == 6 and pid[5] is not None:
        raise PickleError("it holds a view of a storage, which only very old files have")
    known = isinstance(of, Global) and of.name in STORAGES and of.module in ("torch", "torch.cuda")
    untyped = isinstance(of, Global) and of.full == "torch.storage UntypedStorage"
    if not (known or untyped):
        raise PickleError("a storage is of a class that is none")
    if not isinstance(key, str) or len(key) > 20 or not (key.isascii() and key.isdigit()):
        raise PickleError("a storage has no valid key")
    if not isinstance(device, str) or len(device) > 40:
        raise PickleError("a storage has no valid device")
    if not isinstance(elements, int) or isinstance(elements, bool) or not 0 <= elements < 1 << 48:
        raise PickleError("a storage has no valid size")
    return Storage(key, *STORAGES[of.name], elements, device)


__all__ = ["MAX_BYTES", "Budget", "Reading", "read_pickle"]


class _Mark:
    """Where a group of arguments begins."""


_MARK = _Mark()


def read_pickle(
    raw: bytes,
    *,
    ends: bool = True,
    script: bool = False,
    budget: Budget | None = None,
    origin: int | None = None,
) -> Reading:
    """Follow one pickle from its first byte to its STOP.

    Parameters
    ----------
    raw
        The pickle, and what comes after it.
    ends
        Whether it must end where ``raw`` ends.
    script
        Whether it belongs to a TorchScript archive, so that it may name ``__torch__``.
    budget
        The steps that the file's pickles may still take; None gives this pickle a budget of its
        own.
    origin
        Where ``raw`` begins in the file; None if it lies packed there.

    Returns
    -------
    Reading
        It is also returned for a pickle that cannot be read. Its ``names`` then include those
        behind the unreadable place, as far as they are cheap to find, so that a damaged file is
        still called dangerous for what an ordinary loader would run.
    """
    # pickletools warns of escapes that Python no longer likes.
    with catch_warnings(action="ignore"):
        return _followed(_Machine(raw, script, budget or Budget(), origin), ends)


def _followed(machine: _Machine, ends: bool) -> Reading:
    raw, budget, reading = machine.raw, machine.budget, machine.reading
    try:
        machine.run()
        if ends and reading.end != len(raw):
            raise PickleError("bytes follow its end")
    except PickleError as error:
        reading.problem, reading.excess = str(error), isinstance(error, TooMuchError)
    except (ValueError, IndexError, OverflowError, AttributeError) as error:
        # What genops raises for opcodes and arguments that are none.
        reading.excess = "int_max_str_digits" in str(error)
        what = "a number in it has too many digits" if reading.excess else ""
        reading.problem = what or f"it cannot be parsed ({str(error)[:120]})"
        reading.short = _SHORT.search(str(error)) is not None
    except RecursionError:
        reading.problem, reading.excess = "it is nested too deeply", True
    if reading.problem:
        reading.value = None
        # What follows an end that is too early is read by nobody.
        if not reading.end:
            add_names(raw, machine.undone(), machine.stack, machine.memo, reading, budget)
    return reading


class _Machine:
    """Stack, memo and what was found; one method a family of opcodes."""

    def __init__(self, raw: bytes, script: bool, budget: Budget, origin: int | None) -> None:
        self.raw = raw
        self.budget = budget
        self.reading = Reading(script=script, origin=origin)
        self.stack: list[Any] = []
        self.marks = 0
        self.memo: dict[int, Any] = {}
        self.opcodes = _opcodes(raw)
        # An opcode is done when the next one is known to begin where it ends.
        self.before: Opcode | None = None

    def run(self) -> None:
        """Follow the opcodes to STOP."""
        if len(self.raw) > MAX_BYTES:
            raise TooMuchError(f"it has more than {MAX_BYTES >> 20} MiB")
        frame_end = 0
        for now in self.opcodes:
            if self.before is not None:
                name, value, start = self.before
                position = now[2]
                frame_end = self._frame(name, value, start, position, frame_end)
                if name == "PROTO":
                    if start != 0 or value > 5:
                        raise PickleError("its protocol mark is in the wrong place or unknown")
                else:
                    if name in ("GLOBAL", "INST") and b"\\" in self.raw[start:position]:
                        # pickletools undoes escapes in names, an ordinary loader does not.
                        raise PickleError("a name has a backslash")
                    self.reading.span = start, position
                    self._do(name, value)
                if name == "STOP":
                    self._stop(position, frame_end)
                    return
            self.before = now
            self.reading.opcodes += 1
            self.budget.spend(1)
        raise PickleError("it has no end")

    def undone(self) -> int:
        """Position of the first opcode that is not done yet."""
        return self.before[2] if self.before is not None else 0

    def _frame(self, name: str, value: Any, start: int, end: int, frame_end: int) -> int:
        """Keep opcodes inside their frame: readers disagree about those that cross its end."""
        if frame_end and start >= frame_end:
            if start > frame_end:
                raise PickleError("an opcode crosses the end of a frame")
            frame_end = 0
        if name == "FRAME":
            if frame_end:
                raise PickleError("a frame begins inside another")
            return end + int(value)
        if frame_end and end > frame_end:
            raise PickleError("an opcode crosses the end of a frame")
        return frame_end

    def _stop(self, position: int, frame_end: int) -> None:
        if frame_end and frame_end != position:
            raise PickleError("its last frame does not end where it ends")
        if len(self.stack) != 1:
            raise PickleError(f"it ends with {len(self.stack)} objects on its stack")
        self.reading.value = self._pop()
        self.reading.end = position

    def _do(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
            if len(self.stack) > MAX_STACK:
                raise TooMuchError(f"it puts more than {MAX_STACK} objects on its stack")
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _MAKERS:
            self.stack.append(_MAKERS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in ("FRAME", "STOP"):
            raise PickleError(f"it uses the opcode {name}, which checkpoints do not need")

    def _pop(self) -> Any:
        if not self.stack:
            raise PickleError("it takes from an empty stack")
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError("it takes a mark for an object")
        return value

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise PickleError("it needs an object that is not there")
        return self.stack[-1]

    def _marked(self) -> list[Any]:
        """Take everything down to the last mark."""
        at = len(self.stack) - 1
        while at >= 0 and self.stack[at] is not _MARK:
            at -= 1
        if at < 0:
            raise PickleError("it needs a mark that is not there")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        self.marks -= 1
        return values

    def _on_mark(self, _: Any) -> None:
        self.stack.append(_MARK)
        self.marks += 1
        if self.marks > MAX_MARKS:
            raise TooMuchError("it is nested too deeply")

    def _on_pop(self, _: Any) -> None:
        if not self.stack:
            raise PickleError("it takes from an empty stack")
        if self.stack.pop() is _MARK:
            self.marks -= 1

    def _on_put(self, key: Any) -> None:
        # A pickler counts; Python's unpickler makes room for all places up to this one.
        if not 0 <= int(key) < len(self.raw):
            raise PickleError("it keeps an object at a place that no pickler chooses")
        self.memo[int(key)] = self._top()
        if len(self.memo) > MAX_MEMO:
            raise TooMuchError(f"it keeps more than {MAX_MEMO} objects")

    def _on_get(self, key: Any) -> None:
        if int(key) not in self.memo:
            raise PickleError("it asks for an object that it did not keep")
        value = self.memo[int(key)]
        if isinstance(value, Object):
            value.given = True
        self.stack.append(value)

    def _on_tuple(self, size: int) -> None:
        values = [self._pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def _on_marked_dict(self, _: Any) -> None:
        pairs = _in_pairs(self._marked())
        self.stack.append(Table())
        self._set(pairs)

    def _extend(self, values: list[Any]) -> None:
        onto = self._top()
        if not isinstance(onto, list):
            note_misuse(self.reading, onto, "is told to append")
        else:
            onto.extend(values)

    def _set(self, pairs: list[tuple[Any, Any]]) -> None:
        onto = self._top()
        if not isinstance(onto, Table):
            note_misuse(self.reading, onto, "has items set")
            return
        if onto.given:
            raise PickleError("a table is changed after it was given to an object")
        for key, value in pairs:
            # A key is asked for its hash: an object by code of its class, a list has none.
            if isinstance(key, Table | list) or (
                isinstance(key, Object) and key.of.group == "code"
            ):
                raise PickleError("a key is no plain data")
            onto.put(key, value)

    def _on_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set([(key, value)])

    def _on_global(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push_global(module, name)

    def _on_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names an object by something that is no text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        known = len(self.reading.names)
        self.stack.append(self.reading.name(module, name))
        if len(self.reading.names) > known:
            self.budget.spend(STEPS_OF_A_NAME)

    def _on_reduce(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        if isinstance(called, Global) and called.group == "code":
            note_misuse(self.reading, called, "is called")
        self.stack.append(made(called, arguments, "is called", self.reading, self.budget))

    def _on_newobj(self, _: Any) -> None:
        arguments, of = self._pop(), self._pop()
        how = "is made an object of"
        self.stack.append(made(of, arguments, how, self.reading, self.budget))

    def _on_build(self, _: Any) -> None:
        state = self._pop()
        onto = self._top()
        if misuse := misuse_of_state(onto, state, self.budget):
            self.reading.misused(misuse)
        elif isinstance(onto, Table | Object):
            if onto.state is not None:
                raise PickleError("an object has its state set twice")
            onto.state = state
            freeze(state)


_SHORT = re.compile(r"exhausted before|only \d+ remain|not enough data|no newline found")
"""How genops says that a pickle ends too early."""


def _opcodes(raw: bytes) -> Iterator[Opcode]:
    """The opcodes, and one more entry for the end."""
    for opcode, argument, position in pickletools.genops(raw):
        at = position or 0
        yield opcode.name, argument, at
        if opcode.name == "STOP":
            yield "END", None, at + 1


def _in_pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    if len(values) % 2:
        raise PickleError("a key has no value")
    return list(zip(values[::2], values[1::2], strict=True))


_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MAKERS: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": Table, "EMPTY_SET": list}
_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": _Machine._on_mark,
    "POP": _Machine._on_pop,
    "POP_MARK": lambda machine, _: machine._marked(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._on_put),
    "MEMOIZE": lambda machine, _: machine._on_put(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._on_get),
    **dict.fromkeys(
        ("TUPLE", "FROZENSET"), lambda machine, _: machine.stack.append(tuple(machine._marked()))
    ),
    "TUPLE1": lambda machine, _: machine._on_tuple(1),
    "TUPLE2": lambda machine, _: machine._on_tuple(2),
    "TUPLE3": lambda machine, _: machine._on_tuple(3),
    "LIST": lambda machine, _: machine.stack.append(machine._marked()),
    "DICT": _Machine._on_marked_dict,
    "APPEND": lambda machine, _: machine._extend([machine._pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine._extend(machine._marked())),
    "SETITEM": _Machine._on_setitem,
    "SETITEMS": lambda machine, _: machine._set(_in_pairs(machine._marked())),
    "GLOBAL": _Machine._on_global,
    "STACK_GLOBAL": _Machine._on_stack_global,
    "REDUCE": _Machine._on_reduce,
    "NEWOBJ": _Machine._on_newobj,
    "BUILD": _Machine._on_build,
    "BINPERSID": lambda machine, _: machine.stack.append(storage_of(machine._pop())),
}
