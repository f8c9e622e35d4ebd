"""How child processes are started from source and by a frozen program."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from ml_core import children
from ml_core.children import collector_off, keep_freed_memory
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
    done = frozen("--reader", given=b"x 30\n" + os.fsencode(path) + b"\0")
    assert done.returncode == 0, done.stderr.decode()
    inspection = json.loads(done.stdout)
    assert inspection["verdict"] == "loads"
    assert inspection["sandbox"]


def test_the_verifier_of_a_frozen_program_may_read_its_modules(monkeypatch):
    """They are an archive at the end of the program; some are read at their first use."""
    assert Path(sys.executable) not in set(_program())
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert Path(sys.executable) in set(_program())


def test_anything_else_is_the_program_without_the_bundles_libraries():
    done = frozen("model.safetensors", LD_LIBRARY_PATH_ORIG="/own")
    assert done.stdout.decode().strip() == "the program itself ['model.safetensors'] /own"


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


def test_elsewhere_freed_memory_is_not_kept(monkeypatch):
    monkeypatch.setattr(children.sys, "platform", "darwin")
    assert keep_freed_memory() is False
    monkeypatch.setattr(children.sys, "platform", "linux")
    monkeypatch.setattr(children.ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


def test_the_collector_is_off_while_importing_and_as_before_afterwards():
    try:
        for switch, was_on in ((gc.disable, False), (gc.enable, True)):
            switch()
            with collector_off():
                assert not gc.isenabled()
            assert gc.isenabled() == was_on
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
