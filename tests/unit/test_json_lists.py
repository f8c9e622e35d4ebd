"""Lists in JSON files, entry by entry; what is no strict JSON is one half sentence."""

from __future__ import annotations

import io

import pytest

from ml_core.reading import strict_json
from ml_core.reading.strict_json import JsonError, JsonLimitError, iter_lists


def entries(raw: bytes) -> list[tuple[str, dict[str, object]]]:
    return list(iter_lists(io.BytesIO(raw), ("a", "b")))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[1]", "not a JSON object"),
        (b'{"a": [{}]', "premature EOF"),
        (b'{"a": [1]}', "is not an object"),
        (b'{"a": [{}]} {}', "trailing garbage"),
        (b'{"a": [], "a": []}', "occurs twice"),
        (b'{"a": [{"x": NaN}]}', "not valid JSON"),
        (b'{"a": [{"x": ' + b"9" * 5000 + b"}]}", "too large"),
        (b'{"a": [{"x": "\xff"}]}', "UTF8"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_strict_json(raw: bytes, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        entries(raw)


def test_a_huge_entry_is_refused_without_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_CHUNK", 1000)
    monkeypatch.setattr(strict_json, "MAX_ENTRY", 5000)
    file = io.BytesIO(b'{"a": [{"x": "' + b"y" * 1_000_000 + b'"}]}')
    with pytest.raises(JsonLimitError, match="over"):
        list(iter_lists(file, ("a",)))
    assert file.tell() < 10_000
