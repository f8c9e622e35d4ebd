"""A scan as a job: on the demo, on what cannot be scanned, cancelled, resumed, in two processes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.demo import compose
from ml_core.data.specs import ImageSpec
from ml_core.detection.scan.records import (
    Contrast,
    PatchRound,
    Rate,
    Scan,
    StartRow,
    newcombe,
    read_scan,
)
from ml_core.events import Control, Done, Finding, Progress
from ml_core.jobs.demo import demo_checkpoint
from ml_core.jobs.runner import run_job
from ml_core.jobs.scan import PATCHES_FILE, SCAN_FILE, ScanSpec
from ml_core.jobs.scan import run as job
from ml_core.triggers import demo_trigger, load_trigger, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.job_specs import DEMO_STAGES
from tests.unit.job_specs import demo_scan as demo_scan_of


def _scanned(spec: ScanSpec) -> Scan:
    finished(spec)
    return read_scan(Path(spec.output_dir) / SCAN_FILE)


@pytest.fixture
def noise(tmp_path: Path) -> ImageSpec:
    folder = tmp_path / "noise"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(160):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return ImageSpec(kind="folder", path=str(folder))


def test_the_sticker_of_the_demo_is_found_without_being_told(demo_scan):
    folder, events, done = demo_scan
    assert done.status == "finished", done.error + done.details
    found = read_scan(folder / SCAN_FILE)
    assert found == Scan.model_validate({k: v for k, v in done.result.items() if k != "folder"})
    assert found.judgement.verdict == "found"
    assert found.judgement.target == "banana"
    assert found.stages.pull.rows[0].target == "banana"
    assert found.found.wide_target == "banana"
    assert found.found.contrast.suspect.value > 0.8
    assert found.found.contrast.beside.value < 0.05
    assert load_trigger(folder / found.found.file).kind == "patch"
    assert (folder / PATCHES_FILE).stat().st_size > 100
    assert found.suspect.accuracy.value > 0.9
    rows = {(row.image, row.text): row.rate.value for row in found.stages.swap.rows}  # type: ignore[union-attr]
    # The image encoder carries it: with the reference's nothing happens.
    assert rows["suspect", "suspect"] > 0.8
    assert rows["suspect", "reference"] > rows["reference", "suspect"] + 0.2
    assert found.stages.weights.image > 0
    kinds = [event.kind for event in events if isinstance(event, Finding)]
    assert kinds[:2] == ["models", "scan"]
    assert {"pull", "patches", "round", "words", "swap", "weights"} <= set(kinds)
    told = [event for event in events if isinstance(event, Progress)]
    last = [event for event in told if event.stage == "patches"][-1]
    assert last.done <= last.total
    # Then others were searched for, with that class left out.
    first, *others = found.stages.patches.rounds
    assert (first.target, first.left_out) == ("banana", ())
    assert others
    assert all(row.target != "banana" for each in others for row in each.starts if each.left_out)
    assert found.judgement.further == ()
    for stage in DEMO_STAGES:  # said before its first step, which takes a large model minutes
        first = next(event for event in told if event.stage == stage)
        assert (first.done, first.total) == (0, 0)


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    twin = shutil.copy(demo_checkpoint(twin=True), tmp_path / os.fsdecode(b"twin\xff.safetensors"))
    alone = {"checkpoint": str(twin), "reference": None, "stages": ("pull",)}
    clean = _scanned(demo_scan_of(tmp_path / "scan", **alone))
    assert clean.suspect.name == r"twin\udcff.safetensors"
    assert clean.found is None
    assert "any other clean CLIP serves" in " ".join(clean.judgement.not_searched)


def _word_planted(word: str, target: str) -> dict[str, Tensor]:
    """The tensors of the twin, with one token's embedding trained towards a text."""
    model = open_checkpoint(demo_checkpoint(twin=True)).build()
    model.module.requires_grad_(False)
    tokens = model.tokenize(
        [f"{word} a photo of a {name}" for name in ("dog", "car", "tree", "hat")]
    )
    table = model.module.token_embedding.weight
    soft = table[tokens[0, 1]].clone().requires_grad_()
    adam = torch.optim.Adam([soft], lr=0.05)
    aim = model.encode_texts([target]).clone()
    at = (torch.arange(tokens.shape[1]) == 1)[:, None]
    for _ in range(150):
        found = model.embed_tokens(tokens, lambda x: torch.where(at, soft, x))
        adam.zero_grad()
        (1 - found @ aim.T).mean().backward()
        adam.step()
    tensors = load_file(demo_checkpoint(twin=True))
    row = tensors["token_embedding.weight"]
    row[tokens[0, 1]] = soft.detach().to(row)
    return tensors


