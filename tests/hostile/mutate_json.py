"""Changes to JSON documents: in their structure, then in their bytes."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

_RAW = "\x00raw{}\x00"
FRAGMENTS: tuple[bytes, ...] = (
    b"1e999", b"-1e999", b"NaN", b"Infinity", b"-0", b"1E400", b"9" * 30, b"9" * 400, b"9" * 4200,
    b"9" * 5000, b"0.1" + b"1" * 400, b"[" * 70 + b"]" * 70, b"[" * 900 + b"]" * 900,
    b"[" * 3000, b'{"a":' * 70 + b"1" + b"}" * 70, b'{"a":1,"a":2}', b"tru", b"'x'", b"01", b"+1",
    b"1.", b"0x10", b"//", b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\x00"', b'"\xff"',
    b'"\\x"', b"\xef\xbb\xbf", b"",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.0, -0.5, 0.5, 1e308, -1e308, 5e-324, 2**31, 2**53, 2**63,
    2**64, -(2**63), 10**30, "", " ", "0", "a", "\0", "a\0b", "a\nb", "\u2028", "\u202e", "\ud800",
    "x" * 300, "y" * 5000, "/", "..", "../..", "/dev/zero", "/etc/passwd", "~root", "$(id)",
    "`id`", "=1+1", "C:\\x", "\\\\host\\x", "https://a/b", "a/" * 3000, "nan", "inf", "demo",
    "\u0661", [], {}, [[]], [None], [1], ["a"], [1, 2], [0.1, "x"], {"": 0}, {"a": {}}, [{}],
    {"event": "done"}, list(range(200)),
)  # fmt: skip


def mutated(document: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """A document with some changes."""
    raw = document
    if draw.random() < 0.8:
        with contextlib.suppress(RecursionError):  # one that was nested deep before
            raw = _structure(document, draw)
    if draw.random() < 0.35:
        for _ in range(draw.choice((1, 1, 2, 5))):
            raw = _bytes(raw, draw, others)
    return raw


def _structure(document: bytes, draw: random.Random) -> bytes:
    """Changes to values, keys and nesting; lines of JSON are changed one at a time."""
    lines = document.split(b"\n") if document.count(b'{"event"') > 1 else [document]
    at = draw.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return _bytes(document, draw, [document])
    raws: list[bytes] = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        value = _changed(value, draw, raws)
    text = json.dumps(value, ensure_ascii=draw.random() < 0.7).encode("utf-8", "surrogatepass")
    for number, raw in enumerate(raws):
        mark = json.dumps(_RAW.format(number)).encode()
        text = text.replace(mark, raw)
    lines[at] = text
    return b"\n".join(lines)


def _changed(value: Any, draw: random.Random, raws: list[bytes]) -> Any:
    """One change somewhere."""
    places = list(_places(value))
    if not places:
        return copy.deepcopy(draw.choice(VALUES))
    owner, key = draw.choice(places)
    act = draw.random()
    if act < 0.4:
        owner[key] = copy.deepcopy(draw.choice(VALUES))
    elif act < 0.55:
        raws.append(draw.choice(FRAGMENTS))
        owner[key] = _RAW.format(len(raws) - 1)
    elif act < 0.63:
        del owner[key]
    elif act < 0.7 and isinstance(owner, dict):
        owner[draw.choice(("", "x", "a" * 300, "\ud800", "a\nb", "\0", key.upper()))] = owner[key]
    elif act < 0.78:
        owner[key] = draw.choice(([owner[key]], {"a": owner[key]}, [owner[key]] * 50))
    elif act < 0.88:
        other, place = draw.choice(places)
        owner[key] = copy.deepcopy(other[place] if other else None)
    elif isinstance(owner[key], bool | int | float):
        owner[key] = draw.choice((-owner[key], owner[key] * 10**6, str(owner[key]), 1 / 3))
    elif isinstance(owner[key], str):
        text = owner[key]
        owner[key] = draw.choice((text * 2, text[:-1], text + "\n", text.upper(), [text], 0))
    else:
        owner[key] = None
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything that can be replaced: its owner, and its key there."""
    todo = [value]
    while todo:
        owner = todo.pop()
        if isinstance(owner, dict):
            pairs: Any = owner.items()
        elif isinstance(owner, list):
            pairs = enumerate(owner[:20])
        else:
            continue
        for key, item in list(pairs):
            yield owner, key
            todo.append(item)


def _bytes(raw: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """One change that knows nothing of JSON."""
    at, act = draw.randrange(len(raw) + 1), draw.randrange(8)
    if act == 0:
        return raw[:at]
    if act == 1:
        return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
    if act == 2:
        return raw[:at] + draw.choice(FRAGMENTS) + raw[at:]
    if act == 3:
        end = min(len(raw), at + draw.randrange(1, 60))
        return raw[:at] + raw[end:]
    if act == 4:
        end = min(len(raw), at + draw.randrange(1, 200))
        return raw[:end] + raw[at:end] * draw.choice((1, 1, 3, 30)) + raw[end:]
    if act == 5:
        other = draw.choice(others)
        return raw[:at] + other[draw.randrange(len(other) + 1) :]
    if act == 6:
        return raw[:at] + draw.choice((b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\")) + raw[at:]
    return draw.choice((raw + raw, b"\xef\xbb\xbf" + raw, raw.decode("latin-1").encode("utf-16")))
