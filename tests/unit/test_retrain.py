"""Level 4 of a verification where the training does not repeat bit for bit: three seeds."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ml_core.events import Control
from ml_core.jobs import retrain
from ml_core.jobs.measure import drained
from ml_core.jobs.specs import CleanSpec
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.opened import Bundle
from tests.bundles import write_bundle
from tests.unit.small_jobs import small_recipe


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("made") / "x.evidence")


def compared(
    path: Path, rates: list[tuple[float, float] | None], monkeypatch: pytest.MonkeyPatch
) -> tuple[Check, list[int]]:
    """What is said where the runs give these CA and ASR, and the seeds that were run."""
    seeds: list[int] = []
    left = list(rates)

    def ran(job: CleanSpec, *_: object) -> Generator[Any, None, dict[str, Any] | None]:
        yield from ()
        seeds.append(job.recipe.seed)
        found = left.pop(0)
        return None if found is None else {"after": {"ca": found[0], "asr_excl": found[1]}}

    monkeypatch.setattr(retrain, "_run", ran)
    recipe = small_recipe(seed=7)
    job = CleanSpec(checkpoint="suspect.safetensors", recipe=recipe, output_dir="run")
    with open_bundle(path) as reader:
        opened = Bundle(reader)
        facts = opened.evidence.jobs["job-1"]
        steps = retrain._compared(opened, "job-1", facts, job, None, Control())  # type: ignore[arg-type]
        return drained(steps), seeds


def rates_of(path: Path) -> tuple[float, float]:
    with open_bundle(path) as reader:
        claims = {one.id: one for one in Bundle(reader).evidence.claims}
    ca, asr = claims["job-1-after-ca"], claims["job-1-after-asr-excl"]
    return ca.rate.value, asr.rate.value  # type: ignore[union-attr]


def test_rates_among_three_seeds_are_consistent_and_never_the_same(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, asr = rates_of(bundle)
    near = [(ca - 0.01, asr + 0.02), (ca + 0.01, asr), (ca, max(asr - 0.02, 0.0))]
    check, seeds = compared(bundle, list(near), monkeypatch)
    assert (check.level, check.state) == (4, "holds")
    assert seeds == [7, 8, 9]
    assert "consistent with them" in check.sentence
    assert "The weights are not the same" in check.sentence


def test_rates_that_no_seed_reaches_do_not_hold(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, asr = rates_of(bundle)
    far = [(ca - 0.4, min(asr + 0.5, 1.0))] * 3
    check, _ = compared(bundle, list(far), monkeypatch)
    assert check.state == "fails"
    assert "CA and ASR of the bundle lie outside" in check.sentence


def test_a_training_that_stops_does_not_hold(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compared(bundle, [None], monkeypatch)[0].state == "fails"
    check, seeds = compared(bundle, [rates_of(bundle), None], monkeypatch)
    assert (check.state, seeds) == ("fails", [7, 8])
