"""How far a whole job is, from the events of its stages, with a clock that the test turns."""

from __future__ import annotations

import pytest

from ml_core.cleaning.presets import preset
from ml_core.cleaning.pretraining import UNKNOWN
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Progress
from ml_core.jobs.auto import AutoSpec, AutoStep
from ml_core.jobs.auto.choice import first_recipe
from ml_core.jobs.demo import for_demo
from ml_core.jobs.overall import (
    Overall,
    Plan,
    PlannedStage,
    chain_plans,
    cleaning_plan,
    round_seconds,
)
from ml_core.jobs.scan import ScanSpec
from ml_core.jobs.specs import CleanSpec
from tests.gui.scans import scan


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


def test_an_estimate_tells_the_time_left_before_anything_is_measured():
    measured = {"seconds": 350.0, "train_seconds": 300.0, "evaluation_seconds": 45.0}
    job = Job(cleaning_plan(spec(), measured))
    job.tell("open", 0, 1)
    assert job.overall.seconds_left == pytest.approx(354.0, abs=1.0)  # and choosing the precision
    play(job)
    fractions = [fraction for _, fraction, _ in job.shown]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    end = job.shown[-1][0]
    for now, fraction, left in job.shown:
        assert fraction == pytest.approx((now - 100) / (end - 100), abs=0.15)
        assert left is not None


def test_a_stage_goes_on_after_the_one_inside_it():
    search = PlannedStage("patches", seconds=100.0)
    job = Job(Plan((search, PlannedStage("refine", seconds=20.0, inside=True))))
    job.stage("patches", 100, 100)
    alone = job.overall.fraction
    job = Job(Plan((search, PlannedStage("refine", seconds=20.0, inside=True))))
    for done in range(21):
        job.tell("patches", done, 100, 1.0)
    job.tell("measure", 6, 6)
    for done in range(11):  # and ends early
        job.tell("refine", done, 20, 1.0)
    job.tell("measure", 60, 60)
    assert job.overall.seconds_left == pytest.approx(90.0, abs=5.0)
    assert job.overall.fraction == pytest.approx(0.25, abs=0.03)
    for done in range(21, 61):
        job.tell("patches", done, 100, 1.0)
    assert job.overall.seconds_left == pytest.approx(40.0, abs=3.0)
    job.tell("measure", 16, 16)
    job.tell("refine", 20, 20, 3.0)  # once more, at once
    job.tell("measure", 60, 60)
    assert job.overall.seconds_left == pytest.approx(40.0, abs=3.0)
    job.tell("patches", 100, 100, 40.0)
    assert job.overall.seconds_left == 0.0
    assert job.overall.fraction > alone
    assert all(share <= 1 and left >= 0 for _, share, left in job.shown)


def test_what_nobody_planned_has_its_own_time_left():
    job = Job(Plan((PlannedStage("patches", seconds=100.0),)))
    for done in range(51):
        job.tell("patches", done, 100, 1.0)
    for done in range(11):
        job.tell("beside", done, 20, 1.0)
        assert job.overall.seconds_left == pytest.approx(50 + (20 - done) * (done > 0), abs=2.0)
    job.tell("patches", 51, 100, 10.0)
    assert job.overall.seconds_left == pytest.approx(49, abs=1.0)


def test_a_stage_with_fewer_items_than_before_is_not_more_than_done():
    job = Job(Plan((PlannedStage("data", seconds=10.0), PlannedStage("embed", seconds=10.0))))
    job.stage("data", 4000, 10)
    job.stage("data", 500, 2)
    assert all(share <= 1 and left >= 0 for _, share, left in job.shown)


def test_time_on_hold_does_not_count():
    job = Job(Plan((PlannedStage("train", work=1.0, items=100),)))
    job.tell("train", 0, 100)
    job.tell("train", 20, 100, 20)
    job.overall.pause()
    job.overall.pause()
    job.now += 10_000
    job.overall.go_on()
    job.tell("train", 30, 100, 10)
    assert job.overall.seconds_left == pytest.approx(70.0)


