"""A bundle from a tiny run: what is in it, that it is the same twice, and what it leaves out."""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml_core.checkpoints import open_checkpoint
from ml_core.checkpoints.save import save_checkpoint
from ml_core.cli.app import run_command
from ml_core.data.specs import ImageSpec
from ml_core.events import Done
from ml_core.jobs.auto import AUTO_FILE, AutoResult, AutoSpec
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.scan import SCAN_SPEC, TRIGGER_STEM, ScanSpec
from ml_core.jobs.specs import SAVED_FILE, CleanSpec, write_spec_file
from ml_core.paths import resource
from ml_core.reading import InputError, examine
from ml_core.reports.record import Evidence, Tool
from ml_core.reports.without_paths import WithoutPaths
from ml_core.reports.write_bundle import out_of, write_bundle
from ml_core.triggers import Trigger, demo_trigger, save_trigger
from tests.gui.scans import scan as made_scan
from tests.gui.scans import write_scan
from tests.unit.draining import done_of, finished
from tests.unit.small_jobs import small_recipe, small_spec

FEW = 16  # pictures that are measured again


def _report(tau_pictures: int = 0, **fields: Any) -> Done:
    return done_of(ReportSpec(tau_pictures=tau_pictures, threads=1, **fields))


def _files(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in sorted(bundle.rglob("*"))
        if path.is_file()
    }


def _evidence(bundle: Path) -> Evidence:
    return Evidence.model_validate_json((bundle / "evidence.json").read_bytes(), strict=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name must not be found again."""
    return tmp_path_factory.mktemp("ZanzibarHome with blanks")


@pytest.fixture(scope="module")
def pictures(home: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(24):
        path = home / "my photos" / ("banana", "apple")[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    return home / "my photos"


@pytest.fixture(scope="module")
def cleaned(home: Path, pictures: Path) -> CleanSpec:
    """A finished run on the demo's checkpoint."""
    source = home / "suspect.safetensors"
    shutil.copy(resource("demo", "poisoned.safetensors"), source)
    spec = small_spec(
        source,
        home / "run",
        small_recipe(eval_every=3),
        trigger=str(save_trigger(demo_trigger(), home / "trigger")[1]),
        images=ImageSpec(split="val", n=18),
        test_images=ImageSpec(n=72),
        heldout_images=ImageSpec(kind="folder", path=str(pictures)),
    )
    finished(spec)
    return spec


@pytest.fixture(scope="module")
def bundle(home: Path, cleaned: CleanSpec) -> Path:
    done = _report(FEW, runs=(cleaned.output_dir,), out=str(home / "first.evidence"))
    assert done.status == "finished", (done.error, done.details)
    return home / "first.evidence"


def test_the_record_names_every_file_and_its_sums_hold(bundle: Path) -> None:
    files = _files(bundle)
    evidence = _evidence(bundle)
    assert set(evidence.measurements) == {
        "job-1-before", "job-1-after", "job-1-heldout-before", "job-1-heldout-after",
    }  # fmt: skip
    assert set(evidence.checkpoints) == {"suspect", "cleaned"}
    for claim in evidence.claims:
        assert set(claim.evidence) <= set(files)
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(raw).hexdigest() for name, raw in files.items() if name != "SHA256SUMS"
    }


def test_the_same_content_gives_the_same_bytes(bundle, home, cleaned):
    done = _report(FEW, runs=(cleaned.output_dir,), name="first", out=str(home / "again.evidence"))
    assert done.status == "finished"
    assert _files(home / "again.evidence") == _files(bundle)
    evidence, own = _evidence(bundle), ("evidence", "README", "SHA256")
    files = {name: raw for name, raw in _files(bundle).items() if not name.startswith(own)}
    for name in ("one.zip", "two.zip"):
        write_bundle(evidence, dict(reversed(files.items())), home / name)
    assert (home / "one.zip").read_bytes() == (home / "two.zip").read_bytes()
    with zipfile.ZipFile(home / "one.zip") as archive:
        entries = archive.infolist()
        assert [one.filename for one in entries] == sorted(one.filename for one in entries)
        assert {one.date_time for one in entries} == {(1980, 1, 1, 0, 0, 0)}
        assert {one.compress_type for one in entries} == {zipfile.ZIP_STORED}
        assert {one.filename: archive.read(one) for one in entries} == _files(bundle)


def test_no_path_user_or_host_is_in_any_byte(bundle: Path, home: Path) -> None:
    secrets = {"Zanzibar", "my photos/", str(home), str(home.parent), str(Path.home()) + "/"}
    host = platform.node()
    secrets |= {host} if len(host) > 4 else set()
    user = getpass.getuser()
    secrets |= {f"/{user}/", f"\\{user}\\"}
    for name, raw in _files(bundle).items():
        for secret in secrets:
            assert secret.encode() not in raw, f"{secret} in {name}"
    spec = json.loads((bundle / "jobs/job-1/spec.json").read_bytes())
    assert spec["checkpoint"] == "suspect.safetensors"
    assert spec["heldout_images"]["path"] == "my photos"


