"""A killed run is known again and ends in the same bits, whatever was remembered meanwhile."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ml_core.cleaning.methods.build import build_method
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.speed import StepSpeed
from ml_core.cleaning.state import earlier_state, intact_state, load_state, read_facts, save_state
from ml_core.cleaning.step import make_optimizer
from ml_core.data import digests
from ml_core.data.known_files import EARLIER
from ml_core.data.pairs import open_pairs
from ml_core.data.specs import PairSpec
from ml_core.events import Control, Metric, Saved
from ml_core.jobs.runner import run_job
from ml_core.reading.errors import InputError
from tests.unit.draining import finished, killed, warnings_of
from tests.unit.pair_files import table
from tests.unit.small_jobs import small_recipe, small_spec
from tests.unit.tiny_models import different, some_classes, tiny_vit, trained, training

RECIPE = make_recipe(
    {
        "pairs": 24, "batch_size": 4, "warmup_steps": 2, "eval_every": 0, "save_every": 2,
        "precision": "fp32",
    }
)  # fmt: skip


def test_a_set_that_is_known_by_content_meanwhile_is_still_the_same(
    tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(digests, "_RACY_NS", -(10**18))
    monkeypatch.setattr("ml_core.data.known_files.CONTENT_LIMIT", 300)  # about four pictures
    pairs = PairSpec(kind="csv", path=str(table(tmp_path / "pairs", range(6))))
    recipe = small_recipe(method="mmcl", pairs=6, batch_size=2, save_every=1)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, pairs=pairs, test_images=None)
    killed(run_job(spec, Control()), 2, Saved)
    assert open_pairs(pairs).known_by == EARLIER
    finished(spec, resume=True)


@pytest.mark.parametrize(
    ("method", "trial"),
    [
        *((name, False) for name in ("cleanclip", "supervised")),
        *((name, True) for name in ("par", "stamped", "unlearning")),
    ],
)
def test_a_killed_run_ends_in_the_same_bits(method, trial, tiny_model, tmp_path, monkeypatch):
    """It is killed in its second epoch; what the trial of a precision computed is not kept."""

    def measured(recipe, device, loss, *_):
        loss(StepSpeed(False))
        return StepSpeed(True)

    if trial:
        monkeypatch.setattr("ml_core.cleaning.loop.measure_speed", measured)
    recipe = small_recipe(
        method=method, pairs=24, epochs=2, lr=1e-3, save_every=2, image_augmentation="none",
        precision="auto" if trial else "fp32", way_back=0.8,
    )  # fmt: skip
    whole, begun, again = (tiny_vit() if trial else tiny_model.copy() for _ in range(3))
    extras, path = Extras(some_classes(whole)), tmp_path / "state.safetensors"
    _, expected = trained(whole, recipe, extras=extras, state_path=tmp_path / "whole.safetensors")
    killed(training(begun, recipe, extras=extras, state_path=path), 5)
    _, outcome = trained(again, recipe, extras=extras, state_path=path, resume=True)
    assert expected.speed.autocast == outcome.speed.autocast == trial
    assert not different(whole, again)
    if expected.head is not None:
        assert torch.equal(expected.head, outcome.head)


# ---- the saved state ----


def _flip(path, name, *, bit=30):
    """Flip a bit of the first value of a tensor, as a disk may."""
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size + json.loads(raw[8 : 8 + size])[name]["data_offsets"][0]
    raw[start + bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


def test_a_flipped_bit_is_not_trained_on(tiny_model, tmp_path):
    """The save before is taken; one as good as no bit of a weight is noticed, too."""
    whole, first = tiny_model.copy(), tmp_path / "first"
    trained(whole, RECIPE)
    killed(training(tiny_model.copy(), RECIPE, state_path=first / "state.safetensors"), 5)
    for name in ("model/text_projection", "adamw/exp_avg/logit_scale"):
        path = shutil.copytree(first, tmp_path / name.replace("/", "-")) / "state.safetensors"
        assert [read_facts(state)["step"] for state in (path, earlier_state(path))] == [4, 2]
        _flip(path, name, bit=0)
        again = tiny_model.copy()
        events, _ = trained(again, RECIPE, state_path=path, resume=True)
        assert warnings_of(events) == [
            "The saved state state.safetensors is damaged or gone: the run goes on from the save "
            "before it, of step 2."
        ]
        assert not different(whole, again)
        assert intact_state(earlier_state(path))[1] == ""  # the damaged one did not take its place
    for state in (path, earlier_state(path)):
        _flip(state, name)
    with pytest.raises(InputError, match=r"state\.safetensors is damaged; start the run again"):
        trained(again, RECIPE, state_path=path, resume=True)


def test_a_state_of_an_earlier_version_is_taken_up_unless_it_is_absurd(tiny_model, tmp_path):
    whole, path = tiny_model.copy(), tmp_path / "state.safetensors"
    trained(whole, RECIPE)
    killed(training(tiny_model.copy(), RECIPE, state_path=path), 5)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    save_file(load_file(path), path, metadata)
    earlier_state(path).unlink()
    damaged = Path(shutil.copy(path, tmp_path / "damaged.safetensors"))
    _flip(damaged, "model/text_projection")
    before = damaged.read_bytes()
    with pytest.raises(InputError, match=r"damaged: it holds [\d.]+e\+3\d in text_projection, wh"):
        trained(tiny_model.copy(), RECIPE, state_path=damaged, resume=True)
    assert damaged.read_bytes() == before
    trained(tiny_model, RECIPE, state_path=path, resume=True)
    assert not different(whole, tiny_model)


@pytest.mark.parametrize("value", [math.nan, 6e37])
def test_absurd_weights_are_not_saved_over_good_ones(tiny_model, tmp_path, value):
    path = tmp_path / "state.safetensors"
    run = training(tiny_model, RECIPE, state_path=path)
    next(event for event in run if isinstance(event, Metric) and event.step == 4)
    with torch.no_grad():
        tiny_model.module.get_parameter("text_projection")[0, 0] = value
    with pytest.raises(InputError, match=r"After step 4 a weight .* The last save is intact\."):
        list(run)
    assert read_facts(path)["step"] == 2
    assert intact_state(path) == (path, "")


def test_a_state_restores_the_random_numbers_and_one_of_another_checkpoint_is_refused(
    tiny_model, tmp_path
):
    named = build_method(tiny_model, RECIPE, Extras()).trained
    optimizer = make_optimizer(tiny_model.module, named, RECIPE)
    path, small = tmp_path / "state.safetensors", nn.Linear(2, 2)
    own = torch.optim.AdamW(small.parameters())
    save_state(path, small, [], own, {"step": 1})
    drawn = torch.rand(3)
    assert load_state(path, small, [], own) == {"step": 1}
    assert torch.equal(torch.rand(3), drawn)
    with pytest.raises(InputError, match="belongs to another checkpoint"):
        load_state(path, tiny_model.module, named, optimizer)


def test_a_more_careful_recipe_goes_on_from_the_same_save(tiny_model, tmp_path):
    path, whole = tmp_path / "state.safetensors", tiny_model.copy()
    recipe = RECIPE.changed(method="mmcl", batch_norm="frozen", warmup_steps=0, lr_end=1.0)
    trained(whole, recipe)
    killed(training(tiny_model, recipe, state_path=path), 3)
    careful = recipe.changed(cache_chunk=2)
    events, outcome = trained(tiny_model, careful, state_path=path, resume=True)
    assert outcome.chunk == read_facts(path)["chunk"] == 2
    assert next(event.step for event in events if isinstance(event, Metric)) == 3
    weight = tiny_model.module.visual.conv1.weight
    torch.testing.assert_close(weight, whole.module.visual.conv1.weight, rtol=0, atol=1e-4)
    with pytest.raises(InputError, match="another recipe"):
        trained(tiny_model.copy(), recipe.changed(lr=1e-5), state_path=path, resume=True)
