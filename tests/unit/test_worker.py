"""The child process of a job, and the commands it takes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from ml_core.events import Control, Done, Message, Metric, from_json
from ml_core.jobs import worker
from ml_core.jobs.specs import write_spec
from ml_core.jobs.worker import Output, listen
from ml_core.reading.errors import exit_code
from tests.unit.draining import finished
from tests.unit.small_jobs import small_recipe, small_spec

# ---- commands ----


def test_commands_steer_the_control_and_nothing_follows_done():
    control, stream = Control(), io.StringIO()
    listen(io.StringIO("pause\n"), control, Output(stream))
    assert control.stopped  # the end of the input means save and stop
    control, output = Control(), Output(stream)
    listen(io.StringIO("pause\nresume\nstop\nhello\n"), control, output)
    assert control.stopped
    assert not control.paused
    output(Done("cancelled"))
    output(Message("late"))
    *_, warning, done = [from_json(line) for line in stream.getvalue().splitlines()]
    assert warning == Message("Unknown command 'hello'.", "warning")
    assert done == Done("cancelled")


def test_exit_codes_of_failures():
    codes = {"dangerous": 1, "damaged": 2, "unsupported": 2, "usage": 3, "internal": 4, "disk": 3}
    assert {name: exit_code(name) for name in codes} == codes


def test_threads_wait_asleep_and_specs_import_no_torch():
    taken = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in taken}
    code = (
        "import os, sys, ml_core.cleaning.recipes, ml_core.cleaning.tradeoff, ml_core.jobs.demo, "
        "ml_core.jobs.worker; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["1000", "False"]


# ---- the child process ----


@pytest.fixture
def child(warm_torch):
    """Start the worker as a child process; it is killed and its pipes are closed at the end."""

    @contextmanager
    def start(spec_path, *options, stdin=subprocess.DEVNULL):
        arguments = (str(spec_path), *options)
        with warm_torch.start("ml_core.jobs.worker", *arguments, stdin=stdin, text=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    return start


def _events(stream):
    for line in stream:
        yield from_json(line)


def _until_step(process, step):
    for event in _events(process.stdout):
        assert not isinstance(event, Done), event
        if isinstance(event, Metric) and event.step >= step:
            return
    raise AssertionError("the child ended too early")


def test_killed_and_resumed_gives_the_bits_of_an_uninterrupted_run(
    tiny_checkpoint, tmp_path, child
):
    recipe = small_recipe(method="mmcl", pairs=192, save_every=4)
    whole = small_spec(tiny_checkpoint, tmp_path / "whole", recipe, test_images=None)
    finished(whole)
    folder = tmp_path / "killed"
    path = write_spec(whole.model_copy(update={"output_dir": str(folder)}), folder / "spec.json")
    with child(path) as killed:
        _until_step(killed, 6)
        killed.kill()
        assert killed.wait() == -signal.SIGKILL
    assert (folder / "state" / "state.safetensors").exists()
    assert not (folder / "cleaned.safetensors").exists()

    with child(path, "--resume") as resumed:
        events = list(_events(resumed.stdout))
        assert resumed.wait(timeout=60) == 0
    assert isinstance(events[-1], Done)
    first = next(e.step for e in events if isinstance(e, Metric))
    assert first % 4 == 1
    assert first > 4
    names = ("whole", "killed")
    left, right = (load_file(tmp_path / n / "cleaned.safetensors") for n in names)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_a_dead_window_or_sigterm_means_save_and_stop(tiny_checkpoint, tmp_path, how, child):
    recipe = small_recipe(method="mmcl", pairs=8000)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    path = write_spec(spec, tmp_path / "out" / "spec.json")
    supervised = how == "end of input"
    options = ["--supervised"] if supervised else []
    stdin = subprocess.PIPE if supervised else subprocess.DEVNULL
    with child(path, *options, stdin=stdin) as running:
        _until_step(running, 2)
        if supervised:
            running.stdin.close()
        else:  # Slurm sends one and torchrun passes on its own
            running.send_signal(signal.SIGTERM)
            running.send_signal(signal.SIGTERM)
        events = list(_events(running.stdout))
        assert running.wait(timeout=60) == 0
    done = events[-1]
    assert done.status == "stopped"
    assert (tmp_path / "out" / "cleaned.safetensors").exists()
    assert (tmp_path / "out" / "state" / "state.safetensors").exists()


def test_a_later_sigterm_cancels(monkeypatch):
    now = 100.0
    monkeypatch.setattr(worker.time, "monotonic", lambda: now)
    before = signal.getsignal(signal.SIGTERM)
    try:
        control = Control()
        worker._on_sigterm(control)
        for seconds, cancelled in ((0.0, False), (4.0, False), (2.0, True)):
            now += seconds
            signal.raise_signal(signal.SIGTERM)
            assert control.stopped
            assert control.cancelled == cancelled
    finally:
        signal.signal(signal.SIGTERM, before)
