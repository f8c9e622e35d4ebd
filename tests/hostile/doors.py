"""Every place where JSON or a text enters that a colleague or a cluster may have written.

Each door has a valid document, and reads what lies in its place. It answers with what was read, or
with one sentence; what else happens is a finding.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cleanclip_gui.clean.history import (
    list_runs,
    read_run,
    read_saved_run,
    run_metrics,
    run_points,
    was_interrupted,
)
from cleanclip_gui.clean.queue import FORMAT as QUEUE_FORMAT
from cleanclip_gui.clean.queue import QUEUE_FILE, read_queue
from cleanclip_gui.clean.result import cleaned_file, is_source, suggested_name
from cleanclip_gui.jobs.runner import MalformedEventError, read_event
from cleanclip_gui.scan.result_view import facts_text, figure_text
from cleanclip_gui.scan.tables import csv_rows, start_rows
from cleanclip_gui.session.settings import SettingsStore
from cleanclip_gui.talk.script import SHIPPED
from cleanclip_gui.talk.script import load as load_talk
from ml_core.checkpoints import choice, known
from ml_core.checkpoints.inspection_record import assess
from ml_core.cleaning.presets import preset
from ml_core.cleaning.recipes import read_recipe, write_recipe
from ml_core.cleaning.state import read_facts
from ml_core.cleaning.tradeoff import Limits
from ml_core.data.exclusions import read_exclusions
from ml_core.data.readers.coco import open_coco
from ml_core.data.readers.parquet import _feature_names
from ml_core.data.readers.shards import _from_json as captions_of
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.data.watch import unwatched
from ml_core.detection.exclude import exclude
from ml_core.detection.records import SCORES, Audit, Distribution, Standing, SuspectPair, read_audit
from ml_core.detection.scan.records import read_scan, scan_json
from ml_core.events import Done, Message, Metric, Progress, Saved, to_json
from ml_core.exports import to_csv
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.plant import PLANT_FILE, PlantRecord, read_plant
from ml_core.jobs.plant.card import card
from ml_core.jobs.proofs import HOLDOUTS_FILE, REBOUND_FILE, read_proof
from ml_core.jobs.rates import RateSpec, read_record
from ml_core.jobs.result_text import training_words
from ml_core.jobs.scan import SCAN_FILE
from ml_core.jobs.search import SEARCH_FILE, curves_of, read_search, summary_of, table_rows
from ml_core.jobs.specs import (
    EVENTS_FILE,
    RESULT_FILE,
    SPEC_FILE,
    STATE_FILE,
    BenchSpec,
    CleanSpec,
    as_measured,
    check_spec,
    read_spec,
    read_spec_file,
)
from ml_core.paths import resource
from ml_core.reading import inspect
from ml_core.reading.class_file import read_class_file
from ml_core.reading.errors import InputError
from ml_core.reading.folder import read_index
from ml_core.reading.inspection_json import from_json as read_inspection
from ml_core.reading.inspection_json import to_json as inspection_to_json
from ml_core.reading.regular_file import read_lines
from ml_core.reports.html.charts import tradeoff_svg
from ml_core.reports.measurement_files import (
    MEASUREMENT_FILE,
    LocalCheckpoint,
    LocalData,
    LocalMeasurement,
    read_measurement,
    write_measurement,
)
from ml_core.reports.record import CheckpointFacts, Evidence, MeasuredTrigger, Tool
from ml_core.reports.rows import Rows
from ml_core.reports.sarif import render_sarif
from ml_core.reports.sessions.folder import read_session
from ml_core.reports.sessions.record import SESSION_FILE, FileFacts, SavedCleaned, SavedSession
from ml_core.reports.verify.checks import Check
from ml_core.reports.verify.derived import check_alone
from ml_core.reports.verify.intact import read_environment
from ml_core.signing import PrivateKey, check_signature, keys, read_signature, sign_files
from ml_core.signing.curve import new_private_key
from ml_core.signing.manifest import read_envelope, read_statement
from ml_core.triggers import demo_trigger, load_trigger, save_trigger
from tests.bundles import ENVIRONMENT, seal, write_bundle
from tests.gui.ramps import record, rows
from tests.gui.scans import scan
from tests.gui.searches import search_record
from tests.hostile.container_bytes import safetensors

RUN = "run"


@dataclass(frozen=True)
class Door:
    """One kind of document.

    Attributes
    ----------
    file
        Where it lies below a folder.
    documents
        Valid ones.
    read
        Reads the folder; `InputError`, `JsonError` and `ValueError` of its own are answers.
    before
        Fills the folder with what lies beside.
    wrap
        Puts the text where it lies in a binary file.
    quiet
        Damage is passed over and logged: nothing is raised.
    json
        Whether it is JSON.
    inner
        It lies in something else, whose door limits its size.
    """

    file: str
    documents: tuple[bytes, ...]
    read: Callable[[Path], object]
    before: Callable[[Path], object] = lambda folder: None
    wrap: Callable[[bytes], bytes] = bytes
    quiet: bool = False
    json: bool = True
    inner: bool = False
    answers: tuple[type[Exception], ...] = field(default=(InputError,))

    def lay(self, folder: Path, raw: bytes) -> Path:
        """Write a document in its place."""
        path = folder / self.file
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.write_bytes(self.wrap(raw))
        return path

    def ask(self, folder: Path) -> bool:
        """Read; whether it was taken. What is raised besides an answer is a finding."""
        try:
            self.read(folder)
        except self.answers as error:
            check_sentence(error)
            return False
        return True


def check_sentence(error: Exception) -> None:
    """One line with an end, not too long to be read."""
    said = error.sentence if isinstance(error, InputError) else str(error)
    assert "\n" not in said, f"a line end: {said[:300]!r}"
    assert len(said) < 3000, f"{len(said)} characters: {said[:300]!r}"
    if isinstance(error, InputError):
        assert said.endswith("."), f"no end: {said[-300:]!r}"
        assert not said.startswith(("Traceback", "[Errno")), said[:300]


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _json(spec: Any) -> bytes:
    return spec.model_dump_json().encode()


def at(file: str, read: Callable[[Path], object], *documents: bytes, **more: Any) -> Door:
    """A door whose reader takes the file's path."""
    return Door(file, documents, lambda folder: read(folder / file), **more)


