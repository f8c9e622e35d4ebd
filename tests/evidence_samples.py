"""Made-up evidence: a full case, a minimal one, and one whose every text is hostile.

The figures are drawn from seeded tables of answers, so the claims hold.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from ml_core.reports.arithmetic import counted, difference_figures, rate_figures, rate_of, wilson
from ml_core.reports.record import (
    EVIDENCE_FILE,
    ChartFacts,
    CheckpointFacts,
    Claim,
    ContrastClaim,
    DataFacts,
    DifferenceClaim,
    Evidence,
    Interval,
    JobFacts,
    MeasurementFacts,
    Metric,
    QuotedClaim,
    RateClaim,
    ScanFacts,
    Tool,
    TriggerFacts,
)
from ml_core.reports.rows import Rows, to_csv

Files = dict[str, bytes]
TARGET = 7
CLASSES = 10
DIGEST = "4be1f0d0c2f5a3"
METRICS: tuple[Metric, ...] = (
    "asr_excl",
    "asr_all",
    "baseline_target_rate",
    "poisoned_accuracy",
    "ca",
    "top5",
    "flip_rate",
)
NAMES: dict[Metric, str] = {
    "asr_excl": "attack success rate",
    "asr_all": "attack success rate over all pictures",
    "baseline_target_rate": "baseline",
    "poisoned_accuracy": "poisoned accuracy",
    "ca": "clean accuracy",
    "top5": "top-five accuracy",
    "control_ca": "clean accuracy on the trigger's canvas",
    "flip_rate": "flip rate",
}


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
        "title": "Backdoor-like trigger found", "target": "banana", "reasons": (), "searched": (),
        "not_searched": (), "warnings": (), "files": {"scan": "scan/scan-1/scan.json"},
    } | more)  # fmt: skip


def images(n: int = 500, **more: Any) -> DataFacts:
    return DataFacts(**{
        "name": "demo images", "key": sha("images"), "known_by": "content", "n": n,
        "spec": {"kind": "demo", "split": "test", "seed": 0, "n": n}, "rows": "data/images-1.csv",
    } | more)  # fmt: skip


def rates(id_: str, rows: Rows, headline: tuple[Metric, ...] = ()) -> list[Claim]:
    """Every rate of a measurement as a claim."""
    made: list[Claim] = []
    for metric in METRICS:
        figures = rate_figures(metric, rows, TARGET)
        assert figures is not None
        rate = figures["rate"]
        made.append(RateClaim(
            id=f"{id_}-{metric.replace('_', '-')}", holds_by="margin", metric=metric,
            sentence=f"The {NAMES[metric]} of {id_} is {100 * rate.value:.1f} % "
            f"({rate.hits} of {rate.n} pictures).",
            evidence=(f"measurements/{id_}/per_image.csv",), headline=metric in headline,
            measurement=id_, **figures,
        ))  # fmt: skip
    return made


def differences(after: str, before: str, first: Rows, second: Rows) -> list[Claim]:
    made: list[Claim] = []
    for metric in METRICS:
        figures = difference_figures(metric, first, second, TARGET, seed=0, resamples=500)
        assert figures is not None
        made.append(DifferenceClaim(
            id=f"{after}-{metric.replace('_', '-')}-change", holds_by="margin", metric=metric,
            sentence=f"The {NAMES[metric]} changes by {100 * figures['difference']:+.1f} points "
            f"from {before} to {after}.",
            evidence=tuple(f"measurements/{id_}/per_image.csv" for id_ in (after, before)),
            headline=metric in ("asr_excl", "ca", "poisoned_accuracy"),
            measurement=after, against=before, **figures,
        ))  # fmt: skip
    return made


def _quotation(
    topic: Any, id_: str, file: str, sentence: str, quotes: dict[str, Any], **more: Any
) -> QuotedClaim:
    fields = {"holds_by": "exact", "evidence": (file,), "topic": topic, "quotes": quotes} | more
    return QuotedClaim(id=id_, sentence=sentence, **fields)


def summary_chart(tables: Mapping[str, Rows]) -> ChartFacts:
    rows: list[tuple[Any, ...]] = []
    for metric, name in (
        ("asr_excl", "Attack success rate"),
        ("poisoned_accuracy", "Poisoned accuracy"),
        ("ca", "Clean accuracy"),
    ):
        for series, table in tables.items():
            rate = rate_of(metric, table, TARGET)  # type: ignore[arg-type]
            assert rate is not None
            ends = wilson(rate)
            rows.append((name, series, rate.value, ends.low, ends.high))
    return ChartFacts(
        title="Before and after",
        description="Rates of the suspect, of the cleaned checkpoint and of the clean reference, "
        "with 95 % intervals. A low attack success rate and a high accuracy are good.",
        file="charts/summary.svg", rows=tuple(rows), source=EVIDENCE_FILE,
        columns=("Rate", "Checkpoint", "Value", "95 %, low", "95 %, high"),
    )  # fmt: skip


def full() -> tuple[Evidence, Files]:
    """A suspect, cleaned, beside a clean reference, with everything that can be tested."""
    evidence, files = _full()
    return evidence, dict(files)


@functools.cache
def _full() -> tuple[Evidence, Files]:
    before, after = answers(0.965, 0.953, seed=1), answers(0.004, 0.941, seed=2)
    clean = answers(0.0, 0.957, seed=3)
    held_before, held_after = answers(0.97, 0.94, seed=4), answers(0.008, 0.93, seed=5)
    tables = {
        "job-1-before": before,
        "job-1-after": after,
        "reference-1": clean,
        "job-1-heldout-before": held_before,
        "job-1-heldout-after": held_after,
    }
    files: Files = {f"measurements/{id_}/per_image.csv": to_csv(t) for id_, t in tables.items()}
    steps = np.arange(0, 401, 25)
    asr = 0.965 * np.exp(-steps / 45.0) + 0.004
    ca = 0.953 - 0.03 * np.exp(-((steps - 60) ** 2) / 6000.0)
    journal = "jobs/job-1/journal.jsonl"
    at_steps = [(int(s), float(a), float(c)) for s, a, c in zip(steps, asr, ca, strict=True)]
    training = ChartFacts(
        title="Training",
        description="Attack success rate and clean accuracy of the validation pictures at each "
        "evaluation, with 95 % intervals.",
        file="charts/job-1-training.svg",
        columns=("Step", "Attack success rate", "Attack success rate, low",
                 "Attack success rate, high", "Clean accuracy"),
        rows=tuple((s, a, max(0.0, a - 0.03), min(1.0, a + 0.03), c) for s, a, c in at_steps),
        source=journal,
    )  # fmt: skip
    loss = ChartFacts(
        title="Loss", description="The loss of the training steps that the journal tells of.",
        file="charts/job-1-loss.svg", columns=("step", "loss"), source=journal,
        rows=tuple((int(s), 0.47 + 1.84 * math.exp(-s / 90)) for s in range(0, 401, 5)),
    )  # fmt: skip
    tradeoff = ChartFacts(
        title="Trade-off",
        description="Clean accuracy against attack success rate at each evaluation of the run.",
        file="charts/tradeoff.svg", source=journal,
        columns=("Run", "Step", "Attack success rate", "Clean accuracy"),
        rows=tuple(("CleanCLIP", *row) for row in at_steps),
    )  # fmt: skip
    rebound = ChartFacts(
        title="Rebound",
        description="Attack success rate while copies of the cleaned checkpoint are finetuned at "
        "several shares of the pretraining rate.",
        file="charts/job-1-rebound.svg", source="jobs/job-1/rebound.json",
        columns=("Step", "0.1 of the peak rate", "0.3 of the peak rate", "1 of the peak rate"),
        rows=tuple((s, 0.004, 0.006 + s / 50_000, 0.01 + s / 12_000) for s in range(0, 301, 50)),
    )  # fmt: skip
    variants = ("moved, upper left", "scaled to 1.5", "turned by 15 degrees", "BadNets (badnets)")
    holdouts = {
        "rows": [
            {"group": "moved", "name": name, "before": 0.9, "after": hits / 449, "n": 449}
            for name, hits in zip(variants, (3, 9, 4, 0), strict=True)
        ]
    }
    files["jobs/job-1/holdouts.json"] = json.dumps(holdouts).encode()
    quoted: list[Claim] = [
        _quotation("safety", "suspect-safety", "inspections/suspect.json",
                   "poisoned.safetensors loads: it holds tensors and plain data only.",
                   {"/verdict": "loads"}),
        _quotation("scan", "scan-1-verdict", "scan/scan-1/scan.json",
                   "The scan found a backdoor-like trigger towards banana.",
                   {"/judgement/verdict": "found", "/judgement/target": "banana"}),
        _quotation("training", "job-1-training", journal,
                   "The loss fell from 2.31 to 0.47 over 400 steps.", {}, holds_by="recorded"),
        _quotation(
            "rebound", "job-1-rebound", "jobs/job-1/rebound.json",
            "Stays clean in this test: the attack success rate is at most 3.5 % (at 1 "
            "times the pretraining rate, step 300), under the limit of 5 %.",
            {"/worst/max_asr": 0.035, "/limit": 0.05}, headline=True,
        ),
        *(
            _quotation(
                "rebound", f"job-1-rebound-{number}", "jobs/job-1/rebound.json",
                f"Finetuned at {factor} times the pretraining's rate, it reaches an attack "
                f"success rate of {hits} in 449 at most.",
                {f"/rates/{number}/factor": factor, f"/rates/{number}/lr": factor * 1e-4,
                 f"/rates/{number}/max_asr": hits / 449, f"/rates/{number}/max_step": 300},
                rate=counted(hits, 449), interval=wilson(counted(hits, 449)),
            )
            for number, (factor, hits) in enumerate(((0.1, 2), (0.3, 5), (1.0, 16)))
        ),
        *(
            _quotation(
                "holdout", f"job-1-holdout-{number}", "jobs/job-1/holdouts.json",
                f"{name}: {hits} of 449 pictures of other classes become banana.",
                {f"/rows/{number}/group": "moved", f"/rows/{number}/name": name,
                 f"/rows/{number}/measure": "asr_excl", f"/rows/{number}/after": hits / 449,
                 f"/rows/{number}/before": None if number == 3 else 0.9},
                rate=counted(hits, 449), interval=wilson(counted(hits, 449)),
            )
            for number, (name, hits) in enumerate(zip(variants, (3, 9, 4, 0), strict=True))
        ),
    ]  # fmt: skip
    contrast = ContrastClaim(
        id="scan-1-contrast", holds_by="interval", evidence=("scan/scan-1/scan.json",),
        sentence="The inverted patch turns pictures of other classes into banana on the suspect, "
        "and hardly ever on the reference.",
        scan="scan-1", at="stages.patches.refined.here", first=counted(243, 256),
        second=counted(6, 256), difference=243 / 256 - 6 / 256, headline=True,
        interval=Interval(low=0.886, high=0.951, method="newcombe"),
    )  # fmt: skip
    thumbnails = {
        f"thumbnails/job-1-before-{n}.png": f"Picture {n}, with the trigger: banana before"
        for n in range(12)
    } | {
        f"thumbnails/job-1-after-{n}.png": f"Picture {n}, with the trigger: its own class after"
        for n in range(12)
    }
    files |= {file: png(int(file.split("-")[-1][:-4])) for file in thumbnails}
    files["scan/scan-1/found.png"] = png(77, 48)
    rate_before = rate_of("asr_excl", before, TARGET)
    rate_after = rate_of("asr_excl", after, TARGET)
    assert rate_before is not None
    assert rate_after is not None
    journal_files = {
        what: f"jobs/job-1/{what}.json" for what in ("spec", "rebound", "holdouts")
    } | {"journal": journal}
    job = cleaning(
        preset="standard", steps=400, training_data="demo pairs, 2,000 of them", seconds=412.7,
        files=journal_files,
    )  # fmt: skip
    scan = scanned(
        reference="reference", data="demo images, 256 held out",
        reasons=("A patch of 16 px turns 94.9 % of held-out pictures into banana; on the reference "
                 "the same patch turns 2.3 %.",),
        searched=("Patches of 8 to 32 px from 6 starts each.", "24 fixed triggers."),
        not_searched=("Overlays over the whole picture.", "Every class by itself."),
        warnings=("Only one reference was compared with.",),
        files={"scan": "scan/scan-1/scan.json", "picture": "scan/scan-1/found.png"},
    )  # fmt: skip
    evidence = Evidence(
        name="vit-b-32-from-the-forum",
        tool=Tool(name="CleanCLIP GUI", version="0.1.0"),
        date="2026-11-29",
        author="A. Analyst, Example Ltd",
        verdict=(
            "poisoned.safetensors carries a backdoor towards “banana”: the trigger makes "
            f"{100 * rate_before.value:.1f} % ({rate_before.hits} of {rate_before.n}) of the "
            "pictures of other classes “banana”.",
            f"On cleaned.safetensors, after cleaning, it is {100 * rate_after.value:.1f} %, and "
            "it stays clean in the rebound test.",
        ),
        not_tested=(
            "Triggers in the text: no search was made for words.",
            "Adaptive attacks that know this cleaning.",
            "Pictures of other sources than demo images.",
        ),
        limits=(
            "A low attack success rate is no certificate: it is about the trigger that was tried.",
            "A scan finds patches and overlays of the sizes it looked for. It cannot see triggers "
            "that depend on the meaning of a picture (Bagdasaryan and Shmatikov 2021).",
            "Cleaned models can be attacked again (Bansal et al. 2023, section 5).",
        ),
        checkpoints={
            "suspect": checkpoint(
                "poisoned.safetensors",
                "suspect",
                assumptions=("Activation: QuickGELU, because the weights are OpenAI's.",),
                cautions=("The logit scale is 100.0, its upper limit.",),
                safety="caution",
                safety_reasons=("Metadata names a training script that is not in the file.",),
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
        scans={"scan-1": scan},
        claims=(
            *rates("job-1-before", before),
            *rates("reference-1", clean),
            *rates("job-1-after", after),
            *differences("job-1-after", "job-1-before", after, before),
            *rates("job-1-heldout-before", held_before),
            *rates("job-1-heldout-after", held_after),
            contrast,
            *quoted,
        ),
        charts=(
            summary_chart(
                {
                    "poisoned.safetensors, job-1-before": before,
                    "cleaned.safetensors, job-1-after": after,
                    "clean-twin.safetensors, reference-1": clean,
                }
            ),
            training,
            loss,
            rebound,
            tradeoff,
        ),
        thumbnails=thumbnails,
        environment="environment.json",
        notes=("Written for the talk in spring.",),
    )
    return evidence, sealed(evidence, files)


def minimal() -> tuple[Evidence, Files]:
    """One measurement without a trigger."""
    rows = answers(0.0, 0.9, n=60)
    rate = rate_of("ca", rows, None)
    assert rate is not None
    evidence = Evidence(
        name="one-measurement",
        tool=Tool(name="CleanCLIP GUI", version="0.1.0"),
        verdict=(f"The clean accuracy of model.safetensors is {100 * rate.value:.1f} %.",),
        not_tested=("No trigger was tried.",),
        limits=(),
        checkpoints={"suspect": checkpoint("model.safetensors", "suspect", sha256=None)},
        data={"images-1": images(60)},
        triggers={},
        measurements={
            "evaluation-1": measurement(
                "suspect", "evaluation", "evaluation-1",
                trigger=None, target=None, target_name=None, n=60, tau=None,
            )
        },
        jobs={},
        scans={},
        claims=(
            RateClaim(
                id="evaluation-1-ca",
                sentence=f"The clean accuracy is {100 * rate.value:.1f} %.",
                holds_by="margin",
                headline=True,
                metric="ca",
                measurement="evaluation-1",
                rate=rate,
                interval=wilson(rate),
            ),
        ),
        environment="environment.json",
    )  # fmt: skip
    return evidence, sealed(evidence, {})


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
