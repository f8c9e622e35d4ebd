"""One record in JSON, SARIF and HTML; what a hostile file is called cannot harm its reader."""

from __future__ import annotations

import json
import pickle
import tarfile
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.inspection_record import ask_for_second_opinion, assess, inspection_record
from ml_core.checkpoints.inspection_sarif import sarif_log
from ml_core.cli.app import run_command
from ml_core.reading import examine, inspect
from ml_core.reports.html.fields import inspection_page
from tests.unit.file_bytes import tarred, zipped
from tests.unit.official_schemas import check_cyclonedx_schema, check_sarif

NAMES_CODE = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
KEYS = (
    "verdict", "reason_code", "reasons", "format", "sha256", "architecture", "globals",
    "embedded_code", "unread", "tensors", "totals", "sandbox", "container", "rules",
)  # fmt: skip


def record_of(path: Path) -> dict[str, Any]:
    return inspection_record(assess(inspect(path)))


@pytest.fixture
def refused(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "a b<i>.pkl"
    path.write_bytes(NAMES_CODE)
    return record_of(path)


def test_the_record_holds_what_is_promised(tiny_checkpoint: Path, refused: dict[str, Any]) -> None:
    record = record_of(tiny_checkpoint)
    assert set(KEYS) <= set(record)
    assert (record["verdict"], record["reason_code"]) == ("loads", "ok")
    totals, model = record["totals"], open_checkpoint(tiny_checkpoint).build().module
    assert totals["parameters"] == record["parameters"]
    assert totals["parameters"] == sum(one.numel() for one in model.parameters())
    assert totals["buffer_numbers"] == sum(
        one.numel() for name, one in model.named_buffers() if name in model.state_dict()
    )
    assert totals["buffer_numbers"] > 0
    assert sum(totals["dtypes"].values()) == totals["parameters"] + totals["buffer_numbers"]
    assert (refused["verdict"], refused["reason_code"]) == ("dangerous", "unknown_code")
    assert refused["globals"]["unknown"] == ["posix.system"]


def test_a_finding_is_known_again_whatever_the_file_is_called(tmp_path: Path) -> None:
    prints, raw = [], NAMES_CODE
    for name, content in (("a.pkl", raw), ("other name.pkl", raw), ("c.pkl", raw + b"\0")):
        (tmp_path / name).write_bytes(content)
        (result,) = sarif_log(record_of(tmp_path / name))["runs"][0]["results"]
        prints.append(result["partialFingerprints"]["finding/v1"])
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_sarif_points_at_tensors_that_do_not_fit(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny_checkpoint)
    name = "text_projection"
    tensors[name] = torch.zeros(tensors[name].shape[0], tensors[name].shape[1] + 1)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    record = record_of(path)
    log = sarif_log(record)
    check_sarif(log)
    (place,) = log["runs"][0]["results"][0]["relatedLocations"]
    region = place["physicalLocation"]["region"]
    assert name in place["message"]["text"]
    assert region["byteLength"] == tensors[name].nbytes
    raw = path.read_bytes()[region["byteOffset"] :][: region["byteLength"]]
    assert raw == bytes(region["byteLength"])
    whole = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert whole["region"] == {"byteOffset": 0, "byteLength": path.stat().st_size}
    (result,) = sarif_log(record | {"weights": "model.safetensors"})["runs"][0]["results"]
    for location in (*result["locations"], *result["relatedLocations"]):
        assert "region" not in location["physicalLocation"]
    assert name in result["relatedLocations"][0]["message"]["text"]


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
        ("a.JSON", [], '{\n "tool"'),
        ("a.sarif.json", [], '{\n "$schema": "https://json.schemastore.org/sarif'),
        ("a.cdx.json", [], '{\n "$schema": "http://cyclonedx.org/schema/bom-1.6'),
        ("a.html", [], "<!doctype html>"),
        ("a.log", ["--sarif"], '{\n "$schema": "https://json.schemastore.org/sarif'),
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


def test_the_exit_code_is_the_verdicts_whatever_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(NAMES_CODE)
    target = tmp_path / "m.cdx.json"
    assert run_command(["inspect", str(path), "--output", str(target)]) == 1
    bom = json.loads(target.read_text())
    check_cyclonedx_schema(bom)
    properties = bom["components"][0]["properties"]
    assert {"name": "cleanclip:verdict", "value": "dangerous"} in properties


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
        ("--json --format html", "choose one"),
        ("--output nowhere/a.json", "a.json could not be written"),
        ("--output tiny.safetensors --json", "tiny.safetensors is what is read"),
    ):
        assert run_command(["inspect", path.name, *options.split()]) == 3
        assert words in capsys.readouterr().err
        assert path.read_bytes() == raw


