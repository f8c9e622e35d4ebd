"""Every command of the README and of the tutorial, one after another.

The README's with a published trigger on its own canvas; the tutorial's as they stand there, with
options that make them short.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ml_core.cleaning.recipes import write_recipe
from ml_core.cli.app import run_command
from ml_core.data.demo import compose, demo_classes
from ml_core.paths import resource
from ml_core.triggers.published import published
from tests.unit.small_jobs import small_recipe
from tests.unit.test_docs import commands

pytestmark = pytest.mark.timeout(1200)
README = Path(__file__).parents[2] / "README.md"
TUTORIAL = README.parent / "docs" / "tutorial.md"
TARGET = "banana"
FEW = {"pairs": 32, "batch_size": 16, "warmup_steps": 1, "eval_every": 0, "save_every": 0}
TINY = [part for name, value in FEW.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A dozen of the demo's test pictures in a folder per class."""
    shown = compose("test", range(100))
    labelled = [number for number in range(100) if shown.labels[number] >= 0][:12]
    for number in labelled:
        folder = tmp_path / "images" / demo_classes()[shown.labels[number]]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown.images[number]).save(folder / f"{number}.png")
    return str(tmp_path / "images")


def test_every_command_of_the_readme_does_its_work(
    images, tiny_checkpoint, tmp_path, capsys, monkeypatch
):
    """What only has to come to its end is done with a tiny model."""
    monkeypatch.setattr("ml_core.jobs.proofs.holdouts.MOST", 32)  # pairs to rank
    model, tiny = str(resource("demo", "poisoned.safetensors")), str(tiny_checkpoint)
    own = published("T2", 64)
    assert own.canvas != "model", "the trigger must be one on a canvas of its own"
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join([TARGET, *(c for c in demo_classes() if c != TARGET)][:20]))
    careful = small_recipe(method="mmcl", lr=5e-5, **FEW)
    recipe = str(write_recipe(careful, tmp_path / "recipe.json"))
    at = {name: str(tmp_path / name) for name in ("cleaned", "demo", "scan")}
    attack = ["--trigger", "T2", "--target", TARGET]
    on = ["--images", images, "--labels", "demo"]
    tests = ["--test-images", images, "--labels", "demo"]
    told: dict[str, Any] = {}

    def run(*arguments: str, expected: int = 0) -> Any:
        capsys.readouterr()
        status = run_command([*arguments, "--json"])
        out, err = capsys.readouterr()
        assert status == expected, f"{arguments}: {out[-500:]} {err[-2000:]}"
        told[arguments[0]] = json.loads(out)
        return told[arguments[0]]

    assert run("inspect", model)["verdict"] == "loads"
    assert run("convert", model, str(tmp_path / "plain.safetensors"))["layout"] == "open_clip"
    assert run("evaluate", model, *on, *attack)["trigger_name"] == own.name
    few = ("--stages", "probes", "--search", "16", "--held-out", "128")
    found = run("scan", model, "-o", at["scan"], *few, expected=1)  # as scanners say it
    assert found["judgement"]["target"] == "banana"
    assert run("examine", model, "--minutes", "0.05", expected=1)["target"] == "banana"
    run("clean", tiny, "-o", at["cleaned"], "--recipe", recipe, *tests, *attack)
    proved = run("prove", at["cleaned"], "--steps", "1", "--other-labels", str(labels))
    rows = proved["holdouts"]["rows"]
    assert {row["group"] for row in rows} >= {"itself", "moved", "other triggers", "retrieval"}
    assert proved["rebound"]["rates"]
    evidence = str(tmp_path / "demo.evidence")
    assert run("report", at["cleaned"], "-o", evidence)["claims"]
    verified = run("verify", evidence, "--checkpoint", tiny, "--sample", "8")
    assert not [one for one in verified["checks"] if one["state"] == "fails"]
    rules = tmp_path / "policy.toml"
    rules.write_text('[file]\nallow = ["loads"]\n[accuracy]\nat_least = 0.0\n')
    gated = run("gate", tiny, "--policy", str(rules), "--evidence", evidence)
    assert [rule["source"] for rule in gated["files"][0]["rules"]] == ["file", "file", "bundle"]
    run("demo", "--method", "mmcl", "--seed", "0", *TINY, "--test-images", "32", "-o", at["demo"])
    named = set(re.findall(r"^cleanclip ([a-z]+)", README.read_text(encoding="utf-8"), re.M))
    assert named == set(told)


@pytest.mark.slow
def test_every_command_of_the_tutorial_does_its_work(images, tmp_path, capsys, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    (work / "resources").symlink_to(resource("demo").parent)
    monkeypatch.chdir(work)
    few = ["--stages", "patches", "--starts", "2", "--search", "16", "--held-out", "128"]
    shorter = {
        "evaluate": ["--n", "72"],
        "scan": few,
        "clean": [*TINY, "--test-images", images],
        "prove": ["--steps", "1"],
        "verify": ["--sample", "8"],
    }
    told: dict[str, Any] = {}
    for arguments in commands(TUTORIAL):
        name = arguments[0]
        capsys.readouterr()
        status = run_command([*arguments, *shorter.get(name, []), "--json"])
        out, err = capsys.readouterr()
        assert status == (1 if name == "scan" else 0), f"{arguments}: {err[-2000:]}"
        told[name] = json.loads(out)
    assert {"inspect", "report"} | shorter.keys() == told.keys()
    assert told["inspect"]["verdict"] == "loads"
    assert told["scan"]["judgement"]["target"] == TARGET
    assert told["evaluate"]["asr_excl"] > 0.9
    assert told["prove"]["rebound"]["rates"]
    assert not [check for check in told["verify"]["checks"] if check["state"] == "fails"]
