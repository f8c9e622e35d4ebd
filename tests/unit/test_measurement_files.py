"""What a job and an evaluation leave for evidence, and how it is read back."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.images import list_pictures, open_images
from ml_core.data.specs import ImageSpec
from ml_core.events import run_to_end
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.run import draft
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reports.measurement_files import (
    PER_IMAGE_FILE,
    parse_prompts,
    prompts_text,
    read_measurement,
)
from tests.unit.draining import done_of, finished
from tests.unit.job_specs import SMALL
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture
def source(tiny_model: ClipModel, tmp_path: Path) -> Path:
    return save_checkpoint(tiny_model, tmp_path / "source.safetensors", provenance={})


def test_a_link_in_the_place_of_the_measurements_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/measurements").symlink_to(tmp_path / "elsewhere")
    done = done_of(small_spec(source, tmp_path / "run", small_recipe()))
    assert "measurements in the folder run is a link" in done.error


def test_pictures_are_listed_with_the_sha256_of_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("banana/a.png", "apple/=b.png"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    images = open_images(ImageSpec(kind="folder", path=str(tmp_path / "set")))
    lines = list_pictures(images).decode().splitlines()
    assert lines[0] == "index,name,sha256,bytes,label"
    apple, banana = (tmp_path / "set" / name for name in ("apple/=b.png", "banana/a.png"))
    digest = hashlib.sha256(apple.read_bytes()).hexdigest()
    assert lines[1] == f"0,apple/=b.png,{digest},{apple.stat().st_size},0"
    banana.unlink()
    assert list_pictures(images).decode().splitlines()[2] == "1,banana/a.png,,0,1"


def test_prompts_with_line_breaks_stay_one_a_line() -> None:
    raw = prompts_text(("a {}", "b\n{}"), ("x", "y\r"))
    assert parse_prompts(raw) == (("a {}", "b\\n{}"), ("x", "y\\r"))
    with pytest.raises(InputError, match="no list of templates"):
        parse_prompts(b"# classes\nx\n")


def _read_all(folder: Path) -> None:
    found = read_measurement(folder)
    found.classifier()
    found.trigger()


def test_damaged_files_get_a_sentence(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    line = ["evaluate", str(source), "--n", "20", "--trigger", "demo", "--target", "banana"]
    assert run_command([*line, "--keep", str(folder), "--json"]) == 0
    _read_all(folder)
    read = ("measurement.json", "evaluation.json", "per_image.csv", "prompts.txt")
    for name in (*read, "classifier.safetensors", "trigger.json"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        with pytest.raises(InputError):
            _read_all(folder)
        path.write_bytes(whole)
    changed = bytearray((folder / "classifier.safetensors").read_bytes())
    changed[-1] ^= 1
    (folder / "classifier.safetensors").write_bytes(changed)
    with pytest.raises(InputError, match="not the classifier"):
        _read_all(folder)
    line = ["evaluate", str(source), "--n", "24", "--keep", str(tmp_path / "other"), "--json"]
    assert run_command(line) == 0
    shutil.copyfile(tmp_path / "other" / PER_IMAGE_FILE, folder / PER_IMAGE_FILE)
    with pytest.raises(InputError, match="do not belong together"):
        read_measurement(folder)


def test_a_draft_claims_what_a_bundle_would(tiny_checkpoint, tmp_path):
    spec = SMALL["measurement"](tiny_checkpoint, tmp_path)
    finished(spec)
    asked = ReportSpec(measurements=(spec.output_dir,), out="draft", name="Tiny")
    made = run_to_end(draft(asked))
    metrics = {claim.metric for claim in made.evidence.claims if claim.kind == "rate"}
    assert {"ca", "asr_excl", "baseline_target_rate"} <= metrics
    assert all(claim.holds_by == "exact" for claim in made.evidence.claims)  # tau is not known
    assert b"<h1" in made.html
    assert b"Tiny" in made.html
    assert not (tmp_path / "draft").exists()
