"""A stack machine for pickles that never imports, calls or builds what a pickle names.

The opcodes are read by the standard library's ``pickletools.genops``, which executes nothing.
Every name becomes a :class:`Global`, every call an inert record; tensor builders are done here.
The machine is stricter than Python's: opcodes that no checkpoint needs, frames that do not end
where an opcode ends and bytes after the end are refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from warnings import catch_warnings

from ml_core.reading.pickles.builders import BUILDERS, build
from ml_core.reading.pickles.names import MAPPINGS, STORAGES, group_of
from ml_core.reading.pickles.records import Global, Object, Storage, Table, Tensor

MAX_BYTES = 32 << 20
MAX_OPCODES = 1_000_000
_MAX_FOUND = 1000


class PickleError(ValueError):
    """The pickle cannot be read; half a sentence says why."""


@dataclass
class Reading:
    """What a pickle holds.

    Attributes
    ----------
    value
        The object, made of plain values and records; None if ``problem`` is set.
    names
        Every object that the pickle names, in order, each once.
    misuse
        Uses of names that would run or change code in an ordinary loader, as half sentences.
    end
        Position after the last opcode.
    opcodes
        How many were read.
    problem
        Why the pickle cannot be read, as half a sentence; empty if it can.
    """

    value: Any = None
    names: dict[str, Global] = field(default_factory=dict)
    misuse: list[str] = field(default_factory=list)
    end: int = 0
    opcodes: int = 0
    problem: str = ""

    @property
    def unknown(self) -> list[str]:
        """Names of code that is not on the list."""
        return [name for name, found in self.names.items() if found.group == "unknown"]


class _Mark:
    """Where a group of arguments begins."""


_MARK = _Mark()


def read_pickle(raw: bytes, *, ends: bool = True) -> Reading:
    """Follow one pickle from its first byte to its STOP.

    Parameters
    ----------
    raw
        The pickle, and what comes after it.
    ends
        Whether it must end where ``raw`` ends.

    Returns
    -------
    Reading
        Also for a pickle that cannot be read: its ``names`` are those of all its opcodes then,
        so that a damaged file is still called dangerous for what an ordinary loader would run.
    """
    # pickletools warns of escapes that Python no longer likes.
    with catch_warnings(action="ignore"):
        return _followed(raw, ends)


def _followed(raw: bytes, ends: bool) -> Reading:
    machine = _Machine(raw)
    found = machine.reading
    try:
        machine.run()
        if ends and found.end != len(raw):
            raise PickleError("bytes follow its end")
    except PickleError as error:
        found.problem = str(error)
    except (ValueError, IndexError, OverflowError, AttributeError) as error:
        # What genops raises for opcodes and arguments that are none.
        found.problem = f"it cannot be parsed ({str(error)[:120]})"
    except RecursionError:
        found.problem = "it is nested too deeply"
    if found.problem:
        found.value = None
        _collect_names(raw, found)
    return found


class _Machine:
    """Stack, memo and what was found; one method a family of opcodes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.reading = Reading()
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> None:
        """Follow the opcodes to STOP."""
        if len(self.raw) > MAX_BYTES:
            raise PickleError(f"it has more than {MAX_BYTES >> 20} MiB")
        frame_end = 0
        before: tuple[str, Any, int] | None = None
        for count, (opcode, argument, position) in enumerate(_opcodes(self.raw), start=1):
            if before is not None:
                name, value, start = before
                frame_end = self._frame(name, value, start, position, frame_end)
                if name == "PROTO":
                    if start != 0 or value > 5:
                        raise PickleError("its protocol mark is in the wrong place or unknown")
                else:
                    if name in ("GLOBAL", "INST") and b"\\" in self.raw[start:position]:
                        # pickletools undoes escapes in names, an ordinary loader does not.
                        raise PickleError("a name has a backslash")
                    self._do(name, value)
                if name == "STOP":
                    self._stop(position, frame_end)
                    return
            before = (opcode, argument, position)
            self.reading.opcodes = count
            if count > MAX_OPCODES:
                raise PickleError(f"it has more than {MAX_OPCODES} opcodes")
        raise PickleError("it has no end")

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
        """Carry out one opcode."""
        if name in _VALUES:
            self.stack.append(argument)
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
        return values

    def _on_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _on_pop(self, _: Any) -> None:
        if not self.stack:
            raise PickleError("it takes from an empty stack")
        self.stack.pop()

    def _on_pop_mark(self, _: Any) -> None:
        self._marked()

    def _on_put(self, key: Any) -> None:
        if int(key) < 0:
            raise PickleError("it keeps an object at a place below zero")
        self.memo[int(key)] = self._top()

    def _on_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self._top()

    def _on_get(self, key: Any) -> None:
        if int(key) not in self.memo:
            raise PickleError("it asks for an object that it did not keep")
        self.stack.append(self.memo[int(key)])

    def _on_tuple(self, size: int) -> None:
        values = [self._pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def _on_marked_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._marked()))

    def _on_marked_list(self, _: Any) -> None:
        self.stack.append(self._marked())

    def _on_marked_dict(self, _: Any) -> None:
        pairs = _in_pairs(self._marked())
        self.stack.append(Table())
        self._set(pairs)

    def _extend(self, values: list[Any]) -> None:
        onto = self._top()
        if not isinstance(onto, list):
            self._misused(onto, "is told to append")
        else:
            onto.extend(values)

    def _on_append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _on_appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _set(self, pairs: list[tuple[Any, Any]]) -> None:
        onto = self._top()
        if not isinstance(onto, Table):
            self._misused(onto, "has items set")
            return
        for key, _ in pairs:
            # A key is asked for its hash: an object by code of its class, a list has none.
            if isinstance(key, Table | list) or (
                isinstance(key, Object) and key.of.group == "code"
            ):
                raise PickleError("a key is no plain data")
        onto.items.extend(pairs)

    def _on_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set([(key, value)])

    def _on_setitems(self, _: Any) -> None:
        self._set(_in_pairs(self._marked()))

    def _on_global(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push_global(module, name)

    def _on_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names an object by something that is no text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        self.stack.append(_note(self.reading, module, name))

    def _on_reduce(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        if isinstance(called, Global) and called.group == "code":
            self._misused(called, "is called")
        self._make(called, arguments, "is called")

    def _on_newobj(self, _: Any) -> None:
        arguments, of = self._pop(), self._pop()
        self._make(of, arguments, "is made an object of")

    def _make(self, called: Any, arguments: Any, how: str) -> None:
        """Record a call, or do it if it builds a tensor or a dictionary."""
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            self._misused(called, how)
            self.stack.append(None)
            return
        if called.group == "code" and arguments:
            self.reading.misuse.append(f"{called.full} is called with arguments")
        if called.group == "tensors" and called.full not in BUILDERS:
            raise PickleError(f"{called.full} {how}, which checkpoints do not need")
        if called.name == "_rebuild_from_type_v2":
            self._rebuilt_by(arguments)
        if called.full in MAPPINGS:
            self.stack.append(self._mapping(called, arguments))
            return
        try:
            self.stack.append(build(called, arguments))
        except ValueError as error:
            raise PickleError(str(error)) from None

    def _rebuilt_by(self, arguments: tuple[Any, ...]) -> None:
        """Look at the function that an ordinary loader calls to make a tensor of a subclass."""
        function = arguments[0] if arguments else None
        if not isinstance(function, Global):
            raise PickleError("a tensor is rebuilt by something that is no function")
        if function.group != "unknown" and function.full not in BUILDERS:
            self.reading.misuse.append(f"{function.full} is given to be called")

    def _mapping(self, called: Global, arguments: tuple[Any, ...]) -> Table:
        """An empty dictionary of a class; items given as arguments are lists of pairs."""
        made = Table(kind=called.name)
        for argument in arguments:
            if isinstance(argument, Table):
                made.items.extend(argument.items)
            elif isinstance(argument, list):
                pairs = [tuple(p) for p in argument if isinstance(p, list | tuple) and len(p) == 2]
                if len(pairs) != len(argument):
                    raise PickleError(f"{called.full} is given something that is no pair")
                made.items.extend((pair[0], pair[1]) for pair in pairs)
            elif isinstance(argument, Global) and argument.group != "data":
                self.reading.misuse.append(f"{called.full} is given {argument.full} to call")
            elif not isinstance(argument, Global | None):
                raise PickleError(f"{called.full} is given something that is no dictionary")
        return made

    def _on_build(self, _: Any) -> None:
        state = self._pop()
        onto = self._top()
        if isinstance(onto, Table | Object):
            onto.state = state
        elif not (isinstance(onto, Tensor) and state is None):
            self._misused(onto, "has its state set")

    def _on_persid(self, _: Any) -> None:
        self.stack.append(_storage(self._pop()))

    def _misused(self, what: Any, how: str) -> None:
        """Note a use that an ordinary loader would carry out, or refuse nonsense."""
        if isinstance(what, Global):
            self.reading.misuse.append(f"{what.full} {how}")
        elif isinstance(what, Object):
            self.reading.misuse.append(f"an object of {what.of.full} {how}")
        else:
            raise PickleError(f"a plain value {how}")


def _opcodes(raw: bytes) -> Iterator[tuple[str, Any, int]]:
    """Names, arguments and positions of the opcodes, and one more entry for the end."""
    for opcode, argument, position in pickletools.genops(raw):
        at = position or 0
        yield opcode.name, argument, at
        if opcode.name == "STOP":
            yield "END", None, at + 1


def _in_pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    if len(values) % 2:
        raise PickleError("a key has no value")
    return list(zip(values[::2], values[1::2], strict=True))


def _note(found: Reading, module: str, name: str) -> Global:
    full = f"{module} {name}"
    known = found.names.get(full)
    if known is None:
        known = Global(module, name, group_of(module, name))
        if len(found.names) < _MAX_FOUND or known.group == "unknown":
            if len(found.names) > 10 * _MAX_FOUND:
                raise PickleError("it names too many objects")
            found.names[full] = known
    return known


def _storage(pid: Any) -> Storage | Global:
    """Read torch's mark for a block of numbers: ('storage', class, key, device, elements).

    The legacy layout marks classes of whole modules too: ('module', class, file, source).
    """
    if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
        if not isinstance(pid[1], Global):
            raise PickleError("it refers to a module's class by something that is no name")
        return pid[1]
    if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
        raise PickleError("it refers to something outside that is no storage")
    of, key, device, elements = pid[1:5]
    if len(pid) == 6 and pid[5] is not None:
        raise PickleError("it holds a view of a storage, which only very old files have")
    known = isinstance(of, Global) and of.name in STORAGES and of.module in ("torch", "torch.cuda")
    untyped = isinstance(of, Global) and of.full == "torch.storage UntypedStorage"
    if not (known or untyped):
        raise PickleError("a storage is of a class that is none")
    if not isinstance(key, str) or not key.isascii() or not key.isdigit() or len(key) > 20:
        raise PickleError("a storage has no valid key")
    if not isinstance(device, str) or len(device) > 40:
        raise PickleError("a storage has no valid device")
    if not isinstance(elements, int) or isinstance(elements, bool) or not 0 <= elements < 1 << 48:
        raise PickleError("a storage has no valid size")
    return Storage(key, *STORAGES[of.name], elements, device)


def _collect_names(raw: bytes, found: Reading) -> None:
    """Add the names of a pickle that could not be followed, as far as its opcodes can be read."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    last = ""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(raw[:MAX_BYTES])):
            if count > MAX_OPCODES:
                return
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                _note(found, module, name)
            elif opcode.name == "STACK_GLOBAL" and len(texts) >= 2:
                _note(found, texts[-2], texts[-1])
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = last
            elif isinstance(argument, int) and opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = last
            elif isinstance(argument, int) and opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                texts = [*texts[-1:], memo.get(argument, "")]
            last = texts[-1] if isinstance(argument, str) and texts else ""
    except (ValueError, IndexError, OverflowError, AttributeError):  # PickleError is a ValueError
        return


_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_MAKERS: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": Table, "EMPTY_SET": list}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._on_mark,
    "POP": _Machine._on_pop,
    "POP_MARK": _Machine._on_pop_mark,
    "PUT": _Machine._on_put,
    "BINPUT": _Machine._on_put,
    "LONG_BINPUT": _Machine._on_put,
    "MEMOIZE": _Machine._on_memoize,
    "GET": _Machine._on_get,
    "BINGET": _Machine._on_get,
    "LONG_BINGET": _Machine._on_get,
    "TUPLE": _Machine._on_marked_tuple,
    "TUPLE1": lambda machine, _: machine._on_tuple(1),
    "TUPLE2": lambda machine, _: machine._on_tuple(2),
    "TUPLE3": lambda machine, _: machine._on_tuple(3),
    "LIST": _Machine._on_marked_list,
    "FROZENSET": _Machine._on_marked_tuple,
    "DICT": _Machine._on_marked_dict,
    "APPEND": _Machine._on_append,
    "APPENDS": _Machine._on_appends,
    "ADDITEMS": _Machine._on_appends,
    "SETITEM": _Machine._on_setitem,
    "SETITEMS": _Machine._on_setitems,
    "GLOBAL": _Machine._on_global,
    "STACK_GLOBAL": _Machine._on_stack_global,
    "REDUCE": _Machine._on_reduce,
    "NEWOBJ": _Machine._on_newobj,
    "BUILD": _Machine._on_build,
    "BINPERSID": _Machine._on_persid,
}
