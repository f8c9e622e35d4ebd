"""Fixtures of the tests without a window."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def answer_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with ``--json``, which has to end with ``code``; what it answers."""

    def run(*arguments: object, code: int = 0) -> Any:
        from ml_core.cli.app import run_command

        assert run_command([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run
