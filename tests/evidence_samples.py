"""Made-up evidence: a full case, a minimal one, and one whose every text is hostile.

Answers are drawn at random with seeds; claims and charts are what the program derives from them.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from ml_core.evaluation.records import wilson_interval
from ml_core.events import Metric, to_json
from ml_core.reports import write_bundle
from ml_core.reports.arithmetic import judged
from ml_core.reports.derive import evidence_from, scan_facts
from ml_core.reports.measurement_files import json_bytes, prompts_text
from ml_core.reports.record import (
    EVIDENCE_FILE,
    CheckpointFacts,
    DataFacts,
    Evidence,
    JobFacts,
    MeasurementFacts,
    ScanFacts,
    TriggerFacts,
)
from ml_core.reports.rows import Rows, to_csv
from tests.gui.scans import scan as a_scan

Files = dict[str, bytes]
TARGET = 7
CLASSES = 10
DIGEST = "4be1f0d0c2f5a3"
PROMPTS = prompts_text(
    ("a photo of a {}.",),
    ("apple", "pear", "cheese", "cactus", "guitar", "frog", "rose", "banana", "car", "house"),
)


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def answers(asr: float, ca: float, *, n: int = 500, seed: int = 0) -> Rows:
    """Answers of a model with about this attack success rate and clean accuracy."""
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(99).integers(0, CLASSES, n)

    def tops(first: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        others = [[c for c in range(CLASSES) if c != f][:4] for f in first]
        return np.column_stack([first, others]).astype(np.int64)

    clean = np.where(rng.random(n) < ca, labels, (labels + 1) % CLASSES)
    kept = np.where(rng.random(n) < ca * 0.97, labels, (labels + 2) % CLASSES)
    triggered = np.where(rng.random(n) < asr, TARGET, kept)
    return Rows(
        indices=np.arange(n),
        labels=labels,
        clean_top=tops(clean),
        clean_margin=rng.random(n).astype(np.float32),
        triggered_top=tops(triggered),
        triggered_margin=rng.random(n).astype(np.float32),
    )


def png(seed: int, size: int = 96) -> bytes:
    """A soft pattern with a sticker."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 220, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    picture.paste((230, 60, 40), (size - 24, size - 24, size - 6, size - 6))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def checkpoint(name: str, role: Any, **more: Any) -> CheckpointFacts:
    return CheckpointFacts(**{
        "name": name, "sha256": sha(name), "bytes": 605_157_884, "role": role,
        "format": "safetensors", "architecture": "ViT-B-32", "parameters": 151_277_313,
        "safety": "loads",
        "safety_reasons": ("The file holds tensors and plain data only.",),
    } | more)  # fmt: skip


def measurement(checkpoint: str, when: Any, files: str, **more: Any) -> MeasurementFacts:
    at = f"measurements/{files}"
    return MeasurementFacts(**{
        "when": when, "checkpoint": checkpoint, "data": "images-1", "trigger": DIGEST,
        "target": TARGET, "target_name": "banana", "classes": CLASSES, "label_set": "demo",
        "classifier_sha256": sha(checkpoint + "texts"), "n": 500, "n_broken": 1, "seed": 0,
        "precision": "fp32", "device": "cpu", "threads": 2, "batch": 64,
        "versions": {"torch": "2.13.0", "open_clip": "3.2.0"}, "tau": 3.4e-05,
        "tau_pictures": 256, "evaluation": f"{at}/evaluation.json",
        "per_image": f"{at}/per_image.csv", "per_class": None, "prompts": f"{at}/prompts.txt",
        "classifier": None,
    } | more)  # fmt: skip


def sticker(**more: Any) -> TriggerFacts:
    return TriggerFacts(**{
        "digest": DIGEST, "name": "Demo sticker", "kind": "patch",
        "convention": "stamped on the model's canvas",
        "files": (f"triggers/{DIGEST}.json", f"triggers/{DIGEST}.png"),
    } | more)  # fmt: skip


def cleaning(**more: Any) -> JobFacts:
    return JobFacts(**{
        "method": "cleanclip", "title": "CleanCLIP", "preset": "quick", "status": "finished",
        "source": "suspect", "result": "cleaned", "seed": 0, "steps": 10, "training_data": "",
        "precision": "fp32", "device": "cpu", "files": {},
    } | more)  # fmt: skip


def scanned(**more: Any) -> ScanFacts:
    return ScanFacts(**{
        "suspect": "suspect", "reference": None, "data": "images-1", "verdict": "found",
        "title": "Backdoor-like: banana", "target": "banana", "reasons": (), "searched": (),
        "not_searched": (), "warnings": (), "files": {"scan": "scan/scan-1/scan.json"},
    } | more)  # fmt: skip


