"""Moving along a line in weight space, and the vector's file."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml_core.cleaning.batches import picture_batch
from ml_core.cleaning.loop import train
from ml_core.cleaning.methods.method import Extras
from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.cleaning.weight_space import WeightDelta, choose_alpha, combine, settle, snapshot
from ml_core.data.canvas import CanvasCache
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Progress
from ml_core.reading.clip_config import CLIP_FIT
from ml_core.reading.errors import InputError
from ml_core.triggers import badnets_patch
from tests.unit.draining import drain, losses_of, silently, warnings_of
from tests.unit.tiny_models import different, some_classes


def test_variances_stay_positive_and_the_logit_scale_in_range():
    base = {"bn.running_var": torch.tensor([1.0, 4.0]), "logit_scale": torch.tensor(4.0)}
    vector = {"bn.running_var": torch.tensor([-1.0, 1.0]), "logit_scale": torch.tensor(1.0)}
    far = combine(base, vector, 5.0)
    assert far["bn.running_var"].tolist() == pytest.approx([0.1, 9.0])
    assert far["logit_scale"].item() == pytest.approx(4.6052, abs=1e-4)
    assert combine(base, vector, -9.0)["logit_scale"].item() == 0.0


ROWS = [
    {"alpha": 0.0, "ca": 0.90, "asr_excl": 0.99},
    {"alpha": 0.5, "ca": 0.895, "asr_excl": 0.20},
    {"alpha": 1.0, "ca": 0.893, "asr_excl": 0.05},
    {"alpha": 1.5, "ca": 0.891, "asr_excl": 0.05},
    {"alpha": 2.0, "ca": 0.70, "asr_excl": 0.00},
]


def test_auto_takes_the_lowest_rate_within_the_limit_and_then_the_smallest_alpha():
    assert choose_alpha(ROWS, 1.0)["alpha"] == 1.0
    assert choose_alpha(ROWS, 0.6)["alpha"] == 0.5
    assert choose_alpha(ROWS, 0.0)["alpha"] == 0.0
    assert choose_alpha(ROWS, 30.0)["alpha"] == 2.0


def test_without_a_trigger_auto_goes_as_far_as_the_limit_allows():
    rows = [{"alpha": r["alpha"], "ca": r["ca"]} for r in ROWS]
    assert choose_alpha(rows, 1.0)["alpha"] == 1.5
    with pytest.raises(InputError, match="no labels"):
        choose_alpha([{"alpha": 0.0}], 1.0)


def _weight(model):
    return float(model.module.visual.conv1.weight.detach().flatten()[0])


def _settled(model, rates, **fields):
    """Choose alpha along one weight; also how far that was moved."""
    base, start = snapshot(model), _weight(model)
    vector = {"visual.conv1.weight": torch.ones_like(base["visual.conv1.weight"])}
    recipe = make_recipe({"alpha_choice": "auto"} | fields)
    validate = None if rates is None else silently(lambda _: rates(_weight(model) - start))
    events, delta = drain(settle(model, base, vector, recipe, validate, Control()))
    assert isinstance(delta, WeightDelta)
    return events, delta, _weight(model) - start


def test_auto_places_what_it_chose_and_says_when_nothing_was_measured(tiny_model):
    def rates(moved):
        return {"ca": 0.9 - 0.04 * moved**2}  # a point is lost at alpha 1/2; 17/32 is too far

    fields = {"method": "interpolate", "alpha": 1.0}
    events, delta, moved = _settled(tiny_model, rates, **fields)
    assert delta.alpha == 0.5
    assert moved == pytest.approx(0.5, abs=1e-6)
    eighths, fine = [k / 8 for k in range(9)], [k / 32 for k in range(13, 20)]
    assert [row["alpha"] for row in delta.tried] == sorted({*eighths, *fine})
    (warning,) = warnings_of(events)
    assert "how much of the backdoor is left" in warning
    with pytest.raises(InputError, match="validation images"):
        _settled(tiny_model, None, **fields)


def test_auto_finds_what_lies_within_its_first_step(tiny_model):
    """A long way to go: already the first of eight steps costs more than is allowed."""

    def rates(moved):
        return {"ca": 0.9 - 0.03 * moved, "asr_excl": 0.9 - 0.1 * moved}  # a point at alpha 1/3

    events, delta, _ = _settled(tiny_model, rates, method="tbar", alpha=4.0)
    assert delta.alpha == 0.25
    assert [row["alpha"] for row in delta.tried][:5] == [0.0, 0.125, 0.25, 0.375, 0.5]
    done = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in done] == [*range(12), 15]
    assert {event.total for event in done} == {15}


SMALL_TBAR = {
    "method": "tbar", "pairs": 8, "batch_size": 4, "epochs": 1, "warmup_steps": 0, "lr": 1e-3,
    "alpha": 2.0, "eval_every": 0, "save_every": 1, "precision": "fp32", "batch_norm": "frozen",
}  # fmt: skip


def _tbar(model, recipe, path, resume=False):
    cache = CanvasCache(open_images(ImageSpec(split="clean", n=8)), 32)
    classifier = some_classes(model)

    def make(step):
        return picture_batch(cache, badnets_patch(), recipe, 32, CLIP_FIT, step)

    extras = Extras(classifier, target=1)
    return drain(
        train(model, recipe, make, Control(), extras=extras, state_path=path, resume=resume)
    )


def test_tbar_subtracts_what_was_learnt_once(tiny_model, tmp_path):
    recipe, path = make_recipe(SMALL_TBAR), tmp_path / "state.safetensors"
    start, fresh = snapshot(tiny_model), tiny_model.copy()
    events, outcome = _tbar(tiny_model, recipe, path)
    losses = losses_of(events)
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
    _tbar(fresh, recipe, path, resume=True)  # a finished run that is taken up again
    assert not different(tiny_model, fresh)


# ---- the trade-off ----


RATES = st.integers(0, 6).map(lambda value: value / 6)


@given(st.lists(st.tuples(RATES, RATES), max_size=30))
def test_the_front_is_what_the_definition_says(pairs: list[tuple[float, float]]) -> None:
    made = [Point(step, ca, asr) for step, (ca, asr) in enumerate(pairs)]

    def beaten(ca: float, asr: float) -> bool:
        return any(
            other.ca >= ca and other.asr <= asr and (other.ca > ca or other.asr < asr)
            for other in made
        )

    front = pareto(made)
    assert set(front) == {i for i, (ca, asr) in enumerate(pairs) if not beaten(ca, asr)}
    assert [made[i].ca for i in front] == sorted((made[i].ca for i in front), reverse=True)


def test_limits_count_from_the_start() -> None:
    limits = Limits(ca_drop=2.0, asr=5.0)
    assert limits.met(Point(9, 0.95, 0.05), start_ca=0.97)  # exactly both limits
    assert not limits.met(Point(9, 0.949, 0.05), start_ca=0.97)
    assert not limits.met(Point(9, 0.96, 0.051), start_ca=0.97)
    assert not limits.met(Point(9, 0.97, None), start_ca=0.97)
