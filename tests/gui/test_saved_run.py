"""What a run's folder tells: where it goes on, which numbers stand, and why it cannot."""

import subprocess
import sys
from pathlib import Path

import pytest

from cleanclip_gui.clean.history import (
    can_resume,
    read_run,
    read_saved_run,
    run_metrics,
    was_interrupted,
)
from ml_core.cleaning.presets import preset
from ml_core.data.specs import PairSpec
from ml_core.events import Message, Metric
from ml_core.jobs.specs import CleanSpec, write_spec
from ml_core.reading.errors import InputError
from ml_core.triggers import demo_trigger, save_trigger
from tests.gui.shell_fakes import write_journal, write_state

ROOT = Path(__file__).parents[2]
RECIPE = preset("cleanclip", "talk").changed(pairs=640, batch_size=64, epochs=1)


@pytest.fixture
def folder(tmp_path):
    """A run of ten steps, saved at step 4."""
    made = tmp_path / "cleanclip-1"
    checkpoint = tmp_path / "poisoned.safetensors"
    checkpoint.write_bytes(b"weights")
    made.mkdir()
    trigger = save_trigger(demo_trigger(), made / "trigger")[1]
    spec = CleanSpec(
        checkpoint=str(checkpoint), recipe=RECIPE, pairs=PairSpec(), trigger=str(trigger),
        target=1, output_dir=str(made), device="cpu",
    )  # fmt: skip
    write_spec(spec, made / "spec.json")
    write_state(made, step=4)
    return made


def loss(step, value):
    return Metric(step, 10, {"loss": value, "lr": 0.1})


def reason(folder):
    with pytest.raises(InputError) as caught:
        read_saved_run(folder)
    return caught.value.sentence


def test_why_a_folder_cannot_go_on(folder, tmp_path):
    """The step does not tell: with fewer pairs than the recipe asks for the last one is earlier."""
    assert "holds no spec.json" in reason(tmp_path)
    (folder / "result.json").write_text('{"status": "stopped"}')
    saved = read_saved_run(folder)
    assert (saved.step, saved.spec.recipe) == (4, RECIPE)
    (folder / "result.json").write_text('{"status": "finished"}')
    assert reason(folder) == (
        "The run in cleanclip-1 is finished; open its cleaned.safetensors instead."
    )
    (folder / "result.json").unlink()
    moved = folder.rename(tmp_path / "elsewhere")
    assert f"was started in {folder}" in reason(moved)
    moved.rename(folder)
    state = folder / "state" / "state.safetensors"
    state.write_bytes(b"torn")
    assert "damaged" in reason(folder)
    (tmp_path / "poisoned.safetensors").unlink()
    write_state(folder, step=4)
    assert "poisoned.safetensors, which is gone" in reason(folder)
    state.unlink()
    assert reason(folder).startswith("The run in cleanclip-1 ended before its first save")
    assert not can_resume(folder)


def test_a_run_that_a_process_works_on_is_refused(folder):
    """Whatever began it: a window, the command line, a cluster."""
    write_journal(folder, [loss(1, 1.0)])
    pretend = (
        "import sys, time; from pathlib import Path; from ml_core.jobs.folder_lock import *\n"
        "lock = lock_folder(Path(sys.argv[1])); print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", pretend, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout.readline() == b"up\n"
        found, standing, offered = reason(folder), read_run(folder).status, was_interrupted(folder)
        child.kill()
    assert "still working on the run in cleanclip-1" in found
    assert (standing, offered) == ("running", False)
    assert read_saved_run(folder).step == 4  # what lies there of the lock stops nobody
    assert (read_run(folder).status, was_interrupted(folder)) == ("interrupted", True)


def test_the_numbers_up_to_the_save_as_if_never_interrupted(folder):
    """Steps 3 and 4 were done twice: the second time counts; step 5 is to be done again."""
    checks = [Metric(0, 10, {"ca": 0.9}), Metric(4, 10, {"ca": 0.8})]
    events = [
        checks[0], loss(1, 1.0), loss(2, 0.9), loss(3, 77.0), loss(4, 66.0), Message("killed"),
        loss(3, 0.8), loss(4, 0.7), checks[1], loss(5, 55.0),
    ]  # fmt: skip
    write_journal(folder, events)
    assert run_metrics(folder, read_saved_run(folder).step) == (
        checks[0], loss(1, 1.0), loss(2, 0.9), loss(3, 0.8), loss(4, 0.7), checks[1],
    )  # fmt: skip
    assert run_metrics(folder, 0) == (checks[0],)
    (folder / "events.jsonl").unlink()
    assert run_metrics(folder, 4) == ()


def test_of_a_huge_journal_some_losses_are_read(folder, monkeypatch):
    """A step that was done twice counts as the later one, whichever steps are left out."""
    monkeypatch.setattr("cleanclip_gui.clean.history.MAX_LOSSES", 10)
    first = [loss(step, 9.0) for step in range(1, 71)]
    check = Metric(33, 100, {"ca": 0.9})
    write_journal(folder, [*first, check, *(loss(step, 1.0) for step in range(51, 100))])
    found = run_metrics(folder)
    losses = [metric for metric in found if "loss" in metric.values]
    assert [metric.step for metric in losses] == [*range(8, 97, 8), 99]
    assert [metric.values["loss"] for metric in losses] == [9.0] * 6 + [1.0] * 7
    assert check in found
    assert [metric.step for metric in found] == sorted(metric.step for metric in found)
