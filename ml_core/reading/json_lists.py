"""Long lists in a JSON file that may be hostile, entry by entry: memory holds one piece of it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from ml_core.reading.strict_json import JsonError, JsonLimitError, strict_decoder

MAX_ENTRY = 4 << 20
_CHUNK = 4 << 20
_BLANKS = re.compile(r"[ \t\n\r]*")


class _Text:
    """The file's text from a position on; what is before is forgotten."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._letters = codecs.getincrementaldecoder("utf-8")()
        self._decoder = strict_decoder()
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next letter that is not blank; empty at the end."""
        while True:
            found = _BLANKS.match(self._text, self._at)
            assert found is not None  # it matches nothing, too
            self._at = found.end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def skip(self, letters: str) -> str:
        """Pass over one of the letters and return it."""
        found = self.peek()
        if not found or found not in letters:
            where = "at its end" if not found else f"{found!r}"
            raise JsonError(f"it is not valid JSON ({where} where {' or '.join(letters)} belongs)")
        self._at += 1
        return found

    def value(self) -> Any:
        """Pass over one value and return it."""
        self.peek()
        while True:
            problem: Exception
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._at = end
                    return value
                problem = JsonError("it is not valid JSON")
            except (JsonError, RecursionError) as error:
                if isinstance(error, RecursionError):
                    raise JsonLimitError("it is nested too deeply") from None
                raise
            except ValueError as error:
                problem = error
            if self._ended:
                raise JsonError(f"it is not valid JSON ({problem})")
            if len(self._text) - self._at > MAX_ENTRY:
                raise JsonLimitError(
                    f"it is not valid JSON or has an entry of over {MAX_ENTRY >> 20} MB"
                )
            self._fill()

    def _fill(self) -> None:
        """Read one piece more."""
        raw = self._file.read(_CHUNK)
        self._ended = not raw
        try:
            self._text = self._text[self._at :] + self._letters.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise JsonError(f"it is not UTF-8 text ({error.reason})") from None
        self._at = 0


def iter_lists(file: BinaryIO, names: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in some lists of a file that must hold one JSON object.

    Parameters
    ----------
    file
        UTF-8, of any length; an entry has 4 MB at most.
    names
        Keys of the lists; whatever else the object holds is read and dropped.

    Yields
    ------
    tuple
        Key of the list, and an entry.

    Raises
    ------
    JsonError
        With half a sentence that says what is wrong, also if a key stands twice or an entry is no
        object.
    """
    text = _Text(file)
    text.skip("{")
    seen: set[str] = set()
    more = text.peek() != "}"
    while more:
        key = text.value()
        if not isinstance(key, str) or key in seen:
            raise JsonError(f"the key {str(key)[:80]!r} is no text or stands twice")
        seen.add(key)
        text.skip(":")
        if key in names and text.peek() == "[":
            for entry in _entries(text):
                if not isinstance(entry, dict):
                    raise JsonError(f"an entry of {key} is not an object")
                yield key, entry
        else:
            text.value()
        more = text.skip(",}") == ","
    if not seen:
        text.skip("}")
    if text.peek():
        raise JsonError("it goes on after its end")


def _entries(text: _Text) -> Iterator[Any]:
    """The values of a list."""
    text.skip("[")
    if text.peek() == "]":
        text.skip("]")
        return
    while True:
        yield text.value()
        if text.skip(",]") == "]":
            return
