"""One record in JSON, SARIF and HTML; what a hostile file is called cannot harm its reader."""

from __future__ import annotations

import json
import tarfile
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import pytest

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import ask_for_second_opinion, assess, inspection_record
from ml_core.checkpoints.inspection_sarif import sarif_log
from ml_core.cli.app import run_command
from ml_core.reading import examine, inspect
from ml_core.reports.html.fields import inspection_page
from tests.unit.file_bytes import tarred, zipped

NAMES_CODE = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


def record_of(path: Path) -> dict[str, Any]:
    return inspection_record(assess(inspect(path)))


def test_the_second_opinion_stands_in_every_export(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(NAMES_CODE)
    found = inspect(path)
    opinion = ask_for_second_opinion(found)
    assert "posix.system" in opinion
    record = inspection_record(assess(found), opinion)
    assert record["second_opinion"] == opinion
    assert sarif_log(record)["runs"][0]["properties"]["second_opinion"] == opinion
    assert escape(opinion) in inspection_page(record)
    assert "Second opinion" not in inspection_page(inspection_record(assess(found)))
    path.unlink()
    assert "cannot be opened" in ask_for_second_opinion(found)


# ---- --format and --output of the command line ----


def test_inspect_prints_every_format(tiny_checkpoint, capsys):
    def printed(form: str) -> str:
        assert run_command(["inspect", str(tiny_checkpoint), "--format", form]) == 0
        return capsys.readouterr().out

    assert "Second opinion" in printed("text")
    record, model = json.loads(printed("json")), open_checkpoint(tiny_checkpoint).build().module
    assert record["verdict"] == "loads"
    assert record["parameters"] == sum(value.numel() for value in model.parameters())
    assert json.loads(printed("sarif"))["runs"][0]["results"] == []
    assert printed("html").startswith("<!doctype html>")
    (model,) = json.loads(printed("cdx"))["components"]
    assert model["hashes"][0]["content"] == inspect(tiny_checkpoint).sha256


def test_inspect_writes_a_file_as_its_ending_or_the_option_says(tiny_checkpoint, tmp_path, capsys):
    for name, options, begin in (
        ("a.txt", [], "tiny.safetensors"),
        ("a.JSON", [], '{\n "tool"'),
        ("a.sarif.json", [], '{\n "$schema": "https://json.schemastore.org/sarif'),
        ("a.html", ["--format", "json"], '{\n "tool"'),
    ):
        target = tmp_path / name
        target.write_text("old")
        assert run_command(["inspect", str(tiny_checkpoint), "-o", str(target), *options]) == 0
        shown = capsys.readouterr()
        assert shown.out == ""
        assert f"Written: {target}" in shown.err
        assert target.read_text(encoding="utf-8").startswith(begin)
        assert "\x1b" not in target.read_text(encoding="utf-8")


def test_an_output_that_cannot_be_made_is_told_in_a_sentence(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path, raw = tmp_path / tiny_checkpoint.name, tiny_checkpoint.read_bytes()
    path.write_bytes(raw)
    for options, words in (
        ("--format pdf", "There is no format 'pdf'; choose text, json, sarif, html or cdx"),
        ("--output a.log", "a.log does not tell the format: give --format, or a name"),
        ("--output nowhere/a.json", "a.json could not be written"),
        ("--output tiny.safetensors --json", "tiny.safetensors is what is read"),
    ):
        assert run_command(["inspect", path.name, *options.split()]) == 3
        assert words in capsys.readouterr().err
        assert path.read_bytes() == raw


# ---- where a file names code ----

CALL = b"cposix\nsystem\n"
STACKED = b"\x80\x04\x8c\x05posix\x8c\x06system\x93X\x04\x00\x00\x00true\x85R."


def in_zip(raw: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    return zipped({"archive/version": b"3", "archive/data.pkl": raw}, method)


@pytest.mark.parametrize(
    ("raw", "bytes_there"),
    [
        (NAMES_CODE, CALL),
        (STACKED, b"\x93"),
        (b"\x80\x02]\x81" + CALL + b")R.", CALL),  # found only by the search behind
        (in_zip(NAMES_CODE)[:-30], CALL),  # a doctored archive
        (tarred({"model.pt": in_zip(NAMES_CODE)}, form=tarfile.USTAR_FORMAT), CALL),
        (in_zip(NAMES_CODE, zipfile.ZIP_DEFLATED), None),
        (tarred({"model.pt": NAMES_CODE}, "w:gz"), None),
    ],
    ids=["bare", "stacked", "behind", "doctored", "tar", "packed", "gzip"],
)
def test_sarif_points_at_the_bytes_that_name_code(tmp_path, raw, bytes_there):
    path = tmp_path / "model.bin"
    path.write_bytes(raw)
    found = examine(path)
    assert found.reason_code == "unknown_code"
    record = inspection_record(assess(found))
    (result,) = sarif_log(record)["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    if bytes_there is None:
        assert record["code_places"] == []
        assert region == {"byteOffset": 0, "byteLength": len(raw)}
        return
    assert [place["what"] for place in record["code_places"]] == ["posix.system"]
    assert raw[region["byteOffset"] :][: region["byteLength"]] == bytes_there
    assert result["locations"][0]["message"]["text"] == "Names or uses code: posix.system."
