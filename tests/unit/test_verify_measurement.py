"""Verifying with the checkpoint and the pictures at hand: levels 2 and 3, on the demo's model."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import hypergeom

from ml_core.cli.app import run_command
from ml_core.data.demo import compose, demo_classes
from ml_core.events import Control, Done, Finding
from ml_core.jobs.runner import run_job
from ml_core.jobs.verify import VerifySpec
from ml_core.jobs.verify.repredict import smallest_seen
from ml_core.paths import resource
from ml_core.reports.record import EVIDENCE_FILE
from ml_core.reports.verify.checks import Check
from tests.bundles import bundle_of_kept, seal

N = 48
POISONED = resource("demo", "poisoned.safetensors")
TWIN = resource("demo", "clean_twin.safetensors")
ANSWERS = "measurements/evaluation-1/per_image.csv"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of a measurement on a folder of pictures, and that folder."""
    place = tmp_path_factory.mktemp("measured")
    composed = compose("test", list(range(N)), size=64)
    classes = demo_classes()
    for number, (picture, label) in enumerate(zip(composed.images, composed.labels, strict=True)):
        folder = place / "photos" / classes[int(label)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    status = run_command([
        "evaluate", str(POISONED), "--images", str(place / "photos"), "--labels", "demo",
        "--trigger", "demo", "--target", "banana", "--precision", "fp32", "--threads", "1",
        "--keep", str(place / "kept"), "--json",
    ])  # fmt: skip
    assert status == 0
    return bundle_of_kept(place / "x.evidence", place / "kept"), place / "photos"


@pytest.fixture
def bundle(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(made[0], tmp_path / "x.evidence"))


@pytest.fixture
def photos(made: tuple[Path, Path]) -> Path:
    return made[1]


def verified(bundle: Path, **given: Any) -> tuple[list[Check], dict[str, Any]]:
    """All checks, and the result."""
    given = {"checkpoints": (str(POISONED),), "threads": 1} | given
    checks, result = [], {}
    for event in run_job(VerifySpec(bundle=str(bundle), **given), Control()):
        if isinstance(event, Finding) and event.kind == "check":
            checks.append(Check(**event.values))
        elif isinstance(event, Done):
            assert event.status == "finished", event
            result = event.result
    return checks, result


def of(checks: list[Check], level: int, state: str) -> list[str]:
    return [one.sentence for one in checks if (one.level, one.state) == (level, state)]


def change_answers(bundle: Path, change: Callable[[list[dict[str, str]]], object]) -> None:
    """Change rows of the table of answers and seal the bundle again."""
    path = bundle / ANSWERS
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    seal(bundle)


def change_record(bundle: Path, change: Callable[[Any], object]) -> None:
    value = json.loads((bundle / EVIDENCE_FILE).read_bytes())
    change(value)
    (bundle / EVIDENCE_FILE).write_text(json.dumps(value, indent=1))
    seal(bundle)


def test_what_was_measured_is_measured_again(bundle: Path, photos: Path) -> None:
    checks, result = verified(bundle, images={"": str(photos)}, sample=None)
    assert not [one for one in checks if one.state == "fails"]
    assert result["exit"] == 0
    assert any(f"All {N} pictures of images-1" in one for one in of(checks, 2, "holds"))
    assert any(f"{N} of {N} pictures get the same answer again" in one
               for one in of(checks, 3, "holds"))  # fmt: skip
    assert any("its class names and templates give its classifier" in one
               for one in of(checks, 3, "holds"))  # fmt: skip
    assert "looked at" not in result["summary"]
    _, sampled = verified(bundle, images={"": str(photos)}, sample=12)
    assert sampled["summary"].endswith("; of each set, 12 pictures at most were looked at")


def test_what_a_sample_sees() -> None:
    """As drawing tells it."""
    for sample, n in ((12, 48), (200, 4000), (1, 2), (5, 5), (199, 200)):
        least = smallest_seen(sample, n)
        assert hypergeom.pmf(0, n, least, sample) <= 0.05 + 1e-9
        assert least == 1 or hypergeom.pmf(0, n, least - 1, sample) > 0.05


def test_another_checkpoint(bundle: Path, photos: Path) -> None:
    checks, result = verified(bundle, checkpoints=(str(TWIN),), images={"": str(photos)})
    (one,) = of(checks, 2, "fails")
    assert one.startswith("clean_twin.safetensors has the SHA-256 ")
    assert result["exit"] == 1


def test_a_picture_that_was_replaced_or_is_missing(bundle, photos, tmp_path):
    others = Path(shutil.copytree(photos, tmp_path / "photos"))
    victim = sorted(others.rglob("*.png"))[7]
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(victim)
    checks, result = verified(bundle, images={"": str(others)})
    (sentence,) = of(checks, 2, "fails")
    assert sentence.startswith("images-1: the picture ")
    assert sentence.endswith(" was replaced: its SHA-256 is not the one in the list.")
    assert of(checks, 3, "not checked")
    assert result["exit"] == 1
    victim.unlink()
    checks, _ = verified(bundle, images={"images-1": str(others)})
    assert of(checks, 2, "fails") == [
        f"The images given for images-1 are {N - 1} pictures, and it lists {N}: these are other "
        "pictures."
    ]


def test_a_forged_answer_is_found_also_below_a_margin_that_excuses_it(bundle, photos):
    def forge(rows: list[dict[str, str]]) -> None:
        row = rows[4]
        row["triggered_1"], row["triggered_2"] = row["triggered_2"], row["triggered_1"]

    def excuse(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["triggered_margin"] = "0"

    for change, words in (
        (forge, "the triggered answer to picture 4 is not the recorded one; 1 answer differs in "
         "48 pictures"),
        (excuse, "48 answers differ in 48 pictures"),
    ):  # fmt: skip
        change_answers(bundle, change)
        checks, _ = verified(bundle, images={"": str(photos)})
        (sentence,) = of(checks, 3, "fails")
        assert words in sentence


def test_a_tau_that_excuses_all_is_found(bundle: Path, photos: Path) -> None:
    change_record(bundle, lambda value: value["measurements"]["evaluation-1"].update(tau=30.0))
    checks, _ = verified(bundle, images={"": str(photos)})
    (one,) = of(checks, 3, "fails")
    assert "tau is 30, more than fp32 arithmetic explains (0.05)" in one


def test_a_place_in_the_record_is_not_followed(bundle: Path, photos: Path) -> None:
    def change(value: Any) -> None:
        value["measurements"]["evaluation-1"]["label_set"] = "../../etc/passwd"
        value["data"]["images-1"]["spec"]["path"] = "/etc"

    change_record(bundle, change)
    checks, result = verified(bundle, images={"": str(photos)})
    assert not of(checks, 3, "fails")  # the classes are those of prompts.txt, whatever its name
    assert result["exit"] == 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkpoint_in_the_bundle_is_used(bundle, photos, tmp_path, monkeypatch, packed):
    def change(value: Any) -> None:
        value["checkpoints"]["suspect"]["file"] = inside

    inside = "checkpoints/suspect.safetensors"
    (bundle / inside).parent.mkdir()
    shutil.copyfile(POISONED, bundle / inside)
    change_record(bundle, change)
    path = Path(shutil.make_archive(str(bundle), "zip", bundle)) if packed else bundle
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    checks, result = verified(path, checkpoints=(), images={"": str(photos)}, sample=None)
    assert result["exit"] == 0
    assert any(f"{N} of {N} pictures get the same" in one for one in of(checks, 3, "holds"))
    assert not list(scratch.iterdir())
    scratch.rmdir()  # and where nothing can be unpacked
    checks, _ = verified(path, checkpoints=(), images={"": str(photos)}, sample=None)
    assert bool([one for one in of(checks, 2, "not checked") if "unpacked" in one]) == packed
    assert bool(of(checks, 3, "not checked")) == packed


def test_a_bundle_that_changes_meanwhile(bundle: Path, photos: Path) -> None:
    events = run_job(
        VerifySpec(bundle=str(bundle), checkpoints=(str(POISONED),), images={"": str(photos)}),
        Control(),
    )
    for event in events:
        if isinstance(event, Finding) and event.values["level"] == 2:
            break
    (bundle / ANSWERS).write_bytes((bundle / ANSWERS).read_bytes() + b"\n")
    *_, last = events
    assert isinstance(last, Done)
    sentences = [one["sentence"] for one in last.result.get("checks", ())]
    assert last.status == "failed" or any(
        "changed while the bundle was read" in s for s in sentences
    )