def images(n: int = 500, **more: Any) -> DataFacts:
    return DataFacts(**{
        "name": "demo images", "key": sha("images"), "known_by": "content", "n": n,
        "spec": {"kind": "demo", "split": "test", "seed": 0, "n": n}, "rows": "data/images-1.csv",
    } | more)  # fmt: skip


def rebound_record() -> dict[str, Any]:
    """A rebound test that stays clean, at three rates."""
    rates = []
    for factor, most in ((0.1, 2), (0.3, 5), (1.0, 16)):
        points = []
        for step in range(0, 301, 50):
            hits = most * step // 300
            low, high = wilson_interval(hits, 449)
            points.append({
                "step": float(step), "asr_hits": hits, "asr_n": 449, "asr_excl": hits / 449,
                "asr_low": low, "asr_high": high,
            })  # fmt: skip
        rates.append({
            "factor": factor, "lr": factor * 1e-4, "diverged": None, "points": points,
            "max_asr": most / 449, "max_step": 300, "hits": most, "n": 449,
        })  # fmt: skip
    return {"limit": 0.05, "steps": 300, "batch_size": 64, "rates": rates, **judged(rates, 0.05)}


def journal() -> bytes:
    """What a run tells of its losses and evaluations."""
    lines = []
    for step in range(0, 401, 5):
        lines.append(Metric(step, 400, {"loss": 0.47 + 1.84 * math.exp(-step / 90)}))
        if step % 25 == 0:
            asr = 0.965 * math.exp(-step / 45) + 0.004
            ca = 0.953 - 0.03 * math.exp(-((step - 60) ** 2) / 6000)
            lines.append(Metric(step, 400, {
                "ca": ca, "asr_excl": asr,
                "asr_low": max(0.0, asr - 0.03), "asr_high": min(1.0, asr + 0.03),
            }))  # fmt: skip
    return "".join(f"{to_json(line)}\n" for line in lines).encode()


def full() -> tuple[Evidence, Files]:
    """A suspect, cleaned, beside a clean reference, with everything that can be tested."""
    evidence, files = _full()
    return evidence, dict(files)


@functools.cache
def _full() -> tuple[Evidence, Files]:
    tables = {
        "job-1-before": answers(0.965, 0.953, seed=1),
        "job-1-after": answers(0.004, 0.941, seed=2),
        "reference-1": answers(0.0, 0.957, seed=3),
        "job-1-heldout-before": answers(0.97, 0.94, seed=4),
        "job-1-heldout-after": answers(0.008, 0.93, seed=5),
    }
    variants = ("moved, upper left", "scaled to 1.5", "turned by 15 degrees", "BadNets (badnets)")
    holdouts = [
        {"group": "moved", "name": name, "measure": "asr_excl", "after": hits / 449,
         "before": None if name == variants[-1] else 0.9, "after_hits": hits, "n": 449}
        for name, hits in zip(variants, (3, 9, 4, 0), strict=True)
    ]  # fmt: skip
    inspection = {
        "name": "poisoned.safetensors", "verdict": "caution", "reason_code": "note",
        "sha256": sha("poisoned.safetensors"), "format": "safetensors",
        "reasons": ["Metadata names a training script that is not in the file."],
    }  # fmt: skip
    found = a_scan("found")
    place = "jobs/job-1"
    job = cleaning(
        preset="standard", steps=400, training_data="demo pairs, 2,000 of them", seconds=412.7,
        files={
            "journal": f"{place}/journal.jsonl",
            **{what: f"{place}/{what}.json" for what in ("spec", "result", "rebound", "holdouts")},
        },
    )  # fmt: skip
    thumbnails = {
        f"thumbnails/job-1-{when}-{n}.png": f"Picture {n}, with the trigger: {words}"
        for when, words in (("before", "banana before"), ("after", "its own class after"))
        for n in range(12)
    }
    files: Files = {
        **{f"measurements/{id_}/per_image.csv": to_csv(rows) for id_, rows in tables.items()},
        **{f"measurements/{id_}/prompts.txt": PROMPTS for id_ in tables},
        "inspections/suspect.json": json_bytes(inspection),
        f"{place}/journal.jsonl": journal(),
        f"{place}/result.json": json_bytes({"method": "cleanclip", "status": "finished"}),
        f"{place}/rebound.json": json_bytes(rebound_record()),
        f"{place}/holdouts.json": json_bytes({"rows": holdouts}),
        "scan/scan-1/scan.json": json_bytes(found.model_dump(mode="json")),
        "scan/scan-1/found.png": png(77, 48),
        **{file: png(int(file.split("-")[-1][:-4])) for file in thumbnails},
    }
    evidence = evidence_from(
        write_bundle.reading(files),
        name="vit-b-32-from-the-forum",
        date="2026-11-29",
        author="A. Analyst, Example Ltd",
        checkpoints={
            "suspect": checkpoint(
                "poisoned.safetensors",
                "suspect",
                assumptions=("Activation: QuickGELU, because the weights are OpenAI's.",),
                cautions=("The logit scale is 100.0, its upper limit.",),
                safety="caution",
                safety_reasons=tuple(inspection["reasons"]),
                inspection="inspections/suspect.json",
            ),
            "cleaned": checkpoint("cleaned.safetensors", "cleaned"),
            "reference": checkpoint("clean-twin.safetensors", "reference"),
        },
        data={"images-1": images()},
        triggers={DIGEST: sticker()},
        measurements={
            "job-1-before": measurement("suspect", "before", "job-1-before", job="job-1"),
            "job-1-after": measurement(
                "cleaned", "after", "job-1-after", job="job-1", tau_changed=2
            ),
            "reference-1": measurement("reference", "reference", "reference-1"),
            "job-1-heldout-before": measurement(
                "suspect", "before", "job-1-heldout-before", job="job-1", heldout=True
            ),
            "job-1-heldout-after": measurement(
                "cleaned", "after", "job-1-heldout-after", job="job-1", heldout=True, tau=None
            ),
        },
        jobs={"job-1": job},
        scans={
            "scan-1": scanned(
                reference="reference", **scan_facts(found.judgement),
                data="demo images, 256 held out",
                files={"scan": "scan/scan-1/scan.json", "picture": "scan/scan-1/found.png"},
            )
        },
        thumbnails=thumbnails,
        notes=("Written for the talk in spring.",),
    )  # fmt: skip
    return evidence, sealed(evidence, files)


