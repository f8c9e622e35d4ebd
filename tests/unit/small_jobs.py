"""Jobs on the demo that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml_core.cleaning.halving import Rung, rungs
from ml_core.cleaning.recipes import Recipe, make_recipe
from ml_core.data.specs import ImageSpec
from ml_core.events import Control, run_to_end
from ml_core.jobs.demo import demo_spec
from ml_core.jobs.inputs import Inputs, opening_inputs
from ml_core.jobs.specs import CleanSpec
from ml_core.model import ClipModel
from ml_core.ranks import ALONE, Ranks

TEMPLATES = ("a {}",)


def small_recipe(**fields: Any) -> Recipe:
    small = {
        "pairs": 48,
        "batch_size": 8,
        "warmup_steps": 2,
        "eval_every": 0,
        "save_every": 0,
        "precision": "fp32",
        "batch_norm": "frozen" if fields.get("method") == "unlearning" else "train",
    }
    return make_recipe(small | fields)


def drawn_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of files are decoded in this process: to start another takes seconds."""
    monkeypatch.setattr("ml_core.jobs.inputs.picture_processes", lambda *_: 0)


def few_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversaries that grow hardly at all, where a test is not about their growth."""
    monkeypatch.setattr("ml_core.cleaning.adversaries._DIRECTION_CLIMBS", 2)
    monkeypatch.setattr("ml_core.cleaning.adversaries._PATCH_CLIMBS", 2)


def two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search starts with runs of two steps, whatever this machine's speed, and keeps its plan."""

    def planned(times: list[float], _fixed: float, budget: float) -> tuple[Rung, ...]:
        return rungs(len(times), 2) if budget > 1 else ()

    monkeypatch.setattr("ml_core.jobs.search.run.plan", planned)
    monkeypatch.setattr("ml_core.jobs.search.run._MOST_MORE", 0)


def small_spec(source: Path, folder: Path, recipe: Recipe, **changes: Any) -> CleanSpec:
    spec = demo_spec(recipe, folder, trigger=None, checkpoint=source, device="cpu", threads=1)
    fields: dict[str, Any] = {
        "templates": TEMPLATES,
        "images": None,
        "test_images": ImageSpec(split="test", n=36),
        "heldout_images": None,
    }
    return spec.model_copy(update=fields | changes)


def open_inputs(spec: CleanSpec, model: ClipModel, ranks: Ranks = ALONE) -> Inputs:
    """Open the data of a job, without events."""
    return run_to_end(opening_inputs(spec, model, Control(), ranks))
