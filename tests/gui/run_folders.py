"""Folders of runs as a job leaves them, written without one."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ml_core.cleaning.catalogue import Method
from ml_core.cleaning.presets import preset
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Event, Metric, Saved, to_json
from ml_core.jobs.specs import EVENTS_FILE, RESULT_FILE, SPEC_FILE, CleanSpec, write_spec
from ml_core.triggers import demo_trigger, save_trigger

STEPS = 100
CLEANED_SHA256 = "c" * 64


def rates(step: int, *, floor: float = 0.03, dip: float = 0.05) -> dict[str, float]:
    """Rates of a run that works: attack success falls, accuracy dips and comes back."""
    share = step / STEPS
    ca = 0.972 - dip * math.sin(math.pi * share) - 0.01 * share
    asr = floor + (0.98 - floor) * math.exp(-5 * share)
    return {
        "ca": ca, "ca_low": ca - 0.01, "ca_high": ca + 0.01, "asr_excl": asr,
        "asr_low": asr - 0.01, "asr_high": asr + 0.01, "poisoned_accuracy": 0.9 * (1 - asr),
    }  # fmt: skip


def write_run(
    parent: Path,
    name: str,
    *,
    method: Method = "cleanclip",
    checkpoint: Path | None = None,
    kept: bool = True,
    end: Done | None = None,
    started: bool = True,
    begun: float = 1_790_000_000.0,
    floor: float = 0.03,
    dip: float = 0.05,
    linear: bool = False,
    **recipe: Any,
) -> Path:
    """A run of 100 steps, evaluated at every 20; finished unless ``end`` says otherwise.

    A ``linear`` head is a tenth worse.
    """
    folder = parent / name
    folder.mkdir(parents=True)
    trigger = save_trigger(demo_trigger(), folder / "trigger")[1]
    made = preset(method, "talk").changed(
        **{"pairs": STEPS * 64, "batch_size": 64, "epochs": 1, "eval_every": 20, **recipe}
    )
    source = checkpoint or parent / "poisoned.safetensors"
    pairs = method != "supervised"
    spec = CleanSpec(
        checkpoint=str(source), recipe=made, pairs=PairSpec() if pairs else None,
        training_images=None if pairs else ImageSpec(split="clean"), trigger=str(trigger),
        target=0, output_dir=str(folder), device="cpu", keep_steps=kept,
    )  # fmt: skip
    write_spec(spec, folder / SPEC_FILE)
    os.utime(folder / SPEC_FILE, (begun, begun))
    if not started:
        return folder
    events: list[Event] = []
    for step in range(STEPS + 1):
        if step:
            values = {"loss": 3 - step / 50, "clip": 2 - step / 60, "lr": 1e-3}
            events.append(Metric(step, STEPS, values))
        if step % 20 == 0:
            values = rates(step, floor=floor, dip=dip)
            if linear:
                values |= {f"linear_{key}": value - 0.1 for key, value in values.items()}
            events.append(Metric(step, STEPS, values))
            if kept:
                path = folder / "steps" / f"step-{step:06}.safetensors"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"weights")
                events.append(Saved(str(path), "step", step))
    last = end or Done("finished")
    if last.error_code != "killed":
        events.append(last)
    if last.status in ("finished", "stopped"):
        (folder / "cleaned.safetensors").write_bytes(b"cleaned")
        (folder / RESULT_FILE).write_text(json.dumps(result_of_run(folder, spec, floor, dip)))
    (folder / EVENTS_FILE).write_text("".join(to_json(event) + "\n" for event in events))
    return folder


def result_of_run(folder: Path, spec: CleanSpec, floor: float, dip: float) -> dict[str, Any]:
    """What ``result.json`` holds."""
    before, after = rates(0, floor=floor, dip=dip), rates(STEPS, floor=floor, dip=dip)

    def side(values: dict[str, float]) -> dict[str, Any]:
        return {
            "ca": values["ca"], "ca_interval": [values["ca_low"], values["ca_high"]],
            "asr_excl": values["asr_excl"], "asr_all": values["asr_excl"],
            "asr_interval": [values["asr_low"], values["asr_high"]],
            "poisoned_accuracy": values["poisoned_accuracy"],
            "baseline_target_rate": 0.015, "n": 4000, "n_excl": 3900,
        }  # fmt: skip

    return {
        "method": spec.recipe.method, "preset": spec.recipe.preset, "status": "finished",
        "checkpoint": str(folder / "cleaned.safetensors"), "checkpoint_sha256": CLEANED_SHA256,
        "source": spec.checkpoint,
        "seconds": 84.0, "seed": 0, "steps": STEPS, "total_steps": STEPS, "device": "cpu",
        "precision": "bf16", "target_name": "banana", "before": side(before),
        "after": side(after),
        "heldout": {"before": {"ca": 0.74, "ca_interval": [0.71, 0.77]},
                    "after": {"ca": 0.735, "ca_interval": [0.7, 0.76]}},
    }  # fmt: skip


LIMIT = 0.05  # of a rebound test


def _point(step: int, asr: float) -> dict[str, Any]:
    return {"step": step, "asr_excl": asr, "asr_low": asr - 0.005, "asr_high": asr + 0.005,
            "ca": 0.95, "poisoned_accuracy": 0.9}  # fmt: skip


def rebound_record(worst: float = 0.03) -> dict[str, Any]:
    """What a rebound test found, whose worst rate is given."""
    clean = worst <= LIMIT
    return {
        "kind": "rebound", "limit": LIMIT, "peak_lr": 1.5e-3, "steps": 300, "batch_size": 64,
        "pairs": 19_200, "left_out": {"seen": 40_000, "target": 640}, "n": 3900,
        "rates": [
            {"factor": factor, "lr": 1.5e-3 * factor, "max_asr": worst, "max_step": 150,
             "points": [_point(0, 0.01), _point(150, worst * factor), _point(300, 0.012)]}
            for factor in (0.1, 0.3, 1.0)
        ],
        "worst": {"factor": 1.0, "max_asr": worst, "step": 150}, "stays_clean": clean,
        "verdict": "Stays clean in this test." if clean else "The backdoor comes back.",
        "checkpoint_sha256": CLEANED_SHA256, "notes": [], "versions": {}, "seconds": 90.0,
    }  # fmt: skip


def holdouts_record() -> dict[str, Any]:
    """What a hold-outs test found."""

    def row(group: str, name: str, measure: str, before: float, after: float, **more: Any) -> Any:
        return {"group": group, "name": name, "measure": measure, "before": before,
                "after": after, "after_interval": [max(after - 0.01, 0), after + 0.01],
                "n": 1000, "baseline": 0.014, "note": "", **more}  # fmt: skip

    return {
        "kind": "holdouts", "n": 1000,
        "rows": [
            row("itself", "as it was", "asr_excl", 0.98, 0.02),
            row("moved", "centre", "asr_excl", 0.95, 0.11, note="moved by <8> pixels"),
            row("moved", "corner", "asr_excl", 0.97, 0.03),
            row("retrieval", "own answer first", "recall@1", 0.40, 0.36, baseline=None),
        ],
        "worst": {"group": "moved", "name": "centre", "after": 0.11},
        "notes": ["No other label set was named."], "versions": {}, "seconds": 20.0,
    }  # fmt: skip
