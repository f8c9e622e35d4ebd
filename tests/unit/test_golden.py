"""What the program writes, beside the files of `tests/golden`; `pytest --update` rewrites them."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from ml_core import __version__
from ml_core.checkpoints.inspection_record import assess, inspection_record
from ml_core.cleaning.catalogue import METHODS
from ml_core.cleaning.rate_range import RateRow, propose
from ml_core.cleaning.recipes import make_recipe
from ml_core.cli.app import COMMANDS, app, load, run_command
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done, Event, Finding, Message, Metric, Progress, Saved, to_json
from ml_core.jobs.audit import AuditSpec
from ml_core.jobs.cluster import export_job
from ml_core.jobs.doctor import DoctorSpec
from ml_core.jobs.measurement import MeasurementSpec
from ml_core.jobs.plant import CurveSpec, PlantSpec, SecondAttack
from ml_core.jobs.proofs import HoldoutSpec, ReboundSpec
from ml_core.jobs.rates import RateSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import ScanSpec
from ml_core.jobs.search import SearchSpec
from ml_core.jobs.specs import CleanSpec, read_spec_file, write_spec_file
from ml_core.jobs.verify import VerifySpec
from ml_core.reading import inspect
from ml_core.reports.exports import EVIDENCE_FORMATS, export_evidence
from ml_core.reports.html.charts import draw_charts, planted_svg, rate_svg
from ml_core.reports.inspection_exports import inspection_bytes
from ml_core.reports.sessions.folder import write_session
from ml_core.reports.sessions.record import FileFacts, SavedCleaned, SavedSession
from ml_core.triggers import LIBRARY, demo_trigger, save_trigger
from tests import evidence_samples
from tests.bundles import write_bundle
from tests.unit.official_schemas import check_cyclonedx_schema, check_intoto, check_sarif

GOLDEN = Path(__file__).parents[1] / "golden"
ENDINGS = {
    "text": "txt", "json": "json", "sarif": "sarif", "html": "html", "cdx": "cdx.json",
    "intoto": "intoto.json", "model-card": "yml",
}  # fmt: skip
HOSTILE = "<script>alert(1)</script>\u202e\"'&"
DANGEROUS = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."

Texts = Mapping[str, str]
"""What a writer writes: texts by the names of their golden files."""


def settled(text: str, folder: Path) -> str:
    """The text without what differs between machines, days and versions."""
    for place, name in ((str(folder), "{folder}"), (os.environ["CLEANCLIP_HOME"], "{home}")):
        text = text.replace(place, name)
    text = text.replace(__version__, "{version}")
    text = re.sub(r"picklescan [\d.]+", "picklescan {version}", text)
    text = re.sub(r"(Read with +│ )[^\n]*", r"\1{sandbox}", text)
    text = re.sub(r"base64,[\w+/=]+", "base64,{picture}", text)
    text = re.sub(r'("saved": )[\d.]+', r"\1{time}", text)
    text = re.sub(r'("seal": )"\w+"', r'\1"{seal}"', text)
    return re.sub(r'("mark": )"[\d-]+"', r'\1"{mark}"', text)


# ---- the writers: each gives its files from an empty folder ----


def helps(_: Path) -> Texts:
    """What ``--help`` says of each command, without the frames that depend on typer's version."""
    root = typer.main.get_command(app)
    root.commands = {name: load(name) for name in COMMANDS}  # type: ignore[attr-defined]
    return {f"help/{name}.txt": text for name, text in _helps(root, "")}


def _helps(command: Any, parent: str) -> Iterator[tuple[str, str]]:
    name = f"{parent} {command.name}".strip()
    about = re.sub(r"(?<!\n)\n(?![\n ])", " ", (command.help or "").strip())
    lines = [name, "", about, ""]
    for part in command.params:
        words = [*part.opts, *part.secondary_opts]
        facts = ["required" if part.required else f"default {_default(part)}", *_limits(part)]
        facts += ["repeatable"] * bool(part.multiple or part.nargs != 1)
        facts += ["hidden"] * bool(getattr(part, "hidden", False))
        lines.append(f"{', '.join(words)} ({'; '.join(facts)}): {getattr(part, 'help', '') or ''}")
    yield name.replace(" ", "-"), "\n".join(lines) + "\n"
    for child in getattr(command, "commands", {}).values():
        yield from _helps(child, name)


def _limits(part: Any) -> Iterator[str]:
    for end in ("min", "max"):
        limit = getattr(part, end, getattr(getattr(part, "type", None), end, None))
        if limit is not None:
            yield f"{end} {limit}"


