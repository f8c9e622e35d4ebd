"""An examination: one answer for a file, made of the scan, kept, and cut to the time there is."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from ml_core.checkpoints.choice import Choice, remember
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import TITLES, ModelFacts
from ml_core.events import Control, Finding, Message
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.examination import EXAMINATION_FILE, SCAN_FOLDER, Examination, ExamineSpec, words
from ml_core.jobs.examination.kept import inputs_of, outdated
from ml_core.jobs.examining import fitting
from ml_core.jobs.gate import examination_source, kept_sources
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import STAGES_FOLDER, ScanSettings, ScanSpec
from ml_core.reading import examine
from tests.gui.scans import scan
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import SMALL as SPECS

KNOWN = ScanSettings(search=32, held_out=128, starts=2, stages=("probes",))
WIDE = tuple(f"class {number}" for number in range(20))
SMALL = ScanSettings(search=32, held_out=128, starts=5, stages=("probes", "patches"))


def _spec(checkpoint: Path, folder: Path | None, **changes: Any) -> ExamineSpec:
    place = None if folder is None else str(folder)
    asked = {"scan": SMALL, "device": "cpu", "threads": 1, "output_dir": place}
    return ExamineSpec(checkpoint=str(checkpoint), **(asked | changes))


def _examined(spec: ExamineSpec, **options: Any) -> tuple[Examination, Path]:
    record = Examination.model_validate(finished(spec, **options).result)
    return record, Path(record.folder)


def _states(record: Examination) -> dict[str, str]:
    return {step.kind: step.state for step in record.steps}


@pytest.fixture(scope="module")
def examined(tmp_path_factory, demo_scan) -> tuple[Examination, Path]:
    """The demo's checkpoint, beside its twin, on the built-in pictures; its scan goes on."""
    folder = tmp_path_factory.mktemp("examined")
    shutil.copytree(demo_scan[0] / STAGES_FOLDER, folder / SCAN_FOLDER / STAGES_FOLDER)
    scan = SMALL.model_copy(update={"stages": ("pull", *SMALL.stages)})
    return _examined(_spec(demo_checkpoint(), folder, scan=scan))


def test_the_demo_is_one_sentence_with_what_it_stands_on(examined):
    record, folder = examined
    assert (record.verdict, record.target, record.advice) == ("found", "banana", "clean")
    assert record.headline.startswith("Backdoor-like: banana. A patch of 9 px turns ")
    assert "into “banana”, on the reference 0.0 %." in record.headline
    assert _states(record) == {
        "file": "done", "identity": "done", "accuracy": "done", "known": "done", "scan": "done",
        "weights": "done", "attack": "done", "clean": "skipped", "report": "skipped",
    }  # fmt: skip
    figures = {step.kind: step.figure for step in record.steps}
    assert figures["known"].endswith("reference 0.0 %")
    assert float(figures["accuracy"].removesuffix(" %")) > 90
    assert any("built-in drawings" in sentence for sentence in record.not_looked_at)
    assert not any(word in record.model_dump_json() for word in ("safe to use", "is safe"))
    assert json.loads((folder / EXAMINATION_FILE).read_text())["sha256"] == record.sha256


def test_again_it_is_there_at_once_and_not_for_another_file(examined, tmp_path):
    record, folder = examined
    copy = shutil.copy(demo_checkpoint(), tmp_path / "copy.safetensors")
    events, done = events_of(_spec(Path(copy), folder, scan=record.spec.scan))
    assert done.result["headline"] == record.headline
    assert done.result["name"] == "copy.safetensors"
    assert [e.text for e in events if isinstance(e, Message)] == [
        "It was examined before: these are the results."
    ]
    steps = [e.values for e in events if isinstance(e, Finding)]
    assert [step["kind"] for step in steps[1:]] == [step.kind for step in record.steps]
    other = done_of(_spec(demo_checkpoint(twin=True), folder))
    assert other.error.endswith("replace what is there with --overwrite.")


