"""Fixtures of the tests without a window."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from ml_core.events import Done, Event


@pytest.fixture(autouse=True)
def _few_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversaries grow hardly at all: no test is about how far they get."""
    if adversaries := sys.modules.get("ml_core.cleaning.adversaries"):
        monkeypatch.setattr(adversaries, "_DIRECTION_CLIMBS", 2)
        monkeypatch.setattr(adversaries, "_PATCH_CLIMBS", 2)


@pytest.fixture(scope="session")
def demo_scan(shared_folder: Path) -> tuple[Path, list[Event], Done]:
    """The demo's model, which is searched once: the folder, and what was told."""
    from ml_core.events import Done, from_json, to_json
    from tests.unit.draining import events_of
    from tests.unit.job_specs import DEMO_STAGES, demo_scan

    folder, told = shared_folder / "demo-scan", shared_folder / "demo-scan.jsonl"
    with FileLock(f"{told}.lock"):
        if not told.exists():
            events, done = events_of(demo_scan(folder, stages=DEMO_STAGES))
            told.write_text("".join(f"{to_json(event)}\n" for event in [*events, done]))
    *events, done = map(from_json, told.read_text().splitlines())
    assert isinstance(done, Done)
    return folder, events, done


@pytest.fixture
def answer_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with ``--json``, which has to end with ``code``; what it answers."""

    def run(*arguments: object, code: int = 0) -> Any:
        from ml_core.cli.app import run_command

        assert run_command([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run
