"""A session stands for its runs and scans in a report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_core.cli.app import run_command
from ml_core.events import Done
from ml_core.jobs.report import ReportSpec
from ml_core.jobs.report.session import with_sessions
from ml_core.reading.errors import InputError
from ml_core.reports.sessions.folder import write_session
from ml_core.reports.sessions.record import SESSION_FILE, SavedSession
from ml_core.reports.sessions.same_file import facts_of


def _session(tmp_path: Path, **fields: object) -> Path:
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
    session = _session(tmp_path, notes="# One\n\nTwo\n\n" + "x" * 20_001)
    out = str(tmp_path / "made.evidence")
    given = ["report", "other", str(session), str(tmp_path / "run"), "-o", out]
    assert run_command(given) != 0
    assert run_command([*given, "--notes"]) != 0
    assert [spec.notes for spec in asked] == [(), ("# One", "Two", "x" * 20_000, "x")]
    assert {spec.runs for spec in asked} == {("other", str(tmp_path / "run"))}
    assert {spec.scans for spec in asked} == {(str(tmp_path / "scan"),)}


def test_what_was_exchanged_moved_or_is_anothers_is_refused(tmp_path: Path) -> None:
    session = _session(tmp_path)
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
        with_sessions(_asked(_session(tmp_path, runs=(), scans=())))
