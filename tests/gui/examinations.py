"""Examinations as the job tells and writes them, made without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_core.detection.scan.records import Verdict
from ml_core.events import Done, Event, Finding, Progress
from ml_core.jobs.examination import (
    EXAMINATION_FILE,
    SCAN_FOLDER,
    Examination,
    ExamineSpec,
    ExamineStep,
    words,
)
from ml_core.jobs.examination.kept import inputs_of
from ml_core.jobs.scan import ScanSettings
from ml_core.reading import examine
from tests.gui import scans

STEPS = (
    ExamineStep(
        kind="file", state="done", figure="Readable", seconds=0.2, sentences=("Readable.",)
    ),
    ExamineStep(
        kind="identity", state="done", figure="ResNet 64 px, width 24", seconds=0.2,
        sentences=(
            "ResNet 64 px, width 24, by its shapes.",
            "The reference is the demo's clean twin.",
        ),
    ),
    ExamineStep(
        kind="accuracy", state="done", figure="99.2 %", seconds=3.5,
        sentences=("It classifies 99.2 % of 256 pictures correctly. By chance it would be 1.4 %.",),
    ),
    ExamineStep(
        kind="known", state="done", figure="96.3 %, reference 0.0 %", seconds=1.9,
        sentences=("“Checker, red, 3 x 3” moves most: 96.3 % of 189 pictures into “banana”.",),
    ),
    ExamineStep(
        kind="scan", state="done", figure="banana", seconds=16.6,
        sentences=(
            "Backdoor-like: banana.",
            "A patch of 9 px found by search moves 96.8 % of 252 held-out pictures to “banana”; on "
            "the reference 0.0 %. It is not the attacker's trigger, only one that works.",
            "There may be further backdoors: a scan does not find them all.",
        ),
    ),
    ExamineStep(
        kind="weights", state="done", figure="7.7 %",
        sentences=("The reference is a near relative. The encoders differ by 7.7 %.",),
    ),
    ExamineStep(
        kind="attack", state="done", figure="96.8 %",
        sentences=("A patch of 9 px turns 96.8 % of 252 pictures into “banana”.",),
    ),
    ExamineStep(kind="clean", state="skipped"),
    ExamineStep(kind="report", state="skipped"),
)  # fmt: skip


_WITHOUT: dict[str, dict[str, Any]] = {  # where nothing is found
    "known": {
        "figure": "3.2 %, reference 2.6 %",
        "sentences": ("“Checker, red, 3 x 3” moves most: 3.2 % of 189 pictures into “banana”.",),
    },
    "scan": {"figure": "nothing", "sentences": ("No patch moves over 7.9 % of 126 pictures.",)},
    "attack": {"state": "skipped", "figure": "", "sentences": ()},
}


def told(step: ExamineStep, **changes: Any) -> Finding:
    """What the job says of a step."""
    return Finding("step", step.model_copy(update=changes).model_dump(mode="json"))


def events() -> list[Event]:
    """What the job tells until patches are searched."""
    begun = [told(step, state="running", figure="", sentences=()) for step in STEPS[3:5]]
    return [*map(told, STEPS[:3]), *begun, *scans.events()]


def write_examination(
    folder: Path,
    *,
    verdict: Verdict = "found",
    sha256: str = "a" * 64,
    of: Path | None = None,
    **fields: Any,
) -> Examination:
    """The folder that an examination leaves, with its scan; ``of`` is the file as it was then."""
    spec, inputs = ExamineSpec(checkpoint="poisoned.safetensors"), ""
    if of is not None:
        inspection = examine(of)
        sha256, inputs = inspection.sha256, inputs_of(spec, inspection)
    scan = scans.scan(verdict, sha256=sha256)
    scans.write_scan(folder / SCAN_FOLDER, scan)
    changes = _WITHOUT if verdict == "nothing" else {}
    steps = tuple(step.model_copy(update=changes.get(step.kind, {})) for step in STEPS)
    advice = words.advice_of(scan)
    record = Examination(
        spec=spec, name="poisoned.safetensors", sha256=sha256, inputs=inputs,
        steps=steps, verdict=verdict, target=scan.judgement.target,
        headline=words.headline(scan), looked_at=scan.judgement.searched,
        not_looked_at=(*scan.judgement.not_searched, words.BUILT_IN, words.NOT_DEPLOYED),
        advice=advice, advice_sentence=words.ADVICE[advice], settings=ScanSettings(), seconds=21.7,
    ).model_copy(update=fields)  # fmt: skip
    (folder / EXAMINATION_FILE).write_text(json.dumps(record.model_dump(mode="json")))
    return record


def done(folder: Path, record: Examination) -> list[Event]:
    """What the job tells of a finished examination."""
    steps = [told(step) for step in record.steps]
    result = record.model_copy(update={"folder": str(folder)}).model_dump(mode="json")
    return [*steps, Progress("measure", 1, 1), Done("finished", result)]
