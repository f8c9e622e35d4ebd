"""The points of a run's trade-off, and which of them no other one beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_core.cleaning.tradeoff import Limits, Point, pareto, points
from ml_core.events import Metric, Progress, Saved


def run_events() -> list:
    first = {"ca": 0.97, "asr_excl": 0.98, "poisoned_accuracy": 0.02,
             "ca_low": 0.95, "ca_high": 0.98, "asr_low": 0.96, "asr_high": 0.99}  # fmt: skip
    return [
        Progress("open", 1, 1),
        Metric(0, 40, first),
        Saved("/runs/a/steps/step-000000.safetensors", "step", 0),
        Metric(1, 40, {"loss": 2.0, "lr": 1e-3}),
        Metric(20, 40, {"loss": 1.5, "lr": 1e-3}),
        Metric(20, 40, {"ca": 0.90, "asr_excl": 0.30, "poisoned_accuracy": 0.6}),
        Saved("/runs/a/steps/step-000020.safetensors", "step", 20),
        Saved("/runs/a/state/state.safetensors", "resume", 20),
        Metric(40, 40, {"ca": 0.955, "asr_excl": 0.04, "linear_ca": 0.99, "linear_asr_excl": 0.5}),
        Saved("/runs/a/cleaned.safetensors", "checkpoint", 40),
    ]


def test_points_are_the_evaluations_with_what_was_kept_of_them() -> None:
    found = points(run_events())
    assert [point.step for point in found] == [0, 20, 40]
    assert found[0] == Point(
        0, 0.97, 0.98, 0.02, (0.95, 0.98), (0.96, 0.99),
        "/runs/a/steps/step-000000.safetensors",
    )  # fmt: skip
    assert found[1].checkpoint.endswith("step-000020.safetensors")
    assert (found[2].checkpoint, found[2].poisoned_accuracy, found[2].asr_interval) == (
        "", None, None,
    )  # fmt: skip


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