def of_bytes(file: str, read: Callable[[bytes], object], *documents: bytes, **more: Any) -> Door:
    """A door whose reader takes the bytes, whose size something else limits."""
    return at(file, lambda path: read(path.read_bytes()), *documents, inner=True, **more)


def _spec(folder: str = "run") -> CleanSpec:
    return CleanSpec(
        checkpoint="poisoned.safetensors",
        recipe=preset("cleanclip", "talk"),
        pairs=PairSpec(),
        images=ImageSpec(split="val"),
        target=1,
        output_dir=folder,
    )


def _result() -> dict[str, Any]:
    side = {
        "ca": 0.9, "ca_interval": [0.8, 0.95], "asr_excl": 0.5, "asr_all": 0.5, "n": 10,
        "asr_interval": [0.4, 0.6], "poisoned_accuracy": 0.1, "n_excl": 9,
    }  # fmt: skip
    pair = {"before": side, "after": side}
    return {
        **pair, "method": "cleanclip", "preset": "talk", "status": "finished", "steps": 3,
        "checkpoint": "/x/cleaned.safetensors", "source": "/x/a.pt", "source_sha256": "a" * 64,
        "recipe": preset("cleanclip", "talk").model_dump(), "total_steps": 3, "seconds": 1.5,
        "notes": ["a"], "heads": {"zero-shot": pair}, "heldout": pair, "adapter": None,
        "speed": {"autocast": False, "channels_last": None, "step_seconds": {"fp32": 0.1}},
        "cache_chunk": 0, "batch_norm": "train", "target_name": "cat", "device": "cpu",
        "checkpoint_sha256": "c" * 64,
    }  # fmt: skip


def _beside_result(folder: Path) -> None:
    run = folder / RUN
    run.mkdir(parents=True, exist_ok=True)
    (run / SPEC_FILE).write_text(_spec(str(run)).model_dump_json())


def _beside_proof(folder: Path) -> None:
    _beside_result(folder)
    (folder / RUN / RESULT_FILE).write_bytes(_dumped(_result()))


