"""The child process of a job, and the commands it takes."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml_core.data.specs import ImageSpec
from ml_core.events import Control, Done, Message, Metric, from_json
from ml_core.jobs import worker
from ml_core.jobs.failures import exit_code
from ml_core.jobs.rates import RateSpec
from ml_core.jobs.specs import write_spec, write_spec_file
from ml_core.jobs.worker import Output, listen
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


# ---- the child process ----


@contextmanager
def _child(spec_path, *options, stdin=subprocess.DEVNULL, warm=None):
    """The worker as a child process; killed and its pipes closed at the end."""
    started: Any
    if warm is not None:
        started = warm.start(
            "ml_core.jobs.worker", str(spec_path), *options, stdin=stdin, text=True
        )
    else:
        started = subprocess.Popen(
            [sys.executable, "-m", "ml_core.jobs.worker", str(spec_path), *options],
            stdin=stdin,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
    with started as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def _events(stream):
    for line in stream:
        yield from_json(line)


def _until_step(child, step):
    for event in _events(child.stdout):
        assert not isinstance(event, Done), event
        if isinstance(event, Metric) and event.step >= step:
            return
    raise AssertionError("the child ended too early")


def test_killed_and_resumed_gives_the_bits_of_an_uninterrupted_run(
    tiny_checkpoint, tmp_path, warm_torch
):
    recipe = small_recipe(method="mmcl", pairs=192, save_every=4)
    whole = small_spec(tiny_checkpoint, tmp_path / "whole", recipe, test_images=None)
    finished(whole)
    folder = tmp_path / "killed"
    path = write_spec(whole.model_copy(update={"output_dir": str(folder)}), folder / "spec.json")
    with _child(path) as child:
        _until_step(child, 6)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert (folder / "state" / "state.safetensors").exists()
    assert not (folder / "cleaned.safetensors").exists()

    with _child(path, "--resume", warm=warm_torch) as resumed:
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


def test_supervised_child_pauses_goes_on_and_cancels(tiny_checkpoint, tmp_path, warm_torch):
    recipe = small_recipe(method="mmcl", pairs=8000)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    path = write_spec(spec, tmp_path / "out" / "spec.json")
    with _child(path, "--supervised", stdin=subprocess.PIPE, warm=warm_torch) as child:

        def tell(command):
            child.stdin.write(command + "\n")
            child.stdin.flush()

        _until_step(child, 2)
        tell("pause")
        for event in _events(child.stdout):
            if event == Message("Paused."):
                break
        tell("resume")
        _until_step(child, 3)
        tell("cancel")
        begin = time.monotonic()
        rest = list(_events(child.stdout))
        assert (
            time.monotonic() - begin < 60.0
        )  # the supervisor kills earlier; a busy machine is slow
        assert Message("Cancelling.") in rest
        assert rest[-1] == Done("cancelled")
        assert child.wait(timeout=60) == 130


@pytest.mark.parametrize("how", ["end of input", "SIGTERM"])
def test_a_dead_window_or_sigterm_means_save_and_stop(tiny_checkpoint, tmp_path, how, warm_torch):
    recipe = small_recipe(method="mmcl", pairs=8000)
    spec = small_spec(tiny_checkpoint, tmp_path / "out", recipe, test_images=None)
    path = write_spec(spec, tmp_path / "out" / "spec.json")
    supervised = how == "end of input"
    options = ["--supervised"] if supervised else []
    stdin = subprocess.PIPE if supervised else subprocess.DEVNULL
    with _child(path, *options, stdin=stdin, warm=warm_torch) as child:
        _until_step(child, 2)
        if supervised:
            child.stdin.close()
        else:  # Slurm sends one and torchrun passes on its own
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGTERM)
        events = list(_events(child.stdout))
        assert child.wait(timeout=60) == 0
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


def test_a_child_that_waits_is_told_its_job_later(tiny_checkpoint, tmp_path, warm_torch):
    def told(path, *options):
        with _child("-", *options, stdin=subprocess.PIPE, warm=warm_torch) as child:
            child.stdin.write(json.dumps(str(path)) + "\n")
            child.stdin.flush()
            done = list(_events(child.stdout))[-1]
            assert isinstance(done, Done)
            return done, child.wait(timeout=60)

    done, code = told(tmp_path / "a job.json", "--scan", "--supervised")
    assert re.search("There is no job file.*a job.json", done.error)
    assert code == 3
    watched = {"images": ImageSpec(split="val", n=12), "test_images": None}
    job = small_spec(tiny_checkpoint, tmp_path, small_recipe(method="mmcl"), **watched)
    path = write_spec_file(RateSpec(job=job, steps=10, points=2), tmp_path / "rates.json")
    done, code = told(path, "--rates", "--estimate")
    assert (done.status, code) == ("finished", 0), done.details
    assert done.result["steps"] == 10
    with _child("-", "--scan", "--supervised", stdin=subprocess.PIPE, warm=warm_torch) as unused:
        unused.stdin.close()
        assert unused.wait(timeout=60) == 0