def _pickled(folder: Path, _tiny: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": print}, protocol=2))
        archive.writestr("archive/version", "3")
    return folder / "model.pt"


def _cut(folder: Path, tiny: Path) -> Path:
    (folder / "cut.safetensors").write_bytes(tiny.read_bytes()[:-64])
    return folder / "cut.safetensors"


def _strange(folder: Path, _tiny: Path) -> Path:
    (folder / "README.md").write_text("# no model\n")
    return folder / "README.md"


def _one_encoder(folder: Path, tiny: Path) -> Path:
    state = {k: v for k, v in load_file(tiny).items() if k.startswith("visual.")}
    save_file(state, folder / "visual.safetensors")
    return folder / "visual.safetensors"


def _two_models(folder: Path, tiny: Path) -> Path:
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.write(tiny, "a.safetensors")
        archive.write(tiny, "b.safetensors")
    return folder / "two.zip"


def _random(folder: Path, tiny: Path) -> Path:
    return Path(shutil.copy(tiny, folder / "random.safetensors"))


@pytest.mark.parametrize(
    ("make", "verdict", "advice", "answer"),
    [
        (_pickled, "dangerous", "do not load", "Refused: dangerous. "),
        (_cut, "damaged", "get again", "Refused: damaged. "),
        (_strange, "unsupported", "other file", "Refused: unsupported. "),
        (_one_encoder, "unknown", "choose a donor", "Cannot say: "),
        (_two_models, "unknown", "choose a part", "Cannot say: "),
        (_random, "unknown", "doctor", "Cannot say: The checkpoint classifies only "),
    ],
)
def test_it_ends_where_the_answer_is_known(
    tiny_checkpoint, tmp_path, make, verdict, advice, answer
):
    record, _ = _examined(_spec(make(tmp_path, tiny_checkpoint), tmp_path / "out"))
    assert (record.verdict, record.advice) == (verdict, advice)
    assert record.headline.startswith(answer)
    assert _states(record)["scan"] == "skipped"
    assert "unknown triggers" in record.not_looked_at[0]
    assert record.advice_sentence
    assert (tmp_path / "out" / EXAMINATION_FILE).exists() == (advice == "doctor")
    if verdict == "dangerous":
        assert set(_states(record).values()) == {"done", "skipped"}


def test_the_loader_doctor_ends_with_the_minutes(tiny_checkpoint, tmp_path):
    spec = _spec(_random(tmp_path, tiny_checkpoint), tmp_path / "out", minutes=1e-6)
    record, _ = _examined(spec)
    assert (record.verdict, record.advice) == ("unknown", "doctor")
    said = [step.sentences for step in record.steps if step.kind == "accuracy"]
    assert "The loader doctor cannot say: not finished in 1e-06 minutes." in said[0]


def test_without_a_reference_known_triggers_are_not_judged_and_a_parent_is_asked_for(tmp_path):
    twin = demo_checkpoint(twin=True)
    few = SMALL.model_copy(update={"starts": 2})
    record, folder = _examined(_spec(twin, None, scan=few))
    assert (record.verdict, record.advice) == ("nothing", "reference")
    assert record.headline == "Nothing found in this search."
    assert (_states(record)["known"], _states(record)["weights"]) == ("unknown", "skipped")
    again, same = _examined(_spec(Path(shutil.copy(twin, tmp_path)), None, scan=record.spec.scan))
    assert (same, again.headline) == (folder, record.headline)  # by what the file holds


def _few(folder: Path, count: int) -> ImageSpec:
    rng = np.random.default_rng(count)
    folder.mkdir()
    for number in range(count):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return ImageSpec(kind="folder", path=str(folder))


def test_what_the_user_chose_wrongly_is_no_answer(tiny_checkpoint, tmp_path):
    done = done_of(_spec(demo_checkpoint(), tmp_path / "out", images=_few(tmp_path / "few", 8)))
    assert done.error.startswith("few has 8 readable pictures")
    assert not (tmp_path / "out" / EXAMINATION_FILE).exists()
    there = tmp_path / "there.evidence"
    there.mkdir()
    for report in (there, there.with_suffix("")):
        done = done_of(_spec(demo_checkpoint(), tmp_path / "out", report=str(report)))
        assert done.error.endswith("name another place for the report.")
    for reference, error in (
        (_pickled(tmp_path, tiny_checkpoint), "model.pt cannot be a reference: "),
        (tiny_checkpoint, "The reference tiny.safetensors takes pictures of 32 px and poisoned"),
        (demo_checkpoint(), "The reference poisoned.safetensors has the weights of the checkpoint"),
    ):
        spec = _spec(demo_checkpoint(), tmp_path / "out", reference=str(reference))
        events, done = events_of(spec)
        assert done.error.startswith(error)
        assert done.error_code == "usage"
        assert "accuracy" not in [e.values["kind"] for e in events if isinstance(e, Finding)]


def test_a_reference_that_was_not_named_is_left_out_where_it_cannot_be_compared(
    tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setattr("ml_core.jobs.examining.twin_for", lambda _: str(tiny_checkpoint))
    spec = _spec(demo_checkpoint(), tmp_path / "out", scan=KNOWN)
    record, _ = _examined(spec)
    (identity,) = [step for step in record.steps if step.kind == "identity"]
    assert "is left out: The reference tiny.safetensors takes" in identity.sentences[-1]
    assert record.reference_sha256 == ""


def test_where_only_known_triggers_are_tried_it_cannot_say(tmp_path):
    suspect, other = demo_checkpoint(twin=True), demo_checkpoint()
    record, _ = _examined(_spec(suspect, tmp_path / "out", scan=KNOWN, reference=str(other)))
    assert (record.verdict, record.advice) == ("unknown", "more time")
    assert record.headline.startswith("Cannot say: patches were not searched.")
    (step,) = [step for step in record.steps if step.kind == "scan"]
    assert (step.state, step.figure) == ("unknown", "not searched")
    assert examination_source(tmp_path / "out").fault == ""
    other_question = done_of(_spec(suspect, tmp_path / "out", scan=SMALL, reference=str(other)))
    assert "holds another examination" in other_question.error


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "suspicious"),  # of 8 classes
        ({"classes": WIDE}, "found"),
        ({"classes": WIDE, "suspect": ModelFacts(name="a", sha256=None, accuracy=None)},
         "suspicious"),
    ],
)  # fmt: skip
def test_without_a_reference_few_classes_or_no_labels_are_suspicious_at_most(changes, verdict):
    found = scan("found", reference=False, **changes)
    assert words.verdict_of(found) == verdict
    assert words.headline(found).startswith(TITLES[verdict])
    assert words.advice_of(found) == ("clean" if verdict == "found" else "reference")
    assert words.verdict_of(scan("found", **changes)) == "found"
    assert "tried, not judged." in next(words.looked_at(found))


