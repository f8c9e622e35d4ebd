"""JSON from files that may be hostile: no duplicate keys, no NaN, bounded size and depth."""

from __future__ import annotations

import json
from collections.abc import Collection
from math import isfinite
from typing import Any

MAX_BYTES = 16 << 20
MAX_PARTS = 1_000_000  # with as many bytes as above, under 200 MB whatever they are
_MAX_DIGITS = 4000  # Python makes no number of more than 4300


class JsonError(ValueError):
    """The text is not JSON that this tool accepts; the message is half a sentence."""


class JsonLimitError(JsonError):
    """It is longer, deeper or larger than this tool takes; getting it again does not help."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {twice[:80]!r} occurs twice")
    return made


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity."""
    raise JsonError(f"{name} is not a JSON number")


def _whole(digits: str) -> int:
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
            parse_int=_whole,
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
