"""The results that were asked for last."""

from __future__ import annotations

from ml_core.cache import ResultCache


def test_the_oldest_goes_first() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    recent: ResultCache[str, str] = ResultCache(2)
    asked = ["a", "b", "a", "c", "a", "b"]  # c pushes b out, as a was asked for after it
    assert [recent.get(name, lambda name=name: make(name)) for name in asked] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]