def _default(part: Any) -> str:
    shown = getattr(part, "show_default", None)
    return shown if isinstance(shown, str) else str(part.default)


def inspections(folder: Path) -> Texts:
    """An inspection in each format: of code, of hostile names, of an empty file."""
    (folder / "a b<i>.pkl").write_bytes(DANGEROUS)
    (folder / "empty.pt").write_bytes(b"")
    tensors = {HOSTILE: np.zeros(2, np.float32), "half": np.ones(1, np.float16)}
    save_file(tensors, folder / "hostile.safetensors", {"note": HOSTILE})
    save_file(tensors, folder / "renamed.pt")
    texts = {}
    for path in folder.iterdir():
        record = inspection_record(assess(inspect(path)))
        record |= {"sandbox": {"network": "closed"}, "path": path.name}
        for form in ("json", "sarif", "html", "cdx"):
            name = f"inspection/{path.stem.partition(' ')[0]}.{ENDINGS[form]}"
            texts[name] = inspection_bytes(record, form).decode()
    return texts


def evidence(_: Path) -> Texts:
    """A record in each format and its charts; the page also of the least and of hostile texts."""
    full, files = evidence_samples.full()
    texts = {
        f"full.{ENDINGS[form]}": export_evidence(full, files.__getitem__, form)
        for form in EVIDENCE_FORMATS
    }
    minimal, hostile = evidence_samples.minimal(), evidence_samples.hostile()
    texts["minimal.html"] = export_evidence(minimal[0], minimal[1].__getitem__, "html")
    texts["hostile.html"] = export_evidence(hostile[0], hostile[1].__getitem__, "html")
    return {f"evidence/{name}": text.decode() for name, text in (texts | draw_charts(full)).items()}


def printed(folder: Path) -> Texts:
    """What commands print that only read."""
    (folder / "code.pkl").write_bytes(DANGEROUS)
    save_file({"a": np.zeros(3, np.float32)}, folder / "a.safetensors")
    save_file({"a": np.ones(3, np.float32)}, folder / "b.safetensors")
    texts = {}
    for line in (
        f"inspect {folder}/code.pkl", "recipes list", "recipes show cleanclip", "triggers list",
        "triggers show T1", "known list", "key list",
        f"compare {folder}/a.safetensors {folder}/b.safetensors",
    ):  # fmt: skip
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
            run_command(shlex.split(line))
        name = line.replace(str(folder), "").replace("/", "").replace(" ", "-")
        texts[f"printed/{name}.txt"] = out.getvalue()
    return texts