def test_an_error_is_json_where_json_was_to_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for options, in_json in (
        ("--format json", True), ("--format=json", True), ("--format json -o a.json", False),
        ("--format sarif", False),
    ):  # fmt: skip
        assert run_command(["inspect", "/no/such/file", *options.split()]) == 3
        shown = capsys.readouterr().out
        assert (json.loads(shown)["error_code"] == "usage") if in_json else shown == ""


# ---- where a file names code ----

CALL = b"cposix\nsystem\n"
STACKED = b"\x80\x04\x8c\x05posix\x8c\x06system\x93X\x04\x00\x00\x00true\x85R."


def in_zip(raw: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    return zipped({"archive/version": b"3", "archive/data.pkl": raw}, method)


def of_objects(raw: bytes) -> bytes:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + raw


STREAM = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))


@pytest.mark.parametrize(
    ("raw", "bytes_there"),
    [
        (NAMES_CODE, CALL),
        (STACKED, b"\x93"),
        (NAMES_CODE[:-1] + b"\xff", CALL),  # cannot be read to its end
        (b"\x80\x02]\x81" + CALL + b")R.", CALL),  # found only by the search behind
        (STREAM + NAMES_CODE, CALL),
        (of_objects(NAMES_CODE), CALL),
        (in_zip(NAMES_CODE), CALL),
        (in_zip(NAMES_CODE)[:-30], CALL),  # a doctored archive
        (tarred({"model.pt": in_zip(NAMES_CODE)}, form=tarfile.USTAR_FORMAT), CALL),
        (in_zip(NAMES_CODE, zipfile.ZIP_DEFLATED), None),
        (tarred({"model.pt": NAMES_CODE}, "w:gz"), None),
    ],
    ids=[
        *("bare", "stacked", "odd", "behind", "stream", "array", "zip", "doctored", "tar"),
        *("packed", "gzip"),
    ],
)
def test_sarif_points_at_the_bytes_that_name_code(tmp_path, raw, bytes_there):
    path = tmp_path / "model.bin"
    path.write_bytes(raw)
    found = examine(path)
    assert found.reason_code == "unknown_code"
    record = inspection_record(assess(found))
    log = sarif_log(record)
    check_sarif(log)
    (result,) = log["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    if bytes_there is None:
        assert record["code_places"] == []
        assert region == {"byteOffset": 0, "byteLength": len(raw)}
        return
    assert [place["what"] for place in record["code_places"]] == ["posix.system"]
    assert raw[region["byteOffset"] :][: region["byteLength"]] == bytes_there
    assert result["locations"][0]["message"]["text"] == "Names or uses code: posix.system."


def test_sarif_points_at_a_misuse(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    raw = b"\x80\x02ccollections\nOrderedDict\n}b."
    path.write_bytes(raw)
    record = record_of(path)
    assert record["reason_code"] == "unknown_code"
    (place,) = record["code_places"]
    assert (place["offset"], place["nbytes"]) == (raw.index(b"b."), 1)
    assert "OrderedDict" in place["what"]
