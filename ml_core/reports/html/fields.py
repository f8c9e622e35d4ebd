"""Values of a record that remember where they stand, so that a page can say whence a figure is.

What a template prints of a `Field` carries the field's place as ``data-field``: a JSON pointer
(RFC 6901) into ``evidence.json``, or ``FILE#POINTER`` into another file of the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from markupsafe import Markup

from ml_core import figures
from ml_core.reading.plain import plain

LONGEST = 2000
"""Characters of a text that are shown."""
_LONGEST_OPENING = 160


class Field:
    """A value of a JSON document and its place in it.

    Members are reached as attributes or items and are fields themselves, but None is None.

    Parameters
    ----------
    value
        JSON-ready.
    place
        JSON pointer, with the file before it and ``#`` between if it is not ``evidence.json``.
    """

    __slots__ = ("_place", "_value")

    def __init__(self, value: Any, place: str = "") -> None:
        self._value = value
        self._place = place

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copy, pickle and Jinja ask for these
            raise AttributeError(name)
        try:
            return self[name]
        except (KeyError, IndexError, TypeError):
            raise AttributeError(name) from None

    def __getitem__(self, key: Any) -> Any:
        key = raw(key)
        found = self._value[key]
        return None if found is None else Field(found, f"{self._place}/{_token(key)}")

    def __iter__(self) -> Iterator[Any]:
        """Over the items of a list, or the keys of an object, which are texts."""
        if isinstance(self._value, dict):
            return (Key(key, f"{self._place}/{_token(key)}") for key in self._value)
        return (self[number] for number in range(len(self._value)))

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == raw(other))

    def __hash__(self) -> int:
        return hash(self._value)

    def __str__(self) -> str:
        """Safe to show, not yet safe in HTML: for attributes."""
        return shown(self._value)

    def __html__(self) -> Markup:
        return _marked(self, str(self))


class Key(Field):
    """The name of a member of an object, which stands where the member does."""

    __slots__ = ()

    def __html__(self) -> Markup:
        return Markup('<bdi data-key="{}">{}</bdi>').format(self._place, str(self))


def raw(value: Any) -> Any:
    """The value without its place."""
    return value._value if isinstance(value, Field) else value


def place_of(field: Field) -> str:
    """See `Field`."""
    return field._place


def unbroken(text: str) -> str:
    """A figure stays on one line, with its per cent sign."""
    return text.replace(" %", "\u00a0%").replace("\u2009", "\u202f")


def shown(value: Any) -> str:
    """A value as text: control and reordering characters escaped, long texts cut."""
    if value is None:
        raise ValueError("nothing to show")  # a template has to say what is missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return figures.count(value)
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else _compact(value)
    return plain(text[:LONGEST] + "…" if len(text) > LONGEST else text)


def finalize(value: Any) -> Any:
    """What Jinja prints of an expression: markup and fields as they are, all else made safe."""
    return value if hasattr(value, "__html__") else shown(value)


def percent(rate: Field) -> Markup:
    """A rate in per cent."""
    return _as(rate, "percent", figures.percent)


def points(difference: Field) -> Markup:
    """A difference of rates in percentage points, with its sign."""
    return _as(difference, "points", lambda value: figures.signed(100 * value))


def span(interval: Field) -> Markup:
    """Both ends of an interval of rates in per cent."""
    return _as(interval, "span", lambda found: figures.percent_range(_ends(found), to="–"))


def points_span(interval: Field) -> Markup:
    """Both ends of an interval of differences in percentage points."""
    return _as(
        interval,
        "points-span",
        lambda found: " to ".join(figures.signed(100 * end) for end in _ends(found)),
    )


def p_value(p: Field) -> Markup:
    """A p-value with three decimals, or that it is below what they show."""
    return _as(p, "p", lambda value: f"{value:.3f}" if value >= 0.001 else "< 0.001")


def duration(seconds: Field) -> Markup:
    """How long something took."""
    return _as(seconds, "duration", figures.duration)


def exactly(number: Field) -> Markup:
    """A number that is no count: without commas, with the digits that it has."""
    return _as(number, "exactly", lambda value: f"{value:.6g}")


def opening(sentence: Field) -> Markup:
    """A sentence whose first words, up to a colon, stand out."""
    text = str(sentence)
    first, colon, rest = text.partition(": ")
    if not colon or len(first) > _LONGEST_OPENING:
        return sentence.__html__()
    return Markup('<bdi data-field="{}"><strong>{}:</strong> {}</bdi>').format(
        place_of(sentence), unbroken(first), unbroken(rest)
    )


def digest(value: Field) -> Markup:
    """A digest that breaks where it must and is copied whole."""
    return Markup("<code>{}</code>").format(value)


def _as(field: Field, how: str, words: Callable[[Any], str]) -> Markup:
    """A value in words; what is no number in a stranger's record stands there as it is."""
    try:
        figure = words(raw(field))
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return _marked(field, str(field))
    return Markup('<span data-field="{}" data-as="{}">{}</span>').format(
        place_of(field), how, unbroken(figure)
    )


def _ends(interval: Any) -> tuple[float, float]:
    """Of ``{"low": ..., "high": ...}`` or ``[low, high]``."""
    if isinstance(interval, dict):
        return interval["low"], interval["high"]
    low, high = interval
    return low, high


def _marked(field: Field, text: str) -> Markup:
    """Text that no reordering letter beside it reaches, or a number."""
    tag = "bdi" if isinstance(raw(field), str) else "span"
    return Markup(f'<{tag} data-field="{{}}">{{}}</{tag}>').format(place_of(field), unbroken(text))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _token(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
