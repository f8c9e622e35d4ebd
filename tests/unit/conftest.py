"""Fixtures of the tests without a window."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _few_climbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversaries grow hardly at all: no test is about how far they get."""
    if adversaries := sys.modules.get("ml_core.cleaning.adversaries"):
        monkeypatch.setattr(adversaries, "_DIRECTION_CLIMBS", 2)
        monkeypatch.setattr(adversaries, "_PATCH_CLIMBS", 2)


@pytest.fixture
def answer_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with ``--json``, which has to end with ``code``; what it answers."""

    def run(*arguments: object, code: int = 0) -> Any:
        from ml_core.cli.app import run_command

        assert run_command([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run
