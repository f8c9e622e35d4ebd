"""What a job and an evaluation leave for evidence, and how it is read back."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.images import list_pictures, open_images
from ml_core.data.labels import load_label_set
from ml_core.data.specs import ImageSpec
from ml_core.evaluation.records import wilson_interval
from ml_core.evaluation.scores import Scores, score
from ml_core.events import Control, Progress, run_to_end
from ml_core.jobs.clean.earlier import forget_earlier, set_aside
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.run import draft
from ml_core.jobs.runner import run_job
from ml_core.jobs.specs import SPEC_FILE, read_spec
from ml_core.model import ClipModel
from ml_core.reading.errors import InputError
from ml_core.reports.arithmetic import rate_of
from ml_core.reports.measurement_files import (
    PER_IMAGE_FILE,
    parse_prompts,
    per_class_csv,
    prompts_text,
    read_measurement,
)
from ml_core.reports.rows import Rows, from_csv, rows_of, to_csv
from ml_core.triggers import demo_trigger, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import SMALL
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture
def source(tiny_model: ClipModel, tmp_path: Path) -> Path:
    return save_checkpoint(tiny_model, tmp_path / "source.safetensors", provenance={})


def test_a_run_keeps_each_of_its_measurements(source: Path, tmp_path: Path) -> None:
    trigger = save_trigger(demo_trigger(), tmp_path / "trigger")[1]
    held_out = ImageSpec(split="heldout", n=24)
    spec = small_spec(
        source,
        tmp_path / "run",
        small_recipe(method="supervised"),
        trigger=str(trigger),
        heldout_images=held_out,
    )
    done = finished(spec)
    folder = tmp_path / "run/measurements"
    names = {"before", "after", "after-linear"}
    assert {one.name for one in folder.iterdir()} == names | {f"heldout-{one}" for one in names}
    result = done.result
    for name, said in (
        ("before", result["before"]),
        ("after", result["after"]),
        ("after-linear", result["heads"]["linear"]["after"]),
        ("heldout-after", result["heldout"]["after"]),
    ):
        found = read_measurement(folder / name)
        assert found.evaluation == said
        assert found.facts.precision == "fp32"
        for metric in ("ca", "asr_excl", "asr_all", "poisoned_accuracy", "flip_rate"):
            rate = rate_of(metric, found.rows, found.facts.target)  # type: ignore[arg-type]
            assert rate is not None
            assert rate.value == said[metric]
        used = found.trigger()
        assert used is not None
        assert used.digest == said["trigger"]
        assert found.classifier().shape == (found.facts.classes, 16)
    assert read_measurement(folder / "after-linear").facts.head == "linear"
    assert read_measurement(folder / "heldout-before").facts.data.spec == held_out
    cleaned = read_measurement(folder / "after").facts.checkpoint
    assert cleaned.sha256 == result["checkpoint_sha256"]

    foreign = folder / "before/notes.txt"
    foreign.write_text("mine")
    assert set_aside(spec, journal=True)
    assert [one.name for one in folder.rglob("*") if one.is_file()] == ["notes.txt"]
    forget_earlier(folder.parent)
    assert not any(one.name == "measurement.json" for one in folder.parent.rglob("*"))


def test_a_link_in_the_place_of_the_measurements_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/measurements").symlink_to(tmp_path / "elsewhere")
    done = done_of(small_spec(source, tmp_path / "run", small_recipe()))
    assert "measurements in the folder run is a link" in done.error


def test_evaluate_keeps_both_checkpoints_in_fp32(source, tmp_path, capsys):
    line = ["evaluate", str(source), "--reference", str(source), "--n", "30"]
    line += ["--keep", str(tmp_path / "kept"), "--json"]
    assert run_command(line) == 0
    told = capsys.readouterr()
    assert "measured in fp32" in told.err
    for name in ("kept", "kept-reference"):
        found = read_measurement(tmp_path / name)
        assert found.facts.precision == "fp32"
        assert found.facts.trigger is None
        assert found.facts.target is None  # nobody named one
        rate = rate_of("ca", found.rows, None)
        assert rate is not None
        assert list(wilson_interval(rate.hits, rate.n)) == found.evaluation["ca_interval"]
    assert run_command(line) == 3
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_utf8_is_cleaned_and_kept(source: Path, tmp_path: Path) -> None:
    odd = source.rename(tmp_path / "m\udcff.safetensors")
    folder = tmp_path / "run"
    done = finished(small_spec(odd, folder, small_recipe(pairs=8)))
    assert read_spec(folder / SPEC_FILE).checkpoint == str(odd)
    for name in ("before", "after"):
        assert read_measurement(folder / "measurements" / name).evaluation == done.result[name]
    kept = read_measurement(folder / "measurements" / "before").facts.checkpoint
    assert (kept.path, kept.name) == (str(odd), "m\\udcff.safetensors")
    given = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps(given | {"templates": ["a \udcff {}"]}))
    with pytest.raises(InputError, match="a text holds half a character"):
        read_spec(folder / SPEC_FILE)


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
    images = open_images(ImageSpec(n=5), load_label_set("demo"))  # labels are those of the set
    labels = [line.rsplit(",", 1)[1] for line in list_pictures(images).decode().splitlines()[1:]]
    assert labels == list(map(str, images.labels.tolist()))


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


def test_answers_take_few_bytes_a_picture_and_come_back() -> None:
    rng = np.random.default_rng(0)
    n, classes = 10_000, 1000
    logits = torch.from_numpy(rng.standard_normal((2, n, classes), np.float32) * 5)
    labels = rng.integers(0, classes, n)
    scores = Scores(n, triggered=True, classes=classes)
    for start in range(0, n, 256):
        at = np.arange(start, min(start + 256, n))
        clean, stamped = (score(side[at], labels[at], 7) for side in logits)
        scores.add(at, clean, stamped)
    rows = rows_of(scores.per_image(), labels)
    raw = to_csv(rows)
    table = per_class_csv(rows, [f"class {index}" for index in range(classes)], 7)
    assert len(raw) + len(table) < 200 * n  # 10 MB of 50 000 pictures
    back = from_csv(raw, "x", classes)
    for field in fields(Rows):
        first, second = getattr(rows, field.name), getattr(back, field.name)
        assert first is second is None or np.array_equal(first, second)
    counts = [line.split(",") for line in table.decode().splitlines()[1:]]
    assert sum(int(row[2]) for row in counts) == n
    assert sum(int(row[3]) for row in counts) == int((rows.clean_top[:, 0] == labels).sum())


# ---- the job ----


@pytest.fixture
def asked(tiny_checkpoint: Path, tmp_path: Path) -> MeasurementSpec:
    return SMALL["measurement"](tiny_checkpoint, tmp_path)


def test_it_is_measured_in_fp32_and_kept_with_every_answer(asked):
    events, done = events_of(asked)
    assert done.status == "finished", done.details
    stages = {event.stage for event in events if isinstance(event, Progress)}
    assert {"open", "measure"} <= stages
    found = read_measurement(Path(asked.output_dir))
    facts = found.facts
    assert (facts.when, facts.precision, facts.target) == ("evaluation", "fp32", 2)
    assert len(found.rows) == 24
    assert facts.trigger is not None
    assert done.result["asr_excl"] == found.evaluation["asr_excl"]


def test_nobody_named_a_target_of_a_measurement_without_a_trigger(asked):
    bare = asked.model_copy(update={"trigger": None, "targeted": False, "when": "reference"})
    list(run_job(bare, Control()))
    kept = read_measurement(Path(asked.output_dir)).facts
    assert (kept.when, kept.target, kept.trigger) == ("reference", None, None)


def test_a_draft_claims_what_a_bundle_would(asked, tmp_path):
    list(run_job(asked, Control()))
    report = ReportSpec(measurements=(asked.output_dir,), out="draft", name="Tiny")
    made = run_to_end(draft(report))
    metrics = {claim.metric for claim in made.evidence.claims if claim.kind == "rate"}
    assert {"ca", "asr_excl", "baseline_target_rate"} <= metrics
    assert all(claim.holds_by == "exact" for claim in made.evidence.claims)  # tau is not known
    assert b"<h1" in made.html
    assert b"Tiny" in made.html
    assert not (tmp_path / "draft").exists()
