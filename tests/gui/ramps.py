"""Ramps of the learning rate as the job tells them, made without a model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ml_core.cleaning.rate_range import RateRow, propose, ramp_rate
from ml_core.cleaning.recipes import Recipe
from ml_core.events import Done, Event, Metric, Progress
from ml_core.jobs.rates import RateRecord

STEPS, EVERY = 60, 4
LOW, HIGH = 1e-6, 1e-2


def rows(steps: int = STEPS) -> tuple[RateRow, ...]:
    """Accuracy falls at about 1e-3, and the loss rises a little later."""
    draws = random.Random(0)
    found = [RateRow(0, 0.0, None, 0.964, 0.941, 0.978)]
    for step in range(1, steps + 1):
        rate = ramp_rate(step - 1, steps, LOW, HIGH)
        place = math.log10(rate)
        loss = 1.9 - 0.6 / (1 + math.exp(-3 * (place + 4))) + 2.0 * max(place + 2.6, 0) ** 2
        loss += draws.gauss(0.0, 0.05)
        ca = 0.964 - 0.5 * max(place + 3.2, 0) ** 2
        measured = step % EVERY == 0 or step == steps
        at = (ca, ca - 0.025, min(ca + 0.02, 1.0)) if measured else (None, None, None)
        found.append(RateRow(step, rate, loss, *at))
    return tuple(found)


def record(made: Sequence[RateRow] = rows(), **fields: object) -> RateRecord:
    """What the job found."""
    usual = {
        "checkpoint": "model.safetensors", "checkpoint_sha256": "a" * 64, "recipe": Recipe(),
        "rows": tuple(made), "proposal": propose(made), "ended": "finished", "low": LOW,
        "high": HIGH, "steps": STEPS, "drop": 1.0, "batch_size": 32, "n": 256, "classes": 36,
        "templates": 7, "device": "cpu", "precision": "fp32", "threads": 1, "seconds": 61.0,
    }  # fmt: skip
    return RateRecord.model_validate({**usual, **fields})


def told(found: RateRecord) -> list[Event]:
    """Every event of a ramp but the last one."""
    events: list[Event] = [Progress("open", 1, 1)]
    for row in found.rows:
        if row.loss is not None:
            events.append(Metric(row.step, STEPS, {"lr": row.lr, "loss": row.loss}))
        if row.ca is not None and row.ca_low is not None and row.ca_high is not None:
            values = {"lr": row.lr, "ca": row.ca, "ca_low": row.ca_low, "ca_high": row.ca_high}
            events.append(Metric(row.step, STEPS, values))
        events.append(Progress("ramp", row.step, STEPS, 20.0, 3.0))
    return events


def finished(found: RateRecord) -> list[Event]:
    """Every event of a ramp."""
    return [*told(found), Done("finished", found.model_dump(mode="json"))]
