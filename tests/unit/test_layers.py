"""The nevers of the house, read off the import statements and the calls."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QT = ("PySide6", "PyQt6", "PyQt5", "qtpy", "pyqtgraph")
CORE_ROOMS = (
    {
        "reading",
        "events",
        "figures",
        "paths",
        "atomic",
        "result_cache",
        "normalise",
        "memory",
        "text_tower",
        "last_layer",
    },
    {"model", "exports"},
    {"checkpoints", "data", "triggers"},
    {"evaluation"},
    {"cleaning", "detection"},
    {"reports"},
    {"jobs"},
    {"cli", "__main__"},
)
FORBIDDEN = {
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads",
    "dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open",
    "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec", "builtins.eval",
    "builtins.exec", "os.system",
}  # fmt: skip
STATIONS = tuple(f"cleanclip_gui.{name}" for name in ("checkpoint", "studio", "clean", "data"))
UPPER = ("cleanclip_gui.window.main_window", "cleanclip_gui.app", "cleanclip_gui.window")
EXTRACTORS = ("extract", "extractall", "unpack_archive")


def product_files() -> list[Path]:
    return sorted([*(ROOT / "ml_core").rglob("*.py"), *(ROOT / "cleanclip_gui").rglob("*.py")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Every imported name in full, function-level and type-checking imports included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                up = parents[: len(parents) - node.level + (1 if is_package else 0)]
                base = ".".join([*up, base] if base else up)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden_calls(tree: ast.Module) -> list[str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        parts = ast.unparse(node.func).split(".")
        called = ".".join([names.get(parts[0], parts[0]), *parts[1:]])
        pickled_array = called == "numpy.load" and not all(
            isinstance(k.value, ast.Constant) and k.value.value is False
            for k in node.keywords
            if k.arg == "allow_pickle"
        )
        unpacks = parts[-1] in EXTRACTORS
        if called in FORBIDDEN or pickled_array or unpacks:
            found.append(f"{called} in line {node.lineno}")
    return found


def starts(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "ml_core" and len(parts) > 1 else ""


def broken_rules(module: str, imported: str) -> list[str]:
    """Which rule an import breaks, in words."""
    broken = []
    if starts(module, ("ml_core",)) and starts(imported, (*QT, "cleanclip_gui")):
        broken.append("ml_core never imports Qt or the window")
    if starts(module, ("ml_core.reading",)) and starts(imported, ("torch", "torchvision")):
        broken.append("reading never imports torch")
    if starts(module, ("ml_core.events", "ml_core.paths")) and starts(imported, ("torch",)):
        broken.append("events and paths never import torch")
    if starts(module, ("cleanclip_gui.session",)):
        if starts(imported, (*QT, "torch")):
            broken.append("session never imports Qt or torch")
        gui = ("cleanclip_gui",)
        if starts(imported, gui) and not starts(imported, ("cleanclip_gui.session",)):
            broken.append("session imports nothing else of the window")
    if starts(module, ("cleanclip_gui.widgets",)) and starts(imported, (*STATIONS, *UPPER)):
        broken.append("widgets never import a station or the window")
    if starts(module, STATIONS) and starts(imported, UPPER[:2]):
        broken.append("stations never import the main window")
    levels = {name: level for level, names in enumerate(CORE_ROOMS) for name in names}
    here, there = room(module), room(imported)
    if (
        here in levels
        and there in levels
        and here != there
        and levels[there] >= levels[here]
        and here not in ("cli", "__main__")
    ):
        broken.append("arrows of ml_core run down only")
    return broken


@pytest.mark.parametrize("path", product_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_the_nevers(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = module_name(path)
    broken = [
        f"{module} imports {imported}: {rule}"
        for imported in imports(tree, module, path.name == "__init__.py")
        for rule in broken_rules(module, imported)
    ]
    assert broken == []
    assert forbidden_calls(tree) == []


def test_every_room_has_a_level() -> None:
    known = {name for names in CORE_ROOMS for name in names}
    rooms = {
        path.stem
        for path in (ROOT / "ml_core").iterdir()
        if (path.is_dir() and any(path.glob("*.py"))) or path.suffix == ".py"
    }
    assert rooms - {"__init__"} <= known


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("ml_core.data.images", "def f():\n    from PySide6 import QtGui", "never imports Qt"),
        ("ml_core.events", "import cleanclip_gui.app", "never imports Qt"),
        ("ml_core.reading.inspect", "import torch.nn as nn", "reading never imports torch"),
        ("ml_core.reading.inspect", "from ml_core import model", "arrows"),
        ("ml_core.reading.inspect", "from ..model import ClipModel", "arrows"),
        ("ml_core.data.images", "from ml_core.triggers import Trigger", "arrows"),
        ("ml_core.checkpoints.open", "from ml_core.data import demo", "arrows"),
        ("ml_core.cleaning.loop", "import ml_core.jobs.specs", "arrows"),
        ("ml_core.jobs.run", "from ml_core.cli import main", "arrows"),
        ("cleanclip_gui.session.session", "import PySide6.QtCore", "session never imports Qt"),
        ("cleanclip_gui.widgets.bars", "from cleanclip_gui.studio import station", "widgets"),
        (
            "cleanclip_gui.clean.station",
            "from cleanclip_gui.window.main_window import X",
            "stations",
        ),
    ],
)
def test_a_broken_import_is_noticed(module: str, source: str, rule: str) -> None:
    found = [
        broken
        for name in imports(ast.parse(source), module, is_package=False)
        for broken in broken_rules(module, name)
    ]
    assert any(rule in broken for broken in found)


def test_arrows_that_run_down_pass() -> None:
    assert broken_rules("ml_core.cli", "ml_core.jobs.run") == []
    assert broken_rules("ml_core.jobs.run", "ml_core.reading.InputError") == []
    assert broken_rules("ml_core.evaluation.evaluate", "ml_core.model.ClipModel") == []


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('x')",
        "import torch as t\nt.jit.load('x')",
        "from torch import load\nload('x')",
        "import pickle\npickle.loads(b'')",
        "from pickle import Unpickler as U\nU(f).load()",
        "eval('1')",
        "exec('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nnp.load('x', allow_pickle=flag)",
        "import zipfile\nzipfile.ZipFile('x').extractall()",
        "import tarfile\ntarfile.open('x').extract('y')",
        "from shutil import unpack_archive\nunpack_archive('x')",
    ],
)
def test_a_dangerous_call_is_noticed(source: str) -> None:
    assert forbidden_calls(ast.parse(source)) != []


def test_harmless_calls_pass() -> None:
    source = "import numpy as np\nmodel.eval()\nnp.load('x')\nnp.load('x', allow_pickle=False)"
    assert forbidden_calls(ast.parse(source)) == []


def test_packages_and_records_import_no_torch() -> None:
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
