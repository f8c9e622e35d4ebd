"""An examination: one answer for a file, made of the scan, kept, and cut to the time there is."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from ml_core.checkpoints.choice import Choice, remember
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec
from ml_core.events import Finding, Message
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.examination import EXAMINATION_FILE, Examination, ExamineSpec
from ml_core.jobs.examining import fitting
from ml_core.jobs.scan import ScanSettings, ScanSpec
from tests.unit.draining import done_of, events_of, finished

SMALL = ScanSettings(search=32, held_out=128, starts=2, stages=("probes", "patches"))


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
def examined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examination, Path]:
    """The demo's checkpoint, beside its twin, on the built-in pictures."""
    folder = tmp_path_factory.mktemp("examined")
    return _examined(_spec(demo_checkpoint(), folder))


def test_the_demo_is_one_sentence_with_what_it_stands_on(examined):
    record, folder = examined
    assert (record.verdict, record.target, record.advice) == ("found", "banana", "clean")
    assert record.headline.startswith("Backdoor-like trigger found: a patch of 9 px turns ")
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
    twin = str(demo_checkpoint(twin=True))
    events, done = events_of(_spec(Path(copy), folder, reference=twin))
    assert done.result["headline"] == record.headline
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
        (_pickled, "dangerous", "do not load", "Refused: dangerous: "),
        (_cut, "damaged", "get again", "Refused: damaged: "),
        (_strange, "unsupported", "other file", "Refused: unsupported: "),
        (_one_encoder, "unknown", "choose a donor", "Cannot say: "),
        (_two_models, "unknown", "choose a part", "Cannot say: "),
        (_random, "unknown", "doctor", "Cannot say: The checkpoint names only "),
    ],
)
def test_it_ends_where_the_answer_is_known(
    tiny_checkpoint, tmp_path, make, verdict, advice, answer
):
    record, _ = _examined(_spec(make(tmp_path, tiny_checkpoint), tmp_path / "out"))
    assert (record.verdict, record.advice) == (verdict, advice)
    assert record.headline.startswith(answer)
    assert _states(record)["scan"] in ("skipped", "running") or advice == "doctor"
    if verdict == "dangerous":
        assert set(_states(record).values()) == {"done", "skipped"}


def test_settings_that_the_doctor_chose_make_another_examination(tiny_checkpoint, tmp_path):
    spec = _spec(_one_encoder(tmp_path, tiny_checkpoint), None)
    first, folder = _examined(spec)
    assert _examined(spec)[1] == folder
    remember(first.sha256, first.name, Choice(quick_gelu=True))
    assert _examined(spec)[1] != folder


def test_without_a_reference_known_triggers_are_not_judged_and_a_parent_is_asked_for(tmp_path):
    twin = demo_checkpoint(twin=True)
    record, folder = _examined(_spec(twin, None))
    assert (record.verdict, record.advice) == ("nothing", "reference")
    assert record.headline == "Nothing found within this search."
    assert (_states(record)["known"], _states(record)["weights"]) == ("unknown", "skipped")
    again, same = _examined(_spec(Path(shutil.copy(twin, tmp_path)), None, scan=record.spec.scan))
    assert (same, again.headline) == (folder, record.headline)  # by what the file holds


def test_own_pictures_without_labels_measure_no_accuracy(tmp_path):
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(
            pictures / f"{number}.png"
        )
    images = ImageSpec(kind="folder", path=str(pictures))
    record, _ = _examined(_spec(demo_checkpoint(), tmp_path / "out", images=images))
    assert record.headline.startswith("Cannot say: pictures has 8 readable pictures")
    assert not any("built-in" in sentence for sentence in record.not_looked_at)


@pytest.mark.parametrize(
    ("limit", "reference", "starts", "stages"),
    [
        (1000, "parent.pt", 6, ("pull", "probes", "patches", "overlays", "swap")),
        (70, "parent.pt", 3, ("pull", "probes", "patches", "overlays", "swap")),
        (45, "parent.pt", 2, ("pull", "probes", "patches", "swap")),
        (9, "parent.pt", 2, ("pull", "probes")),
        (1, "parent.pt", 2, ("probes",)),
        (1, None, 2, ("patches",)),
    ],
)
def test_less_time_means_fewer_starts_and_then_fewer_stages(limit, reference, starts, stages):
    seconds = {"pull": 2, "probes": 5, "patches": 60, "refine": 8}
    seconds |= {"overlays": 20, "swap": 5} if reference else {}
    stages_asked = ("pull", "probes", "patches", "overlays", "swap")
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