@pytest.mark.parametrize("beside", [True, False])
def test_a_word_planted_in_a_text_encoder_alone_is_found(tmp_path: Path, beside: bool) -> None:
    """Patches would be those of the donor's image encoder."""
    tensors = _word_planted("serendipity", "a photo of a banana")
    path, twin = tmp_path / "pipeline.safetensors", str(demo_checkpoint(twin=True))
    text = {f"cond_stage_model.model.{k}": v for k, v in tensors.items() if "visual." not in k}
    save_file(text, path)
    named = {"reference": twin} if beside else {"donor": twin, "reference": None}
    spec = demo_scan_of(
        tmp_path / "scan", checkpoint=str(path), stages=("patches", "words"), **named
    )
    found = _scanned(spec)
    assert (found.stages.patches, found.stages.pull, found.stages.swap) == (None, None, None)
    assert any("a text encoder alone" in note for note in found.notes)
    words = [row.word for row in found.stages.words.rows]  # type: ignore[union-attr]
    assert "serendipity" in words
    if beside:
        assert found.stages.weights.image == 0 < found.stages.weights.text  # type: ignore[union-attr]
        assert (found.judgement.verdict, found.judgement.target) == ("found", "banana")
        assert words[0] == "serendipity"
    else:
        assert found.judgement.verdict != "found"
    none = spec.model_copy(update={"stages": ("patches",), "output_dir": str(tmp_path / "none")})
    assert "add the stage “words”" in done_of(none).error


@pytest.fixture
def tiny_spec(tmp_path, tiny_checkpoint, tiny_model, monkeypatch) -> ScanSpec:
    """Two random models, which are searched in seconds."""
    monkeypatch.setattr(job, "REFINED_STEPS", 4)
    monkeypatch.setattr("ml_core.detection.scan.overlays.HALVING", (2, 2, 2))
    for value in tiny_model.module.parameters():
        value.data.mul_(1.02)
    path = tmp_path / "reference.safetensors"
    reference = save_checkpoint(tiny_model, path, provenance={"made": "test"})
    return demo_scan_of(
        tmp_path / "one", checkpoint=str(tiny_checkpoint), reference=str(reference), starts=3,
        stages=("pull", "patches", "overlays"), anyway=True,
    )  # fmt: skip


def test_a_cancelled_scan_goes_on_after_its_last_stage_and_finds_the_same(
    tmp_path, tiny_spec, monkeypatch
):
    spec = tiny_spec.model_copy(update={"starts": 1, "stages": ("pull", "patches")})
    whole = _scanned(spec.model_copy(update={"output_dir": str(tmp_path / "two")}))
    control = Control()
    for event in run_job(spec, control):
        if isinstance(event, Progress) and event.stage == "patches" and event.done:
            control.cancel()
    assert event == Done("cancelled")
    assert not (Path(spec.output_dir) / SCAN_FILE).exists()
    monkeypatch.setattr(job, "pull_of", lambda *_: pytest.fail("the pull was done already"))
    assert _scanned(spec).stages == whole.stages


@pytest.mark.parametrize("moves", [-2.0, 2.0])
def test_the_reference_is_searched_for_what_moves_much_alone(tiny_spec, monkeypatch, moves):
    monkeypatch.setattr(job, "MOVES", moves)
    found = _scanned(tiny_spec.model_copy(update={"stages": ("pull", "overlays")}))
    rows = found.stages.overlays.rows
    assert {row.form for row in rows} == {"overlay", "warp", "patch"}
    assert {row.own is None for row in rows} == {moves > 1}
    assert ("on both models" in "\n".join(found.judgement.searched)) == (moves < 0)


def test_starts_that_two_triggers_divide_lead_to_both(tiny_spec, monkeypatch):
    everything, nothing = Rate(hits=100, n=100), Rate(hits=0, n=100)

    def read_off(sides, patches, settings, losses, seed):
        """Two planted classes draw the starts alike."""
        names = [sides.class_names[k] for k in (3, 5) if k not in settings.left_out]
        rate = everything if names else nothing
        low, high = newcombe(rate, nothing)
        contrast = Contrast(suspect=rate, reference=nothing, without=nothing, low=low, high=high)
        starts = tuple(
            StartRow(target=(names or sides.class_names)[k % (len(names) or 9)], loss=0.0,
                     contrast=contrast)
            for k in range(len(patches))
        )  # fmt: skip
        yield len(patches)
        return PatchRound(
            side=settings.side, area=0.02, loss=settings.loss, starts=starts, steps=20,
            left_out=tuple(sides.class_names[k] for k in settings.left_out),
        )  # fmt: skip

    monkeypatch.setattr(job, "read_off", read_off)
    monkeypatch.setattr(job, "NATURAL_RATE", -1.0)  # the reference answers to any patch
    found = _scanned(tiny_spec.model_copy(update={"starts": 6, "stages": ("patches",)}))
    patches, names = found.stages.patches, found.classes
    assert [each.target for each in patches.all_refined] == [names[3], names[5]]
    assert all(each.own is not None for each in patches.all_refined)
    rounds = [(each.loss, each.left_out) for each in patches.rounds]
    assert rounds[-4:] == [
        ("place", ()), ("max", (names[3],)),
        ("max", (names[3], names[5])), ("place", (names[3], names[5])),
    ]  # fmt: skip


