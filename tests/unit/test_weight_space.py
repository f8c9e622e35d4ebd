"""Moving along a line in weight space, and the vector's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ml_core.cleaning.batches import picture_batch
from ml_core.cleaning.loop import Outcome, train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.cleaning.weight_space import (
    WeightDelta,
    choose_alpha,
    combine,
    direction,
    place,
    settle,
    snapshot,
)
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Event, Message, Metric, Progress
from ml_core.model import ClipModel
from ml_core.reading.clip_config import CLIP_FIT
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch
from tests.unit.draining import drain, silently


def test_a_line_by_hand() -> None:
    base = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(7), "same": torch.ones(1)}
    end = {"w": torch.tensor([3.0, 0.0]), "n": torch.tensor(9), "same": torch.ones(1)}
    vector = direction(base, end)
    assert set(vector) == {"w"}
    assert combine(base, vector, 0.25)["w"].tolist() == [1.5, 1.5]
    assert combine(base, vector, -1.0)["w"].tolist() == [-1.0, 4.0]
    assert combine(base, vector, 3.0)["n"].item() == 7
    assert base["w"].tolist() == [1.0, 2.0]


def test_variances_stay_positive_and_the_logit_scale_in_range() -> None:
    base = {"bn.running_var": torch.tensor([1.0, 4.0]), "logit_scale": torch.tensor(4.0)}
    vector = {"bn.running_var": torch.tensor([-1.0, 1.0]), "logit_scale": torch.tensor(1.0)}
    far = combine(base, vector, 5.0)
    assert far["bn.running_var"].tolist() == pytest.approx([0.1, 9.0])
    assert far["logit_scale"].item() == pytest.approx(4.6052, abs=1e-4)
    assert combine(base, vector, -9.0)["logit_scale"].item() == 0.0


def test_a_blend_with_a_reference_of_smaller_variance_ends_at_the_reference() -> None:
    """The floor is for what lies beyond the ends, and must not move the reference itself."""
    name = "bn.running_var"
    base = {name: torch.tensor([1.0, 4.0, 2.0])}
    end = {name: torch.tensor([0.01, 0.2, 3.0])}
    vector = direction(base, end)
    assert combine(base, vector, 1.0)[name].tolist() == pytest.approx([0.01, 0.2, 3.0])
    half = combine(base, vector, 0.95)[name].tolist()
    assert half == pytest.approx([0.0595, 0.39, 2.95], rel=1e-5)
    assert combine(base, vector, 2.0)[name].tolist() == pytest.approx([0.1, 0.4, 4.0])


def test_the_ends_of_a_blend_are_the_two_models(tiny_model: ClipModel) -> None:
    other = tiny_model.copy()
    with torch.no_grad():
        for value in other.module.state_dict().values():
            value.copy_(value * 2 if value.is_floating_point() else value)
        other.module.logit_scale.fill_(1.0)
    base, end = snapshot(tiny_model), snapshot(other)
    vector = direction(base, end)
    place(tiny_model, combine(base, vector, 1.0))
    for name, value in tiny_model.module.state_dict().items():
        assert torch.allclose(value, end[name]), name
    place(tiny_model, combine(base, vector, 0.0))
    assert all(torch.equal(v, base[k]) for k, v in tiny_model.module.state_dict().items())


ROWS = [
    {"alpha": 0.0, "ca": 0.90, "asr_excl": 0.99},
    {"alpha": 0.5, "ca": 0.895, "asr_excl": 0.20},
    {"alpha": 1.0, "ca": 0.893, "asr_excl": 0.05},
    {"alpha": 1.5, "ca": 0.891, "asr_excl": 0.05},
    {"alpha": 2.0, "ca": 0.70, "asr_excl": 0.00},
]


def test_auto_takes_the_lowest_rate_within_the_limit_and_then_the_smallest_alpha() -> None:
    assert choose_alpha(ROWS, 1.0)["alpha"] == 1.0
    assert choose_alpha(ROWS, 0.6)["alpha"] == 0.5
    assert choose_alpha(ROWS, 0.0)["alpha"] == 0.0
    assert choose_alpha(ROWS, 30.0)["alpha"] == 2.0


def test_without_a_trigger_auto_goes_as_far_as_the_limit_allows() -> None:
    rows = [{"alpha": r["alpha"], "ca": r["ca"]} for r in ROWS]
    assert choose_alpha(rows, 1.0)["alpha"] == 1.5
    with pytest.raises(InputError, match="no labels"):
        choose_alpha([{"alpha": 0.0}], 1.0)


def _weight(model: ClipModel) -> float:
    return float(model.module.visual.conv1.weight.detach().flatten()[0])


def test_auto_places_what_it_chose_and_says_when_nothing_was_measured(
    tiny_model: ClipModel,
) -> None:
    base = snapshot(tiny_model)
    vector = {"visual.conv1.weight": torch.ones_like(base["visual.conv1.weight"])}
    start = _weight(tiny_model)
    recipe = make_recipe({"method": "interpolate", "alpha_choice": "auto", "alpha": 1.0})

    @silently
    def validate(_: torch.Tensor | None) -> dict[str, float]:
        moved = _weight(tiny_model) - start
        return {"ca": 0.9 - 0.04 * moved**2}  # a point is lost at alpha 1/2; 17/32 is too far

    events, beside = drain(settle(tiny_model, base, vector, recipe, validate, Control()))
    assert isinstance(beside, WeightDelta)
    assert beside.alpha == 0.5
    assert _weight(tiny_model) - start == pytest.approx(0.5, abs=1e-6)
    eighths, fine = [k / 8 for k in range(9)], [k / 32 for k in range(13, 20)]
    assert [row["alpha"] for row in beside.tried] == sorted({*eighths, *fine})
    said = [e for e in events if isinstance(e, Message)]
    assert said[0].level == "warning"
    assert "how much of the backdoor is left" in said[0].text
    with pytest.raises(InputError, match="validation images"):
        drain(settle(tiny_model, base, vector, recipe, None, Control()))


def test_auto_finds_what_lies_within_its_first_step(tiny_model: ClipModel) -> None:
    """A long way to go: already the first of eight steps costs more than is allowed."""
    base = snapshot(tiny_model)
    vector = {"visual.conv1.weight": torch.ones_like(base["visual.conv1.weight"])}
    start = _weight(tiny_model)
    recipe = make_recipe({"method": "tbar", "alpha_choice": "auto", "alpha": 4.0})

    @silently
    def validate(_: torch.Tensor | None) -> dict[str, float]:
        moved = _weight(tiny_model) - start
        return {"ca": 0.9 - 0.03 * moved, "asr_excl": 0.9 - 0.1 * moved}  # a point at alpha 1/3

    events, beside = drain(settle(tiny_model, base, vector, recipe, validate, Control()))
    assert isinstance(beside, WeightDelta)
    assert beside.alpha == 0.25
    assert [row["alpha"] for row in beside.tried][:5] == [0.0, 0.125, 0.25, 0.375, 0.5]
    done = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in done] == [*range(12), 15]
    assert {e.total for e in done} == {15}


def test_a_blend_runs_through_the_loop_without_steps(tiny_model: ClipModel) -> None:
    reference = {
        name: value + 0.1 if value.is_floating_point() else value
        for name, value in snapshot(tiny_model).items()
    }
    start = snapshot(tiny_model)
    recipe = make_recipe({"method": "interpolate", "alpha": 0.3})
    seen: list[float] = []

    @silently
    def validate(_: torch.Tensor | None) -> dict[str, float]:
        seen.append(_weight(tiny_model))
        return {"ca": 0.5}

    def no_batch(_: int) -> Any:
        raise AssertionError("no step is taken")

    extras = Extras(reference=reference)
    run = train(tiny_model, recipe, no_batch, Control(), extras=extras, validate=validate)
    events, outcome = drain(run)
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.step, outcome.total_steps) == ("finished", 0, 0)
    assert outcome.beside.alpha == 0.3
    name = "visual.conv1.weight"
    expected = 0.7 * start[name] + 0.3 * reference[name]
    assert torch.allclose(tiny_model.module.state_dict()[name], expected, atol=1e-6)
    assert len(seen) == 2
    assert seen[1] == pytest.approx(seen[0] + 0.03, abs=1e-6)
    assert [e.step for e in events if isinstance(e, Metric)] == [0, 0]


SMALL_TBAR = {
    "method": "tbar", "pairs": 8, "batch_size": 4, "epochs": 1, "warmup_steps": 0, "lr": 1e-3,
    "alpha": 2.0, "eval_every": 0, "save_every": 1, "precision": "fp32", "batch_norm": "frozen",
}  # fmt: skip


def _tbar(
    model: ClipModel, recipe: Recipe, path: Path | None, resume: bool = False
) -> tuple[list[Event], Outcome]:
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=8)), 32)
    classifier = model.copy().encode_texts(["cat", "dog", "bird"]).clone()

    def make(step: int) -> Any:
        return picture_batch(cache, badnets_patch(), recipe, 32, CLIP_FIT, step)

    extras = Extras(classifier, target=1)
    return drain(
        train(model, recipe, make, Control(), extras=extras, state_path=path, resume=resume)
    )


def test_tbar_subtracts_what_was_learnt(tiny_model: ClipModel) -> None:
    recipe = make_recipe(SMALL_TBAR)
    start = snapshot(tiny_model)
    events, outcome = _tbar(tiny_model, recipe, None)
    losses = [e.values["loss"] for e in events if isinstance(e, Metric)]
    assert losses[1] < losses[0]
    vector = outcome.beside.vector
    assert vector
    assert all(name.startswith("visual.") for name in vector)
    for name, value in tiny_model.module.state_dict().items():
        if name in vector:  # the finetuned weights are start - vector
            learnt = -vector[name]
            assert torch.allclose(value, start[name] - 2.0 * learnt, atol=1e-6), name
        else:
            assert torch.equal(value, start[name]), name


def test_a_finished_run_taken_up_again_subtracts_once(
    tiny_model: ClipModel, tmp_path: Path
) -> None:
    recipe, path = make_recipe(SMALL_TBAR), tmp_path / "state.safetensors"
    fresh = tiny_model.copy()
    _tbar(tiny_model, recipe, path)
    _tbar(fresh, recipe, path, resume=True)
    for name, value in tiny_model.module.state_dict().items():
        assert torch.equal(value, fresh.module.state_dict()[name]), name