def _read_result(folder: Path) -> None:
    (run,) = list_runs(folder)  # which reads it by `read_run`
    training_words(run.result)
    suggested_name(run.result)
    is_source(None, run.result)
    as_measured(run.spec, run.result)
    if run.result:
        cleaned_file(run.result)


def _read_job(folder: Path) -> None:
    (folder / RUN / "poisoned.safetensors").touch()
    list_runs(folder)
    with suppress(InputError):
        read_saved_run(folder / RUN)
    check_spec(read_run(folder / RUN).spec)


def _read_events(folder: Path) -> None:
    run_metrics(folder / RUN)
    run_points(folder / RUN)
    was_interrupted(folder / RUN)
    assert len(list_runs(folder)) == 1


def _journal() -> bytes:
    events = (
        Progress("train", 1, 2, 3.5, None),
        Message("hello"),
        Metric(1, 2, {"loss": 1.0, "lr": 1e-3}),
        Metric(1, 2, {"ca": 0.9, "asr_excl": 0.5, "ca_low": 0.8, "ca_high": 0.95}),
        Saved("/x/steps/step-000001.safetensors", "step", 1),
        Done("finished", {"a": 1}),
    )
    return "".join(to_json(event) + "\n" for event in events).encode()


def _audit() -> dict[str, Any]:
    standings = {score.name: Standing(1.0, 1, 0.5) for score in SCORES}
    spreads = (
        Distribution(s.name, 9, 0.0, 1.0, 0.5, (0.0,) * 7, (0.0, 0.5, 1.0), (4, 5)) for s in SCORES
    )
    pairs = tuple(
        SuspectPair(index, f"{index:064x}", f"row {index}", "a cat", standings, False, 9)
        for index in range(2)
    )
    facts = {"pairs": "x.csv", "pairs_key": "a" * 64, "k": 16, "chunk_size": 64}
    worst = {score.name: (0, 1) for score in SCORES}
    return asdict(Audit(9, 1, tuple(spreads), worst, pairs, {"x": 1}, 0, ("a note",), facts))


def _read_audit(folder: Path) -> None:
    found = read_audit(folder / "audit.json")
    out = folder / "made.json"
    out.unlink(missing_ok=True)
    for name, worst in found.worst.items():
        exclude(out, found, worst[:1], name)


def _write_measurement(folder: Path) -> Path:
    """A measurement of two pictures."""
    kept = LocalMeasurement(
        when="evaluation",
        checkpoint=LocalCheckpoint(
            path="m.pt", name="m.pt", sha256=None, bytes=9, format="safetensors",
            architecture="ViT-B-32", parameters=9, safety="loads",
        ),
        data=LocalData(name="photos", key="k", known_by="content", n=2, spec=ImageSpec()),
        trigger=MeasuredTrigger(digest=demo_trigger().digest, name="x", kind="p", convention=""),
        target=0, target_name="cat", classes=2, label_set="x", classifier_sha256="c", n=2,
        n_broken=0, seed=0, precision="fp32", device="cpu", threads=1, batch=64, versions={},
    )  # fmt: skip
    two, margins = np.array([[0, 1], [1, 0]]), np.ones(2, np.float32)
    return write_measurement(
        folder, kept, {"n": 2}, Rows(np.arange(2), np.arange(2), two, margins),
        templates=["a {}"], class_names=["cat", "dog"], classifier=np.ones((2, 3), np.float32),
        pictures=b"", inspection={}, trigger=demo_trigger(),
    )  # fmt: skip


def _measurement() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        return (_write_measurement(Path(place)) / MEASUREMENT_FILE).read_bytes()


def _beside_measurement(folder: Path) -> None:
    _write_measurement(folder / "kept")


def _read_scan(folder: Path) -> None:
    """What the window computes of it."""
    found = read_scan(folder / SCAN_FILE)
    to_csv(csv_rows(found))
    facts_text(found)
    figure_text(found)
    for patches in found.stages.patches.rounds if found.stages.patches is not None else ():
        start_rows((patches,))
        assert patches.best.target == patches.target


