"""Values of a record that remember where they stand, and the page of an inspection.

What a template prints of a `Field` carries the field's place as ``data-field``: a JSON pointer
(RFC 6901) into ``evidence.json``, or ``FILE#POINTER`` into another file of the bundle.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ml_core import figures
from ml_core.figures import count
from ml_core.reading.errors import plain
from ml_core.reading.inspection import verdict_words

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
        value = self._value[key]
        return None if value is None else Field(value, f"{self._place}/{_token(key)}")

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
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text[:LONGEST] + "…" if len(text) > LONGEST else text)


def finalize(value: Any) -> Any:
    """What Jinja prints of an expression: markup and fields as they are, all else made safe."""
    return value if hasattr(value, "__html__") else shown(value)


def opening(sentence: Field) -> Markup:
    """A sentence whose first words, up to a colon, stand out."""
    text = str(sentence)
    first, colon, rest = text.partition(": ")
    if not colon or len(first) > _LONGEST_OPENING or first.count("“") > first.count("”"):
        return sentence.__html__()
    return Markup('<bdi data-field="{}"><strong>{}:</strong> {}</bdi>').format(
        place_of(sentence), unbroken(first), unbroken(rest)
    )


def _as(field: Field, how: str, words: Callable[[Any], str]) -> Markup:
    """A value in words; a value of a foreign record that is not a number is shown unchanged."""
    try:
        figure = words(raw(field))
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return _marked(field, str(field))
    return Markup('<span data-field="{}" data-as="{}">{}</span>').format(
        place_of(field), how, unbroken(figure)
    )


def _ends(interval: Any) -> tuple[float, float]:
    """Both ends of an interval ``{"low": ..., "high": ...}`` or ``[low, high]``."""
    if isinstance(interval, dict):
        return interval["low"], interval["high"]
    low, high = interval
    return low, high


def _marked(field: Field, text: str) -> Markup:
    """Text that no reordering letter beside it reaches, or a number."""
    tag = "bdi" if isinstance(raw(field), str) else "span"
    return Markup(f'<{tag} data-field="{{}}">{{}}</{tag}>').format(place_of(field), unbroken(text))


def _token(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def page(template: str, margin_note: str, **values: Any) -> str:
    """A whole page.

    Parameters
    ----------
    template
        File name of a template that extends ``base.html``.
    margin_note
        At the foot of each printed page: letters, digits, spaces, ``.``, ``-`` and ``:`` alone,
        because it stands in the style sheet.
    values
        For the template.
    """
    if not all(char.isascii() and (char.isalnum() or char in " .:-") for char in margin_note):
        raise ValueError(f"no note for the margin: {margin_note!r}")
    environment = _environment()
    style = "\n" + environment.get_template("style.css").render(margin_note=margin_note) + "\n"
    # The policy names the one style sheet by its hash: no other could be smuggled in.
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup(style), style_hash=f"sha256-{hashed}", **values
    )


_FIGURES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "percent": ("percent", figures.percent),
    "points": ("points", lambda value: figures.signed(100 * value)),
    "range": ("span", lambda ends: figures.percent_range(_ends(ends))),
    "points_range": (
        "points-span",
        lambda ends: " to ".join(figures.signed(100 * end) for end in _ends(ends)),
    ),
    "p_value": ("p", lambda value: f"{value:.3f}" if value >= 0.001 else "< 0.001"),
    "duration": ("duration", figures.duration),
    "exactly": ("exactly", lambda value: f"{value:.6g}"),
}
"""Filters that give a number in words: what the attribute ``data-as`` says of it, and how.

