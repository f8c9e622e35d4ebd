"""The exceptions that all parts share (bad input, cancelled work), and texts made plain."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal, Self

# Control, format (bidi marks and zero-width characters among them), lone surrogate, private and
# unassigned characters, line and paragraph separators.
_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: str) -> str:
    """Escape what is invisible, reorders the text or speaks to the terminal, as ``\\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(char) in _ESCAPED
        else char
        for char in text
    )


def printable(text: str) -> str:
    """Text with the undecodable bytes of a file's name written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def first_names(
    names: Sequence[object], count: int = 3, letters: int = 80, *, counted: bool = False
) -> str:
    """The first of a list, each cut to some letters; that there are more, or how many."""
    more = f" and {len(names) - count} more" if counted else " and more"
    return ", ".join(str(name)[:letters] for name in names[:count]) + more * (len(names) > count)


SAFETENSORS_COPY = "ask its author for a safetensors copy"
"""What helps where a limit is reached: getting the file again does not."""
FROM_ORIGINAL = "open the model that it was converted from"
"""What helps where a program converted a model for itself."""

ErrorCode = Literal["dangerous", "damaged", "unsupported", "usage"]


def exit_code(error_code: str) -> int:
    """1 refused as dangerous, 2 damaged, unsupported or unfit, 3 usage, 4 a defect of the program.

    A full disk and too little memory are 3: another place or a smaller batch helps.
    """
    codes = {
        "dangerous": 1, "damaged": 2, "unsupported": 2, "unfit": 2, "usage": 3, "disk": 3,
        "memory": 3,
    }  # fmt: skip
    return codes.get(error_code, 4)


class InputError(Exception):
    """Something given by the user cannot be used.

    Parameters
    ----------
    sentence
        One plain sentence that names the file, line or tensor and says what to do.
    code
        ``dangerous`` (would run code), ``damaged``, ``unsupported`` or ``usage`` (a wrong
        option, column or value).
    details
        Shown on demand.

    Attributes
    ----------
    title
        In a few words what failed, where somebody on the way of the exception said so.
    """

    def __init__(self, sentence: str, code: ErrorCode = "usage", details: str = "") -> None:
        # A file's name may hold a line end, or what speaks to a terminal.
        self.sentence = plain(sentence)
        super().__init__(self.sentence)
        self.code: ErrorCode = code
        self.details = details
        self.title = ""

    def titled(self, title: str) -> Self:
        """Say what failed, such as "Could not open the images"; the first title stays."""
        self.title = self.title or title
        return self


def damaged(sentence: str) -> InputError:
    """Make the error of a file that is not what it says it is."""
    return InputError(sentence, "damaged")


def unsupported(sentence: str) -> InputError:
    """Make the error of a healthy file, as far as it was read, that this version does not open."""
    return InputError(sentence, "unsupported")


class CancelledError(Exception):
    """Work ended early because its ``cancelled()`` turned true; what it wrote is gone again.

    Whatever takes long takes ``cancelled`` or a `Watch`, asks it between two steps, and ends with
    this. A job turns it into a ``Done("cancelled")``.
    """


class DivergedError(InputError):
    """The loss of a training is no longer a number; ``step`` is the first such step."""

    def __init__(self, sentence: str, step: int) -> None:
        super().__init__(sentence)
        self.step = step


class TruncatedError(InputError):
    """A file ends before all that it announces; getting it again helps."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, "damaged")


class SeveralError(InputError):
    """An archive or a folder holds several checkpoints; ``members`` names them."""

    def __init__(self, where: str, what: str, members: tuple[str, ...]) -> None:
        shown = ", ".join(name[:80] for name in members[:4]) + ", …" * (len(members) > 4)
        super().__init__(
            f"{where} is {what} with {len(members)} checkpoint{'s' * (len(members) > 1)}: {shown}; "
            f"choose one of them, such as {where}#{members[0][:80]}.",
            "unsupported",
        )
        self.members = members


class TooLittleMemoryError(InputError):
    """What was asked for does not fit into memory; a smaller batch helps."""


class UnfitModelError(InputError):
    """A model that works so badly that nothing could be said of it; it can be done if asked for."""
