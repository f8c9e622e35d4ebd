"""Folders that a report is made of, as jobs leave them, and a draft; made without a model."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cleanclip_gui.report.parts import measurements_dir, runs_dir
from ml_core.data.specs import ImageSpec
from ml_core.jobs.specs import RESULT_FILE, SPEC_FILE
from ml_core.reports.html.report import render_html
from ml_core.reports.measurement_files import (
    MEASUREMENT_FILE,
    LocalCheckpoint,
    LocalData,
    LocalMeasurement,
    json_bytes,
)
from ml_core.reports.record import Evidence, MeasuredTrigger
from tests.evidence_samples import full, reading
from tests.gui.run_folders import write_run

SHA = "a" * 64


@dataclass(frozen=True)
class FakeDraft:
    """A report that was put together."""

    evidence: Evidence
    html: bytes


@functools.cache
def draft() -> FakeDraft:
    """Everything that can be tested, as a report."""
    evidence, files = full()
    return FakeDraft(evidence, render_html(evidence, reading(files)))


def kept_measurement(
    folder: Path,
    when: Literal["before", "after", "evaluation", "reference"] = "evaluation",
    *,
    trigger: bool = True,
) -> Path:
    """The record of a measurement; its answers are left out, as no list reads them."""
    stamp = MeasuredTrigger(
        digest="d" * 64, name="Demo sticker", kind="patch", convention="as drawn"
    )
    kept = LocalMeasurement(
        when=when,
        checkpoint=LocalCheckpoint(
            path="/elsewhere/poisoned.safetensors", name="poisoned.safetensors", sha256=SHA,
            bytes=7, format="safetensors", architecture="RN50", parameters=9, safety="loads",
        ),
        data=LocalData(
            name="Demo, test split", key="key", known_by="hash", n=400,
            spec=ImageSpec(kind="demo", split="test"),
        ),
        trigger=stamp if trigger else None, target=1, target_name="banana", classes=8,
        label_set="demo", classifier_sha256=hashlib.sha256(b"c").hexdigest(), n=400, n_broken=0,
        seed=0, precision="fp32", device="cpu", threads=1, batch=64, versions={},
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MEASUREMENT_FILE).write_bytes(json_bytes(kept.model_dump(mode="json")))
    return folder


def measured(name: str, **fields: Any) -> Path:
    """A measurement among those of the open checkpoint."""
    return kept_measurement(measurements_dir(SHA) / name, **fields)


def run_of(name: str = "first", *, sha256: str = SHA, answers: bool = True) -> Path:
    """A finished run of the open checkpoint; older ones kept no ``answers``."""
    folder = write_run(runs_dir(), name)
    result = json.loads((folder / RESULT_FILE).read_text())
    (folder / RESULT_FILE).write_text(json.dumps(result | {"source_sha256": sha256}))
    spec = json.loads((folder / SPEC_FILE).read_text())
    spec["test_images"] = ImageSpec(kind="demo", split="test", n=123).model_dump(mode="json")
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    if answers:
        kept_measurement(folder / "measurements/before", "before")
        kept_measurement(folder / "measurements/after", "after")
    return folder