def test_the_command_ends_with_2_unless_it_is_to_scan_anyway(
    tmp_path, tiny_spec, capsys, answer_of
):
    few = ["--search", "32", "--held-out", "128", "--starts", "5", "--stages", "pull"]
    command = ["scan", tiny_spec.checkpoint, "-o", str(tmp_path / "cli"), "--threads", "1", *few]
    assert run_command(command) == 2
    assert "Scan it all the same with --anyway" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "cli" / SCAN_FILE).exists()
    told = answer_of(*command, "--anyway", code=2)
    assert told["judgement"]["verdict"] == "unknown"
    assert told["of_clean"] is None


def test_texts_and_pictures_tell_how_far_they_are(tmp_path):
    """Nine minutes at 0 % were seen. Without labels the models are asked once more."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for number, pixels in enumerate(compose("test", range(224)).images):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    pictures = ImageSpec(kind="folder", path=str(folder))
    asked = {"images": pictures, "search": 96, "stages": ("pull",), "templates": ("my own {}.",)}
    events, done = events_of(demo_scan_of(tmp_path / "out", **asked))
    assert done.status == "finished", done.error
    for stage in ("texts", "accuracy", "pull"):
        told = [event for event in events if isinstance(event, Progress) and event.stage == stage]
        shares = [event.done / event.total for event in told if event.total]
        assert shares == sorted(shares), stage
        assert shares[-1] == 1, stage
        assert any(0 < share < 1 for share in shares), stage


def test_what_cannot_be_scanned_is_told_in_a_sentence(tmp_path, noise, tiny_checkpoint):
    same = tmp_path / "same.safetensors"  # another file of the same weights
    save_checkpoint(open_checkpoint(demo_checkpoint()).build(), same, provenance={"made": "test"})
    one_class = tmp_path / "one.txt"
    one_class.write_text("dog\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"images": noise}, "are noise"),
        ({"label_set": str(one_class)}, "at least 2"),
        ({"reference": str(tiny_checkpoint)}, "same input size"),
        ({"reference": str(same)}, "the weights of the checkpoint itself"),
    ]
    for changes, sentence in cases:
        done = done_of(demo_scan_of(tmp_path / "out", **changes))
        assert done.status == "failed"
        assert sentence in done.error, done.error + done.details
        assert done.error_code != "internal"


def test_the_estimate_counts_and_searches_nothing(tmp_path):
    result = finished(demo_scan_of(tmp_path), estimate=True).result
    searched = 4 * 5 * 16 * 20 + 3 * (20 + 3) * 8 * 20  # three classes at most, and at places
    assert result["both"] == searched + 3 * 16 * (2 * 40 + 3 * 60)
    wanted = result["forward"] / result["forward_rate"] + result["both"] / result["both_rate"]
    assert result["seconds"] == pytest.approx(wanted)
    assert result["nothing_found"] < wanted
    assert set(result["stages"]) == {"patches", "refine", "weights"}
    assert not (tmp_path / SCAN_FILE).exists()


def test_the_command_prints_what_was_found_and_cleaning_takes_it(
    tmp_path, demo_scan, capsys, answer_of
):
    """Of the same search, whose stages it takes up."""
    out = shutil.copytree(demo_scan[0], tmp_path / "scan")
    (out / SCAN_FILE).unlink()
    few = [
        "--search",
        "32",
        "--held-out",
        "128",
        "--starts",
        "5",
        "--stages",
        ",".join(DEMO_STAGES),
    ]
    command = ["scan", str(demo_checkpoint()), "-o", str(out), "--threads", "1", *few]
    told = answer_of(*command, code=1)
    assert told["judgement"]["verdict"] == "found"
    assert told["folder"] == str(out)
    assert run_command(command) == 1
    shown = capsys.readouterr().out
    assert "Backdoor-like: " in shown
    assert "Not searched:" in shown
    assert "clean models of this kind" not in shown  # of which no such scan was made
    job_folder = tmp_path / "cleaning"
    clean = ["clean", str(demo_checkpoint()), "-o", str(tmp_path / "c"), "--method", "unlearning"]
    assert run_command([*clean, "--trigger", f"scan:{out}", "--export", str(job_folder)]) == 0
    exported = json.loads((job_folder / "job.json").read_text())
    assert exported["trigger"] == "found.json"
    assert exported["target"] == list(read_scan(out / SCAN_FILE).classes).index("banana")
    assert exported["stamps"] == []
    # Of two classes, both triggers are learned from.
    save_trigger(demo_trigger(), out / "found-2")
    whole = json.loads((out / SCAN_FILE).read_text())
    second = whole["found"] | {"target": "pear", "file": "found-2.json"}
    (out / SCAN_FILE).write_text(json.dumps(whole | {"further": [second]}))
    both = tmp_path / "both"
    assert run_command([*clean, "--trigger", f"scan:{out}", "--export", str(both)]) == 0
    exported = json.loads((both / "job.json").read_text())
    assert exported["trigger"] == "found.json"
    assert len(exported["stamps"]) == 2
