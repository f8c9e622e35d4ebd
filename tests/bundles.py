"""A small evidence bundle that holds, made without a model; and the seal a forger can renew."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_core import __version__
from ml_core.detection.scan.records import Rate as ScanRate
from ml_core.detection.scan.records import Scan, Stages, newcombe
from ml_core.detection.scan.verdict import judge
from ml_core.evaluation import metrics
from ml_core.evaluation.records import Evaluation
from ml_core.reading.errors import InputError
from ml_core.reports import arithmetic
from ml_core.reports.derive import INTERVALS, evidence_from
from ml_core.reports.environment import Environment, Processor, Torch
from ml_core.reports.html.charts import draw_charts
from ml_core.reports.measurement_files import (
    json_bytes,
    per_class_csv,
    prompts_text,
    read_measurement,
)
from ml_core.reports.record import (
    EVIDENCE_FILE,
    PDF_FILE,
    SIGNATURE_FILE,
    SUMS_FILE,
    CheckpointFacts,
    DataFacts,
    Evidence,
    MeasurementFacts,
    Metric,
    TriggerFacts,
)
from ml_core.reports.rows import Rows, to_csv
from ml_core.reports.write_bundle import reading, views
from ml_core.reports.write_bundle import write_bundle as write
from ml_core.triggers import demo_trigger, save_trigger
from ml_core.triggers.descriptions import describe
from tests.evidence_samples import checkpoint, cleaning, images, measurement, scanned, sticker
from tests.gui.scans import scan as a_scan

N, CLASSES, TARGET = 120, 6, 2
NAMES = ("apple", "banana", "cheese", "cactus", "guitar", "frog")
TEMPLATES = ("a photo of a {}.", "the {}.")
RATES: tuple[Metric, ...] = ("ca", "top5", "asr_excl", "asr_all", "baseline_target_rate",
                             "poisoned_accuracy", "flip_rate")  # fmt: skip

ENVIRONMENT = json_bytes(
    Environment(
        tool={"version": __version__}, python={"version": "3.13.1"}, packages={"torch": "2.9.0"},
        system={"name": "Linux"}, settings={},
        processor=Processor(name="CPU", cores=2, flags=("avx2",)),
        torch=Torch(
            version="2.9.0", git=None, cuda=None, cudnn=None, hip=None, mkl=True, mkldnn=True,
            openmp=True, cpu_capability="AVX2", threads=1, matmul_precision="highest",
            cudnn_tf32=False, deterministic=False, gpus=(),
        ),
    ).model_dump(mode="json")
)  # fmt: skip


def rows(poisoned: bool, seed: int = 0) -> Rows:
    """Answers to N pictures of which a trigger moves most, or hardly any, to the target."""
    draw = np.random.default_rng(seed)
    labels = np.arange(N, dtype=np.int64) % CLASSES

    def answers(share: float, towards: int | None) -> NDArray[np.int64]:
        first = labels.copy()
        hit = draw.random(N) < share
        first[hit] = (first[hit] + 1) % CLASSES if towards is None else towards
        others = np.stack([np.delete(np.arange(CLASSES), one)[:4] for one in first])
        return np.concatenate([first[:, None], others], axis=1).astype(np.int64)

    return Rows(
        indices=np.arange(N, dtype=np.int64),
        labels=labels,
        clean_top=answers(0.05, None),
        clean_margin=draw.random(N).astype(np.float32) * 9,
        triggered_top=answers(0.95 if poisoned else 0.04, TARGET),
        triggered_margin=draw.random(N).astype(np.float32) * 9,
    )


def evaluation(found: Rows, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation with these answers writes."""
    values: dict[str, Any] = {}
    for name in RATES:
        figures = arithmetic.rate_figures(name, found, TARGET)
        assert figures is not None
        values[name] = figures["rate"].value
        if INTERVALS[name]:
            values[INTERVALS[name]] = (figures["interval"].low, figures["interval"].high)
    return Evaluation(
        n=len(found), n_total=len(found), n_labelled=len(found),
        n_excl=int(metrics.not_target(found.labels, TARGET).sum()),
        target=TARGET, target_name=NAMES[TARGET], **values, **facts,
    ).to_dict()  # fmt: skip


def valid_scan() -> Scan:
    """A scan whose intervals and verdict follow from its counts."""
    stages = a_scan().stages.model_dump()
    _with_intervals(stages)
    made = a_scan().model_copy(update={"stages": Stages.model_validate(stages)})
    found = made.found
    assert found is not None
    contrast = found.contrast.model_dump()
    _with_intervals(contrast)
    judged = judge(
        made.stages, held_out=made.held_out, classes=len(made.classes),
        suspect=made.suspect, reference=made.reference,
    )  # fmt: skip
    fields = made.model_dump() | {
        "judgement": judged.model_dump(), "found": found.model_dump() | {"contrast": contrast}
    }  # fmt: skip
    return Scan.model_validate(fields)