def bundle(folder: Path) -> Texts:
    """Every text of a bundle."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in write_bundle(folder / "bundle").rglob("*.*")
        if path.is_file() and path.suffix not in (".png", ".safetensors")
    }


def session(folder: Path) -> Texts:
    """A session with everything in it."""
    trigger = demo_trigger()
    saved = SavedSession(
        checkpoint="/data/m.pt", donor="/data/d.pt", reference="/data/r.pt", trusted="/data/t.pt",
        images=ImageSpec(kind="folder", path="/data/images", class_map={"a": "apple"}, n=7),
        label_set="demo", templates=("a {}",), trigger=trigger.digest, other_slot="B",
        other_trigger=trigger.digest, target="banana", station="clean", layout="AAA=",
        run="/data/run", runs=("/data/run",), scans=("/data/scan",), notes="# Ü\n",
        cleaned=SavedCleaned(checkpoint="/data/c.pt", shown=True), checkpoints=("/data/downloads",),
        files={"/data/m.pt": FileFacts(digest="a" * 64, known_by="weights", mark="1-2")},
    )  # fmt: skip
    write_session(folder, saved, [trigger])
    return {"session/session.json": (folder / "session.json").read_text(encoding="utf-8")}


IMAGES = ImageSpec(kind="csv", path="/data/images.csv", label_column="class", n=100, seed=3)
PAIRS = PairSpec(kind="shards", path="/data/{0..3}.tar", exclude="/data/bad.json")
MODEL = {"checkpoint": "/data/suspect.pt", "donor": "/data/donor.pt"}
MACHINE = {"device": "cpu", "threads": 2}
SETTING = {"label_set": "/data/classes.txt", "templates": ("a {}",), "target": 4}
CLEANING = CleanSpec.model_validate({
    **MODEL, **SETTING, **MACHINE, "recipe": make_recipe({"method": "cleanclip"}),
    "pairs": PAIRS, "images": IMAGES, "test_images": IMAGES, "trigger": "/data/trigger.json",
    "output_dir": "/data/run", "reference": "/data/clean.pt", "keep_steps": True, "minutes": 2.5,
    "speed": {"autocast": True, "channels_last": False, "step_seconds": {"fp32": 0.5}},
})  # fmt: skip
SPECS = {
    "clean": CLEANING,
    "doctor": DoctorSpec.model_validate({
        **MODEL, **MACHINE, "images": IMAGES, "label_set": "demo",
    }),
    "audit": AuditSpec.model_validate({
        **MODEL, **MACHINE, "pairs": PAIRS, "reference": PairSpec(), "images": (IMAGES,),
        "output_dir": "/data/audit", "unit": True,
    }),
    "report": ReportSpec(
        runs=("/data/run",), scans=("/data/scan",), measurements=("/data/measured",),
        out="/data/report.zip", name="A report", author="A. Analyst", pdf=True, notes=("A note.",),
        tau_pictures=7, device="cpu", threads=2,
    ),
    "rebound": ReboundSpec.model_validate({
        **MODEL, **SETTING, **MACHINE, "pairs": PAIRS, "seen": IMAGES, "images": IMAGES,
        "trigger": "/data/trigger.json", "output_dir": "/data/run", "peak_lr": 1e-4,
    }),
    "holdouts": HoldoutSpec.model_validate({
        **SETTING, **MACHINE, "before": "/data/suspect.pt", "after": "/data/cleaned.safetensors",
        "images": IMAGES, "pairs": PAIRS, "other_labels": "/data/others.txt",
        "trigger": "/data/trigger.json", "output_dir": "/data/run",
    }),
    "scan": ScanSpec.model_validate({
        **MODEL, **MACHINE, "reference": "/data/clean.pt", "images": IMAGES, "starts": 4,
        "label_set": "/data/classes.txt", "templates": ("a {}",), "stages": ("pull", "patches"),
        "output_dir": "/data/scan", "anyway": True,
    }),
    "plant": PlantSpec.model_validate({
        **MODEL, **SETTING, **MACHINE, "pairs": PAIRS, "images": IMAGES, "count": 75, "source": 3,
        "trigger": "/data/trigger.json", "variants": "/data/variants", "minutes": 2.5,
        "also": (SecondAttack(trigger="/data/other.json", target=5),), "output_dir": "/data/plant",
    }),
    "curve": CurveSpec.model_validate({
        "counts": (5, 75), "base": {**MODEL, **SETTING, **MACHINE, "pairs": PAIRS,
        "images": IMAGES, "trigger": "/data/trigger.json", "output_dir": "/data/curve"},
    }),
    "search": SearchSpec(
        base=CLEANING, recipes=(make_recipe({"method": "supervised"}),), minutes=3.0,
        rebound_steps=20,
    ),
    "measurement": MeasurementSpec.model_validate({
        **MODEL, **SETTING, **MACHINE, "images": IMAGES, "trigger": "/data/trigger.json",
        "when": "reference", "output_dir": "/data/measured",
    }),
    "verify": VerifySpec(
        bundle="/data/report.zip", checkpoints=("/data/suspect.pt",),
        images={"images-1": "/data/images"}, sample=None, key="/data/key.pub", strict=True,
    ),
    "rates": RateSpec(job=CLEANING, low=1e-5, high=1e-3, output_dir="/data/rates"),
}  # fmt: skip


def specs(folder: Path) -> Texts:
    """A job of every kind, as its file and as what is read from the file again."""
    texts = {}
    for kind, spec in SPECS.items():
        path = write_spec_file(spec, folder / f"{kind}.json")
        assert read_spec_file(path, type(spec)) == spec
        texts[f"specs/{kind}.json"] = path.read_text(encoding="utf-8")
    return texts


def exported(folder: Path) -> Texts:
    """A job for a cluster."""
    save_trigger(demo_trigger(), folder / "trigger")
    job = CLEANING.model_copy(update={"trigger": str(folder / "trigger.json"), "device": "cuda:0"})
    paths = export_job(job, folder / "job", processes=4)
    return {
        f"cluster/{path.name}": path.read_text(encoding="utf-8")
        for path in paths
        if path.suffix in (".json", ".slurm", ".sh")
    }


def recipes(_: Path) -> Texts:
    """What each method's recipe says unless it is told otherwise."""
    made = {method: make_recipe({"method": method}) for method in METHODS}
    return {f"recipes/{name}.json": one.model_dump_json(indent=1) for name, one in made.items()}


