"""The README keeps its word: pictures and files it names are there, and so are its commands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_exists() -> None:
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = set(re.findall(r"(?:^|`)(?:PYTHON=\S+ )?make ([a-z]+)\b", TEXT, re.M))
    assert {"demo", "test"} <= named <= set(rules)


def test_the_first_commands_need_a_checkout_alone() -> None:
    first = re.findall(r"```\n(.*?)```", TEXT, re.S)[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


def test_no_figure_is_of_an_older_program() -> None:
    bench = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    assert [words for words in ("older than", "not measured again") if words in TEXT + bench] == []


def test_nothing_was_left_to_fill_in() -> None:
    assert "@@" not in TEXT
