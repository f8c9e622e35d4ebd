"""Each method as a whole job on the demo's pictures, with what it leaves on the disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cleaning.catalogue import FACTS, METHODS
from ml_core.cleaning.recipes import fields_of
from ml_core.cleaning.weight_space import combine, direction
from ml_core.data.demo import demo_classes
from ml_core.data.specs import ImageSpec
from ml_core.events import Message, Progress, Saved
from ml_core.reports.measurement_files import read_measurement
from ml_core.triggers import demo_trigger, save_trigger
from tests.unit.draining import done_of, events_of, finished
from tests.unit.small_jobs import small_recipe, small_spec

OWN: dict[str, dict[str, Any]] = {"interpolate": {"alpha": 0.25}}


def _spec(method, source, folder, **changes):
    own = OWN.get(method, {})
    fields = {"image_augmentation": "flip"} | own
    known = {k: v for k, v in fields.items() if k in fields_of(method)}
    recipe = small_recipe(method=method, **known)
    folder.mkdir(exist_ok=True, parents=True)
    trigger = save_trigger(demo_trigger(), folder / "trigger")[1]
    more: dict[str, Any] = {"trigger": str(trigger), "images": ImageSpec(split="val", n=36)}
    return small_spec(source, folder / "out", recipe, **more | changes)


@pytest.fixture
def source(tiny_model, tmp_path):
    return save_checkpoint(tiny_model, tmp_path / "source.safetensors", provenance={})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_file_to_file(method, source, tiny_model, tmp_path):
    """Its folder weighs what was estimated."""
    facts, changes = FACTS[method], dict[str, Any]()
    trained = facts.data != "none"
    if "reference" in facts.needs:
        with torch.no_grad():
            tiny_model.module.text_projection.add_(0.1)  # its vector is one tensor
            tiny_model.module.token_embedding.weight.add_(0.1)
        reference = tmp_path / "other.safetensors"
        changes["reference"] = str(save_checkpoint(tiny_model, reference, provenance={}))
    spec, estimate = _spec(method, source, tmp_path / "job", **changes), None
    if method in OWN:
        recipe = spec.recipe.changed(**{"eval_every": 2} if trained else {})
        spec = spec.model_copy(update={"recipe": recipe, "keep_steps": True})
        estimate = finished(spec, estimate=True).result
        assert not Path(spec.output_dir).exists()
        assert (estimate["steps"] == 0) == (estimate["train_seconds"] == 0) == (not trained)
        assert estimate["seconds"] > 0
    events, done = events_of(spec)
    assert done.status == "finished", (done.error, done.details)
    result, saved = done.result, [event for event in events if isinstance(event, Saved)]
    assert json.loads((tmp_path / "job/out/result.json").read_text())["method"] == method
    assert result["before"]["n"] == result["after"]["n"] == 36
    assert result["batch_norm"] == (spec.recipe.batch_norm if trained else None)
    assert set(result["heads"]) == ({"zero-shot", "linear"} if facts.head else {"zero-shot"})
    files = {Path(e.path).name for e in saved if e.what == "checkpoint"}
    assert files == {"cleaned.safetensors"} | ({"linear_head.safetensors"} if facts.head else set())
    if estimate is not None:
        written = sum(f.stat().st_size for f in Path(spec.output_dir).rglob("*") if f.is_file())
        assert estimate["disk_bytes"] == pytest.approx(written, rel=0.05)
    if facts.head:
        assert result["heads"]["linear"]["before"] == result["heads"]["zero-shot"]["before"]
        head = load_file(result["linear_head"])["weight"]
        assert head.shape == (len(demo_classes()), tiny_model.embed_dim)


def test_the_result_is_the_source_plus_alpha_times_the_way_to_the_reference(
    source, tiny_model, tmp_path
):
    with torch.no_grad():
        for value in tiny_model.module.parameters():
            value.add_(0.1)
    reference = save_checkpoint(tiny_model, tmp_path / "reference.safetensors", provenance={})
    spec = _spec("interpolate", source, tmp_path / "job", reference=str(reference))
    result = finished(spec).result
    assert result["alpha"] == 0.25
    opened = open_checkpoint(source)
    base, other = opened.read_state(), open_checkpoint(reference).read_state()
    expected = combine(base, direction(base, other), 0.25)
    for name, value in open_checkpoint(Path(result["checkpoint"])).read_state().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_alpha_is_chosen_on_validation_images_and_there_must_be_some(source, tiny_model, tmp_path):
    with torch.no_grad():
        tiny_model.module.visual.conv1.weight.mul_(-1)
    reference = save_checkpoint(tiny_model, tmp_path / "reference.safetensors", provenance={})
    spec = _spec("interpolate", source, tmp_path / "job", reference=str(reference))
    recipe = spec.recipe.changed(alpha=1.0, alpha_choice="auto")
    spec = spec.model_copy(update={"recipe": recipe})
    blind = done_of(spec.model_copy(update={"images": None}))
    assert "Alpha can only be chosen on labelled validation images" in blind.error
    result = finished(spec).result
    rows = result["alphas"]
    alphas = [row["alpha"] for row in rows]
    assert alphas == sorted(alphas)
    assert {0.125 * k for k in range(9)} <= set(alphas)
    assert all({"ca", "asr_excl"} <= set(row) for row in rows)
    allowed = [row for row in rows if 100 * (rows[0]["ca"] - row["ca"]) <= 1.0 + 1e-9]
    best = min(allowed, key=lambda row: (row["asr_excl"], row["alpha"]))
    assert result["alpha"] == best["alpha"]


def test_a_reference_that_computes_differently_is_refused(source, tiny_model, tmp_path):
    own = tiny_model.preprocess
    tiny_model.config["quick_gelu"] = True
    tiny_model.preprocess = replace(own, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    reference = save_checkpoint(tiny_model, tmp_path / "reference.safetensors", provenance={})
    spec = _spec("interpolate", source, tmp_path / "job", reference=str(reference))
    done = done_of(spec)
    assert (done.status, done.error_code) == ("failed", "usage")
    assert "QuickGELU instead of GELU" in done.error
    assert "no mean and std instead of CLIP's mean and std" in done.error
    tiny_model.config["quick_gelu"], tiny_model.preprocess = False, own
    save_checkpoint(tiny_model, reference, provenance={})
    finished(spec)


def test_what_was_measured_before_is_not_measured_again(source, tmp_path):
    """The same file, pictures, classes, trigger and target, wherever the run lies; else it is."""

    def run(name, **changes):
        events, done = events_of(_spec("mmcl", source, tmp_path / name, **changes))
        assert done.status == "finished", (done.error, done.details)
        stages = {event.stage for event in events if isinstance(event, Progress)}
        words = [event.text for event in events if isinstance(event, Message)]
        return "before" in stages, done.result["before"], words

    measured, before, _ = run("first")
    assert measured
    again, same, words = run("second")
    assert (again, same) == (False, before)
    assert "Before cleaning: as measured in out." in words
    first, second = (tmp_path / name / "out/measurements/before" for name in ("first", "second"))
    assert read_measurement(second).facts == read_measurement(first).facts
    assert run("target", target=2)[0]
    rows = first / "per_image.csv"
    rows.write_bytes(rows.read_bytes()[:-30])  # it is no longer what was measured
    assert run("third")[0]
    (first / "measurement.json").unlink()
    assert run("fourth")[0] is False  # the third one's
