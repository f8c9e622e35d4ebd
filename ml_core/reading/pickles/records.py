"""What a pickle turns into here: plain values and these records, which cannot do anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ml_core.reading.pickles.names import Group


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
