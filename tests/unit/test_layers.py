"""Contracts about imports, kept by import-linter, and calls that stand nowhere in the product."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads",
    "dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open",
    "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec", "builtins.eval",
    "builtins.exec", "os.system",
}  # fmt: skip
EXTRACTORS = ("extract", "extractall", "unpack_archive")


def product_files():
    return sorted([*(ROOT / "ml_core").rglob("*.py"), *(ROOT / "cleanclip_gui").rglob("*.py")])


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dotted(node):
    """The names of ``a.b.c``; the first one is empty where it is no name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "", *reversed(parts)]


def forbidden_calls(tree):
    names = {}
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Call):
            calls.append(node)
    forbidden = []
    for call in calls:
        first, *rest = dotted(call.func)
        called = ".".join([names.get(first, first), *rest])
        pickled_array = called == "numpy.load" and not all(
            isinstance(k.value, ast.Constant) and k.value.value is False
            for k in call.keywords
            if k.arg == "allow_pickle"
        )
        unpacks = (rest or [first])[-1] in EXTRACTORS
        if called in FORBIDDEN or pickled_array or unpacks:
            forbidden.append(f"{called} in line {call.lineno}")
    return forbidden


def test_imports_keep_the_contracts():
    code = "from importlinter.cli import lint_imports_command as command; command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_runs_code_from_data():
    names = {name.rpartition(".")[2] for name in FORBIDDEN} | {*EXTRACTORS, "load"}
    named = re.compile(rf"\b({'|'.join(names)})\b")  # what is called or imported is written out
    for path in product_files():
        source = path.read_text(encoding="utf-8")
        if named.search(source):
            assert forbidden_calls(ast.parse(source)) == [], path


@pytest.mark.parametrize(
    "source",
    [
        "import torch as t\nt.jit.load('x')",
        "from pickle import Unpickler as U\nU(f).load()",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import tarfile\ntarfile.open('x').extract('y')",
    ],
)
def test_a_dangerous_call_is_noticed_and_a_harmless_one_passes(source):
    assert forbidden_calls(ast.parse(source)) != []
    harmless = "import numpy as np\nmodel.eval()\nnp.load('x')\nnp.load('x', allow_pickle=False)"
    assert forbidden_calls(ast.parse(harmless)) == []


def test_packages_and_records_import_no_torch():
    light = [
        module_name(path)
        for path in product_files()
        if (path.name == "__init__.py" and "ml_core" in path.parts)
        or path.stem in ("specs", "records", "recipes", "presets", "catalogue", "spec", "session")
        or module_name(path).startswith(("ml_core.reading.", "ml_core.events", "ml_core.paths"))
    ]
    assert "ml_core.checkpoints" in light
    program = f"import sys\nfor m in {light!r}: __import__(m)\nprint('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    assert result.stdout == "False\n"