def minimal() -> tuple[Evidence, Files]:
    """One measurement without a trigger."""
    rows = replace(answers(0.0, 0.9, n=60), triggered_top=None, triggered_margin=None)
    place = "measurements/evaluation-1"
    files = {f"{place}/per_image.csv": to_csv(rows), f"{place}/prompts.txt": PROMPTS}
    evidence = evidence_from(
        write_bundle.reading(files),
        name="one-measurement",
        checkpoints={"suspect": checkpoint("model.safetensors", "suspect", sha256=None)},
        data={"images-1": images(60)},
        measurements={
            "evaluation-1": measurement(
                "suspect", "evaluation", "evaluation-1",
                trigger=None, target=None, target_name=None, n=60, tau=None,
            )
        },
    )  # fmt: skip
    return evidence, sealed(evidence, files)


HOSTILE = "<script>alert(1)</script>\"'&amp;{{7*7}}\u202egnp.exe\u2066\x00\x1b[31m\u05d0"


def hostile() -> tuple[Evidence, Files]:
    """The full case with a hostile text wherever one can stand."""
    evidence, files = full()
    record = evidence.model_dump(mode="json")
    kept = {
        "kind", "id", "metric", "measurement", "against", "holds_by", "role", "when", "head",
        "topic", "checkpoint", "trigger", "scan", "digest", "sha256", "donor", "adapter", "at",
        "job", "source", "result", "suspect", "reference", "method",
    }  # fmt: skip

    ids = {id_ for part in ("data", "jobs") for id_ in record[part]}

    def spoilt(value: Any, name: str) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one, name) for one in value]
        if not isinstance(value, str) or name in kept or _is_path(value) or value in ids:
            return value
        return f"{HOSTILE}{value}"

    made: dict[str, Any] = {}
    for name, value in record.items():
        made[name] = value if name in ("schema_version", "date") else spoilt(value, name)
    for id_, scan in record["scans"].items():
        made["scans"][id_]["verdict"] = scan["verdict"]
    first = made["checkpoints"]["suspect"]
    first["name"] = "x" * 6000
    evidence = Evidence.model_validate(made)
    return evidence, sealed(evidence, files)


def reading(files: Files) -> Callable[[str], bytes]:
    """What `render_html` reads with."""
    return files.__getitem__


def sealed(evidence: Evidence, files: Files) -> Files:
    told = json.dumps(evidence.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    return files | {EVIDENCE_FILE: told.encode()}


def _is_path(value: str) -> bool:
    return " " not in value and (("/" in value and "." in value) or value.endswith(".json"))
