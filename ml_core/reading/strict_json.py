"""JSON from files that may be hostile: no duplicate keys, no NaN, bounded size and depth."""

from __future__ import annotations

import json
from typing import Any

MAX_BYTES = 32 << 20


class JsonError(ValueError):
    """The text is not JSON that this tool accepts; the message is half a sentence."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {twice[:80]!r} stands twice")
    return made


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity."""
    raise JsonError(f"{name} is not a JSON number")


def parse_object(raw: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = 8) -> dict[str, Any]:
    """Parse bytes that must hold one JSON object.

    Parameters
    ----------
    raw
        UTF-8 without a byte order mark; surrounding white space is allowed.
    max_bytes
        Longer input is refused before parsing.
    max_depth
        Deepest nesting of objects and lists; 1 is a flat object.

    Raises
    ------
    JsonError
        With half a sentence that says what is wrong.
    """
    if len(raw) > max_bytes:
        raise JsonError(f"it has {len(raw)} bytes, more than the limit of {max_bytes}")
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except JsonError:
        raise
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise JsonError(f"it is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise JsonError("it is not a JSON object")
    _check_depth(value, max_depth)
    return value


def _check_depth(value: object, left: int) -> None:
    """Refuse nesting beyond ``left`` levels."""
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise JsonError("it is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value:
        _check_depth(item, left - 1)