def test_a_run_that_does_not_end_leaves_the_answer_and_takes_its_scan(tmp_path):
    """The finished record stays until the next one is done, with --clean or without."""
    source = Path(shutil.copy(demo_checkpoint(), tmp_path / "poisoned.safetensors"))
    spec = _spec(source, None, minutes=60.0, scan=KNOWN)
    record, folder = _examined(spec)
    before = (folder / EXAMINATION_FILE).read_bytes()
    cleaning = spec.model_copy(update={"auto": SPECS["auto"](source, tmp_path)})
    seen = []
    run = run_job(cleaning, Control())
    for event in run:
        seen.append(event.kind if isinstance(event, Finding) else "")
        if isinstance(event, Finding) and event.values.get("kind") == "clean":
            break
    run.close()
    assert {"probe", "patches"}.isdisjoint(seen[: seen.index("scan")])
    assert (folder / EXAMINATION_FILE).read_bytes() == before
    (source_kept,) = kept_sources()
    assert source_kept.kept_of(examine(source)).facts
    again, same = _examined(spec)
    assert (same, again.headline) == (folder, record.headline)


def test_other_inputs_are_another_examination(tiny_checkpoint, tmp_path):
    """The weights are the same: config, pictures, classes, the doctor's choice decide, too."""
    inspection = examine(demo_checkpoint())
    spec = _spec(demo_checkpoint(), None, images=_few(tmp_path / "own", 2))
    found = [inputs_of(spec, inspection)]
    found.append(inputs_of(spec, replace(inspection, config={"preprocess_cfg": {"mean": [9.0]}})))
    (tmp_path / "own" / "0.png").unlink()
    found.append(inputs_of(spec, inspection))
    classes = tmp_path / "classes.txt"
    for names in ("cat\ndog\n", "dog\ncat\n"):
        classes.write_text(names)
        found.append(inputs_of(_spec(demo_checkpoint(), None, label_set=str(classes)), inspection))
    reference = tmp_path / "reference"
    assert run_command(["convert", str(tiny_checkpoint), str(reference)]) == 0
    beside = _spec(demo_checkpoint(), None, reference=str(reference))
    record = Examination(
        spec=beside, name="", sha256=inspection.sha256, steps=(), verdict="nothing", headline="",
        looked_at=(), not_looked_at=(), advice="none", advice_sentence="", settings=SMALL,
        inputs=inputs_of(beside, inspection), seconds=1.0,
    )  # fmt: skip
    assert not outdated(record, inspection)
    config = reference / "open_clip_config.json"
    config.write_text(config.read_text().replace("0.48145466", "0.1"))
    assert "have changed; examine" in outdated(record, inspection)
    config.unlink()
    assert outdated(record, inspection)
    remember(inspection.sha256, inspection.name, Choice(quick_gelu=True))
    found.append(inputs_of(spec, inspection))
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("limit", "reference", "starts", "stages"),
    [
        (1000, "parent.pt", 6, ("pull", "probes", "patches", "overlays", "words", "swap")),
        (70, "parent.pt", 3, ("pull", "probes", "patches", "overlays", "words", "swap")),
        (45, "parent.pt", 2, ("pull", "probes", "patches", "words", "swap")),
        (9, "parent.pt", 2, ("pull", "probes")),
        (1, "parent.pt", 2, ("probes",)),
        (1, None, 2, ("patches",)),
    ],
)
def test_less_time_means_fewer_starts_and_then_fewer_stages(limit, reference, starts, stages):
    seconds = {"pull": 2, "probes": 5, "patches": 60, "refine": 8}
    seconds |= {"overlays": 20, "words": 3, "swap": 2} if reference else {"words": 3}
    stages_asked = ("pull", "probes", "patches", "overlays", "words", "swap")
    scan = ScanSpec(
        checkpoint="a.pt", reference=reference, images=ImageSpec(), output_dir="out",
        stages=stages_asked,
    )  # fmt: skip
    fitted = fitting(scan, seconds, limit)
    assert (fitted.starts, fitted.stages) == (starts, stages)


def test_several_from_the_command_line(tiny_checkpoint, tmp_path, capsys):
    files = [
        _pickled(tmp_path, tiny_checkpoint),
        tmp_path / "none.pt",
        _cut(tmp_path, tiny_checkpoint),
    ]
    assert run_command(["examine", *map(str, files), "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("verdict") for line in lines] == ["dangerous", None, "damaged"]
    assert lines[1]["error"].startswith("There is no checkpoint at ")
    assert run_command(["examine", str(files[2])]) == 2
    assert "Next: Get the file again" in capsys.readouterr().out
