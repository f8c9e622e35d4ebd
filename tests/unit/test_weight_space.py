"""Moving along a line in weight space, and the trade-off."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml_core.cleaning.recipes import make_recipe
from ml_core.cleaning.tradeoff import Limits, Point, pareto
from ml_core.cleaning.weight_space import WeightDelta, choose_alpha, settle, snapshot
from ml_core.events import Control, Progress
from ml_core.reading.errors import InputError
from tests.unit.draining import drain, silently, warnings_of

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
        return {"ca": 0.9 - 0.12 * moved, "asr_excl": 0.9 - 0.1 * moved}  # a point at alpha 1/12

    events, delta, _ = _settled(tiny_model, rates, method="interpolate", alpha=1.0)
    assert delta.alpha == 0.0625
    assert [row["alpha"] for row in delta.tried][:5] == [0.0, 0.03125, 0.0625, 0.09375, 0.125]
    done = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in done] == [*range(12), 15]
    assert {event.total for event in done} == {15}


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