``points`` are of percentage, with a sign; ``exactly`` is without commas, as no count is.
"""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ml_core.reports.html"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        name: partial(_as, how=how, words=words) for name, (how, words) in _FIGURES.items()
    }
    # A digest breaks where it must and is copied whole.
    environment.filters |= {"opening": opening, "digest": Markup("<code>{}</code>").format}
    environment.tests.update(
        something=lambda value: raw(value) not in (None, "", [], {}),
        text=lambda value: isinstance(raw(value), str),
        fraction=lambda value: isinstance(raw(value), float) and 0 <= raw(value) <= 1,
    )
    return environment


_MOST_ROWS = 100_000
_TONES = {
    "loads": "plain",
    "caution": "caution",
    "dangerous": "danger",
    "damaged": "danger",
    "unsupported": "danger",
}
_GROUPS = (
    ("unknown", "Code that no checkpoint needs"),
    ("code", "Pickled program objects, kept as inert records"),
    ("data", "Plain data"),
    ("tensors", "Builds tensors"),
)


def inspection_page(record: Mapping[str, Any]) -> str:
    """The page of a record that `inspection_record` gives.

    Every text of the file is escaped, invisible and reordering characters too.
    """
    sha256, reasons = record["sha256"], record["reasons"]
    return page(
        "inspection.html",
        f"SHA-256: {sha256}" if sha256 and sha256.isalnum() else "SHA-256 not computed",
        record=record,
        verdict=verdict_words(record["verdict"], record["reason_code"]),
        tone=_TONES[record["verdict"]],
        first=reasons[0] if reasons else "Nothing in the file was run.",
        also=reasons[1:],
        facts=tuple(_file_facts(record)),
        architecture=tuple(_architecture(record["architecture"])),
        lists=tuple(_lists(record)),
        most=_MOST_ROWS,
    )


def _file_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    totals, hub = record["totals"], record["hub"]
    yield "Path", record["path"]
    if hub is not None:
        yield "Hugging Face Hub", f"{hub['repository']} at revision {hub['revision']}"
    yield "Format", record["format"]
    yield "Size", f"{count(record['size'])} bytes"
    yield "SHA-256", record["sha256"] or "not computed"
    if totals["tensors"]:
        yield "Tensors", totals["tensors"]
        yield "Parameters", count(totals["parameters"])
        if totals["buffer_numbers"]:
            yield "Numbers in buffers", count(totals["buffer_numbers"])
        if totals["optimizer_numbers"]:
            yield "Numbers that an optimizer keeps", count(totals["optimizer_numbers"])
        kinds = (f"{count(n)} {dtype}" for dtype, n in totals["dtypes"].items())
        yield "All numbers by type", ", ".join(kinds)
    if graph := record["graph"]:
        yield "Exporter", graph["exporter"]
        yield "Operators", ", ".join(f"{name} {n}" for name, n in graph["operators"].items())
        yield "Graph", graph["sentence"]
    for name, state in (record["sandbox"] or {}).items():
        yield f"Sandbox: {name}", state


def _architecture(architecture: Mapping[str, Any] | None) -> Iterator[tuple[str, object]]:
    if architecture is None:
        return
    yield "Model", architecture["name"]
    yield "Source", architecture["source"]
    if donor := architecture.get("donor"):
        yield "Donor of the other encoder", f"{donor['name']}, SHA-256 {donor['sha256']}"
    for title, sentences in (
        ("Assumed", architecture["assumptions"]),
        ("Also in the file", architecture["notes"]),
    ):
        for sentence in sentences:
            yield title, sentence


def _lists(record: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Lists of names that hold something, with their titles."""
    keys = (record["architecture"] or {}).get("keys")
    named: list[tuple[str, Sequence[str]]] = []
    if keys is not None:
        shapes = [
            f"{tensor['name']}: {tensor['found']} instead of {tensor['expected']}"
            for tensor in keys["wrong_shape"]
        ]
        named += [
            (f"{title} ({count(len(items))})", items)
            for title, items in (
                ("Missing tensors", keys["missing"]),
                ("Unexpected tensors, left out", keys["unexpected"]),
                ("Tensors of another shape", shapes),
            )
        ]
    named += [(title, record["globals"].get(group, ())) for group, title in _GROUPS]
    named.append(("Program code in the file (not run)", record["embedded_code"]))
    named.append(("Not read", record["unread"]))
    return ((title, items) for title, items in named if items)
