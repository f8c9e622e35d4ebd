"""All GPUs for one run: the choice, the command, and how every process ends."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from cleanclip_gui.jobs.runner import JobRunner, environment, together, worker_command
from ml_core.events import Done
from ml_core.jobs.specs import read_spec
from ml_core.reading.errors import InputError
from tests.gui.fakes import clean_panel, heard, open_session, runner_of

GPUS = ("cuda:0", "cuda:1", "cuda:2", "cpu")
session = pytest.fixture(open_session)
panel = pytest.fixture(clean_panel)


_DEAF = """
import os, sys, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
time.sleep(600)
"""
_LAUNCHER = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, sys.argv[1]], start_new_session=True)
time.sleep(600)
"""


def test_a_stubborn_process_of_another_group_is_killed_too(qtbot, tmp_path):
    """As torchrun's are: each of them leads a session of its own."""
    deaf, launcher = tmp_path / "deaf.py", tmp_path / "launcher.py"
    deaf.write_text(_DEAF)
    launcher.write_text(_LAUNCHER)
    runner = JobRunner(tmp_path / "spec.json", command=[sys.executable, str(launcher), str(deaf)])
    lines = heard(runner.line_logged)
    runner.launch()
    qtbot.waitUntil(lambda: any(line.startswith("pid") for line in lines), timeout=30_000)
    process = psutil.Process(runner.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) == 2
    begin = time.monotonic()
    with qtbot.waitSignal(runner.ended, timeout=20_000):
        runner.cancel()
    assert time.monotonic() - begin < 10.0
    assert psutil.wait_procs(family, timeout=3)[1] == []


_CHILD = """
import os
from ml_core.jobs.worker import _end_with_parent
print(os.getpid(), flush=True)
_end_with_parent(os.getppid())
"""
_PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE, text=True
)
print(child.stdout.readline(), flush=True)
sys.stdin.read()
"""


def test_each_process_ends_once_torchrun_is_gone():
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    ) as parent:  # fmt: skip
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.5)
        assert child.is_running()
        parent.kill()
        assert psutil.wait_procs([child], timeout=30)[1] == []


def test_the_command_that_starts_several(tmp_path, monkeypatch):
    command = together(worker_command(tmp_path / "spec.json", resume=True), 4)
    assert command[1:4] == ["-P", "-m", "torch.distributed.run"]
    assert "--nproc-per-node=4" in command
    assert command[-6:] == [
        "-P", "-m", "ml_core.jobs.worker", str(tmp_path / "spec.json"), "--supervised", "--resume",
    ]  # fmt: skip
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment(command)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environment(worker_command(tmp_path / "spec.json"))
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # no interpreter to run a module
    frozen = together(worker_command(tmp_path / "spec.json"), 4)
    assert (frozen[1], frozen[-3:-1]) == ("--torchrun", ["--worker", str(tmp_path / "spec.json")])


def test_all_gpus_and_one_of_them_do_not_run_at_once(tmp_path, monkeypatch):
    from cleanclip_gui.jobs import runner as module

    busy = JobRunner(tmp_path / "spec.json", device="cuda:1", command=["true"])
    monkeypatch.setitem(module._RUNNING, "cuda:1", busy)
    with pytest.raises(InputError, match="already running on all GPUs"):
        JobRunner(tmp_path / "spec.json", device="cuda", processes=2).launch()


def test_all_gpus_are_written_started_and_repeated(panel, session):
    def begun():
        runner = runner_of(panel)
        runner.end(Done("cancelled"))
        return runner.device, runner.processes

    session.device, session.devices = "cuda:0", GPUS
    choice = panel.setup.gpus.choice
    panel.start()
    assert begun() == ("cuda:0", 1)
    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    panel.estimate()  # of one GPU
    assert begun() == ("cuda:0", 1)
    panel.start()
    spec = read_spec(runner_of(panel).spec_path)
    assert (spec.device, spec.processes) == ("cuda", 3)
    assert session.run.device == "cuda"
    session.device = "cpu"  # where Studio went meanwhile
    assert choice.currentText() == "All 3 GPUs"
    choice.setCurrentIndex(0)
    panel.start()  # waits for the one at work, and takes the GPU that was chosen
    assert begun() == ("cuda", 3)
    assert begun() == ("cuda:0", 1)
    panel.setup.show_spec(spec)
    assert panel.setup.gpus.processes() == 3