def _session() -> bytes:
    cleaned = SavedCleaned(checkpoint="/x/c.pt", donor="/x/d.pt", alpha=0.5, shown=True)
    return _dumped(SavedSession(
        saved=1.5, folder="/x/a.session", checkpoint="/x/m.pt", donor="/x/d.pt", reference="/x/r",
        images=ImageSpec(kind="folder", path="/x/i", class_map={"a": "cat"}), label_set="/x/l.txt",
        templates=("a {}",), trigger="a" * 64, other_slot="B", other_trigger="b" * 64,
        target="cat", layout="AAAA", run="/x/run", runs=("/x/run",), scans=("/x/scan",),
        cleaned=cleaned, notes="# note", seal="c" * 64,
        files={"/x/m.pt": FileFacts(digest="a" * 64, known_by="weights", mark="1-2")},
    ).model_dump(mode="json"))  # fmt: skip


def _read_session(folder: Path) -> None:
    """What is done before anything is opened."""
    found = read_session(folder)
    assert not found.is_own
    places = dict.fromkeys(found.session.outside, "")
    assert not found.session.moved(places).outside
    found.session.content()


def _read_trigger(folder: Path) -> None:
    load_trigger(folder / "t.json")


def _trigger() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        return save_trigger(demo_trigger(), Path(place) / "t")[1].read_bytes()


def _beside_trigger(folder: Path) -> None:
    save_trigger(demo_trigger(), folder / "t")


_FACTS = {
    "step": 3, "seconds": 1.5, "start_ca": 0.9, "chunk": 0, "rate_factor": 1.0, "threads": 1,
    "speed": {"autocast": False, "channels_last": None, "step_seconds": {}},
    "recipe": {"lr": 1e-3}, "identity": "x",
}  # fmt: skip