def test_pictures_and_scans_go_in_if_asked(bundle, home, cleaned, pictures, tmp_path):
    data = _evidence(bundle).data
    (id_,) = (key for key, facts in data.items() if facts.spec["kind"] == "folder")
    table = (bundle / f"data/{id_}.csv").read_text().splitlines()
    assert len(table) == 25
    _, name, digest, *_ = table[1].split(",")
    assert digest == hashlib.sha256((pictures / name).read_bytes()).hexdigest()
    assert not any(name.startswith(f"data/{id_}/") for name in _files(bundle))
    whole = home / "whole.evidence"
    asked = {"include_images": True, "include_checkpoints": True, "thumbnails": False}
    done = _report(runs=(cleaned.output_dir,), out=str(whole), **asked)
    assert done.status == "finished", (done.error, done.details)
    files = _files(whole)
    assert hashlib.sha256(files[f"data/{id_}/0000000.png"]).hexdigest() == digest
    facts = _evidence(whole).checkpoints["suspect"]
    assert facts.file == "checkpoints/suspect.safetensors"
    assert hashlib.sha256(files[facts.file]).hexdigest() == facts.sha256
    assert not any(name.startswith("thumbnails/") for name in files)
    write_scan(tmp_path / "scan", made_scan("found"))
    patch = Trigger(kind="patch", name="Found patch", array=np.full((9, 9, 3), 0.5, np.float32))
    (tmp_path / "scan" / f"{TRIGGER_STEM}.png").unlink()
    save_trigger(patch, tmp_path / "scan" / TRIGGER_STEM)
    scanned = tmp_path / "x.evidence"
    done = _report(scans=(str(tmp_path / "scan"),), out=str(scanned))
    assert done.status == "finished", (done.error, done.details)
    evidence = _evidence(scanned)
    scan = evidence.scans["scan-1"]
    assert {"scan", "trigger", "patches"} <= set(scan.files)
    page = (scanned / "report.html").read_text()
    assert page.count('alt="The trigger that the scan found"') == 1  # on the first page
    assert page.count('alt="The patch that the search found"') == 1
    assert set(scan.files.values()) <= set(_files(scanned))
    assert {"scan-1-verdict", "scan-1-found"} <= {claim.id for claim in evidence.claims}
    assert "known from its scan alone" in " ".join(evidence.notes)
    suspect = resource("demo", "poisoned.safetensors")
    sha256 = hashlib.sha256(suspect.read_bytes()).hexdigest()
    write_scan(tmp_path / "scan", made_scan("found", sha256=sha256))
    spec = ScanSpec(checkpoint=str(suspect), images=ImageSpec(), output_dir=str(tmp_path / "scan"))
    write_spec_file(spec, tmp_path / "scan" / SCAN_SPEC)
    done = _report(scans=(str(tmp_path / "scan"),), out=str(tmp_path / "y.evidence"))
    facts = _evidence(tmp_path / "y.evidence").checkpoints["suspect"]
    assert (facts.bytes, facts.safety) == (suspect.stat().st_size, "loads")