def events(_: Path) -> Texts:
    """What a worker tells the window, a line each."""
    told: tuple[Event, ...] = (
        Message("Halved.", "warning"),
        Progress("train", 3, 10, 1.5),
        Metric(3, 10, {"loss": 0.25, "ca": float("nan")}),
        Finding("class", {"name": "banana"}),
        Saved("/data/run/cleaned.safetensors", "checkpoint"),
        Done("failed", error="It is gone.", error_code="damaged", details="errno 2"),
    )
    return {"events.jsonl": "".join(f"{to_json(event)}\n" for event in told)}


def rates(_: Path) -> Texts:
    """The chart of a rate finder."""
    rows = [RateRow(0, 0.0, ca=0.9, ca_low=0.85, ca_high=0.94)]
    for step in range(1, 13):
        ca = 0.9 if step < 8 else 0.9 - 0.15 * (step - 7)
        loss = 2.0 / step if step < 10 else 3.0
        rows.append(RateRow(step, 1e-6 * 10 ** (step / 3), loss, ca, ca - 0.03, ca + 0.03))
    return {"rates.svg": rate_svg(rows, propose(rows))}


def curve(_: Path) -> Texts:
    """The chart of a success rate over the number of poisoned pairs."""
    rates = {"ca": 0.9, "ca_low": 0.85, "ca_high": 0.94}
    rows = []
    for place, count in enumerate((5, 20, 75, 300, 1200, 5000)):
        asr = 0.18 * place
        low, high = max(0.0, asr - 0.05), min(1.0, asr + 0.05)
        rows.append({"count": count, "asr": asr, "asr_low": low, "asr_high": high, **rates})
    record = {"trigger": "<patch>", "target": "cat", "pairs": 30720, "steps": 240, "rows": rows}
    return {"curve.svg": planted_svg(record)}


def triggers(folder: Path) -> Texts:
    """The file of every trigger of the library."""
    texts = {}
    for entry in LIBRARY:
        trigger = entry.make(entry.sizes[0] if entry.sizes else 224)
        _, path = save_trigger(trigger, folder / entry.id)
        texts[f"triggers/{entry.id}.json"] = path.read_text(encoding="utf-8")
    return texts


WRITERS: tuple[Callable[[Path], Texts], ...] = (
    helps, printed, inspections, evidence, bundle, session, specs, exported, recipes, events, rates,
    curve, triggers,
)  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_it_writes_what_it_wrote(writer, tmp_path, pytestconfig, monkeypatch):
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    texts = {name: settled(text, tmp_path) for name, text in writer(tmp_path).items()}
    assert texts
    if pytestconfig.getoption("--update"):
        for name, text in texts.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text, encoding="utf-8")
    for name, text in texts.items():
        assert text == (GOLDEN / name).read_text(encoding="utf-8"), name
    folders = {Path(name).parts[0] for name in texts if "/" in name}
    old = {p.relative_to(GOLDEN).as_posix() for f in folders for p in (GOLDEN / f).rglob("*.*")}
    assert {name for name in old if (GOLDEN / name).is_file()} == {n for n in texts if "/" in n}


# ---- what holds of any document that is written ----


def _golden(ending: str) -> Any:
    return pytest.mark.parametrize(
        "path", sorted(GOLDEN.rglob(f"*.{ending}")), ids=lambda path: path.stem
    )


class _Tags(html.parser.HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


@_golden("html")
def test_a_page_runs_and_fetches_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert not set("\u202e\u2066\x00\x1b") & set(text)
    tags = _Tags(text).tags
    active = {"script", "link", "iframe", "object", "embed", "form", "base", "video"}
    assert not active & {tag for tag, _ in tags}
    for _, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("src", "data:image/png;").startswith("data:image/png;")
        target = attributes.get("href", "#")
        assert target == "#" or any(one.get("id") == target[1:] for _, one in tags)
    (policy,) = [a["content"] for _, a in tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


@_golden("sarif")
def test_a_sarif_log_holds_to_its_schema(path):
    check_sarif(json.loads(path.read_text(encoding="utf-8")))


@_golden("cdx.json")
def test_a_bill_of_materials_holds_to_its_schema(path):
    bom = json.loads(path.read_text(encoding="utf-8"))
    check_cyclonedx_schema(bom)
    references = list(_values(bom, "bom-ref"))
    assert len(references) == len(set(references))
    assert set(_values(bom, "ref")) <= set(references)


def _values(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value[key]] if key in value else []
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _values(item, key)


@_golden("intoto.json")
def test_a_statement_holds_to_its_specification(path):
    check_intoto(path.read_bytes())


@_golden("svg")
def test_a_chart_is_a_document(path):
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    for mark in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(mark.attrib["cx"]) <= width
        assert 0 <= float(mark.attrib["cy"]) <= height
