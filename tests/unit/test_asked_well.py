"""What a command line is told before it loads a model, and how soon Ctrl-C ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_core.checkpoints.open import Checkpoint
from ml_core.cli.run import run_to_result
from ml_core.data.specs import ImageSpec, PairSpec
from ml_core.events import Control, Event, Progress
from tests.unit.draining import done_of
from tests.unit.pair_files import table
from tests.unit.small_jobs import small_recipe, small_spec


def test_a_cleaning_job_tells_what_is_wrong_before_it_loads_a_model(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(Checkpoint, "build", build)
    path = table(tmp_path, range(20))
    images = ImageSpec(kind="csv", path=str(path), image_column="picture")
    captioned = ImageSpec(kind="csv", path=str(path), label_column="caption")
    pairs = PairSpec(kind="csv", path=str(path), caption_column="words")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"test_images": images}, "picture"),
        ({"pairs": pairs}, "words"),
        ({"label_set": "cifar-10", "test_images": captioned}, "cifar-10"),
        ({"target": 5000}, "5000"),
    ]
    for change, said in changes:
        spec = small_spec(tiny_checkpoint, tmp_path / "out", small_recipe(), **change)
        assert said in done_of(spec).error


def test_ctrl_c_ends_a_job_that_does_not_look(capsys: pytest.CaptureFixture[str]) -> None:
    """And once it has ended, nothing ends the program any more."""

    def job(_: Control) -> Iterator[Event]:
        yield Progress("open", 0, 1)
        signal.raise_signal(signal.SIGINT)
        while True:
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        run_to_result(job)
    assert "Cancelling." in capsys.readouterr().err
    time.sleep(0.6)


def test_ctrl_c_ends_a_step_that_no_exception_reaches() -> None:
    code = """
import hashlib, signal
from ml_core.cli.run import run_to_result
from ml_core.events import Progress

def job(control):
    yield Progress("open", 0, 1)
    signal.raise_signal(signal.SIGINT)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

run_to_result(job)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert ended.returncode == 130, ended.stderr
    assert b"Cancelled." in ended.stderr


_AT_WORK = """
import hashlib, sys, time
from ml_core.cli import app
def work(_):
    print("ready", flush=True)
    {}
    return 0
app.run_command = work
app.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize(
    ("number", "work", "status"),
    [
        # A step of a large model, which no exception reaches.
        (signal.SIGTERM, "hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)", 143),
        (signal.SIGHUP, "time.sleep(1)", 0),
    ],
)
def test_a_command_says_that_it_was_ended_and_goes_on_under_nohup(
    number: int, work: str, status: int
) -> None:
    script = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{_AT_WORK.format(work)}"
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        _, told = child.communicate(timeout=120)
    assert child.returncode == status
    assert told == ("Ended by SIGTERM. What was saved last is kept.\n" if status else "")