@pytest.mark.parametrize("slower", [1, 10])
def test_a_round_is_estimated_by_the_time_of_the_scan_before_it(slower):
    """The demo on two cores: 27 s of scanning, 70 of cleaning, 21 and 19 of proofs."""
    asked = ScanSpec(checkpoint="m.safetensors", images=ImageSpec(), output_dir="scan")
    stages = {"pull": 0.5, "probes": 3.3, "patches": 15.4, "words": 3.3}
    made = scan("found").model_copy(
        update={"seconds": {stage: slower * seconds for stage, seconds in stages.items()}}
    )
    chain = for_demo(AutoSpec(base=spec(), scan_images=ImageSpec()))
    recipe = preset("stamped", "talk")
    seconds = round_seconds(chain, recipe, asked, made)
    assert seconds == pytest.approx(137 * slower, rel=0.4)
    twice = recipe.changed(epochs=2 * recipe.epochs)
    assert seconds < round_seconds(chain, twice, asked, made) < 2 * seconds
    for patches in (0.001, 1e308, -1.0):  # taken from an earlier session, or made up
        untold = made.model_copy(update={"seconds": stages | {"patches": patches}})
        assert round_seconds(chain, recipe, asked, untold) is None


def test_a_stage_that_ended_early_counts_for_what_it_did():
    plan = Plan((PlannedStage("train", work=1.0, items=100, trains=True),))
    job = Job(plan)
    job.tell("train", 0, 100)
    job.tell("train", 10, 100, 20)  # then it failed
    job.overall.begin_job(plan)
    assert job.overall.seconds_left == pytest.approx(200)
    job.tell("train", 100, 100)  # done in an earlier session
    job.overall.begin_job(plan)
    assert job.overall.seconds_left == pytest.approx(200)
    job.tell("measure", 0, 10)  # nobody planned it, and the training is over: it has its place
    job.tell("measure", 5, 10, 7)
    assert job.overall.seconds_left == pytest.approx(207)


def test_a_chain_is_one_job_from_its_first_step_to_its_last():
    """The demo on two cores, after its scan: 70 s of cleaning, 27 of scanning, 21 and 19."""
    stages = {"pull": 0.5, "probes": 3.3, "patches": 15.4, "words": 3.3}
    made = scan("found").model_copy(update={"seconds": stages})
    chain = for_demo(AutoSpec(base=spec(), scan_images=ImageSpec()))
    job = Job(Plan(()))
    before, whole = job.now, 70 + 27 + 21 + 19

    def begin(kind, number):
        step = AutoStep(kind=kind, round=number, title=kind, folder=f"{kind}-{number}")
        job.overall.begin_job(*chain_plans(chain, step, made))

    begin("clean", 1)
    job.stage("open", 1, 4)
    assert job.overall.seconds_left == pytest.approx(whole, rel=0.4)  # by the scan before it
    steps = first_recipe(True, UNKNOWN, chain.preset).total_steps
    job.stage("train", steps, 60)
    job.stage("after", 4000, 6)
    cleaned = job.overall.fraction
    assert cleaned == pytest.approx(70 / whole, abs=0.15)
    begin("scan", 1)
    for stage, seconds in stages.items():
        job.stage(stage, 100, 1.2 * seconds)
    begin("rebound", 0)
    job.stage("open", 1, 1)  # also a stage of the cleaning
    job.stage("rebound", 3 * chain.rebound_steps, 20)
    begin("holdouts", 0)
    job.stage("before", 4000, 9)
    job.stage("after", 4000, 9)
    assert job.overall.fraction == pytest.approx(1.0)
    assert job.overall.seconds_left == pytest.approx(0.0)
    shares = [share for _, share, _ in job.shown]
    assert shares == sorted(shares)
    wrong = [left - (job.now - now) for now, _, left in job.shown]
    assert max(map(abs, wrong)) < 0.4 * (job.now - before)
    begin("clean", 2)  # one more round: the bar stands still, and the time left says it
    job.stage("open", 1, 4)
    once = job.overall.seconds_left
    assert once > 60
    recipe = first_recipe(True, UNKNOWN, chain.preset)
    longer = chain.base.model_copy(update={"recipe": recipe.changed(epochs=2 * recipe.epochs)})
    step = AutoStep(kind="clean", round=2, title="Clean", folder="round-2")
    job.overall.expect(*chain_plans(chain, step, made, job=longer))  # its job is on disk by now
    assert job.overall.seconds_left == pytest.approx(once + 60, rel=0.2)
