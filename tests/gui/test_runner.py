"""The QThread that supervises a child, with real children that speak the worker's lines."""

from __future__ import annotations

import os
import sys
import textwrap
import time

import pytest
from PySide6.QtCore import QObject, QThread

from cleanclip_gui.jobs import runner as children
from cleanclip_gui.jobs.runner import JobRunner, MalformedEventError, explain_exit, read_event
from ml_core.events import Done, Metric, Progress
from ml_core.reading.errors import InputError

PRELUDE = """
import json, os, signal, sys, threading, time
def say(**fields): print(json.dumps(fields), flush=True)
def done(status, **fields): say(event="done", status=status, **fields)
"""


class Listener(QObject):
    """Lives in the GUI thread and notes what arrives, and in which thread."""

    def __init__(self, runner):
        super().__init__()
        self.events: list[object] = []
        self.lines: list[str] = []
        self.states: list[str] = []
        self.threads: set[bool] = set()
        runner.event_received.connect(self.on_event)
        runner.line_logged.connect(self.on_line)
        runner.state_changed.connect(self.on_state)

    def on_event(self, event):
        self.events.append(event)
        self.threads.add(QThread.currentThread() is self.thread())

    def on_line(self, text):
        self.lines.append(text)

    def on_state(self, state):
        self.states.append(state)


@pytest.fixture
def start(tmp_path):
    """Start a runner on a script; every thread is ended afterwards."""
    runners: list[JobRunner] = []

    def make(body, *, launch=True, device="cpu"):
        script = tmp_path / f"child{len(runners)}.py"
        script.write_text(PRELUDE + textwrap.dedent(body))
        runner = JobRunner(
            tmp_path / "spec.json", device=device, command=[sys.executable, str(script)]
        )
        runner.heard = Listener(runner)
        runners.append(runner)
        if launch:
            runner.launch()
        return runner

    yield make
    for runner in runners:
        assert runner.close(5000)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def end_of(qtbot, runner, timeout=8000):
    with qtbot.waitSignal(runner.ended, timeout=timeout) as blocker:
        pass
    return blocker.args[0]


def test_events_lines_and_result_arrive_in_the_gui_thread(qtbot, start):
    runner = start(
        """
        print("warming up", flush=True)
        say(event="progress", stage="training", done=1, total=4, rate=2.5)
        say(event="metric", step=1, total_steps=4, values={"loss": 1.5, "lr": 0.001})
        done("finished", result={"seconds": 3})
        """,
    )
    heard = runner.heard
    last = end_of(qtbot, runner)
    assert last == Done("finished", {"seconds": 3})
    assert heard.events == [
        Progress("training", 1, 4, 2.5),
        Metric(1, 4, {"loss": 1.5, "lr": 0.001}),
    ]
    assert heard.lines == ["warming up"]
    assert heard.threads == {True}
    assert heard.states == ["ended"]
    assert not runner.isRunning()


def test_cancel_before_the_child_exists_is_not_lost(qtbot, start):
    runner = start("print('I should not live'); time.sleep(60)", launch=False)
    runner.cancel()
    runner.launch()
    assert end_of(qtbot, runner, 2000) == Done("cancelled")
    assert runner.pid is None
    assert runner.tail == ()


def test_commands_reach_the_child_in_order_even_if_given_early(qtbot, start):
    runner = start(
        """
        for line in sys.stdin:
            print("got", line.strip(), flush=True)
            if line.strip() == "stop":
                done("stopped")
                break
        """,
        launch=False,
    )
    heard = runner.heard
    runner.pause()
    runner.launch()
    qtbot.waitUntil(lambda: heard.lines == ["got pause"], timeout=5000)
    assert runner.state == "paused"
    runner.resume()
    qtbot.waitUntil(lambda: len(heard.lines) == 2, timeout=5000)
    runner.stop_and_save()
    assert end_of(qtbot, runner).status == "stopped"
    assert heard.lines == ["got pause", "got resume", "got stop"]
    assert heard.states == ["paused", "running", "stopping", "ended"]


def test_a_child_that_reads_nothing_does_not_block_the_window(qtbot, start):
    runner = start("print('ready', flush=True); time.sleep(60)")
    qtbot.waitUntil(lambda: runner.tail == ("ready",), timeout=5000)
    began = time.monotonic()
    for _ in range(6_000):  # more bytes than a pipe holds
        runner.pause()
        runner.resume()
    assert time.monotonic() - began < 5.0
    runner.cancel()
    assert end_of(qtbot, runner).status == "cancelled"


def test_a_missing_program_is_one_sentence(qtbot, tmp_path):
    runner = JobRunner(tmp_path / "spec.json", command=[str(tmp_path / "nowhere")])
    with qtbot.waitSignal(runner.ended, timeout=5000) as blocker:
        runner.launch()
    last = blocker.args[0]
    assert last.error == "The job could not be started; see the details."
    assert "nowhere" in last.details


def test_one_job_a_device(qtbot, start):
    first = start("time.sleep(60)")
    second = start("time.sleep(60)", launch=False)
    with pytest.raises(InputError, match="already running on cpu"):
        second.launch()
    elsewhere = start("done('finished')", device="cuda:0")
    assert end_of(qtbot, elsewhere).status == "finished"
    first.cancel()
    end_of(qtbot, first)
    second.launch()
    second.cancel()
    assert end_of(qtbot, second).status == "cancelled"


def test_close_ends_a_running_child_within_its_limit(qtbot, start):
    runner = start("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    qtbot.waitUntil(lambda: runner.pid is not None, timeout=5000)
    pid = runner.pid
    began = time.monotonic()
    assert runner.close(5000)
    assert time.monotonic() - began < 2.0
    assert pid is not None
    assert not alive(pid)


def test_which_lines_are_events():
    for line in ("", "epoch 1", "{not json", '{"loss": 1}', "[1, 2]", "{" * 5000):
        assert read_event(line) is None
    for line in (
        '{"event": "metric", "step": 1',
        '{"event": "surprise"}',
        '{"event": "metric", "step": 1, "total_steps": 2, "values": {"a": [1]}}',
        '{"event": "done", "status": "perhaps"}',
    ):
        with pytest.raises(MalformedEventError):
            read_event(line)


def test_ends_are_named():
    assert "SIGSEGV" in explain_exit(-11, []).error
    assert "SIGKILL, probably out of memory" in explain_exit(-9, []).error
    assert "out of memory" not in explain_exit(-15, []).error
    assert "signal 99" in explain_exit(-99, []).error
    assert explain_exit(0, ["a", "b"]).details == "a\nb"
    assert "native code" in explain_exit(-1073741819 & 0xFFFFFFFF, []).error


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """A child that waits to be told its job, and says which it was told."""
    script = tmp_path / "waiting.py"
    script.write_text(PRELUDE + 'done("finished", result={"told": json.loads(input())})\n')
    command = [sys.executable, str(script)]
    monkeypatch.setattr(children, "worker_command", lambda spec: command)
    child = children.WaitingChild("scan")
    yield child
    child.end()


def test_a_job_starts_its_own_child_where_the_waiting_one_ended(qtbot, waiting, tmp_path):
    waiting.end()
    assert not waiting.is_waiting
    own = [sys.executable, "-c", PRELUDE + 'done("finished", result={"own": 1})']
    runner = JobRunner(tmp_path / "spec.json", command=own, child=waiting)
    with qtbot.waitSignal(runner.ended, timeout=8000) as ended:
        runner.launch()
    assert ended.args[0].result == {"own": 1}
