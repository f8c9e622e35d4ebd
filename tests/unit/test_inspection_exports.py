"""One record in JSON, SARIF and HTML; what a hostile file is called cannot harm its reader."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_core.checkpoints.inspection_record import (
    ask_for_second_opinion,
    assess,
    inspection_record,
)
from ml_core.checkpoints.inspection_sarif import sarif_log
from ml_core.reading import InputError, inspect
from ml_core.reading.rules import RULES_VERSION
from ml_core.reports.export_inspection import export_inspection
from ml_core.reports.html.inspection import inspection_page

MARKUP = "<script>alert(1)</script>"
HOSTILE = f"{MARKUP}\u202e\x00\"'&"
KEYS = (
    "verdict", "reason_code", "reasons", "format", "sha256", "architecture", "globals",
    "embedded_code", "unread", "tensors", "totals", "sandbox", "container", "rules",
)  # fmt: skip


def record_of(path: Path) -> dict[str, Any]:
    return inspection_record(assess(inspect(path)))


@pytest.fixture
def refused(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "a b<i>.pkl"
    path.write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    return record_of(path)


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "hostile.pt"
    torch.save({HOSTILE: torch.zeros(2), "epoch": HOSTILE, "half": torch.ones(1).half()}, path)
    return record_of(path)


def test_the_record_holds_what_is_promised(tiny_checkpoint: Path, refused: dict[str, Any]) -> None:
    found = record_of(tiny_checkpoint)
    assert set(KEYS) <= set(found)
    assert (found["verdict"], found["reason_code"]) == ("loads", "ok")
    assert found["totals"]["parameters"] == found["parameters"] > 0
    assert sum(found["totals"]["dtypes"].values()) == found["parameters"]
    assert (refused["verdict"], refused["reason_code"]) == ("dangerous", "unknown_code")
    assert refused["globals"]["unknown"] == ["posix.system"]


def test_a_file_that_is_no_clip_is_refused_after_all(hostile: dict[str, Any]) -> None:
    assert hostile["verdict"] == "damaged"
    assert hostile["reason_code"] == "unsupported"
    assert hostile["totals"]["tensors"] == 2


def test_sarif_has_one_result_a_reason(refused: dict[str, Any]) -> None:
    log = sarif_log(refused)
    (run,) = log["runs"]
    (result,) = run["results"]
    rules = run["tool"]["driver"]["rules"]
    assert log["version"] == "2.1.0"
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "unknown_code"
    assert (result["kind"], result["level"]) == ("fail", "error")
    assert "posix.system" in result["message"]["text"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b%3Ci%3E.pkl"
    assert run["artifacts"][0]["hashes"] == {"sha-256": refused["sha256"]}
    assert run["properties"]["verdict"] == "dangerous"


def check_sarif(log: dict[str, Any]) -> None:
    """What SARIF 2.1.0 demands of the parts that are written here."""
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    assert log["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert all(isinstance(driver[key], str) for key in ("name", "version", "informationUri"))
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(rules) == len(set(rules))
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["name"].isalnum()
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    assert driver["properties"]["rulesVersion"] == RULES_VERSION
    assert run["invocations"] == [{"executionSuccessful": True}]
    for result in run["results"]:
        assert result["ruleId"] == rules[result["ruleIndex"]]
        assert result["level"] in ("none", "note", "warning", "error")
        # section 3.27.9: another kind than "fail" has the level "none"
        assert (result["kind"] == "fail") is (result["level"] != "none")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
        assert not set(place["uri"]) & set(' <>"{}|\\^`\u202e\x00/:')
    for artifact in run["artifacts"]:
        assert artifact.get("length", 0) >= -1
        assert all(len(value) == 64 for value in artifact.get("hashes", {}).values())


def test_every_sarif_log_is_valid(
    tiny_checkpoint: Path, refused: dict[str, Any], hostile: dict[str, Any], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pt"
    empty.write_bytes(b"")
    renamed = tiny_checkpoint.rename(tiny_checkpoint.with_suffix(".pt"))
    records = [refused, hostile, record_of(empty), record_of(renamed)]
    for record in records:
        check_sarif(sarif_log(record))
    levels = [sarif_log(record)["runs"][0]["results"][0]["level"] for record in records]
    assert levels == ["error", "error", "error", "warning"]


def test_sarif_of_a_file_that_loads_has_no_finding(tiny_checkpoint: Path) -> None:
    (run,) = sarif_log(record_of(tiny_checkpoint))["runs"]
    assert run["results"] == []
    check_sarif(sarif_log(record_of(tiny_checkpoint)))
    assert run["properties"]["verdict"] == "loads"


class _Page(html.parser.HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> _Page:
    reader = _Page()
    reader.feed(page)
    return reader


def test_the_page_runs_links_and_fetches_nothing(
    hostile: dict[str, Any], refused: dict[str, Any]
) -> None:
    for record in (hostile, refused):
        page = parsed(inspection_page(record))
        assert not page.tags & {"script", "a", "img", "link", "iframe", "object", "form", "base"}
        allowed = {"lang", "charset", "http-equiv", "content", "name", "class", "scope"}
        assert page.attributes <= allowed
        assert "default-src 'none'" in inspection_page(record)
        assert "url(" not in inspection_page(record)


def test_the_page_shows_hostile_texts_letter_by_letter(hostile: dict[str, Any]) -> None:
    source = inspection_page(hostile)
    assert "\u202e" not in source
    assert "\x00" not in source
    shown = parsed(source).text
    assert MARKUP in shown
    assert "\\u202e\\x00" in shown
    source.encode()


def test_the_page_tells_verdict_reasons_and_names(refused: dict[str, Any]) -> None:
    shown = parsed(inspection_page(refused)).text
    for words in ("Refused: dangerous", refused["reasons"][0], "posix.system", refused["sha256"]):
        assert words in shown


def test_the_second_opinion_stands_in_every_export(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    found = inspect(path)
    opinion = ask_for_second_opinion(found)
    assert "posix.system" in opinion
    record = inspection_record(assess(found), opinion)
    assert record["second_opinion"] == opinion
    assert sarif_log(record)["runs"][0]["properties"]["second_opinion"] == opinion
    assert opinion in parsed(inspection_page(record)).text
    assert "Second opinion" not in inspection_page(inspection_record(assess(found)))
    path.unlink()
    assert "cannot be opened" in ask_for_second_opinion(found)


@pytest.mark.parametrize("suffix", [".json", ".sarif", ".html", ".HTML"])
def test_the_ending_chooses_the_format(
    tmp_path: Path, hostile: dict[str, Any], suffix: str
) -> None:
    target = tmp_path / f"report{suffix}"
    target.write_text("old")
    assert export_inspection(hostile, target) == target
    text = target.read_text(encoding="utf-8")
    if suffix == ".json":
        assert json.loads(text) == hostile
    elif suffix == ".sarif":
        assert json.loads(text) == sarif_log(hostile)
    else:
        assert text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "words"),
    [("report.txt", "ends in .json, .sarif or .html"), ("nowhere/report.json", "cannot be")],
)
def test_a_place_that_cannot_be_written(
    tmp_path: Path, refused: dict[str, Any], name: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        export_inspection(refused, tmp_path / name)