def _with_intervals(value: Any) -> None:
    if isinstance(value, dict):
        if {"suspect", "low", "high"} <= set(value):
            first = ScanRate(**value["suspect"])
            if "own" in value:
                both = [value[name] for name in ("transferred", "own") if value[name] is not None]
                beside = max((ScanRate(**rate) for rate in both), key=lambda rate: rate.value)
            else:
                beside = ScanRate(**(value["reference"] or value["without"]))
            value["low"], value["high"] = newcombe(first, beside)
        for item in value.values():
            _with_intervals(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _with_intervals(item)


def _pictures() -> bytes:
    out = io.StringIO(newline="")
    write = csv.writer(out, lineterminator="\n")
    write.writerow(("index", "name", "sha256", "bytes", "label"))
    for index in range(N):
        digest = hashlib.sha256(b"%d" % index).hexdigest()
        write.writerow((index, f"{NAMES[index % CLASSES]}/{index}.png", digest, 100, index % 6))
    return out.getvalue().encode()


def write_bundle(folder: Path, *, pdf: bool = False) -> Path:
    """Write the bundle; the folder."""
    from safetensors.numpy import save

    files: dict[str, bytes] = {}
    trigger = demo_trigger()
    with tempfile.TemporaryDirectory() as place:
        save_trigger(trigger, Path(place) / trigger.digest)
        trigger_files = sorted(Path(place).iterdir(), key=lambda one: one.suffix != ".json")
        files |= {f"triggers/{one.name}": one.read_bytes() for one in trigger_files}
    trigger_names = tuple(files)
    files["data/images-1.csv"] = _pictures()
    files["environment.json"] = ENVIRONMENT
    classifier = np.random.default_rng(1).normal(size=(CLASSES, 8)).astype(np.float32)
    digest = hashlib.sha256(classifier.tobytes()).hexdigest()
    same: dict[str, Any] = {
        "trigger": trigger.digest, "trigger_name": trigger.name, "seed": 3, "precision": "fp32",
        "device": "cpu", "versions": {"torch": "2.9.0"}, "classifier_sha256": digest,
        "data_key": "key", "templates": TEMPLATES,
    }  # fmt: skip
    tables = {"job-1-before": rows(True), "job-1-after": rows(False, 1)}
    measurements: dict[str, MeasurementFacts] = {}
    sides: dict[str, Any] = {}
    for id_, found in tables.items():
        when = id_.removeprefix("job-1-")
        place = f"measurements/{id_}"
        files[f"{place}/per_image.csv"] = to_csv(found)
        files[f"{place}/per_class.csv"] = per_class_csv(found, NAMES, TARGET)
        sides[when] = evaluation(found, same)
        files[f"{place}/evaluation.json"] = json_bytes(sides[when])
        files[f"{place}/prompts.txt"] = prompts_text(TEMPLATES, NAMES)
        files[f"{place}/classifier.safetensors"] = save({"classifier": classifier})
        measurements[id_] = measurement(
            "suspect" if when == "before" else "cleaned", when, id_, job="job-1",
            trigger=trigger.digest, target=TARGET, target_name=NAMES[TARGET], classes=CLASSES,
            label_set="six", classifier_sha256=digest, n=N, n_broken=0, seed=3, threads=1,
            versions={"torch": "2.9.0"}, tau=1e-3, tau_pictures=N,
            per_class=f"{place}/per_class.csv", classifier=f"{place}/classifier.safetensors",
        )  # fmt: skip
    result = {
        "method": "cleanclip", "preset": "talk", "status": "finished", "seed": 7, "steps": 40,
        "training_data": "demo", "precision": "fp32", "device": "cpu", **sides,
        "heads": {"zero-shot": sides}, "heldout": None, "train_seconds": 12.5,
    }  # fmt: skip
    files["jobs/job-1/result.json"] = json_bytes(result)
    found_scan = valid_scan()
    files["scan/scan-1/scan.json"] = json_bytes(found_scan.model_dump(mode="json"))
    checkpoints = {
        role: checkpoint(
            f"{role}.safetensors", role, sha256=hashlib.sha256(role.encode()).hexdigest(),
            bytes=len(role), architecture="RN50", parameters=9, safety_reasons=(),
        )
        for role in ("suspect", "cleaned")
    }  # fmt: skip
    data = {"images-1": images(
        N, name="Six classes", key="key", known_by="hash", spec={"kind": "folder"},
    )}  # fmt: skip
    triggers = {trigger.digest: sticker(
        digest=trigger.digest, name=trigger.name, kind=trigger.kind, convention=describe(trigger),
        files=trigger_names,
    )}  # fmt: skip
    jobs = {"job-1": cleaning(
        preset="talk", seed=7, steps=40, training_data="demo", seconds=12.5,
        files={"result": "jobs/job-1/result.json"},
    )}  # fmt: skip
    parts = ("verdict", "title", "target", "reasons", "searched", "not_searched", "warnings")
    judgement = {name: getattr(found_scan.judgement, name) for name in parts}
    scans = {"scan-1": scanned(data=found_scan.images, **judgement)}
    evidence = evidence_from(
        reading(files), name="synthetic", checkpoints=checkpoints, data=data, triggers=triggers,
        measurements=measurements, jobs=jobs, scans=scans,
    )  # fmt: skip
    return files_written(evidence, files, folder, pdf=pdf)


def files_written(
    evidence: Evidence, files: dict[str, bytes], folder: Path, *, pdf: bool = False
) -> Path:
    """As the program writes a bundle."""
    files |= draw_charts(evidence)
    if pdf:
        evidence = evidence.model_copy(update={"pdf": PDF_FILE})
    return write(evidence, files, folder, views=[one for one in views() if pdf or not one.asked])


def seal(folder: Path) -> Path:
    """Make views of the record as it is and SHA256SUMS anew, as whoever forged a file would."""
    record = folder / EVIDENCE_FILE
    with suppress(ValueError, LookupError, TypeError, OSError, InputError):
        # of some records no view can be made; a pipe would be waited for
        evidence = Evidence.model_validate_json(record.read_bytes() if record.is_file() else b"")
        made = dict(draw_charts(evidence))
        for view in views():
            if (folder / view.path).exists() and not view.asked:
                made[view.path] = view.render(evidence, lambda path: (folder / path).read_bytes())
        for name, content in made.items():
            (folder / name).write_bytes(content)
    return sums(folder)


def sums(folder: Path) -> Path:
    """Make SHA256SUMS anew."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    lines = (
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in names if name not in (SUMS_FILE, SIGNATURE_FILE)
    )  # fmt: skip
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")
    return folder


def zipped(folder: Path, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """The same as a zip."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for one in sorted(folder.rglob("*")):
            if one.is_file():
                archive.write(one, one.relative_to(folder).as_posix())
    return path


def bundle_of_kept(out: Path, kept: Path, tau: float | None = 1e-3) -> Path:
    """The bundle of one kept measurement, ``evaluation-1``, of the checkpoint ``suspect``."""
    found = read_measurement(kept)
    facts, place = found.facts, "measurements/evaluation-1"
    names = ("evaluation.json", "per_image.csv", "per_class.csv", "prompts.txt",
             "classifier.safetensors")  # fmt: skip
    files = {f"{place}/{name}": (kept / name).read_bytes() for name in names}
    files["data/images-1.csv"] = (kept / "pictures.csv").read_bytes()
    files["environment.json"] = ENVIRONMENT
    triggers = {}
    if facts.trigger is not None:
        digest = facts.trigger.digest
        for suffix in (".json", ".png", ".safetensors"):
            if (kept / f"trigger{suffix}").exists():
                files[f"triggers/{digest}{suffix}"] = (kept / f"trigger{suffix}").read_bytes()
        own = tuple(name for name in files if name.startswith("triggers/"))
        triggers[digest] = facts.trigger.to(TriggerFacts, files=own)
    spec = facts.data.spec.model_dump(mode="json", exclude={"path"})
    measured = facts.to(
        MeasurementFacts, checkpoint="suspect", data="images-1",
        trigger=None if facts.trigger is None else facts.trigger.digest, tau=tau,
        **{f"{name}": f"{place}/{file}" for name, file in zip(
            ("evaluation", "per_image", "per_class", "prompts", "classifier"), names, strict=True
        )},
    )  # fmt: skip
    evidence = evidence_from(
        reading(files), name="measured",
        checkpoints={"suspect": facts.checkpoint.to(CheckpointFacts, role="suspect")},
        data={"images-1": facts.data.to(DataFacts, spec=spec, rows="data/images-1.csv")},
        triggers=triggers, measurements={"evaluation-1": measured},
    )  # fmt: skip
    return files_written(evidence, files, out)
