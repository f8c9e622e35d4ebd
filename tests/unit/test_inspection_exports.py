"""One record in JSON, SARIF and HTML; what a hostile file is called cannot harm its reader."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest

from ml_core.checkpoints.inspection_record import ask_for_second_opinion, assess, inspection_record
from ml_core.checkpoints.inspection_sarif import sarif_log
from ml_core.cli.app import run_command
from ml_core.reading import inspect
from ml_core.reports.html.fields import inspection_page

NAMES_CODE = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


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


def test_inspect_writes_a_file_as_its_ending_or_the_option_says(tiny_checkpoint, tmp_path, capsys):
    for name, options, begin in (
        ("a.txt", [], "tiny.safetensors"),
        ("a.JSON", [], '{\n "schema_version"'),
        ("a.sarif.json", [], '{\n "$schema": "https://json.schemastore.org/sarif'),
        ("a.html", ["--format", "json"], '{\n "schema_version"'),
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
        ("--output tiny.safetensors --json", "tiny.safetensors is the input"),
    ):
        assert run_command(["inspect", path.name, *options.split()]) == 3
        assert words in capsys.readouterr().err
        assert path.read_bytes() == raw


# ---- where a file names code ----
