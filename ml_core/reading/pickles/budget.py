"""How much a file's pickles may ask for, all of them together, and the error of one that asks more.

Measured: a traced CLIP of 36 layers takes 240 000 steps for all its pickles, one of 80 (bigG) would
take 540 000; the machine follows about 1.5 million a second. Whatever costs more than one opcode's
worth, such as copying a long list that the memo gives out again, is charged for.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """The pickle asks for more than this tool gives to any; getting it again does not help."""


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
