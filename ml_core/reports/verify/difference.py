"""Where two JSON values differ, and what a place in one holds."""

from __future__ import annotations

import math
from typing import Any

from ml_core.reading.errors import InputError
from ml_core.reading.json_file import short

_NEAR = 1e-12
Difference = tuple[str, Any, Any]
"""A JSON pointer (RFC 6901), what is stated there, and what was derived; None is nothing."""


def first_difference(stated: Any, derived: Any, at: str = "") -> Difference | None:
    """The first place where two JSON values differ; floats within 1e-12 are one, true is not 1."""
    if isinstance(stated, dict) and isinstance(derived, dict):
        for key in (*derived, *(key for key in stated if key not in derived)):
            place = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in stated or key not in derived:
                return place, stated.get(key), derived.get(key)
            if difference := first_difference(stated[key], derived[key], place):
                return difference
        return None
    if isinstance(stated, list) and isinstance(derived, list):
        for number, (one, other) in enumerate(zip(stated, derived, strict=False)):
            if difference := first_difference(one, other, f"{at}/{number}"):
                return difference
        if len(stated) == len(derived):
            return None
        end = min(len(stated), len(derived))
        return f"{at}/{end}", *((*stated[end:], None)[0], (*derived[end:], None)[0])
    return None if _same(stated, derived) else (at, stated, derived)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        return numbers and math.isclose(float(one), float(other), rel_tol=0.0, abs_tol=_NEAR)
    return bool(one == other)


def reached(record: Any, path: str) -> Any:
    """What a dotted path leads to, such as ``stages.patches.rounds.0.starts.1.contrast``."""
    for part in path.split("."):
        if isinstance(record, tuple):
            record = record[int(part)] if part.isdecimal() and int(part) < len(record) else None
        elif hasattr(type(record), "model_fields"):
            own = part in type(record).model_fields or isinstance(
                getattr(type(record), part, None), property
            )
            record = getattr(record, part) if own else None
        else:
            return None
    return record


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to.

    Raises
    ------
    InputError
        If it leads to nothing.
    """
    absent = InputError(f"its file has nothing at {short(pointer, 80)}.", "damaged")
    if pointer and not pointer.startswith("/"):
        raise absent
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif (
            isinstance(value, list) and key.isascii() and key.isdigit() and len(key) < 9
            and int(key) < len(value)
        ):  # fmt: skip
            value = value[int(key)]
        else:
            raise absent
    return value
