"""What is told of a pickle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ml_core.reading.pickles.budget import MAX_NAME, TooMuchError
from ml_core.reading.pickles.literals import call_text
from ml_core.reading.pickles.names import group_of
from ml_core.reading.pickles.records import Global

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
        Of unknown code that is called: the first calls of each name, as text.
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
        The same of what names unknown code, and of the first misuse.
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
        return [name for name, found in self.names.items() if found.group == "unknown"]

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
