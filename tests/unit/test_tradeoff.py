"""The points of a run's trade-off, and which of them no other one beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_core.cleaning.tradeoff import Limits, Point, pareto

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
