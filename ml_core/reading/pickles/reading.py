"""What a pickle turns into here: plain values, inert records, and what was found on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ml_core.reading.pickles.names import Group, group_of


@dataclass(frozen=True, slots=True)
class Global:
    """A named object; the name is all there is."""

    module: str
    name: str
    group: Group

    @property
    def full(self) -> str:
        """Module and name, separated by a space as in the pickle."""
        return f"{self.module} {self.name}"


@dataclass(eq=False, slots=True)
class Table:
    """A dictionary: pairs in the order in which they were set, so that no key is ever hashed.

    ``special`` is the first key like ``__class__``, ``named`` whether all keys are text, and
    ``given`` whether an object took it for its state, after which it may not change.
    """

    items: list[tuple[Any, Any]] = field(default_factory=list)
    kind: str = "dict"
    state: Any = None
    special: str = ""
    named: bool = True
    given: bool = False

    def put(self, key: Any, value: Any) -> None:
        self.items.append((key, value))
        if not isinstance(key, str):
            self.named = False
        elif key.startswith("__") and key.endswith("__"):
            # torch.jit.script leaves an empty table of that name in a module.
            if key == "__overloads__" and isinstance(value, Table) and not value.items:
                value.given = True
            else:
                self.special = self.special or key


@dataclass(eq=False, slots=True)
class Object:
    """An object of a class that was not made: its class, arguments and state.

    ``given`` is whether the memo gave it out; if not, it can be in one place only.
    """

    of: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    given: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """A block of numbers that lies elsewhere in the file.

    ``dtype`` is safetensors' name of its elements, "" for a type that no safetensors file has,
    ``width`` the bytes of one; ``elements`` is what the pickle claims.
    """

    key: str
    dtype: str
    width: int
    elements: int
    device: str


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A tensor as the pickle describes it; nothing of it is checked yet.

    ``offset`` and ``stride`` count elements. If the pickle calls the storage one of bytes,
    ``typed`` is the elements' type and the bytes of one; None takes the storage's.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    typed: tuple[str, int] | None = None

    @property
    def dtype(self) -> str:
        """safetensors' name of the elements' type, "" if it has no name there."""
        return self.typed[0] if self.typed else self.storage.dtype

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return self.typed[1] if self.typed else self.storage.width


MAX_BYTES = 32 << 20
MAX_WORK = 750_000
MAX_STACK = 300_000
MAX_MARKS = 1000
MAX_MEMO = 300_000
MAX_NAME = 1000
STEPS_OF_A_NAME = 20  # one that is new; a checkpoint has some hundred
_BYTES_A_STEP = 64


class PickleError(ValueError):
    """The pickle cannot be read; half a sentence says why."""


class TooMuchError(PickleError):
    """The pickle asks for more than this tool allows; getting the file again does not help."""


@dataclass
class Budget:
    """Steps that are left, shared by the pickles of one file.

    Parameters
    ----------
    steps
        Opcodes that may be followed, and what counts as much.
    beyond
        Opcodes that may be looked at for names in a pickle that cannot be followed any more.
    searched, tries
        Bytes behind those that may be searched for names, and how many may be looked at closely.
    """

    steps: int = MAX_WORK
    beyond: int = MAX_WORK // 4
    searched: int = MAX_BYTES
    tries: int = 5000

    def spend(self, steps: int) -> None:
        """Take steps away.

        Raises
        ------
        PickleError
            If there are not as many.
        """
        self.steps -= steps
        if self.steps < 0:
            raise TooMuchError(f"it takes more than the {MAX_WORK} steps that a file may take")

    def spend_bytes(self, count: int) -> None:
        """Take away what making so many bytes costs."""
        self.spend(count // _BYTES_A_STEP)


_LONGEST = 160
_ITEMS, _DEPTH, _BITS = 8, 3, 64


def call_text(called: Global, arguments: tuple[Any, ...]) -> str:
    """A call as Python would write it, its arguments in ASCII, cut where it is long."""
    return f"{called.full.replace(' ', '.')[:100]}({_cut(_items(arguments, 0))})"


def _literal(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes | bytearray):
        return ascii(value[:_LONGEST])
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, Global):
        return ascii(value.full.replace(" ", "."))[1:-1]
    if depth >= _DEPTH:
        return "..."
    if isinstance(value, tuple):
        return f"({_items(value, depth)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{_items(value, depth)}]"
    if isinstance(value, Table):
        pairs = (
            f"{_literal(key, depth + 1)}: {_literal(item, depth + 1)}" for key, item in value.items
        )
        return f"{{{_joined(pairs)}}}"
    if isinstance(value, Object):
        return f"{_literal(value.of, depth)}({_items(value.arguments, depth)})"
    return f"a {type(value).__name__.lower()}"


def _items(values: Iterable[Any], depth: int) -> str:
    return _joined(_literal(value, depth + 1) for value in values)


def _joined(texts: Iterable[str]) -> str:
    shown = list(islice(texts, _ITEMS + 1))
    return ", ".join([*map(_cut, shown[:_ITEMS]), *(["..."] if len(shown) > _ITEMS else [])])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_MAX_KNOWN = 1000
_MAX_UNKNOWN = 10_000
_MAX_MISUSE = 100
_MAX_CALLED, _MAX_CALLS = 100, 20
_MAX_WHAT = 200


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Bytes of a file, counted from its start, that name or use code, and what they name."""

    what: str
    offset: int
    nbytes: int


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
    calls
        Calls of unknown code: the first calls of each name, as text.
    problem
        Why the pickle cannot be read, as half a sentence; empty if it can.
    excess
        Whether the problem is a limit of this tool.
    short
        Whether the problem is that it ends too early.
    script
        Whether it belongs to a TorchScript archive, so that it may name the archive's own code.
    origin
        Where it begins in the file; None if it is packed.
    span
        Begin and end of the opcode that is being followed, in the pickle.
    spans
        The same for every opcode that names unknown code, and for the first misuse.
    """

    value: Any = None
    names: dict[str, Global] = field(default_factory=dict)
    misuse: list[str] = field(default_factory=list)
    calls: dict[str, list[str]] = field(default_factory=dict)
    end: int = 0
    opcodes: int = 0
    problem: str = ""
    excess: bool = False
    short: bool = False
    script: bool = False
    origin: int | None = None
    span: tuple[int, int] = (0, 0)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def unknown(self) -> list[str]:
        """Names of code that is not on the list."""
        return [name for name, info in self.names.items() if info.group == "unknown"]

    @property
    def places(self) -> list[CodePlace]:
        """Where the file names unknown code or misuses a name; empty if it is packed."""
        if self.origin is None:
            return []
        return [
            CodePlace(what[:_MAX_WHAT], self.origin + begin, end - begin)
            for what, (begin, end) in self.spans.items()
        ]

    def name(self, module: str, name: str) -> Global:
        """Note an object that is named.

        Raises
        ------
        TooMuchError
            If there are too many of them, or the name is longer than any; it is noted before,
            cut.
        """
        long = len(module) + len(name) > MAX_NAME
        module, name = module[:MAX_NAME], name[:MAX_NAME]
        known = self.names.get(f"{module} {name}")
        if known is None:
            known = Global(module, name, group_of(module, name, script=self.script))
            if len(self.names) < _MAX_KNOWN or known.group == "unknown":
                if len(self.names) > _MAX_UNKNOWN:
                    raise TooMuchError("it names too many objects")
                self.names[known.full] = known
                if known.group == "unknown":
                    self.spans[known.full.replace(" ", ".")] = self.span
        if long:
            raise TooMuchError(f"a name in it has more than {MAX_NAME} characters")
        return known

    def called(self, code: Global, arguments: tuple[Any, ...]) -> None:
        """Note what an ordinary loader would call unknown code with."""
        if code.full in self.calls or len(self.calls) < _MAX_CALLED:
            texts = self.calls.setdefault(code.full, [])
            if len(texts) < _MAX_CALLS:
                texts.append(call_text(code, arguments))

    def misused(self, how: str) -> None:
        """Note a use that an ordinary loader would carry out."""
        if not self.misuse:
            self.spans[how] = self.span
        if len(self.misuse) < _MAX_MISUSE:
            self.misuse.append(how)