def test_a_changed_checkpoint_is_told(home: Path, cleaned: CleanSpec, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(cleaned.output_dir, moved)
    source = tmp_path / "other.safetensors"
    model = open_checkpoint(resource("demo", "clean_twin.safetensors")).build()
    save_checkpoint(model, source, provenance={})
    for path in moved.glob("measurements/*/measurement.json"):
        kept = json.loads(path.read_text())
        if kept["when"] == "before":
            kept["checkpoint"]["path"] = str(source)
            path.write_text(json.dumps(kept))
    done = _report(runs=(str(moved),), out=str(tmp_path / "x.evidence"))
    assert "other.safetensors changed since it was measured" in done.error
    assert not (tmp_path / "x.evidence").exists()
    source.unlink()
    chain = AutoResult(
        spec=AutoSpec(base=cleaned), steps=(), best="run",
        checkpoint=str(moved / "cleaned.safetensors"),
        outcome="nothing_found", sentences=(f"Begun in {moved}.", "Nothing is left."), seconds=1.0,
    )  # fmt: skip
    others = chain.model_copy(update={"checkpoint": str(source)})
    (tmp_path / AUTO_FILE).write_text(others.model_dump_json())
    _report(runs=(str(moved),), out=str(tmp_path / "y.evidence"))
    assert not any("Clean it" in note for note in _evidence(tmp_path / "y.evidence").notes)
    (tmp_path / AUTO_FILE).write_text(chain.model_dump_json())
    (moved / SAVED_FILE).write_text('{"name": "mine.safetensors"}')
    done = _report(runs=(str(moved),), out=str(tmp_path / "x.evidence"))
    assert done.status == "finished", done.error
    evidence = _evidence(tmp_path / "x.evidence")
    assert evidence.measurements["job-1-before"].tau is None
    assert any("is not where it was measured" in note for note in evidence.notes)
    assert evidence.notes[-1] == "Clean it. Begun in run. Nothing is left."
    assert evidence.checkpoints["cleaned"].name == "mine.safetensors"  # as it was saved
    assert evidence.verdict[1].startswith("On mine.safetensors, after cleaning, ")
    assert run_command(["verify", str(tmp_path / "x.evidence")]) == 0


def test_what_cannot_be_reported_gets_a_sentence(cleaned, tmp_path, bundle):
    out = str(tmp_path / "x.evidence")
    (tmp_path / "empty").mkdir()
    write_scan(tmp_path / "scan", made_scan("found"))
    unfinished = tmp_path / "unfinished"
    shutil.copytree(cleaned.output_dir, unfinished)
    (unfinished / "result.json").unlink()
    measured = str(Path(cleaned.output_dir) / "measurements/before")
    unmeasured = tmp_path / "unmeasured"
    shutil.copytree(cleaned.output_dir, unmeasured)
    shutil.rmtree(unmeasured / "measurements")
    part = tmp_path / "part"
    shutil.copytree(measured, part)
    kept = json.loads((part / "measurement.json").read_text())
    model = examine(f"{kept['checkpoint']['path']}#model")
    kept["checkpoint"] |= {"path": str(model.path), "sha256": model.sha256}
    (part / "measurement.json").write_text(json.dumps(kept))
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "nothing to report"),
        ({"runs": (str(tmp_path / "empty"),)}, "empty is no run: it has no spec.json"),
        ({"runs": (str(tmp_path / "scan"),)}, "give it with --scan"),
        ({"runs": (measured,)}, "give it with --measurement"),
        ({"runs": (str(unfinished),)}, "is not finished"),
        ({"runs": (str(unmeasured),)}, "kept no answers of its pictures"),
        ({"scans": (str(tmp_path / "empty"),)}, "no finished scan in empty"),
        ({"measurements": (str(tmp_path / "empty"),)}, "no kept measurement in empty"),
        ({"measurements": (str(part),), "include_checkpoints": True}, "is a part of a file: leave"),
    ]
    for fields, words in cases:
        done = _report(out=out, **fields)
        assert done.status == "failed"
        assert words in done.error, done.error
        assert not Path(out).exists()
    there = _report(runs=(cleaned.output_dir,), out=str(bundle))
    assert "is there already" in there.error
    assert out_of("a/demo").name == "demo.evidence"


def _small() -> Evidence:
    return Evidence(
        name="x", tool=Tool(name="t", version="1"), verdict=(), not_tested=(), limits=(),
        checkpoints={}, data={}, triggers={}, measurements={}, jobs={}, scans={}, claims=(),
        environment="environment.json",
    )  # fmt: skip


def test_no_file_can_leave_the_bundle(tmp_path: Path) -> None:
    for name in ("../x", "a//b", ".hidden", "a/b/c/d/e/f", "C:x"):
        with pytest.raises(ValueError, match=r"."):
            write_bundle(_small(), {name: b"x"}, tmp_path / "x")
        assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[int]:
        raise OSError(28, "No space left on device")
        yield 0

    monkeypatch.setattr("ml_core.reports.write_bundle._copy", full)
    with pytest.raises(InputError, match="No space left"):
        write_bundle(_small(), {"environment.json": b"{}"}, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_paths_become_names() -> None:
    clean = WithoutPaths(["/home/eve/a b", "/home/eve"])
    for text, name in (
        ("/home/eve/a b/x.pt is bad", "x.pt is bad"),
        ("in /mnt/data/run/cleaned.safetensors.", "in cleaned.safetensors."),
        (r"\\host\share\x.pt", "x.pt"),
        ("file:///srv/x/y.csv", "y.csv"),
        ("see https://arxiv.org/abs/2311.12075", "see https://arxiv.org/abs/2311.12075"),
        ("a photo of a {} and/or a {}", "a photo of a {} and/or a {}"),
        ("/mnt/caf\udce9/\udce9.pt is bad", r"\udce9.pt is bad"),
    ):
        assert clean.text(text) == name
        assert clean.json({"note": [text]}) == {"note": [name]}
    clean = WithoutPaths()  # fields that hold paths lose even relative ones
    assert clean.json({"checkpoint": "../eve/x.pt", "name": "a/b"}) == {
        "checkpoint": "x.pt", "name": "a/b",
    }  # fmt: skip
    assert clean.json({"checkpoint": "hf-hub:owner/name"}) == {"checkpoint": "hf-hub:owner/name"}
    assert clean.json({"checkpoint": "/mnt/caf\udce9.pt"}) == {"checkpoint": r"caf\udce9.pt"}
