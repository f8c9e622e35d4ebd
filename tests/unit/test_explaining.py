"""`cleanclip explain`: a picture, cells or points of a checkpoint, and what it refuses."""

from __future__ import annotations

import json

from ml_core.cli.app import run_command


def test_cells_of_an_occlusion_of_the_predicted_class(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "why.csv"
    arguments = ["explain", str(tiny_checkpoint), "--method", "occlusion", "--patch", "16"]
    assert run_command([*arguments, "-o", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 4 * 4
    assert "occlusion" in capsys.readouterr().out


def test_a_map_of_two_checkpoints(tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "map.csv"
    arguments = ["explain", str(tiny_checkpoint), "--compare", str(tiny_checkpoint)]
    rest = ["--method", "pca", "--n", "12", "--trigger", "demo", "-o", str(out), "--json"]
    assert run_command([*arguments, *rest]) == 0
    assert [part["n"] for part in json.loads(capsys.readouterr().out)["parts"]] == [12, 12]
    lines = [line.split(",") for line in out.read_text().splitlines()]
    assert {line[0] for line in lines[1:]} == {"0", "1"}
    first, second = ([line[5:] for line in lines if line[0] == part] for part in "01")
    assert first == second  # the same model lies on itself


def test_class_names_are_no_formulas(tiny_checkpoint, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "map.csv"
    names.write_text("dog\n=HYPERLINK(1)\nbanana\n")
    status = run_command(
        ["explain", str(tiny_checkpoint), "--labels", str(names), "--method", "pca", "--n", "4",
         "-o", str(out)]
    )  # fmt: skip
    assert status == 0
    assert ",'=HYPERLINK(1)," in out.read_text()
    assert ",=HYPERLINK" not in out.read_text()
