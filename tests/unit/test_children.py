"""How child processes are started from source and by a frozen program."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml_core import children
from ml_core.children import keep_freed_memory
from ml_core.paths import resource
from ml_core.reports.verify.worker import _program

ROOT = Path(__file__).parents[2]
# What a frozen program's entry does, in an interpreter that says it is frozen.
FROZEN = (
    "import sys; sys.frozen = True\n"
    "from ml_core.children import dispatch\n"
    "dispatch()\n"
    "import os; print('the program itself', sys.argv[1:], os.environ.get('LD_LIBRARY_PATH'))"
)


def frozen(*arguments, given=b"", **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": "/bundle"} | more
    command = [sys.executable, "-P", "-c", FROZEN, *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=environment, check=False)


def test_a_frozen_program_is_its_own_reader():
    path = resource("demo", "poisoned.safetensors")
    done = frozen("--reader", given=b"x 30\n" + os.fsencode(path))
    assert done.returncode == 0, done.stderr.decode()
    inspection = json.loads(done.stdout)
    assert inspection["verdict"] == "loads"
    assert inspection["sandbox"]


def test_the_verifier_of_a_frozen_program_may_read_its_modules(
    monkeypatch,
):
    """They are an archive at the end of the program; some are read at their first use."""
    assert Path(sys.executable) not in set(_program())
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert Path(sys.executable) in set(_program())


def test_a_frozen_worker_gets_its_arguments():
    done = frozen("--worker", "--help")
    assert done.returncode == 0, done.stderr.decode()
    assert b"--supervised" in done.stdout


@pytest.mark.parametrize(
    ("before", "after"), [({}, "None"), ({"LD_LIBRARY_PATH_ORIG": "/own"}, "/own")]
)
def test_anything_else_is_the_program_without_the_bundles_libraries(before, after):
    done = frozen("model.safetensors", **before)
    assert done.stdout.decode().strip() == f"the program itself ['model.safetensors'] {after}"


def test_commands_of_children(monkeypatch):
    for module in children._WORDS:
        if not module.startswith("torch"):
            assert importlib.util.find_spec(module)
        assert children.child_command(module) == [sys.executable, "-P", "-m", module]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    words = [children.child_command(module)[1] for module in children._WORDS]
    assert len(set(words)) == len(children._WORDS)


def test_from_source_no_word_is_taken_for_a_child(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cleanclip-gui", "--reader"])
    children.dispatch()
    assert sys.argv == ["cleanclip-gui", "--reader"]


# ---- freed memory ----


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept():
    """In a process of its own: without the call, each large block would be faulted in again."""
    script = (
        "import resource, torch, sys\n"
        "from ml_core.children import keep_freed_memory\n"
        "torch.set_num_threads(1)\n"
        "kept = keep_freed_memory()\n"
        "torch.ones(12_000_000)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "begin = faults()\n"
        "for _ in range(20): torch.ones(12_000_000)\n"
        "print(kept, faults() - begin)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    kept, faults = done.stdout.split()
    # Twenty times 48 MB are 240 000 pages of 4 KiB.
    assert kept == "False" or int(faults) < 20_000


def test_elsewhere_it_does_nothing(monkeypatch):
    monkeypatch.setattr(children.sys, "platform", "darwin")
    assert keep_freed_memory() is False
    monkeypatch.setattr(children.sys, "platform", "linux")
    monkeypatch.setattr(children.ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
