"""Named pipes where the window looks for files: it answers at once, and never waits for them."""

import os

import pytest

from cleanclip_gui.clean.history import read_run, run_metrics
from cleanclip_gui.clean.job import copy_job
from cleanclip_gui.clean.save_result import copy_whole
from cleanclip_gui.clean.setup import is_recipe
from cleanclip_gui.jobs.run_names import write_name
from ml_core.jobs.specs import EVENTS_FILE, RESULT_FILE, SPEC_FILE, read_spec
from ml_core.reading.errors import InputError
from tests.gui.dropped import purpose
from tests.gui.fakes import drop
from tests.gui.run_folders import write_run
from tests.gui.shell_fakes import fake_window

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes"),
    pytest.mark.timeout(60),
]


def pipe(path):
    """A named pipe whose other end nobody opens, in a file's place."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def test_a_dropped_pipe_is_refused_with_its_kind(qtbot, tmp_path):
    window = fake_window(tmp_path / "c")
    qtbot.addWidget(window)
    window.show()
    drop(window, pipe(tmp_path / "x.tar"))
    reason = window.stations["checkpoint"].verdict.reason
    qtbot.waitUntil(lambda: "named pipe" in reason.text(), timeout=20_000)
    window.close()


def test_a_pipe_is_no_shard_and_no_recipe(tmp_path):
    assert purpose(pipe(tmp_path / "x.tar")) == "checkpoint"
    assert not is_recipe(pipe(tmp_path / "x.json"))


def test_a_run_with_pipes_in_it_is_shown_without(tmp_path):
    folder = write_run(tmp_path, "run")
    write_name(folder, "mine")
    for name in ("note.txt", EVENTS_FILE, RESULT_FILE):
        pipe(folder / name)
    assert read_run(folder).name == ""
    assert run_metrics(folder) == ()


def test_a_label_set_that_is_a_pipe_is_not_copied(tmp_path):
    spec = read_spec(write_run(tmp_path / "runs", "run") / SPEC_FILE)
    spec = spec.model_copy(update={"label_set": str(pipe(tmp_path / "classes.txt"))})
    with pytest.raises(InputError, match=r"label set .*classes\.txt cannot be read"):
        copy_job(spec, tmp_path / "runs")


def test_a_checkpoint_that_became_a_pipe_is_not_copied(tmp_path):
    source, target = pipe(tmp_path / "cleaned.safetensors"), tmp_path / "copy.safetensors"
    with pytest.raises(InputError, match="is a named pipe"):
        copy_whole(source, target, lambda: False)
    assert not target.exists()
