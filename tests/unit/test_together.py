"""A run in two processes as the window starts it: steered by one pipe, and ended as one."""

from __future__ import annotations

import time

import psutil
import pytest

from cleanclip_gui.jobs.runner import kill, read_event, spawn, together, worker_command, write
from ml_core.checkpoints.save import save_checkpoint
from ml_core.events import Done, Message, Metric
from ml_core.jobs.specs import write_spec
from tests.unit.small_jobs import small_recipe, small_spec


@pytest.fixture
def pair(tiny_vit, tmp_path):
    """torchrun with two processes at a long run; killed with all of its family at the end."""
    source = save_checkpoint(tiny_vit, tmp_path / "tiny.safetensors", provenance={"made": "test"})
    recipe = small_recipe(batch_norm="frozen", pairs=40_000, batch_size=4)
    spec = small_spec(source, tmp_path / "out", recipe, test_images=None)
    path = write_spec(spec, tmp_path / "out" / "spec.json")
    process = spawn(together(worker_command(path), 2))
    yield process
    kill(process)
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        pipe.close()


def _events(process):
    for line in process.stdout:
        event = read_event(line)
        if event is not None:
            yield event


def _steps(events, count):
    """The next steps."""
    steps: list[int] = []
    for event in events:
        assert not isinstance(event, Done), event
        if isinstance(event, Metric):
            steps.append(event.step)
            if len(steps) == count:
                break
    return steps


def _family(process):
    launcher = psutil.Process(process.pid)
    return [launcher, *launcher.children(recursive=True)]


@pytest.mark.slow
def test_two_processes_pause_go_on_and_end_as_one(pair):
    events = _events(pair)
    steps = _steps(events, 2)
    family = _family(pair)
    assert sum("ml_core.jobs.worker" in p.cmdline() for p in family[1:]) == 2
    write(pair, "pause")
    for event in events:
        if isinstance(event, Metric):
            steps.append(event.step)
        if event == Message("Paused."):
            break
    time.sleep(0.3)
    write(pair, "resume")
    assert next(events) == Message("Going on.")  # no step was taken meanwhile
    steps += _steps(events, 2)
    assert steps == list(range(1, len(steps) + 1))  # the second process is silent
    write(pair, "cancel")
    rest = list(events)
    assert Message("Cancelling.") in rest
    assert rest[-1] == Done("cancelled")
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
