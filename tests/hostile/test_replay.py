"""Every hostile item is refused and runs nothing; every harmless file loads, bit by bit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ml_core.checkpoints.tensors import read_tensors
from ml_core.reading import inspect
from ml_core.reading.inspection import REFUSED
from tests.hostile.benign import benign
from tests.hostile.corpus import items
from tests.hostile.make import write
from tests.hostile.replay import fits

ROOT = Path(__file__).parents[2]
UNDUE = re.compile("64-bit sizes|in case alone|not looked into|asks? other")
SECONDS, MEGABYTES = 20, 500  # of a processor; far above what an item takes


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)])
def replayed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What one process says of every item; it has no torch, and cannot hang for ever."""
    folder = tmp_path_factory.mktemp("corpus")
    write(folder, [item for item in items() if item.heavy is request.param])
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.replay", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after {rows[-1]['name'] if rows else 'nothing'}: {done.stderr}"
    return rows


def test_hostile_files_are_refused(replayed: list[dict[str, Any]]) -> None:
    assert [row for row in replayed if row["ran"]] == []
    assert [(row["name"], row["verdict"], row["reason"]) for row in replayed if not fits(row)] == []
    slow = [row for row in replayed if row["seconds"] > SECONDS or row["megabytes"] > MEGABYTES]
    assert slow == []


def test_refusals_are_one_sentence(replayed: list[dict[str, Any]]) -> None:
    for row in replayed:
        if row["verdict"] in REFUSED:
            assert row["reason"].endswith("."), row
            assert "Traceback" not in row["reason"]
            assert len(row["reason"]) < 1500, row["name"]


@pytest.mark.parametrize("name", list(benign()))
@pytest.mark.filterwarnings("ignore")
def test_harmless_files_load(tmp_path: Path, name: str) -> None:
    expected = benign()[name](tmp_path / name)
    found = inspect(tmp_path / name)
    assert found.verdict in ("loads", "caution"), found.reasons
    assert not UNDUE.search(" ".join(found.reasons))
    tensors = read_tensors(found)
    assert tensors.keys() == expected.keys()
    for key, value in expected.items():
        got = tensors[key]
        assert (got.dtype, got.shape) == (value.dtype, value.shape), key
        same = got.contiguous().flatten().view(torch.uint8)
        assert torch.equal(same, value.contiguous().flatten().view(torch.uint8)), key
