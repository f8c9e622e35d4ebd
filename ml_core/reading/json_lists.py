"""Long lists in a JSON file that may be hostile, entry by entry: memory holds one piece of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import ijson

from ml_core.reading.strict_json import JsonError, JsonLimitError

MAX_ENTRY = 1 << 20
_MAX_KEYS = 10_000  # of the object itself
_CHUNK = 64 << 10
_MAX_DEPTH = 64
_Event = tuple[str, Any]


class _Limited:
    """Reads on until an entry has too many bytes, which the parser would all keep."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.unfinished = 0

    def read(self, size: int) -> bytes:
        raw = self._file.read(size)
        self.unfinished += len(raw)
        if self.unfinished > MAX_ENTRY + size:
            raise JsonLimitError(f"it has an entry of over {MAX_ENTRY >> 20} MB")
        return raw


def iter_lists(
    file: BinaryIO, names: Collection[str], rest: dict[str, Any] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in some lists of a file that must hold one JSON object.

    Half characters, which only escapes can make, become question marks.

    Parameters
    ----------
    file
        UTF-8, of any length; an entry has 1 MB at most.
    names
        Keys of the lists; whatever else the object holds is read and dropped.
    rest
        Takes what would be dropped, each value under its key.

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
    limited = _Limited(file)
    try:
        events = iter(ijson.basic_parse(limited, use_float=True, buf_size=_CHUNK))
        if next(events)[0] != "start_map":
            raise JsonError("it is not a JSON object")
        seen: set[str] = set()
        for event, key in events:
            if event == "map_key":
                _once(key, seen)
                if len(seen) > _MAX_KEYS:
                    raise JsonLimitError(f"it has over {_MAX_KEYS} keys")
                first = next(events)
                if key in names and first[0] == "start_array":
                    for entry in _entries(events, key):
                        limited.unfinished = 0
                        yield key, entry
                else:
                    value = _value(first, events)
                    if rest is not None:
                        rest[key] = value
                limited.unfinished = 0
    except ijson.JSONError as error:
        raise _refused(error) from None
    except UnicodeDecodeError:  # of half characters as bytes, which the parser lets through
        raise JsonError("it is not valid JSON (half a character)") from None


def _refused(error: ijson.JSONError) -> JsonError:
    """What the parser has against the file, without the excerpt that it shows."""
    said = error.args[0]
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if "overflow" in words:
        return JsonError("it holds a number that is too large")
    return JsonError(f"it is not valid JSON ({words.splitlines()[0][:80]})")


def _entries(events: Iterator[_Event], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a list whose start was read."""
    for event in events:
        if event[0] == "end_array":
            return
        if event[0] != "start_map":
            raise JsonError(f"an entry of {name} is not an object")
        yield _value(event, events)


def _value(first: _Event, events: Iterator[_Event], depth: int = 0) -> Any:
    """The value that begins with an event."""
    event, value = first
    if depth > _MAX_DEPTH:
        raise JsonLimitError("it is nested too deeply")
    if event == "start_map":
        made: dict[str, Any] = {}
        seen: set[str] = set()
        for event, key in events:
            if event == "end_map":
                return made
            _once(key, seen)
            made[key] = _value(next(events), events, depth + 1)
    if event == "start_array":
        items: list[Any] = []
        for item in events:
            if item[0] == "end_array":
                return items
            items.append(_value(item, events, depth + 1))
    return value


def _once(key: str, seen: set[str]) -> None:
    """Refuse a key that stands twice in an object."""
    if key in seen:
        raise JsonError(f"the key {key[:80]!r} occurs twice")
    seen.add(key)