def _as_facts(raw: bytes) -> bytes:
    """A saved state with a text as its facts."""
    text = raw.decode("utf-8", "surrogateescape")
    metadata = {"format": "cleanclip-state-1", "facts": text}
    head = {"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}, "__metadata__": metadata}
    made = json.dumps(head).encode()
    return struct.pack("<Q", len(made)) + made + bytes(8)


def _read_state(folder: Path) -> None:
    _beside_result(folder)
    read_saved_run_step(folder / RUN)
    read_facts(folder / RUN / STATE_FILE)


def read_saved_run_step(run: Path) -> None:
    """What the history asks of a saved state."""
    try:
        read_saved_run(run)
    except InputError as error:
        if "which is gone" not in error.sentence:  # it cleans a checkpoint that is not there
            raise


_RECORD = {
    "limit": 0.1, "peak_lr": 1e-3, "steps": 3, "batch_size": 2, "worst": {"max_asr": 0.1},
    "rates": [{"factor": 1.0, "points": [{"step": 1.0, "asr_excl": 0.1}]}], "notes": [],
    "stays_clean": True, "verdict": "Stays.", "checkpoint_sha256": "c" * 64,
    "spec": {"pairs": {"kind": "demo", "path": None}},
}  # fmt: skip
_HELD_OUT = {
    "rows": [
        {"group": "place", "name": "left", "measure": "asr_excl", "before": 0.9, "after": 0.1,
         "after_interval": [0.0, 0.2], "n": 9, "baseline": 0.0}
    ],
    "worst": {"group": "place", "name": "left", "after": 0.1},
    "after": {"checkpoint": "x", "sha256": "c" * 64}, "notes": ["n"], "spec": {"pairs": None},
}  # fmt: skip
_CONFIG = {
    "model_cfg": {"embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 1, "layers": 1}},
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}  # fmt: skip
_INDEX = {"metadata": {"total_size": 8}, "weight_map": {"a": "m.safetensors"}}
_COCO = {
    "info": {"year": 2014},
    "images": [{"id": 1, "file_name": "a.jpg"}],
    "annotations": [{"image_id": 1, "id": 2, "caption": "a cat"}],
}
_CHOICES = {"choices": {"a" * 64: {"day": "2026-11-26", "name": "x", "quick_gelu": True}}}
_EXCLUDED = {
    "format": "cleanclip-exclusions", "version": 1, "set_name": "x", "set_key": "a" * 64,
    "pairs": [{"identity": "b" * 64, "size": 9, "captions": None, "name": "row 1", "reason": "r"}],
}  # fmt: skip
_FEATURES = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
_CLASSES = b"""{"classes": ["cat", "dog"], "superclasses": {"pet": [0, 1]},
"templates": [lambda c: f"a photo of a {c}.", lambda c: f"the {c}"]}
"""


def _read_config(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(safetensors(bytes(8)))
    assess(inspect(folder), use_choice=False)


def _read_kept(folder: Path, module: Any, name: str) -> None:
    """Read a file of the user's folder that is laid elsewhere."""
    real = getattr(module, name)
    setattr(module, name, lambda: folder / "x.json")
    try:
        module._read() if module is choice else module.known_files()
    finally:
        setattr(module, name, real)


def _read_index(folder: Path) -> None:
    (folder / "m.safetensors").write_bytes(safetensors(bytes(8)))
    read_index(folder / "x.safetensors.index.json", "x")


def _inspection() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "m.safetensors"
        path.write_bytes(safetensors(bytes(8)))
        return inspection_to_json(inspect(path))


def _read_signature(folder: Path, key: PrivateKey) -> None:
    found = check_signature(
        read_signature(folder / "model.sig"), "model.sig", {"a": "a" * 64}, [key.public]
    )
    if found.state in ("damaged", "unsupported"):
        raise InputError(found.sentence, "damaged")


def _read_keys(folder: Path) -> None:
    real = keys.keys_dir
    keys.keys_dir = lambda: folder
    try:
        for key in keys.trusted_keys():
            key.verifies(bytes(8), b"message")
    finally:
        keys.keys_dir = real


_INSPECTED = {
    "name": "m.pt",
    "weights": "",
    "verdict": "damaged",
    "reason_code": "damaged",
    "reasons": ["m.pt does not fit."],
    "container": {"kind": "zip", "alignment": 64},
    "architecture": {"name": "x",
        "keys": {"missing": ["a"], "unexpected": ["b"],
            "wrong_shape": [{"name": "c", "found": [1, 2], "expected": [2, 1]}]}},
    "tensors": [{"name": "b", "dtype": "F32", "offset": 64, "nbytes": 8},
        {"name": "c", "dtype": "F32", "offset": 128, "nbytes": 8}],
}  # fmt: skip
_REFUSED = {
    "name": "m.pt", "verdict": "dangerous", "reason_code": "unknown_code",
    "reasons": ["m.pt names code."], "container": None, "architecture": None, "tensors": [],
    "code_places": [{"what": "posix.system", "offset": 3, "nbytes": 14}],
}  # fmt: skip


def _read_in_bundle(folder: Path) -> bytes:
    """The record of an inspection, as the SARIF log of a bundle takes it in."""
    checkpoint = CheckpointFacts(
        name="m.pt", sha256="0" * 64, bytes=1000, role="suspect", format="x", architecture="x",
        parameters=1, safety="caution", inspection="inspections/suspect.json",
    )  # fmt: skip
    evidence = Evidence(
        name="x", tool=Tool(name="x", version="1"), verdict=(), not_tested=(), limits=(),
        checkpoints={"suspect": checkpoint}, data={}, triggers={}, measurements={}, jobs={},
        scans={}, claims=(), environment="environment.json",
    )  # fmt: skip
    return render_sarif(evidence, lambda path: (folder / "i.json").read_bytes())


IN_A_BUNDLE = {
    "evidence": "evidence.json", "answers": "measurements/job-1-before/per_image.csv",
    "pictures": "data/images-1.csv", "evaluation": "measurements/job-1-before/evaluation.json",
    "scan in a bundle": "scan/scan-1/scan.json", "result in a bundle": "jobs/job-1/result.json",
}  # fmt: skip


@cache
def _bundle() -> tuple[bytes, ...]:
    """The documents of a bundle."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        made = write_bundle(Path(place) / "x.evidence")
        return tuple((made / name).read_bytes() for name in IN_A_BUNDLE.values())


def _beside_bundle(folder: Path) -> None:
    if not (folder / "x.evidence").exists():
        write_bundle(folder / "x.evidence")


def _check_bundle(folder: Path) -> None:
    """What a verification says of it, as an answer where something does not hold."""
    failed = [
        one.sentence for one in check_alone(folder / "x.evidence")
        if isinstance(one, Check) and one.state == "fails"
    ]  # fmt: skip
    for sentence in failed:
        check_sentence(InputError(sentence, "damaged"))
    if failed:
        raise InputError(failed[0], "damaged")


def _check_sealed(folder: Path) -> None:
    """As a forger leaves it, who renews the sums."""
    with suppress(OSError):  # what lies there is no file
        seal(folder / "x.evidence")
    _check_bundle(folder)


def _read_search(folder: Path) -> object:
    found = read_search(folder)
    chart = tradeoff_svg(curves_of(found), Limits(), found.ca_before)
    return table_rows(found), summary_of(found), chart


def planted() -> PlantRecord:
    """A record of a planting."""
    trigger = {"name": "patch", "target": 1, "target_name": "cat", "pairs": 3}
    attack = {"asr": 0.9, "low": 0.8, "high": 0.95, "n": 20, "base_rate": 0.1}
    model = {
        "file": "poisoned.safetensors", "sha256": "a" * 64, "steps": 6, "train_seconds": 1.0,
        "ca": 0.5, "ca_low": 0.4, "ca_high": 0.6, "n": 24, "attacks": (attack,),
    }  # fmt: skip
    return PlantRecord.model_validate({
        "key": "k", "checkpoint": "m.safetensors", "source_sha256": None, "triggers": (trigger,),
        "poisoned": model, "twin": model, "pairs": 48, "epochs": 1, "steps": 6,
        "lr": 1e-3, "peak_lr": 3e-3, "device": "cpu", "seconds": 2.0,
        "spec": {"checkpoint": "m.safetensors", "images": {}, "output_dir": "out"},
    })  # fmt: skip


@cache
def doors() -> dict[str, Door]:
    """All doors by name."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        recipe = write_recipe(preset("par", "talk"), Path(place) / "r.json").read_bytes()
    audit_spec = AuditSpec(
        checkpoint="m.pt", pairs=PairSpec(), images=(ImageSpec(),), output_dir="out"
    )
    doctor = DoctorSpec(checkpoint="m.pt", images=ImageSpec())
    bench = BenchSpec(base=_spec(), recipes=(preset("par", "talk"),), seeds=(0, 1))
    queue = {"format": QUEUE_FORMAT, "folders": ["/x/run-1", "run-2"]}
    settings = {"theme": "dark", "device": "cpu", "recent": ["/a.pt"], "last_run": "/x"}
    entry = {"title": "a", "source": "b", "names": ["*.pt"], "clean_accuracy": 0.5, "asr": 1.0}
    ada = new_private_key("Ada")
    signature = sign_files("m", {"a": "a" * 64}, ada, ["model.sig"])
    signed = read_envelope(signature, "x").payload
    trusted = {
        "format": "cleanclip-keys", "version": 1,
        "keys": [{"name": "Ada", "pem": ada.public.pem, "own": False}],
    }  # fmt: skip
    known_list = {"files": [entry, entry | {"sha256": "a" * 64}]}
    return {
        "recipe": at("r.json", read_recipe, recipe),
        "job": Door(f"{RUN}/{SPEC_FILE}", (_json(_spec()),), _read_job),
        "exported job": at("job.json", lambda p: check_spec(read_spec(p)), _json(_spec("results"))),
        "audit job": at("a.json", lambda p: read_spec_file(p, AuditSpec), _json(audit_spec)),
        "doctor job": at("d.json", lambda p: read_spec_file(p, DoctorSpec), _json(doctor)),
        "bench job": at("b.json", lambda p: read_spec_file(p, BenchSpec).jobs(), _json(bench)),
        "rates job": at(
            "q.json", lambda p: read_spec_file(p, RateSpec), _json(RateSpec(job=_spec()))
        ),
        "rates": at("rates.json", read_record, _json(record(rows(12)))),
        "plant": Door(PLANT_FILE, (_json(planted()),), lambda folder: card(read_plant(folder))),
        "search": Door(SEARCH_FILE, (_json(search_record(1)),), _read_search),
        "result": Door(f"{RUN}/{RESULT_FILE}", (_dumped(_result()),), _read_result, _beside_result),
        "events": Door(
            f"{RUN}/{EVENTS_FILE}", (_journal(),), _read_events, _beside_result, quiet=True
        ),
        "state": Door(f"{RUN}/{STATE_FILE}", (_dumped(_FACTS),), _read_state, wrap=_as_facts),
        **{
            name: Door(
                f"{RUN}/{file}", (_dumped(value),),
                lambda f, file=file: read_proof(f / RUN, file), _beside_proof,
            )
            for name, file, value in (
                ("rebound", REBOUND_FILE, _RECORD), ("holdouts", HOLDOUTS_FILE, _HELD_OUT),
            )
        },
        **{
            name: Door(
                f"x.evidence/{file}", (document,), _check_sealed, _beside_bundle,
                json=not file.endswith(".csv"), inner=name != "evidence",
            )
            for (name, file), document in zip(IN_A_BUNDLE.items(), _bundle(), strict=True)
        },
        "audit": Door("audit.json", (_dumped(_audit()),), _read_audit),
        "measurement": Door(
            f"kept/{MEASUREMENT_FILE}", (_measurement(),), lambda f: read_measurement(f / "kept"),
            _beside_measurement,
        ),
        "scan": Door(SCAN_FILE, (scan_json(scan()), scan_json(scan("unknown"))), _read_scan),
        "exclusions": at("x.json", read_exclusions, _dumped(_EXCLUDED)),
        "trigger": Door("t.json", (_trigger(),), _read_trigger, _beside_trigger),
        "queue": at(QUEUE_FILE, read_queue, _dumped(queue), quiet=True),
        "session": Door(SESSION_FILE, (_session(),), _read_session),
        "settings": Door("settings.json", (_dumped(settings),), SettingsStore, quiet=True),
        "talk": at(
            "x.json", load_talk,
            *(resource("talks", f"{name}.json").read_bytes() for name in SHIPPED),
        ),
        "layout": Door(
            "layout.json", (b'{"geometry": "AAAA", "state": "AAAA"}',),
            lambda f: SettingsStore(f).layout(), quiet=True,
        ),
        "known": Door(
            "x.json", (_dumped(known_list),), lambda f: _read_kept(f, known, "own_file")
        ),
        "choices": Door(
            "x.json", (_dumped(_CHOICES),), lambda f: _read_kept(f, choice, "remembered_file")
        ),
        "signature": Door("model.sig", (signature,), lambda f: _read_signature(f, ada)),
        "statement": of_bytes("s.json", lambda raw: read_statement(raw, "s.json"), signed),
        "environment": of_bytes("e.json", lambda raw: read_environment(raw, "e"), ENVIRONMENT),
        "keys": Door(keys.KEYS_FILE, (_dumped(trusted),), _read_keys),
        "config": Door("open_clip_config.json", (_dumped(_CONFIG),), _read_config),
        "index": Door("x.safetensors.index.json", (_dumped(_INDEX),), _read_index),
        "coco": Door(
            "c.json", (_dumped(_COCO),), lambda f: open_coco(f / "c.json", f, unwatched),
            lambda f: (f / "a.jpg").touch(),
        ),
        "sample": of_bytes(
            "s.json", captions_of, b'{"caption": "a cat", "url": "x"}', b'{"text": ["a", "b"]}',
            answers=(ValueError,),
        ),
        "features": of_bytes(
            "f.json", lambda raw: _feature_names({b"huggingface": raw}, "label"),
            _dumped(_FEATURES), quiet=True,
        ),
        "inspection": Door(
            "i.json", (_inspection(),),
            lambda f: read_inspection((f / "i.json").read_bytes(), f / "m.safetensors"), inner=True,
        ),
        "inspection record": Door(
            "i.json", (_dumped(_INSPECTED), _dumped(_REFUSED)), _read_in_bundle, inner=True
        ),
        "child": of_bytes(
            "line", lambda raw: read_event(raw.decode("utf-8", "replace").replace("\n", " ")),
            _journal().splitlines()[2], _journal().splitlines()[-1], answers=(MalformedEventError,),
        ),
        "classes": at("classes.py", read_class_file, _CLASSES, json=False),
        "list": at("list.txt", read_lines, b"cat\ndog\n", "Z\u00fcrich\n".encode(), json=False),
    }  # fmt: skip
