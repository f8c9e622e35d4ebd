"""A session on disk: whole or not at all, sealed, its files known again wherever they lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_core.cleaning.recipes import Recipe
from ml_core.cli.app import run_command
from ml_core.data.images import open_images
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Done
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.session import with_sessions
from ml_core.reading import inspect
from ml_core.reading.errors import CancelledError, InputError
from ml_core.reports.measurement_files import LocalData
from ml_core.reports.open_bundle import open_bundle
from ml_core.reports.record import EVIDENCE_FILE, SUMS_FILE, Evidence
from ml_core.reports.sessions.folder import (
    OpenedCheckpoint,
    check_same,
    draft,
    facts_of,
    mark_of,
    read_session,
    session_trigger,
    write_session,
)
from ml_core.reports.sessions.record import SESSION_FILE, FileFacts, SavedSession
from ml_core.triggers import Trigger, demo_trigger
from tests.hostile.container_bytes import safetensors

PAINTED = Trigger(
    kind="patch",
    pixels=np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8),
    size=0.2,
)


def _checkpoint(path: Path, values: bytes = bytes(8)) -> Path:
    path.write_bytes(safetensors(values))
    return path


def _session(**fields: object) -> SavedSession:
    return SavedSession.model_validate({"checkpoint": "/x/m.pt", **fields})


def test_it_is_read_as_it_was_written_with_painted_pixels_to_the_last_bit(tmp_path: Path) -> None:
    images = ImageSpec(kind="folder", path=str(tmp_path), class_map={"a": "apple"})
    other = demo_trigger()
    asked = _session(
        images=images, templates=("a {}",), target="banana", run="/r", runs=("/r",), notes="# Ü\n",
        trigger=PAINTED.digest, other_slot="B", other_trigger=other.digest,
        files={"/x/m.pt": FileFacts(digest="a" * 64, known_by="weights", mark="1-2")},
    )  # fmt: skip
    folder = tmp_path / "one.session"
    written = write_session(folder, asked, [PAINTED, other])
    found = read_session(folder)
    assert found.is_own
    assert found.session == written
    assert found.session.content() == asked.content()
    assert session_trigger(folder, found.session.trigger) == PAINTED
    assert session_trigger(folder, found.session.other_trigger) == other
    assert session_trigger(folder, "") is None
    write_session(folder, _session(trigger=other.digest), [other])
    assert {path.stem for path in (folder / "triggers").iterdir()} == {other.digest}


def test_what_was_saved_elsewhere_or_changed_is_not_this_machines_own(tmp_path, monkeypatch):
    folder = tmp_path / "one.session"
    write_session(folder, _session(), [])
    shutil.copytree(folder, tmp_path / "copy.session")
    assert read_session(tmp_path / "copy.session").is_own  # wherever it lies on this machine
    path = folder / SESSION_FILE
    path.write_text(path.read_text().replace("/x/m.pt", "/y/m.pt"))
    assert not read_session(folder).is_own
    fields = json.loads(path.read_text())
    for seal in ("", "0" * 64):
        path.write_text(json.dumps(fields | {"seal": seal}))
        assert not read_session(folder).is_own
    (tmp_path / "other home").mkdir()
    monkeypatch.setenv("CLEANCLIP_HOME", str(tmp_path / "other home"))
    assert not read_session(tmp_path / "copy.session").is_own


def test_a_trigger_that_was_changed_or_exchanged_is_refused(tmp_path: Path) -> None:
    write_session(tmp_path / "a", _session(), [PAINTED, demo_trigger()])
    place = tmp_path / "a" / "triggers"
    shutil.copyfile(place / f"{demo_trigger().digest}.json", place / f"{'0' * 64}.json")
    shutil.copyfile(place / f"{demo_trigger().digest}.png", place / f"{'0' * 64}.png")
    with pytest.raises(InputError, match="is another one by now"):
        session_trigger(tmp_path / "a", "0" * 64)
    (place / f"{PAINTED.digest}.png").write_bytes(b"no picture")
    with pytest.raises(InputError):
        session_trigger(tmp_path / "a", PAINTED.digest)
    write_session(tmp_path / "a", _session(), [PAINTED])  # writes it again
    assert session_trigger(tmp_path / "a", PAINTED.digest) == PAINTED


def test_nothing_else_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        write_session(tmp_path / "file", _session(), [])
    with pytest.raises(InputError, match="holds other files"):
        write_session(tmp_path, _session(), [])
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / SUMS_FILE).touch()
    with pytest.raises(InputError, match="is a finished bundle"):
        write_session(tmp_path / "bundle", _session(), [])
    write_session(tmp_path / "strangers", _session(), [])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "strangers" / "inspections").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds a link"):
        write_session(tmp_path / "strangers", _session(), [], None, {"inspections/x.json": b"{}"})
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_file_in_another_place_is_known_by_its_hash(tmp_path: Path) -> None:
    kept = _checkpoint(tmp_path / "m.safetensors")
    facts = facts_of(kept, "weights")
    assert facts.digest == inspect(kept).sha256
    assert facts.mark == mark_of(kept)
    moved = tmp_path / "elsewhere.safetensors"
    kept.rename(moved)
    check_same(moved, "m.safetensors", facts)
    _checkpoint(moved, b"\1" * 8)
    with pytest.raises(InputError, match=r"elsewhere\.safetensors is not the session's m\.safe"):
        check_same(moved, "m.safetensors", facts)
    with pytest.raises(InputError, match="There is nothing at"):
        check_same(tmp_path / "gone", "m.safetensors", facts)
    with pytest.raises(InputError, match="its hash was not kept"):
        check_same(moved, "m.safetensors", FileFacts(known_by="weights"))
    with pytest.raises(CancelledError):
        check_same(moved, "m", FileFacts(digest="a" * 64), cancelled=lambda: True)


def test_training_pairs_move_whole_or_are_left_out() -> None:
    pattern = PairSpec(kind="shards", path="/x/cc/{000..331}.tar", exclude="/x/out.json")
    session = _session(pairs=pattern)
    pairs = {path for path, what in session.outside.items() if what == "training pairs"}
    assert pairs == {"/x/cc", "/x/out.json"}
    moved = session.moved({"/x/cc": "/y/cc", "/x/out.json": "/y/out.json"}).pairs
    assert moved == PairSpec(kind="shards", path="/y/cc/{000..331}.tar", exclude="/y/out.json")
    assert session.moved({"/x/out.json": ""}).pairs is None  # else poisoned pairs come back


def test_labelled_images_move_and_a_recipe_of_another_version_is_left_out() -> None:
    session = _session(labelled=ImageSpec(kind="folder", path="/x/photos"))
    assert session.outside["/x/photos"] == "training images"
    moved = session.moved({"/x/photos": "/y/photos"}).labelled
    assert moved is not None
    assert moved.path == "/y/photos"
    assert session.moved({"/x/photos": ""}).labelled is None
    written = session.model_copy(update={"recipe": Recipe(method="supervised")}).model_dump()
    assert SavedSession.model_validate(written).recipe == Recipe(method="supervised")
    written["recipe"]["method"] = "of-tomorrow"
    assert SavedSession.model_validate(written).recipe is None


def test_runs_and_folders_are_known_by_what_does_not_change(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.json").write_text("{}")
    facts = facts_of(run, "inside", "spec.json")
    (run / "result.json").write_text("{}")
    run.rename(tmp_path / "moved")
    check_same(tmp_path / "moved", "run", facts)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"other.*cannot be read"):
        check_same(tmp_path / "other", "run", facts)
    listed = facts_of(tmp_path / "moved", "file")
    assert listed.known_by == "names"
    check_same(tmp_path / "moved", "moved", listed)
    (tmp_path / "moved" / "result.json").write_text("{ }")
    with pytest.raises(InputError, match="names and sizes"):
        check_same(tmp_path / "moved", "moved", listed)
    with pytest.raises(InputError, match="is no folder"):
        check_same(tmp_path / "moved" / "spec.json", "moved", listed)


def test_pictures_are_known_by_their_content(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            colour = (40 * number, 10, len(name))
            Image.new("RGB", (8, 8), colour).save(tmp_path / "set" / name / f"{number}.png")
    spec = ImageSpec(kind="folder", path=str(tmp_path / "set"))
    facts = FileFacts(digest=open_images(spec).key, known_by="pictures")
    (tmp_path / "set").rename(tmp_path / "moved")
    check_same(tmp_path / "moved", "set", facts, spec)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "moved" / "cat" / "0.png")
    with pytest.raises(InputError, match="the digest of its pictures begins with"):
        check_same(tmp_path / "moved", "set", facts, spec)


def test_the_record_of_a_session_is_a_bundles_and_names_no_place(tmp_path: Path) -> None:
    path = _checkpoint(tmp_path / "my secret place.safetensors")
    opened = OpenedCheckpoint("suspect", inspect(path), "RN50", 4, ("8 heads assumed",))
    spec = ImageSpec(kind="folder", path=str(tmp_path / "pictures"))
    images = LocalData(spec=spec, name="pictures", key="a" * 64, known_by="content", n=9)
    triggers = [PAINTED, demo_trigger()]
    evidence, files = draft("one", [opened], images, triggers)
    session = _session(trigger=PAINTED.digest)
    write_session(tmp_path / "one.session", session, triggers, evidence, files)
    folder = tmp_path / "one.session"
    with pytest.raises(InputError, match="is a session and no finished bundle"):
        open_bundle(folder)
    read = Evidence.model_validate_json((folder / EVIDENCE_FILE).read_bytes())
    assert read == evidence
    assert read.checkpoints["suspect"].sha256 == inspect(path).sha256
    assert [claim.id for claim in read.claims] == ["safety-suspect"]
    assert read.data["images-1"].key == "a" * 64
    named = {one for facts in read.triggers.values() for one in facts.files}
    named |= {read.checkpoints["suspect"].inspection or ""}
    there = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    assert named == there - {SESSION_FILE, EVIDENCE_FILE}
    for one in sorted(there - {SESSION_FILE}):
        assert str(tmp_path).encode() not in (folder / one).read_bytes(), one


# ---- in a report ----


def _saved(tmp_path: Path, **fields: object) -> Path:
    for name, file in (("run", "spec.json"), ("scan", "scan.json")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_text("{}")
    run, scan = str(tmp_path / "run"), str(tmp_path / "scan")
    files = {
        run: facts_of(Path(run), "inside", "spec.json"),
        scan: facts_of(Path(scan), "inside", "scan.json"),
    }
    given = {"runs": (run,), "scans": (scan,), "files": files, **fields}
    write_session(tmp_path / "one.session", SavedSession.model_validate(given), [])
    return tmp_path / "one.session"


def _asked(*runs: object, **fields: object) -> ReportSpec:
    return ReportSpec.model_validate({"runs": tuple(map(str, runs)), "out": "x", **fields})


def test_the_command_takes_the_runs_of_sessions_once_and_notes_only_if_asked(tmp_path, monkeypatch):
    asked: list[ReportSpec] = []

    def report(spec: ReportSpec, control: object) -> Iterator[Done]:
        asked.append(spec)
        yield Done("failed", {}, "Enough.")

    monkeypatch.setattr("ml_core.jobs.report.run.report", report)
    session = _saved(tmp_path, notes="# One\n\nTwo\n\n" + "x" * 20_001)
    out = str(tmp_path / "made.evidence")
    given = ["report", "other", str(session), str(tmp_path / "run"), "-o", out]
    assert run_command(given) != 0
    assert run_command([*given, "--notes"]) != 0
    assert [spec.notes for spec in asked] == [(), ("# One", "Two", "x" * 20_000, "x")]
    assert {spec.runs for spec in asked} == {("other", str(tmp_path / "run"))}
    assert {spec.scans for spec in asked} == {(str(tmp_path / "scan"),)}


def test_what_was_exchanged_moved_or_is_anothers_is_refused(tmp_path: Path) -> None:
    session = _saved(tmp_path)
    (tmp_path / "run" / "spec.json").write_text("{ }")
    with pytest.raises(InputError, match="run is not the session's run"):
        with_sessions(_asked(session))
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="is no longer there: open the session in the window"):
        with_sessions(_asked(session))
    path = session / SESSION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scans": ["/etc"]}))
    with pytest.raises(InputError, match="was not saved on this machine"):
        with_sessions(_asked(session))
    with pytest.raises(InputError, match="neither a run nor a scan"):
        with_sessions(_asked(_saved(tmp_path, runs=(), scans=())))
