"""What a call in a pickle is given, as text of one short line; nothing is evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from ml_core.reading.pickles.records import Global, Object, Table

_LONGEST = 160
_ITEMS, _DEPTH, _BITS = 8, 3, 64


def call_text(called: Global, arguments: tuple[Any, ...]) -> str:
    """A call as Python would write it, its arguments in ASCII, cut where it is long."""
    return f"{called.full.replace(' ', '.')[:100]}({_cut(_items(arguments, 0))})"


def _literal(value: Any, depth: int) -> str:
    if isinstance(value, str | bytes | bytearray):
        return ascii(value[:_LONGEST])
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, Global):
        return ascii(value.full.replace(" ", "."))[1:-1]
    if depth >= _DEPTH:
        return "..."
    if isinstance(value, tuple):
        return f"({_items(value, depth)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{_items(value, depth)}]"
    if isinstance(value, Table):
        pairs = (
            f"{_literal(key, depth + 1)}: {_literal(item, depth + 1)}" for key, item in value.items
        )
        return f"{{{_joined(pairs)}}}"
    if isinstance(value, Object):
        return f"{_literal(value.of, depth)}({_items(value.arguments, depth)})"
    return f"a {type(value).__name__.lower()}"


def _items(values: Iterable[Any], depth: int) -> str:
    return _joined(_literal(value, depth + 1) for value in values)


def _joined(texts: Iterable[str]) -> str:
    shown = list(islice(texts, _ITEMS + 1))
    return ", ".join([*map(_cut, shown[:_ITEMS]), *(["..."] if len(shown) > _ITEMS else [])])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
