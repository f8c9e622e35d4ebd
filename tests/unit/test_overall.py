"""How far a whole job is, from the events of its stages, with a clock that the test turns."""

from __future__ import annotations

import itertools

import pytest

from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Progress
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.overall import (
    Overall,
    Plan,
    PlannedStage,
    audit_plan,
    cleaning_plan,
    estimate_plan,
    holdouts_plan,
    rates_plan,
    rebound_plan,
)
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.jobs.rates import RateSpec
from ml_core.jobs.specs import CleanSpec

PROOF = {"images": ImageSpec(n=1000), "trigger": "t.json", "output_dir": "out"}


class Job:
    """Plays the stages of a job on its own clock and keeps what was shown after each event."""

    def __init__(self, plan):
        self.now = 100.0
        self.overall = Overall(plan, lambda: self.now)
        self.shown: list[tuple[float, float, float | None]] = []

    def tell(self, stage, done, total, after=0.0):
        self.now += after
        self.overall.take(Progress(stage, done, total))
        self.shown.append((self.now, self.overall.fraction, self.overall.seconds_left))

    def stage(self, stage, total, seconds, *, quiet=0.0):
        """A stage of even speed after ``quiet`` seconds without a sign of life."""
        self.tell(stage, 0, total)
        self.now += quiet
        events = min(total, 100)
        for number in range(1, events + 1):
            self.tell(stage, total * number // events, total, seconds / events)

    def check_sound(self):
        """It never fell and ended full."""
        fractions = [fraction for _, fraction, _ in self.shown]
        assert all(a <= b for a, b in itertools.pairwise(fractions))
        assert fractions[-1] == pytest.approx(1.0)


def spec(**changes):
    fields = {
        "checkpoint": "m.safetensors", "recipe": preset("cleanclip", "talk"), "pairs": PairSpec(),
        "images": ImageSpec(n=500), "test_images": ImageSpec(n=4000), "trigger": "t.json",
        "output_dir": "out",
    }  # fmt: skip
    return CleanSpec(**(fields | changes))


def play(job):
    """A run of CleanCLIP on a slow machine: 20 s before, 300 s of training, 20 s after."""
    job.stage("open", 1, 5)
    job.stage("before", 4000, 20, quiet=6)
    job.stage("prepare", 1, 9)
    job.stage("validate", 1, 2)
    job.stage("train", 105, 300)
    job.stage("after", 4000, 20, quiet=6)


def test_a_run_is_one_bar_that_never_falls_and_ends_full():
    job = Job(cleaning_plan(spec()))
    play(job)
    job.check_sound()
    assert 0.0 <= job.shown[0][1] < 0.05
    end = job.shown[-1][0]
    for now, fraction, left in job.shown[-60:]:  # the last steps and all after them
        assert abs(left - (end - now)) < 10
        assert fraction == pytest.approx((now - 100) / (end - 100), abs=0.12)


def test_an_estimate_tells_the_time_left_before_anything_is_measured():
    measured = {"seconds": 350.0, "train_seconds": 300.0, "evaluation_seconds": 45.0}
    job = Job(cleaning_plan(spec(), measured))
    job.tell("open", 0, 1)
    assert job.overall.seconds_left == pytest.approx(354.0, abs=1.0)  # and choosing the precision
    play(job)
    end = job.shown[-1][0]
    for now, fraction, left in job.shown:
        assert fraction == pytest.approx((now - 100) / (end - 100), abs=0.15)
        assert left is not None


def test_without_one_the_time_left_is_told_once_a_unit_of_work_is_measured():
    job = Job(cleaning_plan(spec()))
    job.tell("open", 0, 1)
    assert job.overall.seconds_left is None
    job.tell("before", 0, 4000, 5)
    assert job.overall.seconds_left is None
    job.tell("before", 400, 4000, 1)
    assert job.overall.seconds_left is not None


def test_what_comes_before_the_first_sign_of_progress_says_nothing_of_the_speed():
    job = Job(Plan((PlannedStage("before", work=1.0, items=100),)))
    job.tell("before", 0, 100)
    job.tell("before", 1, 100, 60)  # the texts of a thousand classes
    job.tell("before", 11, 100, 10)
    assert job.overall.seconds_left == pytest.approx(89.0)


def test_a_run_that_is_resumed_goes_on_where_it_was():
    job = Job(cleaning_plan(spec()))
    job.stage("open", 1, 5)
    job.stage("before", 4000, 20)
    job.tell("train", 84, 105)
    job.tell("train", 94, 105, 30)
    assert job.overall.seconds_left == pytest.approx(33.0 + 20.0, abs=6.0)
    assert job.overall.fraction > 0.6


def test_time_on_hold_does_not_count():
    job = Job(Plan((PlannedStage("train", work=1.0, items=100),)))
    job.tell("train", 0, 100)
    for done in (10, 20):
        job.tell("train", done, 100, 10)
    job.overall.pause()
    job.overall.pause()
    job.now += 10_000
    assert job.overall.seconds_left == pytest.approx(80.0)
    job.overall.go_on()
    job.tell("train", 30, 100, 10)
    assert job.overall.seconds_left == pytest.approx(70.0)
    assert job.overall.fraction == pytest.approx(0.3)


def test_stages_that_nobody_planned_and_those_that_are_skipped_leave_it_sound():
    job = Job(cleaning_plan(spec(heldout_images=ImageSpec(n=1000))))
    job.tell("open", 0, 1)
    job.stage("texts", 50, 10)  # planned nowhere
    job.stage("data", 0, 1)
    job.stage("data", 10, 1)
    job.tell("open", 1, 1)  # of a stage that is over
    job.stage("before", 4000, 20)
    job.stage("train", 105, 100)
    job.tell("before", 3, 40)
    job.stage("after", 4000, 20)
    job.stage("after (heldout)", 1000, 5)
    job.check_sound()
    assert job.overall.seconds_left == pytest.approx(0.0)


def test_class_texts_between_the_steps_do_not_end_the_training():
    """They are planned nowhere, and told first in the middle where the first ones were kept."""
    job = Job(
        Plan((PlannedStage("open", 1.0), PlannedStage("train", work=1.0, items=300, trains=True)))
    )
    job.stage("open", 1, 1)
    job.tell("train", 0, 300)
    for step in range(1, 301):
        job.tell("train", step, 300, 1)
        if step % 60 == 0 and step < 300:
            job.stage("texts", 500, 2)
    half = next(fraction for when, fraction, _ in job.shown if when >= 100 + 1 + 154)
    assert half == pytest.approx(0.5, abs=0.05)
    left = next(left for when, _, left in job.shown if when >= 100 + 1 + 154)
    assert left == pytest.approx(155, rel=0.1)
    assert job.shown[-1][1] == pytest.approx(1.0)


def test_odd_numbers_from_a_job_are_held_in_bounds():
    job = Job(Plan((PlannedStage("train", work=1.0),)))
    for done, total in ((-5, 10), (50, 10), (3, -1), (0, 0), (2, 1)):
        job.tell("train", done, total, 1)
        assert 0.0 <= job.overall.fraction <= 1.0


@pytest.mark.parametrize(
    ("plan", "stages"),
    [
        (
            rebound_plan(ReboundSpec(checkpoint="m", pairs=PairSpec(), **PROOF)),
            [("open", 1, 4), ("rebound", 900, 900)],
        ),
        (
            holdouts_plan(HoldoutSpec(before="a", after="b", **PROOF)),
            [("open", 1, 6), ("before", 30, 90), ("after", 30, 90)],
        ),
        (estimate_plan(spec()), [("open", 1, 3), ("estimate", 6, 9)]),
        (
            rates_plan(RateSpec(job=spec(), steps=60)),
            [("open", 1, 4), ("prepare", 1, 1), ("validate", 256, 8), ("ramp", 60, 90)],
        ),
        (
            audit_plan(
                AuditSpec(
                    checkpoint="m", pairs=PairSpec(n=4000), reference=PairSpec(n=1000),
                    images=(ImageSpec(),), output_dir="out",
                )
            ),
            [("open", 1, 4), ("overlap", 1, 1), ("reference", 100, 25), ("embed", 400, 100),
             ("pictures", 1, 1)],
        ),
    ],
)  # fmt: skip
def test_proofs_estimates_and_audits_have_one_bar_each(plan, stages):
    job = Job(plan)
    for name, total, seconds in stages:
        job.stage(name, total, seconds)
    job.check_sound()
    half = next(shown for shown in job.shown if shown[1] >= 0.5)
    assert half[2] == pytest.approx(job.shown[-1][0] - half[0], rel=0.2, abs=3.0)


@pytest.mark.parametrize("method", ["cleanclip", "supervised", "tbar", "unlearn", "linear-probe"])
def test_every_method_has_a_plan(method):
    job = Job(cleaning_plan(spec(recipe=preset(method, "quick"))))
    job.stage("open", 1, 1)
    job.stage("before", 4, 1)
    assert 0.0 < job.overall.fraction < 1.0
