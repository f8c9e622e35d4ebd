"""Benchmarks, scripts and the README, which the suite does not run, name what there is."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    [*(ROOT / "tests" / "benchmarks").glob("*.py"), *(ROOT / "packaging").rglob("*.py")]
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_of_ours_that_a_script_imports_is_there(path):
    lacking = [
        f"{node.module}.{name.name}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ml_core")
        for name in node.names
        if not _is_there(str(node.module), name.name)
    ]
    assert lacking == []


def _is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.import_module(f"{module}.{name}")
        )
    except ImportError:
        return False


def test_every_make_target_of_the_readme_exists():
    text = (ROOT / "README.md").read_text("utf-8")
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    named = set(re.findall(r"(?:^|`)(?:PYTHON=\S+ )?make ([a-z]+)\b", text, re.M))
    assert {"demo", "test"} <= named <= set(rules)
