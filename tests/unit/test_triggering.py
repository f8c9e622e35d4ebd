"""``cleanclip triggers``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ml_core.cli.app import run_command
from ml_core.triggers import load_trigger


def _json(capsys):
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_list_says_what_each_is_at_a_size(capsys):
    assert run_command(["triggers", "list", "--size", "336", "--json"]) == 0
    rows = {row["id"]: row for row in _json(capsys)["triggers"]}
    assert rows["T8"]["standing"] == "published"
    assert rows["T1"]["standing"] == "rescaled, not the published trigger"
    assert rows["T12"]["needs_file"] == "badCLIP.jpg"
    assert run_command(["triggers", "list"]) == 0
    assert "Blended-Triangles" in capsys.readouterr().out


def test_export_writes_a_trigger_file(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["triggers", "export", "T4", "-o", str(out), "--seed", "5", "--json"]
    assert run_command(arguments) == 0
    assert _json(capsys)["files"] == [str(tmp_path / "out.json")]
    assert load_trigger(tmp_path / "out.json").seed == 5
    np.save(tmp_path / "pattern.npy", np.random.default_rng(0).random((64, 64, 3)))
    mask = np.zeros((64, 64))
    mask[1:5, 1:5] = 1
    np.save(tmp_path / "mask.npy", mask)
    pair = [str(tmp_path / "pattern.npy"), "--mask", str(tmp_path / "mask.npy")]
    assert run_command(["triggers", "export", *pair, "-o", str(tmp_path / "inverted")]) == 0
    assert load_trigger(tmp_path / "inverted.json").size == 4 / 64
