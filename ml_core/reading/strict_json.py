"""JSON from files that may be hostile: no duplicate keys, no NaN, bounded size and depth."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from math import isfinite
from typing import Any, BinaryIO

import ijson

MAX_BYTES = 16 << 20
MAX_PARTS = 1_000_000  # with as many bytes as above, under 200 MB whatever they are
_MAX_DIGITS = 4000  # Python makes no number of more than 4300


class JsonError(ValueError):
    """The text is not JSON that this tool accepts; the message is half a sentence."""


class JsonLimitError(JsonError):
    """The JSON is longer, deeper or larger than this tool takes; getting it again does not help."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that stands twice."""
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {twice[:80]!r} occurs twice")
    return table


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity."""
    raise JsonError(f"{name} is not a JSON number")


def _parse_int(digits: str) -> int:
    """Refuse numbers that Python does not make of text."""
    if len(digits) > _MAX_DIGITS:
        raise JsonLimitError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def parse_object(
    raw: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = 8,
    max_parts: int = MAX_PARTS,
    half_characters: bool = False,
    path_fields: Collection[str] = (),
) -> dict[str, Any]:
    """Parse bytes that must hold one JSON object.

    Parameters
    ----------
    raw
        UTF-8 without a byte order mark; surrounding white space is allowed.
    max_bytes
        Longer input is refused before parsing.
    max_depth
        Deepest nesting of objects and lists; 1 is a flat object.
    max_parts
        Input with more commas and opening brackets is refused before parsing.
    half_characters
        Whether a text may hold a lone surrogate, which only an escape can make.
    path_fields
        Keys of paths, which may hold those lone surrogates that Python puts in the place of bytes
        that are no UTF-8.

    Raises
    ------
    JsonError
        With half a sentence that says what is wrong.
    """
    if len(raw) > max_bytes:
        raise JsonLimitError(f"it has {len(raw)} bytes, more than the limit of {max_bytes}")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > max_parts:
        raise JsonLimitError(f"it has more than {max_parts} parts")
    infinite = False

    def real(digits: str) -> float:
        nonlocal infinite
        value = float(digits)
        infinite = infinite or not isfinite(value)
        return value

    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_parse_int,
            parse_float=real,
        )
    except JsonError:
        raise
    except RecursionError:
        raise JsonLimitError("it is nested too deeply") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise JsonError(f"it is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise JsonError("it is not a JSON object")
    _check_depth(value, max_depth)
    if infinite:
        _check_finite(value)
    if not half_characters and b"\\u" in raw:
        _check_text(value, path_fields)
    return value


def _check_finite(value: object, name: str = "") -> None:
    """Refuse numbers that are too large for their kind: 1e999 is read as infinity."""
    if isinstance(value, float):
        if not isfinite(value):
            raise JsonError(f"the key {name[:80]!r} holds a number that is too large")
    elif isinstance(value, dict):
        for key, item in value.items():
            # Cut each time: copying a key of megabytes for each of its children takes hours.
            _check_finite(item, f"{name}.{key[:80]}" if name else key[:80])
    elif isinstance(value, list):
        for item in value:
            _check_finite(item, name)


def _check_text(value: object, path_fields: Collection[str], errors: str = "strict") -> None:
    """Refuse half characters, which only escapes can make: they cannot be written anywhere."""
    if isinstance(value, str):
        try:
            value.encode("utf-8", errors)
        except UnicodeEncodeError:
            raise JsonError("a text holds half a character") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, path_fields)
            of_path = key in path_fields and not isinstance(item, dict)
            _check_text(item, path_fields, "surrogateescape" if of_path else "strict")
    elif isinstance(value, list):
        for item in value:
            _check_text(item, path_fields, errors)


def _check_depth(value: dict[str, Any] | list[Any], left: int) -> None:
    """Refuse nesting beyond ``left`` levels."""
    if left == 0:
        raise JsonLimitError("it is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) in (dict, list):
            _check_depth(item, left - 1)


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
                _check_unseen(key, seen)
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
    """The parser's objection to the file, without the excerpt that it shows."""
    problem = error.args[0]
    words = problem.decode("utf-8", "replace") if isinstance(problem, bytes) else str(problem)
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
        table: dict[str, Any] = {}
        seen: set[str] = set()
        for event, key in events:
            if event == "end_map":
                return table
            _check_unseen(key, seen)
            table[key] = _value(next(events), events, depth + 1)
    if event == "start_array":
        items: list[Any] = []
        for item in events:
            if item[0] == "end_array":
                return items
            items.append(_value(item, events, depth + 1))
    return value


def _check_unseen(key: str, seen: set[str]) -> None:
    """Refuse a key that stands twice in an object."""
    if key in seen:
        raise JsonError(f"the key {key[:80]!r} occurs twice")
    seen.add(key)


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether a JSON value is a whole number within limits; ``True`` is not a number."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
