"""Chains of *Clean it* as the job tells them and leaves them, made without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_core.events import Event, Finding, Metric, Progress
from ml_core.jobs.auto import AUTO_FILE, AutoResult, AutoSpec, AutoStep
from tests.gui.run_folders import STEPS as TRAINED
from tests.gui.run_folders import rates

STEPS = (
    AutoStep(
        kind="scan", round=0, title="Scan", folder="scan-0",
        why="No scan of this checkpoint is known: triggers are searched first.",
    ),
    AutoStep(
        kind="clean", round=1, title="Clean, round 1", folder="round-1",
        why="Finetunes with the found triggers on half of the pictures, captions unchanged.",
    ),
    AutoStep(
        kind="scan", round=1, title="Scan after round 1", folder="scan-1",
        why="The same search again, on the cleaned checkpoint.",
    ),
    AutoStep(
        kind="rebound", round=0, title="Rebound test", folder="round-1",
        why="Does the backdoor come back when the model is finetuned again?",
    ),
    AutoStep(
        kind="holdouts", round=0, title="Hold-outs", folder="round-1",
        why="Does it hold for triggers that no step saw?",
    ),
)  # fmt: skip
CAME_TO = (
    "Backdoor-like: banana. A patch of 9 px, 97.0 %.",
    "Attack success 98.0 to 0.2 %, clean accuracy 97.4 to 96.9 %.",
    "Nothing found in this search.",
    "At most 0.4 % after 300 clean steps.",
    "At worst 1.1 % is left (moved, centre).",
)
SENTENCES = (
    "After cleaning the same scan finds nothing.",
    "Within 300 steps of finetuning on clean data, the attack success rate reached 0.4 % at most.",
    "Clean accuracy: 97.4 to 96.9 %.",
)


def ended(number: int, **changes: Any) -> AutoStep:
    """A step that has come to its end."""
    fields = {"status": "finished", "sentence": CAME_TO[number], "seconds": 61.0, **changes}
    return STEPS[number].model_copy(update=fields)


def told(step: AutoStep) -> Finding:
    """What the job says of a step."""
    return Finding("step", step.model_dump(mode="json"))


def events(until: int) -> list[Event]:
    """What the job tells of its scan and of the training after it, up to a step of that."""
    metrics = [
        Metric(step, TRAINED, {"loss": 3 - step / 50, "lr": 1e-3, **rates(step)})
        for step in range(0, until + 1, 4)
    ]
    begin = [told(STEPS[0]), told(ended(0)), told(STEPS[1])]
    return [*begin, *metrics, Progress("train", until, TRAINED, 240.0, 31.0)]


def keep(
    folder: Path,
    spec: AutoSpec,
    steps: Sequence[AutoStep],
    best: str | None = None,
    comes_back: bool | None = False,
) -> dict[str, Any]:
    """What the job leaves in its folder, returned as it tells it at its end."""
    result = AutoResult(
        spec=spec, steps=tuple(steps), best=best, checkpoint=None, outcome="nothing_found",
        comes_back=comes_back, sentences=SENTENCES, seconds=300.0,
    )  # fmt: skip
    (folder / AUTO_FILE).write_text(result.model_dump_json())
    return json.loads(result.model_dump_json())
